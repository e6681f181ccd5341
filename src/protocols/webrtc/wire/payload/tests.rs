use super::*;

fn unit(codec: Codec, payloads: &[&[u8]]) -> Option<Vec<u8>> {
    let mut unit = Unit::new(codec);
    for payload in payloads {
        unit.take(payload).ok()?;
    }
    unit.finish().map(|bytes| bytes.to_vec())
}

#[test]
fn h264_in_single_several_and_parts() {
    let whole = unit(
        Codec::H264,
        &[
            &[0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2],
            &[0x7c, 0x85, 10, 11],
            &[0x7c, 0x05, 12],
            &[0x7c, 0x45, 13],
            &[0x06, 9, 9],
        ],
    );
    let expected =
        [START_CODE, &[0x67, 1], START_CODE, &[0x68, 2], START_CODE, &[0x65, 10, 11, 12, 13], START_CODE, &[6, 9, 9]];
    assert_eq!(whole, Some(expected.concat()));
    assert_eq!(unit(Codec::H264, &[&[0x7c, 0x05, 12]]), None, "its beginning is missing");
    assert_eq!(unit(Codec::H264, &[&[0x7c, 0x85, 12]]), None, "its end is missing");
    for damaged in [&[][..], &[0x78, 0, 9, 1], &[0x78, 0], &[0x7c], &[0x1d, 1, 2], &[0]] {
        assert_eq!(unit(Codec::H264, &[damaged]), None, "{damaged:?}");
    }
}

#[test]
fn hevc_in_single_several_and_parts() {
    let whole = unit(
        Codec::Hevc,
        &[
            &[48 << 1, 1, 0, 3, 0x40, 1, 7, 0, 3, 0x42, 1, 8],
            &[49 << 1, 1, 0x80 | 19, 10],
            &[49 << 1, 1, 0x40 | 19, 11],
            &[0x02, 1, 5],
        ],
    );
    let expected = [
        START_CODE,
        &[0x40, 1, 7],
        START_CODE,
        &[0x42, 1, 8],
        START_CODE,
        &[19 << 1, 1, 10, 11],
        START_CODE,
        &[2, 1, 5],
    ];
    assert_eq!(whole, Some(expected.concat()));
    for damaged in [&[][..], &[0x40], &[98, 1], &[98, 1, 0x13, 4], &[100, 1, 1], &[96, 1, 0, 9, 1]] {
        assert_eq!(unit(Codec::Hevc, &[damaged]), None, "{damaged:?}");
    }
}

#[test]
fn vp9_behind_its_descriptor() {
    assert_eq!(unit(Codec::Vp9, &[&[0x88, 5, 1, 2], &[0x84, 5, 3]]), Some(vec![1, 2, 3]));
    let with_all = [0xfa, 0x80 | 1, 2, 0x11, 0x03, 0x02, 0x18, 1, 64, 0, 64, 2, 0x04, 7, 0, 99];
    assert_eq!(unit(Codec::Vp9, &[&with_all]), Some(vec![99]));
    let upper_layer = [0xa8, 5, 0x02, 0, 9];
    assert_eq!(unit(Codec::Vp9, &[&[0xa8, 5, 0x00, 0, 1], &upper_layer]), Some(vec![1]));
    for length in 0..with_all.len() - 1 {
        assert_eq!(unit(Codec::Vp9, &[&with_all[..length]]), None);
    }
}

#[test]
fn vp8_behind_its_descriptor() {
    assert_eq!(unit(Codec::Vp8, &[&[0x10, 1, 2], &[0x00, 3]]), Some(vec![1, 2, 3]));
    let with_all = [0x90, 0xf0, 0x80 | 1, 2, 3, 4, 99];
    assert_eq!(unit(Codec::Vp8, &[&with_all, &[0x80, 0x80, 5, 98]]), Some(vec![99, 98]));
    for length in 0..with_all.len() {
        assert_eq!(unit(Codec::Vp8, &[&with_all[..length]]), None);
    }
    assert_eq!(unit(Codec::Vp8, &[&[0x00, 1]]), None, "its beginning has not come");
    assert_eq!(unit(Codec::Vp8, &[&[0x10, 1], &[0x10, 2]]), None, "it begins twice");
}

#[test]
fn av1_gets_its_sizes_back() {
    // A sequence header and the beginning of a frame that goes on in two more packets.
    let first: &[u8] = &[0x68 & 0x40 | 0x20, 3, 0x08, 1, 2, 0x30, 10];
    let second: &[u8] = &[0x80 | 0x40 | 0x10, 11];
    let third: &[u8] = &[0x80 | 0x10, 12];
    assert_eq!(unit(Codec::Av1, &[first, second, third]), Some(vec![0x0a, 2, 1, 2, 0x32, 3, 10, 11, 12]));
    // Delimiters go, sizes that are there stay, extensions stay.
    assert_eq!(unit(Codec::Av1, &[&[0x20, 2, 0x12, 0, 0x36, 0x20, 1, 7]]), Some(vec![0x36, 0x20, 1, 7]));
    assert_eq!(unit(Codec::Av1, &[first]), None, "it goes on");
    for damaged in [&[0x90, 1][..], &[0x10], &[0x00, 9, 1], &[0x00, 0x80, 0x80, 0x80, 0x80, 1], &[]] {
        assert_eq!(unit(Codec::Av1, &[damaged]), None, "{damaged:?}");
    }
}

#[test]
fn units_are_bounded() {
    for (codec, part) in [(Codec::H264, vec![0x01; 60_000]), (Codec::Av1, [&[0x50, 0x30][..], &[7; 60_000]].concat())] {
        let mut unit = Unit::new(codec);
        assert!((0..1000).any(|_| unit.take(&part).is_err()));
    }
    assert_eq!(unit(Codec::Opus, &[&[0xfc, 1, 2]]), Some(vec![0xfc, 1, 2]));
}
