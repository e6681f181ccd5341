//! What a file is, from its first bytes and never from its name. Only what certainly is no film is refused here; whatever
//! is unknown is left to the probe.
use infer::MatcherType;

/// How many first bytes are worth waiting for.
pub const SNIFF_BYTES: usize = 512;

/// Texts that name media without being any; played through they would make the server fetch what they point to.
const POINTERS: [(&[u8], &str); 4] = [
    (b"#extm3u", "a playlist"),
    (b"ffconcat version", "a playlist"),
    (b"[playlist]", "a playlist"),
    (b"<?xml", "an XML document"),
];
/// How HTML and its relatives start.
const MARKUP: [(&[u8], &str); 6] = [
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<head", "an HTML page"),
    (b"<body", "an HTML page"),
    (b"<script", "an HTML page"),
    (b"<svg", "an SVG image"),
];
/// Archives and programs whose signatures are long enough to be certain.
const CERTAIN: [&str; 28] = [
    "application/zip",
    "application/x-rar-compressed",
    "application/vnd.rar",
    "application/gzip",
    "application/x-bzip2",
    "application/x-7z-compressed",
    "application/x-xz",
    "application/zstd",
    "application/x-tar",
    "application/pdf",
    "application/rtf",
    "application/vnd.sqlite3",
    "application/vnd.debian.binary-package",
    "application/x-unix-archive",
    "application/x-rpm",
    "application/vnd.microsoft.portable-executable",
    "application/x-executable",
    "application/x-mach-binary",
    "application/java",
    "application/java-vm",
    "application/wasm",
    "application/x-google-chrome-extension",
    "application/vnd.ms-cab-compressed",
    "application/dicom",
    "application/postscript",
    "text/html",
    "text/x-shellscript",
    "text/xml",
];

/// What `head`, the file's first bytes, certainly is when it is no film; `None` when it may be one.
pub fn certainly_not_media(head: &[u8]) -> Option<&'static str> {
    textual(head).or_else(|| binary(head))
}

fn textual(head: &[u8]) -> Option<&'static str> {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    let starts = |prefix: &[u8]| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    MARKUP.iter().chain(&POINTERS).find(|(prefix, _)| starts(prefix)).map(|(_, what)| *what)
}

fn binary(head: &[u8]) -> Option<&'static str> {
    let kind = infer::get(head)?;
    match kind.matcher_type() {
        // Two and four bytes are too few to be certain: raw MPEG streams begin alike.
        MatcherType::Image if matches!(kind.extension(), "bmp" | "ico") => None,
        MatcherType::Image => Some("an image"),
        MatcherType::Doc | MatcherType::Book => Some("a document"),
        MatcherType::Font => Some("a font"),
        _ if CERTAIN.contains(&kind.mime_type()) => Some(kind.mime_type()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(start: &[u8]) -> Vec<u8> {
        let mut head = start.to_vec();
        head.resize(SNIFF_BYTES, 0);
        head
    }

    #[test]
    fn what_is_certainly_no_film_is_named() {
        for (head, what) in [
            (&b"\xFF\xD8\xFF\xE0\0\x10JFIF"[..], "an image"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "an image"),
            (b"GIF89a", "an image"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "an image"),
            (b"%PDF-1.7\n", "application/pdf"),
            (b"PK\x03\x04\x14\0\0\0\x08\0", "application/zip"),
            (b"MZ\x90\0\x03\0\0\0", "application/vnd.microsoft.portable-executable"),
            (b"\x7fELF\x02\x01\x01\0", "application/x-executable"),
            (b"#!/bin/sh\necho", "text/x-shellscript"),
            (b"\xEF\xBB\xBF \r\n<!DOCTYPE HTML><html>", "an HTML page"),
            (b"<html lang=en>", "an HTML page"),
            (b"#EXTM3U\n#EXT-X-VERSION:3\nhttp://169.254.169.254/", "a playlist"),
        ] {
            assert_eq!(certainly_not_media(&padded(head)), Some(what), "{:?}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn films_and_unknown_bytes_pass() {
        let mut ts = padded(b"\x47\x40\x00\x10");
        ts[188] = 0x47;
        ts[376] = 0x47;
        for head in [
            padded(b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41"),
            padded(b"\0\0\0\x14ftypqt  "),
            padded(b"\0\0\0\x08wide\0\0\0\0mdat"),
            padded(b"\x1A\x45\xDF\xA3"),
            padded(b"RIFF\x10\0\0\0AVI LIST"),
            padded(b"FLV\x01\x05"),
            padded(b"\0\0\x01\xBA"),
            padded(b"\0\0\x01\0"),
            padded(b"OggS\0\x02"),
            ts,
            Vec::new(),
            vec![0xA5; SNIFF_BYTES],
            b"plain words".to_vec(),
        ] {
            assert_eq!(certainly_not_media(&head), None, "{:?}", String::from_utf8_lossy(&head));
        }
    }
}
