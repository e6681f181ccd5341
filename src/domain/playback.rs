//! Watching: records and beacons of one viewer session. The machine that counts is in `machine`.
use serde::{Deserialize, Serialize};

pub mod machine;

use super::ids::{PlaybackSessionId, UserId, VideoId};
use super::time::Timestamp;

/// Where a viewer left off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchPosition {
    /// Who.
    pub user_id: UserId,
    /// What.
    pub video_id: VideoId,
    /// Position, milliseconds.
    pub position_ms: u64,
    /// Watched share, hundredths of a percent.
    pub watched_per_myriad: u16,
    /// Whether it was watched to the end.
    pub completed: bool,
    /// When it was last moved.
    pub updated_at: Timestamp,
}

/// What one session came to; written once when it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// The session.
    pub id: PlaybackSessionId,
    /// What was watched.
    pub video_id: VideoId,
    /// Who watched, when signed in.
    pub user_id: Option<UserId>,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Whether it counted as a view.
    pub viewed: bool,
    /// Time from opening to the first frame as the player measured it, milliseconds.
    pub startup_ms: Option<u64>,
    /// Time watched, milliseconds.
    pub watch_ms: u64,
    /// Number of rebufferings after start.
    pub rebuffer_count: u32,
    /// Time spent rebuffering, milliseconds.
    pub rebuffer_ms: u64,
    /// Bit rate weighted by time watched, bits per second.
    pub average_bit_rate: u64,
    /// Number of seeks.
    pub seek_count: u32,
    /// Last position, milliseconds.
    pub position_ms: u64,
}
