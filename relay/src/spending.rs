//! What a day has cost, in a file beside the account: a process that begins again goes on counting.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// The file has two numbers.
const MAX_FILE_BYTES: u64 = 4_096;

/// What a day has cost.
#[derive(Debug)]
pub(crate) struct Spending {
    path: PathBuf,
}

#[derive(Serialize, Deserialize, Default)]
struct Spent {
    /// Days since 1970.
    day: u64,
    /// Units of the denomination, in decimal: JSON's numbers end before.
    fees: String,
}

impl Spending {
    /// Of the account in this file.
    pub(crate) fn of(account: &Path) -> Self {
        let mut name: OsString = account.as_os_str().to_owned();
        name.push(".spent");
        Self { path: name.into() }
    }

    /// What the day at this time has cost, in ms since 1970.
    pub(crate) fn today(&self, now_ms: u64) -> std::io::Result<u128> {
        let file = match std::fs::File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        let Spent { day, fees } = serde_json::from_slice(&bytes)?;
        let fees = fees.parse().map_err(std::io::Error::other)?;
        // A clock that went back does not forget what was spent.
        Ok(if day >= now_ms / DAY_MS { fees } else { 0 })
    }

    /// Counts a fee before it is spent, if the day does not cost more than `most` with it; otherwise nothing, and gives
    /// what it has cost.
    pub(crate) fn take(
        &self,
        fee: u128,
        most: u128,
        now_ms: u64,
    ) -> std::io::Result<Result<(), u128>> {
        let spent = self.today(now_ms)?;
        match spent.checked_add(fee).filter(|sum| *sum <= most) {
            Some(sum) => self.write(sum, now_ms).map(Ok),
            None => Ok(Err(spent)),
        }
    }

    /// Counts no longer a fee that was not spent.
    pub(crate) fn give_back(&self, fee: u128, now_ms: u64) -> std::io::Result<()> {
        self.write(self.today(now_ms)?.saturating_sub(fee), now_ms)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self, fees: u128, now_ms: u64) -> std::io::Result<()> {
        let spent = Spent { day: now_ms / DAY_MS, fees: fees.to_string() };
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
        assert_eq!(open().take(60, 100, 5).unwrap(), Ok(()));
        assert_eq!(open().take(41, 100, DAY_MS - 1).unwrap(), Err(60));
        assert_eq!(open().take(40, 100, DAY_MS - 1).unwrap(), Ok(()));
        open().give_back(40, DAY_MS - 1).unwrap();
        assert_eq!(open().today(6).unwrap(), 60);
        assert_eq!(open().take(u128::MAX, 100, 5).unwrap(), Err(60));
        // The next day, and a clock that goes back from it.
        assert_eq!(open().take(100, 100, DAY_MS).unwrap(), Ok(()));
        assert_eq!(open().take(1, 100, 5).unwrap(), Err(100));
        std::fs::write(open().path(), "{}").unwrap();
        assert!(open().take(1, 100, 5).is_err());
    }
}
