//! The one place that knows `bincode`: values as bytes, a version byte first, sizes limited, decoding fallible. Journal
//! records, asset indexes, cursors and node-to-node messages go through here, so that the format can be replaced.
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type with a stored or sent form.
pub trait Versioned: Serialize + DeserializeOwned {
    /// Goes up whenever the form changes. Bytes of other versions are refused, unless [`Self::from_older`] knows them.
    const VERSION: u8;
    /// Most bytes of the form, version byte included; checked in both directions, before anything is read.
    const BYTES_MAX: usize;

    /// The value that an earlier version of the program wrote; `None` for versions that are not read any more.
    fn from_older(_version: u8, _body: &[u8]) -> Option<Result<Self, CodecError>> {
        None
    }
}

/// Bytes that are not the form asked for, or a value that has none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// No bytes at all.
    #[error("no bytes")]
    Empty,
    /// Written by another version of the program.
    #[error("version {found}, expected {expected}")]
    UnknownVersion {
        /// The version byte found.
        found: u8,
        /// The one this program writes.
        expected: u8,
    },
    /// More bytes than the type may have.
    #[error("{bytes} bytes, at most {limit} allowed")]
    TooLarge {
        /// Number of bytes.
        bytes: usize,
        /// The type's limit.
        limit: usize,
    },
    /// Not a value of this type.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A whole value, and then more.
    #[error("{0} bytes after the value")]
    TrailingBytes(usize),
}

/// A value's bytes.
pub fn encode<T: Versioned>(value: &T) -> Result<Vec<u8>, CodecError> {
    let body = bincode::serde::encode_to_vec(value, bincode::config::standard());
    let body = body.map_err(|error| CodecError::Malformed(error.to_string()))?;
    check_size::<T>(body.len().saturating_add(1))?;
    let mut bytes = Vec::with_capacity(body.len() + 1);
    bytes.push(T::VERSION);
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The value in these bytes. Never panics, and allocates no more than a small multiple of their number.
pub fn decode<T: Versioned>(bytes: &[u8]) -> Result<T, CodecError> {
    check_size::<T>(bytes.len())?;
    let (&found, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if found != T::VERSION {
        let unknown = CodecError::UnknownVersion { found, expected: T::VERSION };
        return T::from_older(found, body).unwrap_or(Err(unknown));
    }
    decode_body(body)
}

/// The value in bytes whose version is known and whose size was checked.
pub fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, CodecError> {
    let (value, read) = decode_within(body).map_err(|error| CodecError::Malformed(error.to_string()))?;
    match body.len() - read {
        0 => Ok(value),
        rest => Err(CodecError::TrailingBytes(rest)),
    }
}

fn check_size<T: Versioned>(bytes: usize) -> Result<(), CodecError> {
    if bytes > T::BYTES_MAX { Err(CodecError::TooLarge { bytes, limit: T::BYTES_MAX }) } else { Ok(()) }
}

/// `bincode` checks lengths against a constant limit before it allocates. It counts a number at its full width, at most
/// eight times what it takes as bytes; hence limits of at least 16 times the input, in steps.
fn decode_within<T: DeserializeOwned>(body: &[u8]) -> Result<(T, usize), bincode::error::DecodeError> {
    let config = bincode::config::standard();
    match body.len() {
        ..=0x1000 => bincode::serde::decode_from_slice(body, config.with_limit::<0x1_0000>()),
        0x1001..=0x1_0000 => bincode::serde::decode_from_slice(body, config.with_limit::<0x10_0000>()),
        0x1_0001..=0x10_0000 => bincode::serde::decode_from_slice(body, config.with_limit::<0x100_0000>()),
        0x10_0001..=0x100_0000 => bincode::serde::decode_from_slice(body, config.with_limit::<0x1000_0000>()),
        _ => bincode::serde::decode_from_slice(body, config.with_limit::<0x4000_0000>()),
    }
}

#[cfg(test)]
mod tests;
