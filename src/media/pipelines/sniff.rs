//! What a file is by its first bytes, whatever its name says: to refuse at once, in plain words, what is no video.
use crate::domain::video::Failure;

/// How much of a file's start is looked at.
pub(super) const HEAD_BYTES: usize = 8192;

/// What to do with a file that starts like this.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// An ISO base media file or a QuickTime movie.
    Movie,
    /// Anything else that may hold pictures or sound.
    Other,
}

/// Looks at the first bytes; `Err` when they are no video for certain.
pub(super) fn look(head: &[u8]) -> Result<Head, Failure> {
    if head.is_empty() {
        return Err(Failure { code: "empty".into(), message: "The file is empty: it has no bytes at all.".into() });
    }
    if let Some(what) = other_kind(head) {
        return Err(not_a_video(&what));
    }
    if is_movie(head) { Ok(Head::Movie) } else { Ok(Head::Other) }
}

/// Whether the first bytes are those of an ISO base media file or a QuickTime movie.
pub(super) fn is_movie(head: &[u8]) -> bool {
    let box_type = head.get(4..8).unwrap_or_default();
    [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"].iter().any(|kind| *kind == box_type)
}

/// The failure of a file that is something else.
pub(super) fn not_a_video(what: &str) -> Failure {
    Failure { code: "not_a_video".into(), message: format!("This is {what}, not a video.") }
}

fn other_kind(head: &[u8]) -> Option<String> {
    let found = infer::get(head);
    let mime = found.map(|kind| kind.mime_type()).unwrap_or_default();
    let (class, name) = mime.split_once('/').unwrap_or_default();
    let what = match (class, name) {
        ("image", "jpeg") => "a JPEG picture".to_owned(),
        ("image", "png") => "a PNG picture".to_owned(),
        ("image", "gif") => "a GIF picture".to_owned(),
        ("image", "heif" | "heic") => "a HEIF picture".to_owned(),
        ("image", name) => format!("a picture ({name})"),
        ("text", name) => format!("a text file ({name})"),
        ("application", "pdf") => "a PDF document".to_owned(),
        ("application", "zip") => "a ZIP archive".to_owned(),
        ("application", "x-executable" | "vnd.microsoft.portable-executable") => "a program".to_owned(),
        // Flash movies and Ogg are told apart by the demuxers.
        ("application", "ogg" | "x-shockwave-flash") => return None,
        ("application", name) => format!("an archive or document ({})", name.trim_start_matches("x-")),
        ("font", _) => "a font".to_owned(),
        _ if is_text(head) => "a text file".to_owned(),
        _ => return None,
    };
    Some(what)
}

/// Text has no control characters but white space, in UTF-8 or in one of the older one-byte encodings.
fn is_text(head: &[u8]) -> bool {
    let is_control = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c);
    let is_plain = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let num_plain = head.iter().filter(|byte| is_plain(byte)).count();
    !head.iter().any(is_control) && num_plain * 2 > head.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(head: &[u8]) -> String {
        look(head).unwrap_err().message
    }

    #[test]
    fn what_is_no_video_is_named() {
        assert_eq!(message(b"\xff\xd8\xff\xe0\0\x10JFIF\0"), "This is a JPEG picture, not a video.");
        assert_eq!(message(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "This is a PNG picture, not a video.");
        assert_eq!(message(b"GIF89a\x01\0\x01\0"), "This is a GIF picture, not a video.");
        assert_eq!(message(b"%PDF-1.7\n"), "This is a PDF document, not a video.");
        assert_eq!(message(b"PK\x03\x04\x14\0\0\0\x08\0"), "This is a ZIP archive, not a video.");
        assert_eq!(message("Grüße aus der Küche\n".as_bytes()), "This is a text file, not a video.");
        assert_eq!(look(b"").unwrap_err().code, "empty");
    }

    #[test]
    fn what_may_be_a_video_is_let_through() {
        assert_eq!(look(b"\0\0\0\x18ftypmp42\0\0\0\0"), Ok(Head::Movie));
        assert_eq!(look(b"\0\0\0\x08wide\0\0\0\0mdat"), Ok(Head::Movie));
        assert_eq!(look(b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x23\x42\x82\x84webm"), Ok(Head::Other));
        assert_eq!(look(b"FLV\x01\x05\0\0\0\x09"), Ok(Head::Other));
        assert_eq!(look(b"RIFF\x10\0\0\0AVI LIST"), Ok(Head::Other));
        assert_eq!(look(&[0x47, 0x40, 0x11, 0x10, 0, 0x42]), Ok(Head::Other));
        assert_eq!(look(&[0; 64]), Ok(Head::Other));
    }
}
