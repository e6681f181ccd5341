//! The digest of a whole source.
use std::io::Read;

use sha2::Digest;

use super::worker::{Reporter, unreadable};
use crate::domain::video::Failure;
use crate::media::source::ExtentReader;
use crate::media::work::Answer;

/// Read at once: large enough that the hash, not the system call, is the cost.
const CHUNK_BYTES: usize = 1 << 20;

enum Hasher {
    Sha256(sha2::Sha256),
    Sha1(sha1::Sha1),
    Md5(md5::Md5),
}

impl Hasher {
    fn named(algorithm: &str) -> Option<Self> {
        match algorithm {
            "sha256" => Some(Self::Sha256(sha2::Sha256::new())),
            "sha1" => Some(Self::Sha1(sha1::Sha1::new())),
            "md5" => Some(Self::Md5(md5::Md5::new())),
            _ => None,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Md5(hasher) => hasher.update(bytes),
        }
    }

    fn hex(self) -> String {
        let digest = match self {
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha1(hasher) => hasher.finalize().to_vec(),
            Self::Md5(hasher) => hasher.finalize().to_vec(),
        };
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Checks that the source has the digest `expected` (`algorithm:hex`); fails with `digest_mismatch` otherwise.
pub(super) fn check(mut reader: ExtentReader, expected: &str, reporter: &Reporter) -> Result<Answer, Failure> {
    let unknown = || Failure {
        code: "digest_unsupported".into(),
        message: format!("The digest {expected:?} is none of sha256, sha1 or md5 in hexadecimal."),
    };
    let (algorithm, wanted) = expected.split_once(':').ok_or_else(unknown)?;
    let mut hasher = Hasher::named(algorithm).ok_or_else(unknown)?;
    let total = reader.length_bytes();
    let mut done = 0u64;
    let mut chunk = vec![0u8; CHUNK_BYTES];
    loop {
        let read = reader.read(&mut chunk).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        hasher.update(chunk.get(..read).unwrap_or_default());
        done += read as u64;
        reporter.progress(done, total);
    }
    let found = hasher.hex();
    if found.eq_ignore_ascii_case(wanted) {
        return Ok(Answer::Digested);
    }
    let message = format!(
        "The file that arrived is not the one that was sent: its {algorithm} is {found}, expected was {wanted}. \
         Upload it again."
    );
    Err(Failure { code: "digest_mismatch".into(), message })
}
