//! How an audit is done.

use colearn_ledger::Hash;
use colearn_records::follower::Depth;
use colearn_records::pins::Pins;

use crate::merges::Weights;
use crate::promise::Promise;
use crate::source::SourceError;

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

/// What a public chain proves of a ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proven {
    /// How many entries it counts.
    pub size: u64,
    /// Their root.
    pub root: Hash,
    /// How many entries the ledger had when the chain was asked: those, or more.
    pub total: u64,
    /// The chain's id.
    pub chain: String,
    /// The address of the contract there that keeps them.
    pub contract: String,
    /// The height of the header that proves it.
    pub height: u64,
    /// That header's time, in ms since 1970.
    pub time_ms: u64,
}

/// Finds out what a public chain proves of a ledger, and verifies it: an audit itself asks nobody.
pub trait Prover: Sync {
    /// What the chain proves of a ledger of so many entries, as its checkpoint counts. It is asked once that was read, and
    /// before the entries are: so a ledger that grows meanwhile is audited as far as was asked, and no further.
    ///
    /// # Errors
    /// If nothing is proven: [`SourceError::NotProven`].
    fn prove(&self, size: u64) -> Result<Proven, SourceError>;
}

/// How an audit is done.
#[derive(Default)]
pub struct AuditOptions<'a> {
    /// Which ledger it must be, whose key must keep it or have kept it, and which witnesses must have
    /// cosigned its checkpoint.
    pub pins: Pins,
    /// Who is asked what a public chain proves of the ledger that a contract there keeps.
    pub prover: Option<&'a dyn Prover>,
    /// How deep to go.
    pub level: Level,
    /// What the ledger has promised before: receipts and older checkpoints.
    pub promises: Vec<Promise>,
    /// Where the weights are, to compute merged rounds again; `None` not to.
    pub weights: Option<&'a dyn Weights>,
    /// Told how many entries are done, and of how many.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}
