//! From a publisher's messages to a visit: which tracks it has, and their frames. Frames that come before all tracks have
//! told their configuration are held for a moment, so that a viewer's playlists list all of them from the start.
mod cues;
mod pictures;
mod sound;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use self::pictures::{Pictures, Taken};
use self::sound::Sound;
use super::session::{MediaMessage, Medium};
use super::wire::amf::AmfLimits;
use super::wire::flv::audio::{AudioBody, AudioPacket, AudioPackets};
use super::wire::flv::script::{MediaKind, Script, StreamMetadata};
use super::wire::flv::video::{VideoBody, VideoPacket, VideoPackets};
use crate::domain::asset::TrackKind;
use crate::media::codecs::hevc::Left;
use crate::media::frames::TrackConfig;
use crate::media::live::lineup::{Arrived, Fed, Lineup, TRACKS_MAX, TrackId};
use crate::media::live::timeline::{IngestClock, Stamp};
use crate::media::movie::language_tag;

/// Codecs that can be published, as people know them.
const PICTURES_TAKEN: &str = "H.264, HEVC, AV1 or VP9";
const SOUND_TAKEN: &str = "AAC, Opus, MP3, FLAC, AC-3 or E-AC-3";

/// What could not be used, as counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unusable {
    /// Messages that cannot be read.
    pub damaged: u64,
    /// Packets of codecs that are not known here, and of more tracks than are taken.
    pub codec: u64,
    /// Packets of tracks that have not told their configuration.
    pub unconfigured: u64,
    /// Pictures that need ones from before the start.
    pub undecodable: u64,
}

/// One publisher's messages.
#[derive(Debug)]
pub struct RtmpIngest {
    pictures: BTreeMap<u8, Pictures>,
    sounds: BTreeMap<u8, Sound>,
    /// Those of both that have told their configuration.
    lineup: Lineup,
    metadata: Option<Box<StreamMetadata>>,
    unusable: Unusable,
    /// Why the publisher cannot be watched.
    refusal: Option<String>,
}

impl Default for RtmpIngest {
    fn default() -> Self {
        Self {
            pictures: BTreeMap::new(),
            sounds: BTreeMap::new(),
            lineup: Lineup::new(IngestClock::RTMP),
            metadata: None,
            unusable: Unusable::default(),
            refusal: None,
        }
    }
}

impl RtmpIngest {
    /// What could not be used so far.
    pub fn unusable(&self) -> Unusable {
        Unusable { unconfigured: self.unusable.unconfigured + self.lineup.unconfigured(), ..self.unusable }
    }

    /// Why the publisher cannot be watched, in a sentence: its first track of either kind is in a codec that is not taken.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// What the publisher says of its stream.
    pub fn metadata(&self) -> Option<&StreamMetadata> {
        self.metadata.as_deref()
    }

    /// Takes a message that arrived so long after any fixed moment.
    pub fn take(&mut self, message: MediaMessage, arrival: Duration, out: &mut Vec<Fed>) {
        let time = i64::from(message.timestamp_ms);
        let taken = match message.medium {
            Medium::Video => self.take_video(message.payload, (time, arrival), out),
            Medium::Audio => self.take_audio(message.payload, (time, arrival), out),
            Medium::Data => {
                self.take_data(&message.payload, time, out);
                Some(())
            }
        };
        self.unusable.damaged += u64::from(taken.is_none());
    }

    /// Publishers send data of many kinds: what is none of ours, or cannot be read, is left out.
    fn take_data(&mut self, payload: &Bytes, time: i64, out: &mut Vec<Fed>) {
        let cue = match Script::read(payload, &AmfLimits::default()) {
            Ok(Script::Metadata(metadata)) => return self.metadata = Some(metadata),
            Ok(Script::Cue(cue)) => cues::of_cue_point(cue, time),
            Ok(Script::Splice(splice)) => cues::of_splice(splice, time),
            _ => return,
        };
        self.lineup.take_cue(cue, out);
    }

    /// `None` when the message cannot be read.
    fn take_video(&mut self, payload: Bytes, at: (i64, Duration), out: &mut Vec<Fed>) -> Option<()> {
        for packet in VideoPackets::read(payload).ok()? {
            let packet = packet.ok()?;
            let is_surplus = !self.pictures.contains_key(&packet.track) && self.pictures.len() >= TRACKS_MAX;
            if !packet.codec.is_taken() || is_surplus {
                self.note_unknown((packet.track, packet.codec), PICTURES_TAKEN);
                continue;
            }
            self.take_picture(packet, at, out)?;
        }
        Some(())
    }

    fn take_picture(&mut self, packet: VideoPacket, at: (i64, Duration), out: &mut Vec<Fed>) -> Option<()> {
        let number = packet.track;
        match packet.body {
            VideoBody::SequenceStart(record) => {
                let pictures = Pictures::begin(packet.codec, record)?;
                let before = self.pictures.remove(&number);
                self.pictures.insert(number, pictures.replaces(before));
                self.configure((TrackKind::Video, number));
            }
            VideoBody::Color(info) => {
                self.pictures.get_mut(&number)?.set_colour(info);
                self.configure((TrackKind::Video, number));
            }
            VideoBody::Frame { data, .. } if data.is_empty() => {}
            VideoBody::Frame { composition_ms, data } => {
                let Some(pictures) = self.pictures.get_mut(&number) else {
                    self.unusable.unconfigured += 1;
                    return Some(());
                };
                let Taken { keyframe, payload, is_new } = match pictures.take(packet.kind, data) {
                    Ok(taken) => taken,
                    Err(Left::Damaged) => return None,
                    Err(Left::Undecodable) => {
                        self.unusable.undecodable += 1;
                        return Some(());
                    }
                };
                if is_new {
                    self.configure((TrackKind::Video, number));
                }
                let stamp = Stamp { dts: at.0, composition: i64::from(composition_ms), keyframe, arrival: at.1 };
                self.feed(Arrived { track: (TrackKind::Video, number), stamp, payload }, out);
            }
            _ => {}
        }
        Some(())
    }

    fn take_audio(&mut self, payload: Bytes, at: (i64, Duration), out: &mut Vec<Fed>) -> Option<()> {
        for packet in AudioPackets::read(payload).ok()? {
            let packet = packet.ok()?;
            let is_surplus = !self.sounds.contains_key(&packet.track) && self.sounds.len() >= TRACKS_MAX;
            if !packet.codec.is_taken() || is_surplus {
                self.note_unknown((packet.track, packet.codec), SOUND_TAKEN);
                continue;
            }
            self.take_sound(packet, at, out)?;
        }
        Some(())
    }

    fn take_sound(&mut self, packet: AudioPacket, at: (i64, Duration), out: &mut Vec<Fed>) -> Option<()> {
        let id = (TrackKind::Audio, packet.track);
        match packet.body {
            AudioBody::SequenceStart(record) => {
                let sound = Sound::begin(packet.codec, record)?;
                let before = self.sounds.remove(&packet.track);
                self.sounds.insert(packet.track, sound.replaces(before));
                self.configure(id);
            }
            AudioBody::Frame(data) if !data.is_empty() => {
                let sound = self.sounds.entry(packet.track).or_insert_with(|| Sound::new(packet.codec));
                if !sound.is_in(packet.codec) {
                    *sound = Sound::new(packet.codec);
                }
                if sound.hear(&data)? {
                    self.configure(id);
                }
                let stamp = Stamp { dts: at.0, composition: 0, keyframe: true, arrival: at.1 };
                self.feed(Arrived { track: id, stamp, payload: data }, out);
            }
            _ => {}
        }
        Some(())
    }

    fn note_unknown(&mut self, (track, codec): (u8, impl std::fmt::Display), taken: &str) {
        self.unusable.codec += 1;
        // Others are left out.
        if track == 0 && self.refusal.is_none() {
            self.refusal = Some(format!("{codec} cannot be published here: send {taken}"));
        }
    }

    /// A track tells its configuration, for the first time or a new one.
    fn configure(&mut self, id: TrackId) {
        let (kind, number) = id;
        let config = match kind {
            TrackKind::Video => self.pictures.get(&number).and_then(Pictures::config),
            TrackKind::Audio => self.sounds.get(&number).and_then(Sound::config),
        };
        if let Some(config) = config {
            self.lineup.configure(id, config);
        }
    }

    fn feed(&mut self, frame: Arrived, out: &mut Vec<Fed>) {
        if self.lineup.take(frame, out) && (self.has_all() || self.lineup.has_waited()) {
            let (metadata, rate) = (self.metadata.as_deref(), self.frame_rate());
            self.lineup.announce(rate, |id, config| described(metadata, id, config), out);
        }
    }

    /// Whether every track that the metadata speaks of has told its configuration. Without metadata nobody knows.
    fn has_all(&self) -> bool {
        let told = |kind| self.lineup.count(kind);
        // What is said of colours comes before the first picture.
        let is_seen = self.lineup.holds_pictures();
        let is_waiting = told(TrackKind::Video) < self.pictures.len() || told(TrackKind::Audio) < self.sounds.len();
        if is_waiting || !is_seen && !self.pictures.is_empty() {
            return false;
        }
        let has = |kind| told(kind) > 0;
        let Some(metadata) = &self.metadata else { return has(TrackKind::Video) && has(TrackKind::Audio) };
        let more = |kind| metadata.tracks.iter().filter(|track| track.kind == kind).count();
        let video = usize::from(metadata.video.is_some()) + more(MediaKind::Video);
        let audio = usize::from(metadata.audio.is_some()) + more(MediaKind::Audio);
        video + audio > 0 && told(TrackKind::Video) >= video && told(TrackKind::Audio) >= audio
    }

    /// Frames per second as the metadata says, in thousandths.
    fn frame_rate(&self) -> Option<(u32, u32)> {
        let rate =
            self.metadata.as_ref()?.video.as_ref()?.frames_per_sec.filter(|rate| (1.0..=1000.0).contains(rate))?;
        Some(((rate * 1000.0).round() as u32, 1000))
    }
}

/// A track's configuration with what the metadata says of it.
fn described(metadata: Option<&StreamMetadata>, (kind, number): TrackId, config: &TrackConfig) -> TrackConfig {
    let kind = if kind == TrackKind::Video { MediaKind::Video } else { MediaKind::Audio };
    let tracks = metadata.into_iter().flat_map(|metadata| &metadata.tracks);
    let mut told = tracks.filter(|told| told.kind == kind && told.track == number);
    let language = told.find_map(|told| language_tag(told.language.as_deref()?));
    let config = config.clone();
    TrackConfig { default: number == 0, language: language.unwrap_or(config.language.clone()), ..config }
}

#[cfg(test)]
mod tests;
