//! Asking the other nodes over HTTP.

use std::time::Duration;

use crate::https::Servers;

/// A little more than the other node may take.
const TIMEOUT: Duration = Duration::from_secs(12);
/// The longest answer.
const MAX_BYTES: usize = 64 << 10;

/// What another node answers.
pub(super) struct Answer {
    pub(super) text: String,
    /// What its clock shows, to the second, in ms since 1970; nothing if it does not say.
    pub(super) clock_ms: Option<u64>,
}

/// Asks another node for a text.
pub(super) async fn get(servers: &Servers, url: &str, path: &str) -> Result<Answer, String> {
    let server = servers.at(url, TIMEOUT).map_err(|error| error.to_string())?;
    let answer = server.get(path, MAX_BYTES).await.map_err(|error| error.to_string())?;
    let date = answer.headers.get("date").and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    Ok(Answer { text: answer.text()?, clock_ms: date.map(crate::clock::ms_since_1970) })
}
