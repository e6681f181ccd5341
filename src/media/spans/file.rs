//! The files of one track's spans.
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};

use super::{SpanError, SpanFile};
use crate::domain::asset::{BlobKey, SegmentBytes, TrackKind};
use crate::media::frames::Frame;
use crate::media::packager::{SegmentHead, segment_bytes, write_segment_head};
use crate::media::records::{SampleRecord, span_offset};
use crate::media::standard::unmet;

/// Largest span: positions in it have 32 bits.
const SPAN_BYTES_MAX: u64 = 2 << 30;

/// Appends segments to span files, each of which starts with the initialisation segment and so plays by itself.
#[derive(Debug)]
pub(super) struct SpanFiles {
    names: SpanNames,
    kind: TrackKind,
    reorder: u32,
    init: Bytes,
    span_ticks: i64,
    open: Option<OpenSpan>,
    finished: Vec<SpanFile>,
}

/// Where a track's spans lie and what they are called: `<name>-<number>.mp4`.
#[derive(Debug, Clone)]
pub(super) struct SpanNames {
    pub(super) name: String,
    /// Number of the first span.
    pub(super) first: u32,
    pub(super) dir: PathBuf,
    /// Of the keys, without a slash at its end.
    pub(super) prefix: BlobKey,
}

#[derive(Debug)]
struct OpenSpan {
    file: File,
    span: SpanFile,
    start: i64,
}

/// Where a segment was written.
pub(super) struct Written {
    pub(super) source: SegmentBytes,
    pub(super) bytes: u32,
    /// Place of the first sample's bytes, as records of tracks with spans say it.
    pub(super) first_sample: u64,
}

impl SpanFiles {
    /// Spans of a track; [`Self::set_init`] has to come before the first segment.
    pub(super) fn new(names: SpanNames, kind: TrackKind, span_ticks: i64) -> Self {
        Self { names, kind, reorder: 0, init: Bytes::new(), span_ticks, open: None, finished: Vec::new() }
    }

    /// What every span starts with, and the track's reordering delay in it.
    pub(super) fn set_init(&mut self, init: Bytes, reorder: u32) {
        (self.init, self.reorder) = (init, reorder);
    }

    /// Appends a segment that is shown from `start` on.
    pub(super) fn append(
        &mut self,
        start: i64,
        number: u32,
        frames: &[Frame],
        records: &[SampleRecord],
    ) -> Result<Written, SpanError> {
        let too_large = || SpanError::from(unmet("bit_rate", "a segment is too large"));
        let media_bytes = frames.iter().map(|frame| frame.payload.len() as u64).sum();
        let bytes = segment_bytes(self.kind, frames.len() as u64, media_bytes).ok_or_else(too_large)?;
        let mut out = BytesMut::with_capacity(bytes as usize);
        write_segment_head(&mut out, SegmentHead { kind: self.kind, number, reorder: self.reorder }, records);
        let head_bytes = out.len() as u64;
        frames.iter().for_each(|frame| out.extend_from_slice(&frame.payload));
        let open = self.span_for(start, u64::from(bytes))?;
        open.file.write_all(&out)?;
        let offset = open.span.bytes;
        open.span.bytes += u64::from(bytes);
        let span = u16::try_from(self.finished.len()).map_err(|_| too_large())?;
        let first = u32::try_from(offset + head_bytes).map_err(|_| too_large())?;
        let source = SegmentBytes::Span { span: u32::from(span), offset, bytes };
        Ok(Written { source, bytes, first_sample: span_offset(span, first) })
    }

    fn span_for(&mut self, start: i64, bytes: u64) -> Result<&mut OpenSpan, SpanError> {
        let full = |open: &OpenSpan| {
            start - open.start >= self.span_ticks || open.span.bytes.saturating_add(bytes) > SPAN_BYTES_MAX
        };
        if self.open.as_ref().is_some_and(full) {
            self.close()?;
        }
        if self.open.is_none() {
            self.open = Some(self.create(start)?);
        }
        self.open.as_mut().ok_or_else(|| std::io::Error::other("no open span").into())
    }

    fn create(&self, start: i64) -> Result<OpenSpan, SpanError> {
        let SpanNames { name, first, dir, prefix } = &self.names;
        let name = format!("{name}-{}.mp4", *first as usize + self.finished.len());
        let path = dir.join(&name);
        let mut file = File::create(&path)?;
        file.write_all(&self.init)?;
        let key = BlobKey::new(format!("{prefix}/{name}"));
        Ok(OpenSpan { file, span: SpanFile { path, key, bytes: self.init.len() as u64 }, start })
    }

    fn close(&mut self) -> Result<(), SpanError> {
        if let Some(open) = self.open.take() {
            open.file.sync_data()?;
            self.finished.push(open.span);
        }
        Ok(())
    }

    /// All spans, durable.
    pub(super) fn finish(mut self) -> Result<Vec<SpanFile>, SpanError> {
        self.close()?;
        Ok(self.finished)
    }
}
