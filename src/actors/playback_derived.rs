//! Sessions of players that say nothing of themselves: what they fetch is all that is known of them. In a cluster a player belongs to one
//! node, by its fingerprint, and that one is told what others deliver to it: who fetches from several nodes is one viewer.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use serde::{Deserialize, Serialize};

use super::nodes::ASK_TIMEOUT;
use super::playback::{PlaybackError, PlaybackHandle};
use super::playback_session::PlaybackMessage;
use super::remote::{FETCHED_SINCE, Question};
use crate::domain::cluster::{NodeName, Role};
use crate::domain::ids::{PlaybackSessionId, VideoId};

/// Players remembered at most; beyond that the longest unseen is forgotten and opens a new session.
const PLAYERS_MAX: u64 = 100_000;
/// Time between two tellings of what was fetched here.
const TOLD_EVERY: Duration = Duration::from_millis(500);
/// Fetches that wait for it, for each node; what is more is not counted.
const WAITING_MAX: usize = 20_000;

/// Something that a player without beacons fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Tells it apart.
    pub player: u64,
    /// What it fetched.
    pub what: Fetched,
}

/// What a player can fetch. Variants are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fetched {
    /// A list of renditions.
    Manifest {
        /// Of this video.
        video_id: VideoId,
        /// Which is so long.
        duration_ms: u64,
    },
    /// A segment.
    Segment {
        /// How long it lasts.
        media_ms: u64,
    },
}

/// Who has fetched what.
#[derive(Clone)]
pub(super) struct Players {
    sessions: Cache<u64, PlaybackSessionId>,
    elsewhere: Arc<Mutex<HashMap<NodeName, Vec<Fetch>>>>,
}

impl Players {
    /// They are forgotten when they fetch nothing for so long.
    pub(super) fn new(idle: Duration) -> Self {
        let sessions = Cache::builder().max_capacity(PLAYERS_MAX).time_to_idle(idle).build();
        Self { sessions, elsewhere: Arc::default() }
    }

    fn waiting(&self) -> HashMap<NodeName, Vec<Fetch>> {
        std::mem::take(&mut *self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell_later(&self, node: NodeName, fetch: Fetch) {
        let mut waiting = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        let of_node = waiting.entry(node).or_default();
        if of_node.len() < WAITING_MAX {
            of_node.push(fetch);
        }
    }
}

impl PlaybackHandle {
    /// The node that a player belongs to, when that is another one, and can be told.
    fn node_of(&self, player: u64) -> Option<NodeName> {
        let nodes = &self.context.nodes;
        nodes.elsewhere(&format!("player/{player:016x}"), Role::Api).filter(|node| nodes.speaks(node, FETCHED_SINCE))
    }

    /// Whether it is worth telling what this player fetches besides manifests: players with sessions of their own are not known.
    pub fn is_followed(&self, player: u64) -> bool {
        self.players.sessions.contains_key(&player) || self.node_of(player).is_some()
    }

    /// A player without a session has fetched something.
    pub async fn fetched(&self, fetch: Fetch) -> Result<(), PlaybackError> {
        // One whose session is here stays, whoever else has come meanwhile.
        let node = if self.players.sessions.contains_key(&fetch.player) { None } else { self.node_of(fetch.player) };
        match (node, &fetch.what) {
            (None, _) => self.fetched_here(fetch).await,
            (Some(node), Fetched::Segment { .. }) => {
                self.players.tell_later(node, fetch);
                Ok(())
            }
            // Segments come after it, maybe by other nodes.
            (Some(node), Fetched::Manifest { .. }) => {
                self.tell(&node, vec![fetch]).await;
                Ok(())
            }
        }
    }

    pub(super) async fn fetched_here(&self, Fetch { player, what }: Fetch) -> Result<(), PlaybackError> {
        let session = self.players.sessions.get(&player);
        match (what, session) {
            (Fetched::Manifest { video_id, duration_ms }, None) => {
                let id = self.open(&video_id, duration_ms, None).await?;
                self.players.sessions.insert(player, id);
            }
            (Fetched::Segment { media_ms }, Some(session)) => {
                if let Ok(Some(post)) = self.family.find(session).await {
                    let _ = post.tell(PlaybackMessage::SegmentFetched { media_ms });
                }
            }
            (Fetched::Manifest { .. }, Some(_)) | (Fetched::Segment { .. }, None) => {}
        }
        Ok(())
    }

    async fn tell(&self, node: &NodeName, fetches: Vec<Fetch>) {
        if let Err(error) = self.context.nodes.ask(node, &Question::CountFetched(fetches), ASK_TIMEOUT).await {
            tracing::debug!(%error, "what players have fetched is not counted");
        }
    }

    /// Tells other nodes what was fetched here by players of theirs, for good.
    pub async fn tell_fetched(self) {
        loop {
            tokio::time::sleep(TOLD_EVERY).await;
            let telling = self.players.waiting();
            futures::future::join_all(telling.into_iter().map(async |(node, fetches)| self.tell(&node, fetches).await))
                .await;
        }
    }
}
