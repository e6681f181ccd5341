//! What is known of a request besides its bytes: its id, who is at the other end, the address it came to.
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use http::header::{HOST, HeaderName};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Uri};

use super::client_address::{Scheme, TrustedProxies};
use super::pipeline::Peer;
use crate::domain::ids::{RequestId, UserId};
use crate::domain::ports::Entropy;
use crate::settings::Settings;

/// The header that carries a request's id both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken over from a client or proxy.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// What is known of one request. Cheap to clone; an extractor.
#[derive(Debug, Clone)]
pub struct RequestInfo(Arc<Known>);

#[derive(Debug)]
struct Known {
    id: String,
    client: IpAddr,
    scheme: Scheme,
    host: Option<String>,
    route: OnceLock<Arc<str>>,
    user: OnceLock<UserId>,
}

impl RequestInfo {
    /// Reads what the head says, believing forwarded addresses only from trusted proxies.
    pub(crate) fn new(
        peer: Peer,
        uri: &Uri,
        headers: &HeaderMap,
        (trusted, entropy): (&TrustedProxies, &dyn Entropy),
    ) -> Self {
        let id = sane_id(headers).map_or_else(|| RequestId::random(entropy).to_string(), str::to_owned);
        let (client, scheme) = trusted.client_of((peer.address, peer.scheme), headers);
        let host = uri.authority().map(Authority::as_str).or_else(|| headers.get(HOST)?.to_str().ok());
        let host = host.filter(|host| host.parse::<Authority>().is_ok()).map(str::to_owned);
        Self(Arc::new(Known { id, client, scheme, host, route: OnceLock::new(), user: OnceLock::new() }))
    }

    /// Its id, in logs, answers and error bodies.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The address of whoever asks, proxies taken off.
    pub fn client(&self) -> IpAddr {
        self.0.client
    }

    /// Whether it was sent over HTTPS, here or to a trusted proxy.
    pub fn is_https(&self) -> bool {
        self.0.scheme == Scheme::Https
    }

    /// The host (and port) the request named.
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// The origin the request came to, e.g. `http://localhost:8080`; `None` when it named no host.
    pub fn own_origin(&self) -> Option<String> {
        Some(format!("{}://{}", self.0.scheme.as_str(), self.0.host.as_deref()?))
    }

    /// What every generated URL starts with, without a slash at its end: `server.public_url`, else the address the request
    /// came to.
    pub fn base_url(&self, settings: &Settings) -> String {
        let public_url = settings.server.public_url.trim_end_matches('/');
        if !public_url.is_empty() {
            return public_url.to_owned();
        }
        self.own_origin().unwrap_or_default()
    }

    /// What URLs of media start with: `cdn.base_url`, else as all others.
    pub fn media_url(&self, settings: &Settings) -> String {
        match settings.cdn.base_url.trim_end_matches('/') {
            "" => self.base_url(settings),
            cdn => cdn.to_owned(),
        }
    }

    /// The pattern of the route that took it, e.g. `/api/v1/videos/{id}`; `None` when none did.
    pub fn route(&self) -> Option<&str> {
        self.0.route.get().map(|route| &**route)
    }

    pub(crate) fn note_route(&self, route: Arc<str>) {
        let _ = self.0.route.set(route);
    }

    /// Who asks, once an access token was checked.
    pub fn user(&self) -> Option<&UserId> {
        self.0.user.get()
    }

    pub(crate) fn note_user(&self, user: &UserId) {
        let _ = self.0.user.set(user.clone());
    }
}

fn sane_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_sane = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (!id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(is_sane)).then_some(id)
}

impl<S: Sync> FromRequestParts<S> for RequestInfo {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::unknown))
    }
}

impl RequestInfo {
    /// For requests that did not come through the server's outer layer, which only happens in tests of single handlers.
    fn unknown() -> Self {
        Self(Arc::new(Known {
            id: String::new(),
            client: IpAddr::from([0, 0, 0, 0]),
            scheme: Scheme::Http,
            host: None,
            route: OnceLock::new(),
            user: OnceLock::new(),
        }))
    }
}
