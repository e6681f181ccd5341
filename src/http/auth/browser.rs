//! Browser mode: with `X-Playhouse-Client: browser` the refresh token travels only in a cookie that scripts never see.
//!
//! A cookie is sent by whichever page makes the browser ask, so what is done by cookie alone also takes the header (which
//! a foreign page may only send after a preflight we refuse), `SameSite=Strict`, and an `Origin` of our own.
use axum::response::Response;
use http::header::{COOKIE, HOST, HeaderName, HeaderValue, ORIGIN, SET_COOKIE};
use http::{HeaderMap, Uri};

use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;

/// Says what kind of client asks.
const CLIENT: HeaderName = HeaderName::from_static("x-playhouse-client");
/// The cookie with the refresh token.
const COOKIE_NAME: &str = "playhouse_refresh";
/// The only paths that are sent the cookie.
const COOKIE_PATH: &str = "/api/v1/auth";

/// Whether the client asks for browser mode.
pub(crate) fn is_browser(headers: &HeaderMap) -> bool {
    headers.get(CLIENT).is_some_and(|value| value == "browser")
}

/// The refresh token from the cookie of a browser; refused when the request came from another site's page.
pub(super) fn cookie_token(
    state: &HttpState,
    info: &RequestInfo,
    headers: &HeaderMap,
) -> Result<Option<String>, Problem> {
    if !is_browser(headers) {
        return Ok(None);
    }
    let Some(token) = find_cookie(headers, COOKIE_NAME) else { return Ok(None) };
    if !is_own_origin(&state.settings.server.public_url, info, headers) {
        return Err(Problem::forbidden("foreign_origin", "Sessions are only managed from this site's own pages."));
    }
    Ok(Some(token.to_owned()))
}

/// The value of a cookie that is not empty.
pub(crate) fn find_cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let cookies =
        headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(';'));
    let mut pairs = cookies.filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == wanted && !value.is_empty()).then_some(value))
}

/// Origins are compared whole with `server.public_url`, and by host with the address the request came to: behind a proxy
/// that is not trusted, this server does not know whether the browser's side was HTTPS.
fn is_own_origin(public_url: &str, info: &RequestInfo, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN).and_then(|value| value.to_str().ok()) else { return false };
    let Ok(parsed) = origin.parse::<Uri>() else { return false };
    let Some(authority) = parsed.authority() else { return false };
    let public = public_url.parse::<Uri>().ok();
    let is_public =
        public.is_some_and(|public| public.scheme() == parsed.scheme() && public.authority() == Some(authority));
    is_public || info.host().or_else(|| headers.get(HOST)?.to_str().ok()) == Some(authority.as_str())
}

/// Gives the browser its next token.
pub(super) fn set_cookie(response: &mut Response, state: &HttpState, info: &RequestInfo, token: &str) {
    let max_age = state.settings.accounts.refresh_token_ttl.0.as_secs();
    write_cookie(response, state, info, &format!("{token}; Max-Age={max_age}"));
}

/// Takes the token from the browser.
pub(super) fn clear_cookie(response: &mut Response, state: &HttpState, info: &RequestInfo) {
    write_cookie(response, state, info, "; Max-Age=0");
}

fn write_cookie(response: &mut Response, state: &HttpState, info: &RequestInfo, value: &str) {
    let secure = if state.settings.http.secure_cookies || info.is_https() { "; Secure" } else { "" };
    let cookie = format!("{COOKIE_NAME}={value}; Path={COOKIE_PATH}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}
