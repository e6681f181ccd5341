//! Accepts RTMP connections, in the clear or over TLS (RTMPS), each served on a task of its own, up to a bound.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lanes::Lanes;
use super::server::{ConnectionError, RtmpContext, serve};

/// Pause after the system refused a connection, for want of file descriptors most likely.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// How long connections have to say goodbye when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A listener under way.
pub struct RtmpListener {
    address: SocketAddr,
    stopping: CancellationToken,
    tasks: TaskTracker,
    /// What connections run on, until all of them have ended.
    _lanes: Arc<Lanes>,
}

impl RtmpListener {
    /// Listens on `address` from now on; further connections than `connections_max` wait in the kernel's queue.
    pub async fn bind(
        address: SocketAddr,
        context: RtmpContext,
        tls: Option<TlsAcceptor>,
        connections_max: usize,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (address, stopping, tasks) = (listener.local_addr()?, CancellationToken::new(), TaskTracker::new());
        let room = Arc::new(Semaphore::new(connections_max));
        let lanes = Arc::new(Lanes::start()?);
        let accepting = accept(listener, (context, tls), room, (Arc::clone(&lanes), tasks.clone()));
        let stopped = stopping.clone();
        tasks.spawn(async move {
            stopped.run_until_cancelled(accepting).await;
        });
        Ok(Self { address, stopping, tasks, _lanes: lanes })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, and waits a little for those there are: publishers are told by whoever gave them their
    /// feeds.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait()).await;
    }
}

async fn accept(
    listener: TcpListener,
    (context, tls): (RtmpContext, Option<TlsAcceptor>),
    room: Arc<Semaphore>,
    (lanes, tasks): (Arc<Lanes>, TaskTracker),
) {
    loop {
        // Never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "an rtmp connection was not accepted");
                tokio::time::sleep(REFUSED_PAUSE).await;
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        // It is watched by its lane from now on.
        let Ok(socket) = socket.into_std() else { continue };
        let (context, tls) = (context.clone(), tls.clone());
        lanes.spawn(&tasks, async move {
            match serve_socket((socket, peer), context, tls).await {
                Ok(()) => tracing::debug!(%peer, "rtmp connection ended"),
                Err(error) => tracing::info!(%peer, %error, "rtmp connection ended"),
            }
            drop(permit);
        });
    }
}

async fn serve_socket(
    (socket, peer): (std::net::TcpStream, SocketAddr),
    context: RtmpContext,
    tls: Option<TlsAcceptor>,
) -> Result<(), ConnectionError> {
    let socket = TcpStream::from_std(socket)?;
    let Some(tls) = tls else { return serve(socket, peer, context).await };
    let greeting = tokio::time::timeout(context.config.timeouts.handshake, tls.accept(socket));
    let greeted = greeting.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
    serve(greeted.map_err(ConnectionError::Tls)?, peer, context).await
}
