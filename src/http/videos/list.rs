//! Lists of videos: `GET /videos?limit&cursor&category`, `GET /videos?owner=me`.
use axum::extract::State;
use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::view::VideoView;
use crate::domain::ids::UserId;
use crate::domain::ports::{Freshness, Page, PageRequest, VideoFilter};
use crate::http::auth::Viewer;
use crate::http::etag;
use crate::http::extract::Query;
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;

/// Items in a page unless asked otherwise.
const LIMIT_DEFAULT: u32 = 20;
/// Most items in a page.
const LIMIT_MAX: u32 = 100;
/// Longest cursor looked at; ours are far shorter.
const CURSOR_BYTES_MAX: usize = 512;

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    limit: Option<u32>,
    cursor: Option<String>,
    owner: Option<String>,
    category: Option<String>,
    page: Option<String>,
}

/// One page of a list, as every list shows it.
#[derive(Debug, Serialize)]
pub(crate) struct ListPage<V> {
    data: Vec<V>,
    next_cursor: Option<String>,
    has_more: bool,
    total_estimate: u64,
}

impl<V> ListPage<V> {
    /// A page of the catalog, its items shown as `data`.
    pub(crate) fn new<T>(page: Page<T>, data: Vec<V>) -> Self {
        let has_more = page.next_cursor.is_some();
        Self { data, has_more, next_cursor: page.next_cursor, total_estimate: page.total_estimate }
    }
}

/// Newest first.
pub(super) async fn list(
    State(state): State<HttpState>,
    viewer: Option<Viewer>,
    info: RequestInfo,
    Query(query): Query<ListQuery>,
    freshness: Freshness,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (filter, page) = query.parse(viewer.as_ref())?;
    let page = state.ports.catalog.list_videos(filter, page, freshness).await?;
    let views = stream::iter(&page.items).then(|video| VideoView::of(&state, &info, video));
    let views = views.try_collect().await?;
    etag::json(&headers, 0, &ListPage::new(page, views))
}

impl ListQuery {
    fn parse(self, viewer: Option<&Viewer>) -> Result<(VideoFilter, PageRequest), Problem> {
        let page = PageQuery { limit: self.limit, cursor: self.cursor, page: self.page }.parse()?;
        let owner = OwnerQuery(self.owner).parse(viewer)?;
        Ok((VideoFilter { owner, category: self.category.filter(|category| !category.is_empty()) }, page))
    }
}

/// Which page of a list is asked for.
pub(crate) struct PageQuery {
    pub(crate) limit: Option<u32>,
    pub(crate) cursor: Option<String>,
    /// What lists do not have.
    pub(crate) page: Option<String>,
}

impl PageQuery {
    pub(crate) fn parse(self) -> Result<PageRequest, Problem> {
        if self.page.is_some() {
            let detail = "Lists have no page numbers: send the next_cursor of one page as the cursor of the next.";
            return Err(Problem::bad_request("page_not_supported", detail));
        }
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::bad_request("invalid_query", format!("limit must be 1 to {LIMIT_MAX}.")));
        }
        if self.cursor.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
            return Err(crate::domain::ports::CatalogError::InvalidCursor.into());
        }
        Ok(PageRequest { limit, cursor: self.cursor.filter(|cursor| !cursor.is_empty()) })
    }
}

/// Whose items are asked for: `me` or nobody's in particular.
pub(crate) struct OwnerQuery(pub(crate) Option<String>);

impl OwnerQuery {
    pub(crate) fn parse(self, viewer: Option<&Viewer>) -> Result<Option<UserId>, Problem> {
        match self.0.as_deref() {
            None => Ok(None),
            Some("me") => Ok(Some(viewer.ok_or_else(sign_in_first)?.user_id.clone())),
            Some(_) => Err(Problem::bad_request("invalid_query", "owner can only be me.")),
        }
    }
}

fn sign_in_first() -> Problem {
    Problem::unauthorized("authentication_required", "Sign in to see your own.")
}
