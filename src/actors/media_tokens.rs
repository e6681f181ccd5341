//! Tokens in links to private and unlisted media: an expiry and an HMAC over it and the playback id.
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::ids::PlaybackId;
use crate::domain::ports::{Catalog, CatalogError, Entropy};
use crate::domain::time::Timestamp;

/// Length of the secret.
const SECRET_BYTES: usize = 32;
const EXPIRY_BYTES: usize = 8;
/// SHA-256's whole output.
const TAG_BYTES: usize = 32;
/// Separates this use of the key from any other.
const CONTEXT: &[u8] = b"playhouse media token 1";

/// Signs and checks tokens.
pub struct MediaTokens {
    key: hmac::Key,
    ttl: Duration,
}

impl MediaTokens {
    /// Tokens under the secret of this installation, which is made at first start.
    pub async fn load(catalog: &dyn Catalog, entropy: &Arc<dyn Entropy>, ttl: Duration) -> Result<Self, CatalogError> {
        let entropy = Arc::clone(entropy);
        let make = move || {
            let mut secret = vec![0; SECRET_BYTES];
            entropy.fill(&mut secret);
            secret
        };
        Ok(Self::new(&catalog.secret("media.tokens", &make).await?, ttl))
    }

    /// Tokens under this secret that live for `ttl`.
    pub fn new(secret: &[u8], ttl: Duration) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), ttl }
    }

    /// A token for everything under this playback id. Its expiry is rounded up to a quarter of its life, so that links
    /// made soon after one another are the same and caches hold them once.
    pub fn issue(&self, playback: &PlaybackId, now: Timestamp) -> String {
        let expiry = self.expiry(now).as_millis().to_be_bytes();
        let tag = hmac::sign(&self.key, &signed(playback, &expiry));
        let mut token = expiry.to_vec();
        token.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(token)
    }

    /// When a token issued at `now` ends.
    pub fn expiry(&self, now: Timestamp) -> Timestamp {
        let step = i64::try_from(self.ttl.as_millis() / 4).unwrap_or(i64::MAX).max(1);
        let end = (now + self.ttl).as_millis();
        Timestamp::from_millis(end.saturating_add(step - end.rem_euclid(step)))
    }

    /// Whether `token` was issued for this playback id and has not ended.
    pub fn verify(&self, token: &str, playback: &PlaybackId, now: Timestamp) -> bool {
        if token.len() > 4 * (EXPIRY_BYTES + TAG_BYTES) / 3 + 4 {
            return false;
        }
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else { return false };
        let Some((expiry, tag)) = bytes.split_first_chunk::<EXPIRY_BYTES>() else { return false };
        let is_genuine = hmac::verify(&self.key, &signed(playback, expiry), tag).is_ok();
        is_genuine && now < Timestamp::from_millis(i64::from_be_bytes(*expiry))
    }
}

fn signed(playback: &PlaybackId, expiry: &[u8; EXPIRY_BYTES]) -> Vec<u8> {
    [CONTEXT, expiry.as_slice(), playback.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_one_video_until_it_ends() {
        let tokens = MediaTokens::new(b"secret", Duration::from_secs(60));
        let (mine, other) = (PlaybackId::parse("plb_aaaaaaaa").unwrap(), PlaybackId::parse("plb_bbbbbbbb").unwrap());
        let now = Timestamp::from_millis(1_000_000);
        let token = tokens.issue(&mine, now);
        assert!(tokens.verify(&token, &mine, now + Duration::from_secs(59)));
        assert!(!tokens.verify(&token, &other, now));
        assert!(!tokens.verify(&token, &mine, now + Duration::from_secs(76)));
        assert!(!MediaTokens::new(b"other", Duration::from_secs(60)).verify(&token, &mine, now));
        for bad in ["", "x", "AAAA", &token[1..], &format!("{token}A"), &"A".repeat(10_000)] {
            assert!(!tokens.verify(bad, &mine, now), "{bad}");
        }
    }

    #[test]
    fn links_made_soon_after_one_another_are_the_same() {
        let tokens = MediaTokens::new(b"secret", Duration::from_secs(60));
        let playback = PlaybackId::parse("plb_aaaaaaaa").unwrap();
        let at = |millis| tokens.issue(&playback, Timestamp::from_millis(millis));
        assert_eq!(at(15_000), at(29_999));
        assert_ne!(at(15_000), at(30_000));
    }
}
