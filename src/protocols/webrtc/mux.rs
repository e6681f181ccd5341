//! The port of all WebRTC sessions, of UDP and of TCP. A datagram belongs to the session that its connectivity check names, and later ones from
//! the same address do too; an address that changes is noticed by the next check. They wait for the session's task in a bounded
//! queue; of one that is full the newest is left out and counted, which is a loss like any other on the way.
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

use super::wire::{Kind, addressee};

mod tcp;

/// Largest datagram taken; those of media fit into an Ethernet frame.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Memory that datagrams are received into at a time.
const CHUNK_BYTES: usize = 32 * DATAGRAM_BYTES_MAX;
/// Datagrams waiting for a session's task at most: a quarter of a second at 40 Mb/s.
const QUEUE: usize = 1024;
/// Ports tried until one is free by TCP, too, where any will do.
const PORTS_TRIED: usize = 16;
/// Addresses from which one session is spoken to at most.
const ADDRESSES_MAX: usize = 16;

/// A datagram that has come.
#[derive(Debug)]
pub struct Arrived {
    /// What is in it.
    pub bytes: Bytes,
    /// Where it comes from.
    pub from: SocketAddr,
    /// When it came.
    pub at: Instant,
}

/// The port; clones are the same one.
#[derive(Clone)]
pub struct Mux(Arc<Shared>);

struct Shared {
    socket: UdpSocket,
    /// Of clients that UDP does not get through to.
    listener: Option<TcpListener>,
    connections: tcp::Connections,
    address: SocketAddr,
    advertised: Vec<SocketAddr>,
    routes: Mutex<Routes>,
}

#[derive(Default)]
struct Routes {
    queues: HashMap<u64, mpsc::Sender<Arrived>>,
    /// By what sessions call themselves.
    by_name: HashMap<String, u64>,
    by_address: HashMap<SocketAddr, u64>,
    addresses: HashMap<u64, HashSet<SocketAddr>>,
    /// The session that all belongs to, of a port that has one alone.
    sole: Option<u64>,
    next: u64,
}

/// Which way a datagram goes.
enum Way {
    To(mpsc::Sender<Arrived>),
    Nowhere(&'static str),
}

impl Routes {
    fn way(&mut self, datagram: &[u8], from: SocketAddr) -> Way {
        let Some(kind) = Kind::of(datagram) else { return Way::Nowhere("foreign") };
        if let Some(queue) = self.sole.and_then(|sole| self.queues.get(&sole)) {
            return Way::To(queue.clone());
        }
        let named = addressee(datagram).map(|name| self.by_name.get(name).copied());
        let number = match (kind, named) {
            (_, Some(None)) => None,
            (_, Some(Some(number))) => {
                self.note(number, from);
                Some(number)
            }
            (_, None) => self.by_address.get(&from).copied(),
        };
        let queue = number.and_then(|number| self.queues.get(&number));
        queue.map_or(Way::Nowhere("unknown"), |queue| Way::To(queue.clone()))
    }

    /// An address stays with the session that was the first to be spoken to from it, as long as that one lives: checks are not
    /// verified here.
    fn note(&mut self, number: u64, from: SocketAddr) {
        if self.by_address.contains_key(&from) {
            return;
        }
        let known = self.addresses.entry(number).or_default();
        if known.len() < ADDRESSES_MAX {
            known.insert(from);
            self.by_address.insert(from, number);
        }
    }

    fn forget(&mut self, number: u64) {
        self.queues.remove(&number);
        self.by_name.retain(|_, named| *named != number);
        for address in self.addresses.remove(&number).unwrap_or_default() {
            self.by_address.remove(&address);
        }
    }
}

impl Mux {
    /// Opens the port by UDP and TCP. `advertised` are the addresses by which it is reached from outside; when there are none those
    /// of this machine are told, or the one that is listened on.
    pub async fn listen(address: SocketAddr, advertised: &[IpAddr]) -> io::Result<Self> {
        let mut tried = 0;
        loop {
            let socket = UdpSocket::bind(address).await?;
            tried += 1;
            match TcpListener::bind(socket.local_addr()?).await {
                Ok(listener) => return Self::over(socket, Some(listener), advertised),
                Err(error) if address.port() != 0 || tried == PORTS_TRIED => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn over(socket: UdpSocket, listener: Option<TcpListener>, advertised: &[IpAddr]) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let addresses = if advertised.is_empty() { own_addresses(address.ip()) } else { advertised.to_vec() };
        let advertised = addresses.into_iter().map(|ip| SocketAddr::new(ip, address.port())).collect();
        let (connections, routes) = Default::default();
        Ok(Self(Arc::new(Shared { socket, listener, connections, address, advertised, routes })))
    }

    /// A port for one session alone, which speaks to a server that is reached at this address or near it.
    pub async fn dial(server: SocketAddr) -> io::Result<(Self, Route)> {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Nothing is sent by that: the system tells which of its addresses such datagrams come from.
        let towards = UdpSocket::bind((any, 0)).await?;
        towards.connect(server).await?;
        let mux = Self::over(UdpSocket::bind((towards.local_addr()?.ip(), 0)).await?, None, &[])?;
        let route = mux.open();
        mux.routes().sole = Some(route.number);
        Ok((mux, route))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The addresses by which clients reach it.
    pub fn advertised(&self) -> &[SocketAddr] {
        &self.0.advertised
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.routes().queues.len()
    }

    /// How many names and addresses are known, of all sessions.
    pub fn entries(&self) -> usize {
        let routes = self.routes();
        routes.by_name.len() + routes.by_address.len() + routes.addresses.len()
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.0.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the way to a new session, which has no name yet.
    pub fn open(&self) -> Route {
        let (queue, datagrams) = mpsc::channel(QUEUE);
        let mut routes = self.routes();
        let number = routes.next;
        routes.next += 1;
        routes.queues.insert(number, queue);
        Route { mux: self.clone(), number, datagrams }
    }

    /// Gives datagrams to their sessions, for ever.
    pub async fn run(&self) {
        match &self.0.listener {
            Some(listener) => {
                tokio::join!(self.receive(), tcp::accept(self, listener));
            }
            None => self.receive().await,
        }
    }

    async fn receive(&self) {
        let mut buffer = BytesMut::new();
        loop {
            if buffer.capacity() < DATAGRAM_BYTES_MAX {
                buffer.reserve(CHUNK_BYTES);
            }
            match self.0.socket.recv_buf_from(&mut buffer).await {
                Ok((_, from)) => {
                    self.deliver(buffer.split().freeze(), from);
                }
                // Such as a message that an earlier datagram did not arrive.
                Err(error) => tracing::debug!(%error, "no datagram"),
            }
        }
    }

    /// Whether it is for anybody.
    fn deliver(&self, bytes: Bytes, from: SocketAddr) -> bool {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let way = self.routes().way(&bytes, from);
        let (is_known, reason) = match way {
            Way::To(queue) => match queue.try_send(Arrived { bytes, from, at: Instant::now() }) {
                Ok(()) => return true,
                Err(mpsc::error::TrySendError::Full(_)) => (true, "full"),
                Err(mpsc::error::TrySendError::Closed(_)) => (false, "unknown"),
            },
            Way::Nowhere(reason) => (false, reason),
        };
        metrics::counter!("playhouse_webrtc_datagrams_dropped_total", "reason" => reason).increment(1);
        is_known
    }

    /// Sends a datagram if the system takes it at once, or the connection from there; else it is left out and counted.
    pub fn send(&self, datagram: &[u8], to: SocketAddr) {
        if let Some(is_sent) = self.0.connections.send(datagram, to) {
            if !is_sent {
                metrics::counter!("playhouse_webrtc_datagrams_dropped_total", "reason" => "unsent").increment(1);
            }
            return;
        }
        let to = match (self.0.address.ip(), to.ip()) {
            (IpAddr::V6(_), IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        };
        if let Err(error) = self.0.socket.try_send_to(datagram, to) {
            let reason = if error.kind() == io::ErrorKind::WouldBlock { "unsent" } else { "unreachable" };
            metrics::counter!("playhouse_webrtc_datagrams_dropped_total", "reason" => reason).increment(1);
        }
    }
}

/// The way between the port and one session, until it is dropped: then nothing of it is known any more.
pub struct Route {
    mux: Mux,
    number: u64,
    datagrams: mpsc::Receiver<Arrived>,
}

impl Route {
    /// Whoever checks for this name means this session; `false` when another one has it.
    pub fn add_name(&self, name: &str) -> bool {
        let mut routes = self.mux.routes();
        *routes.by_name.entry(name.to_owned()).or_insert(self.number) == self.number
    }

    /// This name means nobody any more.
    pub fn remove_name(&self, name: &str) {
        let mut routes = self.mux.routes();
        if routes.by_name.get(name) == Some(&self.number) {
            routes.by_name.remove(name);
        }
    }

    /// The next datagram.
    pub async fn next(&mut self) -> Option<Arrived> {
        self.datagrams.recv().await
    }

    /// The next datagram, if one has come already.
    pub fn next_now(&mut self) -> Option<Arrived> {
        self.datagrams.try_recv().ok()
    }

    /// The port.
    pub fn mux(&self) -> &Mux {
        &self.mux
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.mux.routes().forget(self.number);
    }
}

/// The addresses of this machine at which a port of `listening` is reached: those of its interfaces, loopback only when there is
/// nothing else or when that is what is listened on.
fn own_addresses(listening: IpAddr) -> Vec<IpAddr> {
    if !listening.is_unspecified() {
        return vec![listening];
    }
    let found = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    });
    let is_reached = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => listening.is_ipv6() && !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    let mut found: Vec<IpAddr> = found.filter(is_reached).collect();
    found.dedup();
    if found.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn check(name: &str) -> Vec<u8> {
        let value = format!("{name}:x");
        let mut datagram = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        datagram.extend([0; 12]);
        datagram.extend([0, 6]);
        datagram.extend((value.len() as u16).to_be_bytes());
        datagram.extend(value.as_bytes());
        datagram.resize(datagram.len().next_multiple_of(4), 0);
        datagram
    }

    #[tokio::test]
    async fn datagrams_reach_the_session_that_they_name_and_nothing_stays_of_it() {
        let mux = Mux::listen("127.0.0.1:0".parse().unwrap(), &[]).await.unwrap();
        assert_eq!(mux.advertised(), [mux.address()]);
        let (mut one, mut two) = (mux.open(), mux.open());
        assert!(one.add_name("one") && two.add_name("two") && !two.add_name("one"));
        let running = tokio::spawn({
            let mux = mux.clone();
            async move { mux.run().await }
        });
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let sends = [vec![128, 1], check("nobody"), b"hello".to_vec(), check("one"), vec![129, 2], vec![20, 3]];
        for datagram in &sends {
            client.send_to(datagram, mux.address()).await.unwrap();
        }
        for expected in [&check("one"), &vec![129, 2], &vec![20, 3]] {
            let arrived = one.next().await.unwrap();
            assert_eq!((&arrived.bytes[..], arrived.from), (&expected[..], client.local_addr().unwrap()));
        }
        // A name that is known is enough to be heard, but takes an address away from nobody.
        client.send_to(&check("two"), mux.address()).await.unwrap();
        assert_eq!(&two.next().await.unwrap().bytes[..], &check("two")[..]);
        client.send_to(&[129, 4], mux.address()).await.unwrap();
        assert_eq!(&one.next().await.unwrap().bytes[..], &[129, 4]);
        // Restarts of ICE have further names.
        assert!(one.add_name("again"));
        one.remove_name("one");
        one.remove_name("two");
        let elsewhere = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        elsewhere.send_to(&check("again"), mux.address()).await.unwrap();
        assert_eq!(one.next().await.unwrap().from, elsewhere.local_addr().unwrap());
        drop(one);
        client.send_to(&check("two"), mux.address()).await.unwrap();
        client.send_to(&[129, 5], mux.address()).await.unwrap();
        assert_eq!(&two.next().await.unwrap().bytes[..], &check("two")[..], "the address is free again");
        assert_eq!(&two.next().await.unwrap().bytes[..], &[129, 5]);
        drop(two);
        assert_eq!((mux.sessions(), mux.entries()), (0, 0));
        running.abort();
    }

    #[test]
    fn what_is_kept_of_addresses_is_bounded() {
        let mut routes = Routes::default();
        let (queue, _datagrams) = mpsc::channel(1);
        routes.queues.insert(0, queue);
        routes.by_name.insert("one".into(), 0);
        for port in 1..1000 {
            let _ = routes.way(&check("one"), SocketAddr::from(([127, 0, 0, 1], port)));
            let _ = routes.way(&check(&format!("other{port}")), SocketAddr::from(([127, 0, 0, 2], port)));
        }
        assert_eq!(routes.by_address.len(), ADDRESSES_MAX);
        routes.forget(0);
        assert!(routes.by_address.is_empty() && routes.by_name.is_empty() && routes.addresses.is_empty());
    }

    #[test]
    fn machines_know_their_addresses() {
        let found = own_addresses(Ipv4Addr::UNSPECIFIED.into());
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_ipv4), "{found:?}");
        assert_eq!(own_addresses([192, 0, 2, 7].into()), [IpAddr::from([192, 0, 2, 7])]);
    }
}
