//! What a ledger limits.

use clap::Args;
use colearn_contracts::Limits;

use super::duration_ms;

/// What a ledger limits.
#[derive(Args)]
pub(crate) struct LimitArgs {
    /// The most unfinished experiments of one creator [default: 32]
    #[arg(long, value_name = "N")]
    pub(crate) experiments_per_creator: Option<u32>,
    /// The most unfinished experiments in all [default: 10000]
    #[arg(long, value_name = "N")]
    pub(crate) max_experiments: Option<u32>,
    /// Refuse transactions signed before what was recorded this long ago [default: 7days]
    #[arg(long, value_parser = duration_ms, value_name = "TIME")]
    pub(crate) transaction_expiry: Option<u64>,
}

impl LimitArgs {
    pub(crate) fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            per_creator: self.experiments_per_creator.unwrap_or(usual.per_creator),
            experiments: self.max_experiments.unwrap_or(usual.experiments),
            expiry_ms: self.transaction_expiry.unwrap_or(usual.expiry_ms),
        }
    }
}
