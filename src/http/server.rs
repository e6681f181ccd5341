//! The listener: connections driven by us, so that every wait has an end.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge on one port, told apart by the first bytes. Bounds: connections at once, time
//! and size of a request's head, time between two pieces of a body in either direction. At the end the node drains:
//! `/readyz` says so, listeners close, requests under way are finished, and what is left after the drain time-out is cut.
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pipeline::Pipeline;
use super::state::HttpState;
use crate::settings::HttpSettings;

mod first_bytes;
mod guarded_io;
mod stall;

pub(crate) use stall::is_stall;

/// Connections the kernel holds for us while all permits are taken.
const BACKLOG: u32 = 1024;
/// Wait after a failed `accept` (out of file descriptors, usually): others must end before the next can succeed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Streams of one HTTP/2 connection at once.
const H2_STREAMS_MAX: u32 = 128;
/// Bytes an HTTP/2 client may send ahead on one stream, so that uploads fill a long fat pipe; a connection's is four times this.
const H2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// How often a silent HTTP/2 connection is asked whether it lives, and how long it has to say so.
const H2_PING: Duration = Duration::from_secs(20);
/// How often summaries of histograms are drained, so that they stay small when nobody scrapes.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// A running HTTP server. Dropping it cuts everything; [`Server::stop`] is the polite way.
pub struct Server {
    state: HttpState,
    address: SocketAddr,
    stop_accepting: CancellationToken,
    cut: CancellationToken,
    accepting: JoinHandle<GracefulShutdown>,
    connections: TaskTracker,
}

/// What every connection needs.
struct Connections {
    pipeline: Pipeline,
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
    header_timeout: Duration,
    stall_timeout: Duration,
    stop_accepting: CancellationToken,
    cut: CancellationToken,
}

impl Server {
    /// Listens on `address` (port 0: a free one) and serves. Must be called within a runtime.
    pub fn bind(state: HttpState, pipeline: Pipeline, address: SocketAddr) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let (stop_accepting, cut) = (CancellationToken::new(), CancellationToken::new());
        let connections = TaskTracker::new();
        let shared = Arc::new(Connections::new(pipeline, &state.settings.http, (stop_accepting.clone(), cut.clone())));
        let permits = Arc::new(Semaphore::new(state.settings.http.connections_max.min(Semaphore::MAX_PERMITS)));
        let acceptor = Acceptor { listener, shared, permits, tasks: connections.clone() };
        let accepting = tokio::spawn(acceptor.run(stop_accepting.clone()));
        connections.spawn(keep_metrics_small(state.clone(), cut.clone()));
        tracing::info!(address = %address, "http is listening");
        Ok(Self { state, address, stop_accepting, cut, accepting, connections })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drains and ends: answers `/readyz` with 503 for `server.drain_delay`, stops accepting, lets requests finish for
    /// `server.drain_timeout`, cuts the rest. Returns whether nothing had to be cut.
    pub async fn stop(mut self) -> bool {
        let server = self.state.settings.server.clone();
        self.state.draining().cancel();
        tokio::time::sleep(server.drain_delay.0).await;
        self.stop_accepting.cancel();
        let graceful = (&mut self.accepting).await.unwrap_or_default();
        let drained = tokio::time::timeout(server.drain_timeout.0, graceful.shutdown()).await.is_ok();
        if !drained {
            tracing::warn!("requests were still under way at the end of the drain time-out and are cut");
        }
        self.cut.cancel();
        self.connections.close();
        self.connections.wait().await;
        drained
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_accepting.cancel();
        self.cut.cancel();
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn keep_metrics_small(state: HttpState, cut: CancellationToken) {
    let mut interval = tokio::time::interval(METRICS_UPKEEP);
    while cut.run_until_cancelled(interval.tick()).await.is_some() {
        state.metrics.run_upkeep();
    }
}

/// Takes connections in.
struct Acceptor {
    listener: TcpListener,
    shared: Arc<Connections>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Acceptor {
    /// Accepts until told to stop; returns what watches the connections.
    async fn run(self, stop: CancellationToken) -> GracefulShutdown {
        let graceful = GracefulShutdown::new();
        stop.run_until_cancelled(self.accept_all(&graceful)).await;
        graceful
    }

    /// Accepts for ever, one permit per connection.
    async fn accept_all(&self, graceful: &GracefulShutdown) {
        while let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let (shared, watcher) = (Arc::clone(&self.shared), graceful.watcher());
                    self.tasks.spawn(async move {
                        let _permit = permit;
                        let cut = shared.cut.clone();
                        cut.run_until_cancelled(shared.serve(stream, peer, watcher)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Connections {
    fn new(
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
            .max_concurrent_streams(H2_STREAMS_MAX)
            .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(4 * H2_STREAM_WINDOW_BYTES)
            .keep_alive_interval(H2_PING)
            .keep_alive_timeout(H2_PING);
        let (header_timeout, stall_timeout) = (settings.header_timeout.0, settings.body_stall_timeout.0);
        Self { pipeline, http1, http2, header_timeout, stall_timeout, stop_accepting, cut }
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let _counted = Counted::new();
        if let Err(error) = self.drive(stream, peer, watcher).await {
            tracing::debug!(peer = %peer, %error, "connection ended");
        }
    }

    async fn drive(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        watcher: Watcher,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let read = tokio::time::timeout(self.header_timeout, first_bytes::read(stream));
        let first = match tokio::select! {
            read = read => read?,
            // Nothing was asked yet: a connection without a request does not hold up the end.
            () = self.stop_accepting.cancelled() => return Ok(()),
        }? {
            Some(first) => first,
            None => return Ok(()),
        };
        let builder = if first.is_http2 { &self.http2 } else { &self.http1 };
        let io = TokioIo::new(guarded_io::GuardedIo::new(first, self.stall_timeout));
        let (pipeline, stall_timeout) = (self.pipeline.clone(), self.stall_timeout);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let pipeline = pipeline.clone();
            let request = request.map(|body| Body::new(stall::StallGuard::new(body, stall_timeout)));
            async move { Ok::<_, Infallible>(pipeline.respond(request, peer.ip()).await) }
        });
        watcher.watch(builder.serve_connection(io, service)).await
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
