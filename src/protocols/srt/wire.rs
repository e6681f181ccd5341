//! What callers ask for by their stream id, and as much of a datagram as tells whose it is (draft-sharabayko-srt-01, section 3).

/// Longest stream id (appendix B).
const STREAM_ID_BYTES_MAX: usize = 512;
/// What stream ids of the structured form begin with.
const STRUCTURED: &str = "#!::";

/// What a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To send.
    Publish,
    /// To receive.
    Read,
}

/// What a stream id says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// What the caller wants.
    pub mode: Mode,
    /// The stream's key.
    pub key: String,
}

/// Why a stream id is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStreamId {
    /// There is none.
    #[error("there is no stream id: it has to be publish:KEY")]
    Missing,
    /// It is too long.
    #[error("the stream id is longer than {STREAM_ID_BYTES_MAX} bytes")]
    TooLong,
    /// It wants something else than to send or to receive.
    #[error("the stream id asks for a mode that is not known")]
    UnknownMode,
    /// It names no stream.
    #[error("the stream id names no stream")]
    NoKey,
}

impl StreamRequest {
    /// Reads a stream id: `publish:KEY`, `read:KEY`, `KEY` alone (to publish), or `#!::r=KEY,m=publish`, whose mode is `request`
    /// when it says none. Keys may have a path before them, and whatever follows another colon is left out.
    pub fn parse(text: &str) -> Result<Self, InvalidStreamId> {
        if text.is_empty() {
            return Err(InvalidStreamId::Missing);
        }
        if text.len() > STREAM_ID_BYTES_MAX {
            return Err(InvalidStreamId::TooLong);
        }
        let (mode, resource) = match text.strip_prefix(STRUCTURED) {
            Some(entries) => Self::structured(entries)?,
            None => match text.split_once(':') {
                Some(("publish", rest)) => (Mode::Publish, rest.split(':').next().unwrap_or_default()),
                Some(("read", rest)) => (Mode::Read, rest.split(':').next().unwrap_or_default()),
                Some(_) => return Err(InvalidStreamId::UnknownMode),
                None => (Mode::Publish, text),
            },
        };
        let key = resource.rsplit('/').next().unwrap_or_default().to_owned();
        if key.is_empty() { Err(InvalidStreamId::NoKey) } else { Ok(Self { mode, key }) }
    }

    fn structured(entries: &str) -> Result<(Mode, &str), InvalidStreamId> {
        let (mut mode, mut resource) = (Mode::Read, "");
        for (key, value) in entries.split(',').filter_map(|entry| entry.split_once('=')) {
            match (key, value) {
                ("m", "publish") => mode = Mode::Publish,
                ("m", "request") => mode = Mode::Read,
                ("m", _) => return Err(InvalidStreamId::UnknownMode),
                ("r", value) => resource = value,
                _ => {}
            }
        }
        Ok((mode, resource))
    }
}

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The first packet of a caller.
    Induction,
    /// The second one.
    Conclusion {
        /// Number that the caller has given itself.
        caller: u32,
        /// What it was told to show.
        cookie: u32,
    },
    /// A packet of a connection, by the number that this side has given it.
    Connected(u32),
}

/// Number of the port itself: connections have others.
pub const LISTENER: u32 = 1;
/// First bytes of a handshake: control bit and type 0.
const HANDSHAKE: [u8; 2] = [0x80, 0];
/// `Handshake Type` of an induction.
const INDUCTION: u32 = 1;
/// The same of a conclusion.
const CONCLUSION: u32 = 0xffff_ffff;
/// The version in which callers conclude.
const VERSION: u32 = 5;

/// Control types that publishers have reason to send (section 3.2): signs of life, goodbyes, answers to acknowledgements.
const SIMPLE: [u32; 3] = [1, 5, 6];
/// Control type of what says that packets will not come any more.
const DROP_REQUEST: u32 = 7;
/// Packets that one of these speaks of at most: as many as the buffer of a connection holds.
const DROPPED_MAX: u32 = 8192;
/// Control type of extensions, and the one that brings new keys.
const EXTENSION: u32 = 0x7fff;
const KEY_MATERIAL: u32 = 3;

fn word(datagram: &[u8], at: usize) -> Option<u32> {
    datagram.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Whether a packet of a connection is one that publishers of live media send. Others are not read at all: reports of losses, for
/// one, are of no interest here, and may speak of two thousand million packets.
pub fn is_publishers(datagram: &[u8]) -> bool {
    let (Some(first), Some(second)) = (word(datagram, 0), word(datagram, 4)) else { return false };
    if first >> 31 == 0 {
        // Each packet of live media is a whole message.
        return second >> 30 == 3;
    }
    let (kind, subtype) = (first >> 16 & 0x7fff, first & 0xffff);
    match kind {
        DROP_REQUEST => match (word(datagram, 16), word(datagram, 20)) {
            (Some(from), Some(to)) => to.wrapping_sub(from) & 0x7fff_ffff <= DROPPED_MAX,
            _ => false,
        },
        EXTENSION => subtype == KEY_MATERIAL,
        kind => SIMPLE.contains(&kind),
    }
}

impl Head {
    /// `None` when it is no packet that anybody waits for.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let word = |at| word(datagram, at);
        let destination = word(12)?;
        if destination != 0 && destination != LISTENER {
            return Some(Self::Connected(destination));
        }
        if !datagram.starts_with(&HANDSHAKE) {
            return None;
        }
        let (version, kind, caller, cookie) = (word(16)?, word(36)?, word(40)?, word(44)?);
        match kind {
            INDUCTION => Some(Self::Induction),
            CONCLUSION if version == VERSION => Some(Self::Conclusion { caller, cookie }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(Mode, String), InvalidStreamId> {
        StreamRequest::parse(text).map(|request| (request.mode, request.key))
    }

    #[test]
    fn stream_ids_in_every_form() {
        for text in ["publish:abc", "abc", "#!::r=abc,m=publish", "#!::m=publish,u=ann,r=live/abc,t=stream", "live/abc"]
        {
            assert_eq!(parsed(text), Ok((Mode::Publish, "abc".into())), "{text}");
        }
        assert_eq!(parsed("publish:live/abc:ann:secret"), Ok((Mode::Publish, "abc".into())));
        for text in ["read:abc", "#!::r=abc", "#!::r=abc,m=request"] {
            assert_eq!(parsed(text), Ok((Mode::Read, "abc".into())), "{text}");
        }
        assert_eq!(parsed(""), Err(InvalidStreamId::Missing));
        assert_eq!(parsed(&"a".repeat(513)), Err(InvalidStreamId::TooLong));
        assert_eq!(parsed("#!::m=publish"), Err(InvalidStreamId::NoKey));
        assert_eq!(parsed("publish:"), Err(InvalidStreamId::NoKey));
        assert_eq!(parsed("#!::r=abc,m=bidirectional"), Err(InvalidStreamId::UnknownMode));
        assert_eq!(parsed("steal:abc"), Err(InvalidStreamId::UnknownMode));
    }

    #[test]
    fn publishers_send_media_and_little_else() {
        let packet = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
        let control = |kind: u32| packet(&[0x8000_0000 | kind, 0, 0, 9, 100, 200]);
        assert!(
            [0x1_0000, 0x5_0000, 0x6_0000, 0x7_0000, 0x7fff_0003].into_iter().all(|kind| is_publishers(&control(kind)))
        );
        assert!(
            ![0, 0x2_0000, 0x3_0000, 0x4_0000, 0x8_0000, 0x7fff_0001]
                .into_iter()
                .any(|kind| is_publishers(&control(kind)))
        );
        assert!(is_publishers(&packet(&[5, 0xe000_0001, 0, 9])), "a whole message");
        assert!(!is_publishers(&packet(&[5, 0x8000_0001, 0, 9])), "the beginning of one");
        assert!(!is_publishers(&packet(&[0x8007_0000, 0, 0, 9, 100, 99])), "nearly all packets there are");
        assert!(!is_publishers(&control(0x7_0000)[..20]) && !is_publishers(&[]));
    }

    #[test]
    fn heads_of_datagrams() {
        let mut shake = vec![0u8; 64];
        shake[0] = 0x80;
        shake[39] = 1;
        assert_eq!(Head::read(&shake), Some(Head::Induction));
        (shake[19], shake[43], shake[47]) = (5, 7, 9);
        shake[36..40].fill(0xff);
        assert_eq!(Head::read(&shake), Some(Head::Conclusion { caller: 7, cookie: 9 }));
        shake[19] = 4;
        assert_eq!(Head::read(&shake), None);
        shake[15] = 3;
        assert_eq!(Head::read(&shake), Some(Head::Connected(3)));
        assert_eq!((Head::read(&shake[..15]), Head::read(&[0; 60])), (None, None));
    }
}
