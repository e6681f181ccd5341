//! One access-log line and one set of metrics per request, written when its body is done: sent, or given up by the client.
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use http::{Method, StatusCode};
use http_body::{Frame, SizeHint};

use super::request_info::RequestInfo;

/// Status noted for a request whose client left before there was an answer.
const CLIENT_LEFT: u16 = 499;

/// A request on its way; says all when dropped.
pub(crate) struct AccessEntry {
    info: RequestInfo,
    method: Method,
    started: Instant,
    status: Option<StatusCode>,
    bytes_sent: u64,
    is_complete: bool,
}

impl AccessEntry {
    /// A request has come in.
    pub(crate) fn begin(info: RequestInfo, method: Method) -> Self {
        metrics::gauge!("playhouse_http_requests_in_flight").increment(1.0);
        Self { info, method, started: Instant::now(), status: None, bytes_sent: 0, is_complete: false }
    }

    /// Its answer's head is known.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    fn log(&self, status: u16) {
        let elapsed = self.started.elapsed();
        tracing::info!(
            target: "playhouse::access",
            id = self.info.id(),
            user = self.info.user().map(|user| user.as_str()),
            method = self.method.as_str(),
            route = self.info.route().unwrap_or("unmatched"),
            status,
            bytes = self.bytes_sent,
            ms = (elapsed.as_secs_f64() * 10_000.0).round() / 10.0,
            client = %self.info.client(),
            complete = self.is_complete,
            "request"
        );
    }

    fn count(&self, status: u16) {
        let method = method_label(&self.method);
        let route = self.info.route().unwrap_or("unmatched").to_owned();
        metrics::counter!(
            "playhouse_http_requests_total",
            "method" => method, "route" => route.clone(), "status" => status_label(status)
        )
        .increment(1);
        metrics::histogram!("playhouse_http_request_duration_seconds", "route" => route.clone())
            .record(self.started.elapsed());
        metrics::counter!("playhouse_http_response_bytes_total", "route" => route).increment(self.bytes_sent);
    }
}

impl Drop for AccessEntry {
    fn drop(&mut self) {
        metrics::gauge!("playhouse_http_requests_in_flight").decrement(1.0);
        let status = self.status.map_or(CLIENT_LEFT, |status| status.as_u16());
        self.log(status);
        self.count(status);
    }
}

/// Methods are the client's to invent; labels are not.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("OTHER")
}

fn status_label(status: u16) -> String {
    status.to_string()
}

/// A response body that knows how much of it was sent.
pub(crate) struct TrackedBody {
    body: Body,
    entry: AccessEntry,
}

impl TrackedBody {
    /// Tracks `body` for `entry`.
    pub(crate) fn new(body: Body, mut entry: AccessEntry) -> Self {
        entry.is_complete = body.is_end_stream();
        Self { body, entry }
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.entry.bytes_sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                this.entry.is_complete = this.body.is_end_stream();
            }
            Poll::Ready(None) => this.entry.is_complete = true,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
