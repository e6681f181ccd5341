//! Changing a video: `PATCH` by JSON Merge Patch (RFC 7396), `DELETE`.
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Deserializer};

use super::view::VideoView;
use crate::domain::ids::VideoId;
use crate::domain::ports::{CatalogError, VideoStep};
use crate::domain::trim::Trim;
use crate::domain::video::{Privacy, Video, VideoPatch};
use crate::http::auth::Viewer;
use crate::http::etag;
use crate::http::extract::{IdPath, Json};
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;
use crate::http::visible::visible_video;

/// Times an unconditional change is applied anew to a record that changed meanwhile.
const RETRIES_MAX: usize = 3;

/// A merge patch: an absent field stays, `null` empties what may be empty.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Change {
    #[serde(deserialize_with = "present")]
    title: Option<Option<String>>,
    #[serde(deserialize_with = "present")]
    description: Option<Option<String>>,
    #[serde(deserialize_with = "present")]
    category: Option<Option<String>>,
    #[serde(deserialize_with = "present")]
    tags: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "present")]
    privacy: Option<Option<Privacy>>,
    #[serde(deserialize_with = "present")]
    trim: Option<Option<WantedTrim>>,
}

/// The part that is to be shown, seconds of the whole.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WantedTrim {
    start: Option<f64>,
    end: Option<f64>,
}

impl WantedTrim {
    /// In milliseconds of a video of that length.
    fn parse(self, full_ms: u64) -> Result<Trim, Problem> {
        let full = full_ms as f64 / 1000.0;
        let (start, end) = (self.start.unwrap_or(0.0), self.end.unwrap_or(full));
        if !(0.0..=full).contains(&start) {
            return Err(Problem::invalid_field("/trim/start", "out_of_range", "Must be seconds within the video."));
        }
        if !(end > start && end <= full + 1.0) {
            let detail = "Must be seconds within the video, after the start.";
            return Err(Problem::invalid_field("/trim/end", "out_of_range", detail));
        }
        Ok(Trim { start_ms: (start * 1000.0) as u64, end_ms: ((end * 1000.0) as u64).min(full_ms) })
    }
}

/// Tells `null` from absent.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Change {
    /// Whether another part is to be shown.
    pub(crate) fn trims(&self) -> bool {
        self.trim.is_some()
    }

    pub(crate) fn parse(self) -> Result<VideoPatch, Problem> {
        Ok(VideoPatch {
            title: never_null("/title", self.title)?,
            description: self.description.map(Option::unwrap_or_default),
            category: self.category.map(|category| category.filter(|category| !category.is_empty())),
            tags: self.tags.map(Option::unwrap_or_default),
            privacy: never_null("/privacy", self.privacy)?,
        })
    }
}

fn never_null<T>(pointer: &str, value: Option<Option<T>>) -> Result<Option<T>, Problem> {
    match value {
        Some(None) => Err(Problem::invalid_field(pointer, "required", "This cannot be removed.")),
        Some(some) => Ok(some),
        None => Ok(None),
    }
}

/// Changes what its creator said of it; with `If-Match` only when nobody else has meanwhile.
pub(super) async fn update(
    State(state): State<HttpState>,
    viewer: Viewer,
    info: RequestInfo,
    IdPath(id): IdPath<VideoId>,
    headers: HeaderMap,
    Json(change): Json<Change>,
) -> Result<Response, Problem> {
    let known = editable_video(&state, &viewer, &id).await?;
    let expected = etag::expected_revision(&headers)?;
    let trim = match change.trim {
        Some(wanted) => Some(cut(&state, &known, wanted).await?),
        None => None,
    };
    let mut video = apply(&state, &id, change.parse()?, expected).await?;
    if let Some(trim) = trim {
        let step = VideoStep::Trimmed(trim);
        video = state.ports.catalog.step_video(&id, step, state.ports.clock.now()).await?;
    }
    forget(&state, &video).await;
    let view = VideoView::of(&state, &info, &video).await?;
    etag::json(&HeaderMap::new(), video.revision, &view)
}

/// Where what is wanted can be cut: between segments. `None` when nothing is cut off.
async fn cut(state: &HttpState, video: &Video, wanted: Option<WantedTrim>) -> Result<Option<Trim>, Problem> {
    let Some(wanted) = wanted else { return Ok(None) };
    let Some(media) = video.media.as_ref().filter(|_| video.is_playable()) else {
        return Err(Problem::new(StatusCode::CONFLICT, "not_playable", "This video cannot be trimmed yet."));
    };
    let wanted = wanted.parse(media.duration_ms)?;
    let asset = state.ports.assets.load_asset(&video.id, video.asset_generation).await?;
    let nothing_left = || Problem::invalid_field("/trim", "out_of_range", "Nothing would be left.");
    let (trim, _) = asset.cut(wanted).ok_or_else(nothing_left)?;
    let whole = asset.cut(Trim { start_ms: 0, end_ms: u64::MAX }).map(|(whole, _)| whole);
    Ok(Some(trim).filter(|trim| whole != Some(*trim)))
}

/// Applies a patch to the record as it is in the catalog, not as it is remembered: fields the patch does not name must not
/// go back to what they were.
async fn apply(state: &HttpState, id: &VideoId, patch: VideoPatch, expected: Option<u64>) -> Result<Video, Problem> {
    for _ in 0..RETRIES_MAX {
        let current = state.ports.catalog.video(id).await?.ok_or_else(Problem::not_found)?;
        let details = patch.clone().apply(current.details());
        details.validate()?;
        let revision = expected.unwrap_or(current.revision);
        match state.ports.catalog.update_video(id, details, Some(revision), state.ports.clock.now()).await {
            Err(CatalogError::Stale) if expected.is_none() => {}
            changed => return Ok(changed?),
        }
    }
    Err(CatalogError::Stale.into())
}

/// Deletes a video: it is gone for everyone at once; its bytes go with the janitor's next round.
pub(super) async fn delete(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<VideoId>,
) -> Result<StatusCode, Problem> {
    let video = editable_video(&state, &viewer, &id).await?;
    state.ports.catalog.delete_video(&id, state.ports.clock.now()).await?;
    forget(&state, &video).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The video, when this viewer may change it; who may only see it gets 403.
pub(super) async fn editable_video(
    state: &HttpState,
    viewer: &Viewer,
    id: &VideoId,
) -> Result<std::sync::Arc<Video>, Problem> {
    let video = visible_video(state, Some(viewer), id).await?;
    if viewer.may_edit(&video.user_id) {
        return Ok(video);
    }
    Err(Problem::forbidden("not_yours", "Only its owner and moderators may change this video."))
}

/// The one place that makes a change visible to everything that remembers videos.
pub(super) async fn forget(state: &HttpState, video: &Video) {
    state.videos.forget(&video.id);
    state.delivery.forget(&video.playback_id).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(json: &str) -> Result<VideoPatch, StatusCode> {
        let change: Change = crate::http::extract::parse_json(json.as_bytes()).map_err(|problem| problem.status())?;
        change.parse().map_err(|problem| problem.status())
    }

    #[test]
    fn absent_null_and_given_are_three_things() {
        let nothing = patch("{}").unwrap();
        assert_eq!(nothing, VideoPatch::default());
        let emptied = patch(r#"{"description": null, "category": null, "tags": null}"#).unwrap();
        assert_eq!(
            (emptied.description.as_deref(), emptied.category, emptied.tags),
            (Some(""), Some(None), Some(Vec::new()))
        );
        let given = patch(r#"{"title": "x", "privacy": "unlisted", "category": "music"}"#).unwrap();
        assert_eq!((given.title.as_deref(), given.privacy), (Some("x"), Some(Privacy::Unlisted)));
        assert_eq!(given.category, Some(Some("music".to_owned())));
    }

    #[test]
    fn what_must_be_there_cannot_be_removed() {
        for bad in [r#"{"title": null}"#, r#"{"privacy": null}"#, r#"{"privacy": "secret"}"#, r#"{"tags": "a"}"#] {
            assert_eq!(patch(bad).unwrap_err(), StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
        }
    }
}
