//! The way a viewer asks for one thing after the other: a connection of its own, or a share of the viewer's HTTP/2 one.
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::protocols::dial::Dialer;

/// Longest wait for an answer: longer than any server holds a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// Largest playlist read.
const TEXT_BYTES_MAX: usize = 8 << 20;

/// Nothing came of a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaneError {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer in {} s", ANSWER_TIMEOUT.as_secs())]
    TooLate,
    /// The server refused.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// The answer is too long, or no text.
    #[error("the answer is no playlist")]
    NoText,
}

/// The server, as all viewers see it.
pub(super) struct Server {
    /// Makes connections.
    pub(super) dialer: Dialer,
    /// Host and port, as requests name them.
    pub(super) authority: String,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// Whether HTTP/2 is spoken.
    pub(super) http2: bool,
}

/// A viewer's HTTP/2 connection, made when it is first needed.
pub(super) type SharedConnection = Arc<Mutex<Option<http2::SendRequest<Empty<Bytes>>>>>;

/// One request at a time.
pub(super) struct Lane {
    server: Arc<Server>,
    own: Option<http1::SendRequest<Empty<Bytes>>>,
    shared: SharedConnection,
}

/// What was taken in of an answer.
pub(super) struct Taken {
    /// When its head arrived.
    pub(super) head: Instant,
    /// Its length.
    pub(super) bytes: u64,
}

impl Lane {
    /// On the viewer's connection, when HTTP/2 is spoken.
    pub(super) fn new(server: &Arc<Server>, shared: &SharedConnection) -> Self {
        Self { server: Arc::clone(server), own: None, shared: Arc::clone(shared) }
    }

    /// Fetches a text.
    pub(super) async fn text(&mut self, path: &str) -> Result<(String, u64), LaneError> {
        let mut text = Vec::new();
        let taken = self
            .fetch(path, |piece| {
                text.extend_from_slice(piece);
                text.len() <= TEXT_BYTES_MAX
            })
            .await?;
        Ok((String::from_utf8(text).map_err(|_| LaneError::NoText)?, taken.bytes))
    }

    /// Fetches bytes and forgets them.
    pub(super) async fn bytes(&mut self, path: &str) -> Result<Taken, LaneError> {
        self.fetch(path, |_| true).await
    }

    async fn fetch(&mut self, path: &str, mut take: impl FnMut(&[u8]) -> bool) -> Result<Taken, LaneError> {
        let fetching = async {
            let response = self.ask(path).await?;
            let (head, status) = (Instant::now(), response.status());
            let (mut body, mut bytes) = (response.into_body(), 0);
            while let Some(frame) = body.frame().await {
                let frame = frame?;
                let Some(piece) = frame.data_ref() else { continue };
                bytes += piece.len() as u64;
                if status.is_success() && !take(piece) {
                    return Err(LaneError::NoText);
                }
            }
            if status.is_success() { Ok(Taken { head, bytes }) } else { Err(LaneError::Status(status)) }
        };
        let fetched = tokio::time::timeout(ANSWER_TIMEOUT, fetching).await.unwrap_or(Err(LaneError::TooLate));
        if !matches!(fetched, Ok(_) | Err(LaneError::Status(_))) {
            // A connection with an answer half taken is of no use.
            self.own = None;
        }
        fetched
    }

    async fn ask(&mut self, path: &str) -> Result<Response<Incoming>, LaneError> {
        if self.server.http2 {
            let mut sender = self.http2().await?;
            sender.ready().await?;
            let uri = Uri::builder().scheme(self.server.scheme).authority(self.server.authority.as_str());
            return Ok(sender.send_request(request(uri.path_and_query(path).build())?).await?);
        }
        let mut request = request(path.parse::<Uri>().map_err(Into::into))?;
        if let Ok(host) = self.server.authority.parse() {
            request.headers_mut().insert(http::header::HOST, host);
        }
        Ok(self.http1().await?.send_request(request).await?)
    }

    async fn http1(&mut self) -> Result<&mut http1::SendRequest<Empty<Bytes>>, LaneError> {
        let usable = match self.own.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let sender = match usable {
            Some(sender) => sender,
            None => {
                let stream = self.server.dialer.dial().await?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                // Ends with its sender.
                tokio::spawn(connection);
                sender
            }
        };
        Ok(self.own.insert(sender))
    }

    async fn http2(&mut self) -> Result<http2::SendRequest<Empty<Bytes>>, LaneError> {
        let mut shared = self.shared.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = self.server.dialer.dial().await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        *shared = Some(sender.clone());
        Ok(sender)
    }
}

fn request(uri: Result<Uri, http::Error>) -> Result<Request<Empty<Bytes>>, LaneError> {
    let uri = uri.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    Ok(request)
}
