//! What a programme consists of: the program association and program map tables (sections 2.4.4.3 and 2.4.4.8), and the
//! descriptors that tell what a stream is.
use bytes::Bytes;

use super::sections::checked;
use crate::domain::asset::TrackKind;
use crate::media::movie::language_tag;

/// Table of the association section.
pub(super) const PAT_TABLE: u8 = 0;
/// Table of map sections.
pub(super) const PMT_TABLE: u8 = 2;
/// Elementary streams of a programme at most.
const STREAMS_MAX: usize = 32;

/// How a stream is coded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Coding {
    H264,
    Hevc,
    /// AAC with ADTS heads.
    Adts,
    /// AAC in LATM.
    Latm,
    /// MPEG audio of any layer.
    MpegAudio,
    Ac3,
    Eac3,
    /// Opus with so many channels.
    Opus(u8),
    /// SCTE 35.
    Splices,
    Id3,
    /// Known not to be taken.
    Foreign(TrackKind, &'static str),
}

impl Coding {
    /// Pictures or sound; `None` of anything else.
    pub(super) fn kind(&self) -> Option<TrackKind> {
        match self {
            Self::H264 | Self::Hevc => Some(TrackKind::Video),
            Self::Adts | Self::Latm | Self::MpegAudio | Self::Ac3 | Self::Eac3 | Self::Opus(_) => {
                Some(TrackKind::Audio)
            }
            Self::Splices | Self::Id3 => None,
            Self::Foreign(kind, _) => Some(*kind),
        }
    }
}

/// A stream of the programme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elementary {
    pub(super) pid: u16,
    pub(super) coding: Coding,
    /// BCP 47.
    pub(super) language: Option<String>,
}

/// The body of a section of this table that holds now, behind its general head.
fn body(section: &[u8], wanted: u8) -> Option<&[u8]> {
    let body = checked(section)?;
    let (&[table, _, _, _, _, version, _, _], rest) = body.split_first_chunk::<8>()?;
    (table == wanted && version & 1 == 1).then_some(rest)
}

/// Where the map of the first programme is.
pub(super) fn read_association(section: &[u8]) -> Option<u16> {
    let programmes = body(section, PAT_TABLE)?.chunks_exact(4);
    let mut maps = programmes.filter_map(|entry| match entry {
        // The network's own table is none of a programme.
        [0, 0, _, _] => None,
        &[_, _, high, low] => Some(u16::from_be_bytes([high & 0x1f, low])),
        _ => None,
    });
    maps.next()
}

/// The streams of a programme that are of interest.
pub(super) fn read_map(section: &Bytes) -> Option<Vec<Elementary>> {
    let (&[_, _, high, low], rest) = body(section, PMT_TABLE)?.split_first_chunk::<4>()?;
    let mut rest = rest.get(length(high, low)..)?;
    let mut streams = Vec::new();
    while let Some((&[kind, pid_high, pid_low, high, low], tail)) = rest.split_first_chunk::<5>() {
        let (descriptors, tail) = tail.split_at_checked(length(high, low))?;
        rest = tail;
        let pid = u16::from_be_bytes([pid_high & 0x1f, pid_low]);
        if let Some(coding) = coding_of(kind, descriptors).filter(|_| streams.len() < STREAMS_MAX) {
            streams.push(Elementary { pid, coding, language: language_of(descriptors) });
        }
    }
    Some(streams)
}

fn length(high: u8, low: u8) -> usize {
    usize::from(u16::from_be_bytes([high & 0x0f, low]))
}

fn descriptors(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[tag, length], rest) = bytes.split_first_chunk::<2>()?;
        let (descriptor, rest) = rest.split_at_checked(usize::from(length))?;
        bytes = rest;
        Some((tag, descriptor))
    })
}

fn coding_of(kind: u8, described: &[u8]) -> Option<Coding> {
    let foreign = |kind, name| Some(Coding::Foreign(kind, name));
    match kind {
        0x1b => Some(Coding::H264),
        0x24 => Some(Coding::Hevc),
        0x0f => Some(Coding::Adts),
        0x11 => Some(Coding::Latm),
        0x03 | 0x04 => Some(Coding::MpegAudio),
        0x81 => Some(Coding::Ac3),
        0x87 => Some(Coding::Eac3),
        0x86 => Some(Coding::Splices),
        0x15 => Some(Coding::Id3),
        0x06 => private(described),
        0x01 => foreign(TrackKind::Video, "MPEG-1 video"),
        0x02 => foreign(TrackKind::Video, "MPEG-2 video"),
        0x10 => foreign(TrackKind::Video, "MPEG-4 part 2"),
        0x21 => foreign(TrackKind::Video, "JPEG 2000"),
        0x33 => foreign(TrackKind::Video, "VVC"),
        0xd1 => foreign(TrackKind::Video, "Dirac"),
        0x82 | 0x85 | 0x8a => foreign(TrackKind::Audio, "DTS"),
        0x83 => foreign(TrackKind::Audio, "TrueHD"),
        _ => None,
    }
}

/// A stream of private data tells what it is by its descriptors: by those of DVB (EN 300 468), or by a registration.
fn private(described: &[u8]) -> Option<Coding> {
    let registered = descriptors(described).find_map(|(tag, body)| body.first_chunk::<4>().filter(|_| tag == 0x05));
    match registered {
        Some(b"AC-3") => return Some(Coding::Ac3),
        Some(b"EAC3") => return Some(Coding::Eac3),
        Some(b"HEVC") => return Some(Coding::Hevc),
        Some(b"CUEI") => return Some(Coding::Splices),
        Some(b"ID3 ") => return Some(Coding::Id3),
        Some(b"AV01") => return Some(Coding::Foreign(TrackKind::Video, "AV1 in MPEG-TS")),
        Some(b"BSSD") => return Some(Coding::Foreign(TrackKind::Audio, "SMPTE 302M")),
        Some(b"Opus") => {
            // Extension descriptor of Opus: how many channels, in the usual order.
            let told = descriptors(described).find_map(|(tag, body)| match (tag, body) {
                (0x7f, &[0x80, channels, ..]) => Some(channels),
                _ => None,
            });
            return Some(
                told.filter(|channels| (1..=8).contains(channels)).map_or(
                    Coding::Foreign(TrackKind::Audio, "Opus with channels in an order of its own"),
                    Coding::Opus,
                ),
            );
        }
        _ => {}
    }
    descriptors(described).find_map(|(tag, _)| match tag {
        0x6a => Some(Coding::Ac3),
        0x7a => Some(Coding::Eac3),
        0x7c => Some(Coding::Adts),
        0x7b => Some(Coding::Foreign(TrackKind::Audio, "DTS")),
        _ => None,
    })
}

fn language_of(described: &[u8]) -> Option<String> {
    let code = descriptors(described).find_map(|(tag, body)| body.first_chunk::<3>().filter(|_| tag == 0x0a))?;
    language_tag(std::str::from_utf8(code).ok()?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::media::mpegts::sections::tests::section;

    /// A programme's map: each stream's type, PID and descriptors.
    pub(in crate::media::mpegts) fn map(streams: &[(u8, u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0];
        for (kind, pid, descriptors) in streams {
            let [high, low] = pid.to_be_bytes();
            body.extend([*kind, 0xe0 | high, low, 0xf0, descriptors.len() as u8]);
            body.extend(*descriptors);
        }
        section(PMT_TABLE, &body)
    }

    /// An association of one programme with its map.
    pub(in crate::media::mpegts) fn association(pid: u16) -> Vec<u8> {
        let [high, low] = pid.to_be_bytes();
        section(PAT_TABLE, &[0, 1, 0xc1, 0, 0, 0, 0, 0xe0, 0x10, 0, 1, 0xe0 | high, low])
    }

    fn codings(streams: &[(u8, u16, &[u8])]) -> Vec<Coding> {
        let read = read_map(&map(streams).into()).unwrap();
        read.into_iter().map(|stream| stream.coding).collect()
    }

    #[test]
    fn programmes_are_found() {
        assert_eq!(read_association(&association(0x1000)), Some(0x1000));
        let mut later = association(0x1000);
        later[5] &= !1;
        assert_eq!(read_association(&later), None, "not yet, and the checksum is wrong");
        assert_eq!(read_association(&map(&[])), None);
    }

    #[test]
    fn streams_are_told_by_type_and_by_descriptors() {
        let types: Vec<(u8, u16, &[u8])> = vec![(0x1b, 1, &[]), (0x24, 2, &[]), (0x0f, 3, &[]), (0x11, 4, &[])];
        assert_eq!(codings(&types), [Coding::H264, Coding::Hevc, Coding::Adts, Coding::Latm]);
        let registered = codings(&[
            (6, 1, b"\x05\x04AC-3"),
            (6, 2, b"\x05\x04Opus\x7f\x02\x80\x02"),
            (6, 3, b"\x05\x04Opus\x7f\x02\x80\x00"),
            (6, 4, b"\x7a\x01\x00"),
            (6, 5, b"\x56\x00"),
            (0x86, 6, b"\x05\x04CUEI"),
        ]);
        let own_order = Coding::Foreign(TrackKind::Audio, "Opus with channels in an order of its own");
        assert_eq!(registered, [Coding::Ac3, Coding::Opus(2), own_order, Coding::Eac3, Coding::Splices]);
        let spoken = read_map(&map(&[(0x0f, 1, b"\x0a\x04deu\0"), (0x0f, 2, b"\x0a\x04d")]).into()).unwrap();
        assert_eq!(spoken[0].language.as_deref(), Some("de"));
        assert_eq!(spoken[1].language, None);
    }
}
