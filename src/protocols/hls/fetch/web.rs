//! What is asked of other servers by HTTP/1.1, over connections that are kept. Cookies are not: servers that would tell viewers apart
//! by them put that into their playlists where there are none.
use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, HOST, LOCATION, RANGE, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use url::{Position, Url};

use crate::protocols::dial::{Dialer, TlsChoice};

/// Longest wait for a whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a server may send on to another URL.
const REDIRECTS_MAX: usize = 5;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
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
    #[error("the server answers {0}")]
    Refused(StatusCode),
    /// It sends on without an end, or to nowhere.
    #[error("the server sends on to another URL, and that cannot be followed")]
    Redirected,
    /// More than anybody needs.
    #[error("the server sends more than {0} bytes for one answer")]
    TooLong(usize),
    /// A URL that no request can be made of.
    #[error("a URL that cannot be asked for")]
    Url,
}

/// Connections to servers.
#[derive(Debug)]
pub(super) struct Web {
    is_public_only: bool,
    lines: BTreeMap<String, SendRequest<Empty<Bytes>>>,
}

impl Web {
    /// Connects to addresses of the public internet alone where that is wanted.
    pub(super) fn new(is_public_only: bool) -> Self {
        Self { is_public_only, lines: BTreeMap::new() }
    }

    /// What a URL gives, or so many bytes of it from one on, and the URL that it came from in the end.
    pub(super) async fn get(
        &mut self,
        url: &Url,
        range: Option<(u64, u64)>,
        bytes_max: usize,
    ) -> Result<(Url, Bytes), WebError> {
        timeout(ANSWER_TIMEOUT, self.get_in_time(url.clone(), range, bytes_max)).await.unwrap_or(Err(WebError::TooLate))
    }

    async fn get_in_time(
        &mut self,
        mut url: Url,
        range: Option<(u64, u64)>,
        bytes_max: usize,
    ) -> Result<(Url, Bytes), WebError> {
        for _ in 0..=REDIRECTS_MAX {
            let response = self.ask(&url, range).await?;
            let status = response.status();
            if status.is_redirection() {
                let told = response.headers().get(LOCATION).and_then(|told| told.to_str().ok());
                url = told.and_then(|told| url.join(told).ok()).ok_or(WebError::Redirected)?;
                continue;
            }
            if !status.is_success() {
                return Err(WebError::Refused(status));
            }
            let body = collected(response, bytes_max).await?;
            return Ok((url, if status == StatusCode::PARTIAL_CONTENT { body } else { cut(&body, range) }));
        }
        Err(WebError::Redirected)
    }

    /// Asks over a connection that is there, or over a new one: servers close those that nobody uses.
    async fn ask(&mut self, url: &Url, range: Option<(u64, u64)>) -> Result<Response<Incoming>, WebError> {
        let origin = url[..Position::BeforePath].to_owned();
        if let Some(mut line) = self.lines.remove(&origin)
            && line.ready().await.is_ok()
            && let Ok(response) = line.send_request(request(url, range)?).await
        {
            self.lines.insert(origin, line);
            return Ok(response);
        }
        let mut line = self.connect(url).await?;
        let response = line.send_request(request(url, range)?).await?;
        self.lines.insert(origin, line);
        Ok(response)
    }

    async fn connect(&self, url: &Url) -> Result<SendRequest<Empty<Bytes>>, WebError> {
        let tls = match url.scheme() {
            "https" => Some(TlsChoice { insecure: false, protocols: &[b"http/1.1"] }),
            "http" => None,
            _ => return Err(WebError::Url),
        };
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Err(WebError::Url) };
        let dialer = Dialer::new(host, port, tls)?;
        let dialer = if self.is_public_only { dialer.to_the_public() } else { dialer };
        let (line, connection) = handshake(TokioIo::new(dialer.dial().await?)).await?;
        // Ends with its sender.
        tokio::spawn(connection);
        Ok(line)
    }
}

fn request(url: &Url, range: Option<(u64, u64)>) -> Result<Request<Empty<Bytes>>, WebError> {
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    let mut request = Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, authority)
        .header(USER_AGENT, concat!("Playhouse/", env!("CARGO_PKG_VERSION")));
    if let Some((first, length)) = range {
        request = request.header(RANGE, format!("bytes={first}-{}", first.saturating_add(length.max(1) - 1)));
    }
    if !url.username().is_empty() {
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = format!("{}:{}", plain(url.username()), plain(url.password().unwrap_or_default()));
        let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(user))).map_err(|_| WebError::Url)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Empty::new()).map_err(|_| WebError::Url)
}

async fn collected(response: Response<Incoming>, bytes_max: usize) -> Result<Bytes, WebError> {
    let (mut body, mut out) = (response.into_body(), BytesMut::new());
    while let Some(piece) = body.frame().await {
        let Ok(data) = piece?.into_data() else { continue };
        if out.len() + data.len() > bytes_max {
            return Err(WebError::TooLong(bytes_max));
        }
        out.extend_from_slice(&data);
    }
    Ok(out.freeze())
}

/// Servers that do not know ranges send everything.
fn cut(body: &Bytes, range: Option<(u64, u64)>) -> Bytes {
    let Some((first, length)) = range else { return body.clone() };
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(body.len());
    body.slice(place(first)..place(first.saturating_add(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_say_what_is_wanted() {
        let url = Url::parse("https://user:p%40ss@host:8443/a/b.m3u8?x=1#y").unwrap();
        let request = request(&url, Some((100, 50))).unwrap();
        assert_eq!(request.uri(), "/a/b.m3u8?x=1");
        let header = |name| request.headers().get(name).unwrap();
        assert_eq!((header(HOST), header(RANGE)), (&"host:8443".parse().unwrap(), &"bytes=100-149".parse().unwrap()));
        assert_eq!(header(AUTHORIZATION), "Basic dXNlcjpwQHNz");
        assert_eq!(cut(&Bytes::from_static(b"0123456789"), Some((2, 3))), "234");
        assert_eq!(cut(&Bytes::from_static(b"0123"), Some((9, u64::MAX))), "");
    }

    #[tokio::test]
    async fn what_is_not_public_is_not_asked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "2130706433"] {
            let url = Url::parse(&format!("http://{host}:{port}/secret?token=x")).unwrap();
            let refused = Web::new(true).get(&url, None, 100).await.unwrap_err().to_string();
            assert!(refused.contains("not an address of the public internet"), "{refused}");
            assert!(!refused.contains("token"), "{refused}");
        }
    }
}
