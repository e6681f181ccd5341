//! Watching by WHEP (draft-ietf-wish-whep): `POST` of an offer to a live stream's own address begins a session, `PATCH` starts ICE
//! anew or trickles candidates, `DELETE` ends it. Who may watch is decided as for all its media: what is not public needs a token,
//! in the address as it is told, or as bearer token.
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use http::StatusCode;

use super::extract::read_limited;
use super::problem::Problem;
use super::request_info::RequestInfo;
use super::state::HttpState;
use super::whip::{
    SDP, Token, begun_response, expect_accepted, expect_type, if_match, not_answered, patched_response, read_fragment,
    refused, session_place,
};
use crate::media::live::gate::Ticket;
use crate::protocols::webrtc::listener::Viewing;
use crate::protocols::webrtc::wire::offer::OFFER_BYTES_MAX;

/// Routes beside those of a stream's other media.
pub(super) fn media_routes() -> Router<HttpState> {
    Router::new().route("/v/{playback}/whep", post(open)).route("/t/{token}/v/{playback}/whep", post(signed))
}

/// Routes below `/api/v1`.
pub(super) fn routes() -> Router<HttpState> {
    Router::new().route("/whep/sessions/{id}", MethodRouter::new().patch(patch).delete(end))
}

async fn open(
    State(state): State<HttpState>,
    info: RequestInfo,
    Path(playback): Path<String>,
    token: Option<Token>,
    request: Request,
) -> Result<Response, Problem> {
    let key = token.map(|Token(token)| token);
    begin((state, info), (playback, key.clone(), key), request).await
}

async fn signed(
    State(state): State<HttpState>,
    info: RequestInfo,
    Path((signature, playback)): Path<(String, String)>,
    token: Option<Token>,
    request: Request,
) -> Result<Response, Problem> {
    begin((state, info), (playback, Some(signature), token.map(|Token(token)| token)), request).await
}

/// Begins a session; what came as bearer token has to come again.
async fn begin(
    (state, info): (HttpState, RequestInfo),
    (playback, token, key): (String, Option<String>, Option<String>),
    request: Request,
) -> Result<Response, Problem> {
    expect_type(request.headers(), SDP)?;
    expect_accepted(request.headers(), SDP)?;
    let offer = read_limited(request, OFFER_BYTES_MAX).await?;
    let mut number = [0; 8];
    state.ports.entropy.fill(&mut number);
    let address = SocketAddr::new(info.client(), 0);
    let ticket = Ticket { playback, token, address, number: u64::from_be_bytes(number) };
    let begun = state.webrtc.watch(Viewing { ticket, key }, &offer).await.map_err(|refused| {
        tracing::info!(client = %info.client(), reason = %refused, "whep viewer rejected");
        not_answered(refused, false)
    })?;
    tracing::info!(client = %info.client(), session.id = begun.id, "whep session begun");
    Ok(begun_response(&state, (&info, "whep"), begun))
}

/// Candidates that come later, or another start of ICE.
async fn patch(
    State(state): State<HttpState>,
    Path(id): Path<String>,
    token: Option<Token>,
    request: Request,
) -> Result<Response, Problem> {
    let key = token.as_ref().map(|Token(token)| token.as_str());
    let tag = if_match(request.headers());
    let fragment = read_fragment(request).await?;
    let patched =
        state.webrtc.viewers().patch((session_place(&id).1, key), tag.as_deref(), fragment).await.map_err(refused)?;
    Ok(patched_response(patched))
}

/// Ends a session.
async fn end(
    State(state): State<HttpState>,
    Path(id): Path<String>,
    token: Option<Token>,
) -> Result<Response, Problem> {
    let key = token.as_ref().map(|Token(token)| token.as_str());
    state.webrtc.viewers().end(session_place(&id).1, key).map_err(refused)?;
    Ok(StatusCode::OK.into_response())
}
