//! A certificate chain with its key, checked: it can be used, and it is known for whom and how long.
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use crate::domain::time::Timestamp;

/// A certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is missing or cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What should be there is not in the file, or it is damaged.
    #[error("there is no {what} in {path} that can be read (PEM)", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The key is another certificate's.
    #[error("the key in {key} does not fit the certificate in {certificate}", key = key.display(), certificate = certificate.display())]
    Unfit {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
    /// The key is of a kind that is not known.
    #[error("the key in {path} cannot be used: {source}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Something of ours cannot be kept.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its time is over.
    #[error("the certificate in {path} expired at {at}", path = path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        at: Timestamp,
    },
}

/// A certificate chain with its key.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// As handshakes want it.
    pub(super) key: Arc<CertifiedKey>,
    /// Names and addresses that it is for.
    pub(super) names: BTreeSet<String>,
    /// Beginning of its life.
    pub(super) begins: Timestamp,
    /// End of its life.
    pub(super) expires: Timestamp,
    /// Whether nobody else vouches for it.
    pub(super) is_self_signed: bool,
}

impl Identity {
    /// Reads a chain (leaf first) and its key; they may be in one file.
    pub(super) fn read(certificate: &Path, key: &Path, now: Timestamp) -> Result<Self, IdentityError> {
        let malformed = |path: &Path, what| IdentityError::Malformed { path: path.to_owned(), what };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(malformed(certificate, "certificate"))?;
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_: pem::Error| malformed(key, "key"))?;
        let certified = CertifiedKey::from_der(chain, secret, &super::provider()).map_err(|source| match source {
            rustls::Error::InconsistentKeys(_) => {
                IdentityError::Unfit { certificate: certificate.to_owned(), key: key.to_owned() }
            }
            source => IdentityError::Key { path: key.to_owned(), source },
        })?;
        let identity = Self::describe(certified).ok_or(malformed(certificate, "certificate"))?;
        if identity.expires <= now {
            return Err(IdentityError::Expired { path: certificate.to_owned(), at: identity.expires });
        }
        Ok(identity)
    }

    fn describe(certified: CertifiedKey) -> Option<Self> {
        let (_, leaf) = X509Certificate::from_der(certified.end_entity_cert().ok()?).ok()?;
        let at = |time: ASN1Time| time.timestamp().checked_mul(1000).map(Timestamp::from_millis);
        let (begins, expires) = (at(leaf.validity().not_before)?, at(leaf.validity().not_after)?);
        let is_self_signed = leaf.issuer() == leaf.subject();
        let names = leaf.subject_alternative_name().ok()?;
        let names = names.into_iter().flat_map(|names| &names.value.general_names).filter_map(name_of).collect();
        Some(Self { names, begins, expires, is_self_signed, key: Arc::new(certified) })
    }

    /// Whether two thirds of its life are over: time to see to the next one.
    pub(super) fn is_ageing(&self, now: Timestamp) -> bool {
        self.expires.since(now) < self.expires.since(self.begins) / 3
    }

    /// Its names, for logs.
    pub(super) fn names_text(&self) -> String {
        self.names.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from);
            let address = v4.or_else(|| <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from))?;
            Some(address.to_string())
        }
        _ => None,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|source| IdentityError::Read { path: path.to_owned(), source })
}

/// Writes a file that only this user may read, whole or not at all.
pub(super) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let failed = |source| IdentityError::Write { path: path.to_owned(), source };
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(failed)?;
    // Readable by nobody else from its first byte.
    let mut draft = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    draft.write_all(bytes).and_then(|()| draft.as_file().sync_all()).map_err(failed)?;
    draft.persist(path).map(drop).map_err(|error| failed(error.error))
}
