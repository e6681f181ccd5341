//! Who is in the cluster, and how each node is: told by gossip over the nodes' own connections. A node lives while it is heard of, or
//! while there is a connection with it.
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chitchat::transport::{Socket, Transport as GossipTransport};
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, Deserializable, FailureDetectorConfig, NodeState,
    Serializable, spawn_chitchat,
};
use serde::Serialize;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::transport::Peers;
use crate::domain::cluster::{NodeLife, NodeName, Role};

/// A node is no longer heard of when it was silent for so many times the usual pause between two signs of life.
const PHI_MAX: f64 = 12.0;
/// Pauses that are longer say nothing of what is usual.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long one that is dead is remembered, and asked now and then whether it is back.
const GRAVE: Duration = Duration::from_secs(3600);
/// Messages of gossip that wait; more are lost, as they may be.
const INBOX_MAX: usize = 1024;

/// What nodes tell of themselves, by these keys.
const KEY_ROLES: &str = "roles";
const KEY_ZONE: &str = "zone";
const KEY_PUBLIC_URL: &str = "public-url";
const KEY_STATE: &str = "state";
const KEY_PROGRAM: &str = "program";
const KEY_LOAD: &str = "load";

/// How a node stands among others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does what it is there for.
    #[default]
    Up,
    /// The catalog does not answer it.
    WithoutCatalog,
    /// It is cut off from what others have, and has let go of everything.
    Aside,
    /// It is about to leave.
    Draining,
}

impl State {
    const ALL: [Self; 4] = [Self::Up, Self::WithoutCatalog, Self::Aside, Self::Draining];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::WithoutCatalog => "without-catalog",
            Self::Aside => "aside",
            Self::Draining => "draining",
        }
    }
}

/// A node of the cluster, alive.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    /// Its name.
    pub node: NodeName,
    /// When its process began, milliseconds since the Unix epoch.
    pub epoch: i64,
    /// Where it listens for nodes.
    pub address: SocketAddr,
    /// What it does.
    pub roles: Vec<Role>,
    /// Where it is.
    pub zone: String,
    /// How viewers reach this very node; empty: not at all.
    pub public_url: String,
    /// How it stands among others.
    pub state: State,
    /// Version of its program.
    pub program: String,
    /// How busy its processors are, from 0 to 1 and above when work waits for them.
    pub load: f64,
    /// Whether this node has a connection with it.
    pub is_connected: bool,
    /// Version of the protocol between it and this node, while they are connected.
    pub protocol: Option<u16>,
}

impl Member {
    /// Which life of which node.
    pub fn life(&self) -> NodeLife {
        NodeLife { node: self.node.clone(), epoch: self.epoch }
    }

    /// Whether something for this role can be placed there.
    pub fn takes(&self, role: Role) -> bool {
        matches!(self.state, State::Up | State::WithoutCatalog) && self.roles.contains(&role)
    }
}

/// What a node says of itself.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What it does.
    pub roles: Vec<Role>,
    /// Where it is.
    pub zone: String,
    /// How viewers reach this very node; empty: not at all.
    pub public_url: String,
}

/// Who is there, as this node sees it.
#[derive(Clone)]
pub struct Members {
    view: watch::Receiver<Arc<[Member]>>,
    me: NodeName,
}

impl Members {
    /// A server that is alone.
    pub fn alone(member: Member) -> Self {
        let me = member.node.clone();
        let (_, view) = watch::channel(Arc::from([member]));
        Self { view, me }
    }

    /// Everybody alive, by name; this node among them.
    pub fn all(&self) -> Arc<[Member]> {
        Arc::clone(&self.view.borrow())
    }

    /// This node's name.
    pub fn me(&self) -> &NodeName {
        &self.me
    }

    /// The node of this name, if it is alive.
    pub fn find(&self, node: &NodeName) -> Option<Member> {
        self.view.borrow().iter().find(|member| member.node == *node).cloned()
    }

    /// Moves when somebody comes or goes, or tells something new.
    pub fn changes(&self) -> watch::Receiver<Arc<[Member]>> {
        self.view.clone()
    }
}

/// Connections with other nodes.
pub(super) trait Links: Send + Sync {
    /// With whom there is one, and the version of the protocol on each.
    fn connected(&self) -> Vec<(NodeLife, u16)>;
    /// Moves when somebody comes or goes.
    fn changed(&self) -> watch::Receiver<u64>;
}

impl Links for Peers {
    fn connected(&self) -> Vec<(NodeLife, u16)> {
        Peers::connected(self).into_iter().map(|peer| (peer.life, peer.version)).collect()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        Peers::changed(self)
    }
}

/// The gossip of this node.
pub(super) struct Gossip {
    handle: ChitchatHandle,
    pub(super) members: Members,
    is_draining: AtomicBool,
    _task: AbortOnDropHandle<()>,
}

/// How gossip goes.
pub(super) struct GossipConfig {
    /// What is told of this node.
    pub(super) profile: Profile,
    /// How often something is told.
    pub(super) interval: Duration,
    /// Whose gossip is listened to.
    pub(super) cluster: String,
    /// Where nodes are looked for at first.
    pub(super) seeds: Vec<String>,
}

impl Gossip {
    /// Begins; `inbox` is what peers send.
    pub(super) async fn start(
        config: GossipConfig,
        peers: &Peers,
        inbox: mpsc::Receiver<Heard>,
    ) -> Result<Self, String> {
        let transport = PeerGossip { peers: peers.clone(), inbox: Arc::new(Mutex::new(inbox)) };
        Self::start_on(config, peers.me(), (peers.address(), &transport), Arc::new(peers.clone())).await
    }

    /// The same over any transport.
    pub(super) async fn start_on(
        config: GossipConfig,
        life: &NodeLife,
        (address, transport): (SocketAddr, &dyn GossipTransport),
        links: Arc<dyn Links>,
    ) -> Result<Self, String> {
        let GossipConfig { profile, interval, cluster, seeds } = config;
        let id = ChitchatId::new(
            life.node.as_str().to_owned(),
            u64::try_from(life.epoch).map_err(|error| error.to_string())?,
            address,
        );
        let told = told_of(profile);
        let config = ChitchatConfig {
            chitchat_id: id,
            cluster_id: cluster,
            gossip_interval: interval,
            listen_addr: address,
            seed_nodes: seeds,
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: PHI_MAX,
                sampling_window_size: 100,
                max_interval: PAUSE_MAX,
                initial_interval: interval,
                dead_node_grace_period: GRAVE,
            },
            marked_for_deletion_grace_period: GRAVE,
            catchup_callback: None,
            extra_liveness_predicate: None,
        };
        let handle = spawn_chitchat(config, told, transport).await.map_err(|error| error.to_string())?;
        let (seen, view) = watch::channel(Arc::from([]));
        let heard = handle.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
        let first: States =
            handle.with_chitchat(|chitchat| own_state(chitchat.self_chitchat_id(), chitchat.node_states())).await;
        seen.send_replace(view_of(&first, &*links, &[]));
        let task = tokio::spawn(follow(life.node.clone(), (first, heard), links, seen));
        let members = Members { view, me: life.node.clone() };
        Ok(Self { handle, members, is_draining: AtomicBool::new(false), _task: AbortOnDropHandle::new(task) })
    }

    async fn tell(&self, key: &'static str, value: String) {
        self.handle.with_chitchat(|chitchat| chitchat.self_node_state().set(key, &value)).await;
    }

    /// Tells how this node stands; one that is about to leave never does anything else again.
    pub(super) async fn tell_state(&self, state: State) {
        let is_draining = self.is_draining.fetch_or(state == State::Draining, Ordering::SeqCst);
        if !is_draining || state == State::Draining {
            self.tell(KEY_STATE, state.as_str().to_owned()).await;
        }
    }

    /// Tells how busy this node is.
    pub(super) async fn tell_load(&self, load: f64) {
        self.tell(KEY_LOAD, format!("{load:.2}")).await;
    }
}

fn own_state(me: &ChitchatId, states: &BTreeMap<ChitchatId, NodeState>) -> BTreeMap<ChitchatId, NodeState> {
    states.iter().filter(|(id, _)| *id == me).map(|(id, state)| (id.clone(), state.clone())).collect()
}

/// What others are told of a node that has such a profile.
fn told_of(profile: Profile) -> Vec<(String, String)> {
    let roles: Vec<&str> = profile.roles.iter().map(|role| role.as_str()).collect();
    let told = [
        (KEY_ROLES, roles.join(",")),
        (KEY_ZONE, profile.zone),
        (KEY_PUBLIC_URL, profile.public_url),
        (KEY_STATE, State::Up.as_str().to_owned()),
        (KEY_PROGRAM, env!("CARGO_PKG_VERSION").to_owned()),
    ];
    told.map(|(key, value)| (key.to_owned(), value)).to_vec()
}

type States = BTreeMap<ChitchatId, NodeState>;

/// Shows who is there, whenever that changes.
async fn follow(
    me: NodeName,
    (mut known, mut heard): (States, watch::Receiver<States>),
    links: Arc<dyn Links>,
    seen: watch::Sender<Arc<[Member]>>,
) {
    let mut changed = links.changed();
    loop {
        tokio::select! {
            moved = heard.changed() => {
                if moved.is_err() {
                    return;
                }
                let live = heard.borrow_and_update();
                // Before the first round nobody is told of, this node neither.
                if live.keys().any(|id| *id.node_id == *me.as_str()) {
                    known.clone_from(&live);
                }
            }
            moved = changed.changed() => {
                if moved.is_err() {
                    return;
                }
            }
        }
        let before = Arc::clone(&seen.borrow());
        let now = view_of(&known, &*links, &before);
        tell_differences(&before, &now);
        seen.send_if_modified(|shown| {
            let differs = **shown != *now;
            *shown = now;
            differs
        });
    }
}

/// Everybody who is heard of, each in its latest life, and those that only connections say are still there.
fn view_of(heard: &BTreeMap<ChitchatId, NodeState>, links: &dyn Links, before: &[Member]) -> Arc<[Member]> {
    let connected = links.connected();
    let protocol = |member: &Member| {
        let life = member.life();
        connected.iter().find(|(connected, _)| *connected == life).map(|(_, version)| *version)
    };
    let mut found: BTreeMap<NodeName, Member> = BTreeMap::new();
    let mut add = |mut member: Member| {
        member.protocol = protocol(&member);
        member.is_connected = member.protocol.is_some();
        let is_newer = found.get(&member.node).is_none_or(|known| known.epoch < member.epoch);
        if is_newer {
            found.insert(member.node.clone(), member);
        }
    };
    heard.iter().filter_map(|(id, state)| member_of(id, |key| state.get(key))).for_each(&mut add);
    before.iter().filter(|member| protocol(member).is_some()).cloned().for_each(add);
    found.into_values().collect()
}

/// A node as it tells of itself. What this program does not know, of a later one, is left out: keys, roles, and how it stands. One that
/// is to stand in a new way for programs that know of it says so by a key of its own.
fn member_of<'a>(id: &ChitchatId, told: impl Fn(&str) -> Option<&'a str>) -> Option<Member> {
    let role = |name: &str| Role::ALL.into_iter().find(|role| role.as_str() == name);
    Some(Member {
        node: id.node_id.parse().ok()?,
        epoch: i64::try_from(id.generation_id).ok()?,
        address: id.gossip_advertise_addr,
        roles: told(KEY_ROLES)?.split(',').filter_map(role).collect(),
        zone: told(KEY_ZONE).unwrap_or_default().to_owned(),
        public_url: told(KEY_PUBLIC_URL).unwrap_or_default().to_owned(),
        state: State::ALL.into_iter().find(|one| told(KEY_STATE) == Some(one.as_str())).unwrap_or_default(),
        program: told(KEY_PROGRAM).unwrap_or_default().to_owned(),
        load: told(KEY_LOAD).and_then(|load| load.parse().ok()).unwrap_or(0.0),
        is_connected: false,
        protocol: None,
    })
}

fn tell_differences(before: &[Member], now: &[Member]) {
    let is_in = |members: &[Member], life: &NodeLife| members.iter().any(|member| member.life() == *life);
    for member in now.iter().filter(|member| !is_in(before, &member.life())) {
        tracing::info!(node = %member.node, address = %member.address, "a node is in the cluster");
    }
    for member in before.iter().filter(|member| !is_in(now, &member.life())) {
        tracing::warn!(node = %member.node, "a node is no longer in the cluster");
    }
    metrics::gauge!("playhouse_cluster_members").set(now.len() as f64);
}

/// Where nodes are to be dialled: everybody heard of.
pub(super) fn addresses(members: &[Member]) -> HashSet<String> {
    members.iter().map(|member| member.address.to_string()).collect()
}

/// A message of gossip, and where its sender listens.
pub(super) type Heard = (SocketAddr, Bytes);

/// Room for gossip that comes.
pub(super) fn inbox() -> (mpsc::Sender<Heard>, mpsc::Receiver<Heard>) {
    mpsc::channel(INBOX_MAX)
}

struct PeerGossip {
    peers: Peers,
    inbox: Arc<Mutex<mpsc::Receiver<Heard>>>,
}

#[async_trait]
impl GossipTransport for PeerGossip {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(PeerSocket { peers: self.peers.clone(), inbox: Arc::clone(&self.inbox) }))
    }
}

struct PeerSocket {
    peers: Peers,
    inbox: Arc<Mutex<mpsc::Receiver<Heard>>>,
}

#[async_trait]
impl Socket for PeerSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        self.peers.send_gossip(to, message.serialize_to_vec().into());
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        let mut inbox = self.inbox.lock().await;
        loop {
            let Some((from, message)) = inbox.recv().await else { std::future::pending().await };
            match ChitchatMessage::deserialize(&mut message.as_ref()) {
                Ok(message) => return Ok((from, message)),
                Err(error) => tracing::warn!(%from, %error, "gossip that cannot be understood"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_later_programs_tell_besides_is_left_out() {
        let id = ChitchatId::new("later", 7, ([192, 0, 2, 1], 4700).into());
        let told = |key: &str| match key {
            KEY_ROLES => Some("edge,dream,api"),
            KEY_STATE => Some("thinking"),
            KEY_LOAD => Some("not much"),
            _ => None,
        };
        let member = member_of(&id, told).unwrap();
        assert_eq!((member.node.as_str(), member.epoch), ("later", 7));
        assert_eq!((member.roles.as_slice(), member.state), (&[Role::Edge, Role::Api][..], State::Up));
        assert_eq!(member.load, 0.0);
        assert_eq!(member_of(&id, |_| None), None, "nothing is placed where it is not known what is done");
    }
}
