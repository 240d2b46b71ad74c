//! TLS on a server's own port: a node's, or a witness's.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use colearn_net::Fingerprint;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::{Security, TlsConfig};
use crate::error::NodeError;
use crate::watched::{self, Look};

/// Until when a certificate is good that the node makes itself: it is known by its fingerprint, and whoever has
/// pinned it should not have to do so again.
const SELF_SIGNED_UNTIL: i32 = 2046;

/// What the node shows, read anew when its files change.
pub(crate) struct Tls {
    config: TlsConfig,
    /// Whether nobody else vouches for it.
    is_own: bool,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    fingerprint: Fingerprint,
    /// The files that it comes from, as they were.
    files: Vec<Look>,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// If they cannot be used.
    pub(crate) fn open(config: TlsConfig, is_own: bool) -> Result<Self, NodeError> {
        let current = Mutex::new(read(&config)?);
        Ok(Self { config, is_own, current })
    }

    /// Whether the node has made the certificate itself: then clients know it by its fingerprint only.
    pub(crate) fn is_own(&self) -> bool {
        self.is_own
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What takes connections now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current().acceptor.clone()
    }

    /// Of the certificate that is shown now.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.current().fingerprint
    }

    /// Reads the files anew. What cannot be used is told of, and what is in use stays.
    pub(crate) fn reload(&self) {
        // Before they are read: what changes meanwhile, such as a key behind its certificate, is read at the next
        // look.
        let looked = look(&self.config);
        match read(&self.config) {
            Ok(new) => {
                let fingerprint = new.fingerprint;
                *self.current() = new;
                tracing::info!(%fingerprint, "the certificate was read anew");
            }
            Err(error) => {
                // Told once a change, and not at every look.
                self.current().files = looked;
                tracing::error!(%error, "the certificate cannot be read anew; the one before stays in use");
            }
        }
    }

    /// Reads the files anew if they have changed.
    pub(crate) fn look(&self) {
        let before = self.current().files.clone();
        if before != look(&self.config) {
            self.reload();
        }
    }
}

/// What is shown to those who connect there; `data` is where a certificate is kept that nobody else vouches for.
///
/// # Errors
/// If others could listen, and nothing is said of that; or if certificates cannot be used.
pub(crate) fn secured(
    security: &Security,
    listen: SocketAddr,
    data: &Path,
) -> Result<Option<Arc<Tls>>, NodeError> {
    let (files, is_own) = match security {
        Security::Loopback if listen.ip().is_loopback() => return Ok(None),
        Security::Loopback => return Err(NodeError::NoTls(listen)),
        Security::Insecure => return Ok(None),
        Security::Tls(files) => (files.clone(), false),
        Security::SelfSigned { client_authorities } => {
            (self_signed(data, listen.ip(), client_authorities.clone())?, true)
        }
    };
    Ok(Some(Arc::new(Tls::open(files, is_own)?)))
}

/// The address for clients; with the fingerprint of its certificate where nobody else vouches for that. (One that is
/// renewed is not to be pinned.)
pub(crate) fn url(tls: Option<&Tls>, address: SocketAddr) -> String {
    match tls {
        None => format!("http://{address}"),
        Some(tls) if tls.is_own() => format!("https://{address}#{}", tls.fingerprint()),
        Some(_) => format!("https://{address}"),
    }
}

fn look(config: &TlsConfig) -> Vec<Look> {
    let files = [Some(&config.certificate), Some(&config.key), config.client_authorities.as_ref()];
    files.into_iter().flatten().map(|path| watched::look(path)).collect()
}

fn read(config: &TlsConfig) -> Result<Current, NodeError> {
    let files = look(config);
    let chain = certificates(&config.certificate)?;
    let fingerprint = chain.first().map(|first| Fingerprint::of(first));
    let fingerprint =
        fingerprint.ok_or_else(|| bad(&config.certificate, "there is no certificate in it"))?;
    let key = PrivateKeyDer::from_pem_slice(&file(&config.key)?)
        .map_err(|error| bad(&config.key, &error.to_string()))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&config.certificate, &error.to_string()))?;
    let builder = match &config.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| bad(path, &error.to_string()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder
                .with_client_cert_verifier(verifier.map_err(|error| bad(path, &error.to_string()))?)
        }
    };
    let mut server = builder
        .with_single_cert(chain, key)
        .map_err(|error| bad(&config.certificate, &format!("with its key: {error}")))?;
    // What is signed is bound to a connection, and only with this can it be (RFC 9266, 4.1).
    server.require_ems = true;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Current { acceptor: TlsAcceptor::from(Arc::new(server)), fingerprint, files })
}

fn bad(path: &Path, reason: &str) -> NodeError {
    NodeError::Certificate { path: path.to_owned(), reason: reason.to_owned() }
}

fn file(path: &Path) -> Result<Vec<u8>, NodeError> {
    std::fs::read(path).map_err(|error| bad(path, &error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, NodeError> {
    let all = CertificateDer::pem_slice_iter(&file(path)?).collect::<Result<Vec<_>, _>>();
    all.map_err(|error| bad(path, &error.to_string()))
}

/// A certificate that the node has made for itself, kept in its folder; made if there is none.
///
/// # Errors
/// If it can be neither read nor made.
pub(crate) fn self_signed(
    data: &Path,
    listen: IpAddr,
    client_authorities: Option<PathBuf>,
) -> Result<TlsConfig, NodeError> {
    let (certificate, key) = (data.join("tls.pem"), data.join("tls-key.pem"));
    let config =
        TlsConfig { certificate: certificate.clone(), key: key.clone(), client_authorities };
    // The key is written first: where there is a certificate, there is its key.
    if certificate.exists() {
        return Ok(config);
    }
    let failed = |error: rcgen::Error| bad(&certificate, &error.to_string());
    let mut names = vec!["localhost".to_owned()];
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    if let Ok(host) = std::fs::read_to_string("/etc/hostname") {
        names.push(host.trim().to_owned());
    }
    names.retain(|name| !name.is_empty());
    let mut params = rcgen::CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "colearn");
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(SELF_SIGNED_UNTIL, 1, 1);
    let pair = rcgen::KeyPair::generate().map_err(failed)?;
    let made = params.self_signed(&pair).map_err(failed)?;
    std::fs::create_dir_all(data).map_err(|error| bad(data, &error.to_string()))?;
    let written = colearn_files::replace_secret(&key, pair.serialize_pem().as_bytes());
    written.map_err(|error| bad(&key, &error.to_string()))?;
    let written = colearn_files::replace(&certificate, made.pem().as_bytes());
    written.map_err(|error| bad(&certificate, &error.to_string()))?;
    Ok(config)
}
