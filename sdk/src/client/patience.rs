//! How long a node that does not answer is waited for.

use std::time::Duration;

use super::ClientError;

/// The first and the longest pause before trying again; each is twice the one before.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a node that does not answer is waited for, from now on.
#[derive(Clone, Debug)]
pub struct Patience {
    limit: Option<Duration>,
    pause: Duration,
    out_of_reach: tokio::time::Instant,
}

impl Patience {
    /// So long; `None` for ever.
    pub fn new(limit: Option<Duration>) -> Self {
        Self { limit, pause: FIRST_PAUSE, out_of_reach: tokio::time::Instant::now() }
    }

    /// The node was in reach until now.
    pub fn renew(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Why and how long to wait before it is tried again.
    ///
    /// # Errors
    /// The given one, where trying again does not help or enough has been waited.
    pub fn pause_after(&mut self, error: ClientError) -> Result<(String, Duration), ClientError> {
        if !error.is_transient() {
            return Err(error);
        }
        match self.pause() {
            Some(pause) => Ok((error.to_string(), pause)),
            None => Err(error),
        }
    }

    /// How long to wait before it is tried again; `None` where enough has been waited.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        if self.limit.is_some_and(|limit| self.out_of_reach.elapsed() > limit) {
            return None;
        }
        let pause = self.pause;
        self.pause = (2 * pause).min(LONGEST_PAUSE);
        Some(pause)
    }
}
