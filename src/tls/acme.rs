//! Certificates from a certificate authority by ACME (RFC 8555).
//!
//! The authority checks that this server answers for its domains by a TLS handshake that offers nothing but `acme-tls/1`
//! (RFC 8737): the HTTPS listener itself answers it, so port 443 of the domain has to lead there. Until the first
//! certificate comes a self-signed one stands in. Account, key and certificate are kept in the data directory.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::certificates::Certificates;
use super::identity::{Identity, IdentityError, write_secret};
use crate::domain::time::Timestamp;
use crate::settings::TlsSettings;

/// Certificate and key, in one file so that they always fit.
const FILE: &str = "acme.pem";
/// The account with the authority.
const ACCOUNT_FILE: &str = "acme-account.json";
/// Longest wait for the authority to check the domains, and to issue.
const AUTHORITY_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time for all of it.
const ORDER_TIMEOUT: Duration = Duration::from_secs(600);
/// Time between attempts: authorities allow a handful of failures an hour.
const RETRY_AFTER: Duration = Duration::from_secs(900);

/// No certificate could be had.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The authority could not be asked, or refused.
    #[error("the authority: {0}")]
    Authority(#[from] instant_acme::Error),
    /// The authority does not check domains over TLS.
    #[error("the authority offers no tls-alpn-01 challenge for {0}")]
    NoChallenge(String),
    /// The domains did not pass its check.
    #[error(
        "the authority could not confirm that the domains lead here (order {0:?}): port 443 of each must reach https_port"
    )]
    Refused(OrderStatus),
    /// It takes too long.
    #[error("the authority took longer than {} s", ORDER_TIMEOUT.as_secs())]
    TooLong,
    /// Keys or requests could not be made.
    #[error("a key or certificate request cannot be made: {0}")]
    Making(#[from] rcgen::Error),
    /// Nor be used.
    #[error("a key cannot be used: {0}")]
    Using(#[from] rustls::Error),
    /// What came cannot be used or kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// An account as it is kept.
#[derive(Serialize, Deserialize)]
struct KeptAccount {
    directory: String,
    credentials: AccountCredentials,
}

/// For which domains, and from whom.
pub(super) struct Acme {
    file: PathBuf,
    account_file: PathBuf,
    domains: BTreeSet<String>,
    contact: Vec<String>,
    directory: String,
    authority_roots: Option<PathBuf>,
    terms_accepted: bool,
    certificates: Arc<Certificates>,
    not_before: Timestamp,
}

impl Acme {
    /// As the settings say, keeping things in `dir` and answering challenges through `certificates`.
    pub(super) fn new(settings: &TlsSettings, dir: &Path, certificates: Arc<Certificates>) -> Self {
        let roots = &settings.acme_authority_roots;
        Self {
            file: dir.join(FILE),
            account_file: dir.join(ACCOUNT_FILE),
            domains: settings.acme_domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(),
            contact: settings.acme_contact.clone(),
            directory: settings.acme_directory.clone(),
            authority_roots: (!roots.as_os_str().is_empty()).then(|| roots.clone()),
            terms_accepted: settings.acme_terms_accepted,
            certificates,
            not_before: Timestamp::default(),
        }
    }

    /// The certificate in `dir`, if it is for these domains and not over.
    pub(super) fn kept(settings: &TlsSettings, dir: &Path, now: Timestamp) -> Option<Identity> {
        let file = dir.join(FILE);
        let kept = Identity::read(&file, &file, now).ok()?;
        settings.acme_domains.iter().all(|domain| kept.names.contains(&domain.to_ascii_lowercase())).then_some(kept)
    }

    /// A new certificate, when it is time for one.
    pub(super) async fn next(&mut self, current: &Identity, now: Timestamp) -> Result<Option<Identity>, AcmeError> {
        let suits = current.names.is_superset(&self.domains) && !current.is_ageing(now);
        // A self-signed one may bear the same names.
        if (suits && !current.is_self_signed) || now < self.not_before {
            return Ok(None);
        }
        self.not_before = now + RETRY_AFTER;
        let ordered = tokio::time::timeout(ORDER_TIMEOUT, self.order(now)).await;
        self.certificates.forget_challenges();
        ordered.unwrap_or(Err(AcmeError::TooLong)).map(Some)
    }

    async fn order(&self, now: Timestamp) -> Result<Identity, AcmeError> {
        let account = self.account().await?;
        let identifiers: Vec<Identifier> = self.domains.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        self.prove(&mut order).await?;
        let patience = RetryPolicy::new().timeout(AUTHORITY_TIMEOUT);
        match order.poll_ready(&patience).await? {
            OrderStatus::Ready => {}
            status => return Err(AcmeError::Refused(status)),
        }
        let key = KeyPair::generate()?;
        let mut request = CertificateParams::new(self.domains.iter().cloned().collect::<Vec<_>>())?;
        request.distinguished_name = DistinguishedName::new();
        order.finalize_csr(request.serialize_request(&key)?.der()).await?;
        let chain = order.poll_certificate(&patience).await?;
        write_secret(&self.file, format!("{chain}{}", key.serialize_pem()).as_bytes())?;
        Ok(Identity::read(&self.file, &self.file, now)?)
    }

    async fn prove(&self, order: &mut Order) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let domain = authorization.identifier().to_string();
            let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
            let mut challenge = challenge.ok_or_else(|| AcmeError::NoChallenge(domain.clone()))?;
            let answer = challenge_certificate(&domain, challenge.key_authorization().digest().as_ref())?;
            self.certificates.answer_challenge(domain, answer);
            challenge.set_ready().await?;
        }
        Ok(())
    }

    /// The account that is kept, or a new one: a directory is an authority, and none knows the others' accounts.
    async fn account(&self) -> Result<Account, AcmeError> {
        let kept = std::fs::read(&self.account_file).ok();
        let kept = kept.and_then(|bytes| serde_json::from_slice::<KeptAccount>(&bytes).ok());
        if let Some(kept) = kept.filter(|kept| kept.directory == self.directory) {
            return Ok(self.builder()?.from_credentials(kept.credentials).await?);
        }
        let contact: Vec<&str> = self.contact.iter().map(String::as_str).collect();
        let terms_of_service_agreed = self.terms_accepted;
        let wanted = NewAccount { contact: &contact, terms_of_service_agreed, only_return_existing: false };
        let (account, credentials) = self.builder()?.create(&wanted, self.directory.clone(), None).await?;
        let kept = KeptAccount { directory: self.directory.clone(), credentials };
        let bytes = serde_json::to_vec(&kept).map_err(|error| instant_acme::Error::Other(error.into()))?;
        write_secret(&self.account_file, &bytes)?;
        Ok(account)
    }

    fn builder(&self) -> Result<instant_acme::AccountBuilder, instant_acme::Error> {
        match &self.authority_roots {
            Some(roots) => Account::builder_with_root(roots),
            None => Account::builder(),
        }
    }
}

/// What answers the authority's handshake (RFC 8737 section 3).
fn challenge_certificate(domain: &str, digest: &[u8]) -> Result<CertifiedKey, AcmeError> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(vec![domain.to_owned()])?;
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = parameters.self_signed(&key)?;
    let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let signing = super::provider().key_provider.load_private_key(secret)?;
    // Not `from_der`: it refuses certificates with this extension, which it does not know.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
}
