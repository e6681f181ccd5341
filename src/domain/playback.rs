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

/// Share of a video, of 10 000, after which it counts as watched to the end.
const COMPLETED_PER_MYRIAD: u16 = 9_500;

impl WatchPosition {
    /// A viewer at `position_ms` of a video of `duration_ms` (0: unknown).
    pub fn at(user_id: UserId, video_id: VideoId, (position_ms, duration_ms): (u64, u64), now: Timestamp) -> Self {
        let position_ms = if duration_ms > 0 { position_ms.min(duration_ms) } else { position_ms };
        let share = (u128::from(position_ms) * 10_000).checked_div(u128::from(duration_ms)).unwrap_or(0);
        let watched_per_myriad = u16::try_from(share).unwrap_or(10_000);
        let completed = watched_per_myriad >= COMPLETED_PER_MYRIAD;
        Self { user_id, video_id, position_ms, watched_per_myriad, completed, updated_at: now }
    }
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
