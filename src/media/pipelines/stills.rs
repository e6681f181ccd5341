//! Full pictures of chosen moments of a video, or of one that somebody uploaded, in all sizes and formats.
use std::io::{Read, Seek};
use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use imagesize::{ImageSize, ImageType};

use super::encode::still::{Film, Still};
use super::worker::{Reporter, unreadable};
use super::{element, internal, picture_file, sniff};
use crate::domain::asset::BlobKey;
use crate::domain::video::Failure;
use crate::media::source::ExtentReader;
use crate::media::work::{Answer, OutputFile, StillPicture, StillsTask};

/// Largest file of an uploaded picture.
const PICTURE_BYTES_MAX: u64 = 64 << 20;
/// Longest side of one.
const SIDE_MAX: usize = 16_384;
/// Most pixels of one: half a gigabyte of memory while it is decoded.
const PIXELS_MAX: usize = 120_000_000;

/// Makes the pictures.
pub(super) fn stills(
    make_reader: &dyn Fn() -> ExtentReader,
    task: &StillsTask,
    reporter: &Arc<Reporter>,
) -> Result<Answer, Failure> {
    let uploaded = uploaded_picture(&mut make_reader(), task)?;
    let total = task.moments.len() * task.sizes.len() * task.formats.len();
    let mut pictures = Vec::new();
    let mut film = Film::new(make_reader, &task.treatment, reporter);
    let mut moments = task.moments.clone();
    moments.sort_by_key(|(_, at_ms)| *at_ms);
    for (moment, at_ms) in &moments {
        let decoded;
        let still = match &uploaded {
            Some(still) => still,
            None => {
                let at_ns = i64::try_from(*at_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
                let found = film.still_at(at_ns.saturating_add(task.start_ns))?;
                decoded = found.ok_or_else(|| not_a_picture("no picture could be decoded"))?;
                &decoded
            }
        };
        let mut made: Vec<(u32, u32)> = Vec::new();
        for size in task.sizes.iter().map(|size| still.fit(*size)) {
            // A small source comes out alike in all sizes above its own.
            if !made.contains(&size) {
                made.push(size);
                pictures.extend(in_all_formats(still, moment, size, task)?);
            }
            reporter.progress(pictures.len() as u64, total as u64);
        }
    }
    Ok(Answer::StillsMade { pictures })
}

fn in_all_formats(
    still: &Still,
    moment: &str,
    size: (u32, u32),
    task: &StillsTask,
) -> Result<Vec<StillPicture>, Failure> {
    let scaled = still.scaled(size)?;
    let (width, height) = size;
    let make = |format: &_| {
        let (extension, content_type) = picture_file::names(*format);
        let name = format!("{moment}-{width}x{height}.{extension}");
        let path = task.output.dir.join(&name);
        std::fs::write(&path, picture_file::encode(&scaled, *format)?).map_err(internal)?;
        let file = OutputFile { key: BlobKey::new(format!("{}/{name}", task.output.key_prefix)), path };
        Ok(StillPicture { moment: moment.to_owned(), file, content_type: content_type.to_owned(), width, height })
    };
    task.formats.iter().map(make).collect()
}

fn not_a_picture(why: &str) -> Failure {
    Failure { code: "not_a_picture".into(), message: format!("This is no picture that is known here: {why}.") }
}

fn too_large(what: impl std::fmt::Display) -> Failure {
    Failure { code: "picture_too_large".into(), message: format!("The picture is too large: {what}.") }
}

/// The source as a picture, when it is one by its first bytes. Its size is read before any of it is decoded.
fn uploaded_picture(reader: &mut ExtentReader, task: &StillsTask) -> Result<Option<Still>, Failure> {
    let mut head = Vec::new();
    reader.by_ref().take(sniff::HEAD_BYTES as u64).read_to_end(&mut head).map_err(unreadable)?;
    let is_decoded = |kind: &ImageType| decoder_of(*kind).is_some();
    let Some(kind) = imagesize::image_type(&head).ok().filter(is_decoded) else {
        return match sniff::look(&head) {
            Ok(_) => Ok(None),
            Err(failure) => Err(not_a_picture(failure.message.trim_end_matches('.'))),
        };
    };
    let bytes = reader.length_bytes();
    if bytes > PICTURE_BYTES_MAX {
        return Err(too_large(format!("{bytes} bytes, of {PICTURE_BYTES_MAX}")));
    }
    reader.rewind().map_err(unreadable)?;
    let mut content = Vec::new();
    reader.read_to_end(&mut content).map_err(unreadable)?;
    let size = imagesize::blob_size(&content).map_err(|error| not_a_picture(&error.to_string()))?;
    if size.width.max(size.height) > SIDE_MAX || size.width.saturating_mul(size.height) > PIXELS_MAX {
        return Err(too_large(format!("{} x {} pixels", size.width, size.height)));
    }
    decoded((kind, size), content, task).map(Some)
}

/// Caps of such files, and the elements that decode them. What looks like a movie may be one.
fn decoder_of(kind: ImageType) -> Option<(&'static str, &'static [&'static str])> {
    match kind {
        ImageType::Jpeg => Some(("image/jpeg", &["jpegparse", "jpegdec"])),
        ImageType::Png => Some(("image/png", &["pngdec"])),
        ImageType::Gif => Some(("image/gst-libav-gif", &["avdec_gif"])),
        ImageType::Webp => Some(("image/webp", &["webpdec"])),
        _ => None,
    }
}

fn decoded((kind, size): (ImageType, ImageSize), content: Vec<u8>, task: &StillsTask) -> Result<Still, Failure> {
    let (caps, decoders) = decoder_of(kind).ok_or_else(|| not_a_picture("it is none of JPEG, PNG, WebP and GIF"))?;
    let flip = element("videoflip")?;
    // As the camera was held.
    flip.set_property_from_str("video-direction", "auto");
    let mut chain = decoders.iter().map(|name| element(name)).collect::<Result<Vec<_>, _>>()?;
    chain.extend([element("videoconvert")?, flip]);
    let side = |side: usize| i32::try_from(side).unwrap_or(i32::MAX);
    let mut caps = gst::Caps::builder(caps);
    if kind == ImageType::Gif {
        // libav's decoder wants to be told what it reads itself.
        caps = caps.field("parsed", true).field("framerate", gst::Fraction::new(0, 1));
        caps = caps.field("width", side(size.width)).field("height", side(size.height));
    }
    let caps = caps.build();
    let sample = gst::Sample::builder().buffer(&gst::Buffer::from_mut_slice(content)).caps(&caps).build();
    let picture = picture_file::through(&sample, &chain)?.ok_or_else(|| not_a_picture("it is damaged"))?;
    Still::new(&picture, &task.treatment)
}

#[cfg(test)]
mod tests;
