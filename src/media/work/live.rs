//! What a server and the worker process of a live stream's ladder tell each other once both are ready: messages of a kind, a
//! length and a body, over the same socket.
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::domain::ladder::{PictureTreatment, Rung};
use crate::media::frames::{CodecConfig, TrackConfig};
use crate::media::live::broadcast::RungPicture;

/// Bytes before a message's body: its kind, and the body's length.
pub const HEAD_BYTES: usize = 5;
/// Longest body taken from the other side, bytes: a coded picture, or a part of the highest rate.
const BODY_BYTES_MAX: u32 = 16 << 20;

/// One epoch of a broadcast's pictures, to be encoded in these rungs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LadderTask {
    /// The epoch, repeated in all that comes of it.
    pub epoch: u32,
    /// Ticks per second of all times.
    pub timescale: u32,
    /// What happens to the pictures.
    pub treatment: PictureTreatment,
    /// The rungs, largest first.
    pub rungs: Vec<Rung>,
    /// Of each: pictures before this, ticks, are there already.
    pub made_until: Vec<Option<i64>>,
}

/// What sound is made, in stereo and 48,000 samples a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MadeSound {
    /// For browsers by WebRTC.
    Opus,
    /// AAC-LC, for every player.
    Aac,
}

/// Sound of one epoch, to be encoded anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSoundTask {
    /// The epoch, repeated in all that comes of it.
    pub epoch: u32,
    /// The codec's usual name.
    pub codec: String,
    /// Its decoder configuration, if it has one.
    pub config: Vec<u8>,
    /// Samples a second.
    pub sample_rate: u32,
    /// Number of channels.
    pub channels: u16,
    /// What it is made.
    pub make: MadeSound,
}

impl LiveSoundTask {
    /// Of sound of this configuration; `None` of such that is not decoded.
    pub fn of(epoch: u32, config: &TrackConfig, make: MadeSound) -> Option<Self> {
        let specific = match &config.codec {
            CodecConfig::Aac { config } => config.to_vec(),
            CodecConfig::Opus { .. } | CodecConfig::Mp3(_) | CodecConfig::Ac3 { .. } | CodecConfig::Eac3 { .. } => {
                Vec::new()
            }
            _ => return None,
        };
        let properties = config.audio_properties().ok()??;
        let codec = config.codec.name().to_owned();
        let (sample_rate, channels) = (properties.sample_rate, properties.channels);
        Some(Self { epoch, codec, config: specific, sample_rate, channels, make })
    }
}

/// A packet of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoundPacket {
    /// When it is heard, microseconds of the stream's timeline.
    pub pts_micros: i64,
    /// Its bytes.
    pub payload: Bytes,
}

/// Server to worker.
#[derive(Debug, Clone, PartialEq)]
pub enum ToLadder {
    /// An epoch begins.
    Begin(LadderTask),
    /// Bytes of a fragmented MP4 file of the epoch's pictures: first its initialisation segment, then parts.
    Media(Bytes),
    /// A segment starts here, ticks: told before its media.
    Cut(i64),
    /// No more of this rung, by its index.
    Drop(u8),
    /// Sound begins.
    BeginSound(LiveSoundTask),
    /// A packet of it.
    Sound(SoundPacket),
}

/// Worker to server.
#[derive(Debug, Clone, PartialEq)]
pub enum FromLadder {
    /// What a rung is decoded with.
    Config {
        /// The epoch.
        epoch: u32,
        /// The rung's index.
        rung: u8,
        /// `AVCDecoderConfigurationRecord`.
        avcc: Bytes,
    },
    /// The next picture of a rung.
    Picture {
        /// The epoch.
        epoch: u32,
        /// The rung's index.
        rung: u8,
        /// The picture.
        picture: RungPicture,
    },
    /// The next packet of sound.
    Sound {
        /// The epoch.
        epoch: u32,
        /// The packet, of what is to be made.
        packet: SoundPacket,
    },
}

/// A message that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message that cannot be read: {0}")]
pub struct Unreadable(&'static str);

/// Reads a head: a kind and the length of what follows.
pub fn head(bytes: [u8; HEAD_BYTES]) -> Result<(u8, usize), Unreadable> {
    let [kind, length @ ..] = bytes;
    let length = u32::from_be_bytes(length);
    if length > BODY_BYTES_MAX {
        return Err(Unreadable("too long"));
    }
    Ok((kind, length as usize))
}

fn message(kind: u8, body: &[&[u8]]) -> Bytes {
    let length: usize = body.iter().map(|piece| piece.len()).sum();
    let mut out = BytesMut::with_capacity(HEAD_BYTES + length);
    out.put_u8(kind);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    body.iter().for_each(|piece| out.extend_from_slice(piece));
    out.freeze()
}

impl SoundPacket {
    fn decode(mut body: Bytes) -> Result<Self, Unreadable> {
        let pts_micros = body.try_get_i64().map_err(|_| Unreadable("it ends early"))?;
        Ok(Self { pts_micros, payload: body })
    }
}

impl ToLadder {
    /// As sent.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Begin(task) => message(0, &[&serde_json::to_vec(task).unwrap_or_default()]),
            Self::Media(bytes) => message(1, &[bytes]),
            Self::Cut(at) => message(2, &[&at.to_be_bytes()]),
            Self::Drop(rung) => message(3, &[&[*rung]]),
            Self::BeginSound(task) => message(4, &[&serde_json::to_vec(task).unwrap_or_default()]),
            Self::Sound(packet) => message(5, &[&packet.pts_micros.to_be_bytes(), &packet.payload]),
        }
    }

    /// As received.
    pub fn decode(kind: u8, body: Bytes) -> Result<Self, Unreadable> {
        match kind {
            0 => serde_json::from_slice(&body).map(Self::Begin).map_err(|_| Unreadable("a task")),
            1 => Ok(Self::Media(body)),
            2 => body.as_ref().try_into().map(|at| Self::Cut(i64::from_be_bytes(at))).map_err(|_| Unreadable("a cut")),
            4 => serde_json::from_slice(&body).map(Self::BeginSound).map_err(|_| Unreadable("a task of sound")),
            5 => SoundPacket::decode(body).map(Self::Sound),
            3 => body.first().copied().map(Self::Drop).ok_or(Unreadable("a rung")),
            _ => Err(Unreadable("its kind")),
        }
    }
}

impl FromLadder {
    /// As sent.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Config { epoch, rung, avcc } => message(0, &[&epoch.to_be_bytes(), &[*rung], avcc]),
            Self::Picture { epoch, rung, picture } => {
                let head = [*rung, u8::from(picture.keyframe)];
                message(1, &[&epoch.to_be_bytes(), &head, &picture.pts.to_be_bytes(), &picture.payload])
            }
            Self::Sound { epoch, packet } => {
                message(2, &[&epoch.to_be_bytes(), &packet.pts_micros.to_be_bytes(), &packet.payload])
            }
        }
    }

    /// As received.
    pub fn decode(kind: u8, mut body: Bytes) -> Result<Self, Unreadable> {
        let short = |_| Unreadable("it ends early");
        match kind {
            0 => {
                let epoch = body.try_get_u32().map_err(short)?;
                let rung = body.try_get_u8().map_err(short)?;
                Ok(Self::Config { epoch, rung, avcc: body })
            }
            1 => {
                let epoch = body.try_get_u32().map_err(short)?;
                let rung = body.try_get_u8().map_err(short)?;
                let keyframe = body.try_get_u8().map_err(short)? != 0;
                let pts = body.try_get_i64().map_err(short)?;
                Ok(Self::Picture { epoch, rung, picture: RungPicture { pts, keyframe, payload: body } })
            }
            2 => {
                let epoch = body.try_get_u32().map_err(short)?;
                Ok(Self::Sound { epoch, packet: SoundPacket::decode(body)? })
            }
            _ => Err(Unreadable("its kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(message: Bytes) -> (u8, Bytes) {
        let (kind, length) = head(message[..HEAD_BYTES].try_into().unwrap()).unwrap();
        assert_eq!(message.len(), HEAD_BYTES + length);
        (kind, message.slice(HEAD_BYTES..))
    }

    #[test]
    fn sound_that_nothing_decodes_is_left_alone() {
        let damaged = TrackConfig::new(CodecConfig::Opus { dops: Bytes::new() }, 48_000);
        assert_eq!(LiveSoundTask::of(1, &damaged, MadeSound::Opus), None);
    }

    #[test]
    fn messages_are_read_back() {
        let packet = SoundPacket { pts_micros: -5, payload: Bytes::from_static(b"aac") };
        let config = vec![0x11, 0x90];
        let task = LiveSoundTask {
            epoch: 3,
            codec: "AAC".into(),
            config,
            sample_rate: 48_000,
            channels: 2,
            make: MadeSound::Aac,
        };
        let sound = [ToLadder::BeginSound(task), ToLadder::Sound(packet.clone())];
        let pictures = [ToLadder::Media(Bytes::from_static(b"moof")), ToLadder::Cut(-7), ToLadder::Drop(3)];
        for message in pictures.into_iter().chain(sound) {
            let (kind, body) = parts(message.encode());
            assert_eq!(ToLadder::decode(kind, body), Ok(message));
        }
        let picture = RungPicture { pts: 90_001, keyframe: true, payload: Bytes::from_static(b"slice") };
        let picture = FromLadder::Picture { epoch: 4097, rung: 2, picture };
        let sound = FromLadder::Sound { epoch: 9, packet };
        for message in [FromLadder::Config { epoch: 7, rung: 1, avcc: Bytes::from_static(&[1, 2]) }, picture, sound] {
            let (kind, body) = parts(message.encode());
            assert_eq!(FromLadder::decode(kind, body), Ok(message));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(head([1, 0xff, 0, 0, 0]).is_err());
        for (kind, body) in [(0, &b""[..]), (1, b"short"), (9, b"x")] {
            assert!(FromLadder::decode(kind, Bytes::copy_from_slice(body)).is_err(), "{kind}");
        }
        assert!(ToLadder::decode(2, Bytes::from_static(b"1234567")).is_err());
        assert!(ToLadder::decode(0, Bytes::from_static(b"{}")).is_err());
    }
}
