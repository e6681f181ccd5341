//! What the tests of this room share.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::worker::Reporter;
use crate::domain::asset::BlobKey;
use crate::domain::ids::PlaybackId;
use crate::domain::video::MediaInfo;
use crate::media::source::ExtentReader;
use crate::media::testing::video_id;
use crate::media::work::SourceFile;
use crate::media::work::{Answer, MediaLimits, Output};

pub(crate) fn reporter() -> Arc<Reporter> {
    gstreamer::init().unwrap();
    Arc::new(Reporter::to_nobody())
}

pub(crate) fn reader(path: &Path) -> ExtentReader {
    let bytes = std::fs::metadata(path).unwrap().len();
    ExtentReader::new(vec![SourceFile::local(path, 0, bytes)])
}

pub(crate) fn limits() -> MediaLimits {
    MediaLimits {
        segment_duration: Duration::from_secs(4),
        gop_duration_max: Duration::from_secs(10),
        bit_rate_max: 50_000_000,
        moov_bytes_max: 64 << 20,
    }
}

pub(crate) fn output(dir: &Path) -> Output {
    let playback_id = PlaybackId::parse(&format!("{}_testtesttest", PlaybackId::PREFIX)).unwrap();
    let key_prefix = BlobKey::new("vod-abr/vid_testtesttest/1");
    Output { dir: dir.to_owned(), key_prefix, video_id: video_id(), playback_id, generation: 1 }
}

/// What inspection finds.
pub(crate) fn media_of(path: &Path) -> MediaInfo {
    let dir = tempfile::tempdir().unwrap();
    match super::inspect::inspect(&|| reader(path), &output(dir.path()), &limits(), &reporter()) {
        Ok(Answer::Inspected { media, .. }) => media,
        other => panic!("{}: {other:?}", path.display()),
    }
}
