use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    number: i64,
    text: String,
    list: Vec<(u64, Option<bool>)>,
    bytes: bytes::Bytes,
}

impl Versioned for Record {
    const VERSION: u8 = 7;
    const BYTES_MAX: usize = 10_000;
}

fn record() -> Record {
    let list = (0..20).map(|n| (u64::MAX >> n, (n % 3 != 0).then_some(n % 2 == 0))).collect();
    Record { number: i64::MIN, text: "täxt".into(), list, bytes: vec![0, 255, 7].into() }
}

#[test]
fn values_round_trip_behind_a_version_byte() {
    let bytes = encode(&record()).unwrap();
    assert_eq!(bytes[0], 7);
    assert_eq!(decode::<Record>(&bytes), Ok(record()));
}

#[test]
fn other_versions_and_sizes_are_refused() {
    let mut bytes = encode(&record()).unwrap();
    bytes[0] = 8;
    assert_eq!(decode::<Record>(&bytes), Err(CodecError::UnknownVersion { found: 8, expected: 7 }));
    assert_eq!(decode::<Record>(&[]), Err(CodecError::Empty));
    assert_eq!(decode::<Record>(&[7; 10_001]), Err(CodecError::TooLarge { bytes: 10_001, limit: 10_000 }));
    let large = Record { text: "x".repeat(10_000), ..record() };
    assert!(matches!(encode(&large), Err(CodecError::TooLarge { limit: 10_000, .. })));
}

#[test]
fn truncated_and_prolonged_bytes_are_refused() {
    let bytes = encode(&record()).unwrap();
    for length in 0..bytes.len() {
        assert!(decode::<Record>(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
    let longer = [bytes.as_slice(), &[0, 0]].concat();
    assert_eq!(decode::<Record>(&longer), Err(CodecError::TrailingBytes(2)));
}

#[test]
fn garbage_never_panics_nor_allocates_much() {
    // A xorshift of fixed seed: every run sees the same garbage.
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let good = encode(&record()).unwrap();
    for round in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=round % 8 {
            let place = random() as usize % bytes.len();
            bytes[place] = random() as u8;
        }
        bytes[0] = 7;
        if let Ok(value) = decode::<Record>(&bytes) {
            assert!(value.text.len() + value.bytes.len() <= bytes.len());
        }
        let noise: Vec<u8> = std::iter::once(7).chain((0..round % 64).map(|_| random() as u8)).collect();
        let _ = decode::<Record>(&noise);
    }
}

#[test]
fn a_length_beyond_the_input_is_refused_before_room_is_made() {
    // number 0, then a text of 2^62 bytes: bincode writes lengths of 64 bits behind the byte 253.
    let claim = [&[7u8, 0, 253][..], &(1u64 << 62).to_le_bytes()].concat();
    assert!(matches!(decode::<Record>(&claim), Err(CodecError::Malformed(_))));
}
