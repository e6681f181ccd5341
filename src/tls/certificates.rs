//! Which certificate a handshake gets.
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::identity::Identity;

/// What an authority offers, and nothing else, that checks whether a domain leads here (RFC 8737).
pub(super) const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";

/// The certificate in use, shared by all listeners.
pub(super) struct Certificates {
    current: RwLock<Arc<Identity>>,
    /// By domain; as many as the settings name, while an authority checks them.
    challenges: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

impl Certificates {
    /// Begins with this one.
    pub(super) fn new(first: Identity) -> Self {
        Self { current: RwLock::new(Arc::new(first)), challenges: RwLock::default() }
    }

    /// What handshakes get now.
    pub(super) fn current(&self) -> Arc<Identity> {
        // A lock is only held for a copy: what another thread's panic left is whole.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What they get from now on.
    pub(super) fn replace(&self, next: Identity) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// What an authority gets that checks this domain.
    pub(super) fn answer_challenge(&self, domain: String, answer: CertifiedKey) {
        self.challenges.write().unwrap_or_else(PoisonError::into_inner).insert(domain, Arc::new(answer));
    }

    /// No authority is awaited any more.
    pub(super) fn forget_challenges(&self) {
        self.challenges.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("names", &self.current().names).finish()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == CHALLENGE_PROTOCOL)) {
            let challenges = self.challenges.read().unwrap_or_else(PoisonError::into_inner);
            return challenges.get(hello.server_name()?).cloned();
        }
        Some(Arc::clone(&self.current().key))
    }
}
