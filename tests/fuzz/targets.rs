//! What reads bytes from outside, each with samples that it understands.
use std::io::Cursor;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use playhouse::domain::asset::{BlobKey, Extent};
use playhouse::domain::ids::{PlaybackId, VideoId};
use playhouse::domain::upload::sniff::certainly_not_media;
use playhouse::media::codecs::aac::{AacConfig, EsDescriptor};
use playhouse::media::codecs::av1::{Av1Config, Obus, SequenceHeader, is_key, without_delimiter};
use playhouse::media::codecs::dolby::DolbyFrame;
use playhouse::media::codecs::flac::FlacConfig;
use playhouse::media::codecs::h264::{AvcConfig, NalUnits, SpsInfo};
use playhouse::media::codecs::hevc::{self, HevcConfig};
use playhouse::media::codecs::mp3::Mp3Header;
use playhouse::media::codecs::opus::{OpusConfig, packet_samples};
use playhouse::media::codecs::vp9::{Vp9Config, key_frame_size};
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
    let samples = |samples: &[&[u8]]| samples.iter().map(|sample| sample.to_vec()).collect();
    vec![
        Target { name: "upload requests", samples: text(REQUESTS), read: read_request },
        Target { name: "media paths", samples: text(PATHS), read: read_path },
        Target { name: "client media data", samples: text(CLIENT_DATA), read: read_client_data },
        Target { name: "movie files", samples: movies(), read: read_movie },
        Target { name: "H.264 configuration", samples: avc_samples(), read: read_avc },
        Target { name: "AV1 configuration", samples: samples(AV1), read: read_av1 },
        Target { name: "HEVC configuration", samples: samples(HEVC), read: read_hevc },
        Target { name: "VP9 configuration", samples: samples(VP9), read: read_vp9 },
        Target { name: "sound packets", samples: samples(SOUND), read: read_sound },
        Target { name: "AAC configuration", samples: samples(AAC), read: read_aac },
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
    let _ = (SequenceHeader::parse(input), Av1Config::from_units(input), is_key(input));
    let _ = without_delimiter(bytes::Bytes::copy_from_slice(input));
    Av1Config::parse(input).map(|config| (config.codec_string(), config.to_bytes())).is_ok()
}

/// An `hvcC` body of 320x180 in 10 bits with the colours of HDR10, and an access unit behind one like it.
const HEVC: &[&[u8]] = &[
    b"\x01\x02\x20\0\0\0\x90\0\0\0\0\0\x3c\xf0\0\xfc\xfd\xfa\xfa\0\0\x0f\x03\x20\0\x01\0\x18\x40\x01\x0c\x01\xff\xff\x02\x20\0\0\
    \x03\0\x90\0\0\x03\0\0\x03\0\x3c\x95\x94\x09\x21\0\x01\0\x2e\x42\x01\x01\x02\x20\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3c\xa0\x0a\x08\
    \x0c\x1f\x3b\x65\x95\x95\x29\x30\xbc\x05\xa8\x48\x80\x48\x20\0\0\x03\0\x20\0\0\x03\x03\xc1\x22\0\x01\0\x06\x44\x01\xc0\x73\xc1\x89\
    \0\0\0\x05\x42\x01\x01\x02\x20\0\0\0\x03\x26\x01\xaf",
];

fn read_hevc(input: &[u8]) -> bool {
    let _ = hevc::SpsInfo::parse(input.get(54..).unwrap_or_default());
    let Ok(config) = HevcConfig::parse(input) else { return false };
    let unit = bytes::Bytes::copy_from_slice(input.get(110..).unwrap_or_default());
    let _ = (config.codec_string(), config.to_bytes(), config.picture_kind(&unit), config.without_sets(unit));
    true
}

/// A `vpcC` body, and the beginning of a key frame.
const VP9: &[&[u8]] = &[&[0, 11, 0x82, 2, 2, 2, 0, 0], &[0x82, 0x49, 0x83, 0x42, 0, 0x13, 0xf0, 0x0b, 0x36, 6]];

fn read_vp9(input: &[u8]) -> bool {
    let config = Vp9Config::parse(input).map(|config| (config.codec_string(), config.to_bytes()));
    config.is_ok() | key_frame_size(input).is_some()
}

/// An ID header of Opus, frames of AC-3, E-AC-3 and MP3, stream information of FLAC.
const SOUND: &[&[u8]] = &[
    b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0",
    &[0x0b, 0x77, 0xfe, 0x95, 0x14, 0x40, 0x43, 0xe1, 0x06, 0xf4],
    &[0x0b, 0x77, 0x00, 0xbf, 0x32, 0x87, 0xc0, 0x00, 0x21, 0x06],
    &[0xff, 0xfb, 0x54, 0xc4, 0, 0],
    b"fLaC\x80\0\0\x22\x04\0\x04\0\0\0\0\0\x08\x15\x0b\xb8\0\xf0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
];

fn read_sound(input: &[u8]) -> bool {
    let opus = OpusConfig::parse_head(input).or_else(|| OpusConfig::parse(input)).map(|config| config.to_bytes());
    let dolby = DolbyFrame::parse(input).or_else(|| DolbyFrame::parse_dec3(input)).map(|frame| frame.to_bytes());
    let flac = FlacConfig::parse(input).map(|config| (config.to_bytes(), config.samples(input)));
    let mp3 = Mp3Header::parse(input).map(|header| (header.codec_string(), header.samples()));
    let _ = (DolbyFrame::parse_dac3(input), FlacConfig::parse_box(input), packet_samples(input));
    opus.is_some() | dolby.is_some() | flac.is_some() | mp3.is_some()
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
