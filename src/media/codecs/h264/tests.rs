use super::*;
use crate::media::testing::SPS_AND_PPS;

const SPS: &[u8] = SPS_AND_PPS.0;
const PPS: &[u8] = SPS_AND_PPS.1;

#[test]
fn parameter_set_of_x264() {
    let info = SpsInfo::parse(SPS).unwrap();
    let expected = SpsInfo {
        profile: 100,
        chroma_format: 1,
        bit_depth_luma: 8,
        bit_depth_chroma: 8,
        progressive: true,
        width: 320,
        height: 240,
        colour: None,
    };
    assert_eq!(info, expected);
    assert_eq!(info.profile_name(), "High");
}

#[test]
fn record_round_trips() {
    let made = AvcConfig::from_parameter_sets(vec![SPS.into()], vec![PPS.into()]).unwrap();
    let record = made.to_bytes();
    assert_eq!(AvcConfig::parse(&record).unwrap(), made);
    assert_eq!(made.codec_string(), "avc1.64000d");
    assert_eq!(record[record.len() - 4..], [0xfd, 0xf8, 0xf8, 0]);
}

#[test]
fn hostile_parameter_sets_and_records_are_refused_or_read() {
    let record = AvcConfig::from_parameter_sets(vec![SPS.into()], vec![PPS.into()]).unwrap().to_bytes();
    for length in 0..record.len() - 4 {
        assert!(AvcConfig::parse(&record[..length]).is_err());
    }
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    for _ in 0..50_000 {
        let mut sps = SPS.to_vec();
        for _ in 0..1 + next() % 6 {
            let at = 1 + next() % (sps.len() - 1);
            sps[at] = next() as u8;
        }
        sps.truncate(1 + next() % sps.len());
        if let Ok(info) = SpsInfo::parse(&sps) {
            assert!(info.width <= SIDE_MAX && info.height <= SIDE_MAX);
        }
    }
    assert!(SpsInfo::parse(&[]).is_err() && SpsInfo::parse(&[0x67]).is_err() && SpsInfo::parse(PPS).is_err());
}

#[test]
fn units_of_an_access_unit_that_is_cut_off() {
    let unit = [0, 0, 0, 2, 0x09, 0xf0, 0, 0, 0, 100, 0x65, 1, 2];
    let found: Vec<_> = NalUnits::new(&unit, 4).map(|nal| (nal.kind, nal.complete)).collect();
    assert_eq!(found, [(9, true), (NAL_IDR, false)]);
    assert_eq!(NalUnits::new(&[0, 0, 0], 4).count(), 0);
    assert_eq!(NalUnits::new(&[0, 0, 0, 0], 4).count(), 0);
}
