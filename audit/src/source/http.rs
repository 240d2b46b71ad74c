//! A node's read API, or any web server with an exported ledger.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::SourceError;

/// The largest bundle: 256 entries of 65,535 bytes and their lengths.
const MAX_BUNDLE_BYTES: u64 = 256 * (65_535 + 2);
const TIMEOUT: Duration = Duration::from_secs(30);
/// The environment's variable for a file of certificates, as the SDK has it.
const CERTIFICATES: &str = "SSL_CERT_FILE";

/// Fetches from one address.
pub(super) struct Client {
    base: String,
    agent: ureq::Agent,
}

impl Client {
    pub(super) fn new(base: &str) -> Result<Self, SourceError> {
        let mut config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT));
        if base.starts_with("https://") {
            config = config.tls_config(TlsConfig::builder().root_certs(authorities()?).build());
        }
        Ok(Self { base: base.to_owned(), agent: config.build().into() })
    }

    /// The bytes under a path; `None` if there is nothing.
    pub(super) fn get(&self, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let url = format!("{}/{path}", self.base);
        let fail = |reason: String| SourceError::Http { url: url.clone(), reason };
        match self.agent.get(&url).call() {
            Ok(answer) => {
                let mut bytes = Vec::new();
                // One byte more than there can be, so that more is noticed and never held.
                let mut body = answer.into_body().into_reader().take(MAX_BUNDLE_BYTES + 1);
                body.read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
                Ok(Some(bytes))
            }
            Err(ureq::Error::StatusCode(404)) => Ok(None),
            Err(error) => Err(fail(error.to_string())),
        }
    }
}

/// Who vouches for servers: whom browsers believe, or who is in the file that [`CERTIFICATES`] names.
fn authorities() -> Result<RootCerts, SourceError> {
    let Some(path) = std::env::var_os(CERTIFICATES).map(PathBuf::from) else {
        return Ok(RootCerts::WebPki);
    };
    let read = std::fs::read(&path).and_then(|pem| {
        let items = parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(std::io::Error::other(error))),
        });
        items.collect::<std::io::Result<Vec<_>>>()
    });
    match read {
        Ok(certificates) => Ok(certificates.into()),
        Err(source) => Err(SourceError::Io { path, source }),
    }
}
