//! A line that loses datagrams: a UDP proxy between one client and a server, by a seed.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Datagrams on their way in one direction.
const IN_FLIGHT: usize = 4096;
/// What lies before a narrow place at most.
const HELD_MAX: Duration = Duration::from_millis(250);
/// Largest datagram.
const DATAGRAM_BYTES: usize = 2048;

/// What the line is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lossy {
    /// How many datagrams in a thousand are lost on their way to the server.
    pub(crate) lost_per_mille: u32,
    /// The same on their way back.
    pub(crate) lost_back_per_mille: u32,
    /// Time there and back.
    pub(crate) round_trip: Duration,
    /// What is lost is the same for the same seed and the same datagrams.
    pub(crate) seed: u64,
}

/// A line under way, until it is dropped.
pub(crate) struct LossyLine {
    /// Where clients send to.
    pub(crate) address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    /// Bits a second that it carries on their way back, if not all.
    width: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl LossyLine {
    pub(crate) async fn start(server: SocketAddr, lossy: Lossy) -> Self {
        let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
        let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
        far.connect(server).await.expect("the server's address");
        let address = near.local_addr().expect("its address");
        let is_cut = Arc::new(AtomicBool::new(false));
        let width = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(run(near, far, (lossy, Arc::clone(&is_cut), Arc::clone(&width))));
        Self { address, is_cut, width, _task: AbortOnDropHandle::new(task) }
    }

    /// It carries so many bits a second on their way back from now on, and holds a quarter of a second of them; all again with 0.
    pub(crate) fn narrow_to(&self, bits_per_sec: u64) {
        self.width.store(bits_per_sec, Ordering::Relaxed);
    }

    /// Nothing gets through for this long.
    pub(crate) async fn cut_for(&self, time: Duration) {
        self.is_cut.store(true, Ordering::Relaxed);
        tokio::time::sleep(time).await;
        self.is_cut.store(false, Ordering::Relaxed);
    }
}

async fn run(
    near: Arc<UdpSocket>,
    far: Arc<UdpSocket>,
    (lossy, is_cut, width): (Lossy, Arc<AtomicBool>, Arc<AtomicU64>),
) {
    let mut random = StdRng::seed_from_u64(lossy.seed);
    let (there, back) = (delayed(Arc::clone(&far), lossy), delayed(Arc::clone(&near), lossy));
    let (mut up, mut down) = ([0; DATAGRAM_BYTES], [0; DATAGRAM_BYTES]);
    // When all that lies before the narrow place has gone through.
    let (mut client, mut free) = (None, Instant::now());
    loop {
        tokio::select! {
            Ok((bytes, from)) = near.recv_from(&mut up) => {
                client = Some(from);
                if random.random_range(0..1000) >= lossy.lost_per_mille && !is_cut.load(Ordering::Relaxed) {
                    let _ = there.try_send((Instant::now(), None, up[..bytes].to_vec()));
                }
            }
            Ok(bytes) = far.recv(&mut down) => {
                if random.random_range(0..1000) < lossy.lost_back_per_mille || is_cut.load(Ordering::Relaxed) {
                    continue;
                }
                let (now, width) = (Instant::now(), width.load(Ordering::Relaxed));
                free = free.max(now);
                if width > 0 && free - now > HELD_MAX {
                    continue;
                }
                if width > 0 {
                    free += Duration::from_secs_f64(bytes as f64 * 8.0 / width as f64);
                }
                let _ = back.try_send((free, client, down[..bytes].to_vec()));
            }
        }
    }
}

type Datagram = (Instant, Option<SocketAddr>, Vec<u8>);

/// Sends what it is given after half a round trip, in order.
fn delayed(socket: Arc<UdpSocket>, lossy: Lossy) -> mpsc::Sender<Datagram> {
    let (sender, mut receiver) = mpsc::channel::<Datagram>(IN_FLIGHT);
    tokio::spawn(async move {
        while let Some((at, to, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(at + lossy.round_trip / 2).await;
            let _ = match to {
                Some(to) => socket.send_to(&bytes, to).await,
                None => socket.send(&bytes).await,
            };
        }
    });
    sender
}
