//! Hashing a body as it streams by, only when somebody asked for it.
use md5::Digest;

use crate::protocols::tus::wire::digest::{Algorithm, Checksum};

enum Hasher {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Md5(md5::Md5),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
            Algorithm::Md5 => Self::Md5(md5::Md5::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
            Self::Md5(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(hasher) => hasher.finalize().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha512(hasher) => hasher.finalize().to_vec(),
            Self::Md5(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// What a body is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing.
    None,
    /// A digest told in the request's head.
    Told(Checksum),
    /// A digest that follows in the trailer, of any algorithm of tus.
    Trailer,
}

impl Check {
    pub(super) fn told(checksum: Option<Checksum>) -> Self {
        checksum.map_or(Self::None, Self::Told)
    }

    pub(super) fn is_some(&self) -> bool {
        *self != Self::None
    }
}

/// The hashes that a check needs.
pub(super) struct Hashes(Vec<(Algorithm, Hasher)>);

impl Hashes {
    pub(super) fn of(check: &Check) -> Self {
        let algorithms = match check {
            Check::None => Vec::new(),
            Check::Told(checksum) => vec![checksum.algorithm],
            Check::Trailer => vec![Algorithm::Sha1, Algorithm::Sha256, Algorithm::Md5],
        };
        Self(algorithms.into_iter().map(|algorithm| (algorithm, Hasher::new(algorithm))).collect())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|(_, hasher)| hasher.update(bytes));
    }

    /// Whether what was hashed has this digest.
    pub(super) fn matches(self, checksum: &Checksum) -> bool {
        let hasher = self.0.into_iter().find(|(algorithm, _)| *algorithm == checksum.algorithm);
        hasher.is_some_and(|(_, hasher)| hasher.finish() == checksum.digest)
    }
}
