//! A small client of a Playhouse server: accounts, tus uploads and the state of a video. Used by `playhouse demo`, the
//! benches and the integration tests, over plain HTTP only.
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// How long a request without a large body may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing answers at this address.
    #[error("no server answers at {url}")]
    NoServer {
        /// The address tried.
        url: String,
    },
    /// The connection broke, or the answer could not be read.
    #[error("connection to the server: {0}")]
    Connection(#[from] reqwest::Error),
    /// The server refused, and said why.
    #[error("{method} {path} was refused with {status}: {problem}")]
    Refused {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// The status.
        status: StatusCode,
        /// The problem document's explanation, or the body.
        problem: String,
    },
    /// The answer lacks something it must have.
    #[error("the answer of {path} has no {missing}")]
    Unexpected {
        /// The path.
        path: String,
        /// What was looked for.
        missing: &'static str,
    },
    /// A video did not get ready.
    #[error("video {video_id} {what}")]
    NotPlayable {
        /// The video.
        video_id: String,
        /// How it ended.
        what: String,
    },
}

impl ClientError {
    /// Whether the same request may succeed later: broken connections, overload, restarts.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NoServer { .. } | Self::Connection(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || matches!(*status, StatusCode::LOCKED | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Unexpected { .. } | Self::NotPlayable { .. } => false,
        }
    }
}

/// What is said of a file when its upload is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRequest<'a> {
    /// Title of the video.
    pub title: &'a str,
    /// Name of the file.
    pub file_name: &'a str,
    /// `public`, `unlisted` or `private`.
    pub privacy: &'a str,
    /// Length of the file in bytes.
    pub bytes: u64,
}

/// An upload that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedUpload {
    /// Where its bytes go.
    pub url: String,
    /// The video it becomes.
    pub video_id: String,
}

/// A signed-in client, or one that is not yet.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of the server at this base URL, e.g. `http://127.0.0.1:8080`.
    pub fn new(base: &str) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), token: None })
    }

    /// Signed in by an access token had elsewhere.
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// The base URL, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The access token, once signed in.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A request to an absolute URL or to a path on the server, with the access token when there is one.
    pub fn request(&self, method: Method, target: &str) -> RequestBuilder {
        let url = if target.starts_with("http") { target.to_owned() } else { format!("{}{target}", self.base) };
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Succeeds when a server answers and is ready for requests.
    pub async fn check_ready(&self) -> Result<(), ClientError> {
        self.send(self.request(Method::GET, "/readyz")).await.map(drop)
    }

    /// Registers an account and signs in as it.
    pub async fn register(&mut self, username: &str, email: &str, password: &str) -> Result<Value, ClientError> {
        let body = json!({ "username": username, "email": email, "password": password });
        self.sign_in_by("/api/v1/auth/register", &body).await
    }

    /// Signs in.
    pub async fn login(&mut self, username: &str, password: &str) -> Result<Value, ClientError> {
        self.sign_in_by("/api/v1/auth/login", &json!({ "username": username, "password": password })).await
    }

    async fn sign_in_by(&mut self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let reply: Value = self.send(self.request(Method::POST, path).json(body)).await?.json().await?;
        let token = reply["access_token"].as_str();
        let token = token.ok_or(ClientError::Unexpected { path: path.to_owned(), missing: "access_token" })?.to_owned();
        self.token = Some(token);
        Ok(reply)
    }

    /// Creates a tus upload.
    pub async fn create_upload(&self, upload: &UploadRequest<'_>) -> Result<CreatedUpload, ClientError> {
        const PATH: &str = "/api/v1/uploads";
        let metadata = [("filename", upload.file_name), ("title", upload.title), ("privacy", upload.privacy)];
        let metadata = metadata.map(|(key, value)| format!("{key} {}", BASE64.encode(value))).join(",");
        let request = self
            .tus(Method::POST, PATH)
            .header("Upload-Length", upload.bytes)
            .header("Upload-Metadata", metadata)
            .header("Content-Length", 0);
        let response = self.send(request).await?;
        let missing = |missing| ClientError::Unexpected { path: PATH.to_owned(), missing };
        let location = text_header(response.headers(), LOCATION.as_str()).ok_or(missing("Location"))?;
        let video_id = text_header(response.headers(), "playhouse-video-id").ok_or(missing("Playhouse-Video-Id"))?;
        let url = response.url().join(&location).map_err(|_| missing("usable Location"))?;
        Ok(CreatedUpload { url: url.into(), video_id })
    }

    /// How many bytes of an upload the server has.
    pub async fn upload_offset(&self, url: &str) -> Result<u64, ClientError> {
        let response = self.send(self.tus(Method::HEAD, url)).await?;
        offset_in(&response)
    }

    /// Sends bytes at an offset; returns the offset after them.
    pub async fn append(&self, url: &str, offset: u64, bytes: Bytes) -> Result<u64, ClientError> {
        let request = self
            .tus(Method::PATCH, url)
            .header("Upload-Offset", offset)
            .header("Content-Type", "application/offset+octet-stream")
            .body(bytes);
        offset_in(&self.send(request).await?)
    }

    fn tus(&self, method: Method, target: &str) -> RequestBuilder {
        self.request(method, target).header("Tus-Resumable", "1.0.0")
    }

    /// A video's record as the API shows it.
    pub async fn video(&self, id: &str) -> Result<Value, ClientError> {
        let request = self.request(Method::GET, &format!("/api/v1/videos/{id}"));
        Ok(self.send(request).await?.json().await?)
    }

    /// Asks for a video until it can be watched, and returns its record; an error when it failed or takes longer.
    pub async fn wait_until_playable(&self, id: &str, limit: Duration) -> Result<Value, ClientError> {
        let give_up = tokio::time::Instant::now() + limit;
        loop {
            let video = self.video(id).await?;
            let not_playable = |what| ClientError::NotPlayable { video_id: id.to_owned(), what };
            match video["status"].as_str().unwrap_or_default() {
                "playable" | "ready" => return Ok(video),
                "failed" => {
                    let reason = video["failure"]["message"].as_str().unwrap_or("without a reason");
                    return Err(not_playable(format!("failed: {reason}")));
                }
                status if tokio::time::Instant::now() >= give_up => {
                    return Err(not_playable(format!("is still {status} after {}", humantime::format_duration(limit))));
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Sends a request; anything but success is an error that quotes the server's problem document.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let request = request.build()?;
        let method = request.method().clone();
        let response = self.http.execute(request).await.map_err(|error| {
            if error.is_connect() { ClientError::NoServer { url: self.base.clone() } } else { error.into() }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, path) = (response.status(), response.url().path().to_owned());
        let body = response.text().await.unwrap_or_default();
        Err(ClientError::Refused { method, path, status, problem: explain(&body) })
    }
}

/// The sentence of a problem document (RFC 9457), or the body itself.
fn explain(body: &str) -> String {
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let said = ["detail", "title"].iter().find_map(|key| problem[*key].as_str());
    said.unwrap_or(body).trim().to_owned()
}

fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn offset_in(response: &Response) -> Result<u64, ClientError> {
    let offset = text_header(response.headers(), "upload-offset").and_then(|text| text.parse().ok());
    offset.ok_or(ClientError::Unexpected { path: response.url().path().to_owned(), missing: "Upload-Offset" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_quoted_by_their_detail() {
        assert_eq!(explain(r#"{"title":"Conflict","detail":"username is taken"}"#), "username is taken");
        assert_eq!(explain(r#"{"title":"Conflict"}"#), "Conflict");
        assert_eq!(explain("plain text\n"), "plain text");
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_is_told_apart() {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let error = Client::new(&format!("http://{free}")).unwrap().check_ready().await.unwrap_err();
        assert!(matches!(error, ClientError::NoServer { .. }), "{error}");
        assert!(error.is_passing());
    }
}
