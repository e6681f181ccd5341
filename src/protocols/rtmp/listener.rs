//! Accepts RTMP connections, each served on a task of its own, up to a bound.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::server::{RtmpContext, serve};

/// Pause after the system refused a connection, for want of file descriptors most likely.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// How long connections have to say goodbye when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A listener under way.
pub struct RtmpListener {
    address: SocketAddr,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl RtmpListener {
    /// Listens on `address` from now on; further connections than `connections_max` wait in the kernel's queue.
    pub async fn bind(address: SocketAddr, context: RtmpContext, connections_max: usize) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (address, stopping, tasks) = (listener.local_addr()?, CancellationToken::new(), TaskTracker::new());
        let accepting = accept(listener, context, Arc::new(Semaphore::new(connections_max)), tasks.clone());
        let stopped = stopping.clone();
        tasks.spawn(async move {
            stopped.run_until_cancelled(accepting).await;
        });
        Ok(Self { address, stopping, tasks })
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

async fn accept(listener: TcpListener, context: RtmpContext, room: Arc<Semaphore>, tasks: TaskTracker) {
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
        let context = context.clone();
        tasks.spawn(async move {
            match serve(socket, peer, context).await {
                Ok(()) => tracing::debug!(%peer, "rtmp connection ended"),
                Err(error) => tracing::info!(%peer, %error, "rtmp connection ended"),
            }
            drop(permit);
        });
    }
}
