//! From a publisher's messages to a visit: which tracks it has, and their frames. Frames that come before all tracks have
//! told their configuration are held for a moment, so that a viewer's playlists list all of them from the start.
mod cues;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::session::{MediaMessage, Medium};
use super::wire::amf::AmfLimits;
use super::wire::flv::audio::{AudioBody, AudioCodec, AudioPackets};
use super::wire::flv::script::{MediaKind, Script, StreamMetadata};
use super::wire::flv::video::{VideoBody, VideoCodec, VideoPacket, VideoPackets};
use crate::domain::asset::TrackKind;
use crate::media::codecs::aac::AacConfig;
use crate::media::codecs::h264::{AvcConfig, PictureKind};
use crate::media::frames::{CodecConfig, TrackConfig};
use crate::media::live::broadcast::{ToldCue, Visit};
use crate::media::live::timeline::{IngestClock, Stamp};

/// Tracks are waited for as long as this, milliseconds of the publisher's time.
const WAIT_MS: i64 = 1000;
/// Bytes held meanwhile at most.
const HELD_BYTES_MAX: usize = 8 << 20;
/// Frames held meanwhile at most.
const HELD_FRAMES_MAX: usize = 1000;
/// Cues held meanwhile at most; what is more is left out.
const HELD_CUES_MAX: usize = 16;
/// Tracks of one publisher at most.
const TRACKS_MAX: usize = 16;
/// Ticks per second of pictures: a multiple of the milliseconds that they come with.
const VIDEO_TIMESCALE: u32 = 90_000;

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
    /// Packets of codecs that are not known here.
    pub codec: u64,
    /// Packets of tracks that have not told their configuration.
    pub unconfigured: u64,
}

#[derive(Debug)]
struct Track {
    kind: TrackKind,
    number: u8,
    config: TrackConfig,
    avc: Option<AvcConfig>,
}

#[derive(Debug)]
struct Held {
    track: (TrackKind, u8),
    stamp: Stamp,
    payload: Bytes,
}

/// One publisher's messages.
#[derive(Debug, Default)]
pub struct RtmpIngest {
    tracks: Vec<Track>,
    metadata: Option<Box<StreamMetadata>>,
    /// Whether the tracks as they are now have been announced.
    is_announced: bool,
    held: VecDeque<Held>,
    held_bytes: usize,
    held_cues: Vec<ToldCue>,
    unusable: Unusable,
    /// A codec that could not be used, to tell the publisher.
    unknown_codec: Option<String>,
}

impl RtmpIngest {
    /// What could not be used so far.
    pub fn unusable(&self) -> Unusable {
        self.unusable
    }

    /// The name of a codec that the publisher sends and that is not known here.
    pub fn unknown_codec(&self) -> Option<&str> {
        self.unknown_codec.as_deref()
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
            if packet.codec != VideoCodec::Avc {
                self.note_unknown(format!("{:?}", packet.codec));
                continue;
            }
            match &packet.body {
                VideoBody::SequenceStart(avcc) => {
                    let avc = AvcConfig::parse(avcc).ok()?;
                    let codec = CodecConfig::H264 { avcc: avcc.clone() };
                    let config = TrackConfig::new(codec, VIDEO_TIMESCALE);
                    self.configure(Track { kind: TrackKind::Video, number: packet.track, config, avc: Some(avc) });
                }
                VideoBody::Frame { data, .. } if data.is_empty() => {}
                VideoBody::Frame { composition_ms, data } => {
                    let keyframe = self.is_key(&packet, data);
                    let composition = i64::from(*composition_ms);
                    let stamp = Stamp { dts: at.0, composition, keyframe, arrival: at.1 };
                    self.feed(Held { track: (TrackKind::Video, packet.track), stamp, payload: data.clone() }, out);
                }
                _ => {}
            }
        }
        Some(())
    }

    /// A key frame is an IDR picture, whatever the tag says.
    fn is_key(&self, packet: &VideoPacket, data: &[u8]) -> bool {
        let avc = self.find(TrackKind::Video, packet.track).and_then(|index| self.tracks.get(index)?.avc.as_ref());
        packet.kind.is_key() && avc.is_some_and(|avc| avc.picture_kind(data) == Some(PictureKind::Idr))
    }

    fn take_audio(&mut self, payload: Bytes, at: (i64, Duration), out: &mut Vec<Fed>) -> Option<()> {
        for packet in AudioPackets::read(payload).ok()? {
            let packet = packet.ok()?;
            if packet.codec != AudioCodec::Aac {
                self.note_unknown(format!("{:?}", packet.codec));
                continue;
            }
            match packet.body {
                AudioBody::SequenceStart(specific) => {
                    let aac = AacConfig::parse(&specific)?;
                    let config = TrackConfig::new(CodecConfig::Aac { config: specific }, aac.sample_rate);
                    let config = TrackConfig { default: packet.track == 0, ..config };
                    self.configure(Track { kind: TrackKind::Audio, number: packet.track, config, avc: None });
                }
                AudioBody::Frame(data) if !data.is_empty() => {
                    let stamp = Stamp { dts: at.0, composition: 0, keyframe: true, arrival: at.1 };
                    self.feed(Held { track: (TrackKind::Audio, packet.track), stamp, payload: data }, out);
                }
                _ => {}
            }
        }
        Some(())
    }

    fn note_unknown(&mut self, codec: String) {
        self.unusable.codec += 1;
        self.unknown_codec.get_or_insert(codec);
    }

    fn find(&self, kind: TrackKind, number: u8) -> Option<usize> {
        self.tracks.iter().position(|track| track.kind == kind && track.number == number)
    }

    /// A track tells its configuration, for the first time or a new one. Pictures come first, each kind in order.
    fn configure(&mut self, track: Track) {
        let known = self.find(track.kind, track.number);
        match known.and_then(|index| self.tracks.get_mut(index)) {
            Some(known) if known.config == track.config => return,
            Some(known) => *known = track,
            None => self.tracks.push(track),
        }
        self.tracks.truncate(TRACKS_MAX);
        self.tracks.sort_by_key(|track| (track.kind == TrackKind::Audio, track.number));
        self.is_announced = false;
    }

    fn feed(&mut self, frame: Held, out: &mut Vec<Fed>) {
        let Some(index) = self.find(frame.track.0, frame.track.1) else {
            self.unusable.unconfigured += 1;
            return;
        };
        if self.is_announced {
            out.push(Fed::Frame { track: index, stamp: frame.stamp, payload: frame.payload });
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
        let has = |kind| self.tracks.iter().any(|track| track.kind == kind);
        let Some(metadata) = &self.metadata else { return has(TrackKind::Video) && has(TrackKind::Audio) };
        let told = |kind| self.tracks.iter().filter(|track| track.kind == kind).count();
        let of = |kind| metadata.tracks.iter().filter(|track| track.kind == kind).count();
        let video = metadata.video.is_none() || has(TrackKind::Video);
        let audio = metadata.audio.is_none() || has(TrackKind::Audio);
        let speaks = metadata.video.is_some() || metadata.audio.is_some();
        let more = told(TrackKind::Video) >= of(MediaKind::Video) && told(TrackKind::Audio) >= of(MediaKind::Audio);
        speaks && video && audio && more
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
        let tracks = self.tracks.iter().map(|track| track.config.clone()).collect();
        out.push(Fed::Visit(Visit { clock: IngestClock::RTMP, tracks, frame_rate: self.frame_rate() }));
        while let Some(Held { track, stamp, payload }) = self.held.pop_front() {
            if let Some(track) = self.find(track.0, track.1) {
                out.push(Fed::Frame { track, stamp, payload });
            }
        }
        out.extend(self.held_cues.drain(..).map(Fed::Cue));
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
