//! Digests of bodies and of whole files: `Upload-Checksum` (tus 1.0), `Content-Digest` and `Repr-Digest` (RFC 9530),
//! `Content-MD5` (RFC 1864).
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderMap;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::{VALUE_BYTES_MAX, WireError, text};

/// The algorithms of `Upload-Checksum`.
pub const CHECKSUM_ALGORITHMS: &str = "sha1,sha256,md5";

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
    /// MD5, 16 bytes.
    Md5,
}

impl Algorithm {
    /// Length of its digests, bytes.
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Md5 => 16,
        }
    }

    /// Its name in stored digests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Md5 => "md5",
        }
    }

    fn from_tus(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "md5" => Some(Self::Md5),
            _ => None,
        }
    }

    /// By its name in the "Hash Algorithms for HTTP Digest Fields" registry, or as people write it.
    fn from_registry(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "sha" | "sha1" | "sha-1" => Some(Self::Sha1),
            "sha256" | "sha-256" => Some(Self::Sha256),
            "sha512" | "sha-512" => Some(Self::Sha512),
            "md5" => Some(Self::Md5),
            _ => None,
        }
    }

    /// Better ones first.
    fn strength(self) -> u8 {
        match self {
            Self::Sha512 => 3,
            Self::Sha256 => 2,
            Self::Sha1 => 1,
            Self::Md5 => 0,
        }
    }
}

/// What a body or file must hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// How.
    pub algorithm: Algorithm,
    /// To what.
    pub digest: Vec<u8>,
}

impl Checksum {
    fn new(field: &'static str, algorithm: Algorithm, digest: Vec<u8>) -> Result<Self, WireError> {
        if digest.len() != algorithm.digest_bytes() {
            let message = format!("a {} digest has {} bytes", algorithm.as_str(), algorithm.digest_bytes());
            return Err(WireError::invalid(field, message));
        }
        Ok(Self { algorithm, digest })
    }

    /// Reads the value of `Upload-Checksum`: name, space, Base64.
    pub fn from_tus(value: &str) -> Result<Self, WireError> {
        const FIELD: &str = "Upload-Checksum";
        let Some((name, encoded)) = value.split_once(' ') else {
            return Err(WireError::invalid(FIELD, "must be an algorithm and a Base64 digest, separated by a space"));
        };
        let algorithm = Algorithm::from_tus(name)
            .ok_or(WireError::UnknownAlgorithm { field: FIELD, known: CHECKSUM_ALGORITHMS })?;
        let digest =
            STANDARD.decode(encoded.trim()).map_err(|_| WireError::invalid(FIELD, "the digest is not Base64"))?;
        Self::new(FIELD, algorithm, digest)
    }

    /// Reads a digest of a whole file as JSON bodies have it: `sha256:hex`, `sha-256=hex`, `sha-256=base64` or
    /// `sha-256=:base64:`.
    pub fn from_text(field: &'static str, value: &str) -> Result<Self, WireError> {
        let wrong = || WireError::invalid(field, "must be like sha256:hex or sha-256=base64");
        let value = value.trim();
        if value.len() > 256 {
            return Err(wrong());
        }
        let (name, digest) = value.split_once([':', '=']).ok_or_else(wrong)?;
        let algorithm = Algorithm::from_registry(name.trim())
            .filter(|algorithm| *algorithm != Algorithm::Sha512)
            .ok_or(WireError::UnknownAlgorithm { field, known: "sha-256, sha1, md5" })?;
        let digest = digest.trim();
        if digest.len() == algorithm.digest_bytes() * 2 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self { algorithm, digest: from_hex(digest).ok_or_else(wrong)? });
        }
        let encoded = digest.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')).unwrap_or(digest);
        Self::new(field, algorithm, STANDARD.decode(encoded).map_err(|_| wrong())?)
    }

    /// As stored: `algorithm:hex`.
    pub fn to_stored(&self) -> String {
        let hex: String = self.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}:{hex}", self.algorithm.as_str())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// The strongest known digest of a dictionary field; unknown algorithms are passed over, as RFC 9530 allows.
fn strongest(headers: &HeaderMap, name: &'static str, field: &'static str) -> Result<Option<Checksum>, WireError> {
    let wrong = || WireError::invalid(field, "is no dictionary of digests (RFC 9530)");
    let mut best: Option<Checksum> = None;
    for value in headers.get_all(name) {
        if value.len() > VALUE_BYTES_MAX {
            return Err(wrong());
        }
        let members: Dictionary = Parser::new(value.as_bytes()).parse().map_err(|_| wrong())?;
        for (key, member) in members {
            let Some(algorithm) = Algorithm::from_registry(key.as_str()) else { continue };
            let ListEntry::Item(item) = member else { return Err(wrong()) };
            let BareItem::ByteSequence(digest) = item.bare_item else { return Err(wrong()) };
            let found = Checksum::new(field, algorithm, digest)?;
            if best.as_ref().is_none_or(|best| best.algorithm.strength() < algorithm.strength()) {
                best = Some(found);
            }
        }
    }
    Ok(best)
}

/// What the body of this request must hash to, by `Content-Digest` or `Content-MD5`.
pub fn of_content(headers: &HeaderMap) -> Result<Option<Checksum>, WireError> {
    if let Some(checksum) = strongest(headers, "content-digest", "Content-Digest")? {
        return Ok(Some(checksum));
    }
    const FIELD: &str = "Content-MD5";
    let Some(value) = text(headers, "content-md5", FIELD)? else { return Ok(None) };
    let digest = STANDARD.decode(value).map_err(|_| WireError::invalid(FIELD, "is not Base64"))?;
    Checksum::new(FIELD, Algorithm::Md5, digest).map(Some)
}

/// What the whole file must hash to, by `Repr-Digest`; SHA-512 is passed over.
pub fn of_representation(headers: &HeaderMap) -> Result<Option<Checksum>, WireError> {
    Ok(strongest(headers, "repr-digest", "Repr-Digest")?.filter(|checksum| checksum.algorithm != Algorithm::Sha512))
}
