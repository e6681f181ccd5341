//! Who may feed a live stream, and how long it waits, as decisions alone.
//!
//! ```text
//! idle ──publisher──▶ live ──gone, and the grace is over, or ended by its owner──▶ ended (a permanent one: idle again)
//! ```
//! Publishing is a lease with a generation number: the newest publisher with the right key gets the next generation, and
//! whoever fed the stream before is fenced off at once. The viewers' playlists know nothing of it.
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LiveState;

/// A publisher's connection, numbered by the node that it reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublisherId(pub u64);

/// Choices that the life of a stream depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveLimits {
    /// How long a broadcast waits for its publisher's return.
    pub grace: Duration,
    /// Whether it can be published to again after its end.
    pub permanent: bool,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveInput {
    /// A publisher with the right key asks for the stream.
    Asked(PublisherId),
    /// The catalog has given the next generation to whom it was asked for.
    Leased {
        /// The new generation.
        generation: u64,
    },
    /// The catalog did not do it.
    NotLeased,
    /// The feed of this generation is over: its publisher has left or broken off.
    Left {
        /// Its generation.
        generation: u64,
    },
    /// The grace that was given at this generation is over.
    GraceOver {
        /// The generation at which it began.
        generation: u64,
    },
    /// The owner ends the broadcast.
    EndAsked,
    /// The stream key has changed: whoever used the old one is not wanted any more.
    KeyChanged,
}

/// What has to be done; in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveEffect {
    /// Have the catalog give the next generation to this publisher.
    Lease(PublisherId),
    /// Cut off the feed of this generation.
    Fence(u64),
    /// The stream goes live: a broadcast begins.
    Open,
    /// Let the publisher feed.
    Feed {
        /// Who.
        publisher: PublisherId,
        /// Under which generation.
        generation: u64,
    },
    /// Tell the publisher why it cannot.
    Refuse {
        /// Who.
        publisher: PublisherId,
        /// Why.
        refusal: Refusal,
    },
    /// Say [`LiveInput::GraceOver`] after this long.
    AwaitReturn {
        /// How long.
        grace: Duration,
        /// The generation that has left.
        generation: u64,
    },
    /// The broadcast ends; what was recorded becomes a video.
    Close,
}

/// Why a publisher may not feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The stream is over.
    #[error("this stream has ended")]
    Ended,
    /// Another publisher came while this one waited.
    #[error("another publisher has taken over")]
    TakenOver,
    /// The stream has another key now.
    #[error("the stream key has changed")]
    KeyChanged,
    /// The node that it has come to leaves the stream to others.
    #[error("this node takes no streams now, connect again")]
    Leaving,
    /// The catalog does not answer.
    #[error("the server cannot take streams right now, try again")]
    Unavailable,
}

/// Who feeds a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Feed {
    publisher: PublisherId,
    generation: u64,
}

/// The decisions of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveMachine {
    limits: LiveLimits,
    state: LiveState,
    feed: Option<Feed>,
    /// Whom a generation was asked for.
    leasing: Option<PublisherId>,
    /// The newest one that came meanwhile.
    waiting: Option<PublisherId>,
    /// Newest generation seen.
    generation: u64,
}

impl LiveMachine {
    /// A stream as the catalog has it. One that was live has lost its publisher with its node.
    pub fn new(limits: LiveLimits, state: LiveState, generation: u64) -> Self {
        Self { limits, state, feed: None, leasing: None, waiting: None, generation }
    }

    /// How far the stream is.
    pub fn state(&self) -> LiveState {
        self.state
    }

    /// Its owner has chosen anew.
    pub fn set_limits(&mut self, limits: LiveLimits) {
        self.limits = limits;
    }

    /// The generation that feeds now.
    pub fn feeding(&self) -> Option<u64> {
        self.feed.map(|feed| feed.generation)
    }

    /// What to do about what happened.
    pub fn step(&mut self, input: LiveInput) -> Vec<LiveEffect> {
        match input {
            LiveInput::Asked(publisher) => self.asked(publisher),
            LiveInput::Leased { generation } => self.leased(generation),
            LiveInput::NotLeased => self.not_leased(),
            LiveInput::Left { generation } => self.left(generation),
            LiveInput::GraceOver { generation } => self.grace_over(generation),
            LiveInput::EndAsked => self.end(),
            LiveInput::KeyChanged => self.key_changed(),
        }
    }

    fn asked(&mut self, publisher: PublisherId) -> Vec<LiveEffect> {
        if self.state == LiveState::Ended {
            return vec![LiveEffect::Refuse { publisher, refusal: Refusal::Ended }];
        }
        if self.leasing.is_none() {
            self.leasing = Some(publisher);
            return vec![LiveEffect::Lease(publisher)];
        }
        let overtaken = self.waiting.replace(publisher);
        overtaken.map(|publisher| LiveEffect::Refuse { publisher, refusal: Refusal::TakenOver }).into_iter().collect()
    }

    fn leased(&mut self, generation: u64) -> Vec<LiveEffect> {
        self.generation = self.generation.max(generation);
        let Some(publisher) = self.leasing.take() else { return Vec::new() };
        if self.state == LiveState::Ended {
            return vec![LiveEffect::Refuse { publisher, refusal: Refusal::Ended }];
        }
        let mut effects = self.fence();
        if let Some(newer) = self.waiting.take() {
            self.leasing = Some(newer);
            effects.push(LiveEffect::Refuse { publisher, refusal: Refusal::TakenOver });
            effects.push(LiveEffect::Lease(newer));
            return effects;
        }
        if self.state == LiveState::Idle {
            self.state = LiveState::Live;
            effects.push(LiveEffect::Open);
        }
        self.feed = Some(Feed { publisher, generation });
        effects.push(LiveEffect::Feed { publisher, generation });
        effects
    }

    fn not_leased(&mut self) -> Vec<LiveEffect> {
        let refused = [self.leasing.take(), self.waiting.take()];
        let refuse = |publisher| LiveEffect::Refuse { publisher, refusal: Refusal::Unavailable };
        refused.into_iter().flatten().map(refuse).collect()
    }

    fn left(&mut self, generation: u64) -> Vec<LiveEffect> {
        if self.feeding() != Some(generation) {
            return Vec::new();
        }
        self.feed = None;
        self.await_return(generation)
    }

    fn await_return(&self, generation: u64) -> Vec<LiveEffect> {
        if self.state != LiveState::Live || self.leasing.is_some() {
            return Vec::new();
        }
        vec![LiveEffect::AwaitReturn { grace: self.limits.grace, generation }]
    }

    fn grace_over(&mut self, generation: u64) -> Vec<LiveEffect> {
        let is_current = self.feed.is_none() && self.leasing.is_none() && generation == self.generation;
        if self.state == LiveState::Live && is_current { self.end() } else { Vec::new() }
    }

    fn end(&mut self) -> Vec<LiveEffect> {
        let was_live = self.state == LiveState::Live;
        let mut effects = self.fence();
        if self.limits.permanent {
            self.state = LiveState::Idle;
        } else {
            self.state = LiveState::Ended;
            let refuse = |publisher| LiveEffect::Refuse { publisher, refusal: Refusal::Ended };
            effects.extend(self.waiting.take().map(refuse));
        }
        if was_live {
            effects.push(LiveEffect::Close);
        }
        effects
    }

    fn key_changed(&mut self) -> Vec<LiveEffect> {
        let generation = self.feeding();
        let mut effects = self.fence();
        if let Some(generation) = generation {
            effects.extend(self.await_return(generation));
        }
        effects
    }

    fn fence(&mut self) -> Vec<LiveEffect> {
        self.feed.take().map(|feed| LiveEffect::Fence(feed.generation)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);
    const A: PublisherId = PublisherId(1);
    const B: PublisherId = PublisherId(2);
    const C: PublisherId = PublisherId(3);

    fn machine(permanent: bool) -> LiveMachine {
        LiveMachine::new(LiveLimits { grace: GRACE, permanent }, LiveState::Idle, 0)
    }

    fn live() -> LiveMachine {
        let mut machine = machine(false);
        assert_eq!(machine.step(LiveInput::Asked(A)), [LiveEffect::Lease(A)]);
        let effects = machine.step(LiveInput::Leased { generation: 1 });
        assert_eq!(effects, [LiveEffect::Open, LiveEffect::Feed { publisher: A, generation: 1 }]);
        machine
    }

    fn refuse(publisher: PublisherId, refusal: Refusal) -> LiveEffect {
        LiveEffect::Refuse { publisher, refusal }
    }

    #[test]
    fn the_newest_publisher_wins_and_the_older_is_fenced() {
        let mut machine = live();
        assert_eq!(machine.step(LiveInput::Asked(B)), [LiveEffect::Lease(B)]);
        let effects = machine.step(LiveInput::Leased { generation: 2 });
        assert_eq!(effects, [LiveEffect::Fence(1), LiveEffect::Feed { publisher: B, generation: 2 }]);
        assert_eq!(machine.step(LiveInput::Left { generation: 1 }), [], "what was fenced may go");
        assert_eq!((machine.state(), machine.feeding()), (LiveState::Live, Some(2)));
    }

    #[test]
    fn of_many_that_come_at_once_the_last_one_feeds() {
        let mut machine = machine(false);
        assert_eq!(machine.step(LiveInput::Asked(A)), [LiveEffect::Lease(A)]);
        assert_eq!(machine.step(LiveInput::Asked(B)), []);
        assert_eq!(machine.step(LiveInput::Asked(C)), [refuse(B, Refusal::TakenOver)]);
        let effects = machine.step(LiveInput::Leased { generation: 1 });
        assert_eq!(effects, [refuse(A, Refusal::TakenOver), LiveEffect::Lease(C)]);
        let effects = machine.step(LiveInput::Leased { generation: 2 });
        assert_eq!(effects, [LiveEffect::Open, LiveEffect::Feed { publisher: C, generation: 2 }]);
    }

    #[test]
    fn a_broadcast_waits_for_its_publisher_and_then_ends() {
        let mut machine = live();
        let waits = [LiveEffect::AwaitReturn { grace: GRACE, generation: 1 }];
        assert_eq!(machine.step(LiveInput::Left { generation: 1 }), waits);
        assert_eq!(machine.step(LiveInput::Asked(B)), [LiveEffect::Lease(B)]);
        assert_eq!(machine.step(LiveInput::GraceOver { generation: 1 }), [], "somebody is coming");
        machine.step(LiveInput::Leased { generation: 2 });
        assert_eq!(machine.step(LiveInput::GraceOver { generation: 1 }), [], "somebody is here");
        machine.step(LiveInput::Left { generation: 2 });
        assert_eq!(machine.step(LiveInput::GraceOver { generation: 1 }), [], "an older grace");
        assert_eq!(machine.step(LiveInput::GraceOver { generation: 2 }), [LiveEffect::Close]);
        assert_eq!(machine.state(), LiveState::Ended);
        assert_eq!(machine.step(LiveInput::Asked(C)), [refuse(C, Refusal::Ended)]);
        assert_eq!(machine.step(LiveInput::EndAsked), [], "ending twice changes nothing");
    }

    #[test]
    fn the_owner_ends_it_and_a_permanent_one_can_be_used_again() {
        let mut ended = live();
        assert_eq!(ended.step(LiveInput::EndAsked), [LiveEffect::Fence(1), LiveEffect::Close]);
        let mut permanent = machine(true);
        permanent.step(LiveInput::Asked(A));
        permanent.step(LiveInput::Leased { generation: 1 });
        assert_eq!(permanent.step(LiveInput::EndAsked), [LiveEffect::Fence(1), LiveEffect::Close]);
        assert_eq!(permanent.state(), LiveState::Idle);
        permanent.step(LiveInput::Asked(B));
        let effects = permanent.step(LiveInput::Leased { generation: 2 });
        assert_eq!(effects, [LiveEffect::Open, LiveEffect::Feed { publisher: B, generation: 2 }]);
    }

    #[test]
    fn a_new_key_drops_the_publisher_but_not_the_broadcast() {
        let mut machine = live();
        let effects = machine.step(LiveInput::KeyChanged);
        assert_eq!(effects, [LiveEffect::Fence(1), LiveEffect::AwaitReturn { grace: GRACE, generation: 1 }]);
        assert_eq!(machine.state(), LiveState::Live);
        assert_eq!(machine.step(LiveInput::GraceOver { generation: 1 }), [LiveEffect::Close]);
        assert_eq!(self::machine(false).step(LiveInput::KeyChanged), []);
    }

    #[test]
    fn without_the_catalog_nobody_publishes() {
        let mut machine = machine(false);
        machine.step(LiveInput::Asked(A));
        machine.step(LiveInput::Asked(B));
        let effects = machine.step(LiveInput::NotLeased);
        assert_eq!(effects, [refuse(A, Refusal::Unavailable), refuse(B, Refusal::Unavailable)]);
        assert_eq!(machine.step(LiveInput::Asked(C)), [LiveEffect::Lease(C)], "the next one may try");
        machine.step(LiveInput::EndAsked);
        assert_eq!(machine.step(LiveInput::Leased { generation: 1 }), [refuse(C, Refusal::Ended)]);
    }

    #[test]
    fn a_stream_that_was_live_when_its_node_ended_can_go_on_or_end() {
        let limits = LiveLimits { grace: GRACE, permanent: false };
        let mut machine = LiveMachine::new(limits, LiveState::Live, 4);
        assert_eq!(machine.step(LiveInput::GraceOver { generation: 4 }), [LiveEffect::Close]);
        let mut machine = LiveMachine::new(limits, LiveState::Live, 4);
        machine.step(LiveInput::Asked(A));
        let effects = machine.step(LiveInput::Leased { generation: 5 });
        assert_eq!(effects, [LiveEffect::Feed { publisher: A, generation: 5 }]);
    }
}
