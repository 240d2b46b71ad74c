//! What a ledger's genesis says of the ledger as a whole, from version 2 on.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::rejection::Rejection;

/// What belongs to no experiment: it follows the ledger's version, not an experiment's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// The most unfinished experiments of one creator (R54); at least 1.
    pub per_creator: u32,
    /// The most unfinished experiments (R3); at least 1.
    pub experiments: u32,
    /// How old the first entry may be that a transaction's signer has not seen, in ms of ledger time
    /// (R71); 10 ms to 366 days.
    pub expiry_ms: u64,
}

impl Default for Limits {
    /// 32 experiments a creator, 10,000 in all, transactions good for a week.
    fn default() -> Self {
        Self { per_creator: 32, experiments: 10_000, expiry_ms: 7 * 24 * 3_600_000 }
    }
}

/// Limits that a ledger cannot have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidLimits;

impl fmt::Display for InvalidLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a ledger allows 1 experiment or more, to a creator and in all, and its transactions expire \
            after 10 ms to 366 days",
        )
    }
}

impl core::error::Error for InvalidLimits {}

impl Limits {
    /// Checks the bounds.
    ///
    /// # Errors
    /// If one is not kept.
    pub fn check(&self) -> Result<(), InvalidLimits> {
        let expiry = 10..=366 * 24 * 3_600_000;
        if self.per_creator > 0 && self.experiments > 0 && expiry.contains(&self.expiry_ms) {
            Ok(())
        } else {
            Err(InvalidLimits)
        }
    }

    /// R71. Whether a transaction is not too old: `unseen_ms` is the time of the first entry that its
    /// signer had not seen, if there is one. Who holds a transaction back, or was refused it, cannot
    /// deliver it long after everybody has forgotten it; where nothing has happened since, nothing is
    /// old.
    ///
    /// # Errors
    /// If it is.
    pub fn check_fresh(&self, now_ms: u64, unseen_ms: Option<u64>) -> Result<(), Rejection> {
        match unseen_ms {
            Some(unseen_ms) if now_ms.saturating_sub(unseen_ms) > self.expiry_ms => {
                Err(Rejection::TransactionExpired)
            }
            Some(_) | None => Ok(()),
        }
    }
}
