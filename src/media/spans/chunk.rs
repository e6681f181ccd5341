//! The span of an encoded chunk: its segments are given by the plan, each a closed group of pictures.
use std::path::PathBuf;

use bytes::Bytes;

use super::file::{SpanFiles, SpanNames};
use super::{SpanError, SpanFile};
use crate::domain::asset::{BlobKey, SegmentBytes, VideoProperties};
use crate::media::frames::{Frame, TrackConfig, frame_rate};
use crate::media::packager::init_segment;
use crate::media::records::SampleRecord;
use crate::media::work::SpanSegment;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ChunkSpec {
    /// The asset track's name; the file's is this and the number of the first segment.
    pub name: String,
    /// Number of the first segment.
    pub first_segment: u32,
    /// Starts of the segments and the end of the last one, ticks of the configuration's timescale.
    pub cuts: Vec<i64>,
    /// An existing directory.
    pub dir: PathBuf,
    /// What the key starts with, without a slash at its end.
    pub prefix: BlobKey,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanOfChunk {
    /// Initialisation segment.
    pub init: Bytes,
    /// RFC 6381 codec string.
    pub codec: String,
    /// How far decoding runs ahead of presentation, ticks.
    pub reorder: u32,
    /// Properties of the pictures.
    pub video: VideoProperties,
    /// The file.
    pub span: SpanFile,
    /// Its segments.
    pub segments: Vec<SpanSegment>,
    /// Sample records of the key frames.
    pub key_frames: Bytes,
    /// Pictures in it.
    pub num_frames: u32,
}

/// Writes it as pictures come out of an encoder, in decode order.
pub struct ChunkSpan {
    spec: ChunkSpec,
    config: TrackConfig,
    init: Bytes,
    files: SpanFiles,
    pending: Vec<Frame>,
    segments: Vec<SpanSegment>,
    key_frames: Vec<u8>,
    num_frames: u32,
}

impl ChunkSpan {
    /// An empty span of this configuration, whose `reorder` has to hold for all chunks of the rung.
    pub fn new(spec: ChunkSpec, config: TrackConfig) -> Result<Self, SpanError> {
        let names = SpanNames {
            name: spec.name.clone(),
            first: spec.first_segment,
            dir: spec.dir.clone(),
            prefix: spec.prefix.clone(),
        };
        let init = init_segment(&config)?;
        let mut files = SpanFiles::new(names, config.kind(), i64::MAX);
        files.set_init(init.clone(), config.reorder);
        Ok(Self {
            spec,
            config,
            init,
            files,
            pending: Vec::new(),
            segments: Vec::new(),
            key_frames: Vec::new(),
            num_frames: 0,
        })
    }

    /// Takes the next picture in decode order. Its decode time does not matter: it is found from presentation times.
    pub fn push(&mut self, frame: Frame) -> Result<(), SpanError> {
        if frame.keyframe && !self.pending.is_empty() {
            self.write()?;
        }
        self.pending.push(frame);
        Ok(())
    }

    fn write(&mut self) -> Result<(), SpanError> {
        let index = self.segments.len();
        let (Some(start), Some(end)) = (self.spec.cuts.get(index).copied(), self.spec.cuts.get(index + 1).copied())
        else {
            return Err(SpanError::Encoder("the encoder made a key frame that was not asked for".into()));
        };
        let mut frames = std::mem::take(&mut self.pending);
        let starts_well = frames.first().is_some_and(|first| first.keyframe && first.pts == start);
        if !starts_well || frames.iter().any(|frame| frame.pts < start || frame.pts >= end) {
            return Err(SpanError::Encoder(format!("the encoder made no key frame at {start}")));
        }
        let presentation: Vec<i64> = frames.iter().map(|frame| frame.pts).collect();
        let decode = decode_times(&presentation, i64::from(self.config.reorder));
        frames.iter_mut().zip(decode).for_each(|(frame, dts)| frame.dts = dts);
        let mut records = records(&frames, end)?;
        let number = self.spec.first_segment.saturating_add(u32::try_from(index).unwrap_or(u32::MAX));
        let written = self.files.append(start, number, &frames, &records)?;
        let SegmentBytes::Span { offset, bytes, .. } = written.source else { return Err(out_of_range()) };
        let mut place = written.first_sample;
        for record in &mut records {
            record.offset = place;
            place += u64::from(record.bytes);
            if record.keyframe {
                record.append_to(&mut self.key_frames).map_err(|_| out_of_range())?;
            }
        }
        let duration = u32::try_from(end - start).map_err(|_| out_of_range())?;
        let offset = u32::try_from(offset).map_err(|_| out_of_range())?;
        self.segments.push(SpanSegment { start, duration, offset, bytes });
        self.num_frames = self.num_frames.saturating_add(u32::try_from(frames.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    /// No more pictures will come. Fails when a segment has none.
    pub fn finish(mut self) -> Result<SpanOfChunk, SpanError> {
        if !self.pending.is_empty() {
            self.write()?;
        }
        let wanted = self.spec.cuts.len().saturating_sub(1);
        if self.segments.len() != wanted {
            let found = self.segments.len();
            return Err(SpanError::Encoder(format!("the encoder made {found} segments instead of {wanted}")));
        }
        let ticks = self.segments.iter().map(|segment| u64::from(segment.duration)).sum();
        let rate = frame_rate(u64::from(self.num_frames), ticks, self.config.timescale);
        let video = self.config.video_properties(rate)?.ok_or_else(out_of_range)?;
        let span = self.files.finish()?.pop().ok_or_else(out_of_range)?;
        Ok(SpanOfChunk {
            init: self.init,
            codec: self.config.codec_string()?,
            reorder: self.config.reorder,
            video,
            span,
            segments: self.segments,
            key_frames: self.key_frames.into(),
            num_frames: self.num_frames,
        })
    }
}

/// Decode times of a closed group: the n-th picture takes the n-th smallest presentation time, or an earlier one where it
/// would otherwise be decoded later than `reorder` after it is shown. They increase, and the first two times are equal.
fn decode_times(presentation: &[i64], reorder: i64) -> Vec<i64> {
    let mut decode = presentation.to_vec();
    decode.sort_unstable();
    let (mut earliest, mut next) = (i64::MAX, i64::MAX);
    for (dts, pts) in decode.iter_mut().zip(presentation).rev() {
        earliest = earliest.min(*pts);
        *dts = (*dts).min(earliest.saturating_add(reorder)).min(next.saturating_sub(1));
        next = *dts;
    }
    decode
}

fn records(frames: &[Frame], end: i64) -> Result<Vec<SampleRecord>, SpanError> {
    let ends = frames.iter().skip(1).map(|frame| frame.dts).chain([end]);
    let record = |(frame, end): (&Frame, i64)| {
        Ok(SampleRecord {
            offset: 0,
            bytes: u32::try_from(frame.payload.len()).map_err(|_| out_of_range())?,
            dts: u64::try_from(frame.dts).map_err(|_| out_of_range())?,
            duration: u32::try_from(end - frame.dts).map_err(|_| out_of_range())?,
            composition: i32::try_from(frame.pts - frame.dts).map_err(|_| out_of_range())?,
            keyframe: frame.keyframe,
        })
    };
    frames.iter().zip(ends).map(record).collect()
}

fn out_of_range() -> SpanError {
    SpanError::Encoder("the encoder's times are out of range".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frames::CodecConfig;
    use crate::media::records::read_records;

    fn frame(pts: i64, keyframe: bool) -> Frame {
        Frame { dts: 0, pts, duration: 0, keyframe, payload: Bytes::from_static(&[0, 0, 0, 1, 0x65]) }
    }

    fn span(dir: &std::path::Path, cuts: &[i64]) -> ChunkSpan {
        let spec = ChunkSpec {
            name: "v240-3".into(),
            first_segment: 7,
            cuts: cuts.to_vec(),
            dir: dir.to_owned(),
            prefix: BlobKey::new("vod-abr/x"),
        };
        let mut config = TrackConfig::new(CodecConfig::H264 { avcc: crate::media::testing::avcc() }, 1000);
        config.reorder = 100;
        ChunkSpan::new(spec, config).unwrap()
    }

    #[test]
    fn segments_end_where_the_plan_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut chunk = span(dir.path(), &[1000, 1160, 1400]);
        for (pts, key) in [(1000, true), (1120, false), (1080, false), (1040, false), (1160, true), (1200, false)] {
            chunk.push(frame(pts, key)).unwrap();
        }
        let made = chunk.finish().unwrap();
        assert_eq!(made.span.path, dir.path().join("v240-3-7.mp4"));
        assert_eq!(made.span.key, BlobKey::new("vod-abr/x/v240-3-7.mp4"));
        assert_eq!(made.num_frames, 6);
        let places: Vec<_> = made.segments.iter().map(|segment| (segment.start, segment.duration)).collect();
        assert_eq!(places, [(1000, 160), (1160, 240)]);
        let bytes = std::fs::read(&made.span.path).unwrap();
        let keys: Vec<_> = read_records(&made.key_frames).collect();
        assert_eq!(keys.iter().map(SampleRecord::pts).collect::<Vec<_>>(), [1000, 1160]);
        for key in &keys {
            let place = usize::try_from(key.offset).unwrap();
            assert_eq!(bytes.get(place..place + 5), Some(&[0, 0, 0, 1, 0x65][..]));
        }
        let last = made.segments.last().unwrap();
        assert_eq!(u64::from(last.offset + last.bytes), made.span.bytes);
        assert_eq!(made.video.frame_rate, (15, 1));
    }

    #[test]
    fn an_encoder_that_cuts_elsewhere_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut chunk = span(dir.path(), &[1000, 1160, 1400]);
        chunk.push(frame(1000, true)).unwrap();
        chunk.push(frame(1160, false)).unwrap();
        assert!(matches!(chunk.finish(), Err(SpanError::Encoder(_))));
        let mut chunk = span(dir.path(), &[1000, 1160]);
        chunk.push(frame(1000, true)).unwrap();
        chunk.push(frame(1080, true)).unwrap();
        assert!(matches!(chunk.finish(), Err(SpanError::Encoder(_))));
    }

    #[test]
    fn decode_times_increase_and_are_never_too_late() {
        assert_eq!(decode_times(&[0, 120, 80, 40], 100), [0, 40, 80, 120]);
        // Long pictures: decoding keeps within the delay that the track has.
        let presentation = [0, 4000, 2000, 1000, 3000];
        let decode = decode_times(&presentation, 100);
        assert_eq!(decode, [0, 1000, 1099, 1100, 3100]);
        assert!(decode.iter().zip(presentation).all(|(dts, pts)| dts - pts <= 100));
    }
}
