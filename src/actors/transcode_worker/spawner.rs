//! The thread that starts all worker processes. A worker asks the kernel to be killed when its parent ends, and by
//! "parent" the kernel means the thread: a thread of a runtime's pool may end long before the server does.
use std::sync::OnceLock;
use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

struct Order {
    command: Command,
    runtime: Handle,
    done: oneshot::Sender<std::io::Result<Child>>,
}

static SPAWNER: OnceLock<mpsc::SyncSender<Order>> = OnceLock::new();

/// Most processes waiting to be started: one per driver at most, far fewer in practice.
const ORDERS_MAX: usize = 256;

fn spawner() -> &'static mpsc::SyncSender<Order> {
    SPAWNER.get_or_init(|| {
        let (tx, orders) = mpsc::sync_channel::<Order>(ORDERS_MAX);
        std::thread::spawn(move || {
            for mut order in orders {
                let _inside = order.runtime.enter();
                let _ = order.done.send(order.command.spawn());
            }
        });
        tx
    })
}

/// Starts the command on that thread.
pub(super) async fn spawn(command: Command) -> std::io::Result<Child> {
    let (done, started) = oneshot::channel();
    let order = Order { command, runtime: Handle::current(), done };
    spawner().try_send(order).map_err(|_| std::io::Error::other("too many processes waiting to be started"))?;
    started.await.map_err(|_| std::io::Error::other("the thread that starts processes has ended"))?
}
