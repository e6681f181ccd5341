//! Playback session: one viewer watching one video, from the first beacon or fetch to silence.
//! Supervised by `Playback`; restarted from what it was opened with. Every beacon is journalled before it is acknowledged,
//! so a crash of the process loses none: the node takes its open sessions up again.
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;

use super::describe::{DescribeReply, Description};
use super::playback::{JOURNAL_TREE, PlaybackError};
use super::reply::{AskError, Reply};
use crate::domain::ids::VideoId;
use crate::domain::playback::machine::{Heartbeat, PlaybackEffect, PlaybackInput, PlaybackMachine};
use crate::domain::playback::{SessionSummary, WatchPosition};
use crate::domain::ports::{Catalog, CatalogError, Clock, Journal, JournalBatch};
use crate::storage::codec;

/// What a session is started with.
pub struct PlaybackArguments {
    /// Its machine, new or as journalled.
    pub machine: PlaybackMachine,
    /// Counts views, keeps positions and summaries.
    pub catalog: Arc<dyn Catalog>,
    /// Keeps the machine over a crash.
    pub journal: Arc<dyn Journal>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// When to look for idleness first.
    pub idle: Duration,
}

/// What a session is told.
#[derive(RactorMessage)]
pub enum PlaybackMessage {
    /// A player's beacon; answered once it is journalled.
    TakeHeartbeat {
        /// The video the player says it is playing.
        video_id: VideoId,
        /// The beacon.
        beat: Heartbeat,
        /// The acknowledgement, and the session as it is then.
        reply: Reply<PlaybackMachine, PlaybackError>,
    },
    /// Another node goes on with it: end here without a sum.
    Release {
        /// What to go on from.
        reply: Reply<PlaybackMachine, AskError>,
    },
    /// A player without beacons fetched a segment.
    SegmentFetched {
        /// Its media time, milliseconds.
        media_ms: u64,
    },
    /// End for good; answered once the sums are stored.
    Close {
        /// The acknowledgement.
        reply: Reply<(), AskError>,
    },
    /// What is known of the viewer's connection?
    FindThroughput {
        /// Bits per second, when something is known.
        reply: Reply<Option<u64>, AskError>,
    },
    /// Describe yourself.
    Describe {
        /// The description.
        reply: DescribeReply,
    },
    /// The idle timer fired.
    IdleTimerFired,
    /// The sums are stored.
    SummaryStored,
}

/// A session's own state.
pub struct PlaybackState {
    machine: PlaybackMachine,
    catalog: Arc<dyn Catalog>,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    closing: Option<Vec<Reply<(), AskError>>>,
    /// Another node goes on with it.
    is_released: bool,
    /// The last journal write, awaited by the next: an older snapshot never overwrites a newer one.
    journalled: Option<tokio::task::JoinHandle<()>>,
}

pub(crate) struct PlaybackActor;

impl Actor for PlaybackActor {
    type Msg = PlaybackMessage;
    type State = PlaybackState;
    type Arguments = PlaybackArguments;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        me.send_after(arguments.idle, || PlaybackMessage::IdleTimerFired);
        Ok(PlaybackState {
            machine: arguments.machine,
            catalog: arguments.catalog,
            journal: arguments.journal,
            clock: arguments.clock,
            closing: None,
            is_released: false,
            journalled: None,
        })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PlaybackMessage::TakeHeartbeat { video_id, beat, reply } => {
                state.take_heartbeat(&me, &video_id, beat, reply)
            }
            PlaybackMessage::Release { reply } => state.release(&me, reply),
            PlaybackMessage::SegmentFetched { media_ms } => state.step(&me, PlaybackInput::Fetched { media_ms }),
            PlaybackMessage::Close { reply } => state.close(&me, reply),
            PlaybackMessage::FindThroughput { reply } => reply.send(Ok(state.machine.throughput())),
            PlaybackMessage::Describe { reply } => reply.send(Ok(state.describe())),
            PlaybackMessage::IdleTimerFired => state.step(&me, PlaybackInput::IdleChecked),
            PlaybackMessage::SummaryStored => {
                state.closing.take().into_iter().flatten().for_each(|reply| reply.send(Ok(())));
                me.stop(None);
            }
        }
        Ok(())
    }
}

impl PlaybackState {
    fn take_heartbeat(
        &mut self,
        me: &ActorRef<PlaybackMessage>,
        video_id: &VideoId,
        beat: Heartbeat,
        reply: Reply<PlaybackMachine, PlaybackError>,
    ) {
        if self.is_released {
            // It is not over: whoever repeats the beacon finds it where it is by then.
            return reply.send(Err(AskError::Gone.into()));
        }
        if self.closing.is_some() {
            return reply.send(Err(PlaybackError::NoSession));
        }
        if video_id != self.machine.video_id() {
            return reply.send(Err(PlaybackError::OtherVideo));
        }
        self.step(me, PlaybackInput::Heartbeat(beat));
        let (journalled, machine) = (self.journalled.take(), self.machine.clone());
        self.journalled = Some(tokio::spawn(async move {
            if let Some(written) = journalled {
                let _ = written.await;
            }
            reply.send(Ok(machine));
        }));
    }

    fn release(&mut self, me: &ActorRef<PlaybackMessage>, reply: Reply<PlaybackMachine, AskError>) {
        if self.closing.is_some() {
            return reply.send(Err(AskError::Gone));
        }
        (self.closing, self.is_released) = (Some(Vec::new()), true);
        let mut batch = JournalBatch::default();
        batch.removes.push((JOURNAL_TREE, self.machine.id().as_str().as_bytes().to_vec()));
        self.write_journal(batch);
        let (journalled, machine, me) = (self.journalled.take(), self.machine.clone(), me.clone());
        tokio::spawn(async move {
            if let Some(written) = journalled {
                let _ = written.await;
            }
            reply.send(Ok(machine));
            me.stop(None);
        });
    }

    fn close(&mut self, me: &ActorRef<PlaybackMessage>, reply: Reply<(), AskError>) {
        let is_first = self.closing.is_none();
        self.closing.get_or_insert_default().push(reply);
        if is_first {
            self.step(me, PlaybackInput::Closed);
        }
    }

    fn step(&mut self, me: &ActorRef<PlaybackMessage>, input: PlaybackInput) {
        let effects = self.machine.step(input, self.clock.now());
        for effect in effects {
            self.perform(me, effect);
        }
    }

    fn perform(&mut self, me: &ActorRef<PlaybackMessage>, effect: PlaybackEffect) {
        match effect {
            PlaybackEffect::CountView => self.count_view(),
            PlaybackEffect::SavePosition(position) => self.save_position(position),
            PlaybackEffect::Keep => self.keep(),
            PlaybackEffect::CheckIdleAfter(after) => {
                me.send_after(after, || PlaybackMessage::IdleTimerFired);
            }
            PlaybackEffect::End(summary) => self.end(me, summary),
        }
    }

    fn count_view(&self) {
        let (catalog, clock) = (Arc::clone(&self.catalog), Arc::clone(&self.clock));
        let (session, video) = (self.machine.id().clone(), self.machine.video_id().clone());
        metrics::counter!("playhouse_playback_views_total").increment(1);
        tokio::spawn(async move {
            if let Err(error) = catalog.count_view(&session, &video, clock.now()).await {
                tracing::error!(session.id = %session, %error, "view not counted");
            }
        });
    }

    fn save_position(&self, position: WatchPosition) {
        let catalog = Arc::clone(&self.catalog);
        tokio::spawn(async move {
            if let Err(error) = catalog.record_position(position).await {
                tracing::error!(%error, "watch position not stored");
            }
        });
    }

    fn keep(&mut self) {
        let key = self.machine.id().as_str().as_bytes().to_vec();
        let value = match codec::encode(&self.machine) {
            Ok(value) => value,
            Err(error) => return tracing::error!(%error, "playback session not journalled"),
        };
        let mut batch = JournalBatch::default();
        batch.puts.push((JOURNAL_TREE, key, value));
        self.write_journal(batch);
    }

    fn write_journal(&mut self, batch: JournalBatch) {
        let (journal, before) = (Arc::clone(&self.journal), self.journalled.take());
        self.journalled = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            if let Err(error) = journal.write(batch).await {
                tracing::error!(%error, "playback session not journalled");
            }
        }));
    }

    /// Stores the sums, then drops the journalled session; without the first the second waits for the next start.
    fn end(&mut self, me: &ActorRef<PlaybackMessage>, summary: SessionSummary) {
        self.closing.get_or_insert_default();
        let (catalog, journal, before) = (Arc::clone(&self.catalog), Arc::clone(&self.journal), self.journalled.take());
        let me = me.clone();
        tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let key = summary.id.as_str().as_bytes().to_vec();
            match catalog.record_session(summary).await {
                // Without its video there is nothing left to add the sums to.
                Ok(()) | Err(CatalogError::NotFound) => {
                    let mut batch = JournalBatch::default();
                    batch.removes.push((JOURNAL_TREE, key));
                    if let Err(error) = journal.write(batch).await {
                        tracing::error!(%error, "ended playback session not removed from the journal");
                    }
                }
                Err(error) => tracing::error!(%error, "playback session not stored, kept in the journal"),
            }
            let _ = me.cast(PlaybackMessage::SummaryStored);
        });
    }

    fn describe(&self) -> Description {
        Description::leaf("playback_session", self.machine.id(), &self.machine)
    }
}
