//! How an audit is done.

use colearn_ledger::Hash;
use colearn_records::follower::Depth;
use colearn_records::pins::Pins;

use crate::merges::Weights;
use crate::promise::Promise;

/// How deep an audit goes. Each level includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Level {
    /// Bytes, chain and tree only.
    Tree,
    /// Every encoding, signature and vouched history too.
    Signatures,
    /// Everything: also the contract, outcome by outcome.
    #[default]
    Contract,
}

impl Level {
    pub(crate) fn depth(self) -> Depth {
        match self {
            Self::Tree => Depth::Chain,
            Self::Signatures => Depth::Signatures,
            Self::Contract => Depth::Full,
        }
    }
}

/// What a public chain proves of a ledger. Whoever asks for an audit has verified it: an audit asks nobody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proven {
    /// How many entries it counts.
    pub size: u64,
    /// Their root.
    pub root: Hash,
    /// The chain's id.
    pub chain: String,
    /// The height of the header that proves it.
    pub height: u64,
}

/// How an audit is done.
#[derive(Default)]
pub struct AuditOptions<'a> {
    /// Which ledger it must be, whose key must keep it or have kept it, and which witnesses must have
    /// cosigned its checkpoint.
    pub pins: Pins,
    /// What a public chain was found to prove of the ledger that a contract there keeps.
    pub proven: Option<Proven>,
    /// How deep to go.
    pub level: Level,
    /// What the ledger has promised before: receipts and older checkpoints.
    pub promises: Vec<Promise>,
    /// Where the weights are, to compute merged rounds again; `None` not to.
    pub weights: Option<&'a dyn Weights>,
    /// Told how many entries are done, and of how many.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}
