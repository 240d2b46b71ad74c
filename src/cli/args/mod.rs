//! Arguments that several commands share, by what they are about.

mod data;
mod dialect;
mod limits;
mod merging;
mod model;
mod pins;
mod signer;
mod training;
mod weights;
mod word;

use clap::Args;
use colearn_learning::data::Split;

pub(crate) use data::Data;
pub(crate) use dialect::DialectArgs;
pub(crate) use limits::LimitArgs;
pub(crate) use merging::{MergingArgs, SINGLE_ROUNDS};
pub(crate) use model::ModelShape;
pub(crate) use pins::{Cosigners, PinArgs};
pub(crate) use signer::Signer;
pub(crate) use training::TrainingArgs;
pub(crate) use weights::WeightsArgs;
pub(crate) use word::word;

/// Where the node is.
#[derive(Args, Clone)]
pub(crate) struct NodeAddress {
    /// The node's address; of several that keep the ledger, with commas, the next is for when one will not do
    #[arg(long, env = "COLEARN_NODE", default_value = "http://127.0.0.1:7400", value_name = "URL")]
    pub(crate) node: String,
}

/// How a data set is divided.
#[derive(Args, Clone)]
pub(crate) struct SplitArgs {
    /// How the rows are divided: iid, dirichlet:ALPHA, sorted, shards:K or unequal
    #[arg(long, default_value_t = Split::Iid, value_name = "SPLIT")]
    pub(crate) split: Split,
    /// Show who has what
    #[arg(long)]
    pub(crate) show_split: bool,
}

/// A duration such as `10m`, `30s` or `500ms`.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    u64::try_from(duration.as_millis()).map_err(|_| "too long".to_owned())
}
