//! Live streams to be looked at: `GET /live`, `GET /live/{id}`.
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;

use super::view::LiveView;
use crate::domain::ids::LiveId;
use crate::domain::live::Live;
use crate::domain::ports::Freshness;
use crate::domain::video::Privacy;
use crate::http::auth::Viewer;
use crate::http::etag;
use crate::http::extract::{IdPath, Query};
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;
use crate::http::videos::list::{ListPage, OwnerQuery, PageQuery};

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    limit: Option<u32>,
    cursor: Option<String>,
    owner: Option<String>,
    page: Option<String>,
}

/// What is live now, or all of one's own.
pub(super) async fn list(
    State(state): State<HttpState>,
    viewer: Option<Viewer>,
    info: RequestInfo,
    Query(query): Query<ListQuery>,
    freshness: Freshness,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let owner = OwnerQuery(query.owner).parse(viewer.as_ref())?;
    let page = PageQuery { limit: query.limit, cursor: query.cursor, page: query.page }.parse()?;
    let page = state.ports.catalog.list_lives(owner.as_ref(), page, freshness).await?;
    let mut data = Vec::with_capacity(page.items.len());
    for live in &page.items {
        data.push(LiveView::of(&state, (&info, viewer.as_ref()), live).await?);
    }
    etag::json(&headers, 0, &ListPage::new(page, data))
}

/// One of them.
pub(super) async fn show(
    State(state): State<HttpState>,
    viewer: Option<Viewer>,
    info: RequestInfo,
    IdPath(id): IdPath<LiveId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let live = visible_live(&state, viewer.as_ref(), &id).await?;
    let view = LiveView::of(&state, (&info, viewer.as_ref()), &live).await?;
    etag::json(&headers, live.revision, &view)
}

/// The live stream, if this viewer may know of it; whoever may not sees 404.
pub(super) async fn visible_live(state: &HttpState, viewer: Option<&Viewer>, id: &LiveId) -> Result<Live, Problem> {
    let live = state.ports.catalog.live(id).await?.ok_or_else(Problem::not_found)?;
    let is_own = viewer.is_some_and(|viewer| viewer.may_edit(&live.user_id));
    if is_own || live.details.privacy != Privacy::Private { Ok(live) } else { Err(Problem::not_found()) }
}
