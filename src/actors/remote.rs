//! What nodes ask one another about actors that live elsewhere. Variants are only ever added, at the end: neighbouring releases
//! understand one another, and what one does not know it does not answer.
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::limits::{Done, SharedLimits};
use super::live_pull::{PullStats, PullsHandle};
use super::lives::LivesHandle;
use super::playback::{PlaybackError, PlaybackHandle};
use super::transcodes::TranscodesHandle;
use crate::cluster::Answerer;
use crate::domain::ids::{LiveId, PlaybackId, PlaybackSessionId, VideoId};
use crate::domain::playback::machine::{Heartbeat, PlaybackMachine};
use crate::storage::codec::{self, Versioned};

/// A question to another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// A viewer's beacon.
    Heartbeat {
        /// Of this session.
        session: PlaybackSessionId,
        /// Which is of this video.
        video_id: VideoId,
        /// The beacon.
        beat: Heartbeat,
    },
    /// What is known of the connection of a session's viewer.
    Throughput(PlaybackSessionId),
    /// Have a chunk made before its turn.
    MakeChunk {
        /// Of this video.
        video_id: VideoId,
        /// By this plan.
        generation: u32,
        /// Its number.
        chunk: u32,
    },
    /// Let go of a broadcast: its publisher has come to another node.
    HandOverLive(LiveId),
    /// Keep a copy of a session.
    KeepSession(Box<PlaybackMachine>),
    /// Let go of a session: its beacons go to the asker now.
    ReleaseSession(PlaybackSessionId),
    /// Count what was done elsewhere that is limited.
    CountDone(Vec<Done>),
    /// How does a pull do?
    PullStats(LiveId),
    /// The record of a pull has changed.
    PullChanged(LiveId),
    /// Does somebody feed the stream that is played under this id?
    IsFed(PlaybackId),
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// It was done.
    Done,
    /// There is no such session.
    NoSession,
    /// The session is of another video.
    OtherVideo,
    /// It cannot be done now.
    Unavailable,
    /// Bits per second, when that is known.
    Throughput(Option<u64>),
    /// Whether the chunk is made.
    Made(bool),
    /// A session, if there is one.
    Session(Option<Box<PlaybackMachine>>),
    /// How a pull does, if there is one.
    PullStats(Option<PullStats>),
    /// Whether somebody feeds it.
    Fed(bool),
}

impl Versioned for Question {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 << 20;
}

impl Versioned for Answer {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 << 20;
}

impl From<Result<(), PlaybackError>> for Answer {
    fn from(outcome: Result<(), PlaybackError>) -> Self {
        match outcome {
            Ok(()) => Self::Done,
            Err(PlaybackError::NoSession) => Self::NoSession,
            Err(PlaybackError::OtherVideo) => Self::OtherVideo,
            Err(PlaybackError::Unavailable(_)) => Self::Unavailable,
        }
    }
}

/// Answers for the actors of this node, once there are any.
#[derive(Clone, Default)]
pub struct Switchboard(Arc<OnceLock<Extensions>>);

/// Who answers.
pub struct Extensions {
    /// About sessions of viewers.
    pub playback: PlaybackHandle,
    /// About chunks.
    pub transcodes: TranscodesHandle,
    /// About broadcasts.
    pub lives: LivesHandle,
    /// About what is fetched.
    pub pulls: PullsHandle,
    /// What all nodes count together.
    pub limits: Arc<dyn SharedLimits>,
}

impl Switchboard {
    /// From now on these are asked.
    pub fn connect(&self, extensions: Extensions) {
        // A second time is a mistake that changes nothing.
        let _ = self.0.set(extensions);
    }

    async fn reply(&self, question: Question) -> Option<Answer> {
        let Extensions { playback, transcodes, lives, pulls, limits } = self.0.get()?;
        Some(match question {
            Question::Heartbeat { session, video_id, beat } => {
                playback.heartbeat_here(session, video_id, beat).await.into()
            }
            Question::Throughput(session) => Answer::Throughput(playback.throughput_here(session).await),
            Question::KeepSession(machine) => {
                playback.copies.keep(*machine);
                Answer::Done
            }
            Question::CountDone(done) => {
                limits.count(&done);
                Answer::Done
            }
            Question::PullStats(id) => match pulls.stats_here(&id).await {
                Ok(stats) => Answer::PullStats(stats),
                Err(_) => Answer::Unavailable,
            },
            Question::IsFed(id) => Answer::Fed(lives.is_fed_here(&id)),
            Question::PullChanged(id) => match pulls.changed(&id).await {
                Ok(()) => Answer::Done,
                Err(_) => Answer::Unavailable,
            },
            Question::ReleaseSession(session) => Answer::Session(playback.release_here(&session).await),
            Question::HandOverLive(id) => match lives.hand_over(&id).await {
                Ok(()) => Answer::Done,
                Err(_) => Answer::Unavailable,
            },
            Question::MakeChunk { video_id, generation, chunk } => {
                match transcodes.make_chunk_here(&video_id, generation, chunk).await {
                    Some(is_made) => Answer::Made(is_made),
                    None => Answer::Unavailable,
                }
            }
        })
    }
}

#[async_trait]
impl Answerer for Switchboard {
    async fn answer(&self, question: Bytes) -> Option<Bytes> {
        let question =
            codec::decode(&question).inspect_err(|error| tracing::debug!(%error, "a question of another release"));
        let answer = self.reply(question.ok()?).await?;
        codec::encode(&answer).ok().map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_answered_that_is_not_understood() {
        let switchboard = Switchboard::default();
        let session = PlaybackSessionId::random(&crate::system::SystemEntropy);
        let question = codec::encode(&Question::Throughput(session)).unwrap();
        assert_eq!(switchboard.answer(question.into()).await, None, "nobody is connected yet");
        assert_eq!(switchboard.answer(Bytes::from_static(b"\x01\xff\xff")).await, None);
        assert_eq!(switchboard.answer(Bytes::new()).await, None);
    }
}
