//! What the tests of this room share: clips made by ffmpeg, and a blob store over a directory.
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::domain::asset::{Asset, AssetTrack, BlobKey, TrackKind};
use crate::domain::ids::{PlaybackId, VideoId};
use crate::domain::ports::{BlobError, BlobMeta, BlobStore};
use crate::media::codecs::h264::AvcConfig;

/// Blobs as files of a directory, named by their keys; counts reads.
pub(crate) struct DirBlobs {
    pub(crate) root: PathBuf,
    pub(crate) num_reads: AtomicU64,
}

impl DirBlobs {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), num_reads: AtomicU64::new(0) }
    }

    fn path(&self, key: &BlobKey) -> PathBuf {
        self.root.join(key.as_str())
    }
}

#[async_trait]
impl BlobStore for DirBlobs {
    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<(), BlobError> {
        let path = self.path(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).map_err(|error| BlobError::Unavailable(error.to_string()))
    }

    async fn adopt(&self, key: &BlobKey, file: &Path) -> Result<u64, BlobError> {
        let bytes = std::fs::read(file).unwrap();
        self.put(key, bytes.into()).await?;
        Ok(std::fs::metadata(file).unwrap().len())
    }

    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        use std::os::unix::fs::FileExt;
        self.num_reads.fetch_add(1, Ordering::Relaxed);
        let file = std::fs::File::open(self.path(key)).map_err(|_| BlobError::NotFound(key.clone()))?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start).map_err(|_| BlobError::NotFound(key.clone()))?;
        Ok(bytes.into())
    }

    async fn read_all(&self, key: &BlobKey) -> Result<Bytes, BlobError> {
        std::fs::read(self.path(key)).map(Bytes::from).map_err(|_| BlobError::NotFound(key.clone()))
    }

    fn stream(&self, _: &BlobKey, _: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
        futures::stream::empty().boxed()
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        std::fs::remove_file(self.path(key)).map_err(|error| BlobError::Unavailable(error.to_string()))
    }

    fn list(&self, _: &str) -> BoxStream<'static, Result<BlobMeta, BlobError>> {
        futures::stream::empty().boxed()
    }

    fn local_path(&self, key: &BlobKey) -> Option<PathBuf> {
        Some(self.path(key))
    }

    async fn free_bytes(&self) -> Result<Option<u64>, BlobError> {
        Ok(None)
    }
}

pub(crate) fn video_id() -> VideoId {
    VideoId::parse("vid_testtesttest").unwrap()
}

pub(crate) fn empty_asset() -> Asset {
    let playback_id = PlaybackId::parse(&format!("{}_testtesttest", PlaybackId::PREFIX)).unwrap();
    Asset { video_id: video_id(), playback_id, generation: 1, source: Vec::new(), tracks: Vec::new() }
}

pub(crate) fn empty_track(name: &str) -> AssetTrack {
    AssetTrack {
        name: name.into(),
        kind: TrackKind::Video,
        codec: "avc1.64001f".into(),
        timescale: 90_000,
        video: None,
        audio: None,
        init: Bytes::new(),
        sample_table: None,
        spans: Vec::new(),
        segments: Vec::new(),
        key_frames: Vec::new(),
    }
}

/// Runs a program and returns what it printed on both streams; fails the test when it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> (String, String) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    (out, error)
}

/// Makes a clip: `arguments` (split at spaces) go between the common ones and the file's path.
pub(crate) fn make_clip(dir: &Path, name: &str, arguments: &str) -> PathBuf {
    let path = dir.join(name);
    let mut all = vec!["-v", "error", "-y"];
    all.extend(arguments.split_whitespace());
    all.extend(["-fflags", "+bitexact", "-flags", "+bitexact", "-threads", "2", path.to_str().unwrap()]);
    run("ffmpeg", &all);
    path
}

/// Parameter sets of x264 for 320x240, High profile.
pub(crate) const SPS_AND_PPS: (&[u8], &[u8]) = (
    &[
        0x67, 0x64, 0x00, 0x0D, 0xAC, 0xD9, 0x41, 0x41, 0xFA, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03,
        0x03, 0x20, 0xF1, 0x42, 0x99, 0x60,
    ],
    &[0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0],
);

/// An `avcC` body of these.
pub(crate) fn avcc() -> Bytes {
    let (sps, pps) = SPS_AND_PPS;
    AvcConfig::from_parameter_sets(vec![sps.into()], vec![pps.into()]).unwrap().to_bytes()
}
