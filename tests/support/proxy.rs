//! A slow line: a TCP proxy with the bandwidth and delay of one link that all its connections share, which notes what is asked over it
//! by HTTP/1.1.
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

/// Bytes taken from a connection at once: about a packet's worth of time at 10 Mb/s.
const PIECE_BYTES: usize = 4096;

/// Pieces on their way per direction of a connection: 256 KiB, four times what 10 Mb/s × 50 ms holds.
const PIECES_IN_FLIGHT: usize = 64;

/// What the line is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// Bits per second in each direction.
    pub(crate) bits_per_sec: u64,
    /// Time there and back.
    pub(crate) round_trip: Duration,
}

/// One direction of the line: when it is next free.
struct Lane {
    free_at: Mutex<Instant>,
    line: Line,
    /// Where the first lines of requests go.
    asked: Option<Arc<Mutex<Vec<String>>>>,
}

impl Lane {
    fn new(line: Line, asked: Option<Arc<Mutex<Vec<String>>>>) -> Arc<Self> {
        Arc::new(Self { free_at: Mutex::new(Instant::now()), line, asked })
    }

    /// Notes a request, if a piece begins with one.
    fn note(&self, piece: &[u8]) {
        let Some(asked) = &self.asked else { return };
        let first = piece.split(|byte| *byte == b'\r').next().unwrap_or_default();
        if let Some(line) = std::str::from_utf8(first).ok().filter(|line| line.ends_with(" HTTP/1.1")) {
            asked.lock().expect("no panic while locked").push(line.to_owned());
        }
    }

    /// When a piece that is sent now has arrived.
    fn arrival(&self, bytes: usize) -> Instant {
        let mut free_at = self.free_at.lock().expect("no panic while locked");
        let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / self.line.bits_per_sec as f64);
        *free_at = (*free_at).max(Instant::now()) + takes;
        *free_at + self.line.round_trip / 2
    }
}

/// A running proxy; ends when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    cut: broadcast::Sender<()>,
    asked: Arc<Mutex<Vec<String>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free loopback port and passes connections on to `target`'s.
    pub(crate) async fn start(target: u16, line: Line) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), target, line).await
    }

    /// The same at an address of its own.
    pub(crate) async fn start_at(address: SocketAddr, target: u16, line: Line) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (cut, _) = broadcast::channel(1);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (up, down, cuts) = (Lane::new(line, Some(Arc::clone(&asked))), Lane::new(line, None), cut.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (up, down, mut cut) = (up.clone(), down.clone(), cuts.subscribe());
                tokio::spawn(async move {
                    // The handshake takes one trip there and back.
                    tokio::time::sleep(line.round_trip).await;
                    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
                    let (client_read, client_write) = client.into_split();
                    let (server_read, server_write) = server.into_split();
                    tokio::select! {
                        _ = async { tokio::join!(
                            carry(client_read, server_write, up),
                            carry(server_read, client_write, down),
                        ) } => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        Self { address, cut, asked, accepting }
    }

    /// First lines of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic while locked").clone()
    }

    /// `http://127.0.0.1:port` of this end of the line.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks every connection; new ones work.
    pub(crate) fn cut(&self) {
        let _ = self.cut.send(());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, lane: Arc<Lane>) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_IN_FLIGHT);
    let reading = async move {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(bytes @ 1..) = from.read(&mut piece).await {
            let arrival = lane.arrival(bytes);
            lane.note(&piece[..bytes]);
            if sender.send((arrival, piece[..bytes].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((arrival, piece)) = receiver.recv().await {
            tokio::time::sleep_until(arrival).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}
