//! Passwords: argon2id with OWASP's parameters (19 MiB, 2 passes, 1 lane), off the runtime's threads, few at a time.
use std::sync::{Arc, LazyLock};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;

use crate::domain::ports::Entropy;

/// Memory of one hash in KiB (OWASP Password Storage Cheat Sheet: m=19456, t=2, p=1).
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over it.
const PASSES: u32 = 2;
/// Salt, bytes (RFC 9106 section 3.1 recommends 16).
const SALT_BYTES: usize = 16;

/// A password could not be hashed: the parameters are refused or the runtime is stopping.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed: {0}")]
pub(crate) struct HashError(String);

/// Hashes and checks passwords. Bounded: each hash takes 19 MiB and a core.
#[derive(Clone)]
pub(crate) struct Passwords {
    slots: Arc<Semaphore>,
}

impl Passwords {
    /// At most `at_once` hashes at a time; further ones wait.
    pub(crate) fn new(at_once: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(at_once.max(1))) }
    }

    /// The PHC string of a new password.
    pub(crate) async fn hash(&self, password: &str, entropy: &dyn Entropy) -> Result<String, HashError> {
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        let password = password.to_owned();
        self.blocking(move || hash_with_salt(&password, &salt)).await?
    }

    /// Whether this is the password of that PHC string. `None` stands for an account that does not exist: it takes the
    /// same time and is never right, so that nobody learns which accounts exist by a stopwatch.
    pub(crate) async fn is_right(&self, password: &str, hash: Option<String>) -> Result<bool, HashError> {
        let password = password.to_owned();
        self.blocking(move || {
            let is_known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODYS_HASH.clone());
            let is_right =
                hasher().is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), hash.as_str()).is_ok());
            is_known && is_right
        })
        .await
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|error| HashError(error.to_string()))?;
        let hashed = tokio::task::spawn_blocking(move || {
            // Held by the work itself: a client that leaves must not make room for more than the memory allows.
            let _slot = slot;
            work()
        });
        hashed.await.map_err(|error| HashError(error.to_string()))
    }
}

/// The hash unknown accounts are checked against.
static NOBODYS_HASH: LazyLock<String> =
    LazyLock::new(|| hash_with_salt("nobody's password", &[0; SALT_BYTES]).unwrap_or_default());

fn hasher() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| HashError(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_with_salt(password: &str, salt: &[u8]) -> Result<String, HashError> {
    let hash = hasher()?.hash_password_with_salt(password.as_bytes(), salt);
    hash.map(|hash| hash.to_string()).map_err(|error| HashError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Zeros;
    impl Entropy for Zeros {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let passwords = Passwords::new(2);
        let hash = passwords.hash("correct horse", &Zeros).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.is_right("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!passwords.is_right("battery staple", Some(hash)).await.unwrap());
        assert!(!passwords.is_right("correct horse", Some("not a hash".into())).await.unwrap());
    }

    #[tokio::test]
    async fn nobodys_password_is_never_right() {
        let passwords = Passwords::new(1);
        assert!(!passwords.is_right("nobody's password", None).await.unwrap());
    }
}
