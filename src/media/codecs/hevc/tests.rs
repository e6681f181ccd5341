use super::*;
use crate::media::testing::{HVCC as MAIN, HVCC_HDR as HDR, hex};

fn unit(kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(rest.len() + 2).unwrap();
    [&length.to_be_bytes()[..], &[kind << 1, 1], rest].concat()
}

#[test]
fn records_of_an_encoder_are_read_and_written_again() {
    let config = HevcConfig::parse(&hex(MAIN)).unwrap();
    let SpsInfo { width, height, bit_depth, chroma_format, colour, .. } = config.sps;
    assert_eq!((width, height, bit_depth, chroma_format, colour), (320, 180, 8, 1, None));
    assert_eq!((config.codec_string().as_str(), config.length_bytes()), ("hvc1.1.6.L60.90", 4));
    assert_eq!(HevcConfig::parse(&config.to_bytes()), Ok(config));
    let config = HevcConfig::parse(&hex(HDR)).unwrap();
    assert_eq!((config.sps.bit_depth, config.sps.width), (10, 320));
    assert_eq!(config.sps.colour, Some((9, 16, 9, false)));
    assert_eq!(config.codec_string(), "hvc1.2.4.L60.90");
    assert!(!config.to_bytes().windows(3).any(|bytes| bytes == [0xaa, 0xbb, 0xcc]), "an encoder's text is left out");
}

#[test]
fn pictures_tell_where_decoding_can_start() {
    let config = HevcConfig::parse(&hex(MAIN)).unwrap();
    let kind =
        |kinds: &[u8]| config.picture_kind(&kinds.iter().flat_map(|kind| unit(*kind, &[1, 2])).collect::<Vec<_>>());
    assert_eq!(kind(&[35, 39, 19]), Some(PictureKind::Idr));
    assert_eq!(kind(&[20]), Some(PictureKind::Idr));
    assert_eq!(kind(&[21]), Some(PictureKind::OpenStart));
    assert_eq!(kind(&[16]), Some(PictureKind::OpenStart));
    assert_eq!(kind(&[9]), Some(PictureKind::Skippable));
    assert_eq!(
        (kind(&[0]), kind(&[1]), kind(&[7])),
        (Some(PictureKind::Other), Some(PictureKind::Other), Some(PictureKind::Other))
    );
    assert_eq!((kind(&[35]), kind(&[])), (None, None));
}

#[test]
fn sets_within_pictures_are_taken_out_and_new_ones_make_a_new_record() {
    let (main, hdr) = (HevcConfig::parse(&hex(MAIN)).unwrap(), HevcConfig::parse(&hex(HDR)).unwrap());
    let with = |sets: &[Bytes]| -> Bytes {
        let sets = sets.iter().flat_map(|set| [&u32::try_from(set.len()).unwrap().to_be_bytes()[..], set].concat());
        sets.chain(unit(19, &[7])).collect::<Vec<u8>>().into()
    };
    let plain = Bytes::from(unit(19, &[7]));
    assert_eq!(main.without_sets(plain.clone()), (plain.clone(), None));
    assert_eq!(main.without_sets(with(&main.sets)), (plain.clone(), None));
    let (rest, other) = main.without_sets(with(&hdr.sets));
    let other = other.unwrap();
    assert_eq!((rest, other.codec_string()), (plain, hdr.codec_string()));
    assert_eq!(HevcConfig::parse(&other.to_bytes()).unwrap().sps, hdr.sps);
    assert_eq!(other.to_bytes()[..22], hdr.to_bytes()[..22]);
}

#[test]
fn damaged_records_and_sets_are_refused_or_read() {
    let record = hex(MAIN);
    for length in 0..record.len() {
        assert!(HevcConfig::parse(&record[..length]).is_err(), "{length}");
    }
    let sps = HevcConfig::parse(&hex(HDR)).unwrap().sets[1].clone();
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    for _ in 0..50_000 {
        let mut changed = sps.to_vec();
        for _ in 0..1 + next() % 6 {
            let at = 2 + next() % (changed.len() - 2);
            changed[at] = next() as u8;
        }
        changed.truncate(2 + next() % changed.len());
        if let Ok(info) = SpsInfo::parse(&changed) {
            assert!(info.width <= 16_384 && info.height <= 16_384 && info.bit_depth <= 15);
        }
    }
}
