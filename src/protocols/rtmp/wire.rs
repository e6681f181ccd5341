//! RTMP on the wire. Every read is fallible, and every count a peer controls is capped before anything is allocated for it.
pub mod amf;
pub mod chunk;
pub mod flv;
pub mod handshake;
pub mod message;
pub mod output;

use bytes::{Buf, Bytes};

/// Takes the next `count` bytes, sharing them; `None` when there are fewer.
pub(crate) fn take(bytes: &mut Bytes, count: usize) -> Option<Bytes> {
    (count <= bytes.len()).then(|| bytes.split_to(count))
}

/// An unsigned number of three bytes.
pub(crate) fn u24(bytes: &mut impl Buf) -> Option<u32> {
    bytes.try_get_uint(3).ok().and_then(|number| u32::try_from(number).ok())
}

/// A four-character code.
pub(crate) fn four_cc(bytes: &mut impl Buf) -> Option<flv::FourCc> {
    bytes.try_get_u32().ok().map(|code| flv::FourCc(code.to_be_bytes()))
}
