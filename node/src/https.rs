//! Asking other servers over HTTP, with TLS where their address says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use colearn_net::{Address, Http, NetError, Trust};

/// More than there are nodes of a ledger.
const MAX_KEPT: usize = 128;

/// Servers that are asked again and again: their certificates are read once, and connections are kept.
#[derive(Clone, Default)]
pub(crate) struct Servers(Arc<Mutex<BTreeMap<String, Http>>>);

impl Servers {
    /// The server at an address, whose answers may take so long.
    ///
    /// # Errors
    /// If it is no address, or files with certificates cannot be used.
    pub(crate) fn at(&self, url: &str, patience: Duration) -> Result<Http, NetError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(http) = kept.get(url) {
            return Ok(http.clone().with_patience(patience));
        }
        let http = one(url, patience)?;
        // Those that have left are not asked any more.
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(url.to_owned(), http.clone());
        Ok(http)
    }
}

/// A server that is asked once.
///
/// # Errors
/// As [`Servers::at`].
pub(crate) fn one(url: &str, patience: Duration) -> Result<Http, NetError> {
    let address: Address = url.parse()?;
    Http::new(&address, &Trust::of_process(), patience)
}
