//! Asking the other nodes over HTTP.

use std::time::Duration;

use crate::https;

/// A little more than the other node may take.
const TIMEOUT: Duration = Duration::from_secs(12);
/// The longest answer.
const MAX_BYTES: u64 = 64 << 10;

/// What another node answers.
pub(super) struct Answer {
    pub(super) text: String,
    /// What its clock shows, to the second, in ms since 1970; nothing if it does not say.
    pub(super) clock_ms: Option<u64>,
}

/// Asks another node for a text.
pub(super) fn get(url: &str) -> Result<Answer, String> {
    let agent = https::agent(url, TIMEOUT)?;
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    let status = response.status();
    let date = response.headers().get("date").and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let clock_ms = date.map(crate::clock::ms_since_1970);
    let body = response.body_mut().with_config().limit(MAX_BYTES).read_to_string();
    let text = body.map_err(|error| error.to_string())?;
    match status.is_success() {
        true => Ok(Answer { text, clock_ms }),
        false => Err(format!("{url} answers {status}")),
    }
}
