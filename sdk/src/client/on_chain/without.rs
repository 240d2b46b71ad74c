//! What stands for `on_chain` in a program that verifies no chains: it follows no ledger of one.

#[path = "error.rs"]
mod error;

use colearn_ledger::Checkpoint;
use colearn_records::transaction::Seen;

pub use self::error::ChainError;
use super::{Client, ClientError, Memory, Trust};

/// There is none.
pub(super) enum OnChain {}

impl OnChain {
    pub(super) async fn begin(
        _: &Client,
        _: &Memory,
        _: &str,
        _: &Trust,
    ) -> Result<Self, ClientError> {
        Err(ChainError::Unsupported.into())
    }

    pub(super) async fn holds(
        &mut self,
        _: &Client,
        _: &Memory,
        _: &Checkpoint,
    ) -> Result<(), ClientError> {
        match *self {}
    }

    pub(super) async fn freshen(
        &mut self,
        _: &Client,
        _: &Memory,
    ) -> Result<Option<Seen>, ClientError> {
        match *self {}
    }

    pub(super) fn vouched(&self, _: u64) -> Result<Option<Seen>, ChainError> {
        match *self {}
    }

    pub(super) fn check_time(&self, _: u64, _: u64) -> Result<(), ChainError> {
        match *self {}
    }
}
