//! Sheets of small pictures, for the scrubber.
use std::io::Read;

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::worker::{Reporter, unreadable};
use super::{element, internal, picture_file};
use crate::domain::asset::BlobKey;
use crate::domain::video::Failure;
use crate::media::source::ExtentReader;
use crate::media::work::{Answer, Output, OutputFile, Tile};

/// Quality of the sheets, percent: each picture is small and seen for a moment.
const QUALITY: i32 = 75;
/// Longest side of a sheet: what browsers decode everywhere.
const SIDE_MAX: u32 = 16_384;
/// Largest small picture, bytes.
const TILE_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a pixel: red, green, blue.
const PIXEL_BYTES: usize = 3;

/// How sheets are laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) columns: u32,
    pub(super) rows: u32,
}

/// Lays out tiles, row by row; the last sheet has only the rows it needs.
pub(super) fn storyboard(
    output: &Output,
    tiles: &[Tile],
    layout: Layout,
    reader_of: impl Fn(&Tile) -> ExtentReader,
    reporter: &Reporter,
) -> Result<Answer, Failure> {
    let (mut sheets, mut size) = (Vec::new(), None);
    let per_sheet = (layout.columns.max(1) as usize).saturating_mul(layout.rows.max(1) as usize);
    for (number, group) in tiles.chunks(per_sheet).enumerate() {
        let mut sheet: Option<Sheet> = None;
        for (index, tile) in group.iter().enumerate() {
            let picture = decode(reader_of(tile))?;
            let sheet = match &mut sheet {
                Some(sheet) => sheet,
                empty => empty.insert(Sheet::new(picture.size(), layout.columns, group.len())?),
            };
            if *size.get_or_insert(picture.size()) != picture.size() {
                return Err(internal("small pictures differ in size"));
            }
            sheet.put(index, &picture);
            reporter.progress((number * per_sheet + index) as u64, tiles.len() as u64);
        }
        let Some(sheet) = sheet else { continue };
        let name = format!("storyboard-{}-{number}.jpg", output.generation);
        let path = output.dir.join(&name);
        std::fs::write(&path, picture_file::jpeg(&sheet.sample()?, QUALITY)?).map_err(internal)?;
        sheets.push(OutputFile { key: BlobKey::new(format!("{}/{name}", output.key_prefix)), path });
    }
    let (width, height) = size.unwrap_or((0, 0));
    Ok(Answer::StoryboardMade { sheets, width, height })
}

/// A small picture: lines of red, green and blue.
struct Small {
    width: u32,
    height: u32,
    lines: Vec<Vec<u8>>,
}

impl Small {
    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }
}

fn decode(reader: ExtentReader) -> Result<Small, Failure> {
    let mut content = Vec::new();
    reader.take(TILE_BYTES_MAX).read_to_end(&mut content).map_err(unreadable)?;
    let filter = element("capsfilter")?;
    filter.set_property("caps", gst::Caps::builder("video/x-raw").field("format", "RGB").build());
    let caps = gst::Caps::new_empty_simple("image/jpeg");
    let sample = gst::Sample::builder().buffer(&gst::Buffer::from_mut_slice(content)).caps(&caps).build();
    let chain = [element("jpegparse")?, element("jpegdec")?, element("videoconvert")?, filter];
    let decoded = picture_file::through(&sample, &chain)?.ok_or_else(|| internal("a small picture is damaged"))?;
    let info = decoded.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok());
    let (Some(info), Some(buffer)) = (info, decoded.buffer()) else { return Err(internal("a small picture is empty")) };
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).map_err(internal)?;
    let stride = frame.plane_stride().first().and_then(|stride| usize::try_from(*stride).ok()).unwrap_or(0).max(1);
    let bytes = info.width() as usize * PIXEL_BYTES;
    let lines = frame.plane_data(0).map_err(internal)?.chunks(stride).take(info.height() as usize);
    let lines = lines.map(|line| line.get(..bytes).unwrap_or(line).to_vec()).collect();
    Ok(Small { width: info.width(), height: info.height(), lines })
}

/// A sheet that is being filled.
struct Sheet {
    tile: (u32, u32),
    columns: usize,
    width: u32,
    height: u32,
    stride: usize,
    pixels: Vec<u8>,
}

impl Sheet {
    fn new(tile: (u32, u32), columns: u32, num_tiles: usize) -> Result<Self, Failure> {
        let rows = u32::try_from(num_tiles.div_ceil(columns.max(1) as usize)).unwrap_or(u32::MAX);
        let (width, height) = (tile.0.saturating_mul(columns), tile.1.saturating_mul(rows));
        if width.max(height) > SIDE_MAX || width.min(height) == 0 {
            return Err(internal(format!("a sheet of {width} x {height} pixels")));
        }
        // As GStreamer lays out lines: multiples of four bytes.
        let stride = (width as usize * PIXEL_BYTES).next_multiple_of(4);
        let pixels = vec![0; stride * height as usize];
        Ok(Self { tile, columns: columns as usize, width, height, stride, pixels })
    }

    fn put(&mut self, index: usize, picture: &Small) {
        let left = index % self.columns * self.tile.0 as usize * PIXEL_BYTES;
        let top = index / self.columns * self.tile.1 as usize;
        for (number, line) in picture.lines.iter().enumerate() {
            let start = (top + number) * self.stride + left;
            if let Some(target) = self.pixels.get_mut(start..start + line.len()) {
                target.copy_from_slice(line);
            }
        }
    }

    fn sample(self) -> Result<gst::Sample, Failure> {
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, self.width, self.height)
            .fps(gst::Fraction::new(0, 1))
            .build()
            .map_err(internal)?;
        let caps = info.to_caps().map_err(internal)?;
        Ok(gst::Sample::builder().buffer(&gst::Buffer::from_mut_slice(self.pixels)).caps(&caps).build())
    }
}

#[cfg(test)]
mod tests;
