//! Asking other servers over HTTP, with TLS where their address says so.

use std::path::PathBuf;
use std::time::Duration;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// The environment's variable for a file of certificates, as the SDK has it.
const CERTIFICATES: &str = "SSL_CERT_FILE";

/// Asks a server at this address, for at most so long; an answer that says no is an answer.
pub(crate) fn agent(url: &str, timeout: Duration) -> Result<ureq::Agent, String> {
    let mut config =
        ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false);
    if url.starts_with("https://") {
        config = config.tls_config(TlsConfig::builder().root_certs(authorities()?).build());
    }
    Ok(config.build().into())
}

/// Who vouches for servers: whom browsers believe, or who is in the file that [`CERTIFICATES`] names.
fn authorities() -> Result<RootCerts, String> {
    let Some(path) = std::env::var_os(CERTIFICATES).map(PathBuf::from) else {
        return Ok(RootCerts::WebPki);
    };
    let read = std::fs::read(&path).map_err(|error| error.to_string()).and_then(|pem| {
        let items = parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(error.to_string())),
        });
        items.collect::<Result<Vec<_>, String>>()
    });
    let certificates = read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(certificates.into())
}
