//! Initialisation segments.
use bytes::Bytes;
use mp4_atom::{
    Dinf, Dref, DrefEntry, Edts, Elst, ElstEntry, Encode, FixedPoint, FourCC, Ftyp, Hdlr, Matrix, Mdhd, Mdia, Minf,
    Moov, Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Tkhd, Trak, Trex, Url, Vmhd,
};

use super::entry::{sample_entry, side};
use super::{NON_SYNC_FLAGS, SYNC_FLAGS, TRACK_ID};
use crate::domain::asset::TrackKind;
use crate::media::codecs::others;
use crate::media::frames::{InvalidConfig, TrackConfig};
use crate::media::movie::three_letters;

/// Builds the initialisation segment of a track: `ftyp` with the CMAF brands, and a `moov` without samples whose
/// display matrix carries the rotation. Pictures that are reordered get an edit list that takes the delay out again
/// (ISO/IEC 23000-19, 7.5.13), so that the first decode time is that of the first picture's presentation.
pub fn init_segment(config: &TrackConfig) -> Result<Bytes, InvalidConfig> {
    let brand = |code: &[u8; 4]| FourCC::new(code);
    let compatible_brands = vec![brand(b"iso6"), brand(b"cmfc"), brand(b"mp41")];
    let ftyp = Ftyp { major_brand: brand(b"iso6"), minor_version: 0, compatible_brands };
    let moov = movie(config)?;
    let mut out = Vec::new();
    ftyp.encode(&mut out).and_then(|()| moov.encode(&mut out)).map_err(|_| InvalidConfig("track"))?;
    Ok(out.into())
}

/// Width and height of a pixel in relation to one another, as an initialisation segment of ours says it: square unless it
/// has a `pasp` box.
pub fn pixel_aspect(init: &[u8]) -> (u32, u32) {
    const PASP: [u8; 8] = [0, 0, 0, 16, b'p', b'a', b's', b'p'];
    let body = init.windows(PASP.len()).position(|window| window == PASP).and_then(|at| init.get(at + PASP.len()..));
    let number = |at: usize| -> Option<u32> {
        let bytes = body?.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*bytes)).filter(|number| *number > 0)
    };
    number(0).zip(number(4)).unwrap_or((1, 1))
}

/// `sdr`, `pq` or `hlg`, as an initialisation segment of ours says it.
pub fn dynamic_range(init: &[u8]) -> &'static str {
    const NCLX: &[u8] = b"colrnclx";
    let body = init.windows(NCLX.len()).position(|window| window == NCLX).and_then(|at| init.get(at + NCLX.len()..));
    let transfer = body.and_then(|body| body.get(2..)?.first_chunk::<2>());
    others::dynamic_range(transfer.map(|bytes| u16::from_be_bytes(*bytes)))
}

fn movie(config: &TrackConfig) -> Result<Moov, InvalidConfig> {
    let is_video = config.kind() == TrackKind::Video;
    let mvhd = Mvhd {
        timescale: config.timescale,
        rate: FixedPoint::new(1, 0),
        volume: FixedPoint::new(1, 0),
        matrix: matrix(0, (0, 0)),
        next_track_id: TRACK_ID + 1,
        ..Default::default()
    };
    let trex = Trex {
        track_id: TRACK_ID,
        default_sample_description_index: 1,
        default_sample_flags: if is_video { NON_SYNC_FLAGS } else { SYNC_FLAGS },
        ..Default::default()
    };
    let mvex = Some(Mvex { mehd: None, trex: vec![trex] });
    Ok(Moov { mvhd, mvex, trak: vec![track(config)?], meta: None, udta: None, ainf: None })
}

fn track(config: &TrackConfig) -> Result<Trak, InvalidConfig> {
    let video = config.video_properties((0, 1))?;
    let audio = config.audio_properties()?;
    let size = video.as_ref().map_or((0, 0), |video| (side(video.width), side(video.height)));
    let shown_width = config.pixel_aspect.map_or(size.0, |(x, y)| {
        u16::try_from(u64::from(size.0) * u64::from(x) / u64::from(y.max(1))).unwrap_or(size.0)
    });
    let tkhd = Tkhd {
        track_id: TRACK_ID,
        enabled: true,
        in_movie: true,
        volume: FixedPoint::new(u8::from(video.is_none()), 0),
        matrix: matrix(config.rotation, (shown_width, size.1)),
        width: FixedPoint::new(shown_width, 0),
        height: FixedPoint::new(size.1, 0),
        ..Default::default()
    };
    let (handler, name) = if video.is_some() { (b"vide", "VideoHandler") } else { (b"soun", "SoundHandler") };
    let hdlr = Hdlr { handler: FourCC::new(handler), name: name.into() };
    let mdhd = Mdhd { timescale: config.timescale, language: language(&config.language), ..Default::default() };
    let stsd = Stsd { codecs: vec![sample_entry(config, video, audio)?] };
    let minf = Minf {
        vmhd: (config.kind() == TrackKind::Video).then(Vmhd::default),
        smhd: (config.kind() == TrackKind::Audio).then(Smhd::default),
        dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } },
        stbl: Stbl { stsd, stco: Some(Stco::default()), ..Default::default() },
        ..Default::default()
    };
    let edts = (config.reorder > 0).then(|| edit_list(config.reorder));
    Ok(Trak { tkhd, mdia: Mdia { mdhd, hdlr, minf }, edts, meta: None, senc: None, tref: None, udta: None })
}

/// One edit over all fragments, whatever their length.
fn edit_list(reorder: u32) -> Edts {
    let entry =
        ElstEntry { segment_duration: 0, media_time: Some(u64::from(reorder)), media_rate: FixedPoint::new(1, 0) };
    Edts { elst: Some(Elst { entries: vec![entry] }) }
}

/// `mdhd` takes three letters; what has none is told by the playlist alone.
fn language(tag: &str) -> String {
    three_letters(tag).unwrap_or("und").to_owned()
}

/// A display matrix that rotates clockwise and moves the picture back into the first quadrant.
fn matrix(rotation: u16, (width, height): (u16, u16)) -> Matrix {
    const ONE: i32 = 1 << 16;
    let fixed = |pixels: u16| (u32::from(pixels) << 16).min(i32::MAX as u32) as i32;
    let (a, b, c, d, x, y) = match rotation {
        90 => (0, ONE, -ONE, 0, fixed(height), 0),
        180 => (-ONE, 0, 0, -ONE, fixed(width), fixed(height)),
        270 => (0, -ONE, ONE, 0, 0, fixed(width)),
        _ => (ONE, 0, 0, ONE, 0, 0),
    };
    Matrix { a, b, u: 0, c, d, v: 0, x, y, w: 1 << 30 }
}
