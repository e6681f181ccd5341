//! A video as the API shows it.
use std::sync::Arc;

use serde::Serialize;

use super::memory::Author;
use super::pictures::{StoryboardView, ThumbnailView, shown_thumbnails, storyboard};
use crate::domain::ids::{ChannelId, VideoId};
use crate::domain::time::Timestamp;
use crate::domain::trim::Trim;
use crate::domain::video::{
    Failure, NonStandard, OriginalState, Privacy, Rendition, RenditionState, Video, VideoInfo, VideoStatus,
};
use crate::http::delivery::StreamFormat;
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;
use crate::media::view::View;

/// A video's whole record, but for what is nobody's business (where its bytes lie).
#[derive(Debug, Serialize)]
pub(super) struct VideoView {
    id: VideoId,
    channel_id: ChannelId,
    title: String,
    description: String,
    category: Option<String>,
    tags: Vec<String>,
    privacy: Privacy,
    status: VideoStatus,
    progress: u8,
    /// Seconds until everything is made; unknown until the work that is left has been measured.
    estimated_time_remaining: Option<u64>,
    failure: Option<Failure>,
    non_standard: Vec<NonStandard>,
    /// Seconds; of what is shown.
    duration: Option<f64>,
    /// Which part that is, if not all.
    trim: Option<TrimView>,
    resolution: Option<String>,
    codec: Option<String>,
    /// Bits per second.
    bitrate: Option<u64>,
    file_size: u64,
    /// Where the file is that was uploaded.
    original: OriginalState,
    is_live: bool,
    user: Option<Author>,
    view_count: u64,
    like_count: u64,
    dislike_count: u64,
    comment_count: u64,
    created_at: Timestamp,
    published_at: Option<Timestamp>,
    updated_at: Timestamp,
    renditions: Vec<RenditionView>,
    thumbnails: Vec<ThumbnailView>,
    storyboard: Option<StoryboardView>,
    video_urls: VideoUrls,
}

/// Which part of a video is shown: seconds of the whole.
#[derive(Debug, Serialize)]
struct TrimView {
    start: f64,
    end: f64,
    full_duration: f64,
}

impl TrimView {
    fn of(video: &Video) -> Option<Self> {
        let full = video.media.as_ref()?.duration_ms;
        let secs = |ms: u64| ms as f64 / 1000.0;
        video.trim.map(|Trim { start_ms, end_ms }| Self {
            start: secs(start_ms),
            end: secs(end_ms),
            full_duration: secs(full),
        })
    }
}

#[derive(Debug, Serialize)]
struct VideoUrls {
    hls: Option<String>,
    dash: Option<String>,
}

/// One rendition. The source counts by its short side as well: `source` is how it was made, not how large it is. What is
/// not known before it is made is `null` until then.
#[derive(Debug, Serialize)]
pub(super) struct RenditionView {
    name: String,
    kind: String,
    rung: String,
    /// Its family, as players' menus name it: `h264`, `av1`, `aac`.
    format: &'static str,
    /// As RFC 6381 has it, with profile and level.
    codec: Option<String>,
    /// Pixels; zero of sound.
    width: u32,
    height: u32,
    /// Pictures per second; `null` of sound.
    frame_rate: Option<f64>,
    /// Bits per second at most.
    bandwidth: u64,
    average_bandwidth: Option<u64>,
    state: RenditionState,
}

/// The family of an RFC 6381 codec, or of the name of its sample entry alone.
fn format_of(codec: &str) -> &'static str {
    match codec.split('.').next().unwrap_or_default() {
        "avc1" | "avc3" => "h264",
        "hvc1" | "hev1" => "h265",
        "av01" => "av1",
        "vp08" => "vp8",
        "vp09" => "vp9",
        "mp4a" => "aac",
        "opus" | "Opus" => "opus",
        "fLaC" | "flac" => "flac",
        "ac-3" => "ac3",
        "ec-3" => "eac3",
        _ => "other",
    }
}

/// How far a video is, 0 to 100.
pub(super) fn progress(video: &Video) -> u8 {
    match video.status {
        VideoStatus::Ready => 100,
        VideoStatus::Uploading | VideoStatus::Verifying => 0,
        VideoStatus::Processing | VideoStatus::Playable | VideoStatus::Failed => video.progress_percent.min(100),
    }
}

/// Seconds until everything is made, once that can be told.
pub(super) fn time_remaining(video: &Video, now: Timestamp) -> Option<u64> {
    match video.status {
        VideoStatus::Ready => Some(0),
        VideoStatus::Processing | VideoStatus::Playable => Some(video.ready_at?.since(now).as_secs()),
        VideoStatus::Uploading | VideoStatus::Verifying | VideoStatus::Failed => None,
    }
}

/// Its renditions.
pub(super) fn renditions(video: &Video) -> Vec<RenditionView> {
    video.renditions.iter().map(RenditionView::of).collect()
}

impl RenditionView {
    fn of(rendition: &Rendition) -> Self {
        // Of a rung that is planned only the sample entry is known.
        let is_known = rendition.kind != "video" || rendition.codec.contains('.');
        let frame_rate = Some(rendition.frame_rate_milli).filter(|rate| *rate > 0);
        Self {
            name: rendition.name.clone(),
            kind: rendition.kind.clone(),
            rung: rendition.rung.clone(),
            format: format_of(&rendition.codec),
            codec: is_known.then(|| rendition.codec.clone()),
            width: rendition.width,
            height: rendition.height,
            frame_rate: frame_rate.map(|rate| f64::from(rate) / 1000.0),
            bandwidth: rendition.bandwidth,
            average_bandwidth: is_known.then_some(rendition.average_bandwidth),
            state: rendition.state,
        }
    }
}

/// Complete URL of a manifest of it, when it can be watched.
pub(super) fn manifest_url(
    state: &HttpState,
    info: &RequestInfo,
    video: &Video,
    (format, view): (StreamFormat, View),
) -> Option<String> {
    let path = video.is_playable().then(|| state.delivery.manifest_path(video, format, (view, None)))?;
    Some(format!("{}{path}", info.media_url(&state.settings)))
}

/// Width and height as shown.
fn resolution(track: &VideoInfo) -> String {
    let (width, height) =
        if track.rotation % 180 == 90 { (track.height, track.width) } else { (track.width, track.height) };
    format!("{width}x{height}")
}

impl VideoView {
    /// Of this video, for whoever asked.
    pub(super) async fn of(state: &HttpState, info: &RequestInfo, video: &Video) -> Result<Self, Problem> {
        let media = video.media.as_ref();
        let picture = media.and_then(|media| media.video.first());
        let sound = media.and_then(|media| media.audio.first());
        let url = |format| manifest_url(state, info, video, (format, View::default()));
        Ok(Self {
            id: video.id.clone(),
            channel_id: video.channel_id.clone(),
            title: video.title.clone(),
            description: video.description.clone(),
            category: video.category.clone(),
            tags: video.tags.clone(),
            privacy: video.privacy,
            status: video.status,
            progress: progress(video),
            estimated_time_remaining: time_remaining(video, state.ports.clock.now()),
            failure: video.failure.clone(),
            non_standard: video.non_standard.clone(),
            duration: video.duration_ms().map(|ms| ms as f64 / 1000.0),
            trim: TrimView::of(video),
            resolution: picture.map(resolution),
            codec: picture.map(|track| track.codec.clone()).or_else(|| sound.map(|track| track.codec.clone())),
            bitrate: media.map(|media| media.bit_rate),
            file_size: video.file_size,
            original: video.original,
            is_live: false,
            user: state.videos.author(&*state.ports.catalog, &video.user_id).await?.map(Arc::unwrap_or_clone),
            view_count: video.view_count,
            like_count: video.like_count,
            dislike_count: video.dislike_count,
            comment_count: video.comment_count,
            created_at: video.created_at,
            published_at: video.published_at,
            updated_at: video.updated_at,
            renditions: renditions(video),
            thumbnails: shown_thumbnails(state, info, video),
            storyboard: storyboard(state, info, video),
            video_urls: VideoUrls { hls: url(StreamFormat::Hls), dash: url(StreamFormat::Dash) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_of_a_planned_rung_is_left_out() {
        let planned = Rendition {
            name: "v720av1-2".into(),
            kind: "video".into(),
            codec: "av01".into(),
            rung: "720p".into(),
            width: 1280,
            height: 720,
            frame_rate_milli: 0,
            bandwidth: 2_000_000,
            average_bandwidth: 2_000_000,
            state: RenditionState::Queued,
        };
        let view = RenditionView::of(&planned);
        assert_eq!((view.format, &view.codec, view.frame_rate, view.average_bandwidth), ("av1", &None, None, None));
        let made = Rendition { codec: "av01.0.05M.08".into(), frame_rate_milli: 23_976, ..planned.clone() };
        let view = RenditionView::of(&made);
        assert_eq!((view.codec.as_deref(), view.frame_rate), (Some("av01.0.05M.08"), Some(23.976)));
        assert_eq!((view.format, view.average_bandwidth), ("av1", Some(2_000_000)));
        let sound = Rendition { kind: "audio".into(), codec: "opus".into(), ..planned };
        let view = RenditionView::of(&sound);
        assert_eq!((view.format, view.codec.as_deref(), view.frame_rate), ("opus", Some("opus"), None));
    }
}
