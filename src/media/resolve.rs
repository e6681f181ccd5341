//! The one way to segment bytes. Finished objects are shared: however many viewers want one, it is built once and kept in
//! a cache bounded in bytes. What lies in one piece is passed on as it is read, to all who wait for it.
mod ahead;
mod reads;

use std::sync::Arc;

use ahead::LookAhead;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use moka::sync::Cache;
use reads::{ReadPlan, Run};

use super::flights::{Flights, Joined, Need, Passenger, Pilot};
use super::packager::{SegmentHead, segment_bytes, write_segment_head};
use super::records::{RECORD_BYTES, SampleRecord, read_records};
use crate::domain::asset::{Asset, AssetTrack, SegmentBytes};
use crate::domain::ids::VideoId;
use crate::domain::ports::{
    BlobStore, MediaObject, ObjectBytes, Opened, Origin, RangeKey, ResolveError, SegmentMaker, SegmentSource,
};

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
    flights: Flights<ObjectKey, ResolveError>,
    maker: Option<Arc<dyn SegmentMaker>>,
    ahead: Option<Arc<LookAhead>>,
}

/// An object that is there, or is under way.
enum Found {
    Whole(Bytes),
    Coming { passenger: Passenger<ResolveError>, origin: Origin, bytes: u32 },
}

impl Resolver {
    /// A resolver whose cache holds at most `cache_bytes_max` bytes of finished objects.
    pub fn new(blobs: Arc<dyn BlobStore>, cache_bytes_max: u64) -> Self {
        let weigh = |_: &ObjectKey, object: &Bytes| u32::try_from(object.len()).unwrap_or(u32::MAX);
        let cache = Cache::builder().max_capacity(cache_bytes_max).weigher(weigh).build();
        Self { blobs, cache, flights: Flights::default(), maker: None, ahead: None }
    }

    /// Fetching so many segments ahead of each viewer.
    pub fn with_look_ahead(self, segments: u32) -> Self {
        Self { ahead: (segments > 0).then(|| Arc::new(LookAhead::new(segments))), ..self }
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

    /// Brings an object, and keeps it.
    async fn fetch(
        self,
        (asset, key): (Arc<Asset>, ObjectKey),
        pilot: Pilot<ResolveError>,
    ) -> Result<(), ResolveError> {
        let track = asset.track(&key.track).ok_or(ResolveError::NotFound)?;
        let wanted = find(track, key.object).ok_or(ResolveError::NotFound)?;
        match wanted.source {
            SegmentBytes::Span { .. } => {
                let RangeKey { key, range } = piece(track, wanted)?;
                let mut read = self.blobs.stream(&key, range.unwrap_or_default());
                while let Some(bytes) = read.try_next().await? {
                    pilot.push(bytes);
                }
            }
            SegmentBytes::Virtual { first, samples } => {
                let records = self.read_table(track, *first, *samples).await?;
                pilot.push(self.build_from_samples(&asset, track, wanted.number, &records).await?);
            }
            SegmentBytes::Make { chunk } => pilot.push(self.make(&asset, track, *chunk, wanted.number).await?),
            SegmentBytes::Gap => return Err(ResolveError::NotFound),
        }
        metrics::counter!("playhouse_segment_built_bytes_total").increment(pilot.bytes());
        if wanted.bytes().is_some_and(|bytes| u64::from(bytes) != pilot.bytes()) {
            return Err(damaged("a segment has another size than its index says"));
        }
        self.cache.insert(key, pilot.so_far());
        Ok(())
    }

    fn find(
        &self,
        asset: &Arc<Asset>,
        (track, object): (&str, MediaObject),
        need: Need,
    ) -> Result<Found, ResolveError> {
        let track = asset.track(track).ok_or(ResolveError::NotFound)?;
        match object {
            MediaObject::Init => return Ok(Found::Whole(track.init.clone())),
            MediaObject::EpochInit(epoch) => {
                let init = asset.init_of(epoch as usize, &track.name).cloned();
                return init.map(Found::Whole).ok_or(ResolveError::NotFound);
            }
            MediaObject::Segment(_) | MediaObject::KeyFrame(_) => {}
        }
        let wanted = find(track, object).ok_or(ResolveError::NotFound)?;
        let key = ObjectKey { video: asset.video_id.clone(), track: track.name.as_str().into(), object };
        if let Some(bytes) = self.cache.get(&key) {
            return Ok(Found::Whole(bytes));
        }
        let is_near = piece(track, wanted).is_ok_and(|piece| self.blobs.is_near(&piece));
        let fly = |pilot| self.clone().fetch((Arc::clone(asset), key.clone()), pilot);
        // It may have come just now.
        Ok(match self.flights.join((key.clone(), need), || self.cache.get(&key), fly) {
            Joined::Found(bytes) => Found::Whole(bytes),
            Joined::Passenger { passenger, is_first } => {
                let origin = match (is_first, is_near) {
                    (true, false) => Origin::Fetched,
                    (true, true) => Origin::Near,
                    (false, _) => Origin::UnderWay,
                };
                // Of what is yet to be made the size is not known.
                Found::Coming { passenger, origin, bytes: wanted.bytes().unwrap_or(0) }
            }
        })
    }

    /// The same as `resolve`; whether it goes on for nobody is the asker's choice.
    async fn whole(&self, asset: &Arc<Asset>, of: (&str, MediaObject), need: Need) -> Result<Bytes, ResolveError> {
        match self.find(asset, of, need)? {
            Found::Whole(bytes) => Ok(bytes),
            Found::Coming { passenger, .. } => passenger.whole().await,
        }
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

impl Wanted<'_> {
    /// Its size, when that is known.
    fn bytes(&self) -> Option<u32> {
        (!matches!(self.source, SegmentBytes::Make { .. })).then_some(self.bytes)
    }
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

/// Where an object lies that is in one piece.
fn piece(track: &AssetTrack, wanted: Wanted<'_>) -> Result<RangeKey, ResolveError> {
    let SegmentBytes::Span { span, offset, bytes } = wanted.source else { return Err(ResolveError::NotFound) };
    let key = track.spans.get(*span as usize).ok_or_else(|| damaged("no such span"))?;
    Ok(RangeKey { key: key.clone(), range: Some(*offset..*offset + u64::from(*bytes)) })
}

fn count(origin: Origin, bytes: u32) {
    let result = match origin {
        Origin::Near => "hit",
        Origin::UnderWay => "collapsed",
        Origin::Fetched => "miss",
    };
    metrics::counter!("playhouse_segment_requests_total", "result" => result).increment(1);
    metrics::counter!("playhouse_segment_bytes_total", "result" => result).increment(bytes.into());
}

#[async_trait]
impl SegmentSource for Resolver {
    async fn resolve(&self, asset: &Arc<Asset>, track: &str, object: MediaObject) -> Result<Bytes, ResolveError> {
        self.whole(asset, (track, object), Need::Asked).await
    }

    async fn open(&self, asset: &Arc<Asset>, track: &str, object: MediaObject) -> Result<Opened, ResolveError> {
        let (mut passenger, origin, bytes) = match self.find(asset, (track, object), Need::Asked)? {
            Found::Whole(bytes) => {
                count(Origin::Near, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                return Ok(Opened { body: ObjectBytes::Whole(bytes), origin: Origin::Near });
            }
            Found::Coming { passenger, origin, bytes } => (passenger, origin, bytes),
        };
        count(origin, bytes);
        passenger.begun().await?;
        let body = match bytes {
            0 => ObjectBytes::Whole(passenger.whole().await?),
            bytes => ObjectBytes::Coming { bytes: bytes.into(), stream: passenger.into_stream().boxed() },
        };
        Ok(Opened { body, origin })
    }

    fn look_ahead(&self, viewer: u64, asset: &Arc<Asset>, track: &str, segment: u32) {
        if let Some(ahead) = &self.ahead {
            ahead.note((viewer, segment), (self, asset), track);
        }
    }
}

#[cfg(test)]
mod tests;
