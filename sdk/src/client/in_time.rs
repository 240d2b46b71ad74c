//! How long there is to get what a turn or vote takes, before it has to be said that it was not to be had.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// So much of the time that was left is kept for saying so.
const MARGIN_SHARE: u64 = 10;
/// And no more than this.
const MAX_MARGIN_MS: u64 = 30_000;
/// The pauses between tries: a share of what is left, within these bounds.
const PAUSE_SHARE: u32 = 20;
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Ledger time, as far as it can be known here, and what it leaves for the present deadline.
///
/// Ledger time is this machine's time, but no earlier than what the ledger has recorded: where this
/// machine's clock is slow, a deadline would be missed by trusting it.
#[derive(Clone, Debug, Default)]
pub(super) struct InTime {
    /// How far the ledger is ahead of this machine's clock, at least.
    ahead_ms: u64,
    /// The present deadline, and the time shortly before it.
    give_up: Option<(u64, u64)>,
}

impl InTime {
    /// Something was recorded at this ledger time.
    pub(super) fn observe(&mut self, recorded_ms: u64) {
        self.ahead_ms = self.ahead_ms.max(recorded_ms.saturating_sub(clock_ms()));
    }

    /// How long one can go on trying for what is due at this ledger time.
    pub(super) fn left(&mut self, deadline_ms: u64) -> Duration {
        self.left_at(clock_ms().saturating_add(self.ahead_ms), deadline_ms)
    }

    fn left_at(&mut self, now_ms: u64, deadline_ms: u64) -> Duration {
        let give_up_ms = match self.give_up {
            Some((deadline, give_up_ms)) if deadline == deadline_ms => give_up_ms,
            Some(_) | None => {
                let left_ms = deadline_ms.saturating_sub(now_ms);
                deadline_ms.saturating_sub((left_ms / MARGIN_SHARE).min(MAX_MARGIN_MS))
            }
        };
        self.give_up = Some((deadline_ms, give_up_ms));
        Duration::from_millis(give_up_ms.saturating_sub(now_ms))
    }
}

/// How long to wait before the next try, of the time that is left, if something is due at all.
pub(super) fn pause(left: Option<Duration>) -> Duration {
    left.map_or(LONGEST_PAUSE, |left| (left / PAUSE_SHARE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
}

/// This machine's time, in ms since 1970.
fn clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_time_is_kept_for_saying_so() {
        let mut in_time = InTime::default();
        assert_eq!(in_time.left_at(1_000, 2_000), Duration::from_millis(900));
        assert_eq!(
            in_time.left_at(1_500, 2_000),
            Duration::from_millis(400),
            "of the same deadline"
        );
        assert_eq!(in_time.left_at(1_950, 2_000), Duration::ZERO);
        assert_eq!(in_time.left_at(2_000, 602_000), Duration::from_millis(570_000));
        assert_eq!(in_time.left_at(9_000, 8_000), Duration::ZERO);
    }

    #[test]
    fn pauses_are_a_share_of_what_is_left() {
        assert_eq!(pause(Some(Duration::from_secs(20))), Duration::from_secs(1));
        assert_eq!(pause(Some(Duration::ZERO)), SHORTEST_PAUSE);
        assert_eq!(pause(Some(Duration::from_secs(3600))), LONGEST_PAUSE);
        assert_eq!(pause(None), LONGEST_PAUSE);
    }

    #[test]
    fn where_this_clock_is_slow_the_ledgers_counts() {
        let mut in_time = InTime::default();
        in_time.observe(clock_ms() + 10_000_000);
        assert_eq!(in_time.left(clock_ms() + 5_000_000), Duration::ZERO);
        in_time.observe(5);
        assert_eq!(in_time.left(clock_ms() + 5_000_000), Duration::ZERO);
    }
}
