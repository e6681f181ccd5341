//! Certificates, and the TLS that HTTPS and RTMPS speak with them.
//!
//! A certificate comes from this server itself (self-signed, for local use), from files of the operator, or from a
//! certificate authority by ACME. [`Tls::open`] finds or makes the first one before anything listens; [`Tls::keep`] then
//! looks after it: files that change on disk are read again, what runs out is renewed. Connections get whatever is in use
//! at the time of their handshake; nothing is restarted and no connection ends because of a new certificate.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::{ServerConfig, crypto};
use tokio_rustls::TlsAcceptor;

use crate::domain::ports::Clock;
use crate::domain::time::Timestamp;
use crate::settings::{TlsMode, TlsSettings};

mod acme;
mod certificates;
mod files;
mod identity;
mod self_signed;

use acme::Acme;
pub use acme::AcmeError;
use certificates::{CHALLENGE_PROTOCOL, Certificates};
use files::Files;
use identity::Identity;
pub use identity::IdentityError;
use self_signed::SelfSigned;

/// Protocols offered to HTTPS clients, best first (RFC 7301).
const HTTP_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// There is no certificate to begin with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or its key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No certificate could be made here.
    #[error("a self-signed certificate cannot be made: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// No authority gave one.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// The crypto library does not do what is asked of it.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// What the server needs to speak TLS.
pub struct Tls {
    certificates: Arc<Certificates>,
    source: Source,
    check_interval: Duration,
    clock: Arc<dyn Clock>,
}

/// Where certificates come from.
enum Source {
    SelfSigned(SelfSigned),
    Files(Files),
    Acme(Box<Acme>),
}

impl Source {
    /// The next certificate, when it is time for one.
    async fn next(self, current: Arc<Identity>, now: Timestamp) -> (Self, Result<Option<Identity>, TlsError>) {
        if let Self::Acme(mut acme) = self {
            let next = acme.next(&current, now).await;
            return (Self::Acme(acme), next.map_err(Into::into));
        }
        let looking = tokio::task::spawn_blocking(move || {
            let mut source = self;
            let next = source.look(&current, now);
            (source, next)
        });
        // It neither panics nor is it aborted.
        looking.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn look(&mut self, current: &Identity, now: Timestamp) -> Result<Option<Identity>, TlsError> {
        match self {
            Self::SelfSigned(source) if source.suits(current, now) => Ok(None),
            Self::SelfSigned(source) => source.open(now).map(Some),
            Self::Files(files) => files.changed(now).map_err(Into::into),
            Self::Acme(_) => Ok(None),
        }
    }
}

impl Tls {
    /// Finds or makes a certificate as the settings say; `None` when they say that there is no TLS. `dir` is where
    /// certificates of this server's own are kept, `host` the name of the site, when it has one. Blocks.
    pub fn open(
        settings: &TlsSettings,
        (dir, host): (&Path, Option<&str>),
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, TlsError> {
        let now = clock.now();
        let self_signed = SelfSigned::new(dir, host);
        let mut files = Files::new(&settings.certificate, &settings.key);
        let first = match settings.mode {
            TlsMode::Off => return Ok(None),
            TlsMode::SelfSigned => self_signed.open(now)?,
            TlsMode::Files => files.read(now)?,
            TlsMode::Acme => Acme::kept(settings, dir, now).map_or_else(|| self_signed.open(now), Ok)?,
        };
        tracing::info!(names = first.names_text(), expires = %first.expires, "certificate is in use");
        let certificates = Arc::new(Certificates::new(first));
        let source = match settings.mode {
            TlsMode::Files => Source::Files(files),
            TlsMode::Acme => Source::Acme(Box::new(Acme::new(settings, dir, Arc::clone(&certificates)))),
            TlsMode::Off | TlsMode::SelfSigned => Source::SelfSigned(self_signed),
        };
        Ok(Some(Self { certificates, source, check_interval: settings.check_interval.0, clock }))
    }

    /// For HTTPS: HTTP/2, or HTTP/1.1 with clients that know no better.
    pub fn https(&self) -> Result<TlsAcceptor, TlsError> {
        match self.source {
            Source::Acme(_) => self.acceptor(&[&HTTP_PROTOCOLS[..], &[CHALLENGE_PROTOCOL]].concat()),
            _ => self.acceptor(&HTTP_PROTOCOLS),
        }
    }

    /// For RTMPS, which negotiates no protocol.
    pub fn rtmps(&self) -> Result<TlsAcceptor, TlsError> {
        self.acceptor(&[])
    }

    fn acceptor(&self, protocols: &[&[u8]]) -> Result<TlsAcceptor, TlsError> {
        let certificates = Arc::clone(&self.certificates);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // Players that come back resume without a signature, and the server keeps nothing for each.
        config.ticketer = crypto::aws_lc_rs::Ticketer::new()?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Looks after the certificate until dropped; to be begun when the listeners are there, for authorities to knock at. What
    /// goes wrong is said, and the certificate in use stays in use.
    pub async fn keep(mut self) {
        loop {
            let (source, next) = self.source.next(self.certificates.current(), self.clock.now()).await;
            self.source = source;
            match next {
                Ok(None) => {}
                Ok(Some(next)) => {
                    tracing::info!(names = next.names_text(), expires = %next.expires, "new certificate is in use");
                    self.certificates.replace(next);
                }
                Err(error) => tracing::error!(%error, "the certificate in use stays, for want of a new one"),
            }
            tokio::time::sleep(self.check_interval).await;
        }
    }
}

/// The one crypto provider.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
