use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use metrics_exporter_prometheus::PrometheusBuilder;
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::domain::asset::{BlobKey, Segment};
use crate::domain::ports::{BlobError, BlobMeta, BlobStore, SegmentSource};
use crate::media::testing::{blobs_in, empty_asset, empty_track};

/// Segments of each track.
const SEGMENTS: u32 = 100;
/// Bytes of each.
const BYTES: u32 = 10;

/// The real store, behind a door that is opened when the test wants it; it knows what is read, and whether that was given up.
struct Doored {
    store: Arc<dyn BlobStore>,
    is_open: watch::Sender<bool>,
    reads: Arc<Mutex<Vec<Read>>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Read {
    track: String,
    segment: u32,
    is_given_up: bool,
}

/// A read that is under way.
struct UnderWay {
    reads: Arc<Mutex<Vec<Read>>>,
    index: usize,
    is_done: bool,
}

impl UnderWay {
    fn begin(reads: &Arc<Mutex<Vec<Read>>>, read: Read) -> Self {
        let mut known = reads.lock().unwrap();
        known.push(read);
        Self { reads: Arc::clone(reads), index: known.len() - 1, is_done: false }
    }

    fn end(&mut self) {
        self.is_done = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.reads.lock().unwrap()[self.index].is_given_up = !self.is_done;
    }
}

#[async_trait::async_trait]
impl BlobStore for Doored {
    fn stream(&self, key: &BlobKey, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let segment = u32::try_from(range.start).unwrap() / BYTES;
        let mut under_way =
            UnderWay::begin(&self.reads, Read { track: key.as_str().to_owned(), segment, is_given_up: false });
        let (inner, mut is_open) = (self.store.stream(key, range), self.is_open.subscribe());
        let opened = async move {
            is_open.wait_for(|is_open| *is_open).await.unwrap();
            under_way.end();
            inner
        };
        stream::once(opened).flatten().boxed()
    }

    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<(), BlobError> {
        self.store.put(key, bytes).await
    }

    async fn adopt(&self, key: &BlobKey, file: &Path) -> Result<u64, BlobError> {
        self.store.adopt(key, file).await
    }

    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        self.store.read(key, range).await
    }

    async fn read_all(&self, key: &BlobKey) -> Result<Bytes, BlobError> {
        self.store.read_all(key).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.store.delete(key).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<BlobMeta, BlobError>> {
        self.store.list(prefix)
    }

    fn local_path(&self, key: &BlobKey) -> Option<PathBuf> {
        self.store.local_path(key)
    }

    async fn free_bytes(&self) -> Result<Option<u64>, BlobError> {
        self.store.free_bytes().await
    }
}

struct World {
    _dir: TempDir,
    store: Arc<Doored>,
    resolver: Resolver,
    asset: Arc<Asset>,
}

impl World {
    /// Two renditions, of which two segments ahead are fetched.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = blobs_in(dir.path());
        let mut tracks = Vec::new();
        for name in ["v0-1", "v1-1"] {
            let key = BlobKey::new(name);
            store.put(&key, vec![7; (SEGMENTS * BYTES) as usize].into()).await.unwrap();
            let mut track = empty_track(name);
            track.spans = vec![key];
            let source = |number: u32| SegmentBytes::Span { span: 0, offset: (number * BYTES).into(), bytes: BYTES };
            let segment = |number| Segment { start: 0, duration: 80, bytes: BYTES, source: source(number) };
            track.segments = (0..SEGMENTS).map(segment).collect();
            tracks.push(track);
        }
        let (is_open, reads) = (watch::Sender::new(false), Arc::default());
        let store = Arc::new(Doored { store, is_open, reads });
        let resolver = Resolver::new(store.clone(), 1 << 20).with_look_ahead(2);
        Self { _dir: dir, store, resolver, asset: Arc::new(Asset { tracks, ..empty_asset() }) }
    }

    fn plays(&self, viewer: u64, track: &str, segment: u32) {
        self.resolver.look_ahead(viewer, &self.asset, track, segment);
    }

    fn reads(&self) -> Vec<Read> {
        self.store.reads.lock().unwrap().clone()
    }

    /// Waits until there are so many reads, and that all that can go on has done so.
    async fn until_read(&self, count: usize) -> Vec<(String, u32)> {
        self.until(|reads| reads.len() >= count).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.reads().into_iter().map(|read| (read.track, read.segment)).collect()
    }

    async fn until(&self, is_so: impl Fn(&[Read]) -> bool) {
        let patience = Duration::from_secs(20);
        let seen = async {
            while !is_so(&self.reads()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(patience, seen).await.unwrap_or_else(|_| panic!("{:?}", self.reads()));
    }
}

fn of(track: &str, segments: impl IntoIterator<Item = u32>) -> Vec<(String, u32)> {
    segments.into_iter().map(|segment| (track.to_owned(), segment)).collect()
}

#[tokio::test]
async fn the_next_two_segments_are_fetched_before_they_are_asked_for() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let written = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let world = World::start().await;
    world.store.is_open.send_replace(true);
    world.plays(7, "v0-1", 0);
    assert_eq!(world.until_read(2).await, of("v0-1", [1, 2]));
    // The next one is new, and no other.
    world.plays(7, "v0-1", 1);
    assert_eq!(world.until_read(3).await, of("v0-1", [1, 2, 3]));
    // Who asks for one that was fetched costs no read.
    while !written.render().contains("playhouse_edge_ahead_total 3") {
        tokio::task::yield_now().await;
    }
    let asked = world.resolver.resolve(&world.asset, "v0-1", MediaObject::Segment(3)).await;
    assert_eq!(asked.unwrap().len(), BYTES as usize);
    assert_eq!(world.reads().len(), 3);
    // Behind the end there is nothing.
    world.plays(7, "v0-1", SEGMENTS - 2);
    world.plays(7, "v0-1", SEGMENTS - 1);
    assert_eq!(world.until_read(4).await, of("v0-1", [1, 2, 3, SEGMENTS - 1]));
    assert!(world.reads().iter().all(|read| !read.is_given_up));
}

#[tokio::test]
async fn who_plays_another_rendition_gives_up_what_was_fetched_of_the_one_before() {
    let world = World::start().await;
    world.plays(7, "v0-1", 0);
    world.plays(8, "v0-1", 10);
    world.plays(9, "v0-1", 20);
    world.until_read(3).await;
    // One of these is asked for, too.
    let (resolver, asset) = (world.resolver.clone(), Arc::clone(&world.asset));
    let asked = tokio::spawn(async move { resolver.resolve(&asset, "v0-1", MediaObject::Segment(11)).await });
    tokio::task::yield_now().await;
    world.plays(7, "v1-1", 0);
    world.plays(8, "v1-1", 10);
    world.until(|reads| reads.iter().filter(|read| read.track == "v1-1").count() == 2).await;
    world.until(|reads| reads.iter().any(|read| read.is_given_up)).await;
    let given_up = |reads: &[Read]| reads.iter().filter(|read| read.is_given_up).cloned().collect::<Vec<_>>();
    let gone = Read { track: "v0-1".into(), segment: 1, is_given_up: true };
    assert_eq!(given_up(&world.reads()), std::slice::from_ref(&gone));
    world.store.is_open.send_replace(true);
    assert_eq!(asked.await.unwrap().unwrap().len(), BYTES as usize);
    // The others go on: of the old rendition for the one who still plays it, of the new one for the two who do now.
    let mut read = world.until_read(8).await;
    read.sort();
    let of_old = of("v0-1", [1, 11, 21, 22]);
    assert_eq!(read, [of_old, of("v1-1", [1, 2, 11, 12])].concat());
    assert_eq!(given_up(&world.reads()), [gone]);
}

#[tokio::test]
async fn no_more_is_fetched_ahead_at_once_than_there_are_places_for() {
    let world = World::start().await;
    let viewers = AT_ONCE_MAX as u32 + 1;
    (0..viewers).for_each(|viewer| world.plays(viewer.into(), "v0-1", viewer * 3));
    let read = world.until_read(AT_ONCE_MAX).await;
    assert_eq!(read, of("v0-1", (0..AT_ONCE_MAX as u32).map(|viewer| viewer * 3 + 1)));
    // Who found no place has one as soon as others have left theirs.
    world.store.is_open.send_replace(true);
    world.until_read(AT_ONCE_MAX * 2).await;
    let last = viewers - 1;
    world.plays(last.into(), "v0-1", last * 3);
    let read = world.until_read(AT_ONCE_MAX * 2 + 2).await;
    assert_eq!(read[AT_ONCE_MAX * 2..], of("v0-1", [last * 3 + 1, last * 3 + 2]));
}
