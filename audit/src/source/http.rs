//! A node's read API, or any web server with an exported ledger.

use std::io::Read as _;
use std::time::Duration;

use super::SourceError;

/// The largest bundle: 256 entries of 65,535 bytes and their lengths.
const MAX_BUNDLE_BYTES: u64 = 256 * (65_535 + 2);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Fetches from one address.
pub(super) struct Client {
    base: String,
    agent: ureq::Agent,
}

impl Client {
    pub(super) fn new(base: &str) -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into();
        Self { base: base.to_owned(), agent }
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
