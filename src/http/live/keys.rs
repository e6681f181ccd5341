//! Stream keys as the catalog keeps them: a digest to find them by, and a sealed copy to show to their owner.
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;

use crate::domain::live::{StoredKey, StreamKey};
use crate::domain::ports::{Catalog, CatalogError, Entropy};

/// Length of the secret.
const SECRET_BYTES: usize = 32;
/// What a sealed copy is a copy of: it opens as nothing else.
const PURPOSE: &[u8] = b"stream key";

/// Seals stream keys under a secret of this installation (AES-256-GCM).
pub(crate) struct KeySealer(RandomizedNonceKey);

impl KeySealer {
    /// Loads the secret; at first start makes it.
    pub(crate) async fn load(
        catalog: &dyn Catalog,
        entropy: &std::sync::Arc<dyn Entropy>,
    ) -> Result<Self, CatalogError> {
        let entropy = std::sync::Arc::clone(entropy);
        let make = move || {
            let mut secret = vec![0; SECRET_BYTES];
            entropy.fill(&mut secret);
            secret
        };
        let secret = catalog.secret("live.keys", &make).await?;
        let damaged = |_| CatalogError::Unavailable("the secret of stream keys is damaged".into());
        Ok(Self(RandomizedNonceKey::new(&AES_256_GCM, &secret).map_err(damaged)?))
    }

    /// A key as it is to be stored.
    pub(crate) fn store(&self, key: &StreamKey) -> Result<StoredKey, Unspecified> {
        let mut sealed = key.as_str().as_bytes().to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(PURPOSE), &mut sealed)?;
        sealed.splice(0..0, nonce.as_ref().iter().copied());
        Ok(StoredKey { hash: key.hash(), sealed })
    }

    /// The key itself; `None` when it was sealed under another secret.
    pub(crate) fn open(&self, stored: &StoredKey) -> Option<StreamKey> {
        let (nonce, sealed) = stored.sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let text = self.0.open_in_place(nonce, Aad::from(PURPOSE), &mut opened).ok()?;
        Some(StreamKey::from_text(std::str::from_utf8(text).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> KeySealer {
        KeySealer(RandomizedNonceKey::new(&AES_256_GCM, &[byte; SECRET_BYTES]).unwrap())
    }

    #[test]
    fn keys_open_under_their_secret_alone() {
        let key = StreamKey::from_text("9CpJHpXmNWPhNWcTRhYnBM");
        let stored = sealer(1).store(&key).unwrap();
        assert_eq!(sealer(1).open(&stored), Some(key.clone()));
        assert_eq!(sealer(2).open(&stored), None);
        assert_ne!(sealer(1).store(&key).unwrap().sealed, stored.sealed);
        let cut = StoredKey { sealed: stored.sealed[..8].to_vec(), ..stored };
        assert_eq!(sealer(1).open(&cut), None);
    }
}
