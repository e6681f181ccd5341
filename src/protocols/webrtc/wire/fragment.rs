//! Fragments of session descriptions (`application/trickle-ice-sdpfrag`, RFC 8840): candidates that are told later, and new
//! credentials for another start of ICE.
use super::offer::{Credentials, text_lines};

/// Longest fragment.
pub const FRAGMENT_BYTES_MAX: usize = 16 << 10;

/// The bytes are no fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no fragment of a session description: {0}")]
pub struct InvalidFragment(&'static str);

/// What a fragment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// With whose words the candidates are reached, when it says so.
    pub credentials: Option<Credentials>,
    /// How many candidates it has.
    pub candidates: usize,
    /// Whether there will be no more.
    pub is_last: bool,
}

impl Fragment {
    /// Reads a fragment.
    pub fn read(body: &[u8]) -> Result<Self, InvalidFragment> {
        if body.len() > FRAGMENT_BYTES_MAX {
            return Err(InvalidFragment("it is too long"));
        }
        let (mut name, mut password) = (None, None);
        let (mut candidates, mut is_last) = (0, false);
        for line in text_lines(body).ok_or(InvalidFragment("it is no text"))? {
            let (kind, value) = line.split_once('=').ok_or(InvalidFragment("a line has no equals sign"))?;
            if !matches!(kind, "a" | "m" | "c" | "v" | "o" | "s" | "t" | "b" | "i") {
                return Err(InvalidFragment("a line is of no known type"));
            }
            match (kind, value.split_once(':').unwrap_or((value, ""))) {
                ("a", ("ice-ufrag", text)) => name = Some(text),
                ("a", ("ice-pwd", text)) => password = Some(text),
                ("a", ("candidate", text)) if is_candidate(text) => candidates += 1,
                ("a", ("candidate", _)) => return Err(InvalidFragment("a candidate cannot be read")),
                ("a", ("end-of-candidates", _)) => is_last = true,
                _ => {}
            }
        }
        let credentials = match (name, password) {
            (Some(name), Some(password)) => {
                let read = Credentials::new(name, password);
                Some(read.ok_or(InvalidFragment("its ICE user name or password is none"))?)
            }
            (None, None) => None,
            _ => return Err(InvalidFragment("its ICE user name or password is missing")),
        };
        if credentials.is_none() && candidates == 0 && !is_last {
            return Err(InvalidFragment("it says nothing"));
        }
        Ok(Self { credentials, candidates, is_last })
    }
}

/// Whether it has the fields that every candidate has (RFC 8839, section 5.1). Where they lead to is of no interest: this side
/// answers checks and makes none.
fn is_candidate(text: &str) -> bool {
    let fields: Vec<&str> = text.split(' ').collect();
    match fields.as_slice() {
        [foundation, component, transport, priority, address, port, "typ", kind, ..] => {
            let is_named = !foundation.is_empty() && !transport.is_empty() && !address.is_empty() && !kind.is_empty();
            let are_numbers =
                component.parse::<u16>().is_ok() && priority.parse::<u32>().is_ok() && port.parse::<u16>().is_ok();
            is_named && are_numbers
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_of_browsers() {
        let trickle = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
            a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
            a=end-of-candidates\r\n";
        let read = Fragment::read(trickle.as_bytes()).unwrap();
        assert_eq!((read.candidates, read.is_last), (1, true));
        assert_eq!(read.credentials.unwrap().name(), "EsAw");
        let restart = "a=ice-options:trickle ice2\na=ice-ufrag:ysXw\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\n";
        assert_eq!(Fragment::read(restart.as_bytes()).unwrap().candidates, 0);
    }

    #[test]
    fn what_is_no_fragment() {
        for bad in [
            "",
            "hello",
            "a=mid:0",
            "a=ice-ufrag:abcd",
            "a=ice-ufrag:a\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k",
            "a=ice-ufrag:abcd\na=ice-pwd:short",
            "a=candidate:1 1 udp x 192.0.2.1 61764 typ host",
            "<html>=",
        ] {
            assert!(Fragment::read(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Fragment::read(&[0xff, 0xfe]).is_err());
        assert!(Fragment::read(&vec![b'a'; FRAGMENT_BYTES_MAX + 1]).is_err());
    }
}
