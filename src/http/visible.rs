//! Who may see a video: one rule for every route that names one.
use std::sync::Arc;

use super::auth::Viewer;
use super::problem::Problem;
use super::state::HttpState;
use crate::domain::ids::VideoId;
use crate::domain::video::{Privacy, Video};

/// The video, if this viewer may know of it: its owner and moderators always; others unless it is private or, while it
/// cannot be watched yet, not theirs. Whoever may not sees 404.
pub(super) async fn visible_video(
    state: &HttpState,
    viewer: Option<&Viewer>,
    id: &VideoId,
) -> Result<Arc<Video>, Problem> {
    let video = state.videos.find(&*state.ports.catalog, id).await?.ok_or_else(Problem::not_found)?;
    let is_own = viewer.is_some_and(|viewer| viewer.may_edit(&video.user_id));
    let is_open = video.privacy != Privacy::Private && video.is_playable();
    if is_own || is_open { Ok(video) } else { Err(Problem::not_found()) }
}
