//! Parts: CMAF chunks of one `moof` and one `mdat`, cut *before* they would grow longer than PART-TARGET
//! (draft-pantos-hls-rfc8216bis, 4.4.3.7 and B.1), in every track alike.
use bytes::{Bytes, BytesMut};
use mp4_atom::{Encode, FourCC, Mdat, Mfhd, Moof, Prft, ReferenceTime, Styp, Tfdt, Tfhd, Traf};
use serde::{Deserialize, Serialize};

use super::ring::Beginning;
use crate::domain::asset::TrackKind;
use crate::domain::time::Timestamp;
use crate::media::frames::Frame;
use crate::media::packager::{SegmentHead, segment_bytes, write_segment_head};
use crate::media::records::SampleRecord;

/// From 1900, where NTP begins, to 1970, seconds.
const UNIX_EPOCH_SECS: i64 = 2_208_988_800;

/// PART-TARGET of a stream, fixed for the life of its playback URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartTarget {
    ms: u32,
}

impl PartTarget {
    /// The target that a whole number of frames fills best: 0.25 s for 24, 25 and at least 27 frames a second, else
    /// 0.334 s; longer only when a single frame is. Without pictures, or before their rate is known, 0.25 s.
    pub fn for_frame_rate(rate: Option<(u32, u32)>) -> Self {
        let Some((frames, seconds)) = rate.filter(|(frames, seconds)| *frames > 0 && *seconds > 0) else {
            return Self { ms: 250 };
        };
        let milli = u64::from(frames) * 1000 / u64::from(seconds);
        let fits = matches!(milli, 24_000..=25_100) || milli >= 26_900;
        let frame_ms = (1_000_000 / milli.max(1)) as u32 + 1;
        Self { ms: if fits { 250 } else { frame_ms.max(334) } }
    }

    /// Milliseconds.
    pub fn as_millis(self) -> u32 {
        self.ms
    }

    /// How many parts ahead of what is there one may be waited for: what fills three seconds, and three at least
    /// (draft-pantos-hls-rfc8216bis, 6.2.5.2).
    pub fn advance_limit(self) -> u32 {
        (3000 / self.ms.max(1)).max(3)
    }

    /// In ticks, rounded down: what a part of that track may last.
    pub fn ticks(self, timescale: u32) -> i64 {
        i64::from(self.ms) * i64::from(timescale) / 1000
    }
}

/// A finished part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `moof` and `mdat`.
    pub bytes: Bytes,
    /// Decode time of its first frame, ticks.
    pub start: i64,
    /// Ticks to the start of what follows.
    pub duration: u32,
    /// Whether decoding can start with it.
    pub independent: bool,
    /// Its first frame; the offset is that of its bytes within the part.
    pub first: SampleRecord,
}

impl Part {
    /// With these bytes before its own.
    pub(super) fn headed_by(self, head: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(head.len() + self.bytes.len());
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(&self.bytes);
        let first = SampleRecord { offset: self.first.offset + head.len() as u64, ..self.first };
        Self { bytes: bytes.freeze(), first, ..self }
    }

    /// Decode time at which it ends.
    pub fn end(&self) -> i64 {
        self.start + i64::from(self.duration)
    }
}

/// What a segment begins with: its type (ISO/IEC 23000-19, 7.3.3.1), and the wall-clock time at which its first picture was
/// taken (ISO/IEC 14496-12, 8.16.5). Where one begins is told from what lies in a file by these.
pub(super) fn segment_type(beginning: &Beginning) -> Bytes {
    let brand = |code: &[u8; 4]| FourCC::new(code);
    let compatible_brands = vec![brand(b"cmfs"), brand(b"cmff"), brand(b"cmfl")];
    let styp = Styp { major_brand: brand(b"cmfs"), minor_version: 0, compatible_brands };
    let prft = Prft {
        reference_track_id: 1,
        ntp_timestamp: ntp(beginning.date),
        media_time: u64::try_from(beginning.start.value).unwrap_or(0),
        utc_time_semantics: ReferenceTime::Consistent,
    };
    let mut out = Vec::new();
    // Into memory it cannot fail.
    let _ = styp.encode(&mut out).and_then(|()| prft.encode(&mut out));
    out.into()
}

/// A segment in which nothing happens: for players that ask for what was never sent, so that they go on to what follows.
pub fn empty_segment(beginning: &Beginning, timescale: u32) -> Bytes {
    let mut out = segment_type(beginning).to_vec();
    let base_media_decode_time = u64::try_from(beginning.start.rescale(timescale)).unwrap_or(0);
    let tfhd = Tfhd { track_id: 1, duration_is_empty: true, default_base_is_moof: true, ..Tfhd::default() };
    let traf = Traf { tfhd, tfdt: Some(Tfdt { base_media_decode_time }), ..Traf::default() };
    let moof = Moof { mfhd: Mfhd { sequence_number: 1 }, traf: vec![traf] };
    let _ = moof.encode(&mut out).and_then(|()| Mdat { data: Vec::new() }.encode(&mut out));
    out.into()
}

/// Seconds since 1900 and their fraction (RFC 5905).
fn ntp(at: Timestamp) -> u64 {
    let millis = at.as_millis();
    let secs = u64::try_from(millis.div_euclid(1000) + UNIX_EPOCH_SECS).unwrap_or(0);
    let fraction = (u64::try_from(millis.rem_euclid(1000)).unwrap_or(0) << 32) / 1000;
    secs << 32 | fraction
}

/// One frame as a fragment of an MP4 file, behind an initialisation segment: for decoders that get frames as they come.
pub fn fragment(kind: TrackKind, frame: &Frame) -> Option<Bytes> {
    let mut parts = PartBuilder::new(kind, i64::MAX / 4);
    let _ = parts.push(frame.clone());
    parts.finish().map(|part| part.bytes)
}

/// Gathers the frames of one track into parts.
#[derive(Debug)]
pub(super) struct PartBuilder {
    kind: TrackKind,
    target: i64,
    number: u32,
    frames: Vec<Frame>,
    media_bytes: u64,
}

impl PartBuilder {
    pub(super) fn new(kind: TrackKind, target: i64) -> Self {
        Self { kind, target, number: 0, frames: Vec::new(), media_bytes: 0 }
    }

    /// The same, whose parts are numbered (8.8.5) from where those of another one end.
    pub(super) fn after(self, before: Option<&Self>) -> Self {
        Self { number: before.map_or(0, |before| before.number), ..self }
    }

    /// Whether a frame of this length is of the part that is being gathered, if there is one.
    pub(super) fn has_room(&self, dts: i64, length: u32) -> bool {
        let start = self.frames.first().map_or(dts, |first| first.dts);
        dts + i64::from(length) - start <= self.target
    }

    /// Takes a frame whose duration is known. Returns the part that it did not fit into, then the one that it filled.
    pub(super) fn push(&mut self, frame: Frame) -> [Option<Part>; 2] {
        let length = i64::from(frame.duration);
        let before = if self.has_room(frame.dts, frame.duration) { None } else { self.finish() };
        let start = self.frames.first().map_or(frame.dts, |first| first.dts);
        let is_full = frame.dts + 2 * length - start > self.target;
        self.media_bytes += frame.payload.len() as u64;
        self.frames.push(frame);
        [before, if is_full { self.finish() } else { None }]
    }

    /// The part of what was gathered.
    pub(super) fn finish(&mut self) -> Option<Part> {
        let first = self.frames.first()?;
        let (start, independent) = (first.dts, first.keyframe);
        let records: Vec<SampleRecord> = self.frames.iter().map(record).collect();
        let duration = records.iter().fold(0u32, |sum, record| sum.saturating_add(record.duration));
        let bytes = segment_bytes(self.kind, records.len() as u64, self.media_bytes);
        let mut out = BytesMut::with_capacity(bytes.unwrap_or(0) as usize);
        write_segment_head(&mut out, SegmentHead { kind: self.kind, number: self.number, reorder: 0 }, &records);
        let first = SampleRecord { offset: out.len() as u64, ..*records.first()? };
        self.frames.iter().for_each(|frame| out.extend_from_slice(&frame.payload));
        self.number = self.number.wrapping_add(1);
        self.media_bytes = 0;
        self.frames.clear();
        Some(Part { bytes: out.freeze(), start, duration, independent, first })
    }
}

fn record(frame: &Frame) -> SampleRecord {
    SampleRecord {
        offset: 0,
        bytes: u32::try_from(frame.payload.len()).unwrap_or(u32::MAX),
        dts: u64::try_from(frame.dts).unwrap_or(0),
        duration: frame.duration,
        composition: i32::try_from(frame.pts - frame.dts).unwrap_or(0),
        keyframe: frame.keyframe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_filled_by_whole_frames() {
        let fill = |rate: (u32, u32)| {
            let target = f64::from(PartTarget::for_frame_rate(Some(rate)).as_millis()) / 1000.0;
            let frame = f64::from(rate.1) / f64::from(rate.0);
            (target / frame + 1e-9).floor() * frame / target
        };
        for rate in [(24, 1), (25, 1), (30_000, 1001), (30, 1), (50, 1), (60, 1), (120, 1), (48, 1)] {
            assert_eq!(PartTarget::for_frame_rate(Some(rate)).as_millis(), 250, "{rate:?}");
            assert!(fill(rate) >= 0.85, "{rate:?}: {}", fill(rate));
        }
        for rate in [(24_000, 1001), (10, 1), (12, 1), (15, 1), (20, 1), (18, 1), (26, 1)] {
            assert!(fill(rate) >= 0.85, "{rate:?}: {}", fill(rate));
        }
        assert_eq!(PartTarget::for_frame_rate(Some((1, 1))).as_millis(), 1001);
        assert_eq!(PartTarget::for_frame_rate(None).as_millis(), 250);
    }
}
