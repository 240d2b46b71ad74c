//! Asking other servers over HTTP, with TLS where their address says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use colearn_net::{Address, Credential, Http, NetError, Trust};

/// More than there are nodes of a ledger.
const MAX_KEPT: usize = 128;
/// For how long the files of certificates count as they were read: they are renewed now and then.
const FRESH: Duration = Duration::from_secs(300);

/// Servers that are asked again and again: their certificates are read once, and connections are kept.
#[derive(Clone, Default)]
pub(crate) struct Servers {
    kept: Arc<Mutex<BTreeMap<String, (Instant, Http)>>>,
    credential: Option<Credential>,
}

impl Servers {
    /// What they are asked for is signed so.
    pub(crate) fn signing(credential: Credential) -> Self {
        Self { credential: Some(credential), ..Self::default() }
    }

    /// The server at an address, whose answers may take so long.
    ///
    /// # Errors
    /// If it is no address, or files with certificates cannot be used.
    pub(crate) fn at(&self, url: &str, patience: Duration) -> Result<Http, NetError> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, http)) = lock().get(url)
            && read.elapsed() < FRESH
        {
            return Ok(http.clone().with_patience(patience));
        }
        // Not under the lock: a system has hundreds of certificates.
        let mut trust = Trust::of_process();
        if let Some(credential) = &self.credential {
            trust = trust.signed_by(credential.clone());
        }
        let http = trusting(url, &trust, patience)?;
        let mut kept = lock();
        // Those that have left are not asked any more.
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(url.to_owned(), (Instant::now(), http.clone()));
        Ok(http)
    }
}

/// A server that is asked once.
///
/// # Errors
/// As [`Servers::at`].
pub(crate) fn one(url: &str, patience: Duration) -> Result<Http, NetError> {
    trusting(url, &Trust::of_process(), patience)
}

fn trusting(url: &str, trust: &Trust, patience: Duration) -> Result<Http, NetError> {
    let address: Address = url.parse()?;
    Http::new(&address, trust, patience)
}
