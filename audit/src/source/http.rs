//! A node's read API, or any web server with an exported ledger.

use std::time::Duration;

use colearn_net::{Address, Trust, blocking};

use super::SourceError;

/// The largest bundle: 256 entries of 65,535 bytes and their lengths.
const MAX_BUNDLE_BYTES: usize = 256 * (65_535 + 2);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Fetches from one address.
pub(super) struct Client {
    base: String,
    client: blocking::Client,
}

impl Client {
    pub(super) fn new(base: &str) -> Result<Self, SourceError> {
        let address: Address = base.parse()?;
        let client = blocking::Client::new(&address, &Trust::of_process(), TIMEOUT)?;
        Ok(Self { base: address.url().to_owned(), client })
    }

    /// The bytes under a path; `None` if there is nothing.
    pub(super) fn get(&self, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let url = || format!("{}/{path}", self.base);
        let answer = self.client.get(&format!("/{path}"), MAX_BUNDLE_BYTES)?;
        match answer.status {
            200..=299 => Ok(Some(answer.body.into())),
            404 => Ok(None),
            _ => Err(SourceError::Http {
                url: url(),
                reason: answer.text().err().unwrap_or_default(),
            }),
        }
    }
}
