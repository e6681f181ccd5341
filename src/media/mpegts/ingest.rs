//! From a publisher's transport stream to a visit: which tracks it has, and their frames.
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::cues;
use super::packets::{NULL_PID, Packet, Splitter};
use super::pes::{Assembler, Pes};
use super::sections::Sections;
use super::sound::{Heard, Sound};
use super::tables::{Coding, Elementary, read_association, read_map};
use crate::domain::asset::TrackKind;
use crate::media::codecs::hevc::Left;
use crate::media::frames::TrackConfig;
use crate::media::live::lineup::{Arrived, Fed, Lineup, TRACKS_MAX, TrackId};
use crate::media::live::pictures::Pictures;
use crate::media::live::timeline::{IngestClock, Stamp};

/// PID of the association table.
const ASSOCIATION_PID: u16 = 0;
/// Largest coded picture.
const PICTURE_BYTES_MAX: usize = 8 << 20;
/// Most bytes of sound in one PES packet.
const SOUND_BYTES_MAX: usize = 256 << 10;
/// Most bytes of a tag.
const TAG_BYTES_MAX: usize = 64 << 10;
/// Turns of the clock.
const CLOCK_MASK: i64 = (1 << 33) - 1;

/// Codecs that can be published, as people know them.
const PICTURES_TAKEN: &str = "H.264 or HEVC";
const SOUND_TAKEN: &str = "AAC, Opus, MP3, AC-3 or E-AC-3";

/// What could not be used, as counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unusable {
    /// Times that packets were missing.
    pub gaps: u64,
    /// Bytes between packets that belong to none.
    pub skipped_bytes: u64,
    /// Packets, pictures and frames of sound that cannot be read.
    pub damaged: u64,
    /// Streams in codecs that are not taken, and more of them than are.
    pub codec: u64,
    /// Frames of tracks that have not told their configuration, and pictures that need ones from before the start.
    pub undecodable: u64,
}

/// A stream of the programme that is read.
#[derive(Debug)]
struct Stream {
    told: Elementary,
    /// Of the last packet with a payload, and a digest of that.
    continuity: Option<(u8, u64)>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Pictures(TrackId, Assembler, Pictures),
    Sound(TrackId, Assembler, Box<Sound>),
    Splices(Sections),
    Tags(Assembler),
}

/// One publisher's stream.
#[derive(Debug)]
pub struct TsIngest {
    splitter: Splitter,
    association: Sections,
    /// Where the programme's map is, and its sections.
    map: Option<(u16, Sections)>,
    /// The map that holds.
    section: Bytes,
    streams: BTreeMap<u16, Stream>,
    lineup: Lineup,
    unusable: Unusable,
    /// The newest presentation time.
    latest: i64,
    refusal: Option<String>,
}

impl Default for TsIngest {
    fn default() -> Self {
        Self {
            splitter: Splitter::default(),
            association: Sections::default(),
            map: None,
            section: Bytes::new(),
            streams: BTreeMap::new(),
            lineup: Lineup::new(IngestClock::MPEG_TS),
            unusable: Unusable::default(),
            latest: 0,
            refusal: None,
        }
    }
}

impl TsIngest {
    /// What could not be used so far.
    pub fn unusable(&self) -> Unusable {
        let damaged: u64 = self.streams.values().map(Stream::damaged).sum();
        Unusable {
            skipped_bytes: self.splitter.skipped(),
            damaged: self.unusable.damaged + damaged,
            undecodable: self.unusable.undecodable + self.lineup.unconfigured(),
            ..self.unusable
        }
    }

    /// Why the publisher cannot be watched, in a sentence: its first stream of either kind is in a codec that is not taken.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Takes bytes that arrived so long after any fixed moment; they may begin and end anywhere.
    pub fn take(&mut self, bytes: &[u8], arrival: Duration, out: &mut Vec<Fed>) {
        self.splitter.push(bytes);
        while let Some(bytes) = self.splitter.next() {
            match Packet::read(&bytes) {
                Some(packet) => self.take_packet(packet, arrival, out),
                None => self.unusable.damaged += 1,
            }
        }
    }

    fn take_packet(&mut self, packet: Packet, arrival: Duration, out: &mut Vec<Fed>) {
        match packet.pid {
            NULL_PID => {}
            ASSOCIATION_PID => {
                let mut sections = Vec::new();
                self.association.take(packet.starts, packet.payload, &mut sections);
                let found = sections.iter().filter_map(|section| read_association(section)).next_back();
                if let Some(pid) = found.filter(|pid| self.map.as_ref().is_none_or(|(known, _)| known != pid)) {
                    self.map = Some((pid, Sections::default()));
                }
            }
            pid => match &mut self.map {
                Some((map, sections)) if *map == pid => {
                    let mut found = Vec::new();
                    sections.take(packet.starts, packet.payload, &mut found);
                    found.into_iter().for_each(|section| self.take_map(section));
                }
                _ => self.take_stream(packet, arrival, out),
            },
        }
    }

    /// The programme consists of these streams from now on.
    fn take_map(&mut self, section: Bytes) {
        if section == self.section {
            return;
        }
        let Some(told) = read_map(&section) else {
            self.unusable.damaged += 1;
            return;
        };
        self.section = section;
        let mut before = std::mem::take(&mut self.streams);
        let (mut pictures, mut sounds) = (0u8, 0u8);
        let ids = |streams: &BTreeMap<u16, Stream>| -> Vec<_> { streams.values().filter_map(Stream::track).collect() };
        let known = ids(&before);
        for told in told {
            let number = match told.coding.kind() {
                Some(TrackKind::Video) => &mut pictures,
                Some(TrackKind::Audio) => &mut sounds,
                None => &mut 0,
            };
            let is_surplus = usize::from(*number) >= TRACKS_MAX;
            if let Coding::Foreign(kind, name) = told.coding {
                self.note_foreign((kind, *number), name);
                continue;
            }
            if is_surplus {
                self.unusable.codec += 1;
                continue;
            }
            let stream = Stream::new(told, *number);
            *number += 1;
            let same = before.remove(&stream.told.pid).filter(|same| same.is_like(&stream));
            self.streams.insert(stream.told.pid, same.unwrap_or(stream));
        }
        let damaged: u64 = before.values().map(Stream::damaged).sum();
        self.unusable.damaged += damaged;
        if ids(&self.streams) != known {
            self.lineup.clear();
            let configured = self.streams.values().filter_map(|stream| Some((stream.track()?.0, stream.config()?)));
            configured.for_each(|(id, config)| self.lineup.configure(id, config));
        }
    }

    fn note_foreign(&mut self, (kind, number): TrackId, name: &str) {
        self.unusable.codec += 1;
        let taken = if kind == TrackKind::Video { PICTURES_TAKEN } else { SOUND_TAKEN };
        // Others are left out.
        if number == 0 && self.refusal.is_none() {
            self.refusal = Some(format!("{name} cannot be published here: send {taken}"));
        }
    }

    fn take_stream(&mut self, packet: Packet, arrival: Duration, out: &mut Vec<Fed>) {
        let Some(stream) = self.streams.get_mut(&packet.pid) else { return };
        match stream.count(&packet) {
            Step::Next => {}
            Step::Repeated => return,
            Step::Gap => {
                self.unusable.gaps += 1;
                stream.reset();
            }
        }
        let (mut found, told) = (Vec::new(), stream.told.clone());
        let (mut whole, mut sections, mut foreign) = (Vec::new(), Vec::new(), None);
        match &mut stream.body {
            Body::Splices(parts) => parts.take(packet.starts, packet.payload, &mut sections),
            Body::Pictures(_, parts, _) | Body::Sound(_, parts, _) | Body::Tags(parts) => {
                parts.take(packet.starts, packet.payload, &mut whole);
            }
        }
        for pes in whole {
            self.latest = pes.pts.unwrap_or(self.latest);
            match &mut stream.body {
                Body::Pictures(id, _, pictures) => match see(*id, pictures, pes, arrival) {
                    Ok((frame, config)) => found.push((frame, config)),
                    Err(Left::Damaged) => self.unusable.damaged += 1,
                    Err(Left::Undecodable) => self.unusable.undecodable += 1,
                },
                Body::Sound(id, _, sound) => {
                    hear(*id, sound, &pes, arrival, &mut found);
                    foreign = sound.foreign().map(|name| (*id, name));
                }
                Body::Tags(_) => {
                    let cue = cues::of_tag(&pes.payload, pes.pts.unwrap_or(self.latest));
                    cue.into_iter().for_each(|cue| self.lineup.take_cue(cue, out));
                }
                Body::Splices(_) => {}
            }
        }
        if let Some((id, name)) = foreign {
            self.note_foreign(id, name);
        }
        for section in sections {
            let cue = cues::of_splice(section, self.latest);
            cue.into_iter().for_each(|cue| self.lineup.take_cue(cue, out));
        }
        for (frame, config) in found {
            if let Some(config) = config {
                self.lineup.configure(frame.track, described(&told, frame.track, config));
            }
            if self.lineup.take(frame, out) && (self.has_all() || self.lineup.has_waited()) {
                self.lineup.announce(None, |_, config| config.clone(), out);
            }
        }
    }

    /// Whether every track of the programme has told its configuration.
    fn has_all(&self) -> bool {
        let tracks = self.streams.values().filter(|stream| stream.track().is_some()).count();
        tracks == self.lineup.count(TrackKind::Video) + self.lineup.count(TrackKind::Audio)
    }
}

/// A track's configuration with what the map says of it.
fn described(told: &Elementary, (_, number): TrackId, config: TrackConfig) -> TrackConfig {
    let language = told.language.clone().unwrap_or(config.language.clone());
    TrackConfig { default: number == 0, language, ..config }
}

/// A picture, and its track's configuration when it is another one from here on.
fn see(
    track: TrackId,
    pictures: &mut Pictures,
    pes: Pes,
    arrival: Duration,
) -> Result<(Arrived, Option<TrackConfig>), Left> {
    let pts = pes.pts.ok_or(Left::Damaged)?;
    let dts = pes.dts.unwrap_or(pts);
    let seen = pictures.take(pes.payload)?;
    let turned = (pts - dts) & CLOCK_MASK;
    let composition = if turned > CLOCK_MASK / 2 { turned - CLOCK_MASK - 1 } else { turned };
    let stamp = Stamp { dts, composition, keyframe: seen.keyframe, arrival };
    let config = if seen.is_new { pictures.config() } else { None };
    Ok((Arrived { track, stamp, payload: seen.payload }, config))
}

/// The same of sound.
fn hear(
    track: TrackId,
    sound: &mut Sound,
    pes: &Pes,
    arrival: Duration,
    out: &mut Vec<(Arrived, Option<TrackConfig>)>,
) {
    let mut heard = Vec::new();
    sound.take(pes, &mut heard);
    for Heard { time, payload, is_new } in heard {
        let stamp = Stamp { dts: time, composition: 0, keyframe: true, arrival };
        let config = if is_new { sound.config() } else { None };
        out.push((Arrived { track, stamp, payload }, config));
    }
}

/// How a packet follows the one before.
enum Step {
    Next,
    Repeated,
    Gap,
}

impl Stream {
    fn new(told: Elementary, number: u8) -> Self {
        let (pictures, sound) = ((TrackKind::Video, number), (TrackKind::Audio, number));
        let body = match &told.coding {
            Coding::H264 => Body::Pictures(pictures, Assembler::new(PICTURE_BYTES_MAX), Pictures::H264(None)),
            Coding::Hevc => Body::Pictures(pictures, Assembler::new(PICTURE_BYTES_MAX), Pictures::Hevc(None)),
            Coding::Splices => Body::Splices(Sections::default()),
            Coding::Id3 => Body::Tags(Assembler::new(TAG_BYTES_MAX)),
            coding => Body::Sound(sound, Assembler::new(SOUND_BYTES_MAX), Box::new(Sound::new(coding.clone()))),
        };
        Self { told, continuity: None, body }
    }

    /// Its track, in which language.
    fn track(&self) -> Option<(TrackId, Option<String>)> {
        match &self.body {
            Body::Pictures(id, ..) | Body::Sound(id, ..) => Some((*id, self.told.language.clone())),
            Body::Splices(_) | Body::Tags(_) => None,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.told == other.told && self.track() == other.track()
    }

    fn config(&self) -> Option<TrackConfig> {
        let config = match &self.body {
            Body::Pictures(.., pictures) => pictures.config(),
            Body::Sound(.., sound) => sound.config(),
            Body::Splices(_) | Body::Tags(_) => None,
        };
        let (id, _) = self.track()?;
        Some(described(&self.told, id, config?))
    }

    fn damaged(&self) -> u64 {
        match &self.body {
            Body::Pictures(_, parts, _) | Body::Tags(parts) => parts.damaged(),
            Body::Sound(_, parts, sound) => parts.damaged() + sound.damaged(),
            Body::Splices(_) => 0,
        }
    }

    fn count(&mut self, packet: &Packet) -> Step {
        if !packet.has_payload {
            return Step::Next;
        }
        let mut digest = DefaultHasher::new();
        packet.payload.hash(&mut digest);
        let this = (packet.continuity, digest.finish());
        match self.continuity.replace(this) {
            Some(before) if before == this => Step::Repeated,
            Some((before, _)) if (before + 1) & 15 != packet.continuity && !packet.is_discontinuous => Step::Gap,
            _ => Step::Next,
        }
    }

    fn reset(&mut self) {
        match &mut self.body {
            Body::Pictures(_, parts, _) | Body::Tags(parts) => parts.reset(),
            Body::Sound(_, parts, sound) => {
                parts.reset();
                sound.reset();
            }
            Body::Splices(sections) => sections.reset(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
