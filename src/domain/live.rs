//! Live streams: what a creator says of one, and how far it is.
use serde::{Deserialize, Serialize};

use sha2::{Digest, Sha256};

use self::pull::Pull;
use self::push::Push;
use super::asset::Extent;
use super::ids::{ChannelId, LiveId, PlaybackId, UserId, VideoId};
use super::ports::Entropy;
use super::time::Timestamp;
use super::video::{InvalidField, MediaInfo, Rendition, VideoDetails, text_enum};

pub mod machine;
pub mod priority;
pub mod pull;
pub mod push;

text_enum!(
    /// How far a live stream is.
    LiveState {
        /// Nobody has published yet, or a permanent stream waits for its next broadcast.
        Idle = "idle",
        /// A broadcast is going on, its publisher possibly away for a moment.
        Live = "live",
        /// Over; its video stays.
        Ended = "ended",
    }
);

text_enum!(
    /// What viewers' players are to aim at.
    LatencyMode {
        /// Parts: about two seconds behind.
        Low = "low",
        /// Whole segments, from the next broadcast on: fewer requests, longer buffers.
        Normal = "normal",
    }
);

text_enum!(
    /// Which renditions viewers get.
    LadderChoice {
        /// What the publisher sends, as it is.
        Source = "source",
        /// Smaller ones besides, encoded while the stream goes on.
        Full = "full",
    }
);

/// Longest window that viewers can go back in, milliseconds: 12 hours.
pub const WINDOW_MS_MAX: u64 = 12 * 3600 * 1000;
/// Shortest one: what players need to play at all.
pub const WINDOW_MS_MIN: u64 = 30 * 1000;

/// Choices of a live stream's owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveChoices {
    /// What viewers' players aim at.
    pub latency: LatencyMode,
    /// How far back viewers can go, milliseconds.
    pub window_ms: u64,
    /// Whether a broadcast becomes a video when it ends.
    pub archive: bool,
    /// Whether it can be published to again after a broadcast.
    pub permanent: bool,
    /// Which renditions viewers get.
    #[serde(default = "LiveChoices::source")]
    pub ladder: LadderChoice,
}

impl Default for LiveChoices {
    fn default() -> Self {
        Self {
            latency: LatencyMode::Low,
            window_ms: 3600 * 1000,
            archive: true,
            permanent: false,
            ladder: Self::source(),
        }
    }
}

impl LiveChoices {
    /// What streams have for which nothing was chosen.
    const fn source() -> LadderChoice {
        LadderChoice::Source
    }

    /// Checks every field's limits.
    pub fn validate(&self) -> Result<(), InvalidField> {
        if (WINDOW_MS_MIN..=WINDOW_MS_MAX).contains(&self.window_ms) {
            return Ok(());
        }
        let message = format!("must be {} to {} seconds", WINDOW_MS_MIN / 1000, WINDOW_MS_MAX / 1000);
        Err(InvalidField { field: "dvr_window", message })
    }
}

/// Random bytes of a stream key: 128 bits.
const KEY_BYTES: usize = 16;

/// What a publisher shows: whoever knows it may feed the stream.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamKey(String);

impl StreamKey {
    /// A new one.
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; KEY_BYTES];
        entropy.fill(&mut bytes);
        Self(bs58::encode(bytes).into_string())
    }

    /// As a publisher or the catalog gives it.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The key itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the catalog finds it by: SHA-256, hexadecimal.
    pub fn hash(&self) -> String {
        Sha256::digest(&self.0).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamKey")
    }
}

/// A stream key as the catalog keeps it: found by its digest, shown to its owner from the sealed copy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// SHA-256 of the key, hexadecimal.
    pub hash: String,
    /// The key, sealed under the node's or cluster's secret.
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredKey")
    }
}

/// What viewers see while the publisher of a broadcast is away, instead of nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slate {
    /// The owner's picture as a clip that can be repeated: H.264 in MP4.
    pub clip: Extent,
    /// The picture: JPEG.
    pub picture: Extent,
}

/// What media are encrypted with on their way from a publisher (SRT): between 10 and 79 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(String);

impl Passphrase {
    /// As its owner chooses it: 10 to 79 characters of ASCII that can be seen.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidField> {
        let text = text.into();
        if (10..=79).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text));
        }
        let message = "must be 10 to 79 letters, digits and signs of ASCII, without spaces".to_owned();
        Err(InvalidField { field: "srt_passphrase", message })
    }

    /// The passphrase itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase")
    }
}

/// A passphrase as the catalog keeps it: sealed like a stream key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPassphrase(pub Vec<u8>);

impl std::fmt::Debug for SealedPassphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedPassphrase")
    }
}

/// A live stream's whole record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Its id.
    pub id: LiveId,
    /// What its media URLs are named by, for its whole life.
    pub playback_id: PlaybackId,
    /// Whose it is.
    pub user_id: UserId,
    /// The channel it belongs to.
    pub channel_id: ChannelId,
    /// Title, description, category, tags and privacy.
    pub details: VideoDetails,
    /// Its owner's choices.
    pub choices: LiveChoices,
    /// Its stream key.
    pub key: StoredKey,
    /// What its publishers encrypt with over SRT, if they have to.
    pub passphrase: Option<SealedPassphrase>,
    /// What is shown while its publisher is away.
    pub slate: Option<Slate>,
    /// Other servers that its broadcasts are pushed to.
    pub pushes: Vec<Push>,
    /// Where it is fetched from, if nobody has to send it.
    pub pull: Option<Pull>,
    /// How far it is.
    pub state: LiveState,
    /// Generation of the newest publishing lease; 0 before the first.
    pub generation: u64,
    /// The video of its last broadcast.
    pub video_id: Option<VideoId>,
    /// What the broadcast under way will be as a video, while it is recorded.
    pub recording: Option<VideoId>,
    /// When its last broadcast began.
    pub started_at: Option<Timestamp>,
    /// When its last broadcast ended.
    pub ended_at: Option<Timestamp>,
    /// Increases with each change; what ETags are made of.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// A change to a live stream by its owner; `None` leaves a part as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LivePatch {
    /// New details.
    pub details: Option<VideoDetails>,
    /// New choices.
    pub choices: Option<LiveChoices>,
    /// A new stream key.
    pub key: Option<StoredKey>,
    /// A new passphrase, or none any more.
    pub passphrase: Option<Option<SealedPassphrase>>,
    /// A new slate, or none any more.
    pub slate: Option<Option<Slate>>,
    /// All that it is pushed to.
    pub pushes: Option<Vec<Push>>,
    /// Where it is fetched from, or from nowhere any more.
    pub pull: Option<Option<Pull>>,
}

/// A step in a live stream's life; each is one transaction with its event.
#[derive(Debug, Clone, PartialEq)]
pub enum LiveStep {
    /// A broadcast has begun.
    Opened {
        /// What it will be as a video, if it is recorded.
        recording: Option<VideoId>,
    },
    /// The broadcast is over.
    Closed {
        /// The video that it is from now on, if it was recorded.
        archive: Option<Box<Archive>>,
    },
}

/// A recorded broadcast as a video: its details are those of its stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Archive {
    /// Its id.
    pub video_id: VideoId,
    /// What its media URLs are named by.
    pub playback_id: PlaybackId,
    /// What is in it.
    pub media: MediaInfo,
    /// Its renditions.
    pub renditions: Vec<Rendition>,
    /// All its blobs, the index of generation 1 included.
    pub blobs: Vec<Extent>,
}
