//! `/live/{id}/slate`: the picture that viewers see while the publisher is away.
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::change::{changed, own_live};
use super::show::visible_live;
use crate::domain::ids::LiveId;
use crate::domain::live::{LivePatch, Slate};
use crate::http::auth::Viewer;
use crate::http::extract::IdPath;
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;
use crate::http::videos::thumbnail::uploaded;

/// The picture, for whoever may see the stream.
pub(super) async fn show(
    State(state): State<HttpState>,
    viewer: Option<Viewer>,
    IdPath(id): IdPath<LiveId>,
) -> Result<Response, Problem> {
    let live = visible_live(&state, viewer.as_ref(), &id).await?;
    let slate = live.slate.ok_or_else(Problem::not_found)?;
    let picture = state.ports.blobs.read_all(&slate.picture.key).await?;
    Ok(([(CONTENT_TYPE, "image/jpeg"), (CACHE_CONTROL, "private, no-cache")], picture).into_response())
}

/// Takes a picture, as the body or as a form's file; answers with the stream.
pub(super) async fn replace(
    State(state): State<HttpState>,
    viewer: Viewer,
    info: RequestInfo,
    IdPath(id): IdPath<LiveId>,
    request: Request,
) -> Result<Response, Problem> {
    let live = own_live(&state, &viewer, &id).await?;
    let slate = state.actors.thumbnails.make_slate(&live, uploaded(&state, request).await?).await?;
    changed(&state, (&info, &viewer), (&id, with(Some(slate)), None)).await
}

/// Viewers see nothing again while the publisher is away.
pub(super) async fn remove(
    State(state): State<HttpState>,
    viewer: Viewer,
    info: RequestInfo,
    IdPath(id): IdPath<LiveId>,
) -> Result<Response, Problem> {
    own_live(&state, &viewer, &id).await?;
    changed(&state, (&info, &viewer), (&id, with(None), None)).await
}

fn with(slate: Option<Slate>) -> LivePatch {
    LivePatch { slate: Some(slate), ..LivePatch::default() }
}
