//! Sample entries (section 8.5.2; QuickTime "sample descriptions"): which codec, and its configuration.
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::MovieError;
use super::fields::{Children, Fields, FourCc};
use crate::domain::asset::TrackKind;
use crate::media::codecs::aac::EsDescriptor;

/// Colour as a `colr` box or a parameter set says it (ITU-T H.273 code points).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Colour {
    /// `colour_primaries`.
    pub primaries: u16,
    /// `transfer_characteristics`.
    pub transfer: u16,
    /// `matrix_coefficients`.
    pub matrix: u16,
    /// Full range rather than the usual one.
    pub full_range: bool,
}

/// What a sample entry says, by kind of track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryFormat {
    Video { width: u16, height: u16, colour: Option<Colour>, pixel_aspect: Option<(u32, u32)>, interlaced: bool },
    Audio { channels: u32, sample_rate: u32, descriptor: Option<EsDescriptor> },
}

/// A sample entry.
#[derive(Debug, Clone)]
pub(crate) struct SampleEntry {
    /// Its type, e.g. `avc1`.
    pub(crate) code: FourCc,
    pub(crate) format: EntryFormat,
    children: Children,
}

impl SampleEntry {
    /// Reads the first entry of an `stsd` body and how many there are.
    pub(crate) fn read_first(stsd: &Bytes, kind: TrackKind) -> Result<(Self, u32), MovieError> {
        let damaged = || MovieError::damaged("box stsd");
        let mut fields = Fields::new(stsd);
        fields.skip(4).ok_or_else(damaged)?;
        let count = fields.u32().ok_or_else(damaged)?;
        let size = fields.u32().ok_or_else(damaged)? as usize;
        let code = fields.code().ok_or_else(damaged)?;
        if count == 0 || size < 8 || size > stsd.len() - 8 {
            return Err(damaged());
        }
        let body = stsd.slice(16..8 + size);
        let (format, children) = match kind {
            TrackKind::Video => read_visual(&body),
            TrackKind::Audio => read_audio(&body),
        }
        .ok_or_else(damaged)?;
        Ok((Self { code, format, children }, count))
    }

    /// A codec configuration box by type.
    pub(crate) fn config(&self, kind: &FourCc) -> Option<&Bytes> {
        self.children.first(kind)
    }
}

/// Boxes behind the fixed fields; what cannot be split is taken as padding, as other readers do.
fn children_behind(body: &Bytes, fields: &Fields) -> Children {
    let rest = fields.rest().len();
    Children::split(&body.slice(body.len() - rest..)).unwrap_or_default()
}

fn read_visual(body: &Bytes) -> Option<(EntryFormat, Children)> {
    let mut fields = Fields::new(body);
    fields.skip(24)?;
    let (width, height) = (fields.u16()?, fields.u16()?);
    fields.skip(50)?;
    let children = children_behind(body, &fields);
    let colour = children.first(b"colr").and_then(|colr| read_colour(colr));
    let pixel_aspect = children.first(b"pasp").and_then(|pasp| read_pixel_aspect(pasp));
    let interlaced = children.first(b"fiel").and_then(|fiel| fiel.first().copied()).is_some_and(|fields| fields > 1);
    Some((EntryFormat::Video { width, height, colour, pixel_aspect, interlaced }, children))
}

fn read_colour(colr: &[u8]) -> Option<Colour> {
    let mut fields = Fields::new(colr);
    let kind = fields.code()?;
    if !matches!(&kind, b"nclx" | b"nclc") {
        return None;
    }
    let (primaries, transfer, matrix) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let full_range = kind == *b"nclx" && fields.u8()? & 0x80 != 0;
    Some(Colour { primaries, transfer, matrix, full_range })
}

fn read_pixel_aspect(pasp: &[u8]) -> Option<(u32, u32)> {
    let mut fields = Fields::new(pasp);
    let aspect = (fields.u32()?, fields.u32()?);
    (aspect.0 > 0 && aspect.1 > 0).then_some(aspect)
}

fn read_audio(body: &Bytes) -> Option<(EntryFormat, Children)> {
    let mut fields = Fields::new(body);
    fields.skip(8)?;
    let version = fields.u16()?;
    fields.skip(6)?;
    let (mut channels, _sample_size) = (u32::from(fields.u16()?), fields.u16()?);
    fields.skip(4)?;
    let mut sample_rate = fields.u32()? >> 16;
    match version {
        1 => fields.skip(16)?,
        2 => {
            fields.skip(4)?;
            let rate = f64::from_bits(fields.u64()?);
            sample_rate = rate.clamp(0.0, 10_000_000.0) as u32;
            channels = fields.u32()?;
            fields.skip(20)?;
        }
        _ => {}
    }
    let children = children_behind(body, &fields);
    let wave = children.first(b"wave").and_then(|wave| Children::split(wave).ok()).unwrap_or_default();
    let esds = children.first(b"esds").or_else(|| wave.first(b"esds"));
    let descriptor = esds.and_then(|esds| esds.get(4..)).and_then(EsDescriptor::parse);
    Some((EntryFormat::Audio { channels, sample_rate, descriptor }, children))
}
