//! When the entries were recorded that a transaction may still be signed before (R71).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The times of a ledger's last entries, as far back as a transaction may go.
///
/// Entries of one millisecond take 16 bytes together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Times {
    /// How old the first entry may be that a signer has not seen, in ms; `None` for any age.
    expiry_ms: Option<u64>,
    /// The first entry of each time, with the time; both ascend.
    runs: VecDeque<(u64, u64)>,
}

impl Times {
    /// For a ledger of version 1, whose transactions never expire: nothing is kept.
    pub(super) fn unlimited() -> Self {
        Self { expiry_ms: None, runs: VecDeque::new() }
    }

    /// For a ledger whose transactions expire after `expiry_ms`, from the entry of this time on: what
    /// came before counts as recorded then.
    pub(super) fn since(expiry_ms: u64, time_ms: u64) -> Self {
        Self { expiry_ms: Some(expiry_ms), runs: VecDeque::from([(0, time_ms)]) }
    }

    /// The times from some entry on, of a ledger that has more before, for who can look those up.
    pub fn from_here(expiry_ms: u64) -> Self {
        Self { expiry_ms: Some(expiry_ms), runs: VecDeque::new() }
    }

    /// Transactions expire after so long from here on; what is kept stays.
    pub fn expire_after(&mut self, expiry_ms: u64) {
        self.expiry_ms = Some(expiry_ms);
    }

    /// When an entry was recorded, in ms; `None` if it lies before what is kept.
    pub fn at(&self, index: u64) -> Option<u64> {
        let after = self.runs.partition_point(|(first, _)| *first <= index);
        after.checked_sub(1).and_then(|run| self.runs.get(run)).map(|(_, time_ms)| *time_ms)
    }

    /// Takes the next entry's time.
    pub fn push(&mut self, index: u64, time_ms: u64) {
        let Some(expiry_ms) = self.expiry_ms else { return };
        if self.runs.back().is_none_or(|(_, last_ms)| *last_ms < time_ms) {
            self.runs.push_back((index, time_ms));
        }
        // What is too old now is too old for all that is recorded later.
        while let Some((_, first_ms)) = self.runs.front()
            && time_ms.saturating_sub(*first_ms) > expiry_ms
        {
            self.runs.pop_front();
        }
    }

    /// Whether a transaction of this time is fresh whose signer had seen the first `size` of `all` entries.
    pub(super) fn is_fresh(&self, size: u64, all: u64, time_ms: u64) -> bool {
        let Some(expiry_ms) = self.expiry_ms else { return true };
        if size >= all {
            return true;
        }
        // What is not kept is too old.
        self.at(size).is_some_and(|unseen_ms| time_ms.saturating_sub(unseen_ms) <= expiry_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_unseen_entry_decides() {
        let mut times = Times::since(10, 0);
        for (index, time_ms) in [(1, 0), (2, 5), (3, 5), (4, 12)] {
            times.push(index, time_ms);
        }
        // Entries 0 and 1 are of time 0, older than 10 at 12.
        for (size, time_ms, fresh) in [
            (0, 12, false),
            (1, 12, false),
            (2, 12, true),
            (3, 15, true),
            (3, 16, false),
            (4, 22, true),
            (4, 23, false),
            // Nothing unseen: however long nothing happened.
            (5, 1_000, true),
        ] {
            assert_eq!(times.is_fresh(size, 5, time_ms), fresh, "{size} at {time_ms}");
        }
        assert_eq!(times.runs.len(), 2);
    }

    #[test]
    fn what_came_before_the_limit_counts_from_it() {
        let mut times = Times::since(10, 100);
        times.push(8, 105);
        for (size, time_ms, fresh) in
            [(0, 110, true), (7, 110, true), (7, 111, false), (8, 115, true)]
        {
            assert_eq!(times.is_fresh(size, 9, time_ms), fresh, "{size} at {time_ms}");
        }
    }
}
