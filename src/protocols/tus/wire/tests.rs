use http::{HeaderName, HeaderValue};

use super::digest::{Algorithm, Checksum};
use super::draft::Interop;
use super::metadata::Metadata;
use super::v1::Concat;
use super::*;
use crate::domain::ids::UploadId;
use crate::domain::time::Timestamp;
use crate::domain::video::Privacy;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

#[test]
fn the_dialect_is_told_by_the_fields() {
    for (pairs, expected) in [
        (&[("tus-resumable", "1.0.0")][..], Dialect::Tus),
        (&[("tus-resumable", "0.2.2")], Dialect::OtherTus),
        (&[("upload-draft-interop-version", "6")], Dialect::Draft(Interop::V6)),
        (&[("upload-draft-interop-version", "3")], Dialect::Draft(Interop::V3)),
        (&[("upload-draft-interop-version", "8")], Dialect::Draft(Interop::Newest)),
        (&[("upload-draft-interop-version", "banana")], Dialect::Draft(Interop::Newest)),
        (&[("upload-complete", "?0")], Dialect::Draft(Interop::Newest)),
        (&[("upload-incomplete", "?0")], Dialect::Draft(Interop::V3)),
        (&[("content-type", "Application/Partial-Upload; x=y")], Dialect::Draft(Interop::Newest)),
        (&[], Dialect::Unmarked),
    ] {
        assert_eq!(dialect(&headers(pairs)), expected, "{pairs:?}");
    }
}

#[test]
fn a_tus_creation_is_read_and_contradictions_are_refused() {
    let map = headers(&[
        ("upload-length", "11"),
        ("upload-metadata", "filename d29ybGQubXA0,privacy dW5saXN0ZWQ=,tags YSwgYiw=,is_confidential"),
        ("content-type", "application/offset+octet-stream"),
        ("upload-checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="),
    ]);
    let creation = v1::creation(&map).unwrap();
    assert_eq!((creation.length, creation.has_body, creation.concat), (Some(11), true, Concat::None));
    assert_eq!(creation.checksum.unwrap().algorithm, Algorithm::Sha1);
    let name = creation.metadata.file_name().unwrap();
    let details = creation.metadata.details(name.as_deref()).unwrap();
    assert_eq!((details.title.as_str(), details.privacy), ("world.mp4", Privacy::Unlisted));
    assert_eq!(details.tags, ["a", "b"]);
    for bad in [
        &[][..],
        &[("upload-length", "-1")],
        &[("upload-length", "+1")],
        &[("upload-length", "1e3")],
        &[("upload-length", "99999999999999999999999")],
        &[("upload-length", "1"), ("upload-length", "2")],
        &[("upload-length", "1"), ("upload-defer-length", "1")],
        &[("upload-defer-length", "2")],
        &[("upload-length", "1"), ("upload-metadata", "a !!!")],
        &[("upload-length", "1"), ("upload-metadata", "a YQ==,a YQ==")],
        &[("upload-length", "1"), ("upload-concat", "maybe")],
        &[("upload-concat", "final;")],
        &[("upload-concat", "final;/uploads/vid_abcdefgh")],
        &[("upload-concat", "final;/uploads/upl_abcdefgh"), ("upload-length", "3")],
        &[("upload-length", "1"), ("upload-checksum", "sha1")],
        &[("upload-length", "1"), ("upload-checksum", "crc32 AAAA")],
        &[("upload-length", "1"), ("upload-checksum", "md5 AAAA")],
    ] {
        assert!(v1::creation(&headers(bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn parts_are_named_by_absolute_or_relative_urls() {
    let id = UploadId::parse("upl_abcdefgh").unwrap();
    let value = "final;https://h.example/api/v1/uploads/upl_abcdefgh /api/v1/uploads/upl_abcdefgh/ upl_abcdefgh?x=1";
    let creation = v1::creation(&headers(&[("upload-concat", value)])).unwrap();
    assert_eq!(creation.concat, Concat::Final(vec![id.clone(), id.clone(), id]));
}

#[test]
fn a_tus_append_announces_its_checksum_in_head_or_trailer() {
    let append = v1::append(&headers(&[("upload-offset", "5"), ("trailer", "X, upload-checksum")])).unwrap();
    assert_eq!((append.offset, append.has_checksum_trailer), (5, true));
    assert!(v1::append(&headers(&[("upload-offset", "0x5")])).is_err());
    assert_eq!(v1::append(&headers(&[])), Err(WireError::Missing("Upload-Offset")));
}

#[test]
fn the_draft_ignores_malformed_items_and_checks_lengths() {
    let map = headers(&[("upload-complete", "?1"), ("upload-length", "10")]);
    let creation = draft::creation(&map, Interop::Newest, Some(10)).unwrap();
    assert_eq!((creation.length, creation.completes), (Some(10), true));
    assert!(matches!(draft::creation(&map, Interop::Newest, Some(9)), Err(WireError::Contradiction { .. })));
    let map = headers(&[("upload-complete", "true")]);
    assert_eq!(draft::creation(&map, Interop::Newest, None).unwrap_err(), WireError::Missing("Upload-Complete"));
    let map = headers(&[("upload-complete", "?1"), ("upload-offset", "7")]);
    let append = draft::append(&map, Interop::V6, Some(3)).unwrap();
    assert_eq!(append, draft::Append { offset: 7, length: Some(10), completes: true });
    for bad in ["-7", "7.0", "\"7\"", "7, 8", "", "9999999999999999"] {
        let map = headers(&[("upload-complete", "?1"), ("upload-offset", bad)]);
        assert_eq!(draft::append(&map, Interop::V6, None), Err(WireError::Missing("Upload-Offset")), "{bad}");
    }
    let map = headers(&[("upload-incomplete", "?0"), ("upload-offset", "0")]);
    assert!(draft::append(&map, Interop::V3, None).unwrap().completes);
}

#[test]
fn the_draft_takes_the_file_name_from_content_disposition() {
    let name = |value| {
        let map = headers(&[("upload-complete", "?0"), ("content-disposition", value)]);
        draft::creation(&map, Interop::Newest, None).unwrap().file_name
    };
    assert_eq!(name("inline; filename=\"a b.mp4\"").as_deref(), Some("a b.mp4"));
    assert_eq!(name("inline; filename=\"x\"; filename*=UTF-8''f%C3%BCr.mp4").as_deref(), Some("für.mp4"));
    assert_eq!(name("inline; filename=\"../../etc/passwd\"").as_deref(), Some("passwd"));
    assert_eq!(name("inline; filename*=UTF-8''%zz"), None);
    assert_eq!(name("inline; filename="), None);
}

#[test]
fn responses_of_the_draft_speak_the_requests_iteration() {
    let standing =
        draft::Standing { offset: Some(3), length: Some(9), is_complete: false, size_bytes_max: 100, age_secs_max: 60 };
    let find = |interop, name: &str| {
        let fields = draft::standing(interop, &standing);
        fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.to_str().unwrap().to_owned())
    };
    assert_eq!(find(Interop::V3, "upload-incomplete").as_deref(), Some("?1"));
    assert_eq!(find(Interop::V3, "upload-complete"), None);
    assert_eq!(find(Interop::V5, "upload-limit"), None);
    assert_eq!(find(Interop::V6, "upload-limit").as_deref(), Some("max-size=100, min-size=0, expires=60"));
    assert_eq!(find(Interop::Newest, "upload-limit").as_deref(), Some("max-size=100, min-size=0, max-age=60"));
    assert_eq!(find(Interop::Newest, "upload-draft-interop-version").as_deref(), Some("8"));
    assert_eq!(find(Interop::V6, "upload-offset").as_deref(), Some("3"));
}

#[test]
fn ranges_that_contradict_themselves_are_told_from_nonsense() {
    let range = |value| chunk::content_range(&headers(&[("content-range", value)]));
    let good = range("bytes 5-9/10").unwrap();
    assert_eq!((good.first, good.bytes(), good.total), (5, 5, Some(10)));
    assert_eq!(range("Bytes 0-0/*").unwrap().total, None);
    for bad in ["bytes 9-5/10", "bytes 5-10/10", "bytes 0-18446744073709551615/*"] {
        assert!(matches!(range(bad), Err(WireError::Contradiction { .. })), "{bad}");
    }
    for bad in ["", "bytes", "bytes */10", "bytes 1-/10", "bytes -1/10", "items 0-1/2", "bytes 0-1", "bytes 0-1/x"] {
        assert!(matches!(range(bad), Err(WireError::Invalid { .. })), "{bad}");
    }
}

#[test]
fn digests_are_read_in_every_way_they_are_written() {
    let sha256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for text in
        [format!("sha256:{hex}"), format!("sha-256={hex}"), format!("sha-256={sha256}"), format!("sha-256=:{sha256}:")]
    {
        assert_eq!(Checksum::from_text("digest", &text).unwrap().to_stored(), format!("sha256:{hex}"), "{text}");
    }
    for bad in ["", "sha256", "sha256:abcd", "crc32:00000000", "sha-512=AAAA", "sha256:zz"] {
        assert!(Checksum::from_text("digest", bad).is_err(), "{bad}");
    }
    let value = format!("md5=:1B2M2Y8AsgTpgAmY7PhCfg==:, sha-256=:{sha256}:, unixsum=:AAAA:");
    let map = headers(&[("content-digest", &value), ("repr-digest", &value)]);
    assert_eq!(digest::of_content(&map).unwrap().unwrap().algorithm, Algorithm::Sha256);
    assert_eq!(digest::of_representation(&map).unwrap().unwrap().to_stored(), format!("sha256:{hex}"));
    assert!(digest::of_content(&headers(&[("content-digest", "sha-256=abc")])).is_err());
    let map = headers(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]);
    assert_eq!(digest::of_content(&map).unwrap().unwrap().algorithm, Algorithm::Md5);
}

#[test]
fn dates_are_imf_fixdates() {
    assert_eq!(v1::http_date(Timestamp::from_millis(784_111_777_000)).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert!(v1::http_date(Timestamp::from_millis(i64::MAX)).is_none());
}

#[test]
fn metadata_is_bounded_and_need_not_be_text_where_nobody_reads_it() {
    assert!(Metadata::parse("thumb /9j/4AAQ").is_ok());
    let metadata = Metadata::parse("title /9j/4AAQ").unwrap();
    assert!(metadata.details(None).is_err());
    let many: Vec<String> = (0..100).map(|key| format!("k{key} YQ==")).collect();
    assert!(Metadata::parse(&many.join(",")).is_err());
    assert_eq!(Metadata::parse("").unwrap().details(None).unwrap().title, "Untitled");
    assert!(Metadata::parse("privacy c2VjcmV0").unwrap().details(None).is_err());
    assert_eq!(metadata::tags("[\"a,b\", \" c \", \"\"]"), ["a,b", "c"]);
}

/// A fixed sequence that looks random: the same garbage in every run.
struct Garbage(u64);

impl Garbage {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn value(&mut self) -> HeaderValue {
        const SEEDS: [&str; 12] = [
            "bytes 0-1/2",
            "final;/a /b",
            "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
            "sha-256=:AAAA:",
            "?1",
            "?0",
            "18446744073709551615",
            "filename d29ybGQ=,a",
            "inline; filename*=UTF-8''%C3%BC",
            "1",
            "partial",
            "",
        ];
        let mut bytes = SEEDS[self.next() as usize % SEEDS.len()].as_bytes().to_vec();
        for _ in 0..self.next() % 6 {
            let byte = (self.next() % 0xE0 + 0x20) as u8;
            let at = self.next() as usize % (bytes.len() + 1);
            match self.next() % 3 {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                _ => bytes.truncate(at),
            }
        }
        HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("\t"))
    }
}

#[test]
fn garbage_is_refused_or_read_but_never_fatal() {
    const NAMES: [&str; 16] = [
        "upload-length",
        "upload-offset",
        "upload-metadata",
        "upload-concat",
        "upload-checksum",
        "upload-defer-length",
        "upload-complete",
        "upload-incomplete",
        "upload-draft-interop-version",
        "content-range",
        "content-digest",
        "repr-digest",
        "content-md5",
        "content-disposition",
        "content-type",
        "trailer",
    ];
    let mut garbage = Garbage(7);
    for _ in 0..20_000 {
        let mut map = HeaderMap::new();
        for name in NAMES {
            if garbage.next().is_multiple_of(2) {
                map.append(HeaderName::from_static(name), garbage.value());
            }
        }
        let body = (garbage.next().is_multiple_of(2)).then(|| garbage.next());
        let interop = [Interop::V3, Interop::V6, Interop::Newest][garbage.next() as usize % 3];
        if let Ok(creation) = v1::creation(&map) {
            let _ = creation.metadata.details(creation.metadata.file_name().ok().flatten().as_deref());
        }
        let _ = (v1::append(&map), draft::append(&map, interop, body), draft::creation(&map, interop, body));
        let _ = (digest::of_content(&map), digest::of_representation(&map), dialect(&map));
        if let Ok(range) = chunk::content_range(&map) {
            assert!(range.bytes() > 0);
        }
    }
}
