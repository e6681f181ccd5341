use bytes::BytesMut;

use super::amf0::{self, Reader};
use super::*;

fn encoded(value: &Amf) -> BytesMut {
    let mut bytes = BytesMut::new();
    amf0::write(value, &mut bytes);
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Amf>, AmfError> {
    let mut reader = Reader::new(bytes, &AmfLimits::default());
    std::iter::from_fn(|| reader.next_value().transpose()).collect()
}

#[test]
fn values_are_read_as_they_were_written() {
    let value = Amf::object([
        ("number", Amf::Number(-1.5)),
        ("yes", Amf::Boolean(true)),
        ("text", Amf::text("größer")),
        ("long", Amf::text("x".repeat(70_000))),
        ("list", Amf::List(vec![Amf::Null, Amf::Undefined, Amf::Date(1.0)])),
        ("map", Amf::Map(vec![("a".to_owned(), Amf::Number(1.0))])),
    ]);
    assert_eq!(read(&encoded(&value)).unwrap(), [value]);
}

#[test]
fn every_cut_is_an_error_or_fewer_values_and_never_more() {
    let bytes = encoded(&Amf::object([("list", Amf::List(vec![Amf::text("x"), Amf::Number(2.0)]))]));
    for end in 1..bytes.len() {
        assert!(matches!(read(&bytes[..end]), Err(AmfError::CutShort) | Ok(_)), "{end}");
    }
}

#[test]
fn a_last_object_may_lack_its_end_and_an_array_may_miscount() {
    let mut bytes = encoded(&Amf::Map(vec![("width".to_owned(), Amf::Number(640.0))]));
    bytes[4] = 99;
    bytes.truncate(bytes.len() - 3);
    assert_eq!(read(&bytes).unwrap(), [Amf::Map(vec![("width".to_owned(), Amf::Number(640.0))])]);
}

#[test]
fn nesting_counts_and_text_are_capped() {
    let mut deep = Amf::Null;
    for _ in 0..16 {
        deep = Amf::List(vec![deep]);
    }
    assert!(read(&encoded(&deep)).is_ok());
    assert_eq!(read(&encoded(&Amf::List(vec![deep]))), Err(AmfError::TooDeep));
    let bomb = [&[0x0a_u8, 0, 0, 0, 1][..]; 100_000].concat();
    assert_eq!(read(&bomb), Err(AmfError::TooDeep));
    assert_eq!(read(&[0x0a, 0xff, 0xff, 0xff, 0xff]), Err(AmfError::TooMuch));
    assert_eq!(read(&[5; 5000]), Err(AmfError::TooMuch));
    assert_eq!(read(&[0x0c, 0xff, 0xff, 0xff, 0xff, b'x']), Err(AmfError::CutShort));
    let long = encoded(&Amf::text("x".repeat(600 << 10)));
    assert_eq!(read(&long), Err(AmfError::TooMuch));
}

#[test]
fn unknown_markers_and_trailing_rubbish() {
    assert_eq!(read(&[0x04]), Err(AmfError::Marker(4)));
    let mut bytes = encoded(&Amf::Number(1.0));
    bytes.extend_from_slice(&[0xee, 1, 2]);
    assert_eq!(Reader::new(&bytes, &AmfLimits::default()).rest().unwrap(), [Amf::Number(1.0)]);
}

#[test]
fn amf3_values_inside_amf0() {
    // An object with one sealed member and a dynamic one that refers to the sealed one's text, then an integer.
    let bytes = [
        0x11, 0x0a, 0x1b, 0x01, 0x03, b'a', 0x06, 0x05, b'h', b'i', 0x05, b'b', b'b', 0x06, 0x02, 0x01, // object
        0x11, 0x04, 0xff, 0xff, 0xff, 0xff, // -1
        0x11, 0x09, 0x05, 0x01, 0x03, 0x02, // [true, false]
        0x11, 0x0c, 0x05, 1, 2, // bytes
    ];
    let object = Amf::object([("a", Amf::text("hi")), ("bb", Amf::text("hi"))]);
    let list = Amf::List(vec![Amf::Boolean(true), Amf::Boolean(false)]);
    assert_eq!(read(&bytes).unwrap(), [object, Amf::Number(-1.0), list, Amf::Bytes(vec![1, 2])]);
}

#[test]
fn amf3_references_cannot_multiply_memory() {
    // A list of lists, each holding the one before twice: 2^20 values from 80 bytes.
    let mut bytes = vec![0x11, 0x09, 41, 0x01, 0x09, 0x01, 0x01];
    for index in 1..20_u8 {
        bytes.extend_from_slice(&[0x09, 0x05, 0x01, 0x09, index << 1, 0x09, index << 1]);
    }
    assert_eq!(read(&bytes), Err(AmfError::TooMuch));
    // One long text and many references to it.
    let mut bytes = vec![0x11, 0x09, 0xbf, 0x7f, 0x01, 0x06, 0x87, 0xd0, 0x01];
    bytes.resize(bytes.len() + 62_464, b'x');
    bytes.extend_from_slice(&[6, 0].repeat(4000));
    assert!(matches!(read(&bytes), Err(AmfError::TooMuch | AmfError::CutShort)), "{:?}", read(&bytes));
    // An object inside itself.
    assert_eq!(read(&[0x11, 0x09, 0x03, 0x01, 0x09, 0x00]), Err(AmfError::Reference));
}
