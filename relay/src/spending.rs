//! What a day has cost, in a file beside the account: a process that begins again goes on counting.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use colearn_files::Lock;
use serde::{Deserialize, Serialize};

const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// The file has two numbers.
const MAX_FILE_BYTES: u64 = 4_096;

/// What a day has cost.
#[derive(Debug)]
pub(crate) struct Spending {
    path: PathBuf,
    lock: PathBuf,
}

#[derive(Serialize, Deserialize, Default)]
struct Spent {
    /// Days since 1970.
    day: u64,
    /// Units of the denomination, in decimal: JSON's numbers end before.
    fees: String,
    /// What was signed last: all that is signed for the same place is paid for once at most.
    #[serde(default)]
    place: String,
    /// The highest fee that was signed for it, in decimal.
    #[serde(default)]
    highest: String,
}

/// The same, as numbers.
#[derive(Default)]
struct Count {
    day: u64,
    fees: u128,
    place: String,
    highest: u128,
}

impl Spending {
    /// Of the account in this file.
    pub(crate) fn of(account: &Path) -> Self {
        let named = |end: &str| {
            let mut name: OsString = account.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        Self { path: named(".spent"), lock: named(".spent.lock") }
    }

    /// What the day at this time has cost, in ms since 1970.
    pub(crate) fn today(&self, now_ms: u64) -> std::io::Result<u128> {
        Ok(self.read(now_ms)?.fees)
    }

    /// Counts a fee before what pays it is signed, if the day does not cost more than `most` with it; otherwise nothing,
    /// and gives what it has cost. `place` is the chain, the account and its sequence: of what was signed for the place
    /// that was signed for last only the highest fee counts, since one of them can be carried out. Nothing is ever
    /// given back: that something is not carried out is only a server's word.
    pub(crate) fn take(
        &self,
        fee: u128,
        place: &str,
        most: u128,
        now_ms: u64,
    ) -> std::io::Result<Result<(), u128>> {
        // Other processes pay from the same account.
        let _lock = Lock::wait(&self.lock)?;
        let mut count = self.read(now_ms)?;
        if count.place != place {
            (count.place, count.highest) = (place.to_owned(), 0);
        }
        let more = fee.saturating_sub(count.highest);
        match count.fees.checked_add(more).filter(|sum| *sum <= most) {
            Some(sum) => {
                (count.fees, count.highest) = (sum, count.highest.max(fee));
                self.write(&count).map(Ok)
            }
            None => Ok(Err(count.fees)),
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is counted for the day at this time.
    fn read(&self, now_ms: u64) -> std::io::Result<Count> {
        let today = now_ms / DAY_MS;
        let file = match std::fs::File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Count { day: today, ..Count::default() });
            }
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        let Spent { day, fees, place, highest } = serde_json::from_slice(&bytes)?;
        let number = |text: &str| text.parse::<u128>().map_err(std::io::Error::other);
        let highest = if highest.is_empty() { 0 } else { number(&highest)? };
        let fees = number(&fees)?;
        // A clock that went back does not forget what was spent.
        let fees = if day >= today { fees } else { 0 };
        // Nor does one that was days ahead for once keep count until then: all that belongs to today.
        let day = if day > today + 1 { today } else { day.max(today) };
        Ok(Count { day, fees, place, highest })
    }

    fn write(&self, count: &Count) -> std::io::Result<()> {
        let Count { day, fees, place, highest } = count;
        let (fees, highest) = (fees.to_string(), highest.to_string());
        let spent = Spent { day: *day, fees, place: place.clone(), highest };
        Ok(colearn_files::replace_secret(&self.path, &serde_json::to_vec(&spent)?)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_day_costs_no_more_than_it_may_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let account = folder.path().join("relay.pem");
        let open = || Spending::of(&account);
        assert_eq!(open().take(60, "1", 100, 5).unwrap(), Ok(()));
        assert_eq!(open().take(41, "2", 100, DAY_MS - 1).unwrap(), Err(60));
        assert_eq!(open().take(40, "2", 100, DAY_MS - 1).unwrap(), Ok(()));
        assert_eq!(open().today(6).unwrap(), 100);
        assert_eq!(open().take(u128::MAX, "3", 100, 5).unwrap(), Err(100));
        // The next day, and a clock that goes back from it, and again.
        assert_eq!(open().take(99, "3", 100, DAY_MS).unwrap(), Ok(()));
        assert_eq!(open().take(2, "4", 100, 5).unwrap(), Err(99));
        assert_eq!(open().take(1, "4", 100, 5).unwrap(), Ok(()));
        assert_eq!(open().take(1, "5", 100, DAY_MS).unwrap(), Err(100));
        // One that is years ahead, once.
        assert_eq!(open().take(50, "6", 100, 9_000 * DAY_MS).unwrap(), Ok(()));
        assert_eq!(open().take(51, "7", 100, 5 * DAY_MS).unwrap(), Err(50));
        assert_eq!(open().take(50, "7", 100, 5 * DAY_MS).unwrap(), Ok(()));
        assert_eq!(open().take(100, "8", 100, 6 * DAY_MS).unwrap(), Ok(()));
        std::fs::write(open().path(), "{}").unwrap();
        assert!(open().take(1, "6", 100, 5).is_err());
        // As it was written before places were.
        std::fs::write(open().path(), r#"{"day":1,"fees":"70"}"#).unwrap();
        assert_eq!(open().take(31, "6", 100, DAY_MS).unwrap(), Err(70));
    }

    #[test]
    fn what_is_signed_for_one_place_counts_once_at_its_highest_fee() {
        let folder = tempfile::tempdir().unwrap();
        let spending = Spending::of(&folder.path().join("relay.pem"));
        for (fee, place, sum) in [(30, "1", 30), (20, "1", 30), (50, "1", 50), (20, "2", 70)] {
            assert_eq!(spending.take(fee, place, 100, 5).unwrap(), Ok(()));
            assert_eq!(spending.today(5).unwrap(), sum, "{fee} {place}");
        }
        assert_eq!(spending.take(51, "2", 100, 5).unwrap(), Err(70));
    }

    #[test]
    fn nothing_is_lost_where_several_count() {
        let folder = tempfile::tempdir().unwrap();
        let account = folder.path().join("relay.pem");
        std::thread::scope(|scope| {
            for who in 0..4 {
                let account = &account;
                scope.spawn(move || {
                    for at in 0..25 {
                        let place = format!("{who}/{at}");
                        Spending::of(account).take(1, &place, 1_000, 5).unwrap().unwrap();
                    }
                });
            }
        });
        assert_eq!(Spending::of(&account).today(5).unwrap(), 100);
    }
}
