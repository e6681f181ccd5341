//! Several servers as one: who is there, where things are, and the ways between nodes. One connection of QUIC for each pair of nodes
//! carries messages of actors, gossip, requests and media, each on streams of their own. All of it runs on threads of its own,
//! so that nodes that are busy do not look dead.
use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use self::gateway::Gateway;
use self::identity::Identity;
use self::members::{Gossip, GossipConfig, Members, Profile, State};
use self::tenure::Tenure;
use self::transport::{Inlets, Opened, Peers, Transport, TransportConfig};
use crate::domain::cluster::{NodeLife, NodeName};
use crate::domain::ports::{Catalog, CatalogError};

pub mod gateway;
pub mod identity;
pub mod members;
pub mod placement;
pub mod tenure;
pub mod transport;
pub mod wire;

pub use gateway::{Answerer, AskNodeError};

/// Streams of peers that wait to be taken; more are refused.
const INLET_MAX: usize = 256;
/// How often this node tells how busy it is.
const LOAD_EVERY: Duration = Duration::from_secs(2);

/// What a node of a cluster is started with.
pub struct ClusterConfig {
    /// Who it is.
    pub identity: Identity,
    /// When its process began, milliseconds since the Unix epoch.
    pub epoch: i64,
    /// Where it listens.
    pub listen: SocketAddr,
    /// How others reach it, when not there.
    pub advertised: Option<SocketAddr>,
    /// Where nodes are looked for at first, as `host:port`.
    pub seeds: Vec<String>,
    /// What it tells of itself.
    pub profile: Profile,
    /// How often nodes tell one another that they live.
    pub gossip_interval: Duration,
    /// Largest message of actors.
    pub message_bytes_max: u64,
    /// Versions of the protocol that it speaks: those of [`wire::VERSIONS`], as far as its operator wants.
    pub versions: RangeInclusive<u16>,
}

/// The cluster cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No threads.
    #[error("no threads for the cluster: {0}")]
    Threads(std::io::Error),
    /// No socket.
    #[error("cannot listen for nodes on {0} (UDP): {1}")]
    Listen(SocketAddr, std::io::Error),
    /// Something that it needs did not start.
    #[error("the cluster cannot be joined: {0}")]
    Start(String),
}

/// What other nodes open.
pub struct Inbound {
    /// Requests.
    pub requests: mpsc::Receiver<Opened>,
    /// Viewers of live streams.
    pub relays: mpsc::Receiver<Opened>,
    /// Edges whose shield this node is.
    pub fills: mpsc::Receiver<Opened>,
    /// Work for this node.
    pub work: mpsc::Receiver<Opened>,
}

/// This node's side of the cluster. To be stopped before it is dropped.
pub struct Cluster {
    runtime: Option<Runtime>,
    transport: Option<Transport>,
    handle: ClusterHandle,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// The ways to other nodes.
#[derive(Clone)]
pub struct ClusterHandle {
    peers: Peers,
    gossip: Arc<Gossip>,
    gateway: Arc<Gateway>,
}

impl ClusterHandle {
    /// Which life of which node this is.
    pub fn me(&self) -> &NodeLife {
        self.peers.me()
    }

    /// Who is there.
    pub fn members(&self) -> &Members {
        &self.gossip.members
    }

    /// The connections.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Asks another node's gateway.
    pub async fn ask(&self, node: &NodeName, question: Bytes, limit: Duration) -> Result<Bytes, AskNodeError> {
        self.gateway.ask(node, question, limit).await
    }

    /// Renews this node's row in the catalog from now on; leases of nodes that are silent for `term` are free.
    pub async fn begin_tenure(&self, catalog: Arc<dyn Catalog>, term: Duration) -> Result<Tenure, CatalogError> {
        Tenure::start(catalog, Arc::clone(&self.gossip), (self.me().clone(), term)).await
    }

    /// Tells everybody that this node is about to leave: nothing new is placed here from now on.
    pub async fn drain(&self) {
        self.gossip.tell_state(State::Draining).await;
    }
}

impl Cluster {
    /// Joins.
    pub async fn start(config: ClusterConfig, answerer: Arc<dyn Answerer>) -> Result<(Self, Inbound), ClusterError> {
        let threads = Builder::new_multi_thread().worker_threads(2).thread_name("cluster").enable_all().build();
        let runtime = threads.map_err(ClusterError::Threads)?;
        let starting = runtime.spawn(Self::join(config, answerer));
        let started = starting.await.unwrap_or_else(|error| Err(ClusterError::Start(error.to_string())));
        match started {
            Ok((mut cluster, inbound)) => {
                cluster.runtime = Some(runtime);
                Ok((cluster, inbound))
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    async fn join(config: ClusterConfig, answerer: Arc<dyn Answerer>) -> Result<(Self, Inbound), ClusterError> {
        let ClusterConfig { identity, epoch, listen, advertised, seeds, profile, .. } = config;
        let cluster = identity.cluster.clone();
        let (actors, links) = mpsc::channel(INLET_MAX);
        let (gossip, inbox) = members::inbox();
        let ((requests, requested), (relays, relayed)) = (mpsc::channel(INLET_MAX), mpsc::channel(INLET_MAX));
        let ((fills, filled), (work, worked)) = (mpsc::channel(INLET_MAX), mpsc::channel(INLET_MAX));
        let inlets = Inlets { actors, gossip, requests, relays, fills, work };
        let transport = TransportConfig { identity, epoch, listen, advertised, versions: config.versions };
        let transport = Transport::start(transport, inlets).map_err(|error| ClusterError::Listen(listen, error))?;
        transport.looker()(seeds.iter().cloned().collect());
        let peers = transport.peers.clone();
        let told =
            GossipConfig { profile, interval: config.gossip_interval, cluster: cluster.clone(), seeds: seeds.clone() };
        let gossip = Gossip::start(told, &peers, inbox).await.map_err(ClusterError::Start)?;
        let gateway = Gateway::start(&peers, (&cluster, config.message_bytes_max), answerer, links).await;
        let gateway = gateway.map_err(ClusterError::Start)?;
        let handle = ClusterHandle { peers, gossip: Arc::new(gossip), gateway: Arc::new(gateway) };
        let looking = transport.looks_for_members(handle.members().clone(), seeds.into_iter().collect());
        let telling = tokio::spawn(tell_load(Arc::clone(&handle.gossip)));
        let tasks = [looking, telling].map(AbortOnDropHandle::new).into();
        let cluster = Self { runtime: None, transport: Some(transport), handle, _tasks: tasks };
        Ok((cluster, Inbound { requests: requested, relays: relayed, fills: filled, work: worked }))
    }

    /// The ways to other nodes.
    pub fn handle(&self) -> ClusterHandle {
        self.handle.clone()
    }

    /// Runs something on the cluster's own threads.
    pub fn runtime(&self) -> Option<&tokio::runtime::Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }

    /// Leaves.
    pub async fn stop(mut self) {
        self.handle.gateway.stop();
        if let Some((runtime, transport)) = self.runtime.as_ref().zip(self.transport.take()) {
            let _ = runtime.spawn(transport.stop()).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn tell_load(gossip: Arc<Gossip>) {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    loop {
        // Of the last minute, as the kernel counts it; elsewhere nothing is told.
        let read = std::fs::read_to_string("/proc/loadavg").ok();
        let load: Option<f64> = read.and_then(|text| text.split(' ').next()?.parse().ok());
        if let Some(load) = load {
            gossip.tell_load((load / cores * 10.0).round() / 10.0).await;
        }
        tokio::time::sleep(LOAD_EVERY).await;
    }
}

impl Transport {
    /// Dials everybody that gossip tells of, besides the seeds.
    fn looks_for_members(&self, members: Members, seeds: HashSet<String>) -> tokio::task::JoinHandle<()> {
        let look = self.looker();
        tokio::spawn(async move {
            let mut changes = members.changes();
            loop {
                let mut targets = members::addresses(&changes.borrow_and_update());
                targets.extend(seeds.iter().cloned());
                look(targets);
                if changes.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
