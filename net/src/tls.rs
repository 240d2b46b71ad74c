//! What rustls is told, and what it says.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, InvalidMessage,
    OtherError, RootCertStore, SignatureScheme,
};

use crate::error::TlsFault;
use crate::trust::{CERTIFICATES_DIR, CLIENT_CERT, CLIENT_KEY, named};
use crate::{Address, Fingerprint, NetError, Protocol, Trust};

/// What a client of this server needs.
pub(crate) fn config(
    address: &Address,
    trust: &Trust,
    protocol: Protocol,
) -> Result<Arc<ClientConfig>, NetError> {
    let provider = Arc::new(ring::default_provider());
    let other = |error: Error| NetError::Tls {
        url: address.url().to_owned(),
        fault: TlsFault::Other(error.to_string()),
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(other)?;
    let verifier: Arc<dyn ServerCertVerifier> = match address.pin() {
        Some(pin) => Arc::new(Pinned::new(pin, &provider)),
        None => {
            let roots = Arc::new(roots(trust)?);
            let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            built.map_err(|error| other(Error::General(error.to_string())))?
        }
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match trust.shown()? {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates(&identity.certificate, CLIENT_CERT)?;
            let key = private_key(&identity.key, CLIENT_KEY)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| NetError::Pem {
                path: identity.certificate.clone(),
                named_by: CLIENT_CERT,
                reason: error.to_string(),
            })?
        }
    };
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    Ok(Arc::new(config))
}

/// Who vouches for servers.
fn roots(trust: &Trust) -> Result<RootCertStore, NetError> {
    let mut roots = RootCertStore::empty();
    let none = |path, named_by| NetError::Pem {
        path,
        named_by,
        reason: "there is no certificate in it that can vouch for others".to_owned(),
    };
    // Of many an odd one vouches for nobody, and the others do all the same.
    if let Some((path, named_by)) = trust.authorities() {
        roots.add_parsable_certificates(certificates(&path, named_by)?);
        return if roots.is_empty() { Err(none(path, named_by)) } else { Ok(roots) };
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        if let Some(dir) = named(CERTIFICATES_DIR) {
            // Whoever has named some does not mean all.
            return Err(none(dir, CERTIFICATES_DIR));
        }
        // A container often has none: then those that browsers believe.
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

/// The certificates of a file, of which there is at least one.
fn certificates(
    path: &Path,
    named_by: &'static str,
) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let bad = |reason: String| NetError::Pem { path: path.to_owned(), named_by, reason };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| bad(error.to_string()))?;
    match certificates.is_empty() {
        true => Err(bad("there is no certificate in it".to_owned())),
        false => Ok(certificates),
    }
}

fn private_key(path: &Path, named_by: &'static str) -> Result<PrivateKeyDer<'static>, NetError> {
    let bad = |reason: String| NetError::Pem { path: path.to_owned(), named_by, reason };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| bad(error.to_string()))
}

/// Believes one certificate by its fingerprint, whatever name and time it is for: whoever has pinned it has
/// been told by somebody better than any authority.
#[derive(Debug)]
struct Pinned {
    pin: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(pin: Fingerprint, provider: &CryptoProvider) -> Self {
        Self { pin, algorithms: provider.signature_verification_algorithms }
    }
}

/// Another certificate than the pinned one.
#[derive(Debug)]
struct Another {
    found: Fingerprint,
    expected: Fingerprint,
}

impl std::fmt::Display for Another {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the certificate is {}, not {}", self.found, self.expected)
    }
}

impl std::error::Error for Another {}

/// The pinned certificate, shown by somebody who does not have its key.
#[derive(Debug)]
struct NotItsKey;

impl NotItsKey {
    fn error() -> Error {
        CertificateError::Other(OtherError(Arc::new(Self))).into()
    }
}

impl std::fmt::Display for NotItsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the certificate's key is not there")
    }
}

impl std::error::Error for NotItsKey {}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = Fingerprint::of(end_entity);
        if found == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let another = Another { found, expected: self.pin };
        Err(CertificateError::Other(OtherError(Arc::new(another))).into())
    }

    // The certificate is public: whoever shows it has to prove that it has the key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
            .map_err(|_| NotItsKey::error())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
            .map_err(|_| NotItsKey::error())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What is wrong, if an error comes of TLS.
pub(crate) fn fault(url: &str, error: &(dyn std::error::Error + 'static)) -> Option<TlsFault> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<Error>() {
            return Some(fault_of(url, error));
        }
        // An error of input or output hides what it holds from those who ask for its cause.
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

fn fault_of(url: &str, error: &Error) -> TlsFault {
    let url = url.to_owned();
    match error {
        Error::InvalidCertificate(bad) => match bad {
            CertificateError::Other(other) => match other.0.downcast_ref::<Another>() {
                Some(Another { found, expected }) => {
                    TlsFault::OtherCertificate { found: *found, expected: *expected }
                }
                None if other.0.is::<NotItsKey>() => TlsFault::NotItsKey,
                None => TlsFault::Other(error.to_string()),
            },
            // A certificate that vouches for itself only is one, too.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                TlsFault::UnknownIssuer(url)
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFault::OtherName(url)
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsFault::OutOfDate(bad.to_string()),
            _ => TlsFault::Other(error.to_string()),
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsFault::NotTls,
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateUnknown,
        ) => TlsFault::WantsCertificate,
        _ => TlsFault::Other(error.to_string()),
    }
}
