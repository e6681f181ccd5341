//! Threads of their own for connections. What publishers send comes in small pieces, dozens a second from each: a thread that serves
//! a share of the connections takes them with a fraction of what it costs a pool of workers to wake each other for every piece.
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// From so many connections on a lane waits a moment before it looks for more, and then takes what has come from many of them at
/// once: what a network card does about interrupts.
const MODERATED_FROM: usize = 4;
/// That moment: what media are later by at most.
const MODERATION: Duration = Duration::from_millis(8);

/// Lanes, until they are dropped, with all that runs on them.
pub(super) struct Lanes(Vec<Lane>);

struct Lane {
    handle: Handle,
    connections: Arc<AtomicUsize>,
    _running: DropGuard,
}

/// A connection on a lane.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn on(lane: &Lane) -> Self {
        lane.connections.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("playhouse_rtmp_connections").increment(1.0);
        Self(Arc::clone(&lane.connections))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("playhouse_rtmp_connections").decrement(1.0);
    }
}

impl Lanes {
    /// One for each processor.
    pub(super) fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        (0..count).map(Lane::start).collect::<io::Result<_>>().map(Self)
    }

    /// Runs a connection on the lane that has the fewest.
    pub(super) fn spawn(&self, tasks: &TaskTracker, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(lane) = self.0.iter().min_by_key(|lane| lane.connections.load(Ordering::Relaxed)) else { return };
        let counted = Counted::on(lane);
        let counting = async move {
            connection.await;
            drop(counted);
        };
        tasks.spawn_on(counting, &lane.handle);
    }
}

impl Lane {
    fn start(number: usize) -> io::Result<Self> {
        let connections = Arc::new(AtomicUsize::new(0));
        let load = Arc::clone(&connections);
        let moderate = move || {
            if load.load(Ordering::Relaxed) >= MODERATED_FROM {
                std::thread::sleep(MODERATION);
            }
        };
        let runtime = Builder::new_current_thread().enable_all().on_thread_park(moderate).build()?;
        let (handle, running) = (runtime.handle().clone(), CancellationToken::new());
        let over = running.clone();
        let run = move || runtime.block_on(over.cancelled());
        std::thread::Builder::new().name(format!("ingest-{number}")).spawn(run)?;
        Ok(Self { handle, connections, _running: running.drop_guard() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_spread_and_end_with_their_lanes() {
        let (lanes, tasks) = (Lanes::start().unwrap(), TaskTracker::new());
        let names = Arc::new(std::sync::Mutex::new(Vec::new()));
        let count = lanes.0.len() * (MODERATED_FROM + 1);
        for _ in 0..count {
            let names = Arc::clone(&names);
            lanes.spawn(&tasks, async move {
                names.lock().unwrap().extend(std::thread::current().name().map(str::to_owned));
                std::future::pending().await
            });
        }
        let loads: Vec<usize> = lanes.0.iter().map(|lane| lane.connections.load(Ordering::Relaxed)).collect();
        assert_eq!(loads, vec![MODERATED_FROM + 1; lanes.0.len()]);
        while names.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(names.lock().unwrap().iter().all(|name| name.starts_with("ingest-")));
        tasks.close();
        drop(lanes);
        tasks.wait().await;
    }
}
