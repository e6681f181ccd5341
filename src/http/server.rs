//! The listeners: connections driven by us, so that every wait has an end.
//!
//! Two ports, one in the clear and one for TLS, with the same service behind both. HTTP/1.1 and HTTP/2 on each, told apart
//! by the first bytes. Bounds: connections at once, time for TLS handshake and a request's head, size of that head, time
//! between two pieces of a body in either direction, HTTP/2's streams and what is kept ready for each. At the end the node
//! drains: `/readyz` says so, listeners close, requests under way are finished, and what is left after the drain time-out is
//! cut.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pipeline::Pipeline;
use super::state::HttpState;
use crate::actors::nodes::PeerRequest;

mod backlog;
mod connection;
mod first_bytes;
mod guarded_io;
mod proxied;
mod stall;

use connection::Connections;
pub(crate) use stall::is_stall;

/// Connections the kernel holds for us while all permits are taken.
const BACKLOG: u32 = 1024;
/// Wait after a failed `accept` (out of file descriptors, usually): others must end before the next can succeed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often summaries of histograms are drained, so that they stay small when nobody scrapes.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// A running HTTP server. Dropping it cuts everything; [`Server::stop`] is the polite way.
pub struct Server {
    state: HttpState,
    address: SocketAddr,
    stop_accepting: CancellationToken,
    cut: CancellationToken,
    shared: Arc<Connections>,
    accepting: Vec<JoinHandle<GracefulShutdown>>,
    connections: TaskTracker,
}

impl Server {
    /// Listens on `address` (port 0: a free one) and serves in the clear. Must be called within a runtime.
    pub fn bind(state: HttpState, pipeline: Pipeline, address: SocketAddr) -> io::Result<Self> {
        let (stop_accepting, cut) = (CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Connections::new(pipeline, &state.settings.http, (stop_accepting.clone(), cut.clone())));
        let (accepting, connections) = (Vec::new(), TaskTracker::new());
        let mut server = Self { state, address, stop_accepting, cut, shared, accepting, connections };
        server.address = server.listen(address, None)?;
        server.connections.spawn(keep_metrics_small(server.state.clone(), server.cut.clone()));
        tracing::info!(address = %server.address, "http is listening");
        Ok(server)
    }

    /// Listens on a further address and serves the same over TLS there; returns the address.
    pub fn bind_secure(&mut self, address: SocketAddr, tls: TlsAcceptor) -> io::Result<SocketAddr> {
        let address = self.listen(address, Some(Arc::new(tls)))?;
        tracing::info!(address = %address, "https is listening");
        Ok(address)
    }

    fn listen(&mut self, address: SocketAddr, tls: Option<Arc<TlsAcceptor>>) -> io::Result<SocketAddr> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let permits = self.state.settings.http.connections_max.min(Semaphore::MAX_PERMITS);
        let (permits, shared) = (Arc::new(Semaphore::new(permits)), Arc::clone(&self.shared));
        let acceptor = Acceptor { listener, tls, shared, permits, tasks: self.connections.clone() };
        self.accepting.push(tokio::spawn(acceptor.run(self.stop_accepting.clone())));
        Ok(address)
    }

    /// Serves what other nodes ask on behalf of their clients.
    pub fn serve_peers(&mut self, mut requests: mpsc::Receiver<PeerRequest>) {
        let (shared, tasks) = (Arc::clone(&self.shared), self.connections.clone());
        let stop = self.stop_accepting.clone();
        self.accepting.push(tokio::spawn(async move {
            let graceful = GracefulShutdown::new();
            while let Some(Some(request)) = stop.run_until_cancelled(requests.recv()).await {
                let (shared, watcher) = (Arc::clone(&shared), graceful.watcher());
                tasks.spawn(async move {
                    let cut = shared.cut.clone();
                    cut.run_until_cancelled(shared.serve_peer(request, watcher)).await;
                });
            }
            graceful
        }));
    }

    /// Where it listens in the clear.
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
        let graceful = join_all(self.accepting.drain(..)).await.into_iter().map(Result::unwrap_or_default);
        let finished = join_all(graceful.map(GracefulShutdown::shutdown));
        let drained = tokio::time::timeout(server.drain_timeout.0, finished).await.is_ok();
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

/// Takes connections in on one port.
struct Acceptor {
    listener: TcpListener,
    tls: Option<Arc<TlsAcceptor>>,
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
                Ok(accepted) => {
                    let (shared, tls, watcher) = (Arc::clone(&self.shared), self.tls.clone(), graceful.watcher());
                    self.tasks.spawn(async move {
                        let _permit = permit;
                        let cut = shared.cut.clone();
                        cut.run_until_cancelled(shared.serve(accepted, tls, watcher)).await;
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
