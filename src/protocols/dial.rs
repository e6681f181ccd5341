//! Connections to other servers, with TLS where the URL says so.
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

/// Longest wait for a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where connections go.
#[derive(Clone)]
pub struct Dialer {
    host: String,
    port: u16,
    is_public_only: bool,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// How a server over TLS is met.
#[derive(Debug, Clone, Copy)]
pub struct TlsChoice {
    /// Whether any certificate will do.
    pub insecure: bool,
    /// What is offered by ALPN; empty: nothing.
    pub protocols: &'static [&'static [u8]],
}

impl Dialer {
    /// To this host and port; over TLS when there is a choice.
    pub fn new(host: &str, port: u16, tls: Option<TlsChoice>) -> io::Result<Self> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls = match tls {
            Some(choice) => Some((connector(choice).map_err(io::Error::other)?, server_name(host)?)),
            None => None,
        };
        Ok(Self { host: host.to_owned(), port, is_public_only: false, tls })
    }

    /// Connects to addresses of the public internet alone: none of this machine, nor of its network.
    pub fn to_the_public(self) -> Self {
        Self { is_public_only: true, ..self }
    }

    /// A new connection.
    pub async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, self.dial_without_limit()).await;
        dialled.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time")))
    }

    async fn dial_without_limit(&self) -> io::Result<Box<dyn Stream>> {
        let addresses = resolve((&self.host, self.port), self.is_public_only).await?;
        let stream = TcpStream::connect(addresses.as_slice()).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
            None => Box::new(stream),
        })
    }
}

/// Addresses of a host, at least one; those of the public internet alone where that is wanted.
pub async fn resolve((host, port): (&str, u16), is_public_only: bool) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    if is_public_only {
        addresses.retain(|address| is_public(address.ip()));
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not an address of the public internet"));
        }
    }
    match addresses.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address")),
        false => Ok(addresses),
    }
}

fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Whether everybody on the internet means the same by it (IANA's registries of special-purpose addresses).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            let is_special = a == 0 || a >= 224 || (a, b, c) == (192, 0, 0) || a == 198 && matches!(b, 18 | 19);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || is_shared
                || is_special)
        }
        IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), v6.segments()) {
            (Some(v4), _) => is_public(IpAddr::V4(v4)),
            (None, [0x64, 0xff9b, 0, 0, 0, 0, high, low]) => {
                is_public(IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))))
            }
            (None, [first, second, ..]) => first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0xdb8),
        },
    }
}

fn connector(choice: TlsChoice) -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut config = match choice.insecure {
        true => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        false => builder.with_platform_verifier()?,
    }
    .with_no_client_auth();
    config.alpn_protocols = choice.protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Believes every certificate, as `--insecure` asks: for self-signed ones. Signatures are checked all the same.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nobody_elses_is_not_public() {
        for text in ["1.1.1.1", "192.1.2.3", "2606:4700::1", "64:ff9b::101:101"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[tokio::test]
    async fn only_public_addresses_are_dialled_when_asked_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialer = Dialer::new("127.0.0.1", listener.local_addr().unwrap().port(), None).unwrap();
        assert!(dialer.dial().await.is_ok());
        let refused = dialer.to_the_public().dial().await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }
}
