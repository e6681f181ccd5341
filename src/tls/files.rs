//! The operator's own certificate and key, read again when they change on disk.
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::identity::{Identity, IdentityError};
use crate::domain::time::Timestamp;

/// What a file looks like from outside; another look means other contents. `None` when it is not there.
type Look = Option<(SystemTime, u64, u64)>;

/// A certificate's file and its key's.
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    seen: [Look; 2],
}

impl Files {
    /// Names them; nothing is read yet.
    pub(super) fn new(certificate: &Path, key: &Path) -> Self {
        Self { certificate: certificate.to_owned(), key: key.to_owned(), seen: [None; 2] }
    }

    /// Reads them.
    pub(super) fn read(&mut self, now: Timestamp) -> Result<Identity, IdentityError> {
        // Looked at first: what changes while it is read is read again.
        self.seen = self.look();
        Identity::read(&self.certificate, &self.key, now)
    }

    /// Reads them if they have changed since. What cannot be used is reported once, and looked at again when it changes:
    /// whoever replaces both files is in between for a moment.
    pub(super) fn changed(&mut self, now: Timestamp) -> Result<Option<Identity>, IdentityError> {
        if self.look() == self.seen {
            return Ok(None);
        }
        self.read(now).map(Some)
    }

    fn look(&self) -> [Look; 2] {
        [&self.certificate, &self.key].map(|path| look(path))
    }
}

fn look(path: &Path) -> Look {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
