//! Who is a node: whoever has a certificate of the cluster's own authority. Its name is in the certificate, and nothing else that it
//! says of itself counts for that.
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::domain::cluster::NodeName;
use crate::domain::time::Timestamp;

/// What every node is called in handshakes: whose certificate it is, is seen afterwards.
pub(super) const ANY_NODE: &str = "playhouse.internal";
/// What comes after a node's name in its certificate.
const NODE_DOMAIN: &str = ".node.playhouse.internal";
/// What is spoken.
const ALPN: &[u8] = b"playhouse-cluster";
/// Files of the authority in its directory.
const AUTHORITY: &str = "authority.pem";
const AUTHORITY_KEY: &str = "authority.key";
/// How long certificates last.
const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long ago they began: clocks of others may be behind.
const BEGAN: Duration = Duration::from_secs(24 * 3600);
/// How often a silent connection is spoken on, and how long the other side may be silent. Together they say how soon the death of
/// a node is noticed, and how long its machine may stand still.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
const SILENCE_MAX: Duration = Duration::from_millis(2500);
/// Streams of one node at once.
const STREAMS_MAX: u32 = 4096;
/// What may be under way on one stream.
const STREAM_WINDOW: u32 = 4 << 20;

/// Certificates cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What of it.
        source: io::Error,
    },
    /// What is in a file.
    #[error("{path}: {reason}", path = path.display())]
    Malformed {
        /// Which one.
        path: PathBuf,
        /// What of it.
        reason: String,
    },
    /// The certificate is another node's.
    #[error("{path} is the certificate of {found}, and this node is called {expected}", path = path.display())]
    OtherNode {
        /// Which one.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who this is.
        expected: NodeName,
    },
    /// A certificate cannot be made.
    #[error("no certificate: {0}")]
    Making(#[from] rcgen::Error),
    /// They do not go together.
    #[error("the certificates cannot be used: {0}")]
    Unusable(String),
}

/// Makes the authority of a cluster in a directory, which is made; one that is there stays as it is, with an error.
pub fn init(dir: &Path, now: Timestamp) -> Result<(), IdentityError> {
    let key = KeyPair::generate()?;
    let mut parameters = parameters(&[], "Playhouse cluster authority", now)?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = parameters.self_signed(&key)?;
    fs::create_dir_all(dir).map_err(|source| IdentityError::File { path: dir.to_owned(), source })?;
    write_new(&dir.join(AUTHORITY_KEY), &key.serialize_pem(), 0o600)?;
    write_new(&dir.join(AUTHORITY), &certificate.pem(), 0o644)
}

/// Makes the certificate of a node in the directory of the authority; returns the two files.
pub fn add_node(dir: &Path, name: &NodeName, now: Timestamp) -> Result<[PathBuf; 2], IdentityError> {
    let authority = read(&dir.join(AUTHORITY))?;
    let key = KeyPair::from_pem(&read(&dir.join(AUTHORITY_KEY))?)?;
    let issuer = Issuer::from_ca_cert_pem(&authority, key)?;
    let names = [ANY_NODE.to_owned(), format!("{name}{NODE_DOMAIN}")];
    let mut parameters = parameters(&names, name.as_str(), now)?;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, &issuer)?;
    let files = [dir.join(format!("{name}.pem")), dir.join(format!("{name}.key"))];
    let [certificate_file, key_file] = &files;
    write_new(key_file, &key.serialize_pem(), 0o600)?;
    write_new(certificate_file, &certificate.pem(), 0o644)?;
    Ok(files)
}

fn parameters(names: &[String], common_name: &str, now: Timestamp) -> Result<CertificateParams, IdentityError> {
    let at = |timestamp: Timestamp| {
        OffsetDateTime::from_unix_timestamp(timestamp.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    let mut parameters = CertificateParams::new(names.to_vec())?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters.not_before = at(now - BEGAN);
    parameters.not_after = at(now + LIFE);
    Ok(parameters)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), IdentityError> {
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

/// Files that say who a node is.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// Certificate of the authority.
    pub authority: PathBuf,
    /// The node's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A node that can prove who it is.
pub struct Identity {
    /// Its name.
    pub(super) name: NodeName,
    /// For those who come.
    pub(super) server: ServerConfig,
    /// For those who are gone to.
    pub(super) client: ClientConfig,
    /// What only nodes of this cluster know alike.
    pub(super) cluster: String,
}

impl Identity {
    /// Reads the files of a node of this name.
    pub fn load(files: &IdentityFiles, name: &NodeName) -> Result<Self, IdentityError> {
        let malformed = |path: &Path| {
            let path = path.to_owned();
            move |error: rustls::pki_types::pem::Error| IdentityError::Malformed { path, reason: error.to_string() }
        };
        let authority = CertificateDer::from_pem_slice(read(&files.authority)?.as_bytes());
        let authority = authority.map_err(malformed(&files.authority))?;
        let certificate = CertificateDer::from_pem_slice(read(&files.certificate)?.as_bytes());
        let certificate = certificate.map_err(malformed(&files.certificate))?;
        let key = PrivateKeyDer::from_pem_slice(read(&files.key)?.as_bytes()).map_err(malformed(&files.key))?;
        let found = name_in(&certificate);
        if found.as_ref() != Some(name) {
            let found = found.map_or_else(|| "nobody".to_owned(), |found| found.to_string());
            let path = files.certificate.clone();
            return Err(IdentityError::OtherNode { path, found, expected: name.clone() });
        }
        let cluster = Sha256::digest(&authority).iter().map(|byte| format!("{byte:02x}")).collect();
        let (server, client) = configs(authority, certificate, key).map_err(IdentityError::Unusable)?;
        Ok(Self { name: name.clone(), server, client, cluster })
    }
}

fn configs(
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<(ServerConfig, ClientConfig), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(|error| text(&error))?;
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
    let verifier = verifier.map_err(|error| text(&error))?;
    let versions = &[&rustls::version::TLS13];
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions);
    let server = server.map_err(|error| text(&error))?.with_client_cert_verifier(verifier);
    let server = server.with_single_cert(vec![certificate.clone()], key.clone_key());
    let mut server = server.map_err(|error| text(&error))?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    let client = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let client = client.map_err(|error| text(&error))?.with_root_certificates(roots);
    let mut client = client.with_client_auth_cert(vec![certificate], key).map_err(|error| text(&error))?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    let transport = Arc::new(transport());
    let server = QuicServerConfig::try_from(server).map_err(|error| text(&error))?;
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(Arc::clone(&transport));
    let client = QuicClientConfig::try_from(client).map_err(|error| text(&error))?;
    let mut client = ClientConfig::new(Arc::new(client));
    client.transport_config(transport);
    Ok((server, client))
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(SILENCE_MAX).ok())
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW));
    transport
}

/// The node that a certificate is of.
pub(super) fn name_in(certificate: &CertificateDer<'_>) -> Option<NodeName> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => name.strip_suffix(NODE_DOMAIN)?.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A node's files below a directory with an authority.
    pub(in super::super) fn node_in(dir: &Path, name: &str) -> Identity {
        let name = name.parse().unwrap();
        let [certificate, key] = add_node(dir, &name, now()).unwrap();
        let files = IdentityFiles { authority: dir.join(AUTHORITY), certificate, key };
        Identity::load(&files, &name).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(OffsetDateTime::now_utc().unix_timestamp() * 1000)
    }

    /// A directory with an authority.
    pub(in super::super) fn authority() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), now()).unwrap();
        dir
    }

    #[test]
    fn certificates_are_made_once_and_name_their_node() {
        use std::os::unix::fs::PermissionsExt;
        let dir = authority();
        assert!(matches!(init(dir.path(), now()), Err(IdentityError::File { .. })), "another authority");
        let identity = node_in(dir.path(), "one");
        assert_eq!((identity.name.as_str(), identity.cluster.len()), ("one", 64));
        let key = fs::metadata(dir.path().join("one.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        let files = IdentityFiles {
            authority: dir.path().join(AUTHORITY),
            certificate: dir.path().join("one.pem"),
            key: dir.path().join("one.key"),
        };
        let refused = Identity::load(&files, &"two".parse().unwrap()).err().expect("another node's");
        assert!(refused.to_string().contains("is the certificate of one"), "{refused}");
        let missing = IdentityFiles { key: dir.path().join("two.key"), ..files };
        assert!(Identity::load(&missing, &"one".parse().unwrap()).err().unwrap().to_string().contains("two.key"));
    }
}
