//! One connection: TLS where it is due, then whichever HTTP its first bytes speak.
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, Noted};
use super::first_bytes::{self, FirstBytes};
use super::guarded_io::GuardedIo;
use super::proxied;
use super::stall::StallGuard;
use crate::actors::nodes::PeerRequest;
use crate::http::client_address::Scheme;
use crate::http::forwarding::{self, Forwarded};
use crate::http::pipeline::{Peer, Pipeline};
use crate::settings::HttpSettings;

/// Bytes an HTTP/2 client may send ahead on one stream, so that uploads fill a long fat pipe; a connection's is four times this.
const H2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of one HTTP/2 answer kept ready for its client, besides the piece that crosses this bound.
const H2_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Why a connection ended.
type Ended = Result<(), Box<dyn Error + Send + Sync>>;

/// What every connection needs.
pub(super) struct Connections {
    pipeline: Pipeline,
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
    header_timeout: Duration,
    stall_timeout: Duration,
    proxy_protocol: bool,
    stop_accepting: CancellationToken,
    /// Ends every connection where it stands.
    pub(super) cut: CancellationToken,
}

impl Connections {
    pub(super) fn new(
        pipeline: Pipeline,
        settings: &HttpSettings,
        (stop_accepting, cut): (CancellationToken, CancellationToken),
    ) -> Self {
        let header_bytes_max = usize::try_from(settings.header_bytes_max.as_u64()).unwrap_or(usize::MAX).max(8192);
        let mut http1 = Builder::new(TokioExecutor::new()).http1_only();
        http1
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout.0)
            .max_buf_size(header_bytes_max);
        let mut http2 = Builder::new(TokioExecutor::new()).http2_only();
        http2
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(header_bytes_max).unwrap_or(u32::MAX))
            .max_concurrent_streams(settings.http2_streams_max)
            .max_send_buf_size(H2_SEND_BUFFER_BYTES)
            .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(4 * H2_STREAM_WINDOW_BYTES)
            .keep_alive_interval(settings.http2_ping.0)
            .keep_alive_timeout(settings.http2_ping.0);
        let (header_timeout, stall_timeout) = (settings.header_timeout.0, settings.body_stall_timeout.0);
        let proxy_protocol = settings.proxy_protocol;
        Self { pipeline, http1, http2, header_timeout, stall_timeout, proxy_protocol, stop_accepting, cut }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(
        &self,
        (mut stream, mut address): (TcpStream, SocketAddr),
        tls: Option<Arc<TlsAcceptor>>,
        watcher: Watcher,
    ) {
        let _counted = Counted::new();
        if self.proxy_protocol && self.pipeline.trusts(address.ip()) {
            match self.in_time(proxied::read(&mut stream)).await {
                Ok(Some(client)) => address.set_ip(client.unwrap_or_else(|| address.ip())),
                Ok(None) => return,
                Err(error) => return tracing::debug!(peer = %address, %error, "connection ended"),
            }
        }
        let served = match tls {
            None => self.greet(stream, Peer { address: address.ip(), scheme: Scheme::Http }, watcher).await,
            Some(tls) => self.greet_secure((stream, &tls), address, watcher).await,
        };
        if let Err(error) = served {
            tracing::debug!(peer = %address, %error, "connection ended");
        }
    }

    /// Serves one request of another node.
    pub(super) async fn serve_peer(&self, PeerRequest { from, stream }: PeerRequest, watcher: Watcher) {
        let (pipeline, stall_timeout) = (self.pipeline.clone(), self.stall_timeout);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let pipeline = pipeline.clone();
            let mut request = request.map(|body| Body::new(StallGuard::new(body, stall_timeout)));
            let client = forwarding::client_of(request.headers_mut());
            request.extensions_mut().insert(Forwarded);
            async move {
                let peer = client.ok_or("a node does not say for whom it asks")?;
                Ok::<_, &'static str>(pipeline.respond(request, peer).await)
            }
        });
        let io = TokioIo::new(tokio::io::join(stream.receive, stream.send));
        let served = watcher.watch(self.http1.serve_connection(io, service)).await;
        if let Err(error) = served {
            tracing::debug!(node = %from.node, %error, "a node's request ended");
        }
    }

    async fn greet(&self, stream: TcpStream, peer: Peer, watcher: Watcher) -> Ended {
        stream.set_nodelay(true)?;
        let guarded = GuardedIo::new(stream, self.stall_timeout);
        match self.in_time(first_bytes::read(guarded)).await? {
            Some(Some(first)) => self.drive(first, peer, watcher).await,
            _ => Ok(()),
        }
    }

    async fn greet_secure(
        &self,
        (stream, tls): (TcpStream, &TlsAcceptor),
        address: SocketAddr,
        watcher: Watcher,
    ) -> Ended {
        stream.set_nodelay(true)?;
        let guarded = GuardedIo::new(stream, self.stall_timeout);
        let greeting = async { first_bytes::read(tls.accept(guarded).await?).await };
        match self.in_time(greeting).await? {
            Some(Some(first)) => {
                self.drive(first, Peer { address: address.ip(), scheme: Scheme::Https }, watcher).await
            }
            _ => Ok(()),
        }
    }

    /// Waits for what a client begins with. `None` when the server stops first: nothing was asked yet, and a connection
    /// without a request does not hold up the end.
    async fn in_time<T>(
        &self,
        greeting: impl Future<Output = std::io::Result<T>>,
    ) -> Result<Option<T>, Box<dyn Error + Send + Sync>> {
        let limited = tokio::time::timeout(self.header_timeout, greeting);
        match self.stop_accepting.run_until_cancelled(limited).await {
            Some(read) => Ok(Some(read??)),
            None => Ok(None),
        }
    }

    async fn drive<S>(&self, first: FirstBytes<S>, peer: Peer, watcher: Watcher) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (builder, backlog) = match first.is_http2 {
            true => (&self.http2, Some(Backlog::default())),
            false => (&self.http1, None),
        };
        let (pipeline, stall_timeout, noting) = (self.pipeline.clone(), self.stall_timeout, backlog.clone());
        let service = service_fn(move |request: http::Request<Incoming>| {
            let (pipeline, noting) = (pipeline.clone(), noting.clone());
            let request = request.map(|body| Body::new(StallGuard::new(body, stall_timeout)));
            async move {
                let response = pipeline.respond(request, peer).await;
                Ok::<_, Infallible>(response.map(|body| Noted::new(body, noting.as_ref())))
            }
        });
        let connection = pin!(watcher.watch(builder.serve_connection(TokioIo::new(first), service)));
        match backlog {
            None => connection.await,
            Some(backlog) => tokio::select! {
                ended = connection => ended,
                () = backlog.stalled(self.stall_timeout) => Err("the client takes nothing of its answers".into()),
            },
        }
    }
}

/// An open connection in the metrics, however it ends.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("playhouse_http_connections").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("playhouse_http_connections").decrement(1.0);
    }
}
