//! Pictures of what is live now: one key frame, decoded by a worker process from time to time and kept in memory.
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::lives::Lives;
use super::transcode_worker::WorkError;
use crate::domain::asset::{BlobKey, TrackKind};
use crate::domain::ids::{PlaybackId, VideoId};
use crate::domain::live::Live;
use crate::media::live::broadcast::Broadcast;
use crate::media::live::stream::LiveStream;
use crate::media::work::{Answer, Output, SourceFile, Task};

/// Largest picture taken from a worker, bytes.
const PICTURE_BYTES_MAX: u64 = 4 << 20;

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// JPEG.
    pub body: Bytes,
    /// The segment that it was taken from.
    pub segment: u64,
}

/// The newest picture of a stream; clones share it.
#[derive(Debug, Clone, Default)]
pub struct NewestPicture(Arc<Mutex<Option<Picture>>>);

impl NewestPicture {
    /// The picture, if there is one.
    pub fn get(&self) -> Option<Picture> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, picture: Picture) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(picture);
    }
}

#[derive(Debug, thiserror::Error)]
enum PictureError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error("a worker made no picture")]
    NotMade,
}

/// A key frame of the newest whole segment that has one: its segment's number, and a small file of it.
struct KeyFrame {
    segment: u64,
    file: [Bytes; 2],
    rotation: u16,
}

fn newest_key_frame(broadcast: &Broadcast) -> Option<KeyFrame> {
    let (index, rendition) = broadcast.renditions().iter().enumerate().find(|(_, it)| it.kind == TrackKind::Video)?;
    let published = |number| broadcast.epochs().find(|epoch| epoch.number == number && !epoch.is_slate);
    let mut segments = rendition.ring.segments().rev();
    let segment = segments.find(|one| {
        one.parts.first().is_some_and(|part| part.independent) && published(one.beginning.epoch).is_some()
    })?;
    let epoch = published(segment.beginning.epoch)?;
    let (config, init) = epoch.tracks.get(index)?.as_ref()?;
    let file = [init.clone(), segment.parts.first()?.bytes.clone()];
    Some(KeyFrame { segment: segment.beginning.number, file, rotation: config.rotation })
}

/// Takes pictures of a stream until it ends.
pub(super) async fn take_pictures(lives: Arc<Lives>, live: Live, (stream, newest): (Arc<LiveStream>, NewestPicture)) {
    let mut wait = Duration::ZERO;
    while !stream.look(Broadcast::has_ended) {
        tokio::time::sleep(wait.max(Duration::from_secs(1))).await;
        wait = lives.picture_interval;
        let known = newest.get().map(|picture| picture.segment);
        let Some(key_frame) = stream.look(newest_key_frame).filter(|it| Some(it.segment) != known) else {
            wait = Duration::ZERO;
            continue;
        };
        match take(&lives, &live.playback_id, key_frame).await {
            Ok(picture) => newest.set(picture),
            Err(error) => tracing::debug!(live.id = %live.id, %error, "no picture of a live stream"),
        }
    }
}

async fn take(lives: &Lives, playback_id: &PlaybackId, key_frame: KeyFrame) -> Result<Picture, PictureError> {
    let KeyFrame { segment, file, rotation } = key_frame;
    let dir = tempfile::Builder::new().prefix("live-").tempdir_in(&lives.work_dir)?;
    let path = dir.path().join("key-frame.mp4");
    tokio::fs::write(&path, file.concat()).await?;
    let bytes = file.iter().map(|piece| piece.len() as u64).sum();
    let output = Output {
        dir: dir.path().to_owned(),
        key_prefix: BlobKey::new("live"),
        video_id: VideoId::random(&*lives.entropy),
        playback_id: playback_id.clone(),
        generation: 0,
    };
    let source = vec![SourceFile::local(path, 0, bytes)];
    let (progress, _) = watch::channel(0);
    let made = lives.workers.run(Task::Thumbnail { source, output, duration_ms: 0, rotation }, progress).await?;
    let Answer::Illustrated { file, .. } = made else { return Err(PictureError::NotMade) };
    // A worker that a stream has taken over names no other file.
    let is_ours = file.path.parent() == Some(dir.path()) && file.path.symlink_metadata()?.is_file();
    if !is_ours || file.path.metadata()?.len() > PICTURE_BYTES_MAX {
        return Err(PictureError::NotMade);
    }
    Ok(Picture { body: tokio::fs::read(&file.path).await?.into(), segment })
}
