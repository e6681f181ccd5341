//! What a step makes of a video: pure, so that it can be computed anew when the row was changed in between.
use std::collections::BTreeSet;

use serde_json::json;

use super::super::statement::Statement;
use super::rows;
use crate::domain::asset::BlobKey;
use crate::domain::events::NewEvent;
use crate::domain::ports::{CatalogError, VideoStep};
use crate::domain::time::Timestamp;
use crate::domain::video::{
    Failure, Rendition, RenditionState, Thumbnail, ThumbnailMoment, Video, VideoDetails, VideoStatus,
};

/// A video after a step, and what is to be told of it.
pub(super) struct Stepped {
    pub(super) video: Video,
    pub(super) events: Vec<NewEvent>,
}

/// A video with other details.
pub(super) fn edit(mut video: Video, details: VideoDetails, now: Timestamp) -> Video {
    video.title = details.title;
    video.description = details.description;
    video.category = details.category;
    video.tags = details.tags;
    video.privacy = details.privacy;
    touched(video, now)
}

fn touched(mut video: Video, now: Timestamp) -> Video {
    video.revision += 1;
    video.updated_at = now;
    video
}

/// Takes a step; `None` when it was taken before, `Stale` when the video is not where the step starts from.
pub(super) fn step(read: &Video, step: &VideoStep, now: Timestamp) -> Result<Option<Stepped>, CatalogError> {
    if read.status == VideoStatus::Uploading {
        return Err(CatalogError::Stale);
    }
    let mut video = read.clone();
    let events = match step {
        VideoStep::Verified => verified(&mut video),
        VideoStep::Inspected { media, non_standard } => {
            video.media = Some(media.clone());
            video.non_standard.clone_from(non_standard);
            Some(vec![event("video.inspected", &video)])
        }
        VideoStep::Progress { percent, ready_at } => progressed(&mut video, *percent, *ready_at),
        VideoStep::Transcoding { states } => transcoding(&mut video, states),
        VideoStep::Published { generation, renditions, .. } => published(&mut video, *generation, renditions, now)?,
        VideoStep::Illustrated { thumbnails, .. } => illustrated(&mut video, thumbnails),
        VideoStep::ThumbnailChosen(moment) => thumbnail_chosen(&mut video, *moment)?,
        VideoStep::StoryboardMade { storyboard, .. } => {
            video.storyboard = Some(storyboard.clone());
            Some(vec![event("video.storyboard_made", &video)])
        }
        VideoStep::Trimmed(trim) => (video.trim != *trim).then(|| {
            video.trim = *trim;
            vec![event("video.trimmed", &video)]
        }),
        VideoStep::Finished => finished(&mut video)?,
        VideoStep::Failed(failure) => failed(&mut video, failure)?,
    };
    Ok(events.map(|events| Stepped { video: touched(video, now), events }))
}

/// The rows that a step from `read` to `video` writes besides the video's own.
pub(super) fn children(read: &Video, video: &Video, step: &VideoStep, now: Timestamp) -> Vec<Statement> {
    let (mut statements, blobs) = match step {
        VideoStep::Published { renditions, blobs, .. } => (rows::replace_renditions(&video.id, renditions), blobs),
        VideoStep::Transcoding { .. } | VideoStep::Failed(_) => {
            return rows::replace_renditions(&video.id, &video.renditions);
        }
        VideoStep::Illustrated { blobs, .. } => (rows::replace_thumbnails(&video.id, &video.thumbnails), blobs),
        VideoStep::StoryboardMade { blobs, .. } => (Vec::new(), blobs),
        _ => return Vec::new(),
    };
    let kept = pictures(video);
    statements.extend(rows::disown_blobs(&video.id, pictures(read).difference(&kept).copied()));
    statements.extend(rows::own_blobs(&video.id, blobs, now));
    statements
}

/// Blobs of all its pictures.
fn pictures(video: &Video) -> BTreeSet<&BlobKey> {
    let sheets = video.storyboard.iter().flat_map(|storyboard| &storyboard.sheets).map(|sheet| &sheet.key);
    video.thumbnails.iter().map(|picture| &picture.key).chain(sheets).collect()
}

fn event(kind: &'static str, video: &Video) -> NewEvent {
    NewEvent::new(
        kind,
        &video.id,
        json!({ "video_id": video.id, "playback_id": video.playback_id, "user_id": video.user_id }),
    )
}

fn verified(video: &mut Video) -> Option<Vec<NewEvent>> {
    if video.status != VideoStatus::Verifying {
        return None;
    }
    video.status = VideoStatus::Processing;
    Some(vec![event("video.verified", video)])
}

fn progressed(video: &mut Video, percent: u8, ready_at: Option<Timestamp>) -> Option<Vec<NewEvent>> {
    let percent = percent.min(100);
    if (video.progress_percent, video.ready_at) == (percent, ready_at) {
        return None;
    }
    (video.progress_percent, video.ready_at) = (percent, ready_at);
    let payload = json!({
        "video_id": video.id, "playback_id": video.playback_id, "user_id": video.user_id, "progress": percent,
        "ready_at": ready_at,
    });
    Some(vec![NewEvent::new("transcode.progress", &video.id, payload)])
}

fn transcoding(video: &mut Video, states: &[(String, RenditionState)]) -> Option<Vec<NewEvent>> {
    let mut has_changed = false;
    for rendition in video.renditions.iter_mut().filter(|rendition| rendition.state != RenditionState::Ready) {
        let told = states.iter().find(|(name, _)| *name == rendition.name).map(|(_, state)| *state);
        if let Some(state) = told.filter(|state| *state != rendition.state) {
            rendition.state = state;
            has_changed = true;
        }
    }
    has_changed.then(|| vec![event("transcode.renditions_changed", video)])
}

fn illustrated(video: &mut Video, thumbnails: &[Thumbnail]) -> Option<Vec<NewEvent>> {
    let is_replaced = |old: &Thumbnail| thumbnails.iter().any(|new| new.moment.replaces(old.moment));
    video.thumbnails.retain(|old| !is_replaced(old));
    video.thumbnails.extend_from_slice(thumbnails);
    video.thumbnails.sort_by_key(|picture| ThumbnailMoment::ALL.iter().position(|moment| *moment == picture.moment));
    if thumbnails.iter().any(|picture| picture.moment == ThumbnailMoment::Custom) {
        video.chosen_moment = Some(ThumbnailMoment::Custom);
    }
    Some(vec![event("video.illustrated", video)])
}

fn thumbnail_chosen(video: &mut Video, moment: ThumbnailMoment) -> Result<Option<Vec<NewEvent>>, CatalogError> {
    if !video.thumbnails.iter().any(|picture| picture.moment == moment) {
        return Err(CatalogError::NotFound);
    }
    if video.chosen_moment == Some(moment) {
        return Ok(None);
    }
    video.chosen_moment = Some(moment);
    Ok(Some(vec![event("video.illustrated", video)]))
}

fn published(
    video: &mut Video,
    generation: u32,
    renditions: &[Rendition],
    now: Timestamp,
) -> Result<Option<Vec<NewEvent>>, CatalogError> {
    let can_publish = matches!(video.status, VideoStatus::Processing | VideoStatus::Playable | VideoStatus::Ready);
    if generation == video.asset_generation && video.renditions == renditions && video.is_playable() {
        return Ok(None);
    }
    // A higher generation has been stored meanwhile: this index is fenced off.
    if !can_publish || generation <= video.asset_generation {
        return Err(CatalogError::Stale);
    }
    let mut events = Vec::new();
    if video.status == VideoStatus::Processing {
        video.status = VideoStatus::Playable;
    }
    if video.published_at.is_none() {
        video.published_at = Some(now);
        events.push(event("video.playable", video));
    }
    let was_ready =
        |name: &str| video.renditions.iter().any(|known| known.name == name && known.state == RenditionState::Ready);
    for rendition in renditions.iter().filter(|new| new.state == RenditionState::Ready && !was_ready(&new.name)) {
        let payload = json!({
            "video_id": video.id, "playback_id": video.playback_id, "user_id": video.user_id, "rendition": rendition,
        });
        events.push(NewEvent::new("transcode.rendition_ready", &video.id, payload));
    }
    video.renditions = renditions.to_vec();
    video.asset_generation = generation;
    Ok(Some(events))
}

fn finished(video: &mut Video) -> Result<Option<Vec<NewEvent>>, CatalogError> {
    match video.status {
        VideoStatus::Ready => Ok(None),
        VideoStatus::Playable => {
            video.status = VideoStatus::Ready;
            (video.progress_percent, video.ready_at) = (100, None);
            Ok(Some(vec![event("video.ready", video)]))
        }
        _ => Err(CatalogError::Stale),
    }
}

/// Whether there is a rendition that is all there. What was published early cannot be watched to its end.
fn can_be_watched(video: &Video) -> bool {
    let has_pictures = video.renditions.iter().any(|rendition| rendition.kind == "video");
    let counts = |rendition: &&Rendition| !has_pictures || rendition.kind == "video";
    video.renditions.iter().filter(counts).any(|rendition| rendition.state == RenditionState::Ready)
}

fn failed(video: &mut Video, failure: &Failure) -> Result<Option<Vec<NewEvent>>, CatalogError> {
    match video.status {
        VideoStatus::Failed => Ok(None),
        VideoStatus::Playable if can_be_watched(video) => Err(CatalogError::Stale),
        VideoStatus::Verifying | VideoStatus::Processing | VideoStatus::Playable => {
            video.status = VideoStatus::Failed;
            video.ready_at = None;
            video.failure = Some(failure.clone());
            let unfinished = video.renditions.iter_mut().filter(|rendition| rendition.state != RenditionState::Ready);
            unfinished.for_each(|rendition| rendition.state = RenditionState::Failed);
            let payload = json!({
                "video_id": video.id, "playback_id": video.playback_id, "user_id": video.user_id, "failure": failure,
            });
            Ok(Some(vec![NewEvent::new("video.failed", &video.id, payload)]))
        }
        _ => Err(CatalogError::Stale),
    }
}
