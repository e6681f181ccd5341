//! A live stream as the messages of a publisher: what another server is sent of it. Of its tracks the first one of pictures and
//! the first one of sound; servers of old take no others.
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::session::{Capabilities, MediaMessage, Medium};
use super::wire::amf::{Amf, Members};
use super::wire::flv::FourCc;
use super::wire::flv::audio::AudioCodec;
use super::wire::flv::emit::{AudioTrackWriter, VideoTrackWriter, data};
use super::wire::flv::video::VideoCodec;
use crate::domain::asset::TrackKind;
use crate::media::codecs::opus::OpusConfig;
use crate::media::frames::{CodecConfig, TrackConfig};
use crate::media::live::tap::{Tapped, Tracks};

/// Ticks per second of messages' times.
const MILLIS: u32 = 1000;
/// How metadata name H.264 and AAC, which have numbers of old.
const LEGACY_AVC: f64 = 7.0;
const LEGACY_AAC: f64 = 10.0;
/// Version and flags of a `vpcC` box.
const VPCC_HEAD: [u8; 4] = [1, 0, 0, 0];

/// A codec that the server does not say it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server does not take {0}")]
pub struct NotTaken(pub &'static str);

/// Writes a track.
#[derive(Debug, Clone, Copy)]
enum Writer {
    Pictures(VideoTrackWriter),
    Sound(AudioTrackWriter),
}

/// A track that is sent.
#[derive(Debug)]
struct Sent {
    /// Its number in the stream.
    track: usize,
    writer: Writer,
    /// Its configuration, when it has one of its own.
    header: Option<Bytes>,
}

/// A live stream on its way to a server.
#[derive(Debug)]
pub struct Publication {
    server: Capabilities,
    tracks: Option<Arc<Tracks>>,
    sent: Vec<Sent>,
    /// The stream's time of the first message, milliseconds.
    began: Option<i64>,
}

impl Publication {
    /// To a server that says this of itself.
    pub fn new(server: Capabilities) -> Self {
        Self { server, tracks: None, sent: Vec::new(), began: None }
    }

    /// The messages of a frame, behind those of the tracks' configurations when they are new.
    pub fn take(&mut self, tapped: &Tapped, out: &mut Vec<MediaMessage>) -> Result<(), NotTaken> {
        let dts = tapped.dts(MILLIS);
        // Sound may come that belongs to pictures from before the first.
        let at = (dts - *self.began.get_or_insert(dts)).max(0);
        if self.tracks.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &tapped.tracks)) {
            self.tracks = Some(Arc::clone(&tapped.tracks));
            self.begin(&tapped.tracks.configs, at, out)?;
        }
        let Some(sent) = self.sent.iter().find(|sent| sent.track == tapped.track) else { return Ok(()) };
        let frame = &tapped.frame;
        // 24 bits are kept of it; no stream reorders for hours.
        let composition_ms = (tapped.pts(MILLIS) - dts) as i32;
        let (medium, payload) = match sent.writer {
            Writer::Pictures(writer) => (Medium::Video, writer.frame(frame.keyframe, composition_ms, &frame.payload)),
            Writer::Sound(writer) => (Medium::Audio, writer.frame(&frame.payload)),
        };
        out.push(message(medium, at, payload));
        Ok(())
    }

    fn begin(&mut self, configs: &[TrackConfig], at: i64, out: &mut Vec<MediaMessage>) -> Result<(), NotTaken> {
        let of_kind = |kind| configs.iter().enumerate().filter(move |(_, config)| config.kind() == kind);
        let is_taken = |(track, config): &(usize, &TrackConfig)| self.carry(*track, config).is_ok();
        let first = |kind| Some(of_kind(kind).find(is_taken).or_else(|| of_kind(kind).next())?.0);
        let chosen = [TrackKind::Video, TrackKind::Audio].into_iter().filter_map(first);
        let chosen: Vec<(usize, &TrackConfig)> =
            chosen.filter_map(|track| Some((track, configs.get(track)?))).collect();
        self.sent = chosen.iter().map(|(track, config)| self.carry(*track, config)).collect::<Result<_, _>>()?;
        let metadata = Amf::Map(chosen.iter().flat_map(|(_, config)| metadata(config)).collect());
        let metadata = data("@setDataFrame", &[Amf::text("onMetaData"), metadata]);
        out.push(message(Medium::Data, at, metadata));
        for sent in &self.sent {
            let Some(header) = sent.header.clone() else { continue };
            let medium = match sent.writer {
                Writer::Pictures(_) => Medium::Video,
                Writer::Sound(_) => Medium::Audio,
            };
            out.push(message(medium, at, header));
        }
        Ok(())
    }

    fn carry(&self, track: usize, config: &TrackConfig) -> Result<Sent, NotTaken> {
        let not_taken = NotTaken(config.codec.name());
        let code = code(&config.codec);
        // These two everybody takes.
        let is_old = matches!(config.codec, CodecConfig::H264 { .. } | CodecConfig::Aac { .. });
        let is_told = self.server.any_codec || self.server.video.contains(&code) || self.server.audio.contains(&code);
        if !is_old && !is_told {
            return Err(not_taken);
        }
        let record = record(&config.codec).ok_or(not_taken)?;
        let (writer, header) = match config.kind() {
            TrackKind::Video => {
                let writer = VideoTrackWriter::new(VideoCodec::from_four_cc(code), 0).ok_or(not_taken)?;
                (Writer::Pictures(writer), record.map(|record| writer.sequence_start(&record)))
            }
            TrackKind::Audio => {
                let writer = AudioTrackWriter::new(AudioCodec::from_four_cc(code), 0).ok_or(not_taken)?;
                (Writer::Sound(writer), record.map(|record| writer.sequence_start(&record)))
            }
        };
        Ok(Sent { track, writer, header })
    }
}

/// Times wrap as those of every publisher do, after 49 days.
fn message(medium: Medium, at_ms: i64, payload: Bytes) -> MediaMessage {
    MediaMessage { medium, timestamp_ms: at_ms as u32, payload }
}

fn code(codec: &CodecConfig) -> FourCc {
    match codec {
        CodecConfig::H264 { .. } => FourCc::AVC,
        CodecConfig::Hevc { .. } => FourCc::HEVC,
        CodecConfig::Av1 { .. } => FourCc::AV1,
        CodecConfig::Vp9 { .. } => FourCc::VP9,
        CodecConfig::Vp8 { .. } => FourCc::VP8,
        CodecConfig::Aac { .. } => FourCc::AAC,
        CodecConfig::Opus { .. } => FourCc::OPUS,
        CodecConfig::Mp3(_) => FourCc::MP3,
        CodecConfig::Ac3 { .. } => FourCc::AC3,
        CodecConfig::Eac3 { .. } => FourCc::EAC3,
        CodecConfig::Flac { .. } => FourCc::FLAC,
    }
}

/// What begins a sequence of this codec, if anything does (E-RTMP v2, "Enhanced Audio" and "Enhanced Video"); `None` of a
/// configuration that cannot be read.
fn record(codec: &CodecConfig) -> Option<Option<Bytes>> {
    Some(match codec {
        CodecConfig::H264 { avcc: record }
        | CodecConfig::Hevc { hvcc: record }
        | CodecConfig::Av1 { av1c: record }
        | CodecConfig::Aac { config: record } => Some(record.clone()),
        CodecConfig::Vp9 { vpcc, .. } => Some([&VPCC_HEAD[..], vpcc].concat().into()),
        CodecConfig::Opus { dops } => Some(OpusConfig::parse(dops)?.to_head()),
        CodecConfig::Flac { dfla } => {
            let mut record = BytesMut::from(&b"fLaC"[..]);
            record.put_slice(dfla.get(4..)?);
            Some(record.freeze())
        }
        CodecConfig::Vp8 { .. } | CodecConfig::Mp3(_) | CodecConfig::Ac3 { .. } | CodecConfig::Eac3 { .. } => None,
    })
}

/// What `onMetaData` says of a track.
fn metadata(config: &TrackConfig) -> Members {
    let number = |name: &str, value: f64| (name.to_owned(), Amf::Number(value));
    let mut members = Members::new();
    if let Ok(Some(pictures)) = config.video_properties((0, 1)) {
        let id =
            if matches!(config.codec, CodecConfig::H264 { .. }) { LEGACY_AVC } else { code(&config.codec).number() };
        members.push(number("width", f64::from(pictures.width)));
        members.push(number("height", f64::from(pictures.height)));
        members.push(number("videocodecid", id));
    }
    if let Ok(Some(sound)) = config.audio_properties() {
        let id =
            if matches!(config.codec, CodecConfig::Aac { .. }) { LEGACY_AAC } else { code(&config.codec).number() };
        members.push(number("audiocodecid", id));
        members.push(number("audiosamplerate", f64::from(sound.sample_rate)));
        members.push(number("audiochannels", f64::from(sound.channels)));
        members.push(("stereo".to_owned(), Amf::Boolean(sound.channels == 2)));
    }
    members
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::frames::Frame;
    use crate::media::live::lineup::Fed;
    use crate::media::live::testing::{audio, video};
    use crate::media::testing::hex;
    use crate::protocols::rtmp::ingest::RtmpIngest;

    fn tapped(tracks: &Arc<Tracks>, track: usize, (dts, pts): (i64, i64), payload: &[u8]) -> Tapped {
        let payload = Bytes::copy_from_slice(payload);
        let keyframe = track > 0 || payload.get(4) == Some(&0x65);
        Tapped { tracks: Arc::clone(tracks), track, frame: Frame { dts, pts, duration: 0, keyframe, payload } }
    }

    fn tracks(epoch: u32, configs: Vec<TrackConfig>) -> Arc<Tracks> {
        Arc::new(Tracks { epoch, configs })
    }

    const KEY: &[u8] = &[0, 0, 0, 3, 0x65, 0x88, 0x80];
    const DELTA: &[u8] = &[0, 0, 0, 3, 0x61, 0x88, 0x80];

    /// Of a frame: its track, when it is decoded, how much later it is shown, and whether it is a key frame.
    type Told = (usize, i64, i64, bool);

    /// What a server makes of it.
    fn received(messages: Vec<MediaMessage>) -> (Vec<TrackConfig>, Vec<Told>) {
        let (mut ingest, mut fed) = (RtmpIngest::default(), Vec::new());
        for message in messages {
            let arrival = Duration::from_millis(message.timestamp_ms.into());
            ingest.take(message, arrival, &mut fed);
        }
        let (mut configs, mut frames) = (Vec::new(), Vec::new());
        for one in fed {
            match one {
                Fed::Visit(visit) => configs = visit.tracks,
                Fed::Frame { track, stamp, .. } => frames.push((track, stamp.dts, stamp.composition, stamp.keyframe)),
                Fed::Cue(_) => {}
            }
        }
        (configs, frames)
    }

    #[test]
    fn a_server_receives_what_the_stream_has() {
        let of = tracks(1, vec![video(), audio()]);
        let mut publication = Publication::new(Capabilities::none());
        let mut out = Vec::new();
        // An hour into the stream; the second picture is shown 80 ms after it is decoded, and the sound is from a little before.
        let hour = 3600 * 90_000;
        let frames = [
            tapped(&of, 0, (hour, hour), KEY),
            tapped(&of, 1, (3600 * 48_000 - 480, 3600 * 48_000 - 480), &[1]),
            tapped(&of, 0, (hour + 3600, hour + 10_800), DELTA),
            tapped(&of, 1, (3600 * 48_000 + 960, 3600 * 48_000 + 960), &[2]),
        ];
        frames.iter().for_each(|frame| publication.take(frame, &mut out).unwrap());
        let (configs, times) = received(out);
        let codecs: Vec<CodecConfig> = configs.into_iter().map(|config| config.codec).collect();
        assert_eq!(codecs, [video().codec, audio().codec]);
        assert_eq!(times, [(0, 0, 0, true), (1, 0, 0, true), (0, 40, 80, false), (1, 20, 0, true)]);
    }

    #[test]
    fn other_tracks_are_told_before_their_frames() {
        let mut publication = Publication::new(Capabilities::none());
        let mut out = Vec::new();
        publication.take(&tapped(&tracks(1, vec![video(), audio()]), 0, (0, 0), KEY), &mut out).unwrap();
        out.clear();
        publication.take(&tapped(&tracks(2, vec![video()]), 0, (9000, 9000), KEY), &mut out).unwrap();
        let kinds: Vec<(Medium, u32)> = out.iter().map(|message| (message.medium, message.timestamp_ms)).collect();
        assert_eq!(kinds, [(Medium::Data, 100), (Medium::Video, 100), (Medium::Video, 100)]);
    }

    #[test]
    fn what_a_server_does_not_take_is_not_sent() {
        let opus = OpusConfig::of_channels(2).unwrap().to_bytes();
        let flac = hex("00000000 80000022 1000 1000 00000e 000033 0bb802f0 00000000 00000000000000000000000000000000");
        for codec in [CodecConfig::Opus { dops: opus }, CodecConfig::Flac { dfla: flac.into() }] {
            let frame = tapped(&tracks(1, vec![TrackConfig::new(codec.clone(), 48_000)]), 0, (0, 0), &[0xfc, 0xff]);
            let mut out = Vec::new();
            let refused = Publication::new(Capabilities::none()).take(&frame, &mut out);
            assert_eq!((refused, out.len()), (Err(NotTaken(codec.name())), 0));
            Publication::new(Capabilities::default()).take(&frame, &mut out).unwrap();
            assert_eq!(received(out).0.first().map(|config| config.codec.clone()), Some(codec));
        }
    }
}
