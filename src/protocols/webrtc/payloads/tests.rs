//! What is put into packets is taken out of them again, by the readers of what publishers send.
use super::*;
use crate::media::codecs::vp9::Vp9Config;
use crate::media::testing::avcc;
use crate::protocols::webrtc::wire::payload::Unit;

fn frame(payload: Vec<u8>, keyframe: bool) -> Frame {
    Frame { dts: 0, pts: 0, duration: 0, keyframe, payload: payload.into() }
}

fn with_lengths(units: &[Vec<u8>]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes()[..], unit].concat()).collect()
}

fn byte_stream(units: &[Vec<u8>]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&[0, 0, 0, 1][..], unit].concat()).collect()
}

fn unit(head: &[u8], bytes: usize) -> Vec<u8> {
    head.iter().copied().chain((0..bytes).map(|at| (at % 251) as u8 | 1)).collect()
}

/// Every payload fits, and together they are the picture again.
fn read(payloads: &[Bytes], codec: Codec) -> Bytes {
    let mut reader = Unit::new(codec);
    for payload in payloads {
        assert!(!payload.is_empty() && payload.len() <= PAYLOAD_BYTES_MAX, "{}", payload.len());
        reader.take(payload).unwrap();
    }
    reader.finish().unwrap()
}

#[test]
fn pictures_of_h264_are_read_back_with_their_parameter_sets() {
    let config = TrackConfig::new(CodecConfig::H264 { avcc: avcc() }, 90_000);
    let avc = AvcConfig::parse(&avcc()).unwrap();
    let sets: Vec<Vec<u8>> = avc.sps.iter().chain(&avc.pps).map(|set| set.to_vec()).collect();
    let mut payloads = Payloads::of(&config).unwrap();
    for bytes in [1, 500, 1159, 1160, 1161, 2400, 100_000] {
        let slices = vec![unit(&[0x65], bytes), unit(&[0x65], 40), unit(&[0x06], 20)];
        let delimited = [vec![vec![9, 0x10]], slices.clone(), vec![unit(&[12], 3000)]].concat();
        let key = payloads.make(&frame(with_lengths(&delimited), true));
        let whole = byte_stream(&[sets.clone(), slices.clone()].concat());
        assert_eq!(read(&key, Codec::H264), whole, "{bytes}");
        assert_eq!(key[0][0] & 0x1f, STAP_A, "what decoders have to know comes first");
        let other = payloads.make(&frame(with_lengths(&delimited), false));
        assert_eq!(read(&other, Codec::H264), byte_stream(&slices), "{bytes}");
    }
    let own = [sets.clone(), vec![unit(&[0x65], 10)]].concat();
    let told_twice = payloads.make(&frame(with_lengths(&own), true));
    assert_eq!(read(&told_twice, Codec::H264), byte_stream(&own));
    assert!(payloads.make(&frame(with_lengths(&[vec![9, 0x10]]), false)).is_empty());
}

#[test]
fn units_of_hevc_are_read_back() {
    let mut payloads = Payloads { codec: Codec::Hevc, sets: Vec::new(), length_bytes: 4, number: 0 };
    for bytes in [1, 1158, 1160, 5000] {
        let units = vec![unit(&[0x4e, 1], 30), unit(&[0x26, 1], bytes), unit(&[0x02, 1], bytes)];
        let made = payloads.make(&frame(with_lengths(&units), false));
        assert_eq!(read(&made, Codec::Hevc), byte_stream(&units), "{bytes}");
    }
}

#[test]
fn pictures_of_vp9_are_read_back_and_numbered() {
    let vpcc = Vp9Config::of_size((320, 180)).to_bytes();
    let config = TrackConfig::new(CodecConfig::Vp9 { vpcc, size: (320, 180) }, 90_000);
    let mut payloads = Payloads::of(&config).unwrap();
    for (number, bytes) in [1usize, 1157, 1158, 9000].into_iter().enumerate() {
        let picture = unit(&[0x82], bytes);
        let made = payloads.make(&frame(picture.clone(), number == 0));
        assert_eq!(read(&made, Codec::Vp9), picture);
        assert!(made.iter().all(|payload| payload[2] == number as u8 + 1 && (payload[0] & 0x40 == 0) == (number == 0)));
    }
}

#[test]
fn units_of_av1_are_read_back() {
    let sized = |kind: u8, bytes: usize| {
        let mut out = BytesMut::new();
        out.put_u8(kind << 3 | 0x02);
        put_leb128(&mut out, bytes);
        out.extend((0..bytes).map(|at| at as u8));
        out.to_vec()
    };
    let sequence = Bytes::from(sized(OBU_SEQUENCE, 11));
    let mut payloads = Payloads { codec: Codec::Av1, sets: vec![sequence.clone()], length_bytes: 0, number: 0 };
    for bytes in [1, 127, 1140, 1145, 1150, 1155, 1160, 20_000] {
        let units = [sized(6, bytes), sized(5, 20), sized(6, bytes)].concat();
        let made = payloads.make(&frame([sized(2, 0), units.clone()].concat(), true));
        assert_eq!(read(&made, Codec::Av1), [&sequence[..], &units].concat(), "{bytes}");
        assert_eq!(made[0][0] & AV1_BEGINS, AV1_BEGINS);
        let made = payloads.make(&frame(units.clone(), false));
        assert_eq!(read(&made, Codec::Av1), units, "{bytes}");
        assert_eq!(made[0][0] & AV1_BEGINS, 0);
    }
}

#[test]
fn sound_goes_as_it_is_and_other_codecs_do_not_go() {
    let aac = CodecConfig::Aac { config: Bytes::from_static(&[0x11, 0x90]) };
    assert!(Payloads::of(&TrackConfig::new(aac, 48_000)).is_none());
    let mut opus = Payloads { codec: Codec::Opus, sets: Vec::new(), length_bytes: 0, number: 0 };
    assert_eq!(opus.make(&frame(vec![0xfc, 1], true)), [Bytes::from_static(&[0xfc, 1])]);
}

#[test]
fn damaged_pictures_are_left_out() {
    let config = TrackConfig::new(CodecConfig::H264 { avcc: avcc() }, 90_000);
    let mut payloads = Payloads::of(&config).unwrap();
    for payload in [vec![], vec![0, 0], vec![0, 0, 0, 9, 0x65], vec![0; 40], vec![0xff; 40]] {
        assert!(payloads.make(&frame(payload, false)).is_empty());
    }
}
