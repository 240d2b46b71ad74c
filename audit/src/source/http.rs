//! A node's read API, or any web server with an exported ledger.

use std::time::Duration;

use colearn_net::{Address, Trust, blocking};

use super::SourceError;

/// The largest bundle: 256 entries of 65,535 bytes and their lengths.
const MAX_BUNDLE_BYTES: usize = 256 * (65_535 + 2);
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long is waited before a server is asked again that has too much to do: half a minute in all.
const PAUSES_MS: [u64; 10] = [50, 100, 200, 500, 1_000, 2_000, 4_000, 6_000, 8_000, 8_000];

/// Fetches from one address.
pub(super) struct Client {
    base: String,
    client: blocking::Client,
}

impl Client {
    pub(super) fn new(base: &str, trust: &Trust) -> Result<Self, SourceError> {
        let address: Address = base.parse()?;
        let client = blocking::Client::new(&address, trust, TIMEOUT)?;
        Ok(Self { base: address.url().to_owned(), client })
    }

    /// The bytes under a path; `None` if there is nothing. A server that has too much to do is asked again.
    pub(super) fn get(&self, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let mut pauses = PAUSES_MS.iter();
        loop {
            let answer = self.client.get(&format!("/{path}"), MAX_BUNDLE_BYTES)?;
            let is_busy = matches!(answer.status, 408 | 429 | 503);
            match (answer.status, pauses.next()) {
                (200..=299, _) => return Ok(Some(answer.body.into())),
                (404, _) => return Ok(None),
                (_, Some(pause)) if is_busy => std::thread::sleep(Duration::from_millis(*pause)),
                _ => {
                    let reason = answer.text().err().unwrap_or_default();
                    return Err(SourceError::Http { url: format!("{}/{path}", self.base), reason });
                }
            }
        }
    }
}
