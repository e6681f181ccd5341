//! A stream of sound: frames are found in its bytes, wherever PES packets begin and end, and told apart from their heads.
use bytes::{Buf, Bytes, BytesMut};

use super::latm::{self, Latm};
use super::pes::Pes;
use super::tables::Coding;
use crate::media::codecs::aac::{AacConfig, AdtsHead};
use crate::media::codecs::dolby::DolbyFrame;
use crate::media::codecs::mp3::Mp3Header;
use crate::media::codecs::opus::{self, OpusConfig};
use crate::media::frames::{CodecConfig, PacketLength, TrackConfig};

/// Ticks per second of the clock.
const CLOCK: i64 = 90_000;
/// Turns of the clock.
const CLOCK_MASK: i64 = (1 << 33) - 1;
/// Bytes of a frame at most: more than any codec's.
const FRAME_BYTES_MAX: usize = 16 << 10;

/// A stream of sound.
#[derive(Debug)]
pub(super) struct Sound {
    coding: Coding,
    /// Of a frame that has begun, and behind it.
    rest: BytesMut,
    /// The time that a PES packet tells is of the first frame that begins at or behind this place of `rest`.
    told: Option<(usize, i64)>,
    /// When the next frame is.
    next: Option<i64>,
    /// What the frames say, with their sample rate.
    config: Option<(CodecConfig, u32)>,
    length: PacketLength,
    dolby: Option<DolbyFrame>,
    latm: Option<Latm>,
    damaged: u64,
    /// Whether it is MPEG audio of another layer than the third.
    is_of_other_layer: bool,
}

/// A packet of sound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// When it is, by the clock of the stream.
    pub(super) time: i64,
    pub(super) payload: Bytes,
    /// Whether the configuration is another one from here on.
    pub(super) is_new: bool,
}

/// What begins at some place.
enum Found {
    /// A frame of so many bytes, the head included.
    Frame(usize),
    /// None.
    Nothing,
}

impl Sound {
    pub(super) fn new(coding: Coding) -> Self {
        Self {
            coding,
            rest: BytesMut::new(),
            told: None,
            next: None,
            config: None,
            length: PacketLength::Fixed(0),
            dolby: None,
            latm: None,
            damaged: 0,
            is_of_other_layer: false,
        }
    }

    /// Its configuration, once it is known.
    pub(super) fn config(&self) -> Option<TrackConfig> {
        let (codec, rate) = self.config.clone()?;
        Some(TrackConfig::new(codec, rate))
    }

    /// Frames and stretches of bytes that could not be used.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// What it is, if that cannot be taken.
    pub(super) fn foreign(&self) -> Option<&'static str> {
        self.is_of_other_layer.then_some("MPEG audio of layer 1 or 2")
    }

    /// Packets are missing: a frame that has begun is lost.
    pub(super) fn reset(&mut self) {
        self.rest.clear();
        (self.told, self.next) = (None, None);
    }

    /// Takes what one PES packet holds.
    pub(super) fn take(&mut self, pes: &Pes, out: &mut Vec<Heard>) {
        if let Coding::Opus(channels) = self.coding {
            return self.take_opus(channels, pes, out);
        }
        self.told = pes.pts.map(|pts| (self.rest.len(), pts)).or(self.told);
        self.rest.extend_from_slice(&pes.payload);
        while !self.rest.is_empty() {
            let Found::Frame(bytes) = self.find() else {
                if !self.skip() {
                    return;
                }
                continue;
            };
            if bytes > FRAME_BYTES_MAX {
                self.damaged += 1;
                self.advance(1);
                continue;
            }
            if self.rest.len() < bytes {
                return;
            }
            if let Some((_, told)) = self.told.take_if(|(place, _)| *place == 0) {
                self.next = Some(told);
            }
            let frame = self.rest.split_to(bytes).freeze();
            self.told = self.told.map(|(place, told)| (place.saturating_sub(bytes), told));
            self.hear(frame, out);
        }
    }

    fn find(&self) -> Found {
        let bytes = match self.coding {
            Coding::Adts => AdtsHead::parse(&self.rest).map(|head| head.frame_bytes),
            Coding::Latm => latm::unit_bytes(&self.rest),
            Coding::MpegAudio => Mp3Header::frame_bytes(&self.rest),
            _ => DolbyFrame::unit_bytes(&self.rest),
        };
        bytes.map_or(Found::Nothing, Found::Frame)
    }

    /// Goes to where a frame may begin; `false` when more bytes have to come first.
    fn skip(&mut self) -> bool {
        let layer = self.rest.get(..2).map_or(0, |head| if let [0xff, second] = head { second & 0xe6 } else { 0 });
        // What looks like a head elsewhere may be none.
        let is_first = self.config.is_none() && self.told.is_some_and(|(place, _)| place == 0);
        self.is_of_other_layer |= is_first && self.coding == Coding::MpegAudio && matches!(layer, 0xe4 | 0xe6);
        let (first, mask, second) = match self.coding {
            Coding::Adts => (0xff, 0xf6, 0xf0),
            Coding::Latm => (0x56, 0xe0, 0xe0),
            Coding::MpegAudio => (0xff, 0xe6, 0xe2),
            _ => (0x0b, 0xff, 0x77),
        };
        let is_begin = |pair: &[u8]| matches!(pair, [a, b] if *a == first && b & mask == second);
        // A head whose end is still to come may be at the front.
        let is_short = self.rest.len() < 8;
        if is_short && (self.rest.len() < 2 || self.rest.get(..2).is_some_and(is_begin)) {
            return false;
        }
        let behind = self.rest.get(1..).unwrap_or_default();
        let away = 1 + behind.windows(2).position(is_begin).unwrap_or(behind.len().saturating_sub(1));
        self.damaged += 1;
        self.advance(away);
        true
    }

    fn advance(&mut self, bytes: usize) {
        self.rest.advance(bytes.min(self.rest.len()));
        self.told = self.told.map(|(place, told)| (place.saturating_sub(bytes), told));
        // What comes next is not where the last frame ended.
        self.next = None;
    }

    /// A whole frame.
    fn hear(&mut self, frame: Bytes, out: &mut Vec<Heard>) {
        let heard = match self.coding {
            Coding::Adts => AdtsHead::parse(&frame).and_then(|head| {
                let config = Bytes::copy_from_slice(&head.config);
                let rate = AacConfig::parse(&config)?.sample_rate;
                let payload = frame.get(head.head_bytes..).map(|payload| frame.slice_ref(payload))?;
                Some((CodecConfig::Aac { config }, rate, vec![payload]))
            }),
            Coding::Latm => self.hear_latm(&frame),
            Coding::MpegAudio => {
                let header = Mp3Header::parse(&frame);
                header.map(|header| (CodecConfig::Mp3(header), header.sample_rate, vec![frame]))
            }
            _ => self.hear_dolby(frame),
        };
        let Some((config, rate, payloads)) = heard else {
            self.damaged += 1;
            self.next = None;
            return;
        };
        let mut is_new = self.config.as_ref().is_none_or(|(known, _)| *known != config);
        if is_new {
            self.length = PacketLength::of(&config);
            self.config = Some((config, rate));
        }
        for payload in payloads {
            self.emit(payload, std::mem::take(&mut is_new), out);
        }
    }

    fn hear_latm(&mut self, frame: &[u8]) -> Option<(CodecConfig, u32, Vec<Bytes>)> {
        let (latm, units) = Latm::read(frame, self.latm.as_ref())?;
        let config = latm.config.clone();
        let rate = AacConfig::parse(&config)?.sample_rate;
        self.latm = Some(latm);
        Some((CodecConfig::Aac { config }, rate, units))
    }

    /// What may change from frame to frame does not make another configuration.
    fn hear_dolby(&mut self, frame: Bytes) -> Option<(CodecConfig, u32, Vec<Bytes>)> {
        let head = DolbyFrame::parse(&frame)?;
        let like = self.dolby.filter(|known| known.is_like(&head)).unwrap_or(head);
        self.dolby = Some(like);
        let codec = match like.is_enhanced {
            true => CodecConfig::Eac3 { dec3: like.to_bytes() },
            false => CodecConfig::Ac3 { dac3: like.to_bytes() },
        };
        Some((codec, like.sample_rate(), vec![frame]))
    }

    fn emit(&mut self, payload: Bytes, is_new: bool, out: &mut Vec<Heard>) {
        let Some((_, rate)) = self.config.as_ref() else { return };
        let ticks = i64::from(self.length.samples(&payload)) * CLOCK / i64::from((*rate).max(1));
        match self.next {
            Some(time) => {
                self.next = Some((time + ticks) & CLOCK_MASK);
                out.push(Heard { time, payload, is_new });
            }
            // Nobody knows when it is.
            None => self.damaged += 1,
        }
    }

    /// Each access unit has a head of its own ("Opus in MPEG-TS" by Xiph, section 4.2).
    fn take_opus(&mut self, channels: u8, pes: &Pes, out: &mut Vec<Heard>) {
        let mut is_new = self.config.is_none();
        if is_new {
            let Some(config) = OpusConfig::of_channels(channels) else { return };
            self.config = Some((CodecConfig::Opus { dops: config.to_bytes() }, opus::SAMPLE_RATE));
            self.length = PacketLength::Opus;
        }
        self.next = pes.pts.or(self.next);
        let mut rest = pes.payload.clone();
        while !rest.is_empty() {
            let Some(payload) = take_opus_unit(&mut rest) else {
                self.damaged += 1;
                return;
            };
            self.emit(payload, std::mem::take(&mut is_new), out);
        }
    }
}

/// An access unit behind its head.
fn take_opus_unit(rest: &mut Bytes) -> Option<Bytes> {
    let (first, second) = (rest.try_get_u8().ok()?, rest.try_get_u8().ok()?);
    if u16::from_be_bytes([first, second]) >> 5 != 0x3ff {
        return None;
    }
    let mut length = 0;
    loop {
        let more = rest.try_get_u8().ok()?;
        length += usize::from(more);
        if more != 0xff {
            break;
        }
    }
    // How much to leave out at either end.
    for flag in [0x10, 0x08] {
        if second & flag != 0 {
            rest.try_get_u16().ok()?;
        }
    }
    if second & 0x04 != 0 {
        let extension = usize::from(rest.try_get_u8().ok()?);
        if rest.len() < extension {
            return None;
        }
        rest.advance(extension);
    }
    (length > 0 && rest.len() >= length).then(|| rest.split_to(length))
}
