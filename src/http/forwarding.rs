//! Requests that are another node's: those about something that one node has in memory, e.g. an upload under way. They go to it over
//! the nodes' own connection, each on a stream of its own as HTTP/1.1, bodies and all, and are never sent on from there.
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::client_address::Scheme;
use super::pipeline::Peer;
use super::problem::Problem;
use super::request_info::{REQUEST_ID, RequestInfo};
use super::state::HttpState;
use super::whip::session_place;
use crate::actors::{lives, uploads};
use crate::domain::cluster::{NodeName, Role};
use crate::domain::ids::{LiveId, PlaybackId, UploadId};

/// For whom a node asks another one.
const CLIENT: HeaderName = HeaderName::from_static("playhouse-client");
/// What is about one connection only (RFC 9110 section 7.6.1).
const OF_CONNECTION: [HeaderName; 5] =
    [CONNECTION, HeaderName::from_static("keep-alive"), TE, TRANSFER_ENCODING, UPGRADE];
/// When to try again a request that did not reach its node: by then another one may have taken that up.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request that came from another node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forwarded;

/// What of one node a request is about.
pub(crate) enum Subject {
    /// An upload under way.
    Upload(UploadId),
    /// A live stream.
    Live(LiveId),
    /// The frames of a live stream.
    Frames(PlaybackId),
    /// A session of WebRTC at this node.
    Session(NodeName),
}

impl Subject {
    /// `None` for what every node answers alike, and what has been sent on already.
    pub(crate) fn of(state: &HttpState, request: &Request) -> Option<Self> {
        if !state.actors.nodes.is_cluster() || request.extensions().get::<Forwarded>().is_some() {
            return None;
        }
        let path = request.uri().path();
        live_in(path)
            .map(Self::Live)
            .or_else(|| upload_in(path).map(Self::Upload))
            .or_else(|| frames_in(path).map(Self::Frames))
            .or_else(|| session_in(path).map(Self::Session))
    }

    /// The node that it is on, when that is another one.
    pub(crate) async fn place(&self, state: &HttpState) -> Option<NodeName> {
        let nodes = &state.actors.nodes;
        match self {
            Self::Upload(id) => nodes.elsewhere(&uploads::placement_key(id), Role::Api),
            Self::Live(id) => holder(state, id).await,
            Self::Frames(playback) => {
                let live = state.ports.catalog.live_by_playback(playback).await;
                let holder = holder(state, &live.ok().flatten()?.id).await;
                holder.filter(|node| !state.actors.lives.relays().have_frames_of(node))
            }
            Self::Session(node) => {
                let is_there = nodes.members().iter().any(|member| member.node == *node);
                Some(node.clone()).filter(|node| is_there && *node != nodes.me().node)
            }
        }
    }
}

/// The node that has a stream, when that is another one.
async fn holder(state: &HttpState, id: &LiveId) -> Option<NodeName> {
    let holder = state.actors.nodes.holder(&lives::lease_key(id)).await;
    holder.inspect_err(|error| tracing::warn!(%error, "which node has a stream is not known")).ok().flatten()
}

/// Viewers by WHEP are served by the node that they have come to. Where that cannot be told of frames, because the node that has the stream
/// is of an older release, that one serves them: media go between the two, whoever has passed the offer on.
fn frames_in(path: &str) -> Option<PlaybackId> {
    let base = path.strip_suffix("/whep")?;
    let playback = match base.strip_prefix("/t/") {
        Some(signed) => signed.split_once("/v/")?.1,
        None => base.strip_prefix("/v/")?,
    };
    PlaybackId::parse(playback).ok()
}

fn session_in(path: &str) -> Option<NodeName> {
    let path = path.strip_prefix("/api/v1")?;
    let name = path.strip_prefix("/whip/sessions/").or_else(|| path.strip_prefix("/whep/sessions/"))?;
    session_place(name).0
}

fn live_in(path: &str) -> Option<LiveId> {
    LiveId::parse(path.strip_prefix("/api/v1/live/")?.split('/').next()?).ok()
}

fn upload_in(path: &str) -> Option<UploadId> {
    let path = path.strip_prefix("/api/v1")?;
    let rest = path.strip_prefix("/uploads/").or_else(|| path.strip_prefix("/videos/upload/"))?;
    UploadId::parse(rest.split('/').next()?).ok()
}

/// Has another node answer.
pub(crate) async fn forward(state: &HttpState, node: &NodeName, request: Request, info: &RequestInfo) -> Response {
    match try_forward(state, node, request, info).await {
        Ok(response) => response,
        Err(reason) => {
            metrics::counter!("playhouse_http_forward_failures_total").increment(1);
            tracing::warn!(%node, reason, "a request did not get to the node that it is for");
            Problem::unavailable("The node that has this cannot be reached.", RETRY_AFTER).into_response()
        }
    }
}

async fn try_forward(
    state: &HttpState,
    node: &NodeName,
    request: Request,
    info: &RequestInfo,
) -> Result<Response, String> {
    let stream = state.actors.nodes.open_request(node).await.map_err(|error| error.to_string())?;
    let io = TokioIo::new(tokio::io::join(stream.receive, stream.send));
    let (mut sender, connection) = http1::handshake(io).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(outward(parts, info)?, body);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    metrics::counter!("playhouse_http_forwarded_total").increment(1);
    let (mut parts, body) = response.into_parts();
    OF_CONNECTION.iter().for_each(|name| drop(parts.headers.remove(name)));
    // The connection's task holds the stream for as long as the body is read.
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// The head as it goes to the other node: for whom it asks is said by this node, whatever the client has said.
fn outward(mut parts: Parts, info: &RequestInfo) -> Result<Parts, String> {
    OF_CONNECTION.iter().for_each(|name| drop(parts.headers.remove(name)));
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
    if let Some(host) = info.host() {
        parts.headers.insert(HOST, value(host)?);
    }
    let scheme = if info.is_https() { Scheme::Https } else { Scheme::Http };
    parts.headers.insert(CLIENT, value(&format!("{} {}", info.client(), scheme.as_str()))?);
    parts.headers.insert(REQUEST_ID, value(info.id())?);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    parts.uri = target.parse::<Uri>().map_err(|error| error.to_string())?;
    parts.version = http::Version::HTTP_11;
    Ok(parts)
}

/// For whom another node asks; `None` when it does not say, which no node does.
pub(crate) fn client_of(headers: &mut HeaderMap) -> Option<Peer> {
    let said = headers.remove(CLIENT)?;
    let (address, scheme) = said.to_str().ok()?.split_once(' ')?;
    let scheme = [Scheme::Http, Scheme::Https].into_iter().find(|known| known.as_str() == scheme)?;
    Some(Peer { address: address.parse::<IpAddr>().ok()?, scheme })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_found_by_every_path() {
        let id = UploadId::random(&crate::system::SystemEntropy);
        for path in [
            format!("/api/v1/uploads/{id}"),
            format!("/api/v1/videos/upload/{id}"),
            format!("/api/v1/videos/upload/{id}/chunk"),
        ] {
            assert_eq!(upload_in(&path), Some(id.clone()), "{path}");
        }
        for path in ["/api/v1/uploads", "/api/v1/videos/upload/initiate", "/api/v1/uploads/", "/uploads/x", "/"] {
            assert_eq!(upload_in(path), None, "{path}");
        }
    }

    #[test]
    fn sessions_and_frames_are_found_where_they_are() {
        let playback = PlaybackId::random(&crate::system::SystemEntropy);
        for path in [format!("/v/{playback}/whep"), format!("/t/some.token/v/{playback}/whep")] {
            assert_eq!(frames_in(&path), Some(playback.clone()), "{path}");
        }
        assert_eq!(frames_in(&format!("/v/{playback}/master.m3u8")), None);
        let node: NodeName = "node-2".parse().unwrap();
        assert_eq!(session_in("/api/v1/whip/sessions/node-2.3xYz"), Some(node.clone()));
        assert_eq!(session_in("/api/v1/whep/sessions/node-2.3xYz"), Some(node));
        assert_eq!(session_in("/api/v1/whep/sessions/3xYz"), None);
    }

    #[test]
    fn clients_are_named_by_nodes_alone() {
        let mut headers = HeaderMap::new();
        assert!(client_of(&mut headers).is_none());
        headers.insert(CLIENT, HeaderValue::from_static("192.0.2.7 https"));
        let peer = client_of(&mut headers).unwrap();
        assert!(peer.address == IpAddr::from([192, 0, 2, 7]) && matches!(peer.scheme, Scheme::Https));
        assert!(headers.is_empty(), "it goes no further");
        for bad in ["192.0.2.7", "x https", "192.0.2.7 gopher"] {
            headers.insert(CLIENT, HeaderValue::from_str(bad).unwrap());
            assert!(client_of(&mut headers).is_none(), "{bad}");
        }
    }
}
