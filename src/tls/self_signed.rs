//! A certificate of this server's own making, for local use: browsers warn of it once.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use time::OffsetDateTime;

use super::TlsError;
use super::identity::{Identity, write_secret};
use crate::domain::time::Timestamp;

/// Certificate and key, in one file so that they always fit.
const FILE: &str = "self-signed.pem";
/// How long one lasts: browsers refuse some that last longer than 398 days.
const LIFE: Duration = Duration::from_secs(397 * 24 * 3600);
/// How long ago it began: clocks of others may be behind.
const BEGAN: Duration = Duration::from_secs(24 * 3600);

/// Where it is kept and for whom it is.
pub(super) struct SelfSigned {
    file: PathBuf,
    names: BTreeSet<String>,
}

impl SelfSigned {
    /// In this directory, for this machine and the site's host, when it has a name.
    pub(super) fn new(dir: &Path, host: Option<&str>) -> Self {
        let machine = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let known = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let names = known.into_iter().chain(machine).chain(host.map(str::to_owned));
        let is_name = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        Self { file: dir.join(FILE), names: names.filter(is_name).collect() }
    }

    /// Whether it will do for a while.
    pub(super) fn suits(&self, identity: &Identity, now: Timestamp) -> bool {
        identity.names.is_superset(&self.names) && !identity.is_ageing(now)
    }

    /// The one that is kept, or a new one when it does not suit.
    pub(super) fn open(&self, now: Timestamp) -> Result<Identity, TlsError> {
        match Identity::read(&self.file, &self.file, now) {
            Ok(kept) if self.suits(&kept, now) => Ok(kept),
            _ => self.make(now),
        }
    }

    fn make(&self, now: Timestamp) -> Result<Identity, TlsError> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(self.names.iter().cloned().collect::<Vec<_>>())?;
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "Playhouse, self-signed");
        parameters.not_before = at(now - BEGAN);
        parameters.not_after = at(now + LIFE);
        let certificate = parameters.self_signed(&key)?;
        let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
        write_secret(&self.file, pem.as_bytes())?;
        Ok(Identity::read(&self.file, &self.file, now)?)
    }
}

fn at(timestamp: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(timestamp.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
