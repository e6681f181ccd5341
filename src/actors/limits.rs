//! Limits on how often something is done that hold for all nodes together: each node tells the others now and then what was done
//! there, and they count it as if it had been done at them; those of a release that does not know of this count for themselves. Between two tellings nobody knows of the others' last, so that what is
//! spread over all nodes may exceed a limit by what they do in that time.
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::nodes::NodesHandle;
use super::remote::{Question, SHARED_SINCE};

/// Time between two tellings.
const TOLD_EVERY: Duration = Duration::from_millis(500);
/// Longest wait for a node to take one; what it misses by then it never hears of.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);

/// What was done at a node that is limited, since it last told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Which limit, by its name.
    pub limit: String,
    /// By or to whom, in words of the limit.
    pub key: String,
    /// How often.
    pub times: u32,
}

/// Limits that nodes share.
pub trait SharedLimits: Send + Sync {
    /// What was done here since this was last asked.
    fn done_here(&self) -> Vec<Done>;
    /// Counts what was done elsewhere.
    fn count(&self, done: &[Done]);
}

/// Tells the other nodes what is done here, for good.
pub async fn share(nodes: NodesHandle, limits: Arc<dyn SharedLimits>) {
    loop {
        tokio::time::sleep(TOLD_EVERY).await;
        let done = limits.done_here();
        let others = nodes.that_speak(SHARED_SINCE);
        if done.is_empty() || others.is_empty() {
            continue;
        }
        let question = Question::CountDone(done);
        let telling = others.iter().map(|node| nodes.ask(node, &question, TAKEN_WITHIN));
        for error in futures::future::join_all(telling).await.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "a node counts for itself for a while");
        }
    }
}
