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

impl Head {
    /// `None` when it is no packet that anybody waits for.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let word = |at: usize| datagram.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
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
