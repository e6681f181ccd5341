use bytes::BufMut;

use super::*;

fn full_box(kind: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(12 + 4 * numbers.len() as u32);
    out.put_slice(kind);
    out.put_u32(0);
    numbers.iter().for_each(|number| out.put_u32(*number));
    out
}

fn tables(boxes: &[Vec<u8>]) -> Result<SampleTables, MovieError> {
    SampleTables::read(&Children::split(&boxes.concat().into())?, &MovieLimits::default())
}

/// Five samples in chunks of 2, 2 and 1.
fn boxes() -> Vec<Vec<u8>> {
    vec![
        full_box(b"stsz", &[0, 5, 10, 20, 30, 40, 50]),
        full_box(b"stts", &[2, 3, 100, 2, 50]),
        full_box(b"ctts", &[2, 1, 200, 3, (-100i32) as u32]),
        full_box(b"stsc", &[2, 1, 2, 1, 3, 1, 1]),
        full_box(b"stco", &[3, 1000, 2000, 3000]),
        full_box(b"stss", &[2, 1, 4]),
    ]
}

#[test]
fn samples_are_unfolded() {
    let tables = tables(&boxes()).unwrap();
    let samples: Vec<_> = tables.samples().unwrap().map(Result::unwrap).collect();
    let column = |pick: fn(&Sample) -> i64| samples.iter().map(pick).collect::<Vec<_>>();
    assert_eq!(column(|sample| sample.offset as i64), [1000, 1010, 2000, 2030, 3000]);
    assert_eq!(column(|sample| sample.bytes.into()), [10, 20, 30, 40, 50]);
    assert_eq!(column(|sample| sample.dts), [0, 100, 200, 300, 350]);
    assert_eq!(column(|sample| sample.duration.into()), [100, 100, 100, 50, 50]);
    assert_eq!(column(|sample| sample.composition.into()), [200, -100, -100, -100, 0]);
    assert_eq!(column(|sample| sample.sync.into()), [1, 0, 0, 1, 0]);
    assert_eq!((tables.first_composition(), tables.media_bytes()), (200, 150));
}

#[test]
fn compact_and_fixed_sizes() {
    let mut all = boxes();
    let mut compact = full_box(b"stz2", &[4, 5]);
    compact.extend([0x12, 0x34, 0x50]);
    compact[3] += 3;
    all[0] = compact;
    let found = tables(&all).unwrap();
    let sizes: Vec<_> = found.samples().unwrap().map(|sample| sample.unwrap().bytes).collect();
    assert_eq!(sizes, [1, 2, 3, 4, 5]);
    all[0] = full_box(b"stsz", &[7, 5]);
    let found = tables(&all).unwrap();
    assert!(found.samples().unwrap().all(|sample| sample.unwrap().bytes == 7));
    assert_eq!(found.media_bytes(), 35);
}

#[test]
fn tables_that_contradict_each_other_are_damage() {
    let mut all = boxes();
    all[4] = full_box(b"stco", &[2, 1000, 2000]);
    let found = tables(&all).unwrap();
    let last = found.samples().unwrap().last().unwrap();
    assert!(matches!(last, Err(MovieError::Damaged(_))));
    all[4] = full_box(b"stco", &[4, 1000, 2000]);
    assert!(matches!(tables(&all), Err(MovieError::Damaged(_))));
    all[4] = full_box(b"stco", &[0]);
    all[0] = full_box(b"stsz", &[1, u32::MAX]);
    assert!(matches!(tables(&all).unwrap().samples().map(|_| ()), Err(MovieError::TooLarge { .. })));
}
