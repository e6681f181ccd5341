//! CMAF packaging (ISO/IEC 23000-19): initialisation segments, and media segments of one `moof` and one `mdat`. The size
//! of a segment is known from its number of samples and media bytes alone.
mod entry;
mod init;

use bytes::{BufMut, BytesMut};

pub use init::{dynamic_range, init_segment, pixel_aspect};

use super::records::SampleRecord;
use crate::domain::asset::TrackKind;

/// The one track's number in every file we write.
const TRACK_ID: u32 = 1;
const SYNC_FLAGS: u32 = 0x0200_0000;
const NON_SYNC_FLAGS: u32 = 0x0101_0000;
/// `moof`, `mfhd`, `traf`, `tfhd`, `tfdt`, `trun` without its entries.
const MOOF_FIXED_BYTES: u64 = 8 + 16 + 8 + 16 + 20 + 20;
const MDAT_HEADER_BYTES: u64 = 8;

const fn entry_bytes(kind: TrackKind) -> u64 {
    match kind {
        TrackKind::Video => 16,
        TrackKind::Audio => 8,
    }
}

/// Size in bytes of a segment of so many samples with so many media bytes; `None` when it does not fit 32 bits.
pub fn segment_bytes(kind: TrackKind, samples: u64, media_bytes: u64) -> Option<u32> {
    let head = MOOF_FIXED_BYTES + MDAT_HEADER_BYTES + samples.checked_mul(entry_bytes(kind))?;
    u32::try_from(head.checked_add(media_bytes)?).ok()
}

/// What a segment's head says besides its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHead {
    /// What the track carries.
    pub kind: TrackKind,
    /// The segment's number from 0.
    pub number: u32,
    /// The track's [`reorder`](crate::domain::asset::AssetTrack::reorder).
    pub reorder: u32,
}

/// Writes everything of a segment before its media bytes: `moof` and the header of `mdat`. The media bytes of `samples`
/// follow in order; sizes must have been checked by [`segment_bytes`].
pub fn write_segment_head(out: &mut BytesMut, head: SegmentHead, samples: &[SampleRecord]) {
    let SegmentHead { kind, number, .. } = head;
    let moof_bytes = (MOOF_FIXED_BYTES + samples.len() as u64 * entry_bytes(kind)) as u32;
    put_header(out, moof_bytes, b"moof");
    put_header(out, 16, b"mfhd");
    out.put_u32(0);
    out.put_u32(number.saturating_add(1));
    put_header(out, moof_bytes - 24, b"traf");
    put_header(out, 16, b"tfhd");
    out.put_u32(0x02_0000);
    out.put_u32(TRACK_ID);
    put_header(out, 20, b"tfdt");
    out.put_u32(1 << 24);
    out.put_u64(samples.first().map_or(0, |sample| sample.dts));
    write_run(out, head, samples, moof_bytes + MDAT_HEADER_BYTES as u32);
    let media_bytes: u32 = samples.iter().map(|sample| sample.bytes).sum();
    put_header(out, media_bytes + MDAT_HEADER_BYTES as u32, b"mdat");
}

fn write_run(
    out: &mut BytesMut,
    SegmentHead { kind, reorder, .. }: SegmentHead,
    samples: &[SampleRecord],
    data_offset: u32,
) {
    let composition = |sample: &SampleRecord| i64::from(sample.composition) + i64::from(reorder);
    let signed = samples.iter().any(|sample| composition(sample) < 0);
    put_header(out, 20 + samples.len() as u32 * entry_bytes(kind) as u32, b"trun");
    match kind {
        TrackKind::Video => out.put_u32(u32::from(signed) << 24 | 0xf01),
        TrackKind::Audio => out.put_u32(0x301),
    }
    out.put_u32(samples.len() as u32);
    out.put_u32(data_offset);
    for sample in samples {
        out.put_u32(sample.duration);
        out.put_u32(sample.bytes);
        if kind == TrackKind::Video {
            out.put_u32(if sample.keyframe { SYNC_FLAGS } else { NON_SYNC_FLAGS });
            out.put_i32(composition(sample).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
        }
    }
}

fn put_header(out: &mut BytesMut, bytes: u32, kind: &[u8; 4]) {
    out.put_u32(bytes);
    out.put_slice(kind);
}

#[cfg(test)]
mod tests;
