//! What is said to the contract, and what it answers: JSON, with bytes in base64. `schema/` has the forms.

use cosmwasm_std::Binary;
use serde::{Deserialize, Serialize};

/// The most transactions in one call.
pub const MAX_TRANSACTIONS: usize = 64;
/// The most bytes that they have together; a mempool takes twice that.
pub const MAX_TRANSACTION_BYTES: usize = 512 << 10;
/// The most names in one call.
pub const MAX_TICKS: usize = 64;
/// Where lists of answers end, in bytes, after at least one item.
pub const MAX_LIST_BYTES: usize = 256 << 10;
/// Where they end, in items.
pub const MAX_LIST: usize = 1_000;

/// Begins a ledger.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Instantiate {
    /// The keys that may create experiments, ascending, 1 to 256 of them; without any, everybody may.
    pub creators: Option<Vec<Binary>>,
    /// The most members of an experiment that take part or wait to.
    pub max_members: u32,
    /// The gas that a block of this chain can use.
    pub block_gas: u64,
    /// The most unfinished experiments of one creator.
    pub experiments_per_creator: u32,
    /// After how many milliseconds a transaction expires whose signer had not seen what came since.
    pub expiry_ms: u64,
}

/// What is asked of the contract; who sends it, and pays, is of no meaning.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Execute {
    /// Decides transactions of learners, in this order. The answer is [`Submitted`].
    Submit {
        /// Payloads of entries, each with a signed transaction; at most 64, and 512 KiB.
        transactions: Vec<Binary>,
    },
    /// Records what time alone decides of these experiments, in this order. There may be others.
    Tick {
        /// Their names; at most 64.
        experiments: Vec<String>,
    },
}

/// What has become of transactions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Submitted {
    /// For each 0 if it is recorded, otherwise the number of the rule that it breaks, or 200 for what is no
    /// transaction or whose signature does not verify, or 201 for what has seen another history, or has expired.
    pub codes: Vec<u32>,
}

/// It is recorded.
pub const RECORDED: u32 = 0;
/// It is no transaction, or its signature does not verify.
pub const INVALID: u32 = 200;
/// Its signer has seen another history, or too little of this one for too long.
pub const OUTDATED: u32 = 201;

/// What can be asked without changing anything.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Query {
    /// Where the ledger stands: [`LedgerState`].
    Ledger {},
    /// Entries in order: [`Entries`].
    Entries {
        /// The first.
        from: u64,
    },
    /// One experiment: [`ExperimentState`].
    Experiment {
        /// Its name.
        name: String,
    },
    /// The names of experiments in order: [`Experiments`].
    Experiments {
        /// Those after this one; all without it.
        after: Option<String>,
    },
}

/// Where the ledger stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LedgerState {
    /// Its id: SHA-256 of the genesis message.
    pub id: Binary,
    /// How many entries there are.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Binary,
    /// The time of the last, in ms since 1970.
    pub time_ms: u64,
}

/// Some entries.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Entries {
    /// One after the other. There may be more after them.
    pub entries: Vec<Binary>,
}

/// One experiment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExperimentState {
    /// The message `colearn.v1.Experiment`.
    pub experiment: Binary,
}

/// Names of experiments.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Experiments {
    /// In order. There may be more after them.
    pub names: Vec<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use schemars::schema::RootSchema;
    use schemars::schema_for;

    use super::*;

    #[test]
    fn the_schema_is_current() {
        let forms: [(&str, RootSchema); 8] = [
            ("instantiate", schema_for!(Instantiate)),
            ("execute", schema_for!(Execute)),
            ("submitted", schema_for!(Submitted)),
            ("query", schema_for!(Query)),
            ("ledger", schema_for!(LedgerState)),
            ("entries", schema_for!(Entries)),
            ("experiment", schema_for!(ExperimentState)),
            ("experiments", schema_for!(Experiments)),
        ];
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
        for (name, form) in forms {
            let path = folder.join(format!("{name}.json"));
            let text = serde_json::to_string_pretty(&form).unwrap() + "\n";
            if std::env::var_os("COLEARN_BLESS").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(kept, text, "{path:?}: COLEARN_BLESS=1 writes it anew");
        }
    }
}
