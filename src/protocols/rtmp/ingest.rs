//! From a publisher's messages to a visit: which tracks it has, and their frames. Frames that come before all tracks have
//! told their configuration are held for a moment, so that a viewer's playlists list all of them from the start.
mod cues;
mod pictures;
mod sound;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use self::pictures::{Left, Pictures, Taken};
use self::sound::Sound;
use super::session::{MediaMessage, Medium};
use super::wire::amf::AmfLimits;
use super::wire::flv::audio::{AudioBody, AudioPacket, AudioPackets};
use super::wire::flv::script::{MediaKind, Script, StreamMetadata};
use super::wire::flv::video::{VideoBody, VideoPacket, VideoPackets};
use crate::domain::asset::TrackKind;
use crate::media::frames::TrackConfig;
use crate::media::live::broadcast::{ToldCue, Visit};
use crate::media::live::timeline::{IngestClock, Stamp};
use crate::media::movie::language_tag;

/// Tracks are waited for as long as this, milliseconds of the publisher's time.
const WAIT_MS: i64 = 1000;
/// Bytes held meanwhile at most.
const HELD_BYTES_MAX: usize = 8 << 20;
/// Frames held meanwhile at most.
const HELD_FRAMES_MAX: usize = 1000;
/// Cues held meanwhile at most; what is more is left out.
const HELD_CUES_MAX: usize = 16;
/// Tracks of each kind that one publisher has at most.
const TRACKS_MAX: usize = 8;

/// Codecs that can be published, as people know them.
const PICTURES_TAKEN: &str = "H.264, HEVC, AV1 or VP9";
const SOUND_TAKEN: &str = "AAC, Opus, MP3, FLAC, AC-3 or E-AC-3";

/// What a publisher's messages come to.
#[derive(Debug, Clone)]
pub enum Fed {
    /// It has these tracks from now on.
    Visit(Visit),
    /// A frame of the visit's track with this number.
    Frame {
        /// The track.
        track: usize,
        /// When it came, and the times it came with.
        stamp: Stamp,
        /// Its bytes.
        payload: Bytes,
    },
    /// Something that happens on the timeline.
    Cue(ToldCue),
}

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

/// A track that has told its configuration.
#[derive(Debug)]
struct Track {
    id: TrackId,
    config: TrackConfig,
}

/// Its kind and number.
type TrackId = (TrackKind, u8);

#[derive(Debug)]
struct Held {
    track: TrackId,
    stamp: Stamp,
    payload: Bytes,
}

/// One publisher's messages.
#[derive(Debug, Default)]
pub struct RtmpIngest {
    pictures: BTreeMap<u8, Pictures>,
    sounds: BTreeMap<u8, Sound>,
    /// Those of both that have told their configuration: pictures first, each kind in order.
    tracks: Vec<Track>,
    metadata: Option<Box<StreamMetadata>>,
    /// Whether the tracks as they are now have been announced.
    is_announced: bool,
    held: VecDeque<Held>,
    held_bytes: usize,
    held_cues: Vec<ToldCue>,
    unusable: Unusable,
    /// Why the publisher cannot be watched.
    refusal: Option<String>,
}

impl RtmpIngest {
    /// What could not be used so far.
    pub fn unusable(&self) -> Unusable {
        self.unusable
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
        if self.is_announced {
            out.push(Fed::Cue(cue));
        } else if self.held_cues.len() < HELD_CUES_MAX {
            self.held_cues.push(cue);
        }
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
                self.feed(Held { track: (TrackKind::Video, number), stamp, payload }, out);
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
                self.feed(Held { track: id, stamp, payload: data }, out);
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

    fn find(&self, id: TrackId) -> Option<usize> {
        self.tracks.iter().position(|track| track.id == id)
    }

    /// A track tells its configuration, for the first time or a new one.
    fn configure(&mut self, id: TrackId) {
        let (kind, number) = id;
        let config = match kind {
            TrackKind::Video => self.pictures.get(&number).and_then(Pictures::config),
            TrackKind::Audio => self.sounds.get(&number).and_then(Sound::config),
        };
        let Some(config) = config else { return };
        let known = self.find(id);
        match known.and_then(|index| self.tracks.get_mut(index)) {
            Some(known) if known.config == config => return,
            Some(known) => known.config = config,
            None => self.tracks.push(Track { id, config }),
        }
        self.tracks.sort_by_key(|track| (track.id.0 == TrackKind::Audio, track.id.1));
        self.is_announced = false;
    }

    fn feed(&mut self, frame: Held, out: &mut Vec<Fed>) {
        if self.is_announced {
            match self.find(frame.track) {
                Some(track) => out.push(Fed::Frame { track, stamp: frame.stamp, payload: frame.payload }),
                None => self.unusable.unconfigured += 1,
            }
            return;
        }
        if self.find(frame.track).is_none() {
            self.unusable.unconfigured += 1;
            return;
        }
        self.held_bytes += frame.payload.len();
        self.held.push_back(frame);
        if self.has_all() || self.has_waited() {
            self.announce(out);
        }
    }

    /// Whether every track that the metadata speaks of has told its configuration. Without metadata nobody knows.
    fn has_all(&self) -> bool {
        let told = |kind| self.tracks.iter().filter(|track| track.id.0 == kind).count();
        // What is said of colours comes before the first picture.
        let is_seen = self.held.iter().any(|held| held.track.0 == TrackKind::Video);
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

    fn has_waited(&self) -> bool {
        let times = || self.held.iter().map(|held| held.stamp.dts);
        let waited = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        // A clock that wraps or jumps meanwhile makes no difference: a second has then been waited, too.
        waited.abs() >= WAIT_MS || self.held_bytes >= HELD_BYTES_MAX || self.held.len() >= HELD_FRAMES_MAX
    }

    fn announce(&mut self, out: &mut Vec<Fed>) {
        self.is_announced = true;
        self.held_bytes = 0;
        let tracks = self.tracks.iter().map(|track| self.described(track)).collect();
        out.push(Fed::Visit(Visit { clock: IngestClock::RTMP, tracks, frame_rate: self.frame_rate() }));
        while let Some(Held { track, stamp, payload }) = self.held.pop_front() {
            if let Some(track) = self.find(track) {
                out.push(Fed::Frame { track, stamp, payload });
            }
        }
        out.extend(self.held_cues.drain(..).map(Fed::Cue));
    }

    /// A track's configuration with what the metadata says of it.
    fn described(&self, track: &Track) -> TrackConfig {
        let (kind, number) = track.id;
        let kind = if kind == TrackKind::Video { MediaKind::Video } else { MediaKind::Audio };
        let tracks = self.metadata.iter().flat_map(|metadata| &metadata.tracks);
        let mut told = tracks.filter(|told| told.kind == kind && told.track == number);
        let language = told.find_map(|told| language_tag(told.language.as_deref()?));
        let config = track.config.clone();
        TrackConfig { default: number == 0, language: language.unwrap_or(config.language.clone()), ..config }
    }

    /// Frames per second as the metadata says, in thousandths.
    fn frame_rate(&self) -> Option<(u32, u32)> {
        let rate =
            self.metadata.as_ref()?.video.as_ref()?.frames_per_sec.filter(|rate| (1.0..=1000.0).contains(rate))?;
        Some(((rate * 1000.0).round() as u32, 1000))
    }
}

#[cfg(test)]
mod tests;
