//! The one way to segment bytes. Finished objects are shared: however many viewers want one, it is built once and kept in
//! a cache bounded in bytes.
mod reads;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use moka::future::Cache;
use reads::{ReadPlan, Run};

use super::packager::{SegmentHead, segment_bytes, write_segment_head};
use super::records::{RECORD_BYTES, SampleRecord, read_records};
use crate::domain::asset::{Asset, AssetTrack, SegmentBytes};
use crate::domain::ids::VideoId;
use crate::domain::ports::{BlobStore, MediaObject, ResolveError, SegmentMaker, SegmentSource};

/// Reads of one object under way at once: enough to hide a remote store's latency, few enough to be fair.
const READS_IN_FLIGHT_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ObjectKey {
    video: VideoId,
    /// Carries the generation in which the track was made: one name means the same bytes for ever.
    track: Arc<str>,
    object: MediaObject,
}

/// Resolves media objects of assets from a blob store.
#[derive(Clone)]
pub struct Resolver {
    blobs: Arc<dyn BlobStore>,
    cache: Cache<ObjectKey, Bytes>,
    maker: Option<Arc<dyn SegmentMaker>>,
}

impl Resolver {
    /// A resolver whose cache holds at most `cache_bytes_max` bytes of finished objects.
    pub fn new(blobs: Arc<dyn BlobStore>, cache_bytes_max: u64) -> Self {
        let weigh = |_: &ObjectKey, object: &Bytes| u32::try_from(object.len()).unwrap_or(u32::MAX);
        Self { blobs, cache: Cache::builder().max_capacity(cache_bytes_max).weigher(weigh).build(), maker: None }
    }

    /// With somebody who makes segments that are not there yet.
    pub fn with_maker(self, maker: Arc<dyn SegmentMaker>) -> Self {
        Self { maker: Some(maker), ..self }
    }

    async fn make(&self, asset: &Asset, track: &AssetTrack, chunk: u32, segment: u32) -> Result<Bytes, ResolveError> {
        let maker = self.maker.as_ref().ok_or(ResolveError::NotFound)?;
        let made = maker.make(&asset.video_id, &track.name, chunk, segment).await?;
        Ok(self.blobs.read(&made.span, made.offset..made.offset + u64::from(made.bytes)).await?)
    }

    async fn build(&self, asset: &Asset, track: &AssetTrack, wanted: Wanted<'_>) -> Result<Bytes, ResolveError> {
        let built = match wanted.source {
            SegmentBytes::Span { span, offset, bytes } => {
                let key = track.spans.get(*span as usize).ok_or_else(|| damaged("no such span"))?;
                self.blobs.read(key, *offset..*offset + u64::from(*bytes)).await?
            }
            SegmentBytes::Virtual { first, samples } => {
                let records = self.read_table(track, *first, *samples).await?;
                self.build_from_samples(asset, track, wanted.number, &records).await?
            }
            SegmentBytes::Make { chunk } => return self.make(asset, track, *chunk, wanted.number).await,
            SegmentBytes::Gap => return Err(ResolveError::NotFound),
        };
        metrics::counter!("playhouse_segment_built_bytes_total").increment(built.len() as u64);
        if built.len() as u64 != u64::from(wanted.bytes) {
            return Err(damaged("a segment has another size than its index says"));
        }
        Ok(built)
    }

    async fn read_table(
        &self,
        track: &AssetTrack,
        first: u64,
        samples: u32,
    ) -> Result<Vec<SampleRecord>, ResolveError> {
        let key = track.sample_table.as_ref().ok_or_else(|| damaged("no sample table"))?;
        let start = first.checked_mul(RECORD_BYTES).ok_or_else(|| damaged("sample out of range"))?;
        let table = self.blobs.read(key, start..start + u64::from(samples) * RECORD_BYTES).await?;
        let records: Vec<_> = read_records(&table).collect();
        if records.len() == samples as usize { Ok(records) } else { Err(damaged("the sample table is too short")) }
    }

    async fn build_from_samples(
        &self,
        asset: &Asset,
        track: &AssetTrack,
        number: u32,
        records: &[SampleRecord],
    ) -> Result<Bytes, ResolveError> {
        let media_bytes = records.iter().map(|record| u64::from(record.bytes)).sum();
        let bytes = segment_bytes(track.kind, records.len() as u64, media_bytes);
        let bytes = bytes.ok_or_else(|| damaged("a segment is too large"))?;
        let plan = ReadPlan::new(asset, track, records)?;
        let read = |run: &Run| {
            let (key, range) = (run.key.clone(), run.range.clone());
            async move { self.blobs.read(&key, range).await }
        };
        let reads: Vec<Bytes> =
            stream::iter(plan.runs.iter().map(read)).buffered(READS_IN_FLIGHT_MAX).try_collect().await?;
        let mut out = BytesMut::with_capacity(bytes as usize);
        write_segment_head(&mut out, SegmentHead { kind: track.kind, number, reorder: track.reorder }, records);
        for piece in &plan.pieces {
            out.extend_from_slice(plan.cut(piece, &reads).ok_or_else(|| damaged("a read came back short"))?);
        }
        Ok(out.freeze())
    }
}

fn damaged(what: &str) -> ResolveError {
    ResolveError::Damaged(what.to_owned())
}

/// An object that was found in the index.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    number: u32,
    source: &'a SegmentBytes,
    bytes: u32,
}

fn find(track: &AssetTrack, object: MediaObject) -> Option<Wanted<'_>> {
    match object {
        MediaObject::Init | MediaObject::EpochInit(_) => None,
        MediaObject::Segment(number) => {
            let segment = track.segments.get(number as usize).filter(|segment| !segment.is_gap())?;
            Some(Wanted { number, source: &segment.source, bytes: segment.bytes })
        }
        MediaObject::KeyFrame(number) => {
            let key_frame = track.key_frames.get(number as usize)?;
            Some(Wanted { number, source: &key_frame.source, bytes: key_frame.bytes })
        }
    }
}

#[async_trait]
impl SegmentSource for Resolver {
    async fn resolve(&self, asset: &Asset, track: &str, object: MediaObject) -> Result<Bytes, ResolveError> {
        let track = asset.track(track).ok_or(ResolveError::NotFound)?;
        match object {
            MediaObject::Init => return Ok(track.init.clone()),
            MediaObject::EpochInit(epoch) => {
                return asset.init_of(epoch as usize, &track.name).cloned().ok_or(ResolveError::NotFound);
            }
            MediaObject::Segment(_) | MediaObject::KeyFrame(_) => {}
        }
        let wanted = find(track, object).ok_or(ResolveError::NotFound)?;
        let (video, name) = (asset.video_id.clone(), track.name.as_str().into());
        let key = ObjectKey { video, track: name, object };
        if let Some(found) = self.cache.get(&key).await {
            metrics::counter!("playhouse_segment_cache_hits_total").increment(1);
            return Ok(found);
        }
        metrics::counter!("playhouse_segment_cache_misses_total").increment(1);
        self.cache.try_get_with(key, self.build(asset, track, wanted)).await.map_err(|error| (*error).clone())
    }
}

#[cfg(test)]
mod tests;
