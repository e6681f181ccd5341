//! Telling an outside CDN that what it keeps of a video or a stream is out of date.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;

use crate::actors::dispatcher::Listener;
use crate::actors::nodes::NodesHandle;
use crate::domain::events::Event;
use crate::protocols::dial::{Dialer, TlsChoice};
use crate::settings::CdnSettings;

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before it is told again.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];

/// Tells of every change to what can be watched; in a cluster one node does. `None` when nobody is to be told.
pub(super) fn purging(settings: &CdnSettings, nodes: NodesHandle) -> Option<Listener> {
    let url: Uri = settings.purge_url.parse().ok().filter(|url: &Uri| url.host().is_some())?;
    let hook = Arc::new(Hook { url, token: settings.purge_token.clone() });
    Some(Arc::new(move |event: Event| {
        if let Some(body) = told(&event).filter(|_| nodes.is_own(&event.key)) {
            let hook = Arc::clone(&hook);
            // The feed does not wait for others' servers.
            tokio::spawn(async move { hook.tell(body).await });
        }
        Box::pin(async {})
    }))
}

/// What is said of an event; `None` when it changes nothing that is kept.
fn told(event: &Event) -> Option<Bytes> {
    let changes = event.kind.starts_with("video.") || event.kind.starts_with("live.");
    let playback = event.payload.get("playback_id").and_then(serde_json::Value::as_str).filter(|_| changes)?;
    let body = json!({
        "reason": event.kind,
        "playback_id": playback,
        "prefixes": [format!("/v/{playback}/")],
    });
    Some(body.to_string().into())
}

struct Hook {
    url: Uri,
    token: String,
}

impl Hook {
    async fn tell(&self, body: Bytes) {
        let pauses = PAUSES.into_iter().map(Some).chain([None]);
        for pause in pauses {
            let posted = tokio::time::timeout(ANSWER_TIMEOUT, self.post(body.clone())).await;
            let reason = match posted.unwrap_or_else(|_| Err("no answer".into())) {
                Ok(()) => return,
                Err(reason) => reason,
            };
            metrics::counter!("playhouse_cdn_purge_failures_total").increment(1);
            tracing::warn!(url = %self.url, reason, again = pause.is_some(), "the CDN is not told of a change");
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), String> {
        let is_tls = self.url.scheme_str() == Some("https");
        let (host, port) = (self.url.host().unwrap_or_default(), self.url.port_u16());
        let tls = is_tls.then_some(TlsChoice { insecure: false, protocols: &[b"http/1.1"] });
        let dialer = Dialer::new(host, port.unwrap_or(if is_tls { 443 } else { 80 }), tls);
        let stream = dialer.map_err(|error| error.to_string())?.dial().await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        // Ends with its sender.
        tokio::spawn(connection);
        let response = sender.send_request(self.request(body)?).await.map_err(|error| error.to_string())?;
        if response.status().is_success() { Ok(()) } else { Err(format!("it answers {}", response.status())) }
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::builder().method(Method::POST).uri(path).header(HOST, authority);
        request = request.header(CONTENT_TYPE, "application/json");
        if !self.token.is_empty() {
            let value = HeaderValue::try_from(format!("Bearer {}", self.token)).map_err(|error| error.to_string())?;
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(body)).map_err(|error| error.to_string())
    }
}
