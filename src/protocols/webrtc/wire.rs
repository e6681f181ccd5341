//! What comes from strangers: as much of a datagram as tells whose it is, offers and fragments of session descriptions, and
//! the payloads of RTP packets.
use std::net::SocketAddr;

pub mod candidates;
pub mod fragment;
pub mod links;
pub mod offer;
pub mod payload;

/// Bytes of the head of STUN messages (RFC 8489, section 5).
const STUN_HEAD: usize = 20;
/// What every STUN message has at its fifth byte.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// The attribute that names both sides.
const USERNAME: u16 = 0x0006;
/// The attribute by which a path is nominated.
const USE_CANDIDATE: u16 = 0x0025;
/// First bytes of a check, and of an answer that says that it is good.
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
/// Attributes looked at in one message at most.
const ATTRIBUTES_MAX: usize = 32;
/// Longest name that a side has (RFC 8839, section 5.4).
pub const NAME_BYTES_MAX: usize = 256;

/// What a datagram is (RFC 7983, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// STUN: connectivity checks.
    Stun,
    /// DTLS: handshakes.
    Dtls,
    /// RTP or RTCP: media.
    Media,
}

impl Kind {
    /// `None` when it is nothing that belongs here.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        match datagram.first()? {
            0..=3 => Some(Self::Stun),
            20..=63 => Some(Self::Dtls),
            128..=191 => Some(Self::Media),
            _ => None,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|pair| u16::from_be_bytes(*pair))
}

/// The value of a STUN message's first attribute of this kind.
fn attribute(datagram: &[u8], wanted: u16) -> Option<&[u8]> {
    if Kind::of(datagram) != Some(Kind::Stun) || datagram.get(4..8)? != MAGIC_COOKIE {
        return None;
    }
    let mut rest = datagram.get(STUN_HEAD..)?;
    for _ in 0..ATTRIBUTES_MAX {
        let (kind, length) = (word(rest, 0)?, usize::from(word(rest, 2)?));
        let value = rest.get(4..4 + length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
    None
}

/// Whom a connectivity check is meant for: the first half of its user name, which that side has given itself (RFC 8445, section
/// 7.2.2). `None` of whatever is no check.
pub fn addressee(datagram: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(attribute(datagram, USERNAME)?).ok()?.split(':').next()?;
    (1..=NAME_BYTES_MAX).contains(&name.len()).then_some(name)
}

/// Whether it is the answer to a check that is good.
pub fn is_good_check(answer: &[u8]) -> bool {
    Kind::of(answer) == Some(Kind::Stun) && answer.starts_with(&BINDING_SUCCESS)
}

/// The path that a client wants to be spoken to on. It nominates one by a check (RFC 8445, section 8.1.1), and another one when its
/// address has changed; what counts is that the check is good, which its answer shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path {
    nominated: Option<SocketAddr>,
    chosen: Option<SocketAddr>,
}

impl Path {
    /// A datagram comes from there.
    pub fn note(&mut self, datagram: &[u8], from: SocketAddr) {
        if datagram.starts_with(&BINDING_REQUEST) && attribute(datagram, USE_CANDIDATE).is_some() {
            self.nominated = Some(from);
        }
    }

    /// Where to send a datagram that would go there: answers to checks go where those come from, everything else to where the
    /// client was last.
    pub fn way(&mut self, datagram: &[u8], to: SocketAddr) -> SocketAddr {
        if Kind::of(datagram) == Some(Kind::Stun) {
            if is_good_check(datagram) && self.nominated == Some(to) {
                self.chosen = Some(to);
            }
            return to;
        }
        self.chosen.unwrap_or(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut datagram = vec![0, 1, 0, 0];
        datagram.extend(MAGIC_COOKIE);
        datagram.extend([7; 12]);
        for (kind, value) in attributes {
            datagram.extend(kind.to_be_bytes());
            datagram.extend((value.len() as u16).to_be_bytes());
            datagram.extend(*value);
            datagram.resize(datagram.len().next_multiple_of(4), 0);
        }
        datagram
    }

    #[test]
    fn checks_name_whom_they_are_meant_for() {
        let whole = check(&[(0x24, &[0; 4]), (0x8022, b"agent"), (USERNAME, b"ours:theirs"), (0x25, &[])]);
        assert_eq!(addressee(&whole), Some("ours"));
        for length in 0..whole.len() {
            let _ = addressee(&whole[..length]);
        }
        assert_eq!(addressee(&check(&[(0x24, &[0; 4])])), None);
        assert_eq!(addressee(&check(&[(USERNAME, b":theirs")])), None);
        assert_eq!(addressee(&check(&[(USERNAME, &[0xff, 0xfe])])), None);
        assert_eq!(addressee(&check(&[(1, &[][..]); 40])), None, "no end of attributes");
        let mut other = whole;
        other[4] = 0;
        assert_eq!(addressee(&other), None);
    }

    #[test]
    fn clients_are_spoken_to_where_they_were_last_if_their_checks_are_good() {
        let (one, other): (SocketAddr, SocketAddr) =
            ("192.0.2.1:1000".parse().unwrap(), "192.0.2.1:2000".parse().unwrap());
        let (mut path, media, mut success) = (Path::default(), [128, 0], check(&[]));
        success[0] = 1;
        assert_eq!(path.way(&media, one), one);
        path.note(&check(&[(USERNAME, b"ours:theirs")]), other);
        assert_eq!((path.way(&success, other), path.way(&media, one)), (other, one), "not nominated");
        path.note(&check(&[(USE_CANDIDATE, b"")]), other);
        assert_eq!(path.way(&media, one), one, "it may not be good");
        assert_eq!((path.way(&success, other), path.way(&media, one)), (other, other));
        path.note(&success, one);
        path.note(&check(&[(USE_CANDIDATE, b"")])[..24], one);
        assert_eq!((path.way(&success, other), path.way(&[22], one)), (other, other));
    }

    #[test]
    fn datagrams_are_told_apart_by_their_first_byte() {
        let kinds = [0, 3, 4, 19, 20, 63, 64, 127, 128, 191, 192].map(|first| Kind::of(&[first, 0]));
        let (stun, dtls, media) = (Some(Kind::Stun), Some(Kind::Dtls), Some(Kind::Media));
        assert_eq!(kinds, [stun, stun, None, None, dtls, dtls, None, None, media, media, None]);
        assert_eq!(Kind::of(&[]), None);
    }
}
