//! One connection of QUIC for each pair of nodes, and the streams on it. Whoever has no certificate of the cluster's authority does not
//! get as far as a stream. Lost connections are dialled again, and again.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::identity::{ANY_NODE, Identity, name_in};
use super::members::Heard;
use super::wire::{self, Answer, Hello, StreamKind};
use crate::domain::cluster::{NodeLife, NodeName};

/// Longest wait for a handshake and for what is said first.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// First pause before a node is dialled again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Of two nodes that know one another the one with the greater name leaves dialling to the other for so long.
const COURTESY: Duration = Duration::from_secs(1);
/// Connections that are being greeted at once; more are turned away.
const GREETINGS_MAX: usize = 64;
/// Largest message of gossip.
const GOSSIP_BYTES_MAX: usize = 128 * 1024;
/// Why connections are closed.
const CLOSED_REPLACED: VarInt = VarInt::from_u32(1);
const CLOSED_REFUSED: VarInt = VarInt::from_u32(2);
const CLOSED_STOPPED: VarInt = VarInt::from_u32(3);

/// Both directions of a stream between peers.
#[derive(Debug)]
pub struct PeerStream {
    /// To the peer.
    pub send: SendStream,
    /// From the peer.
    pub receive: RecvStream,
}

/// A stream that a peer has opened.
#[derive(Debug)]
pub struct Opened {
    /// Who has.
    pub from: NodeLife,
    /// The stream, behind its kind.
    pub stream: PeerStream,
}

/// Where what peers open and send goes.
pub(super) struct Inlets {
    /// Connections for actors, and whether the other side has opened them.
    pub(super) actors: mpsc::Sender<(Opened, bool)>,
    /// Messages of gossip, and where their senders listen.
    pub(super) gossip: mpsc::Sender<Heard>,
    /// Requests.
    pub(super) requests: mpsc::Sender<Opened>,
    /// Viewers of live streams.
    pub(super) relays: mpsc::Sender<Opened>,
    /// Edges whose shield this node is.
    pub(super) fills: mpsc::Sender<Opened>,
    /// Work for this node.
    pub(super) work: mpsc::Sender<Opened>,
}

/// A peer as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Which life of which node.
    pub life: NodeLife,
    /// Where it listens.
    pub address: SocketAddr,
    /// Version of the protocol between it and this node.
    pub version: u16,
    /// Its program's version.
    pub program: String,
    /// Version of what its workers are told; 0 for a program that does not say.
    pub work: u32,
}

struct Peer {
    info: PeerInfo,
    connection: Connection,
    /// Whether the one of the two nodes has dialled that should.
    is_preferred: bool,
}

/// A stream cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStreamError {
    /// There is no connection.
    #[error("{0} cannot be reached")]
    NotConnected(NodeName),
    /// It has broken.
    #[error("{0} cannot be reached any more: {1}")]
    Broken(NodeName, String),
}

/// All connections of this node.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    me: Hello,
    versions: RangeInclusive<u16>,
    endpoint: Endpoint,
    peers: Mutex<BTreeMap<NodeName, Peer>>,
    /// Who was found at an address that was dialled.
    found: Mutex<HashMap<String, NodeName>>,
    inlets: Inlets,
    changed: watch::Sender<u64>,
    greetings: Arc<tokio::sync::Semaphore>,
}

/// What a node's connections begin with.
pub(super) struct TransportConfig {
    /// Who it is.
    pub(super) identity: Identity,
    /// When its process began.
    pub(super) epoch: i64,
    /// Where it listens.
    pub(super) listen: SocketAddr,
    /// How others reach it, when not there.
    pub(super) advertised: Option<SocketAddr>,
    /// Versions that it speaks.
    pub(super) versions: RangeInclusive<u16>,
}

/// The connections, and the tasks behind them.
pub(super) struct Transport {
    pub(super) peers: Peers,
    targets: watch::Sender<HashSet<String>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Transport {
    /// Listens, and dials the targets that it is told of. To be called on the runtime that is to drive the connections.
    pub(super) fn start(config: TransportConfig, inlets: Inlets) -> io::Result<Self> {
        let TransportConfig { identity, epoch, listen, advertised, versions } = config;
        let mut endpoint = Endpoint::server(identity.server, listen)?;
        endpoint.set_default_client_config(identity.client);
        let me = Hello {
            life: NodeLife { node: identity.name, epoch },
            address: advertised.map_or_else(|| endpoint.local_addr(), Ok)?,
            oldest: *versions.start(),
            newest: *versions.end(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            work: crate::media::work::PROTOCOL_VERSION,
        };
        let inner = Inner {
            me,
            versions,
            endpoint,
            peers: Mutex::default(),
            found: Mutex::default(),
            inlets,
            changed: watch::Sender::new(0),
            greetings: Arc::new(tokio::sync::Semaphore::new(GREETINGS_MAX)),
        };
        let peers = Peers(Arc::new(inner));
        let targets = watch::Sender::new(HashSet::new());
        let accepting = tokio::spawn(accept(peers.clone()));
        let dialling = tokio::spawn(dial_all(peers.clone(), targets.subscribe()));
        Ok(Self { peers, targets, _tasks: [accepting, dialling].map(AbortOnDropHandle::new) })
    }

    /// Says where nodes are to be looked for from now on.
    pub(super) fn looker(&self) -> impl Fn(HashSet<String>) + use<> {
        let targets = self.targets.clone();
        move |wanted| {
            targets.send_if_modified(|known| {
                let differs = *known != wanted;
                *known = wanted;
                differs
            });
        }
    }

    /// Says good-bye to everybody.
    pub(super) async fn stop(self) {
        self.peers.0.endpoint.close(CLOSED_STOPPED, b"this node stops");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.peers.0.endpoint.wait_idle()).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    /// Who this node is.
    pub fn me(&self) -> &NodeLife {
        &self.0.me.life
    }

    /// How others reach this node.
    pub fn address(&self) -> SocketAddr {
        self.0.me.address
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.0.endpoint.local_addr().map_or(0, |address| address.port())
    }

    /// Everybody there is a connection with.
    pub fn connected(&self) -> Vec<PeerInfo> {
        lock(&self.0.peers).values().filter(|peer| peer.is_open()).map(|peer| peer.info.clone()).collect()
    }

    /// Version of the protocol between a node and this one, while there is a connection.
    pub fn version_with(&self, node: &NodeName) -> Option<u16> {
        self.info(node).map(|info| info.version)
    }

    /// Whether the workers of a node understand what those of this one do.
    pub fn works_alike(&self, node: &NodeName) -> bool {
        self.info(node).is_some_and(|info| info.work == self.0.me.work)
    }

    fn info(&self, node: &NodeName) -> Option<PeerInfo> {
        lock(&self.0.peers).get(node).filter(|peer| peer.is_open()).map(|peer| peer.info.clone())
    }

    /// Moves when somebody comes or goes.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    fn connection(&self, node: &NodeName) -> Result<Connection, OpenStreamError> {
        let peers = lock(&self.0.peers);
        let peer = peers.get(node).filter(|peer| peer.is_open());
        peer.map(|peer| peer.connection.clone()).ok_or_else(|| OpenStreamError::NotConnected(node.clone()))
    }

    /// Opens a stream to a node.
    pub async fn open(&self, node: &NodeName, kind: StreamKind) -> Result<PeerStream, OpenStreamError> {
        let broken = |error: &dyn std::error::Error| OpenStreamError::Broken(node.clone(), error.to_string());
        let connection = self.connection(node)?;
        let (mut send, receive) = connection.open_bi().await.map_err(|error| broken(&error))?;
        send.write_all(&[kind.code()]).await.map_err(|error| broken(&error))?;
        Ok(PeerStream { send, receive })
    }

    /// Sends one message of gossip to who listens there; without a connection it is lost, as gossip may be.
    pub(super) fn send_gossip(&self, to: SocketAddr, message: Bytes) {
        let peer = {
            let peers = lock(&self.0.peers);
            let found = peers.values().find(|peer| peer.info.address == to && peer.is_open());
            found.map(|peer| peer.connection.clone())
        };
        let Some(connection) = peer else { return };
        tokio::spawn(async move {
            let mut stream = connection.open_uni().await.ok()?;
            stream.write_all(&[StreamKind::Gossip.code()]).await.ok()?;
            stream.write_all(&message).await.ok()?;
            stream.finish().ok()
        });
    }

    /// Whether there is a connection with who was found at this target, or a target is this node itself.
    fn has_reached(&self, target: &str) -> bool {
        let is_address = |address: SocketAddr| address.to_string() == target;
        if is_address(self.0.me.address) {
            return true;
        }
        let found = lock(&self.0.found).get(target).cloned();
        let peers = lock(&self.0.peers);
        peers.values().any(|peer| {
            let is_there = is_address(peer.info.address) || found.as_ref() == Some(&peer.info.life.node);
            is_there && peer.is_open()
        }) || found.as_ref() == Some(&self.0.me.life.node)
    }

    /// Whether who is known at this address should dial this node, instead of the other way around.
    fn is_courteous(&self, target: &str) -> bool {
        lock(&self.0.found).get(target).is_some_and(|node| *node < self.0.me.life.node)
    }

    fn register(&self, connection: &Connection, hello: Hello, is_dialled: bool) -> Result<PeerInfo, String> {
        let version = hello.common(&self.0.versions)?;
        let me = &self.0.me.life.node;
        let node = hello.life.node.clone();
        if node == *me {
            return Err(format!("it is called {me} itself"));
        }
        let dialler = if is_dialled { me } else { &node };
        let is_preferred = dialler == me.min(&node);
        let mut peers = lock(&self.0.peers);
        if let Some(known) = peers.get(&node).filter(|known| known.is_open()) {
            if hello.life.epoch < known.info.life.epoch {
                return Err("a later life of this node is here".into());
            }
            if hello.life.epoch == known.info.life.epoch && known.is_preferred && !is_preferred {
                return Err("there is another connection".into());
            }
            known.connection.close(CLOSED_REPLACED, b"there is another connection");
        }
        let Hello { life, address, program, work, .. } = hello;
        let info = PeerInfo { life, address, version, program, work };
        peers.insert(node, Peer { info: info.clone(), connection: connection.clone(), is_preferred });
        drop(peers);
        self.0.changed.send_modify(|count| *count += 1);
        Ok(info)
    }

    fn forget(&self, info: &PeerInfo, connection: &Connection) {
        let mut peers = lock(&self.0.peers);
        let is_same = |peer: &Peer| peer.connection.stable_id() == connection.stable_id();
        if peers.get(&info.life.node).is_some_and(is_same) {
            peers.remove(&info.life.node);
            drop(peers);
            self.0.changed.send_modify(|count| *count += 1);
        }
    }
}

impl Peer {
    fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }
}

async fn accept(peers: Peers) {
    while let Some(incoming) = peers.0.endpoint.accept().await {
        let Ok(permit) = Arc::clone(&peers.0.greetings).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let peers = peers.clone();
        tokio::spawn(async move {
            let from = incoming.remote_address();
            let greeted = tokio::time::timeout(GREETING_TIMEOUT, welcome(&peers, incoming)).await;
            drop(permit);
            match greeted.unwrap_or_else(|_| Err("it says nothing".into())) {
                Ok((connection, info)) => attend(peers, connection, info, false).await,
                Err(reason) => tracing::warn!(%from, reason, "a node is not let in"),
            }
        });
    }
}

/// The name in the certificate that a connection was opened with.
fn proven_name(connection: &Connection) -> Option<NodeName> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    name_in(identity.first()?)
}

fn check_name(connection: &Connection, hello: &Hello) -> Result<(), String> {
    match proven_name(connection) {
        Some(name) if name == hello.life.node => Ok(()),
        proven => Err(format!("it says that it is {}, and its certificate is of {proven:?}", hello.life.node)),
    }
}

async fn welcome(peers: &Peers, incoming: Incoming) -> Result<(Connection, PeerInfo), String> {
    let connection = incoming.await.map_err(|error| error.to_string())?;
    let (mut send, mut receive) = connection.accept_bi().await.map_err(|error| error.to_string())?;
    let hello: Hello = wire::read(&mut receive).await.map_err(|error| error.to_string())?;
    let registered = check_name(&connection, &hello).and_then(|()| peers.register(&connection, hello, false));
    let answer = match &registered {
        Ok(_) => Answer::Welcome(peers.0.me.clone()),
        Err(reason) => Answer::Refused(reason.clone()),
    };
    wire::write(&mut send, &answer).await.map_err(|error| error.to_string())?;
    let _ = send.finish();
    match registered {
        Ok(info) => Ok((connection, info)),
        Err(reason) => {
            // Closing at once would overtake the answer.
            let _ = send.stopped().await;
            connection.close(CLOSED_REFUSED, b"refused");
            Err(reason)
        }
    }
}

async fn dial(peers: &Peers, target: &str) -> Result<(Connection, PeerInfo), String> {
    let mut addresses = tokio::net::lookup_host(target).await.map_err(|error| error.to_string())?;
    let address = addresses.next().ok_or("it has no address")?;
    let connecting = peers.0.endpoint.connect(address, ANY_NODE).map_err(|error| error.to_string())?;
    let connection = connecting.await.map_err(|error| error.to_string())?;
    if let Some(node) = proven_name(&connection) {
        lock(&peers.0.found).insert(target.to_owned(), node.clone());
        if node == peers.0.me.life.node {
            connection.close(CLOSED_REPLACED, b"it is me");
            return Err("that is this node itself".into());
        }
        // It has come by itself while this node was at its door.
        if peers.connection(&node).is_ok() {
            connection.close(CLOSED_REPLACED, b"there is another connection");
            return Err("it is here already".into());
        }
    }
    let (mut send, mut receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    wire::write(&mut send, &peers.0.me).await.map_err(|error| error.to_string())?;
    let _ = send.finish();
    let hello = match wire::read(&mut receive).await.map_err(|error| error.to_string())? {
        Answer::Welcome(hello) => hello,
        Answer::Refused(reason) => return Err(format!("it refuses: {reason}")),
    };
    check_name(&connection, &hello)?;
    let registered = peers.register(&connection, hello, true);
    match registered {
        Ok(info) => Ok((connection, info)),
        Err(reason) => {
            connection.close(CLOSED_REPLACED, b"there is another connection");
            Err(reason)
        }
    }
}

/// Keeps a task for each target.
async fn dial_all(peers: Peers, mut targets: watch::Receiver<HashSet<String>>) {
    let mut tasks: HashMap<String, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        let wanted = targets.borrow_and_update().clone();
        tasks.retain(|target, _| wanted.contains(target));
        for target in wanted {
            let task = || AbortOnDropHandle::new(tokio::spawn(keep_dialling(peers.clone(), target.clone())));
            tasks.entry(target.clone()).or_insert_with(task);
        }
        if targets.changed().await.is_err() {
            return;
        }
    }
}

async fn keep_dialling(peers: Peers, target: String) {
    let mut changed = peers.changed();
    let mut pause = PAUSES.0;
    loop {
        changed.mark_unchanged();
        if peers.has_reached(&target) {
            pause = PAUSES.0;
            if changed.changed().await.is_err() {
                return;
            }
            if peers.is_courteous(&target) {
                tokio::time::sleep(COURTESY).await;
            }
            continue;
        }
        let dialled = tokio::time::timeout(GREETING_TIMEOUT, dial(&peers, &target)).await;
        match dialled.unwrap_or_else(|_| Err("no answer".into())) {
            Ok((connection, info)) => drop(tokio::spawn(attend(peers.clone(), connection, info, true))),
            Err(reason) if peers.has_reached(&target) => tracing::debug!(target, reason, "not dialled twice"),
            Err(reason) => {
                if pause >= PAUSES.1 {
                    tracing::warn!(target, reason, "a node cannot be reached");
                } else {
                    tracing::debug!(target, reason, "a node cannot be reached yet");
                }
                tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// For as long as a connection lasts.
async fn attend(peers: Peers, connection: Connection, info: PeerInfo, is_dialled: bool) {
    let PeerInfo { life, address, version, program, .. } = &info;
    tracing::info!(node = %life.node, %address, version, program, "connected to a node");
    metrics::gauge!("playhouse_cluster_connections").increment(1.0);
    if is_dialled && let Ok(stream) = open_for_actors(&connection).await {
        let opened = Opened { from: life.clone(), stream };
        let _ = peers.0.inlets.actors.send((opened, false)).await;
    }
    let bidirectional = async {
        while let Ok((send, receive)) = connection.accept_bi().await {
            tokio::spawn(sort(peers.clone(), info.life.clone(), PeerStream { send, receive }));
        }
    };
    let messages = async {
        while let Ok(stream) = connection.accept_uni().await {
            tokio::spawn(take_gossip(peers.clone(), info.address, stream));
        }
    };
    tokio::join!(bidirectional, messages);
    let reason = connection.close_reason().map_or_else(String::new, |reason| reason.to_string());
    peers.forget(&info, &connection);
    metrics::gauge!("playhouse_cluster_connections").decrement(1.0);
    tracing::info!(node = %info.life.node, reason, "the connection to a node has ended");
}

async fn open_for_actors(connection: &Connection) -> Result<PeerStream, String> {
    let (mut send, receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    send.write_all(&[StreamKind::Actors.code()]).await.map_err(|error| error.to_string())?;
    Ok(PeerStream { send, receive })
}

async fn read_kind(receive: &mut RecvStream) -> Option<StreamKind> {
    let mut code = [0; 1];
    tokio::time::timeout(GREETING_TIMEOUT, receive.read_exact(&mut code)).await.ok()?.ok()?;
    StreamKind::of(u8::from_be_bytes(code))
}

/// Takes a stream where it belongs; where nobody has room for it, it ends.
async fn sort(peers: Peers, from: NodeLife, mut stream: PeerStream) {
    let kind = read_kind(&mut stream.receive).await;
    let opened = Opened { from, stream };
    let inlets = &peers.0.inlets;
    let is_taken = match kind {
        Some(StreamKind::Actors) => inlets.actors.try_send((opened, true)).is_ok(),
        Some(StreamKind::Request) => inlets.requests.try_send(opened).is_ok(),
        Some(StreamKind::Relay) => inlets.relays.try_send(opened).is_ok(),
        Some(StreamKind::Fill) => inlets.fills.try_send(opened).is_ok(),
        Some(StreamKind::Work) => inlets.work.try_send(opened).is_ok(),
        Some(StreamKind::Gossip) | None => false,
    };
    if !is_taken {
        metrics::counter!("playhouse_cluster_streams_refused_total").increment(1);
    }
}

async fn take_gossip(peers: Peers, from: SocketAddr, mut stream: RecvStream) {
    if read_kind(&mut stream).await != Some(StreamKind::Gossip) {
        return;
    }
    let Ok(read) = tokio::time::timeout(GREETING_TIMEOUT, stream.read_to_end(GOSSIP_BYTES_MAX)).await else { return };
    if let Ok(message) = read {
        // When there is too much of it, some is lost, as it may be.
        let _ = peers.0.inlets.gossip.try_send((from, message.into()));
    }
}

#[cfg(test)]
mod tests;
