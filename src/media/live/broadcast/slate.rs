//! The slate: what viewers get while the publisher is away, as a visit of nobody's. It has the tracks of the visit before it,
//! pictures from the owner's clip and silence; its segments are as long as those before it.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Broadcast, Cut, Visit};
use crate::domain::asset::{Ticks, TrackKind};
use crate::domain::time::Timestamp;
use crate::media::frames::TrackConfig;
use crate::media::live::ring::MICROS;
use crate::media::live::slate::{FRAMES_PER_SEC, SILENCE, SILENCE_SAMPLES, SlateClip, silence};
use crate::media::live::timeline::{IngestClock, Stamp};
use crate::media::packager::init_segment;

const CLOCK: IngestClock = IngestClock::MPEG_TS;

/// How far it is shown.
#[derive(Debug)]
pub(super) struct Shown {
    clip: Arc<SlateClip>,
    /// Where it starts on the stream's timeline, microseconds.
    start: i64,
    /// Frames of the clip so far, and the one of them that was a key frame last.
    frames: u32,
    key: u32,
    /// Packets of silence so far.
    packets: u32,
}

/// A frame, of which kind of track, at which time in ticks of the clock.
struct Due {
    kind: TrackKind,
    ticks: i64,
    keyframe: bool,
    payload: Bytes,
}

fn ticks(number: u32, ticks_of_one: u32) -> i64 {
    i64::from(number) * i64::from(ticks_of_one)
}

impl Shown {
    /// The next frame that is to be shown before `until`, microseconds since the start; segments last `segment_micros`.
    fn next(&mut self, until: i64, segment_micros: i64) -> Option<Due> {
        let until = Ticks { value: until, timescale: MICROS }.rescale(CLOCK.ticks_per_sec);
        let segment = Ticks { value: segment_micros, timescale: MICROS }.rescale(CLOCK.ticks_per_sec).max(1);
        let picture = ticks(self.frames, CLOCK.ticks_per_sec / FRAMES_PER_SEC);
        let sound = ticks(self.packets, CLOCK.ticks_per_sec * SILENCE_SAMPLES / silence().timescale);
        if sound < picture.min(until) {
            self.packets += 1;
            return Some(Due { kind: TrackKind::Audio, ticks: sound, keyframe: true, payload: SILENCE });
        }
        if picture >= until {
            return None;
        }
        let before = ticks(self.frames.saturating_sub(1), CLOCK.ticks_per_sec / FRAMES_PER_SEC);
        let begins = self.frames == 0 || picture / segment != before / segment;
        let payload = self.clip.frame(self.frames - self.key).filter(|_| !begins);
        let keyframe = payload.is_none();
        if keyframe {
            self.key = self.frames;
        }
        let payload = payload.or_else(|| self.clip.frame(0))?;
        self.frames += 1;
        Some(Due { kind: TrackKind::Video, ticks: picture, keyframe, payload })
    }
}

impl Broadcast {
    /// What viewers see while the publisher is away; without one they see nothing.
    pub fn set_slate(&mut self, slate: Option<Arc<SlateClip>>) {
        self.slate = slate;
    }

    /// Whether the slate is what comes now.
    pub fn shows_slate(&self) -> bool {
        self.ongoing.as_ref().is_some_and(|ongoing| ongoing.slate.is_some())
    }

    /// Brings the slate up to now, where it is what comes.
    pub(super) fn go_on_with_slate(&mut self, now: Timestamp, out: &mut Vec<Cut>) {
        let segment_micros = self.absence_micros();
        let Some(epoch) = self.epochs.back() else { return };
        let by_clock = epoch.time_at(now).value;
        while let Some(shown) = self.ongoing.as_mut().and_then(|ongoing| ongoing.slate.as_mut()) {
            let Some(due) = shown.next(by_clock - shown.start, segment_micros) else { return };
            self.take_due(&due, now, out);
        }
    }

    /// Begins it where media end, if there is one.
    pub(super) fn begin_slate(&mut self, out: &mut Vec<Cut>) {
        let clip = self.slate.clone().filter(|_| self.target_secs.is_some() && !self.has_ended);
        let (Some(clip), Some(last)) = (clip, self.last_visit.as_ref()) else { return };
        let tracks: Vec<TrackConfig> = last.tracks.iter().map(|config| clip.config_like(config)).collect();
        let visit = Visit { clock: CLOCK, tracks, frame_rate: Some((FRAMES_PER_SEC, 1)), keys_on_request: false };
        // Its configurations were read when it was made.
        let Ok(inits) = visit.tracks.iter().map(init_segment).collect::<Result<Vec<_>, _>>() else { return };
        self.level_rungs(out);
        let start = Ticks { value: self.end_micros, timescale: MICROS };
        let Some(date) = self.epochs.back().map(|epoch| epoch.date_of(start)) else { return };
        let shown = Shown { clip, start: self.end_micros, frames: 0, key: 0, packets: 0 };
        self.open_epoch((start, date), (&visit, inits), Some(shown));
    }

    /// A frame of the slate, for every track of its kind.
    fn take_due(&mut self, due: &Due, now: Timestamp, out: &mut Vec<Cut>) {
        let micros = Ticks { value: due.ticks, timescale: CLOCK.ticks_per_sec }.rescale(MICROS);
        let arrival = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        let stamp = Stamp { dts: due.ticks, composition: 0, keyframe: due.keyframe, arrival };
        let Some(ongoing) = &self.ongoing else { return };
        let kinds: Vec<Option<TrackKind>> =
            ongoing.renditions.iter().map(|index| self.renditions.get(*index).map(|one| one.kind)).collect();
        for (track, _) in kinds.iter().enumerate().filter(|(_, kind)| **kind == Some(due.kind)) {
            self.take(track, stamp, due.payload.clone(), now, out);
        }
    }
}
