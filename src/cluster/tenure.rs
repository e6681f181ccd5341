//! A node's row in the catalog: as long as it is renewed, the node has what its leases say. Whether another node's row has run out is
//! for the database's clock to say, and only once this node has seen the database work for a whole term: after it was down, everybody
//! gets the time to renew.
//!
//! A node that is cut off lets go of everything by itself, so that others can go on with it: *aside*. It is when others reach more
//! nodes than it does and it does not reach them, or when they reach the database and it does not. Of a database that is down for
//! everybody nobody steps aside.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::members::{Gossip, Member, State};
use crate::domain::cluster::{NodeLife, NodeRow};
use crate::domain::ports::{Catalog, CatalogError};

/// How often the row is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for the database's answer to that; a row that is older is not of a node that does well.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A node that the database has not answered for so many terms steps aside, if it answers others: those tell that it does not after one.
const TERMS_WITHOUT: u32 = 3;

/// Whether this node may have anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// It is cut off, and must let go of what it has.
    pub is_aside: bool,
    /// Counts times after which others may have what was this node's.
    pub doubts: u64,
}

/// How long the database has worked without a break.
#[derive(Debug, Clone)]
pub struct Tenure {
    term: Duration,
    works_since: Arc<Mutex<Option<Instant>>>,
    standing: watch::Receiver<Standing>,
    /// Whether a later life of this node has taken its place.
    is_over: watch::Receiver<bool>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Tenure {
    /// Renews the row of this life from now on.
    pub(super) async fn start(
        catalog: Arc<dyn Catalog>,
        gossip: Arc<Gossip>,
        (life, term): (NodeLife, Duration),
    ) -> Result<Self, CatalogError> {
        catalog.renew_node(&life, 1).await?;
        let works_since = Arc::new(Mutex::new(Some(Instant::now())));
        let ((over, is_over), (stands, standing)) = (watch::channel(false), watch::channel(Standing::default()));
        let keeper = Keeper {
            catalog,
            gossip,
            life,
            term,
            works_since: Arc::clone(&works_since),
            stands,
            lost_at: None,
            bad_since: None,
            told: State::Up,
        };
        let task = tokio::spawn(keeper.keep(over));
        Ok(Self { term, works_since, standing, is_over, _task: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// How long a node must have been silent for its leases to be free; `None` while that cannot be told.
    pub fn lapse(&self) -> Option<Duration> {
        let works_since = *self.works_since.lock().unwrap_or_else(PoisonError::into_inner);
        works_since.filter(|since| since.elapsed() >= self.term).map(|_| self.term)
    }

    /// Whether this node may have anything; moves when that changes, or may have changed.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Until a later life of this node has taken its place.
    pub async fn over(&self) {
        let mut is_over = self.is_over.clone();
        if is_over.wait_for(|is_over| *is_over).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Renews a row, and sees whether this node is cut off.
struct Keeper {
    catalog: Arc<dyn Catalog>,
    gossip: Arc<Gossip>,
    life: NodeLife,
    term: Duration,
    works_since: Arc<Mutex<Option<Instant>>>,
    stands: watch::Sender<Standing>,
    /// When the database was first asked in vain.
    lost_at: Option<Instant>,
    /// Since when others do better.
    bad_since: Option<Instant>,
    told: State,
}

impl Keeper {
    async fn keep(mut self, over: watch::Sender<bool>) {
        let mut rounds = tokio::time::interval(RENEWED_EVERY);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let began = rounds.tick().await;
            let members = self.gossip.members.all();
            let asked = tokio::time::timeout(ANSWER_WITHIN, self.ask(reaches(&members))).await;
            match asked.unwrap_or_else(|_| Err(CatalogError::Unavailable("no answer".into()))) {
                Ok(rows) => self.answered(is_outreached(&self.life, &rows, &members)),
                Err(CatalogError::Stale) => {
                    tracing::error!(node = %self.life.node, "another process goes by this node's name");
                    over.send_replace(true);
                    return;
                }
                Err(error) => self.not_answered((began, &error), &members),
            }
            self.tell().await;
        }
    }

    fn is_aside(&self) -> bool {
        self.stands.borrow().is_aside
    }

    /// The rows of all nodes, this one's renewed unless it has let go.
    async fn ask(&self, reaches: u32) -> Result<Vec<NodeRow>, CatalogError> {
        if !self.is_aside() {
            self.catalog.renew_node(&self.life, reaches).await?;
        }
        self.catalog.nodes().await
    }

    fn answered(&mut self, is_outreached: bool) {
        let now = Instant::now();
        self.works_since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
        if !is_outreached {
            self.bad_since = None;
        } else if now - *self.bad_since.get_or_insert(now) >= self.term {
            return self.step_aside("the others reach more nodes than this one, and it does not reach them");
        }
        let was_lost = self.lost_at.take().is_some();
        self.stands.send_if_modified(|standing| {
            let is_back = standing.is_aside && !is_outreached;
            standing.is_aside &= is_outreached;
            standing.doubts += u64::from(was_lost || is_back);
            was_lost || is_back
        });
    }

    fn not_answered(&mut self, (began, error): (Instant, &CatalogError), members: &[Member]) {
        if self.works_since.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::warn!(%error, "this node's row in the catalog is not renewed");
        }
        self.lost_at.get_or_insert(began);
        let does_well = |member: &Member| member.is_connected && member.state == State::Up;
        if !members.iter().any(does_well) {
            self.bad_since = None;
        } else if began - *self.bad_since.get_or_insert(began) >= self.term * TERMS_WITHOUT {
            self.step_aside("the catalog answers others, and not this node");
        }
    }

    fn step_aside(&self, reason: &str) {
        self.stands.send_if_modified(|standing| {
            let is_new = !std::mem::replace(&mut standing.is_aside, true);
            if is_new {
                tracing::error!(reason, "this node is cut off, and lets go of what it has");
            }
            is_new
        });
    }

    async fn tell(&mut self) {
        let is_lost = self.lost_at.is_some_and(|lost| lost.elapsed() >= self.term);
        let state = match (self.is_aside(), is_lost) {
            (true, _) => State::Aside,
            (false, true) => State::WithoutCatalog,
            (false, false) => State::Up,
        };
        if state != std::mem::replace(&mut self.told, state) {
            self.gossip.tell_state(state).await;
        }
    }
}

/// How many nodes this one has connections with, itself among them.
fn reaches(members: &[Member]) -> u32 {
    let connected = members.iter().filter(|member| member.is_connected).count();
    u32::try_from(connected + 1).unwrap_or(u32::MAX)
}

/// Whether a node does well that this one does not reach, and reaches more.
fn is_outreached(me: &NodeLife, rows: &[NodeRow], members: &[Member]) -> bool {
    let own = reaches(members);
    let is_reached = |life: &NodeLife| members.iter().any(|member| member.is_connected && member.life() == *life);
    rows.iter()
        .any(|row| row.life.node != me.node && row.age <= ANSWER_WITHIN && row.reaches > own && !is_reached(&row.life))
}
