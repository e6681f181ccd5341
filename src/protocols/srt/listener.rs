//! The UDP port of SRT. Datagrams are given to the tasks of their callers through bounded queues; of one that is full the newest is
//! left out, which SRT makes good like any other loss. Nothing is kept of a caller before it has shown the cookie that was sent
//! to its address.
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::{Bytes, BytesMut};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handshake::induction_reply;
use super::server::{Caller, SrtContext, serve};
use super::wire::{Head, LISTENER};
use crate::domain::ports::Entropy;

/// Largest datagram taken; SRT's fit into an Ethernet frame.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Memory that datagrams are received into at a time.
const CHUNK_BYTES: usize = 32 * DATAGRAM_BYTES_MAX;
/// Datagrams waiting for a caller's task at most: a quarter of a second at 50 Mb/s.
const QUEUE: usize = 1024;
/// How long a cookie is good, milliseconds; the next one is good besides.
const COOKIE_MS: i64 = 30_000;
/// Bytes of the secret that cookies are made of.
const SECRET_BYTES: usize = 32;
/// How often callers that have left are forgotten.
const SWEEP: Duration = Duration::from_secs(1);
/// How long callers have to be told goodbye when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A listener under way.
pub struct SrtListener {
    address: SocketAddr,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl SrtListener {
    /// Listens on `address` from now on; further callers than `connections_max` are turned away.
    pub async fn bind(
        address: SocketAddr,
        context: SrtContext,
        entropy: &dyn Entropy,
        connections_max: usize,
    ) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind(address).await?);
        let (address, stopping, tasks) = (socket.local_addr()?, CancellationToken::new(), TaskTracker::new());
        let mut secret = [0; SECRET_BYTES];
        entropy.fill(&mut secret);
        let port = Port {
            socket,
            context,
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            callers: HashMap::new(),
            numbers: HashMap::new(),
            next: LISTENER,
            connections_max,
            tasks: tasks.clone(),
        };
        let stopped = stopping.clone();
        tasks.spawn(async move {
            stopped.run_until_cancelled(port.run()).await;
        });
        Ok(Self { address, stopping, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more datagrams, and waits a little for the callers there are: whoever gave them their feeds has told them.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait()).await;
    }
}

/// A caller as the port knows it.
struct Known {
    address: SocketAddr,
    datagrams: mpsc::Sender<Bytes>,
}

struct Port {
    socket: Arc<UdpSocket>,
    context: SrtContext,
    secret: hmac::Key,
    /// By the number that this side has given them.
    callers: HashMap<u32, Known>,
    /// Those numbers, by their addresses and the numbers that they have given themselves.
    numbers: HashMap<(SocketAddr, u32), u32>,
    next: u32,
    connections_max: usize,
    tasks: TaskTracker,
}

impl Port {
    async fn run(mut self) {
        let mut buffer = BytesMut::new();
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            if buffer.capacity() < DATAGRAM_BYTES_MAX {
                buffer.reserve(CHUNK_BYTES);
            }
            tokio::select! {
                received = self.socket.recv_buf_from(&mut buffer) => match received {
                    Ok((_, address)) => self.take(buffer.split().freeze(), address).await,
                    // Such as a message that an earlier answer did not arrive.
                    Err(error) => tracing::debug!(%error, "no datagram"),
                },
                _ = sweep.tick() => self.forget(),
            }
        }
    }

    fn forget(&mut self) {
        self.callers.retain(|_, known| !known.datagrams.is_closed());
        self.numbers.retain(|_, number| self.callers.contains_key(number));
    }

    async fn take(&mut self, datagram: Bytes, address: SocketAddr) {
        match Head::read(&datagram) {
            Some(Head::Connected(number)) => self.deliver(number, address, datagram),
            Some(Head::Induction) => {
                let cookie = self.cookie(address, self.period());
                if let Some(reply) = induction_reply(datagram, address, cookie) {
                    let _ = self.socket.send_to(&reply, address).await;
                }
            }
            Some(Head::Conclusion { caller, cookie }) => {
                let is_known = |period| self.cookie(address, period) == cookie;
                if is_known(self.period()) || is_known(self.period() - 1) {
                    self.conclude((address, caller), datagram);
                }
            }
            None => metrics::counter!("playhouse_srt_datagrams_dropped_total", "reason" => "unknown").increment(1),
        }
    }

    fn deliver(&self, number: u32, address: SocketAddr, datagram: Bytes) {
        let known = self.callers.get(&number).filter(|known| known.address == address);
        let delivered = known.map(|known| known.datagrams.try_send(datagram));
        let reason = match delivered {
            Some(Ok(())) => return,
            Some(Err(mpsc::error::TrySendError::Full(_))) => "full",
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None => "unknown",
        };
        metrics::counter!("playhouse_srt_datagrams_dropped_total", "reason" => reason).increment(1);
    }

    /// A caller at this address that has shown its cookie: a new one, or one that has not got its answer.
    fn conclude(&mut self, caller: (SocketAddr, u32), datagram: Bytes) {
        let number = self.numbers.get(&caller).copied();
        let known = number.and_then(|number| Some((number, self.callers.get(&number)?)));
        if let Some((number, _)) = known.filter(|(_, known)| !known.datagrams.is_closed()) {
            return self.deliver(number, caller.0, datagram);
        }
        self.forget();
        if self.callers.len() >= self.connections_max {
            tracing::warn!(address = %caller.0, "an srt caller is left out: there are too many");
            return;
        }
        let number = self.new_number();
        let (sender, datagrams) = mpsc::channel(QUEUE);
        self.callers.insert(number, Known { address: caller.0, datagrams: sender });
        self.numbers.insert(caller, number);
        let socket = Arc::clone(&self.socket);
        let served = Caller { socket, address: caller.0, number, datagrams };
        let context = self.context.clone();
        self.tasks.spawn(serve(served, datagram, context));
    }

    fn new_number(&mut self) -> u32 {
        loop {
            self.next = self.next.wrapping_add(1) & 0x3fff_ffff;
            if self.next > LISTENER && !self.callers.contains_key(&self.next) {
                return self.next;
            }
        }
    }

    fn period(&self) -> i64 {
        self.context.clock.now().as_millis().div_euclid(COOKIE_MS)
    }

    fn cookie(&self, address: SocketAddr, period: i64) -> u32 {
        let tag = hmac::sign(&self.secret, format!("{address} {period}").as_bytes());
        tag.as_ref().first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }
}
