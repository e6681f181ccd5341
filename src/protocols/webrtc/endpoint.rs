//! Servers elsewhere that take streams by WHIP (RFC 9725), or give them by WHEP: an offer is posted to their URL; the answer comes
//! with the session's own URL, which is deleted in the end.
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;

use super::wire::offer::OFFER_BYTES_MAX;
use crate::protocols::dial::{Dialer, TlsChoice};

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a server may send on to another URL (RFC 9725, section 4.5).
const REDIRECTS_MAX: usize = 3;
/// Characters shown of what a server says when it refuses.
const REASON_CHARS_MAX: usize = 200;
const SDP: &str = "application/sdp";

/// Which servers are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// None but those of the public internet.
    pub is_public_only: bool,
    /// Any certificate will do.
    pub insecure: bool,
}

impl Reach {
    /// Those that show who they are, in private networks, too, where that is wanted.
    pub fn proven(with_private: bool) -> Self {
        Self { is_public_only: !with_private, insecure: false }
    }
}

/// Why text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointUrlError {
    /// Another protocol.
    #[error("must begin with whip://, whips://, whep:// or wheps://")]
    Scheme,
    /// No server.
    #[error("names no host, or no port that there is")]
    Host,
    /// A token that cannot be sent.
    #[error("has a token before @ that cannot be sent")]
    Token,
}

/// The URL of an endpoint: `whips://token@host:port/path`, and `whip://` without TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    /// Whether it is spoken to over TLS.
    pub is_tls: bool,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path, with a query perhaps.
    pub path: String,
    /// What is shown as a bearer token.
    pub token: Option<String>,
}

impl std::fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointUrl").field("authority", &self.authority()).finish_non_exhaustive()
    }
}

/// Why a server does not give an answer.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer in {} s", ANSWER_TIMEOUT.as_secs())]
    TooLate,
    /// It refuses.
    #[error("the server answers {0}{1}")]
    Refused(StatusCode, String),
    /// It sends on without an end, or to nowhere.
    #[error("the server sends on to another URL, and that cannot be followed")]
    Redirected,
    /// What it says is too long.
    #[error("the server's answer is too long, or it broke off")]
    Body,
    /// A URL that no request can be made of.
    #[error("the URL cannot be asked for")]
    Url(#[from] http::Error),
}

/// What a server has answered to an offer.
#[derive(Debug)]
pub struct Posted {
    /// The description.
    pub answer: Bytes,
    /// The session, if the server told where it is.
    pub session: Option<EndpointUrl>,
}

impl EndpointUrl {
    /// Reads a URL of one of these schemes; one that ends in `s` is of TLS.
    pub fn parse(url: &str, schemes: &[&str]) -> Result<Self, EndpointUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(EndpointUrlError::Scheme)?;
        if !schemes.contains(&scheme) {
            return Err(EndpointUrlError::Scheme);
        }
        let is_tls = scheme.ends_with('s');
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        let token = user.map(|user| percent_decode_str(user).decode_utf8_lossy().into_owned());
        if token.as_ref().is_some_and(|token| token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(EndpointUrlError::Token);
        }
        let uri: Uri = format!("http://{authority}/").parse().map_err(|_| EndpointUrlError::Host)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(EndpointUrlError::Host)?.to_owned();
        let has_port = authority.trim_start_matches(host.as_str()).starts_with(':');
        let port = match (uri.port_u16(), has_port) {
            (Some(port), _) => port,
            (None, false) => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            (None, true) => return Err(EndpointUrlError::Host),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_tls, host, port, path, token })
    }

    /// Host and port, as requests name them.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// What a `Location` header of an answer means.
    fn towards(&self, location: &str) -> Option<Self> {
        if location.contains("://") {
            let other = Self::parse(location, &["http", "https"]).ok()?;
            // Tokens are for the server that they were given for.
            let is_same = (other.is_tls, &other.host, other.port) == (self.is_tls, &self.host, self.port);
            return Some(Self { token: self.token.clone().filter(|_| is_same), ..other });
        }
        let path = match location.strip_prefix('/') {
            Some(_) => location.to_owned(),
            None => {
                let own = self.path.split('?').next().unwrap_or_default();
                format!("{}/{location}", own.rsplit_once('/').map_or("", |(dir, _)| dir))
            }
        };
        Some(Self { path, ..self.clone() })
    }

    /// Posts an offer.
    pub async fn post(&self, offer: &str, reach: Reach) -> Result<Posted, EndpointError> {
        let mut url = self.clone();
        for _ in 0..=REDIRECTS_MAX {
            let (status, headers, body) = url.ask(Method::POST, offer.to_owned().into(), reach).await?;
            let told = headers.get(LOCATION).and_then(|told| told.to_str().ok());
            let location = told.and_then(|told| url.towards(told));
            match (status, location) {
                (StatusCode::CREATED, session) => return Ok(Posted { answer: body, session }),
                (status, Some(location)) if status.is_redirection() => url = location,
                (status, _) => return Err(EndpointError::Refused(status, reason(&body))),
            }
        }
        Err(EndpointError::Redirected)
    }

    /// Ends the session that has this URL.
    pub async fn delete(&self, reach: Reach) -> Result<(), EndpointError> {
        self.ask(Method::DELETE, Bytes::new(), reach).await.map(|_| ())
    }

    async fn ask(
        &self,
        method: Method,
        body: Bytes,
        reach: Reach,
    ) -> Result<(StatusCode, HeaderMap, Bytes), EndpointError> {
        let asking = async {
            let tls = self.is_tls.then_some(TlsChoice { insecure: reach.insecure, protocols: &[b"http/1.1"] });
            let dialer = Dialer::new(&self.host, self.port, tls)?;
            let dialer = if reach.is_public_only { dialer.to_the_public() } else { dialer };
            let (mut sender, connection) = http1::handshake(TokioIo::new(dialer.dial().await?)).await?;
            // Ends with its sender.
            tokio::spawn(connection);
            let response = sender.send_request(self.request(method, body)?).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, OFFER_BYTES_MAX).collect().await.map_err(|_| EndpointError::Body)?;
            Ok((head.status, head.headers, body.to_bytes()))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, asking).await.unwrap_or(Err(EndpointError::TooLate))
    }

    fn request(&self, method: Method, body: Bytes) -> Result<Request<Full<Bytes>>, EndpointError> {
        let mut request = Request::builder().method(method).uri(&self.path).header(HOST, self.authority());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, SDP).header(ACCEPT, SDP);
        }
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(http::Error::from)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Ok(request.body(Full::new(body))?)
    }
}

/// What a server says when it refuses, as far as it fits in a line.
fn reason(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem
        .as_ref()
        .and_then(|problem| ["detail", "error", "title"].iter().find_map(|name| problem.get(name)?.as_str()));
    let text = detail.map_or_else(|| String::from_utf8_lossy(body), Into::into);
    let line: String = text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|letter| !letter.is_control())
        .take(REASON_CHARS_MAX)
        .collect();
    if line.is_empty() { String::new() } else { format!(": {line}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHIP: &[&str] = &["whip", "whips"];

    #[test]
    fn urls_are_read() {
        let url = EndpointUrl::parse("whips://s3cret%2F@media.example/whip/live?x=1", WHIP).unwrap();
        let token = Some("s3cret/".to_owned());
        let expected =
            EndpointUrl { is_tls: true, host: "media.example".into(), port: 443, path: "/whip/live?x=1".into(), token };
        assert_eq!(url, expected);
        assert!(!format!("{url:?}").contains("s3cret"));
        let url = EndpointUrl::parse("whip://[::1]:8080", WHIP).unwrap();
        assert_eq!((url.is_tls, url.authority().as_str(), url.path.as_str()), (false, "[::1]:8080", "/"));
        for (text, error) in [
            ("whep://host/x", EndpointUrlError::Scheme),
            ("host/x", EndpointUrlError::Scheme),
            ("whip:///x", EndpointUrlError::Host),
            ("whip://host:99999/x", EndpointUrlError::Host),
            ("whip://host:/x", EndpointUrlError::Host),
            ("whip://@host/x", EndpointUrlError::Token),
            ("whip://a%20b@host/x", EndpointUrlError::Token),
        ] {
            assert_eq!(EndpointUrl::parse(text, WHIP), Err(error), "{text}");
        }
    }

    #[test]
    fn sessions_are_where_the_server_says() {
        let url = EndpointUrl::parse("whips://token@host/a/whip?x", WHIP).unwrap();
        for (location, authority, path, has_token) in [
            ("/sessions/1", "host:443", "/sessions/1", true),
            ("sessions/1", "host:443", "/a/sessions/1", true),
            ("https://host/s", "host:443", "/s", true),
            ("https://other/s", "other:443", "/s", false),
            ("http://host/s", "host:80", "/s", false),
        ] {
            let session = url.towards(location).unwrap();
            assert_eq!(
                (session.authority().as_str(), session.path.as_str(), session.token.is_some()),
                (authority, path, has_token)
            );
        }
        assert_eq!(url.towards("gopher://host/s"), None);
    }

    #[test]
    fn refusals_are_told_in_a_line() {
        assert_eq!(reason(br#"{"title":"no","detail":"no such key"}"#), ": no such key");
        assert_eq!(reason(b"go\x07 away\nplease"), ": go away");
        assert_eq!(reason(b""), "");
    }
}
