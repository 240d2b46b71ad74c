//! What servers answer, in JSON: of each only what is needed.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Every answer.
#[derive(Deserialize)]
pub(super) struct JsonRpc {
    pub(super) result: Option<IgnoredAny>,
    pub(super) error: Option<Failure>,
}

/// That a question has no answer.
#[derive(Deserialize)]
pub(super) struct Failure {
    #[serde(default)]
    pub(super) message: String,
    pub(super) data: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct StatusAnswer {
    pub(super) node_info: NodeInfo,
    pub(super) sync_info: SyncInfo,
}

#[derive(Deserialize)]
pub(super) struct NodeInfo {
    pub(super) network: String,
}

#[derive(Deserialize)]
pub(super) struct SyncInfo {
    pub(super) latest_block_height: String,
    pub(super) latest_block_time: String,
    pub(super) catching_up: bool,
}

/// A page of `validators`: how many there are on all.
#[derive(Deserialize)]
pub(super) struct Total {
    pub(super) total: String,
}

#[derive(Deserialize)]
pub(super) struct Queried {
    pub(super) response: Response,
}

#[derive(Deserialize)]
pub(super) struct Response {
    #[serde(default)]
    pub(super) code: u32,
    #[serde(default)]
    pub(super) codespace: String,
    #[serde(default)]
    pub(super) log: String,
    #[serde(default)]
    pub(super) value: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Broadcast {
    #[serde(default)]
    pub(super) code: u32,
    #[serde(default)]
    pub(super) codespace: String,
    #[serde(default)]
    pub(super) log: String,
}

#[derive(Deserialize)]
pub(super) struct Found {
    pub(super) height: String,
    pub(super) tx_result: TxResult,
}

/// A block: what is in it.
#[derive(Deserialize)]
pub(super) struct BlockAnswer {
    pub(super) block: InBlock,
}

#[derive(Deserialize)]
pub(super) struct InBlock {
    pub(super) data: Transactions,
}

#[derive(Deserialize)]
pub(super) struct Transactions {
    #[serde(default)]
    pub(super) txs: Option<Vec<String>>,
}

/// What has come of a block's transactions, in their order.
#[derive(Deserialize)]
pub(super) struct Results {
    #[serde(default)]
    pub(super) txs_results: Option<Vec<TxResult>>,
}

#[derive(Deserialize)]
pub(super) struct TxResult {
    #[serde(default)]
    pub(super) code: u32,
    #[serde(default)]
    pub(super) codespace: String,
    #[serde(default)]
    pub(super) data: Option<String>,
    #[serde(default)]
    pub(super) log: String,
    #[serde(default)]
    pub(super) gas_used: String,
}

/// What a transaction would come to (`cosmos.base.abci.v1beta1.SimulationResponse`).
#[derive(Deserialize)]
pub(super) struct Simulated {
    pub(super) gas_info: GasInfo,
}

#[derive(Deserialize)]
pub(super) struct GasInfo {
    pub(super) gas_used: String,
}

#[derive(Deserialize)]
pub(super) struct Consensus {
    pub(super) consensus_params: Parameters,
}

#[derive(Deserialize)]
pub(super) struct Parameters {
    pub(super) block: OfBlocks,
}

#[derive(Deserialize)]
pub(super) struct OfBlocks {
    pub(super) max_gas: String,
}
