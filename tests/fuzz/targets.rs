//! What reads bytes from outside, each with samples that it understands.
use std::io::Cursor;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use playhouse::domain::asset::{BlobKey, Extent};
use playhouse::domain::ids::{PlaybackId, VideoId};
use playhouse::domain::upload::sniff::certainly_not_media;
use playhouse::media::codecs::aac::{AacConfig, EsDescriptor};
use playhouse::media::codecs::av1::{Av1Config, Obus, SequenceHeader};
use playhouse::media::codecs::h264::{AvcConfig, NalUnits, SpsInfo};
use playhouse::media::index::{IndexRequest, IndexSettings, index_movie};
use playhouse::media::movie::MovieLimits;
use playhouse::media::pipelines::synthetic::{ClipSpec, make_clip};
use playhouse::protocols::cmcd::wire::measured_throughput;
use playhouse::protocols::hls::paths::MediaPath;
use playhouse::protocols::tus::wire::{self, chunk, digest, draft, metadata::Metadata, v1};

/// One reader.
pub(crate) struct Target {
    /// What is read.
    pub(crate) name: &'static str,
    /// Input that is understood.
    pub(crate) samples: Vec<Vec<u8>>,
    /// Reads it; whether it was understood.
    pub(crate) read: fn(&[u8]) -> bool,
}

pub(crate) fn all() -> Vec<Target> {
    let text = |samples: &[&str]| samples.iter().map(|sample| sample.as_bytes().to_vec()).collect();
    vec![
        Target { name: "upload requests", samples: text(REQUESTS), read: read_request },
        Target { name: "media paths", samples: text(PATHS), read: read_path },
        Target { name: "client media data", samples: text(CLIENT_DATA), read: read_client_data },
        Target { name: "movie files", samples: movies(), read: read_movie },
        Target { name: "H.264 configuration", samples: avc_samples(), read: read_avc },
        Target {
            name: "AV1 configuration",
            samples: AV1.iter().map(|sample| sample.to_vec()).collect(),
            read: read_av1,
        },
        Target {
            name: "AAC configuration",
            samples: AAC.iter().map(|sample| sample.to_vec()).collect(),
            read: read_aac,
        },
    ]
}

/// Header fields, one a line.
const REQUESTS: &[&str] = &[
    "tus-resumable: 1.0.0\nupload-length: 104857600\nupload-metadata: filename Y2xpcC5tcDQ=,title QSBjbGlw,privacy cHVibGlj",
    "tus-resumable: 1.0.0\nupload-defer-length: 1\ncontent-type: application/offset+octet-stream\ncontent-length: 5",
    "tus-resumable: 1.0.0\nupload-concat: final;/api/v1/uploads/upl_aaaaaaaaaaaaaaaaaaaaaa /api/v1/uploads/upl_bbbbbbbbbbbbbbbbbbbbbb",
    "tus-resumable: 1.0.0\nupload-offset: 70\ncontent-type: application/offset+octet-stream\nupload-checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
    "upload-draft-interop-version: 6\nupload-complete: ?0\nupload-length: 1000\ncontent-length: 100",
    "upload-draft-interop-version: 6\nupload-complete: ?1\nupload-offset: 100\ncontent-type: application/partial-upload",
    "content-range: bytes 0-524287/2000000\ncontent-length: 524288",
    "content-digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
];

fn headers(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

fn read_request(input: &[u8]) -> bool {
    let headers = headers(input);
    let metadata = headers.get("upload-metadata").and_then(|value| value.to_str().ok());
    let metadata = metadata.and_then(|text| Metadata::parse(text).ok());
    if let Some(metadata) = &metadata {
        // Refusals are answers too; what matters is that there is one.
        let _ = (metadata.file_type(), metadata.details(metadata.file_name().ok().flatten().as_deref()));
    }
    let body = input.first().map(|byte| u64::from(*byte));
    let tus = v1::creation(&headers).is_ok() | v1::append(&headers).is_ok();
    let draft = draft::interop(&headers).is_some_and(|interop| {
        draft::creation(&headers, interop, body).is_ok() | draft::append(&headers, interop, body).is_ok()
    });
    let digests = matches!(digest::of_content(&headers), Ok(Some(_))) | digest::of_representation(&headers).is_err();
    let _ = (wire::dialect(&headers), wire::content_type(&headers), v1::checksum(&headers));
    tus | draft | digests | chunk::content_range(&headers).is_ok()
}

const PATHS: &[&str] =
    &["master.m3u8", "v0-1/media.m3u8", "v0-1/iframes.m3u8", "a1-12/init.mp4", "v0-1/4294967295.m4s", "v0-1/k7.m4s"];

/// Payloads of CTA-5004.
const CLIENT_DATA: &[&str] =
    &["bl=21300,br=3200,bs,mtp=25400,sid=\"6e2fb550-c457-11e9-bb97-0800200c9a66\"", "cid=\"a,\\\"mtp=1\",mtp=900"];

fn read_client_data(input: &[u8]) -> bool {
    std::str::from_utf8(input).is_ok_and(|payload| measured_throughput(payload).is_some())
}

fn read_path(input: &[u8]) -> bool {
    std::str::from_utf8(input).is_ok_and(|tail| MediaPath::parse(tail).is_some())
}

/// A small clip with its media bytes as short as they come, so that most changes hit the index.
fn movies() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("clip.mp4");
    let spec = ClipSpec {
        duration: Duration::from_secs(1),
        width: 64,
        height: 64,
        frames_per_sec: 10,
        kilobits_per_sec: 200,
        frames_per_key: 10,
    };
    make_clip(&spec, &path).expect("a clip");
    vec![std::fs::read(&path).expect("the clip")]
}

fn read_movie(input: &[u8]) -> bool {
    let limits = MovieLimits { moov_bytes_max: 4 << 20, samples_max: 50_000, tracks_max: 8 };
    let request = IndexRequest {
        video_id: VideoId::parse("vid_aaaaaaaaaaaaaaaaaaaaaa").expect("an id"),
        playback_id: PlaybackId::parse("plb_aaaaaaaaaaaaaaaaaaaaaa").expect("an id"),
        generation: 1,
        source: vec![Extent { key: BlobKey::new("original"), bytes: input.len() as u64 }],
        table_prefix: BlobKey::new("tables"),
        settings: IndexSettings { limits, ..IndexSettings::default() },
    };
    let _ = certainly_not_media(&input[..input.len().min(512)]);
    index_movie(&mut Cursor::new(input), &request).is_ok_and(|index| index.playable.is_some())
}

fn avc_samples() -> Vec<Vec<u8>> {
    let found = |movie: &Vec<u8>| -> Option<Vec<u8>> {
        let at = movie.windows(4).position(|window| window == b"avcC")?;
        let length = u32::from_be_bytes(movie.get(at.checked_sub(4)?..at)?.try_into().ok()?) as usize;
        movie.get(at + 4..at - 4 + length).map(<[u8]>::to_vec)
    };
    movies().iter().filter_map(found).collect()
}

fn read_avc(input: &[u8]) -> bool {
    let _ = SpsInfo::parse(input.get(8..).unwrap_or_default());
    let _ = NalUnits::new(input, 4).count() + NalUnits::new(input, 1).count();
    AvcConfig::parse(input).map(|config| (config.codec_string(), config.picture_kind(input))).is_ok()
}

/// An `av1C` body of 320x240 in 10 bits.
const AV1: &[&[u8]] =
    &[&[0x81, 0, 0x4c, 0, 0x0a, 0x0b, 0x00, 0x00, 0x00, 0x04, 0x3c, 0xff, 0xbc, 0xfb, 0xf9, 0x40, 0x40]];

fn read_av1(input: &[u8]) -> bool {
    let _ = Obus::new(input).count();
    let _ = (SequenceHeader::parse(input), Av1Config::from_units(input));
    Av1Config::parse(input).map(|config| (config.codec_string(), config.to_bytes())).is_ok()
}

/// An `AudioSpecificConfig` of AAC-LC at 48 kHz in stereo, plain and as an `esds` box has it.
const AAC: &[&[u8]] = &[
    &[0x11, 0x90],
    &[0, 0, 0, 0, 3, 25, 0, 1, 0, 4, 17, 0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 2, 0x11, 0x90, 6, 1, 2],
];

fn read_aac(input: &[u8]) -> bool {
    let config = AacConfig::parse(input).map(|config| config.codec_string());
    config.is_some() | EsDescriptor::parse(input).is_some()
}
