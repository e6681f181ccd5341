//! Stream keys, passphrases and URLs of other servers as the catalog keeps them: keys by a digest to find them by, and all in a
//! sealed copy.
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;

use crate::domain::live::push::SealedText;
use crate::domain::live::{Passphrase, SealedPassphrase, StoredKey, StreamKey};
use crate::domain::ports::{Catalog, CatalogError, Entropy};

/// Length of the secret.
const SECRET_BYTES: usize = 32;
/// What a sealed copy is a copy of: it opens as nothing else.
const KEY: &[u8] = b"stream key";
/// The same of a passphrase.
const PASSPHRASE: &[u8] = b"srt passphrase";

/// The same of a URL that a stream is pushed to.
const PUSH: &[u8] = b"push url";

/// Seals stream keys, passphrases and URLs under a secret of this installation (AES-256-GCM).
pub struct KeySealer(RandomizedNonceKey);

impl std::fmt::Debug for KeySealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySealer")
    }
}

impl KeySealer {
    /// Loads the secret; at first start makes it.
    pub async fn load(catalog: &dyn Catalog, entropy: &std::sync::Arc<dyn Entropy>) -> Result<Self, CatalogError> {
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
    pub fn store(&self, key: &StreamKey) -> Result<StoredKey, Unspecified> {
        Ok(StoredKey { hash: key.hash(), sealed: self.seal(KEY, key.as_str())? })
    }

    /// The key itself; `None` when it was sealed under another secret.
    pub fn open(&self, stored: &StoredKey) -> Option<StreamKey> {
        self.unseal(KEY, &stored.sealed).map(StreamKey::from_text)
    }

    /// A passphrase as it is to be stored.
    pub fn store_passphrase(&self, passphrase: &Passphrase) -> Result<SealedPassphrase, Unspecified> {
        self.seal(PASSPHRASE, passphrase.as_str()).map(SealedPassphrase)
    }

    /// The passphrase itself; `None` when it was sealed under another secret.
    pub fn open_passphrase(&self, stored: &SealedPassphrase) -> Option<Passphrase> {
        Passphrase::parse(self.unseal(PASSPHRASE, &stored.0)?).ok()
    }

    /// The URL of another server as it is to be stored.
    pub fn store_url(&self, url: &str) -> Result<SealedText, Unspecified> {
        self.seal(PUSH, url).map(|sealed| SealedText(bs58::encode(sealed).into_string()))
    }

    /// The URL itself; `None` when it was sealed under another secret.
    pub fn open_url(&self, stored: &SealedText) -> Option<String> {
        self.unseal(PUSH, &bs58::decode(&stored.0).into_vec().ok()?)
    }

    fn seal(&self, purpose: &[u8], text: &str) -> Result<Vec<u8>, Unspecified> {
        let mut sealed = text.as_bytes().to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(purpose), &mut sealed)?;
        sealed.splice(0..0, nonce.as_ref().iter().copied());
        Ok(sealed)
    }

    fn unseal(&self, purpose: &[u8], sealed: &[u8]) -> Option<String> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let text = self.0.open_in_place(nonce, Aad::from(purpose), &mut opened).ok()?;
        Some(std::str::from_utf8(text).ok()?.to_owned())
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
        let passphrase = Passphrase::parse("correct-horse").unwrap();
        let sealed = sealer(1).store_passphrase(&passphrase).unwrap();
        assert_eq!(sealer(1).open_passphrase(&sealed), Some(passphrase));
        assert_eq!(sealer(2).open_passphrase(&sealed), None);
        let url = sealer(1).store_url("rtmp://example.org/live/key").unwrap();
        assert_eq!(sealer(1).open_url(&url).as_deref(), Some("rtmp://example.org/live/key"));
        assert_eq!((sealer(2).open_url(&url), sealer(1).open_url(&SealedText("0".into()))), (None, None));
        assert_eq!(sealer(1).open(&StoredKey { sealed: sealed.0, hash: key.hash() }), None, "it is no key");
    }
}
