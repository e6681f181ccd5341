//! A request for something below a video's base.
use std::net::IpAddr;

use http::{HeaderMap, Method, header};

use crate::domain::ids::PlaybackId;
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::media::view::View;

/// Which choice of renditions a manifest is asked for.
const ONLY: &str = "quality";
const MOST: &str = "max";
const FIRST: &str = "start";
const SESSION: &str = "session";

pub(super) struct MediaRequest {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) playback: PlaybackId,
    pub(super) tail: String,
    client: Option<IpAddr>,
    query: String,
}

impl MediaRequest {
    pub(super) fn new(request: axum::extract::Request, playback: &str, tail: String) -> Result<Self, Problem> {
        let (parts, _) = request.into_parts();
        Ok(Self {
            client: parts.extensions.get::<RequestInfo>().map(RequestInfo::client),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            method: parts.method,
            headers: parts.headers,
            playback: PlaybackId::parse(playback).map_err(|_| Problem::not_found())?,
            tail,
        })
    }

    /// The query, as it came.
    pub(super) fn query(&self) -> &str {
        &self.query
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether the player has a session of its own.
    pub(super) fn has_session(&self) -> bool {
        self.parameter(SESSION).is_some()
    }

    /// Which renditions it asks for. What is not a number of lines is nothing: such links are made by nobody.
    pub(super) fn view(&self) -> View {
        let side = |name| self.parameter(name)?.strip_suffix('p')?.parse().ok();
        View { only: side(ONLY), most: side(MOST), first: side(FIRST) }
    }

    /// Tells players without sessions apart: by address, program and video. Players behind one address that are the same
    /// program count as one.
    pub(super) fn fingerprint(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.client.hash(&mut hasher);
        self.headers.get(header::USER_AGENT).hash(&mut hasher);
        self.playback.hash(&mut hasher);
        hasher.finish()
    }
}

/// The query of a manifest that is asked for with this view and session; empty, or with its question mark.
pub(super) fn manifest_query(view: View, session: Option<&str>) -> String {
    let side = |name: &str, side: Option<u32>| side.map(|side| format!("{name}={side}p"));
    let session = session.map(|session| format!("{SESSION}={session}"));
    let parts = [side(ONLY, view.only), side(MOST, view.most), side(FIRST, view.first), session];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}
