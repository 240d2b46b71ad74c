//! The time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in ms since 1970, by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
