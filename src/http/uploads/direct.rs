//! Uploads whose clients store the bytes in the bucket by themselves: where each part is PUT.
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue};
use serde::{Deserialize, Serialize};

use super::UploadRequest;
use crate::actors::uploads::UploadHandle;
use crate::actors::uploads::direct::PartUrl;
use crate::domain::ids::UploadId;
use crate::domain::ports::{CatalogError, Page, PageRequest};
use crate::domain::time::Timestamp;
use crate::domain::upload::error::UploadError;
use crate::http::extract::{IdPath, Query};
use crate::http::problem::Problem;
use crate::http::videos::list::{ListPage, PageQuery};

/// Parts that are told when an upload is begun.
const FIRST_PARTS: u32 = 20;

/// Where a client puts the parts of an upload.
#[derive(Debug, Serialize)]
pub(super) struct Direct {
    /// How each part is sent to its URL.
    method: &'static str,
    /// Bytes of each part but the last.
    part_size: u64,
    /// How many there are.
    num_parts: u32,
    /// Where URLs of all of them are listed, new ones each time.
    parts_url: String,
    /// The first of them.
    parts: ListPage<PartView>,
}

/// One part.
#[derive(Debug, Serialize)]
struct PartView {
    /// From 1.
    part_number: u32,
    /// Bytes it must have.
    size: u64,
    /// Whether it is there with that size.
    is_stored: bool,
    /// To be PUT to.
    url: String,
    /// When the URL stops being good.
    expires_at: Timestamp,
}

impl From<PartUrl> for PartView {
    fn from(part: PartUrl) -> Self {
        let PartUrl { part: part_number, bytes: size, is_stored, url, expires_at } = part;
        Self { part_number, size, is_stored, url, expires_at }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct PartsQuery {
    limit: Option<u32>,
    cursor: Option<String>,
    page: Option<String>,
}

/// Refuses what this server cannot do, and says why.
pub(super) fn check(request: &UploadRequest, is_direct: bool) -> Result<(), Problem> {
    if !is_direct || request.uploads().takes_direct() {
        return Ok(());
    }
    let why = match request.state.settings.blobs.is_s3() {
        true => "blobs.presigned_uploads is off",
        false => "it keeps uploads in no bucket of S3",
    };
    let detail = format!("This server gives no URLs to store parts at: {why}. Send the bytes to it in chunks.");
    Err(Problem::invalid_field("/direct", "not_available", detail))
}

/// What the client of a new upload needs to begin; `None` when it sends the bytes here.
pub(super) async fn first_parts(request: &UploadRequest, handle: &UploadHandle) -> Result<Option<Direct>, Problem> {
    let Some(plan) = handle.upload().parts() else { return Ok(None) };
    let id = &handle.upload().id;
    let parts_url = format!("{}/api/v1/videos/upload/{id}/parts", request.info.base_url(&request.state.settings));
    let parts = page(handle, PageRequest { limit: FIRST_PARTS, cursor: None }).await?;
    Ok(Some(Direct { method: "PUT", part_size: plan.part_bytes(), num_parts: plan.count(), parts_url, parts }))
}

/// `GET /videos/upload/{id}/parts`: a page of parts with new URLs.
pub(super) async fn list(
    IdPath(id): IdPath<UploadId>,
    Query(query): Query<PartsQuery>,
    request: UploadRequest,
) -> Result<Response, Problem> {
    let asked = PageQuery { limit: query.limit, cursor: query.cursor, page: query.page }.parse()?;
    let handle = request.find(&id).await?;
    let mut response = axum::Json(page(&handle, asked).await?).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn page(handle: &UploadHandle, asked: PageRequest) -> Result<ListPage<PartView>, Problem> {
    let plan = handle.upload().parts().ok_or(UploadError::NotDirect)?;
    let first = match &asked.cursor {
        None => 1,
        Some(cursor) => {
            cursor.parse().ok().filter(|part| plan.bytes_of(*part).is_some()).ok_or(CatalogError::InvalidCursor)?
        }
    };
    let next = first.saturating_add(asked.limit);
    let urls = handle.part_urls(first..next).await?;
    let page = Page {
        next_cursor: plan.bytes_of(next).map(|_| next.to_string()),
        total_estimate: plan.count().into(),
        items: urls.iter().map(|url| url.part).collect::<Vec<_>>(),
    };
    Ok(ListPage::new(page, urls.into_iter().map(PartView::from).collect()))
}
