//! The frames of a live stream on another node: what there is to be told of them, in order, and a stream that has them because it was
//! told. Segments are told of apart from these ([`Told`](super::broadcast::Told)), and always; frames only while somebody there reads
//! them, and with them what is encoded here for viewers who see the stream at once.
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::broadcast::{config_is_sane, frame_is_sane};
use super::realtime::{RealtimeCursor, RealtimeRead};
use super::ring::MICROS;
use super::stream::LiveStream;
use super::tap::{Cursor, Tapped, Tracks};
use crate::domain::asset::Ticks;
use crate::media::frames::{Frame, TrackConfig};

/// Rungs of a stream whose frames are told of.
const RUNGS_MAX: usize = 64;

/// What frames are of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FrameLane {
    /// What the publisher sends.
    Source,
    /// Pictures that are encoded for viewers who cannot take those.
    Pictures,
    /// The same of sound.
    Sound,
    /// A rung of the ladder, by its name.
    Rung(String),
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToldFrame {
    /// What comes from now on in a lane is of these tracks.
    Tracks {
        /// The lane.
        lane: FrameLane,
        /// The epoch.
        epoch: u32,
        /// By number.
        configs: Vec<TrackConfig>,
    },
    /// The next frame of a lane.
    Frame {
        /// The lane.
        lane: FrameLane,
        /// Number of the track.
        track: u32,
        /// The frame; its times are those of the stream, over all epochs.
        frame: Frame,
    },
    /// Encoded pictures of before are of no use any more.
    Anew,
    /// These rungs are made now, and no others.
    Rungs(Vec<String>),
}

/// How far somebody was told.
#[derive(Debug)]
pub struct FrameListener {
    source: Cursor,
    made: RealtimeCursor,
    tracks: HashMap<FrameLane, Arc<Tracks>>,
    rungs: Vec<String>,
}

/// Where one is that is told: what it has heard already is told again by whoever goes on with a stream.
#[derive(Debug, Default)]
pub struct FrameTaker {
    source: Option<(u32, Vec<TrackConfig>)>,
    /// Of the source's newest frames, by track, microseconds.
    heard: HashMap<u32, i64>,
    has_taken: bool,
}

impl FrameListener {
    /// Begins with the newest key frame.
    pub fn new(stream: &LiveStream) -> Self {
        let source = stream.look(|broadcast| broadcast.tap().join());
        Self { source, made: stream.realtime().join(), tracks: HashMap::new(), rungs: Vec::new() }
    }

    /// What is new.
    pub fn hear(&mut self, stream: &LiveStream) -> Vec<ToldFrame> {
        let mut out = Vec::new();
        let tapped: Vec<Tapped> = stream.look(|broadcast| broadcast.tap().read(&mut self.source).collect());
        tapped.into_iter().for_each(|tapped| self.tell(FrameLane::Source, tapped, &mut out));
        let RealtimeRead { is_anew, frames, rungs } = stream.realtime().read(&mut self.made);
        if is_anew {
            self.tracks.remove(&FrameLane::Pictures);
            out.push(ToldFrame::Anew);
        }
        for tapped in frames {
            let is_picture = tapped.tracks.leader() == Some(tapped.track);
            self.tell(if is_picture { FrameLane::Pictures } else { FrameLane::Sound }, tapped, &mut out);
        }
        let names: Vec<String> = rungs.iter().map(|(name, _)| name.clone()).collect();
        if self.rungs != names {
            self.tracks.retain(|lane, _| !matches!(lane, FrameLane::Rung(name) if !names.contains(name)));
            self.rungs.clone_from(&names);
            out.push(ToldFrame::Rungs(names));
        }
        for (name, frames) in rungs {
            frames.into_iter().for_each(|tapped| self.tell(FrameLane::Rung(name.clone()), tapped, &mut out));
        }
        out
    }

    fn tell(&mut self, lane: FrameLane, tapped: Tapped, out: &mut Vec<ToldFrame>) {
        let Tapped { tracks, track, frame } = tapped;
        if self.tracks.get(&lane).is_none_or(|known| !Arc::ptr_eq(known, &tracks)) {
            let (epoch, configs) = (tracks.epoch, tracks.configs.clone());
            out.push(ToldFrame::Tracks { lane: lane.clone(), epoch, configs });
            self.tracks.insert(lane.clone(), tracks);
        }
        out.push(ToldFrame::Frame { lane, track: track as u32, frame });
    }
}

impl FrameTaker {
    /// Takes what was told into the stream that is to be like the one it was told of. What makes no sense is left out.
    pub fn take(&mut self, told: ToldFrame, stream: &LiveStream) {
        self.has_taken = true;
        let realtime = stream.realtime();
        match told {
            ToldFrame::Tracks { configs, .. } if !configs.iter().all(config_is_sane) => {}
            ToldFrame::Tracks { lane: FrameLane::Source, epoch, configs } => self.begin(epoch, configs, stream),
            ToldFrame::Tracks { lane, epoch, mut configs } => {
                let Some(config) = configs.pop() else { return };
                match lane {
                    FrameLane::Source => {}
                    FrameLane::Pictures => realtime.begin_pictures(epoch, config),
                    FrameLane::Sound => realtime.begin_sound(epoch, config),
                    FrameLane::Rung(name) if realtime.rungs() < RUNGS_MAX => realtime.begin_rung(&name, epoch, config),
                    FrameLane::Rung(_) => {}
                }
            }
            ToldFrame::Frame { lane, track, frame } => match lane {
                FrameLane::Source => self.push((track, frame), stream),
                FrameLane::Pictures => realtime.push_picture(&frame),
                FrameLane::Sound => realtime.push_sound(&frame),
                FrameLane::Rung(name) => realtime.push_told_rung(&name, &frame),
            },
            ToldFrame::Anew => realtime.end_pictures(),
            ToldFrame::Rungs(names) => realtime.give_up_rungs_but(&names),
        }
    }

    /// Whether anything was taken that is not forgotten.
    pub fn has_taken(&self) -> bool {
        self.has_taken
    }

    /// Nobody reads any more: who comes later begins with what comes then.
    pub fn forget(&mut self, stream: &LiveStream) {
        *self = Self::default();
        stream.forget_frames();
    }

    fn begin(&mut self, epoch: u32, configs: Vec<TrackConfig>, stream: &LiveStream) {
        let begun = Some((epoch, configs));
        if self.source != begun {
            stream.begin_frames(epoch, begun.iter().flat_map(|(_, configs)| configs.clone()).collect());
            (self.source, self.heard) = (begun, HashMap::new());
        }
    }

    fn push(&mut self, (track, frame): (u32, Frame), stream: &LiveStream) {
        let Some((_, configs)) = &self.source else { return };
        let Some(config) = configs.get(track as usize) else { return };
        if !frame_is_sane(&frame, config.timescale) {
            return;
        }
        let micros = Ticks { value: frame.dts, timescale: config.timescale }.rescale(MICROS);
        if self.heard.get(&track).is_none_or(|newest| *newest < micros) {
            self.heard.insert(track, micros);
            stream.push_frame(track as usize, &frame);
        }
    }
}

#[cfg(test)]
mod tests;
