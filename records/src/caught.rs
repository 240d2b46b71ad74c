//! Nodes that were caught breaking the rules by which they agree, as their ledger's blocks tell.

use std::collections::BTreeMap;

use colearn_proto::v1;
use serde::Serialize;

use crate::log_keys::LogKeys;
use crate::words::Word as _;

/// What the blocks of a ledger tell of each node that was caught.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(transparent)]
pub struct Caught(BTreeMap<String, Offence>);

/// What one node was caught at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Offence {
    /// At what, first: a word for it.
    pub kind: &'static str,
    /// The entry that tells of it first.
    pub entry: u64,
    /// How many entries tell of it.
    pub entries: u64,
}

impl Caught {
    /// Takes in the block that entry `index` records.
    pub fn follow(&mut self, index: u64, block: &v1::Block, keys: &LogKeys) {
        for it in &block.misbehavior {
            let name = match keys.of_consensus_address(&it.validator) {
                Some(node) => node.name().to_owned(),
                // No node that a ledger knows can be caught; what a false one says is shown as it is.
                None => hex::encode(&it.validator),
            };
            let offence = Offence { kind: it.kind().word(), entry: index, entries: 0 };
            self.0.entry(name).or_insert(offence).entries += 1;
        }
    }

    /// The nodes' names, and what they were caught at.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Offence)> {
        self.0.iter().map(|(name, offence)| (name.as_str(), offence))
    }

    /// Whether nobody was caught.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
