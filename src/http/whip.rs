//! Publishing by WHIP (RFC 9725): `POST` of an offer begins a session, `PATCH` starts ICE anew or trickles candidates, `DELETE` ends
//! it. The stream's key comes as bearer token, or at the end of the path for programs that have no field for a token.
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{OptionalFromRequestParts, Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, LINK, LOCATION, RETRY_AFTER,
    USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use tower_http::cors::{Any, CorsLayer};

use super::extract::read_limited;
use super::problem::Problem;
use super::request_info::{REQUEST_ID, RequestInfo};
use super::state::HttpState;
use crate::domain::cluster::NodeName;
use crate::media::live::gate::{NotAdmitted, TurnedAway};
use crate::protocols::webrtc::listener::{Begun, NotAnswered, Publication};
use crate::protocols::webrtc::peer::Answer;
use crate::protocols::webrtc::sessions::{Patched, Refused};
use crate::protocols::webrtc::wire::fragment::{FRAGMENT_BYTES_MAX, Fragment};
use crate::protocols::webrtc::wire::links::IceServer;
use crate::protocols::webrtc::wire::offer::{InvalidOffer, OFFER_BYTES_MAX};

/// Content type of offers and answers.
pub(super) const SDP: &str = "application/sdp";
/// The same of fragments (RFC 8840).
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// How long a browser remembers what it was allowed.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(7200);
/// When to try again while the server cannot take streams.
const SOON: Duration = Duration::from_secs(2);
/// The same while there is no room.
const LATER: Duration = Duration::from_secs(30);
/// Longest name of a program that is passed on.
const AGENT_CHARS_MAX: usize = 128;

/// Routes below `/api/v1`.
pub(super) fn routes() -> Router<HttpState> {
    Router::new()
        .route("/whip", post(publish))
        .route("/whip/{key}", post(publish))
        .route("/whip/sessions/{id}", MethodRouter::new().patch(patch).delete(end))
}

/// Pages of every origin may ask: access is by keys, never by cookies.
pub(super) fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, IF_MATCH, REQUEST_ID])
        .expose_headers([LOCATION, ETAG, LINK, RETRY_AFTER, ACCEPT_POST, ACCEPT_PATCH, REQUEST_ID])
        .max_age(PREFLIGHT_MAX_AGE)
}

/// The token of an `Authorization: Bearer` field, which is no access token of an account here.
pub(super) struct Token(pub(super) String);

impl OptionalFromRequestParts<HttpState> for Token {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &HttpState) -> Result<Option<Self>, Infallible> {
        Ok(bearer(&parts.headers).map(|token| Self(token.to_owned())))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// What a session is addressed by.
type Addressed = (Path<String>, Option<Token>);

/// What is taken is told to whoever asks what may be asked (section 4.2); the rest of that answer is [`cors`].
pub(super) async fn discover(request: Request, next: Next) -> Response {
    let is_session = request.uri().path().contains("/sessions/");
    let asks = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    if asks {
        let (name, kind) = if is_session { (ACCEPT_PATCH, FRAGMENT) } else { (ACCEPT_POST, SDP) };
        response.headers_mut().insert(name, HeaderValue::from_static(kind));
    }
    response
}

/// Begins a session.
async fn publish(
    State(state): State<HttpState>,
    info: RequestInfo,
    path: Option<Path<String>>,
    token: Option<Token>,
    request: Request,
) -> Result<Response, Problem> {
    let is_bearer = token.is_some();
    let named = token.map(|Token(token)| token).or(path.map(|Path(key)| key));
    let missing = || {
        Problem::unauthorized("stream_key_missing", "The stream key has to come as bearer token, or behind the path.")
    };
    let key = named.ok_or_else(missing)?;
    expect_type(request.headers(), SDP)?;
    expect_accepted(request.headers(), SDP)?;
    let agent = agent(request.headers());
    let offer = read_limited(request, OFFER_BYTES_MAX).await?;
    let publication = Publication { key, is_bearer, address: SocketAddr::new(info.client(), 0), agent };
    let begun = state.webrtc.publish(publication, &offer).await.map_err(|refused| {
        tracing::info!(client = %info.client(), reason = %refused, "whip publisher rejected");
        not_answered(refused, is_bearer)
    })?;
    tracing::info!(client = %info.client(), session.id = begun.id, "whip session begun");
    Ok(begun_response(&state, (&info, "whip"), begun))
}

/// How an offer was answered, and where the session of this protocol is.
pub(super) fn begun_response(state: &HttpState, (info, protocol): (&RequestInfo, &str), begun: Begun) -> Response {
    let id = session_name(state, &begun.id);
    let location = format!("{}/api/v1/{protocol}/sessions/{id}", info.base_url(&state.settings));
    let mut response = answer(StatusCode::CREATED, SDP, begun.description);
    put(response.headers_mut(), LOCATION, &location);
    put(response.headers_mut(), ETAG, &format!("\"{}\"", begun.tag));
    put(response.headers_mut(), ACCEPT_PATCH, FRAGMENT);
    append_links(state, response.headers_mut());
    response
}

/// What a session is called in its address: in a cluster that says at which node it is.
fn session_name(state: &HttpState, id: &str) -> String {
    let nodes = &state.actors.nodes;
    if nodes.is_cluster() { format!("{}.{id}", nodes.me().node) } else { id.to_owned() }
}

/// The node that a session is at, when its name says so, and what it is called there.
pub(super) fn session_place(name: &str) -> (Option<NodeName>, &str) {
    match name.split_once('.') {
        Some((node, id)) => (node.parse().ok(), id),
        None => (None, name),
    }
}

/// Candidates that come later, or another start of ICE.
async fn patch(
    State(state): State<HttpState>,
    (Path(id), token): Addressed,
    request: Request,
) -> Result<Response, Problem> {
    let key = token.as_ref().map(|Token(token)| token.as_str());
    let tag = if_match(request.headers());
    let patched = read_fragment(request).await?;
    let patched =
        state.webrtc.publishers().patch((session_place(&id).1, key), tag.as_deref(), patched).await.map_err(refused)?;
    Ok(patched_response(patched))
}

/// Ends a session.
async fn end(State(state): State<HttpState>, (Path(id), token): Addressed) -> Result<Response, Problem> {
    let key = token.as_ref().map(|Token(token)| token.as_str());
    state.webrtc.publishers().end(session_place(&id).1, key).map_err(refused)?;
    Ok(StatusCode::OK.into_response())
}

/// The value of `If-Match` without its quotes.
pub(super) fn if_match(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(IF_MATCH)?.to_str().ok()?.trim();
    let opaque = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    Some(opaque.unwrap_or(value).to_owned())
}

/// The fragment that a request brings.
pub(super) async fn read_fragment(request: Request) -> Result<Fragment, Problem> {
    expect_type(request.headers(), FRAGMENT)?;
    let body = read_limited(request, FRAGMENT_BYTES_MAX).await?;
    Fragment::read(&body).map_err(|error| Problem::bad_request("invalid_fragment", sentence(&error)))
}

/// How a fragment was taken.
pub(super) fn patched_response(patched: Patched) -> Response {
    match patched {
        Patched::Noted => StatusCode::NO_CONTENT.into_response(),
        Patched::Restarted(told) => {
            let mut response = answer(StatusCode::OK, FRAGMENT, fragment_of(&told));
            put(response.headers_mut(), ETAG, &format!("\"{}\"", told.name));
            response
        }
    }
}

/// What a client has to know of an answer when ICE starts anew.
fn fragment_of(told: &Answer) -> String {
    let mut out = format!("a=ice-lite\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", told.name, told.password);
    let mut lines = told.description.lines();
    if let Some(section) = lines.find(|line| line.starts_with("m=")) {
        let kept =
            |line: &&str| ["a=mid:", "a=candidate:", "a=end-of-candidates"].iter().any(|kept| line.starts_with(kept));
        let of_section = lines.take_while(|line| !line.starts_with("m=")).filter(kept);
        [section].into_iter().chain(of_section).for_each(|line| {
            out.push_str(line);
            out.push_str("\r\n");
        });
    }
    out
}

/// A response with a body of this type, for one client only.
fn answer(status: StatusCode, kind: &'static str, body: String) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
}

/// Sets a field.
fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Tells of STUN and TURN servers.
fn append_links(state: &HttpState, headers: &mut HeaderMap) {
    let servers = state.settings.live.webrtc_ice_servers.iter().filter_map(|server| IceServer::parse(server));
    for value in servers.filter_map(|server| HeaderValue::try_from(server.link()).ok()) {
        headers.append(LINK, value);
    }
}

/// 415 unless the body is of this type.
pub(super) fn expect_type(headers: &HeaderMap, expected: &'static str) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let detail = format!("The body must be {expected}.");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}

/// 406 when the client takes no answer of this type.
pub(super) fn expect_accepted(headers: &HeaderMap, given: &'static str) -> Result<(), Problem> {
    let Some(accepted) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else { return Ok(()) };
    let takes = |part: &str| {
        let (kind, parameters) = part.split_once(';').unwrap_or((part, ""));
        let is_refused = parameters.split(';').any(|parameter| matches!(parameter.trim(), "q=0" | "q=0.0"));
        !is_refused && ["*/*", "application/*", given].contains(&kind.trim().to_ascii_lowercase().as_str())
    };
    if accepted.split(',').any(takes) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", format!("The answer is {given}.")))
}

fn agent(headers: &HeaderMap) -> String {
    let name = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    name.chars().take(AGENT_CHARS_MAX).collect()
}

fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

/// Why an offer is not answered.
pub(super) fn not_answered(refused: NotAnswered, is_bearer: bool) -> Problem {
    let detail = sentence(&refused);
    match refused {
        NotAnswered::TurnedAway(turned_away) => {
            turned_away.count();
            match turned_away {
                TurnedAway::UnknownKey if is_bearer => Problem::unauthorized("invalid_token", detail),
                TurnedAway::UnknownKey => Problem::not_found(),
                TurnedAway::Refused(_) => Problem::forbidden("not_publishable", detail),
                TurnedAway::Unavailable => Problem::unavailable(detail, SOON),
            }
        }
        NotAnswered::NotAdmitted(NotAdmitted::NotFound) => Problem::not_found(),
        NotAnswered::NotAdmitted(NotAdmitted::Unavailable | NotAdmitted::Elsewhere) | NotAnswered::NotBegun => {
            Problem::unavailable(detail, SOON)
        }
        NotAnswered::Offer(offer) => offer_problem(&offer),
        NotAnswered::Full => Problem::unavailable(detail, LATER),
    }
}

/// 400 for what is no offer, 422 for one that cannot be answered.
fn offer_problem(offer: &InvalidOffer) -> Problem {
    match offer {
        InvalidOffer::Malformed(_) => Problem::bad_request("invalid_sdp", sentence(offer)),
        InvalidOffer::Unacceptable(_) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unacceptable_sdp", sentence(offer))
        }
    }
}

/// Why a request about a session is refused.
pub(super) fn refused(refused: Refused) -> Problem {
    let detail = sentence(&refused);
    match refused {
        Refused::Unknown => Problem::not_found(),
        Refused::KeyMissing => Problem::unauthorized("stream_key_missing", detail),
        Refused::KeyWrong => Problem::forbidden("wrong_stream_key", detail),
        Refused::Unconditional => Problem::new(StatusCode::PRECONDITION_REQUIRED, "if_match_required", detail),
        Refused::Outdated => Problem::new(StatusCode::PRECONDITION_FAILED, "outdated_ice_session", detail),
        Refused::Foreign | Refused::NotRestarted => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unacceptable_fragment", detail)
        }
    }
}
