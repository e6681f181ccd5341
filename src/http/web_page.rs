//! The web page: the files of `web/dist`, embedded. Paths of the page's own (`/watch/…`) all get `index.html`.
use std::collections::HashMap;
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    VARY, X_FRAME_OPTIONS,
};
use http::{HeaderMap, Method, StatusCode, Uri};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::etag;
use super::problem::Problem;
use super::request_info::RequestInfo;
use super::state::HttpState;

#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Dist;

/// Name in logs and metrics.
const ROUTE: &str = "web";
/// The page itself.
const INDEX: &str = "index.html";
/// What the page may load, media from these origins, too. Media come by `blob:` from a player's source buffers.
fn policy(origins: &str) -> Option<HeaderValue> {
    let policy = format!(
        "default-src 'self'; media-src 'self' blob:{origins}; worker-src 'self' blob:; img-src 'self' data: blob:{origins}; \
         connect-src 'self'{origins}; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'self'",
    );
    HeaderValue::try_from(policy).ok()
}

/// Where media come from besides this site: its CDN, and nodes that players are sent to.
fn media_origins(state: &HttpState) -> String {
    let nodes = state.actors.nodes.pathways().into_iter().map(|(_, url)| url);
    let urls = nodes.chain([state.settings.cdn.base_url.clone()]);
    let origin = |url: String| {
        let uri: Uri = url.parse().ok()?;
        Some(format!(" {}://{}", uri.scheme_str()?, uri.authority()?))
    };
    urls.filter_map(origin).collect()
}
/// Paths that are never the page's: a wrong one must not look like a page.
const NOT_PAGES: [&str; 4] = ["/api/", "/v/", "/t/", "/.well-known/"];
/// Shown while there is no page in the binary.
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Playhouse</title>\
<h1>Playhouse is running</h1><p>This build has no web page in it. Build one with <code>make web</code> and start again; \
the API is at <a href=\"/api/v1\">/api/v1</a>.</p></html>";

/// Everything no route took: a file of the page, the page, or nothing.
pub(super) async fn serve(State(state): State<HttpState>, request: Request) -> Response {
    let mut response = find(&request);
    if let Some(policy) = policy(&media_origins(&state)).filter(|_| response.headers().contains_key(X_FRAME_OPTIONS)) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn find(request: &Request) -> Response {
    let path = request.uri().path();
    if NOT_PAGES.iter().any(|prefix| path.starts_with(prefix)) {
        return Problem::not_found().into_response();
    }
    let name = path.trim_start_matches('/');
    let file = Dist::get(if name.is_empty() { INDEX } else { name }).map(|file| (name, file));
    let wants_page = accepts_html(request.headers());
    let Some((name, file)) = file.or_else(|| wants_page.then(|| Some((INDEX, Dist::get(INDEX)?))).flatten()) else {
        let is_home = name.is_empty() || (wants_page && Dist::get(INDEX).is_none());
        return if is_home { page(Html(NOT_BUILT)) } else { Problem::not_found().into_response() };
    };
    if let Some(info) = request.extensions().get::<RequestInfo>() {
        info.note_route(ROUTE.into());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET,HEAD")]).into_response();
    }
    answer(name, file, request.headers())
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn answer(name: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = tag_of(&file);
    // Vite puts a digest of the content into the names below `assets/`.
    let caching = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = if etag::is_current(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = encoded(name, &file, headers);
        if let Ok(kind) = HeaderValue::from_str(file.metadata.mimetype()) {
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        response
    };
    let (etag_name, etag_value) = etag::header(&tag);
    response.headers_mut().insert(etag_name, etag_value);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    page(response)
}

fn tag_of(file: &EmbeddedFile) -> String {
    let digest = file.metadata.sha256_hash();
    format!("W/\"{}\"", bs58::encode(digest.get(..12).unwrap_or_default()).into_string())
}

/// With the headers that keep a page to itself.
fn page(content: impl IntoResponse) -> Response {
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    response
}

/// Compressed once per file and process, when that saves something.
static COMPRESSED: LazyLock<Mutex<HashMap<String, Option<Bytes>>>> = LazyLock::new(Mutex::default);

fn encoded(name: &str, file: &EmbeddedFile, headers: &HeaderMap) -> Response {
    let plain = || Bytes::from(file.data.clone().into_owned());
    if !super::accepts_gzip(headers) {
        return plain().into_response();
    }
    let known = COMPRESSED.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
    let compressed = known.unwrap_or_else(|| {
        let compressed = compress(&file.data).filter(|compressed| compressed.len() < file.data.len() * 9 / 10);
        let mut all = COMPRESSED.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name.to_owned()).or_insert(compressed).clone()
    });
    match compressed {
        Some(bytes) => ([(CONTENT_ENCODING, "gzip")], bytes).into_response(),
        None => plain().into_response(),
    }
}

fn compress(data: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).ok()?;
    encoder.finish().ok().map(Bytes::from)
}
