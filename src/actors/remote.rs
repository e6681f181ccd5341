//! What nodes ask one another about actors that live elsewhere. Variants are only ever added, at the end, and none is ever changed, nor what
//! is in it: neighbouring releases understand one another. What a node does not know it is not asked, by the version of the protocol
//! that the two have agreed on ([`Question::since`]); what it does not understand all the same it answers with nothing, at once.
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::limits::{Done, SharedLimits};
use super::live_pull::{PullStats, PullsHandle};
use super::lives::LivesHandle;
use super::playback::{PlaybackError, PlaybackHandle};
use super::playback_derived::Fetch;
use super::transcodes::TranscodesHandle;
use crate::cluster::Answerer;
use crate::domain::ids::{LiveId, PlaybackId, PlaybackSessionId, VideoId};
use crate::domain::playback::machine::{Heartbeat, PlaybackMachine};
use crate::storage::codec::{self, Versioned};

/// The version of the protocol since which limits and pulls are shared by nodes.
pub(super) const SHARED_SINCE: u16 = 2;
/// The one since which players without beacons belong to one node.
pub(super) const FETCHED_SINCE: u16 = 3;

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
    /// Count what was fetched elsewhere by players without sessions of their own.
    CountFetched(Vec<Fetch>),
}

impl Question {
    /// The version of the protocol that it came with.
    pub fn since(&self) -> u16 {
        match self {
            Self::Heartbeat { .. }
            | Self::Throughput(_)
            | Self::MakeChunk { .. }
            | Self::HandOverLive(_)
            | Self::KeepSession(_)
            | Self::ReleaseSession(_) => 1,
            Self::CountDone(_) | Self::PullStats(_) | Self::PullChanged(_) | Self::IsFed(_) => SHARED_SINCE,
            Self::CountFetched(_) => FETCHED_SINCE,
        }
    }
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
#[derive(Clone)]
pub struct Switchboard {
    extensions: Arc<OnceLock<Extensions>>,
    /// Newest version of the protocol that this node is to speak.
    newest: u16,
}

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
    /// For a node that speaks no newer version of the protocol than this.
    pub fn new(newest: u16) -> Self {
        Self { extensions: Arc::default(), newest }
    }

    /// From now on these are asked.
    pub fn connect(&self, extensions: Extensions) {
        // A second time is a mistake that changes nothing.
        let _ = self.extensions.set(extensions);
    }

    /// What is asked, if this node knows of it; why not, in words.
    fn knows(&self, question: &[u8]) -> Result<Question, String> {
        let question: Question = codec::decode(question).map_err(|error| error.to_string())?;
        match question.since() {
            since if since > self.newest => Err(format!("it is of version {since} of the protocol")),
            _ => Ok(question),
        }
    }

    async fn reply(&self, question: Question) -> Option<Answer> {
        let Extensions { playback, transcodes, lives, pulls, limits } = self.extensions.get()?;
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
            Question::CountFetched(fetches) => {
                for fetch in fetches {
                    if let Err(error) = playback.fetched_here(fetch).await {
                        tracing::debug!(%error, "no session for a bare player");
                    }
                }
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
        let question = self.knows(&question);
        if let Err(reason) = &question {
            tracing::debug!(reason, "a question of another release");
            metrics::counter!("playhouse_cluster_questions_unknown_total").increment(1);
        }
        let answer = self.reply(question.ok()?).await?;
        codec::encode(&answer).ok().map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::live_pull::PullState;
    use crate::actors::playback_derived::Fetched;
    use crate::domain::playback::machine::{PlaybackLimits, PlaybackOpening, PlayerEvent};
    use crate::domain::time::Timestamp;

    #[tokio::test]
    async fn nothing_is_answered_that_is_not_understood() {
        let switchboard = Switchboard::new(*crate::cluster::wire::VERSIONS.end());
        let session = PlaybackSessionId::random(&crate::system::SystemEntropy);
        let question = codec::encode(&Question::Throughput(session)).unwrap();
        assert_eq!(switchboard.answer(question.into()).await, None, "nobody is connected yet");
        assert_eq!(switchboard.answer(Bytes::from_static(b"\x01\xff\xff")).await, None);
        assert_eq!(switchboard.answer(Bytes::new()).await, None);
        // The first variant that this program does not have.
        let mut newest = codec::encode(questions().last().unwrap()).unwrap();
        assert!(switchboard.knows(&newest).is_ok());
        newest[1] += 1;
        assert!(switchboard.knows(&newest).unwrap_err().contains("variant"));
        assert_eq!(switchboard.answer(newest.into()).await, None);
    }

    /// Every question and answer that there is, each with something in it, and its bytes as the release that came with it sends them.
    /// Lines are added and never changed: nodes of that release read nothing else.
    const FORMS: &str = include_str!("remote/forms.txt");

    fn id(prefix: &str) -> String {
        format!("{prefix}_{}", "2".repeat(22))
    }

    fn questions() -> Vec<Question> {
        let session: PlaybackSessionId = id(PlaybackSessionId::PREFIX).parse().unwrap();
        let video_id: VideoId = id(VideoId::PREFIX).parse().unwrap();
        let beat = Heartbeat {
            sequence: 300,
            position_ms: 70_000,
            rebuffers_ms: vec![5],
            startup_ms: Some(250),
            bit_rate: None,
            throughput: Some(5_000_000),
            events: vec![PlayerEvent::Play, PlayerEvent::Pause, PlayerEvent::Seek, PlayerEvent::End],
        };
        let done = Done { limit: "logins".into(), key: "somebody".into(), times: 3 };
        let live: LiveId = id(LiveId::PREFIX).parse().unwrap();
        vec![
            Question::Heartbeat { session: session.clone(), video_id: video_id.clone(), beat },
            Question::Throughput(session.clone()),
            Question::MakeChunk { video_id: video_id.clone(), generation: 2, chunk: 1000 },
            Question::HandOverLive(live.clone()),
            Question::KeepSession(machine(&session, &video_id)),
            Question::ReleaseSession(session),
            Question::CountDone(vec![done]),
            Question::PullStats(live.clone()),
            Question::PullChanged(live),
            Question::IsFed(id(PlaybackId::PREFIX).parse().unwrap()),
            Question::CountFetched(vec![
                Fetch { player: u64::MAX, what: Fetched::Manifest { video_id, duration_ms: 90_000 } },
                Fetch { player: 7, what: Fetched::Segment { media_ms: 4000 } },
            ]),
        ]
    }

    fn answers() -> Vec<Answer> {
        let session = id(PlaybackSessionId::PREFIX).parse().unwrap();
        let video_id = id(VideoId::PREFIX).parse().unwrap();
        let since = Timestamp::from_millis(1_790_000_000_000);
        let stats = PullStats { state: PullState::Failed, since, error: Some("refused".into()), failures: 2 };
        vec![
            Answer::Done,
            Answer::NoSession,
            Answer::OtherVideo,
            Answer::Unavailable,
            Answer::Throughput(Some(5_000_000)),
            Answer::Made(true),
            Answer::Session(Some(machine(&session, &video_id))),
            Answer::PullStats(Some(stats)),
            Answer::Fed(true),
        ]
    }

    fn machine(session: &PlaybackSessionId, video_id: &VideoId) -> Box<PlaybackMachine> {
        let limits = PlaybackLimits { idle_ms: 60_000, view_after_ms: 5_000 };
        let opening =
            PlaybackOpening { id: session.clone(), video_id: video_id.clone(), user_id: None, duration_ms: 90_000 };
        Box::new(PlaybackMachine::open(opening, limits, Timestamp::from_millis(1_790_000_000_000)))
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_is_asked_and_answered_has_the_form_that_it_came_with() {
        let questions =
            questions().into_iter().map(|it| format!("{} {}", it.since(), hex(&codec::encode(&it).unwrap())));
        let answers = answers().into_iter().map(|it| format!("- {}", hex(&codec::encode(&it).unwrap())));
        let forms: Vec<String> = questions.chain(answers).collect();
        assert_eq!(forms, FORMS.lines().collect::<Vec<_>>(), "a release in use does not understand what has changed");
    }

    #[tokio::test]
    async fn a_node_that_speaks_an_older_version_does_not_know_later_questions() {
        let (older, newest) = (Switchboard::new(1), Switchboard::new(*crate::cluster::wire::VERSIONS.end()));
        for question in questions() {
            let bytes = Bytes::from(codec::encode(&question).unwrap());
            assert_eq!(older.knows(&bytes).is_ok(), question.since() == 1, "{question:?}");
            assert!(newest.knows(&bytes).is_ok(), "{question:?}");
        }
    }
}
