use std::io::Cursor;

use bytes::Bytes;
use mp4_atom::{Decode, Moof, TrunSamples};

use super::*;
use crate::media::codecs::mp3::Mp3Header;
use crate::media::frames::{CodecConfig, Colour, TrackConfig};
use crate::media::movie::{Movie, MovieLimits};
use crate::media::testing::{HVCC, HVCC_HDR, avcc, hex};

fn records(composition: i32) -> Vec<SampleRecord> {
    let record = |index: u64| SampleRecord {
        offset: 0,
        bytes: 100 + index as u32,
        dts: (1 << 33) + index * 40,
        duration: 40,
        composition,
        keyframe: index == 0,
    };
    (0..3).map(record).collect()
}

#[test]
fn heads_are_read_back_and_have_the_promised_size() {
    let cases =
        [(TrackKind::Video, 80, 0), (TrackKind::Video, -40, 0), (TrackKind::Video, -40, 80), (TrackKind::Audio, 0, 0)];
    for (kind, composition, reorder) in cases {
        let samples = records(composition);
        let mut head = BytesMut::new();
        write_segment_head(&mut head, SegmentHead { kind, number: 6, reorder }, &samples);
        assert_eq!(segment_bytes(kind, 3, 303).unwrap() as usize, head.len() + 303);
        let moof = Moof::decode(&mut head.as_ref()).unwrap();
        assert_eq!((moof.mfhd.sequence_number, moof.traf.len()), (7, 1));
        let traf = &moof.traf[0];
        assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, 1 << 33);
        assert!(traf.tfhd.default_base_is_moof);
        let run = &traf.trun[0];
        assert_eq!(run.data_offset, Some(head.len() as i32));
        let TrunSamples::Explicit(entries) = &run.samples else { panic!("explicit entries") };
        let sizes: Vec<_> = entries.iter().map(|entry| entry.size.unwrap()).collect();
        assert_eq!((sizes, entries[2].duration), (vec![100, 101, 102], Some(40)));
        if kind == TrackKind::Video {
            assert_eq!(entries[1].cts, Some(i64::from(composition) + i64::from(reorder)));
            assert_eq!((entries[0].flags, entries[1].flags), (Some(SYNC_FLAGS), Some(NON_SYNC_FLAGS)));
        }
    }
}

#[test]
fn sizes_beyond_32_bits_are_refused() {
    assert_eq!(segment_bytes(TrackKind::Video, 1, u64::from(u32::MAX)), None);
    assert_eq!(segment_bytes(TrackKind::Video, u64::MAX, 1), None);
    assert_eq!(segment_bytes(TrackKind::Audio, 0, 0), Some(96));
}

/// A track of each codec, and its codec string.
fn codecs() -> Vec<(CodecConfig, &'static str)> {
    let bytes = |text: &str| Bytes::from(hex(text));
    let flac = ["00000000800000220400040000000000", "08150bb800f0", "00".repeat(20).as_str()].concat();
    let mp3 = Mp3Header { is_first_version: true, sample_rate: 44_100, channels: 2 };
    vec![
        (CodecConfig::H264 { avcc: avcc() }, "avc1.42c00d"),
        (CodecConfig::Hevc { hvcc: bytes(HVCC) }, "hvc1.1.6.L60.90"),
        (CodecConfig::Hevc { hvcc: bytes(HVCC_HDR) }, "hvc1.2.4.L60.90"),
        (CodecConfig::Av1 { av1c: bytes("81000c000a0b0200000521e7f66017c002") }, "av01.0.00M.08"),
        (CodecConfig::Vp9 { vpcc: bytes("000b820202020000"), size: (320, 180) }, "vp09.00.11.08"),
        (CodecConfig::Aac { config: bytes("1190") }, "mp4a.40.2"),
        (CodecConfig::Opus { dops: bytes("000201380000bb80000000") }, "opus"),
        (CodecConfig::Mp3(mp3), "mp4a.6B"),
        (CodecConfig::Ac3 { dac3: bytes("101140") }, "ac-3"),
        (CodecConfig::Eac3 { dec3: bytes("0300200200") }, "ec-3"),
        (CodecConfig::Flac { dfla: bytes(&flac) }, "flac"),
    ]
}

#[test]
fn initialisation_segments_of_all_codecs_are_read_back() {
    for (codec, string) in codecs() {
        let is_sound = codec.kind() == TrackKind::Audio;
        let mut config = TrackConfig::new(codec, if is_sound { 48_000 } else { 90_000 });
        if let CodecConfig::Hevc { hvcc } = &config.codec {
            // As it is written: an encoder's words are left out.
            let hvcc = crate::media::codecs::hevc::HevcConfig::parse(hvcc).unwrap().to_bytes();
            config.codec = CodecConfig::Hevc { hvcc };
        }
        config.colour = config.own_colour();
        if is_sound {
            config.language = "de".into();
        }
        let init = init_segment(&config).unwrap();
        let movie = Movie::read(&mut Cursor::new(&init), &MovieLimits::default()).unwrap();
        let read = TrackConfig::of_track(&movie.tracks[0]);
        if string != "avc1.42c00d" {
            assert_eq!(config.codec_string().as_deref(), Ok(string));
            assert_eq!(read.as_ref(), Some(&config), "{string}");
        }
        assert_eq!(init_segment(&read.unwrap()).unwrap(), init, "{string}");
        let range = if string == "hvc1.2.4.L60.90" { "pq" } else { "sdr" };
        assert_eq!(dynamic_range(&init), range, "{string}");
    }
}

#[test]
fn colours_are_told_as_they_are() {
    let mut config = TrackConfig::new(CodecConfig::Hevc { hvcc: hex(HVCC).into() }, 90_000);
    assert_eq!(config.own_colour(), None);
    config.colour = Some(Colour { primaries: 9, transfer: 18, matrix: 9, full_range: true });
    assert_eq!(dynamic_range(&init_segment(&config).unwrap()), "hlg");
}
