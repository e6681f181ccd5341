//! The nodes of a cluster, as actors and requests see them: who is there, which node something with a key belongs to, and the leases by
//! which exactly one has it. A server that is alone is a cluster of one, to which everything belongs.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::remote::{Answer, Question};
use crate::cluster::members::{Member, Members, State};
use crate::cluster::placement;
use crate::cluster::tenure::{Standing, Tenure};
use crate::cluster::transport::OpenStreamError;
pub use crate::cluster::transport::Opened as PeerRequest;
pub use crate::cluster::transport::PeerStream;
use crate::cluster::wire::StreamKind;
use crate::cluster::{AskNodeError, ClusterHandle};
use crate::domain::cluster::{Lease, LeaseAnswer, NodeLife, NodeName, Role};
use crate::domain::ports::{Catalog, CatalogError};
use crate::storage::codec;

/// Longest wait for another node's answer that takes it no time.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Who has something with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// This node, under this lease.
    Here(Lease),
    /// Another one.
    At(NodeName),
    /// Nobody can have it: no node takes that role.
    Nowhere,
}

/// The only way to other nodes.
#[derive(Clone)]
pub struct NodesHandle(Arc<Nodes>);

struct Nodes {
    me: NodeLife,
    members: Members,
    cluster: Option<(ClusterHandle, Tenure)>,
    catalog: Arc<dyn Catalog>,
    is_leaving: AtomicBool,
}

impl NodesHandle {
    /// A server that is alone.
    pub fn alone(me: NodeLife, catalog: Arc<dyn Catalog>) -> Self {
        let member = Member {
            node: me.node.clone(),
            epoch: me.epoch,
            address: ([127, 0, 0, 1], 0).into(),
            roles: Role::ALL.to_vec(),
            zone: String::new(),
            public_url: String::new(),
            state: State::Up,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            load: 0.0,
            is_connected: false,
            protocol: None,
        };
        Self(Arc::new(Nodes {
            me,
            members: Members::alone(member),
            cluster: None,
            catalog,
            is_leaving: AtomicBool::new(false),
        }))
    }

    /// A node of a cluster.
    pub fn of_cluster(cluster: ClusterHandle, tenure: Tenure, catalog: Arc<dyn Catalog>) -> Self {
        let (me, members) = (cluster.me().clone(), cluster.members().clone());
        let cluster = Some((cluster, tenure));
        Self(Arc::new(Nodes { me, members, cluster, catalog, is_leaving: AtomicBool::new(false) }))
    }

    /// Which life of which node this is.
    pub fn me(&self) -> &NodeLife {
        &self.0.me
    }

    /// Whether there may be others.
    pub fn is_cluster(&self) -> bool {
        self.0.cluster.is_some()
    }

    /// Everybody alive, by name; this node among them.
    pub fn members(&self) -> Arc<[Member]> {
        self.0.members.all()
    }

    /// Moves when somebody comes or goes, or tells something new.
    pub fn changes(&self) -> watch::Receiver<Arc<[Member]>> {
        self.0.members.changes()
    }

    /// The node that a key belongs to, if any takes this role.
    pub fn owner(&self, key: &str, role: Role) -> Option<NodeName> {
        match self.0.cluster {
            Some(_) => placement::owner(key, role, &self.members()),
            None => Some(self.0.me.node.clone()),
        }
    }

    /// Whether what is to be done once in the cluster about this key is done here.
    pub fn is_own(&self, key: &str) -> bool {
        self.elsewhere(key, Role::Api).is_none()
    }

    /// The node that a key would belong to without this one.
    pub(super) fn next_owner(&self, key: &str, role: Role) -> Option<NodeName> {
        self.0.cluster.as_ref()?;
        let others: Vec<Member> =
            self.members().iter().filter(|member| member.node != self.0.me.node).cloned().collect();
        placement::owner(key, role, &others)
    }

    /// Whether anybody else is there.
    pub(super) fn has_others(&self) -> bool {
        self.members().iter().any(|member| member.node != self.0.me.node)
    }

    /// The node that a key belongs to, when that is another one.
    pub fn elsewhere(&self, key: &str, role: Role) -> Option<NodeName> {
        self.owner(key, role).filter(|owner| *owner != self.0.me.node)
    }

    /// The node that reads this blob for all who deliver, when that is another one: one of a zone, or any if that is not said or
    /// nobody is there.
    pub(super) fn shield(&self, key: &str, zone: &str) -> Option<NodeName> {
        let (members, cluster) = (self.members(), self.0.cluster.as_ref());
        cluster?;
        let of_zone: Vec<Member> = members.iter().filter(|member| member.zone == zone).cloned().collect();
        let is_shielded = !zone.is_empty() && of_zone.iter().any(|member| member.takes(Role::Edge));
        let owner = placement::owner(key, Role::Edge, if is_shielded { &of_zone } else { &members });
        owner.filter(|owner| *owner != self.0.me.node)
    }

    /// Draws something until it belongs to this node: what is made here then lives here. Where that never happens, because this node
    /// has not that role, the last that was drawn is as good as any.
    pub fn draw_own<T>(&self, role: Role, key_of: impl Fn(&T) -> String, draw: impl Fn() -> T) -> T {
        let most = 64 * self.members().len().max(1);
        let mut drawn = draw();
        for _ in 0..most {
            if self.elsewhere(&key_of(&drawn), role).is_none() {
                break;
            }
            drawn = draw();
        }
        drawn
    }

    /// Takes what belongs to this node. What another one has that is alive stays there, wherever it would belong.
    pub async fn claim(&self, key: &str, role: Role) -> Result<Placed, CatalogError> {
        match self.owner(key, role) {
            None => Ok(Placed::Nowhere),
            Some(owner) if owner != self.0.me.node => Ok(Placed::At(owner)),
            Some(_) => self.take(key).await,
        }
    }

    /// Takes a lease, wherever it would belong, unless somebody has it who is alive.
    pub async fn take(&self, key: &str) -> Result<Placed, CatalogError> {
        if !self.may_have() {
            return Err(CatalogError::Unavailable("this node is leaving, or cut off from the others".into()));
        }
        let lapse = match &self.0.cluster {
            Some((_, tenure)) => tenure.lapse(),
            // Alone with the database, all other lives are over.
            None => Some(Duration::ZERO),
        };
        Ok(match self.0.catalog.take_lease(key, &self.0.me, lapse).await? {
            LeaseAnswer::Given(lease) => Placed::Here(lease),
            LeaseAnswer::Held(by) => Placed::At(by.node),
        })
    }

    /// The node that has a lease, when that is another one, and alive.
    pub async fn holder(&self, key: &str) -> Result<Option<NodeName>, CatalogError> {
        if !self.is_cluster() {
            return Ok(None);
        }
        let held = self.0.catalog.lease(key).await?.map(|lease| lease.holder);
        let is_elsewhere = |holder: &NodeLife| {
            holder.node != self.0.me.node && self.members().iter().any(|member| member.life() == *holder)
        };
        Ok(held.filter(is_elsewhere).map(|holder| holder.node))
    }

    /// Nodes that viewers can be sent to, by name and the URL at which they reach each: those of this node's zone first, the least busy
    /// of each zone before the others.
    pub fn pathways(&self) -> Vec<(NodeName, String)> {
        let members = self.members();
        let zone = members.iter().find(|member| member.node == self.0.me.node).map(|me| me.zone.clone());
        let mut able: Vec<&Member> =
            members.iter().filter(|member| member.takes(Role::Edge) && !member.public_url.is_empty()).collect();
        able.sort_by(|one, other| {
            let is_far = |member: &Member| Some(&member.zone) != zone.as_ref();
            is_far(one).cmp(&is_far(other)).then(one.load.total_cmp(&other.load))
        });
        able.into_iter().map(|member| (member.node.clone(), member.public_url.clone())).collect()
    }

    /// Whether this node is cut off, and may have nothing.
    pub fn is_aside(&self) -> bool {
        self.0.cluster.as_ref().is_some_and(|(_, tenure)| tenure.standing().borrow().is_aside)
    }

    /// Whether this node may have anything: it is neither cut off nor about to leave others behind.
    pub(super) fn may_have(&self) -> bool {
        let is_leaving = self.0.is_leaving.load(Ordering::Relaxed) && self.has_others();
        !is_leaving && !self.is_aside()
    }

    /// Whether requests are better sent to other nodes, as far as the catalog goes: it has not answered this one for a term, and
    /// answers others.
    pub fn is_outdone(&self) -> bool {
        let members = self.members();
        let is_lost = |member: &Member| member.node == self.0.me.node && member.state == State::WithoutCatalog;
        members.iter().any(is_lost) && members.iter().any(|member| member.is_connected && member.state == State::Up)
    }

    /// Whether this node may have anything; moves when that changes, or may have changed. `None` for one that is alone.
    pub fn standing(&self) -> Option<watch::Receiver<Standing>> {
        self.0.cluster.as_ref().map(|(_, tenure)| tenure.standing())
    }

    /// Whether this node may not have this any more: it may have nothing, or the lease is another's. While the catalog does not
    /// answer, what one has one keeps.
    pub(super) async fn has_lost(&self, key: &str) -> bool {
        if !self.may_have() {
            return true;
        }
        let lease = self.0.catalog.lease(key).await;
        self.is_cluster() && lease.is_ok_and(|lease| lease.is_none_or(|lease| lease.holder != self.0.me))
    }

    /// Opens a way for a request to another node.
    pub async fn open_request(&self, node: &NodeName) -> Result<PeerStream, OpenStreamError> {
        self.open(node, StreamKind::Request).await
    }

    /// Opens a way for a live stream of another node.
    pub async fn open_relay(&self, node: &NodeName) -> Result<PeerStream, OpenStreamError> {
        self.open(node, StreamKind::Relay).await
    }

    /// Opens a way for bytes of a blob that another node reads.
    pub(super) async fn open_fill(&self, node: &NodeName) -> Result<PeerStream, OpenStreamError> {
        self.open(node, StreamKind::Fill).await
    }

    /// Opens a way for work that another node is to do.
    pub(super) async fn open_work(&self, node: &NodeName) -> Result<PeerStream, OpenStreamError> {
        self.open(node, StreamKind::Work).await
    }

    /// Others to which there is a connection, and whose workers understand what those of this node do.
    pub(super) fn able_to_work(&self) -> Vec<NodeName> {
        let Some((cluster, _)) = &self.0.cluster else { return Vec::new() };
        let is_able = |member: &&Member| member.takes(Role::Transcode) && cluster.peers().works_alike(&member.node);
        self.members().iter().filter(is_able).map(|member| member.node.clone()).collect()
    }

    /// Others to which there is a connection, and that know questions of this version of the protocol.
    pub(super) fn that_speak(&self, version: u16) -> Vec<NodeName> {
        let speaks = |member: &&Member| member.protocol.is_some_and(|agreed| agreed >= version);
        self.members().iter().filter(speaks).map(|member| member.node.clone()).collect()
    }

    /// Whether there is a connection with a node, and that of this version of the protocol.
    pub(super) fn speaks(&self, node: &NodeName, version: u16) -> bool {
        let agreed = self.0.cluster.as_ref().and_then(|(cluster, _)| cluster.peers().version_with(node));
        agreed.is_some_and(|agreed| agreed >= version)
    }

    /// Whether a node is connected that speaks no version as new as this one.
    pub(super) fn is_older(&self, node: &NodeName, version: u16) -> bool {
        let agreed = self.0.cluster.as_ref().and_then(|(cluster, _)| cluster.peers().version_with(node));
        agreed.is_some_and(|agreed| agreed < version)
    }

    async fn open(&self, node: &NodeName, kind: StreamKind) -> Result<PeerStream, OpenStreamError> {
        match &self.0.cluster {
            Some((cluster, _)) => cluster.peers().open(node, kind).await,
            None => Err(OpenStreamError::NotConnected(node.clone())),
        }
    }

    /// Asks another node, which has so long to answer; at once none, when it is of a release that does not know the question.
    pub async fn ask(&self, node: &NodeName, question: &Question, limit: Duration) -> Result<Answer, AskNodeError> {
        let refused = || AskNodeError::Refused(node.clone());
        let Some((cluster, _)) = &self.0.cluster else { return Err(AskNodeError::Unreachable(node.clone())) };
        if cluster.peers().version_with(node).is_some_and(|agreed| agreed < question.since()) {
            return Err(AskNodeError::OtherRelease(node.clone()));
        }
        let question = codec::encode(question).map_err(|_| refused())?;
        let answer = cluster.ask(node, question.into(), limit).await?;
        codec::decode(&answer).map_err(|_| refused())
    }

    /// Tells everybody that this node is about to leave: it takes nothing more.
    pub async fn drain(&self) {
        self.0.is_leaving.store(true, Ordering::Relaxed);
        if let Some((cluster, _)) = &self.0.cluster {
            cluster.drain().await;
        }
    }

    /// Until a later life of this node has taken its place.
    pub async fn displaced(&self) {
        match &self.0.cluster {
            Some((_, tenure)) => tenure.over().await,
            None => std::future::pending().await,
        }
    }

    /// Gives all leases back: what this node had is free at once.
    pub async fn leave(&self) {
        if self.is_cluster()
            && let Err(error) = self.0.catalog.leave_node(&self.0.me).await
        {
            tracing::warn!(%error, "others take up what this node had only after a while");
        }
    }
}
