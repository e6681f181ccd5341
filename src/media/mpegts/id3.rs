//! ID3 tags (version 2.3 and 2.4) as timed metadata: their texts.
use bytes::Buf;

/// Texts of one tag at most.
const TEXTS_MAX: usize = 16;
/// Bytes of a text that are looked at.
const TEXT_BYTES_MAX: usize = 1024;

/// The texts of a tag, each with its name: what it describes (`TXXX`), or its frame's. `None` when it is no tag.
pub(super) fn read_texts(tag: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = tag.strip_prefix(b"ID3")?;
    let (version, _, flags) = (rest.try_get_u8().ok()?, rest.try_get_u8().ok()?, rest.try_get_u8().ok()?);
    let length = synchsafe(rest.try_get_u32().ok()?) as usize;
    rest = rest.get(..length).unwrap_or(rest);
    if !(3..=4).contains(&version) {
        return None;
    }
    if flags & 0x40 != 0 {
        let told = rest.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))?;
        // Only version 4 counts the field itself.
        let extended = if version == 4 { synchsafe(told) as usize } else { told as usize + 4 };
        rest = rest.get(extended.max(4)..)?;
    }
    let mut texts = Vec::new();
    while let Some((&[a, b, c, d, s0, s1, s2, s3, _, _], tail)) = rest.split_first_chunk::<10>() {
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        let size = if version == 4 { synchsafe(size) } else { size };
        let Some((body, tail)) = tail.split_at_checked(size as usize) else { break };
        rest = tail;
        if a == b'T' && texts.len() < TEXTS_MAX {
            texts.extend(read_text(&[a, b, c, d], body));
        }
    }
    Some(texts)
}

fn synchsafe(value: u32) -> u32 {
    let [a, b, c, d] = value.to_be_bytes().map(|byte| u32::from(byte & 0x7f));
    a << 21 | b << 14 | c << 7 | d
}

fn read_text(id: &[u8; 4], body: &[u8]) -> Option<(String, String)> {
    let (encoding, body) = body.split_first()?;
    let text = decode(*encoding, body.get(..TEXT_BYTES_MAX).unwrap_or(body))?;
    let mut parts = text.split('\0');
    let first = parts.next()?.to_owned();
    if id == b"TXXX" {
        return Some((first, parts.next()?.trim_start_matches('\u{feff}').to_owned()));
    }
    Some((std::str::from_utf8(id).ok()?.to_owned(), first))
}

fn decode(encoding: u8, bytes: &[u8]) -> Option<String> {
    let wide = |is_little: bool, bytes: &[u8]| {
        let unit = |pair: &[u8]| match *pair {
            [a, b] if is_little => u16::from_le_bytes([a, b]),
            [a, b] => u16::from_be_bytes([a, b]),
            _ => 0,
        };
        let units: Vec<u16> = bytes.chunks_exact(2).map(unit).collect();
        String::from_utf16_lossy(&units)
    };
    match encoding {
        0 => Some(bytes.iter().copied().map(char::from).collect()),
        1 => match bytes {
            [0xff, 0xfe, rest @ ..] => Some(wide(true, rest)),
            [0xfe, 0xff, rest @ ..] => Some(wide(false, rest)),
            _ => None,
        },
        2 => Some(wide(false, bytes)),
        3 => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A tag of version 2.4 with one text of the publisher's own.
    pub(in crate::media::mpegts) fn tag(name: &str, value: &str) -> Vec<u8> {
        let body = [&[3], name.as_bytes(), &[0], value.as_bytes()].concat();
        let frame = [&b"TXXX\0\0\0"[..], &[body.len() as u8, 0, 0], &body].concat();
        [&b"ID3\x04\0\0\0\0\0"[..], &[frame.len() as u8], &frame].concat()
    }

    #[test]
    fn texts_of_tags() {
        let text = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(read_texts(&tag("score", "2:1")), Some(text("score", "2:1")));
        let wide = b"ID3\x03\0\0\0\0\0\x11TIT2\0\0\0\x07\0\0\x01\xff\xfeH\0i\0";
        assert_eq!(read_texts(wide), Some(text("TIT2", "Hi")));
        for length in 0..wide.len() {
            let _ = read_texts(&wide[..length]);
        }
        assert_eq!(read_texts(b"ID3\x02\0\0\0\0\0\0"), None);
        assert_eq!(read_texts(b"no tag"), None);
    }
}
