//! The one place that reads the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use colearn_contracts::MAX_TIME_MS;

/// How far two nodes' clocks may differ. CometBFT takes no block from more than a minute ahead, and a deadline is
/// over when the clocks of most say so.
#[cfg(unix)]
pub(crate) const MAX_SKEW: Duration = Duration::from_secs(5);

/// Milliseconds since 1970; 0 for a clock set before that, and the last that a ledger can name (R70) for
/// one set beyond it: no entry may be of a later time.
pub(crate) fn now_ms() -> u64 {
    ms_since_1970(SystemTime::now())
}

/// Any time as [`now_ms`] tells the present.
pub(crate) fn ms_since_1970(time: SystemTime) -> u64 {
    ledger_time(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// By how much a time is ahead of the clock, if by more than clocks may differ.
#[cfg(unix)]
pub(crate) fn ahead(time_ms: u64) -> Option<Duration> {
    let ahead = Duration::from_millis(time_ms.saturating_sub(now_ms()));
    (ahead > MAX_SKEW).then_some(ahead)
}

/// The time that a node of several goes by; in a test, one that the test sets.
#[cfg(unix)]
#[derive(Clone, Default, Debug)]
pub(crate) struct Clock {
    #[cfg(test)]
    by_hand: Option<std::sync::Arc<std::sync::atomic::AtomicU64>>,
}

#[cfg(unix)]
impl Clock {
    /// As [`now_ms`].
    pub(crate) fn now_ms(&self) -> u64 {
        #[cfg(test)]
        if let Some(by_hand) = &self.by_hand {
            return by_hand.load(std::sync::atomic::Ordering::SeqCst);
        }
        now_ms()
    }

    /// One that stands until it is moved.
    #[cfg(test)]
    pub(crate) fn by_hand(time_ms: u64) -> Self {
        let time_ms = std::sync::atomic::AtomicU64::new(time_ms);
        Self { by_hand: Some(std::sync::Arc::new(time_ms)) }
    }

    /// Moves it, and all its clones.
    #[cfg(test)]
    pub(crate) fn set(&self, time_ms: u64) {
        if let Some(by_hand) = &self.by_hand {
            by_hand.store(time_ms, std::sync::atomic::Ordering::SeqCst);
        }
    }
}

fn ledger_time(since_1970: Duration) -> u64 {
    millis(since_1970).min(MAX_TIME_MS)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Ledger time: the system's, except that it never runs backwards and never stands still. Were it
/// only the larger of the system's and the last one, a clock that was once set a year ahead would
/// stop all deadlines for a year.
#[derive(Debug)]
pub(crate) struct LedgerClock {
    read: Instant,
    last_ms: u64,
    by_hand: bool,
}

impl LedgerClock {
    /// A clock that goes on from a ledger's last time.
    pub(crate) fn after(last_ms: u64) -> Self {
        Self { read: Instant::now(), last_ms, by_hand: false }
    }

    /// The time now.
    pub(crate) fn now_ms(&mut self) -> u64 {
        if self.by_hand { self.last_ms } else { self.advance(now_ms(), Instant::now()) }
    }

    /// Moves the clock to a time, for a test; from then on only this moves it.
    pub(crate) fn set(&mut self, time_ms: u64) {
        (self.by_hand, self.last_ms) = (true, time_ms);
    }

    fn advance(&mut self, system_ms: u64, now: Instant) -> u64 {
        let passed_ms = millis(now.saturating_duration_since(self.read));
        let next = system_ms.max(self.last_ms.saturating_add(passed_ms));
        if next > self.last_ms {
            (self.read, self.last_ms) = (now, next);
        }
        self.last_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_beyond_what_a_ledger_can_name() {
        assert_eq!(ledger_time(Duration::from_millis(5)), 5);
        assert_eq!(ledger_time(Duration::from_secs(253_402_300_800)), MAX_TIME_MS);
        assert_eq!(ledger_time(Duration::MAX), MAX_TIME_MS);
    }

    #[test]
    fn time_follows_the_system_and_goes_on_when_that_is_set_back() {
        let mut clock = LedgerClock::after(1_000);
        let start = clock.read;
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(clock.advance(5_000, at(1)), 5_000);
        // Set a year ahead by mistake, and back again.
        assert_eq!(clock.advance(31_536_000_000, at(2)), 31_536_000_000);
        assert_eq!(clock.advance(5_010, at(12)), 31_536_000_010);
        assert_eq!(clock.advance(5_510, at(512)), 31_536_000_510);
        assert_eq!(clock.advance(0, at(512)), 31_536_000_510);
    }

    #[test]
    fn a_clock_moved_by_hand_stands_still_between() {
        let mut clock = LedgerClock::after(1_000);
        // The system's, which is later.
        assert!(clock.now_ms() > 2_001);
        for time_ms in [2_000, 2_001] {
            clock.set(time_ms);
            assert_eq!((clock.now_ms(), clock.now_ms()), (time_ms, time_ms));
        }
    }
}
