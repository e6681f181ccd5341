//! Access tokens: short JWTs signed with Ed25519 (RFC 8037), whose public key is at `/.well-known/jwks.json`.
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::account::Role;
use crate::domain::ids::{LoginId, UserId};
use crate::domain::ports::{Catalog, CatalogError, Entropy};
use crate::domain::time::Timestamp;

/// What `iss` says.
pub(crate) const ISSUER: &str = "playhouse";
/// Clock difference forgiven to tokens, seconds: nodes' clocks are kept in step better than this.
const LEEWAY_SECS: i64 = 5;
/// PKCS #8 (RFC 8410 section 7) up to where the 32-byte seed follows.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The stored key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The catalog did not give it.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// It is not an Ed25519 seed.
    #[error("the stored signing key is damaged")]
    Damaged,
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccessClaims {
    /// Who issued it.
    pub(crate) iss: String,
    /// Whose it is.
    pub(crate) sub: UserId,
    /// The sign-in it belongs to.
    pub(crate) sid: LoginId,
    /// What its account could do when it was issued.
    pub(crate) role: Role,
    /// When it was issued, seconds since the epoch.
    pub(crate) iat: i64,
    /// When it ends, seconds since the epoch.
    pub(crate) exp: i64,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// Not one of ours.
    #[error("not a token of this server")]
    Invalid,
    /// Ours, but its time is over.
    #[error("expired")]
    Expired,
}

/// Signs and checks access tokens.
pub(crate) struct AccessKeys {
    kid: String,
    public: String,
    signing: EncodingKey,
    checking: DecodingKey,
}

impl AccessKeys {
    /// The installation's key; made on first start.
    pub(crate) async fn load(catalog: &dyn Catalog, entropy: &Arc<dyn Entropy>) -> Result<Self, KeyError> {
        let entropy = Arc::clone(entropy);
        let make = move || {
            let mut seed = vec![0; 32];
            entropy.fill(&mut seed);
            seed
        };
        Self::from_seed(&catalog.secret("jwt.ed25519", &make).await?)
    }

    fn from_seed(seed: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Damaged)?;
        let public = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Ok(Self {
            kid: thumbprint(&public),
            signing: EncodingKey::from_ed_der(&[&PKCS8_PREFIX, seed].concat()),
            checking: DecodingKey::from_ed_components(&public).map_err(|_| KeyError::Damaged)?,
            public,
        })
    }

    /// A token for this sign-in.
    pub(crate) fn issue(
        &self,
        (user, role): (&UserId, Role),
        login: &LoginId,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<String, TokenError> {
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            sub: user.clone(),
            sid: login.clone(),
            role,
            iat: now.as_secs(),
            exp: (now + ttl).as_secs(),
        };
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.signing).map_err(|_| TokenError::Invalid)
    }

    /// What a token says, when it is one of ours and its time is not over.
    pub(crate) fn check(&self, token: &str, now: Timestamp) -> Result<AccessClaims, TokenError> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        // Expiry is judged below, by the clock this server was given.
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<AccessClaims>(token, &self.checking, &validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        if claims.exp.saturating_add(LEEWAY_SECS) <= now.as_secs() { Err(TokenError::Expired) } else { Ok(claims) }
    }

    /// The key set for others to check our tokens with (RFC 7517).
    pub(crate) fn jwks(&self) -> serde_json::Value {
        serde_json::json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid, "x": self.public,
        }] })
    }
}

/// The key's name: its thumbprint (RFC 7638, RFC 8037 appendix A.3).
fn thumbprint(public: &str) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn issued(keys: &AccessKeys) -> String {
        let user = UserId::parse("usr_abcdefgh1").unwrap();
        let login = LoginId::parse("lgn_abcdefgh1").unwrap();
        keys.issue((&user, Role::Creator), &login, NOW, Duration::from_secs(900)).unwrap()
    }

    #[test]
    fn tokens_last_their_time_and_no_longer() {
        let keys = AccessKeys::from_seed(&[7; 32]).unwrap();
        let token = issued(&keys);
        let claims = keys.check(&token, NOW + Duration::from_secs(899)).unwrap();
        assert_eq!((claims.sub.as_str(), claims.role, claims.exp - claims.iat), ("usr_abcdefgh1", Role::Creator, 900));
        assert_eq!(keys.check(&token, NOW + Duration::from_secs(906)), Err(TokenError::Expired));
    }

    #[test]
    fn forged_tokens_are_refused() {
        let keys = AccessKeys::from_seed(&[7; 32]).unwrap();
        let token = issued(&AccessKeys::from_seed(&[8; 32]).unwrap());
        assert_eq!(keys.check(&token, NOW), Err(TokenError::Invalid));
        let own = issued(&keys);
        let (head, rest) = own.split_once('.').unwrap();
        let unsigned = format!("{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        for bad in [unsigned.as_str(), head, "", "a.b.c", &own[..own.len() - 2]] {
            assert_eq!(keys.check(bad, NOW), Err(TokenError::Invalid), "{bad}");
        }
    }

    #[test]
    fn the_key_is_named_by_its_thumbprint() {
        // RFC 8037 appendix A.3
        assert_eq!(
            thumbprint("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
        let keys = AccessKeys::from_seed(&[7; 32]).unwrap();
        assert_eq!(keys.jwks()["keys"][0]["kid"], keys.kid);
        assert!(matches!(AccessKeys::from_seed(&[7; 31]), Err(KeyError::Damaged)));
    }
}
