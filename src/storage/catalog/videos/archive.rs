//! A recorded broadcast becomes a video.
use super::super::statement::{Statement, Transaction};
use super::{rows, steps};
use crate::domain::live::{Archive, Live};
use crate::domain::ports::{CatalogError, VideoStep};
use crate::domain::time::Timestamp;
use crate::domain::video::{OriginalState, Video, VideoStatus};

/// Makes the video of a stream's broadcast, playable at once.
pub(in super::super) fn archive(live: &Live, archive: &Archive, now: Timestamp) -> Result<Transaction, CatalogError> {
    let made = recorded(live, archive, now);
    let insert = rows::insert((&made.id, &made.playback_id), &made.user_id, &live.details, made.created_at)?;
    let insert = insert
        .bind("status", made.status)
        .bind("file_size", made.file_size)
        .bind("file_name", made.file_name.as_ref())
        .bind("expected_digest", made.expected_digest.as_ref());
    let publish =
        VideoStep::Published { generation: 1, renditions: archive.renditions.clone(), blobs: archive.blobs.clone() };
    let published = steps::step(&made, &publish, now)?.ok_or(CatalogError::Stale)?;
    let children: Vec<Statement> = steps::children(&made, &published.video, &publish, now);
    Ok(Transaction::new()
        .then(insert)
        .then(rows::save(&published.video, made.revision)?)
        .then_all(children)
        .events(published.events, now))
}

/// The video before it is published.
fn recorded(live: &Live, archive: &Archive, now: Timestamp) -> Video {
    let details = live.details.clone();
    Video {
        id: archive.video_id.clone(),
        playback_id: archive.playback_id.clone(),
        user_id: live.user_id.clone(),
        channel_id: live.channel_id.clone(),
        title: details.title,
        description: details.description,
        category: details.category,
        tags: details.tags,
        privacy: details.privacy,
        status: VideoStatus::Processing,
        progress_percent: 0,
        ready_at: None,
        failure: None,
        non_standard: Vec::new(),
        media: Some(archive.media.clone()),
        renditions: Vec::new(),
        asset_generation: 0,
        thumbnails: Vec::new(),
        chosen_moment: None,
        trim: None,
        storyboard: None,
        source: Vec::new(),
        original: OriginalState::Stored,
        file_size: archive.blobs.iter().map(|blob| blob.bytes).sum(),
        file_name: None,
        expected_digest: None,
        view_count: 0,
        like_count: 0,
        dislike_count: 0,
        comment_count: 0,
        revision: 1,
        created_at: live.started_at.unwrap_or(now),
        published_at: None,
        updated_at: now,
        deleted_at: None,
    }
}
