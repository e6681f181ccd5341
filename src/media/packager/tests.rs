use mp4_atom::{Decode, Moof, TrunSamples};

use super::*;

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
