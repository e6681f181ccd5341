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
    /// The stream's key, or its playback id for whoever wants to receive.
    pub key: String,
    /// What opens a stream that is not public to whoever wants to receive.
    pub token: Option<String>,
}

/// Why a stream id is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStreamId {
    /// There is none.
    #[error("there is no stream id: it has to be publish:KEY or read:PLAYBACK_ID")]
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
    /// Reads a stream id: `publish:KEY`, `read:PLAYBACK_ID` or `read:PLAYBACK_ID:TOKEN`, `KEY` alone (to publish), or
    /// `#!::r=KEY,m=publish`, whose mode is `request` when it says none, and whose token is the session `s`. Keys may have a path
    /// before them, and whatever follows further colons is left out.
    pub fn parse(text: &str) -> Result<Self, InvalidStreamId> {
        if text.is_empty() {
            return Err(InvalidStreamId::Missing);
        }
        if text.len() > STREAM_ID_BYTES_MAX {
            return Err(InvalidStreamId::TooLong);
        }
        let (mode, resource, token) = match text.strip_prefix(STRUCTURED) {
            Some(entries) => Self::structured(entries)?,
            None => {
                let mut fields = text.split(':');
                let (first, second, third) = (fields.next().unwrap_or_default(), fields.next(), fields.next());
                match (first, second) {
                    ("publish", Some(key)) => (Mode::Publish, key, None),
                    ("read", Some(id)) => (Mode::Read, id, third),
                    (_, Some(_)) => return Err(InvalidStreamId::UnknownMode),
                    (key, None) => (Mode::Publish, key, None),
                }
            }
        };
        let key = resource.rsplit('/').next().unwrap_or_default().to_owned();
        let token = token.filter(|token| !token.is_empty()).map(str::to_owned);
        if key.is_empty() { Err(InvalidStreamId::NoKey) } else { Ok(Self { mode, key, token }) }
    }

    fn structured(entries: &str) -> Result<(Mode, &str, Option<&str>), InvalidStreamId> {
        let (mut mode, mut resource, mut token) = (Mode::Read, "", None);
        for (key, value) in entries.split(',').filter_map(|entry| entry.split_once('=')) {
            match (key, value) {
                ("m", "publish") => mode = Mode::Publish,
                ("m", "request") => mode = Mode::Read,
                ("m", _) => return Err(InvalidStreamId::UnknownMode),
                ("r", value) => resource = value,
                ("s", value) => token = Some(value),
                _ => {}
            }
        }
        Ok((mode, resource, token))
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

/// What a reader sends (section 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromReader {
    /// What it has got, to be acknowledged when there is a number, with the round-trip time in microseconds when it tells that.
    Acknowledged {
        /// Of the acknowledgement itself.
        number: Option<u32>,
        /// As the reader sees it.
        rtt_micros: Option<u32>,
    },
    /// First and last numbers of packets that it misses.
    Lost(Vec<(u32, u32)>),
    /// That it is there.
    Alive,
    /// That it leaves.
    Goodbye,
    /// That it has got new keys.
    Keys,
}

/// Control types of readers.
const KEEP_ALIVE: u32 = 1;
const ACKNOWLEDGEMENT: u32 = 2;
const LOSS_REPORT: u32 = 3;
const SHUTDOWN: u32 = 5;
/// Extension that answers new keys.
const KEY_RESPONSE: u32 = 4;
/// Bit of a number in a report of losses that begins a range.
const RANGE: u32 = 1 << 31;

impl FromReader {
    /// `None` of anything that readers have no reason to send.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let first = word(datagram, 0).filter(|first| first >> 31 == 1)?;
        let (kind, subtype) = (first >> 16 & 0x7fff, first & 0xffff);
        Some(match kind {
            KEEP_ALIVE => Self::Alive,
            SHUTDOWN => Self::Goodbye,
            ACKNOWLEDGEMENT => {
                let number = word(datagram, 4).filter(|number| *number != 0);
                Self::Acknowledged { number, rtt_micros: word(datagram, 20) }
            }
            LOSS_REPORT => Self::Lost(losses(datagram)),
            EXTENSION if subtype == KEY_RESPONSE => Self::Keys,
            _ => return None,
        })
    }
}

/// As many as fit into a datagram.
fn losses(datagram: &[u8]) -> Vec<(u32, u32)> {
    let mut ranges = Vec::new();
    let mut numbers = (16..).step_by(4).map_while(|at| word(datagram, at));
    while let Some(first) = numbers.next() {
        let last = if first & RANGE == 0 { Some(first) } else { numbers.next() };
        ranges.extend(last.map(|last| (first & !RANGE, last & !RANGE)));
    }
    ranges
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
        let token = |text| StreamRequest::parse(text).unwrap().token;
        assert_eq!(token("read:abc:XyZ_-9:more").as_deref(), Some("XyZ_-9"));
        assert_eq!(token("#!::m=request,s=XyZ_-9,r=abc").as_deref(), Some("XyZ_-9"));
        assert_eq!((token("read:abc"), token("read:abc:"), token("publish:abc:XyZ")), (None, None, None));
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
    fn readers_tell_what_they_have_and_what_they_miss() {
        let packet = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
        let read = |words: &[u32]| FromReader::read(&packet(words));
        let told = FromReader::Acknowledged { number: Some(7), rtt_micros: Some(20_000) };
        assert_eq!(read(&[0x8002_0000, 7, 0, 9, 555, 20_000, 1, 8192]), Some(told));
        let light = FromReader::Acknowledged { number: None, rtt_micros: None };
        assert_eq!(read(&[0x8002_0000, 0, 0, 9, 555]), Some(light));
        let lost = FromReader::Lost(vec![(5, 5), (7, 9)]);
        assert_eq!(read(&[0x8003_0000, 0, 0, 9, 5, 0x8000_0007, 9, 0x8000_000b]), Some(lost));
        let simple = [(0x8001_0000, FromReader::Alive), (0x8005_0000, FromReader::Goodbye)];
        for (first, wanted) in simple.into_iter().chain([(0xffff_0004, FromReader::Keys)]) {
            assert_eq!(read(&[first, 0, 0, 9]), Some(wanted));
        }
        assert_eq!((read(&[5, 0xe000_0001, 0, 9]), read(&[0x8007_0000, 0, 0, 9]), read(&[])), (None, None, None));
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
