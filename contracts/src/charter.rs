//! What the genesis of a ledger says that a contract on a public chain keeps, where everybody's
//! transactions come from strangers, and every call is paid for.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::id::LearnerId;
use crate::parameters::MAX_MEMBERS;
use crate::rejection::Rejection;

/// The most keys that may be listed as creators.
pub const MAX_CREATORS: usize = 256;

/// What holds on a chain's ledger beside its limits. Of these the most experiments does not hold there
/// (R91): a stranger could use them up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Charter {
    /// Who may create experiments.
    pub creators: Creators,
    /// The most members of an experiment that take part or are to from the next round on (R92); 1 to
    /// [`MAX_MEMBERS`]. Closing a round has to fit into a block.
    pub max_members: u32,
}

/// Who may create experiments on a ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Creators {
    /// Everybody.
    Anybody,
    /// These keys, in strictly ascending order; 1 to [`MAX_CREATORS`].
    Listed(Vec<LearnerId>),
}

/// A charter that a ledger cannot have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidCharter;

impl fmt::Display for InvalidCharter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a chain's ledger lists 1 to 256 creators, their keys ascending, or lets anybody create, and \
            allows 1 to 100,000 members",
        )
    }
}

impl core::error::Error for InvalidCharter {}

impl Charter {
    /// Checks the bounds.
    ///
    /// # Errors
    /// If one is not kept.
    pub fn check(&self) -> Result<(), InvalidCharter> {
        let listed = match &self.creators {
            Creators::Anybody => true,
            Creators::Listed(keys) => {
                (1..=MAX_CREATORS).contains(&keys.len())
                    && keys.windows(2).all(|pair| pair[0] < pair[1])
            }
        };
        let members = (1..=MAX_MEMBERS).contains(&(self.max_members as usize));
        if listed && members { Ok(()) } else { Err(InvalidCharter) }
    }

    /// R91. Whether this key may create experiments.
    ///
    /// # Errors
    /// If it may not.
    pub fn check_creator(&self, sender: LearnerId) -> Result<(), Rejection> {
        match &self.creators {
            Creators::Listed(keys) if keys.binary_search(&sender).is_err() => {
                Err(Rejection::CreatorNotListed)
            }
            Creators::Listed(_) | Creators::Anybody => Ok(()),
        }
    }
}
