//! Asking the other nodes over HTTP.

use std::time::Duration;

use crate::https;

/// A little more than the other node may take.
const TIMEOUT: Duration = Duration::from_secs(12);
/// The longest answer.
const MAX_BYTES: u64 = 64 << 10;

/// What another node answers, as text.
pub(super) fn get_text(url: &str) -> Result<String, String> {
    let agent = https::agent(url, TIMEOUT)?;
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.body_mut().with_config().limit(MAX_BYTES).read_to_string();
    let body = body.map_err(|error| error.to_string())?;
    match status.is_success() {
        true => Ok(body),
        false => Err(format!("{url} answers {status}")),
    }
}
