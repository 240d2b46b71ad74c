//! Arguments that several commands share, by what they are about.

mod data;
mod dialect;
mod exec;
mod limits;
mod merging;
mod model;
mod model_keys;
mod pins;
mod policy;
mod signer;
mod tls;
mod training;
mod weights;
mod word;

use clap::Args;
use colearn::place::Place;
use colearn_learning::data::Split;

pub(crate) use data::Data;
pub(crate) use dialect::DialectArgs;
pub(crate) use exec::ExecArgs;
pub(crate) use limits::LimitArgs;
pub(crate) use merging::{MergingArgs, SINGLE_ROUNDS};
pub(crate) use model::ModelShape;
pub(crate) use model_keys::ModelKeysArg;
pub(crate) use pins::{Cosigners, PinArgs, trust};
pub(crate) use policy::PolicyArg;
pub(crate) use signer::Signer;
pub(crate) use tls::{TLS, TlsArgs};
pub(crate) use training::TrainingArgs;
pub(crate) use weights::WeightsArgs;
pub(crate) use word::word;

/// Where a ledger is read.
#[derive(Args, Clone)]
pub(crate) struct PlaceArgs {
    /// Where the ledger is: a node's URL (of several, with commas, the first that answers), a node's data folder
    /// (it may be running), or an exported folder
    #[arg(
        long,
        visible_alias = "node",
        env = NODE,
        default_value = DEFAULT_NODE,
        value_name = "PLACE"
    )]
    pub(crate) from: Place,
}

/// The variable that says where the node is.
pub(crate) const NODE: &str = "COLEARN_NODE";
const DEFAULT_NODE: &str = "http://127.0.0.1:7400";

/// Where the node is.
#[derive(Args, Clone)]
pub(crate) struct NodeAddress {
    /// The node's address; of several that keep the ledger, with commas, the next is for when one will not do
    #[arg(long, env = NODE, default_value = DEFAULT_NODE, value_name = "URL")]
    pub(crate) node: String,
}

/// The node that is named, or the usual one: where it is only one of several places, a variable of the environment
/// must not count as if it was named.
pub(crate) fn node_or_usual(named: Option<String>) -> String {
    let of_environment = || std::env::var(NODE).ok().filter(|it| !it.is_empty());
    named.or_else(of_environment).unwrap_or_else(|| DEFAULT_NODE.to_owned())
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

/// One of several even parts, such as `2/5`: the second of five.
pub(crate) fn share(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((i, n)) if 1 <= i && i <= n => Ok((i, n)),
        _ => Err("write it as I/N, for example 2/5".to_owned()),
    }
}
