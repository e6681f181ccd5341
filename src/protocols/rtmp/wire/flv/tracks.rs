//! What enhanced audio and video headers have in common: modifiers, and several tracks in one message.
use bytes::{Buf, Bytes};

use super::super::{four_cc, take, u24};
use super::{FlvError, FourCc};

const MOD_EX: u8 = 7;
const MOD_EX_NANOSECONDS: u8 = 0;
/// Longer than a millisecond is not meant.
const NANOSECONDS_MAX: u32 = 999_999;

/// Skips the modifiers in front of a packet and keeps the one that is defined. The packet type behind them, and nanoseconds
/// to be added to the message's time.
pub(super) fn modifiers(mut packet_type: u8, rest: &mut Bytes) -> Result<(u8, u32), FlvError> {
    let mut nanoseconds = 0;
    while packet_type == MOD_EX {
        let mut size = usize::from(u8(rest)?) + 1;
        if size == 256 {
            size = usize::from(rest.try_get_u16().map_err(|_| FlvError::CutShort)?) + 1;
        }
        let mut data = take(rest, size).ok_or(FlvError::CutShort)?;
        let types = u8(rest)?;
        packet_type = types & 0x0f;
        if types >> 4 == MOD_EX_NANOSECONDS {
            nanoseconds = u24(&mut data).ok_or(FlvError::CutShort)?.min(NANOSECONDS_MAX);
        }
    }
    Ok((packet_type, nanoseconds))
}

/// How the tracks of a message lie behind one another.
#[derive(Debug, Clone, Copy)]
enum Layout {
    /// The only track, number 0, without a number.
    Plain(FourCc),
    OneTrack(FourCc),
    ManyTracks(FourCc),
    ManyCodecs,
}

/// One track's part of a message.
pub(super) struct TrackPart {
    pub(super) track: u8,
    pub(super) codec: FourCc,
    pub(super) body: Bytes,
}

/// The tracks of one message, in order.
#[derive(Debug, Clone)]
pub(super) struct Tracks {
    layout: Layout,
    /// `None` at the end.
    rest: Option<Bytes>,
}

impl Tracks {
    /// Reads what precedes the tracks; `packet_type` becomes that of every track.
    pub(super) fn read(packet_type: &mut u8, multitrack: u8, mut rest: Bytes) -> Result<Self, FlvError> {
        if *packet_type != multitrack {
            let layout = Layout::Plain(code(&mut rest)?);
            return Ok(Self { layout, rest: Some(rest) });
        }
        let types = u8(&mut rest)?;
        *packet_type = types & 0x0f;
        if *packet_type == multitrack {
            return Err(FlvError::PacketType(multitrack));
        }
        let layout = match types >> 4 {
            0 => Layout::OneTrack(code(&mut rest)?),
            1 => Layout::ManyTracks(code(&mut rest)?),
            2 => Layout::ManyCodecs,
            other => return Err(FlvError::MultitrackType(other)),
        };
        Ok(Self { layout, rest: Some(rest) })
    }

    fn part(&mut self, mut rest: Bytes) -> Result<TrackPart, FlvError> {
        let (codec, is_sized) = match self.layout {
            Layout::Plain(codec) => return Ok(TrackPart { track: 0, codec, body: rest }),
            Layout::OneTrack(codec) => (codec, false),
            Layout::ManyTracks(codec) => (codec, true),
            Layout::ManyCodecs => (code(&mut rest)?, true),
        };
        let track = u8(&mut rest)?;
        if !is_sized {
            return Ok(TrackPart { track, codec, body: rest });
        }
        let size = u24(&mut rest).ok_or(FlvError::CutShort)? as usize;
        let body = take(&mut rest, size).ok_or(FlvError::CutShort)?;
        self.rest = (!rest.is_empty()).then_some(rest);
        Ok(TrackPart { track, codec, body })
    }
}

impl Iterator for Tracks {
    type Item = Result<TrackPart, FlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        Some(self.part(rest))
    }
}

pub(super) fn u8(bytes: &mut Bytes) -> Result<u8, FlvError> {
    bytes.try_get_u8().map_err(|_| FlvError::CutShort)
}

fn code(bytes: &mut Bytes) -> Result<FourCc, FlvError> {
    four_cc(bytes).ok_or(FlvError::CutShort)
}
