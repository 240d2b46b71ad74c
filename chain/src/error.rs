//! Why a call was not carried out. The chain undoes all that it has done then.

use colearn_contracts::pieces::Damaged;
use colearn_records::on_chain::BadChain;
use cosmwasm_std::StdError;

use crate::messages::{MAX_TICKS, MAX_TRANSACTION_BYTES, MAX_TRANSACTIONS};

/// Why a call was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was sent, or is to be sent, is not what the messages say.
    #[error(transparent)]
    Message(#[from] StdError),
    /// What the ledger is to say of itself cannot be.
    #[error(transparent)]
    Chain(#[from] BadChain),
    /// A key is none.
    #[error("a creator's key has 32 bytes, this one {0}")]
    Key(usize),
    /// The limits cannot be.
    #[error(transparent)]
    Limits(#[from] colearn_contracts::InvalidLimits),
    /// More members than closing a round has room for.
    #[error(
        "where a block can use {block_gas} gas a contract allows at most {most} members, so that the end of any \
        round fits into half of one; {asked} were asked for"
    )]
    Members {
        /// How many there may be.
        most: u32,
        /// What a block can use.
        block_gas: u64,
        /// How many were asked for.
        asked: u32,
    },
    /// Coins were sent.
    #[error("this contract keeps no money: send it none")]
    Funds,
    /// Too much at once.
    #[error(
        "one call takes 1 to {MAX_TRANSACTIONS} transactions of at most {MAX_TRANSACTION_BYTES} bytes together: \
        send the rest in another"
    )]
    Transactions,
    /// Too many names at once.
    #[error("one call takes 1 to {MAX_TICKS} names of experiments: send the rest in another")]
    Names,
    /// There is no such experiment.
    #[error("there is no experiment {0:?} here")]
    Unknown(String),
    /// What is kept is not what this contract has written.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// An entry is too large, which is a fault of this program.
    #[error(transparent)]
    TooLarge(#[from] colearn_ledger::TooLarge),
}
