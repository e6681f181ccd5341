//! What surrounds every request: its id and address, a fence against panics, problems written out, headers every answer
//! carries, one access-log line and the metrics. Hand-written rather than a stack of layers: it is on the path of every
//! segment.
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::Method;
use http::header::{
    CONTENT_LENGTH, HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use tower::Service;

use super::access::{AccessEntry, TrackedBody};
use super::client_address::Scheme;
use super::forwarding::{self, Subject};
use super::freshness::WriteMark;
use super::problem::{self, Problem};
use super::request_info::{REQUEST_ID, RequestInfo};
use super::state::HttpState;
use crate::settings::Settings;

/// Features a page of ours may use: none of the intrusive ones.
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// The other end of a connection, and how it is connected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: std::net::IpAddr,
    /// Whether there is TLS between.
    pub(crate) scheme: Scheme,
}

/// Everything between a connection and the routes.
#[derive(Clone)]
pub struct Pipeline {
    state: HttpState,
    router: Router,
    /// What answers over HTTPS say about it.
    transport_security: Option<HeaderValue>,
    write_mark: WriteMark,
}

impl Pipeline {
    /// Around these routes.
    pub fn new(state: HttpState, router: Router) -> Self {
        let transport_security = transport_security(&state.settings);
        let write_mark = WriteMark::new(&state.settings);
        Self { state, router, transport_security, write_mark }
    }

    /// Whether an address is a proxy's whose word counts.
    pub(crate) fn trusts(&self, address: std::net::IpAddr) -> bool {
        self.state.trusted_proxies.trusts(address.to_canonical())
    }

    /// Answers one request; never fails and never panics.
    pub(crate) async fn respond(&self, mut request: Request, peer: Peer) -> http::Response<TrackedBody> {
        let trust = (&self.state.trusted_proxies, &*self.state.ports.entropy);
        let info = RequestInfo::new(peer, request.uri(), request.headers(), trust);
        let method = request.method().clone();
        let mut entry = AccessEntry::begin(info.clone(), method.clone());
        request.extensions_mut().insert(info.clone());
        let subject = Subject::of(&self.state, &request);
        let elsewhere = match subject {
            Some(subject) => subject.place(&self.state).await,
            None => None,
        };
        if let Some(node) = elsewhere {
            let response = forwarding::forward(&self.state, &node, request, &info).await;
            let response = problem::write_out(response, info.id());
            entry.answered(response.status());
            return response.map(|body| TrackedBody::new(body, entry));
        }
        let answer = AssertUnwindSafe(self.router.clone().call(request)).catch_unwind().await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(panic) => answer_panic(&*panic, &info),
        };
        let mut response = problem::write_out(response, info.id());
        write_common_headers(&mut response, info.id());
        if let Some(value) = self.transport_security.as_ref().filter(|_| info.is_https()) {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, value.clone());
        }
        self.write_mark.write_to(&mut response, &method);
        if method == Method::HEAD {
            response = without_body(response);
        }
        entry.answered(response.status());
        response.map(|body| TrackedBody::new(body, entry))
    }
}

/// Only a site whose own address is HTTPS may say so: browsers would ask for every port of this host by HTTPS from then on.
fn transport_security(settings: &Settings) -> Option<HeaderValue> {
    let secs = settings.tls.hsts_max_age.0.as_secs();
    let is_due = secs > 0 && settings.server.public_url.starts_with("https://");
    is_due.then(|| HeaderValue::try_from(format!("max-age={secs}")).ok())?
}

fn answer_panic(panic: &(dyn std::any::Any + Send), info: &RequestInfo) -> Response {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    metrics::counter!("playhouse_http_panics_total").increment(1);
    tracing::error!(request.id = info.id(), error = message.unwrap_or("?"), "handler panicked");
    Problem::internal().into_response()
}

fn write_common_headers(response: &mut Response, request_id: &str) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin"));
    headers.insert(
        PERMISSIONS_POLICY,
        HeaderValue::from_static("camera=(self), microphone=(self), display-capture=(self), geolocation=()"),
    );
}

/// The same head, with the length the body would have.
fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    Response::from_parts(parts, Body::empty())
}

/// Notes which route took a request, for the log and the metrics. Adds no allocation and no future of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoteRoute;

impl<S> tower::Layer<S> for NoteRoute {
    type Service = NotingRoute<S>;
    fn layer(&self, inner: S) -> NotingRoute<S> {
        NotingRoute { inner }
    }
}

/// The service of [`NoteRoute`].
#[derive(Debug, Clone)]
pub(crate) struct NotingRoute<S> {
    inner: S,
}

impl<S: Service<Request>> Service<Request> for NotingRoute<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> S::Future {
        let extensions = request.extensions();
        let route = extensions.get::<axum::extract::MatchedPath>();
        if let (Some(info), Some(route)) = (extensions.get::<RequestInfo>(), route) {
            info.note_route(Arc::from(route.as_str()));
        }
        self.inner.call(request)
    }
}
