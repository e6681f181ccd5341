//! Clients that UDP does not get through to connect to the same port by TCP (RFC 6544). What goes each way are datagrams behind
//! their lengths (RFC 4571), and is treated like any others.
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{DATAGRAM_BYTES_MAX, Mux};

/// Connections at once at most.
const CONNECTIONS_MAX: usize = 4096;
/// Datagrams waiting to be sent on one of them at most: what is more is lost, as by UDP.
const QUEUE: usize = 256;
/// Who connects names its session within this time.
const HELLO_MAX: Duration = Duration::from_secs(5);
/// Clients check more often than this whether they are still heard.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Pause after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a datagram's length.
const LENGTH_BYTES: usize = 2;

/// Connections by where they come from.
#[derive(Default)]
pub(super) struct Connections {
    /// How many there are: nobody waits for the others when there are none.
    count: AtomicUsize,
    queues: Mutex<HashMap<SocketAddr, mpsc::Sender<Bytes>>>,
}

impl Connections {
    fn queues(&self) -> MutexGuard<'_, HashMap<SocketAddr, mpsc::Sender<Bytes>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a datagram by the connection from there; whether it is on its way. `None`: there is none from there.
    pub(super) fn send(&self, datagram: &[u8], to: SocketAddr) -> Option<bool> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let queue = self.queues().get(&to)?.clone();
        let mut framed = BytesMut::with_capacity(LENGTH_BYTES + datagram.len());
        framed.put_u16(u16::try_from(datagram.len()).ok()?);
        framed.put_slice(datagram);
        Some(queue.try_send(framed.freeze()).is_ok())
    }
}

/// A connection that is known until this is dropped.
struct Known<'a>(&'a Mux, SocketAddr);

impl<'a> Known<'a> {
    fn new(mux: &'a Mux, from: SocketAddr, queue: mpsc::Sender<Bytes>) -> Self {
        mux.0.connections.count.fetch_add(1, Ordering::Relaxed);
        mux.0.connections.queues().insert(from, queue);
        Self(mux, from)
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.0.0.connections.queues().remove(&self.1);
        self.0.0.connections.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes connections, for ever; they end with this.
pub(super) async fn accept(mux: &Mux, listener: &TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) if connections.len() < CONNECTIONS_MAX => {
                    let mux = mux.clone();
                    connections.spawn(async move { serve(&mux, stream, from).await });
                }
                Ok(_) => {}
                // Such as too many open files.
                Err(error) => {
                    tracing::debug!(%error, "no connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mux: &Mux, stream: TcpStream, from: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    let (reading, writing) = stream.into_split();
    let (queue, datagrams) = mpsc::channel(QUEUE);
    let _known = Known::new(mux, from, queue);
    tokio::select! {
        () = read(mux, BufReader::new(reading), from) => {}
        _ = write(writing, datagrams) => {}
    }
}

/// Until the client hangs up, says nothing, or speaks to nobody who is known here.
async fn read(mux: &Mux, mut reading: BufReader<OwnedReadHalf>, from: SocketAddr) {
    let mut patience = HELLO_MAX;
    while let Ok(Ok(bytes)) = timeout(patience, datagram(&mut reading)).await {
        if !mux.deliver(bytes, from) && patience == HELLO_MAX {
            return;
        }
        patience = SILENCE_MAX;
    }
}

async fn datagram(reading: &mut BufReader<OwnedReadHalf>) -> io::Result<Bytes> {
    let length = usize::from(reading.read_u16().await?);
    if length > DATAGRAM_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = BytesMut::zeroed(length);
    reading.read_exact(&mut bytes).await?;
    Ok(bytes.freeze())
}

async fn write(mut writing: OwnedWriteHalf, mut datagrams: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(datagram) = datagrams.recv().await {
        writing.write_all(&datagram).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    async fn framed(stream: &mut TcpStream, datagram: &[u8]) {
        stream.write_u16(datagram.len() as u16).await.unwrap();
        stream.write_all(datagram).await.unwrap();
    }

    #[tokio::test]
    async fn datagrams_go_both_ways_over_connections_that_name_a_session() {
        let mux = Mux::listen("127.0.0.1:0".parse().unwrap(), &[]).await.unwrap();
        let mut one = mux.open();
        assert!(one.add_name("one"));
        let running = tokio::spawn({
            let mux = mux.clone();
            async move { mux.run().await }
        });
        let mut client = TcpStream::connect(mux.address()).await.unwrap();
        framed(&mut client, &check("one")).await;
        framed(&mut client, &[129, 2]).await;
        for expected in [&check("one")[..], &[129, 2]] {
            let arrived = one.next().await.unwrap();
            assert_eq!((&arrived.bytes[..], arrived.from), (expected, client.local_addr().unwrap()));
        }
        mux.send(b"hello", client.local_addr().unwrap());
        let mut heard = [0; 7];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"\0\x05hello");
        // Whoever names nobody, or sends nonsense, is hung up on.
        for bytes in [&[0, 3, 1, 2, 3][..], &[255, 255]] {
            let mut stranger = TcpStream::connect(mux.address()).await.unwrap();
            stranger.write_all(bytes).await.unwrap();
            assert_eq!(stranger.read(&mut heard).await.unwrap_or(0), 0);
        }
        drop(client);
        while mux.0.connections.count.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        assert!(mux.0.connections.queues().is_empty());
        running.abort();
    }
}
