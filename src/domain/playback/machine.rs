//! What one viewer session adds up to: a pure machine fed with beacons, fetches and time.
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{SessionSummary, WatchPosition};
use crate::domain::ids::{PlaybackSessionId, UserId, VideoId};
use crate::domain::time::Timestamp;

/// Positions are written to the catalog at least this far apart, unless the viewer paused, sought or reached the end:
/// beacons of many viewers must not become a write each.
const POSITION_SAVE_INTERVAL: Duration = Duration::from_secs(30);
/// Fastest playback rate believed when watched time is taken from positions.
const RATE_MAX: u64 = 4;

/// When sessions count and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaybackLimits {
    /// A session that was silent for this long has ended, milliseconds.
    pub idle_ms: u64,
    /// Watched time after which a session counts as a view, milliseconds.
    pub view_after_ms: u64,
}

/// What a player did, in order, since its last beacon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlayerEvent {
    /// Started or went on.
    Play,
    /// Paused.
    Pause,
    /// Jumped.
    Seek,
    /// Reached the end.
    End,
}

/// One beacon.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Sequence number within the session; a repeated one changes nothing.
    pub sequence: u64,
    /// Position, milliseconds.
    pub position_ms: u64,
    /// Lengths of the rebufferings since the last beacon, milliseconds.
    pub rebuffers_ms: Vec<u64>,
    /// Time to the first frame as the player measured it, milliseconds.
    pub startup_ms: Option<u64>,
    /// Bit rate being played, bits per second.
    pub bit_rate: Option<u64>,
    /// Throughput of the connection as the player measured it, bits per second.
    pub throughput: Option<u64>,
    /// What happened since the last beacon.
    pub events: Vec<PlayerEvent>,
}

/// What a session is told.
#[derive(Debug, Clone, PartialEq)]
pub enum PlaybackInput {
    /// A beacon came.
    Heartbeat(Heartbeat),
    /// A player without beacons fetched this much media, milliseconds.
    Fetched {
        /// Media time of the segment.
        media_ms: u64,
    },
    /// The idle timer fired.
    IdleChecked,
    /// The node is stopping or the viewer left for good.
    Closed,
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq)]
pub enum PlaybackEffect {
    /// Count one view.
    CountView,
    /// Store where the viewer is.
    SavePosition(WatchPosition),
    /// Keep the machine itself, so that a crash loses nothing.
    Keep,
    /// Look again after this time.
    CheckIdleAfter(Duration),
    /// The session is over.
    End(SessionSummary),
}

/// Which sequence numbers were seen: the highest and the 64 below it, so that beacons may overtake one another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SeenSequences {
    next: u64,
    before: u64,
}

impl SeenSequences {
    /// Whether `sequence` is new; remembers it.
    fn insert(&mut self, sequence: u64) -> bool {
        if sequence >= self.next {
            let shift = (sequence - self.next).saturating_add(1);
            self.before = if shift > 64 { 0 } else { self.before.checked_shl(shift as u32).unwrap_or(0) };
            if self.next > 0 && (1..=64).contains(&shift) {
                self.before |= 1u64 << (shift - 1);
            }
            self.next = sequence.saturating_add(1);
            // bit n of `before` stands for `next - 2 - n`
            return true;
        }
        if sequence + 1 == self.next {
            return false;
        }
        let age = self.next - 2 - sequence;
        if age >= 64 || self.before >> age & 1 == 1 {
            return false;
        }
        self.before |= 1 << age;
        true
    }
}

/// One viewer session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlaybackMachine {
    id: PlaybackSessionId,
    video_id: VideoId,
    user_id: Option<UserId>,
    duration_ms: u64,
    limits: PlaybackLimits,
    opened_at: Timestamp,
    seen_at: Timestamp,
    beat_at: Timestamp,
    saved_at: Timestamp,
    sequences: SeenSequences,
    is_playing: bool,
    viewed: bool,
    completed: bool,
    position_ms: u64,
    startup_ms: Option<u64>,
    watch_ms: u64,
    rebuffer_count: u32,
    rebuffer_ms: u64,
    rated_ms: u64,
    rated_bits: u64,
    seek_count: u32,
    throughput: Option<u64>,
}

/// Who watches what.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaybackOpening {
    /// The session.
    pub id: PlaybackSessionId,
    /// What is watched.
    pub video_id: VideoId,
    /// By whom, when signed in.
    pub user_id: Option<UserId>,
    /// Length of the video, milliseconds.
    pub duration_ms: u64,
}

impl PlaybackMachine {
    /// Opens a session.
    pub fn open(opening: PlaybackOpening, limits: PlaybackLimits, now: Timestamp) -> Self {
        Self {
            id: opening.id,
            video_id: opening.video_id,
            user_id: opening.user_id,
            duration_ms: opening.duration_ms,
            limits,
            opened_at: now,
            seen_at: now,
            beat_at: now,
            saved_at: now,
            sequences: SeenSequences::default(),
            is_playing: false,
            viewed: false,
            completed: false,
            position_ms: 0,
            startup_ms: None,
            watch_ms: 0,
            rebuffer_count: 0,
            rebuffer_ms: 0,
            rated_ms: 0,
            rated_bits: 0,
            seek_count: 0,
            throughput: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> &PlaybackSessionId {
        &self.id
    }

    /// When its viewer was last heard of.
    pub fn seen_at(&self) -> Timestamp {
        self.seen_at
    }

    /// What is watched.
    pub fn video_id(&self) -> &VideoId {
        &self.video_id
    }

    /// The latest that is known of the viewer's connection, bits per second: what the player measured, else what it played.
    pub fn throughput(&self) -> Option<u64> {
        self.throughput
    }

    /// Takes one input.
    pub fn step(&mut self, input: PlaybackInput, now: Timestamp) -> Vec<PlaybackEffect> {
        match input {
            PlaybackInput::Heartbeat(beat) => self.heartbeat(&beat, now),
            PlaybackInput::Fetched { media_ms } => self.fetched(media_ms, now),
            PlaybackInput::IdleChecked => self.idle_checked(now),
            PlaybackInput::Closed => self.end(now),
        }
    }

    fn heartbeat(&mut self, beat: &Heartbeat, now: Timestamp) -> Vec<PlaybackEffect> {
        self.seen_at = now;
        let is_latest = beat.sequence >= self.sequences.next;
        if !self.sequences.insert(beat.sequence) {
            return Vec::new();
        }
        self.rebuffer_count =
            self.rebuffer_count.saturating_add(u32::try_from(beat.rebuffers_ms.len()).unwrap_or(u32::MAX));
        self.rebuffer_ms = beat.rebuffers_ms.iter().fold(self.rebuffer_ms, |sum, ms| sum.saturating_add(*ms));
        self.startup_ms = self.startup_ms.or(beat.startup_ms);
        if is_latest {
            self.throughput = beat.throughput.or(beat.bit_rate).or(self.throughput);
            self.advance(beat, now);
        }
        let mut effects = vec![PlaybackEffect::Keep];
        effects.extend(self.view_if_earned());
        let stopped = beat.events.iter().any(|event| *event != PlayerEvent::Play);
        if is_latest && (stopped || now.since(self.saved_at) >= POSITION_SAVE_INTERVAL) {
            effects.extend(self.save_position(now));
        }
        effects
    }

    /// Adds what was watched since the last beacon: from positions where no jump lies between, else from the clock.
    fn advance(&mut self, beat: &Heartbeat, now: Timestamp) {
        let seeks = beat.events.iter().filter(|event| **event == PlayerEvent::Seek).count();
        self.seek_count = self.seek_count.saturating_add(u32::try_from(seeks).unwrap_or(u32::MAX));
        let elapsed_ms = u64::try_from(now.since(self.beat_at).as_millis()).unwrap_or(u64::MAX);
        let was_playing = self.is_playing || beat.events.contains(&PlayerEvent::Play);
        let stalled_ms: u64 = beat.rebuffers_ms.iter().fold(0u64, |sum, ms| sum.saturating_add(*ms));
        let watched = if seeks > 0 {
            if was_playing { elapsed_ms.saturating_sub(stalled_ms) } else { 0 }
        } else {
            beat.position_ms.saturating_sub(self.position_ms).min(elapsed_ms.saturating_mul(RATE_MAX))
        };
        self.watch_ms = self.watch_ms.saturating_add(watched);
        if let Some(rate) = beat.bit_rate {
            self.rated_ms = self.rated_ms.saturating_add(watched);
            self.rated_bits = self.rated_bits.saturating_add(rate.saturating_mul(watched) / 1000);
        }
        for event in &beat.events {
            self.is_playing = *event == PlayerEvent::Play || (*event == PlayerEvent::Seek && self.is_playing);
            self.completed |= *event == PlayerEvent::End;
        }
        self.position_ms = if self.duration_ms > 0 { beat.position_ms.min(self.duration_ms) } else { beat.position_ms };
        self.beat_at = now;
    }

    fn fetched(&mut self, media_ms: u64, now: Timestamp) -> Vec<PlaybackEffect> {
        self.seen_at = now;
        self.watch_ms = self.watch_ms.saturating_add(media_ms);
        self.view_if_earned().into_iter().collect()
    }

    fn view_if_earned(&mut self) -> Option<PlaybackEffect> {
        let needed = if self.duration_ms > 0 {
            self.limits.view_after_ms.min(self.duration_ms)
        } else {
            self.limits.view_after_ms
        };
        if self.viewed || (self.watch_ms < needed && !self.completed) {
            return None;
        }
        self.viewed = true;
        Some(PlaybackEffect::CountView)
    }

    fn save_position(&mut self, now: Timestamp) -> Option<PlaybackEffect> {
        self.saved_at = now;
        let mut position =
            WatchPosition::at(self.user_id.clone()?, self.video_id.clone(), (self.position_ms, self.duration_ms), now);
        position.completed |= self.completed;
        Some(PlaybackEffect::SavePosition(position))
    }

    fn idle_checked(&mut self, now: Timestamp) -> Vec<PlaybackEffect> {
        let idle = Duration::from_millis(self.limits.idle_ms);
        let silent = now.since(self.seen_at);
        if silent < idle {
            return vec![PlaybackEffect::CheckIdleAfter(idle - silent)];
        }
        self.end(now)
    }

    fn end(&mut self, now: Timestamp) -> Vec<PlaybackEffect> {
        let mut effects = Vec::new();
        if self.sequences.next > 0 {
            effects.extend(self.save_position(now));
        }
        effects.push(PlaybackEffect::End(self.summary()));
        effects
    }

    fn summary(&self) -> SessionSummary {
        SessionSummary {
            id: self.id.clone(),
            video_id: self.video_id.clone(),
            user_id: self.user_id.clone(),
            opened_at: self.opened_at,
            ended_at: self.seen_at,
            viewed: self.viewed,
            startup_ms: self.startup_ms,
            watch_ms: self.watch_ms,
            rebuffer_count: self.rebuffer_count,
            rebuffer_ms: self.rebuffer_ms,
            average_bit_rate: self.rated_bits.saturating_mul(1000).checked_div(self.rated_ms).unwrap_or(0),
            seek_count: self.seek_count,
            position_ms: self.position_ms,
        }
    }
}

#[cfg(test)]
mod tests;
