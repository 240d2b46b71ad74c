//! What an audit can find, each with its exit code.

use colearn_records::follower::Fault;
use colearn_records::json;
use colearn_records::log_keys::BadKeyChange;
use colearn_records::replay::Departure;
use serde::Serialize;

/// A kind of finding. The number is the exit code of `colearn audit`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The first entry is not a genesis, or the key is not the expected one.
    Genesis = 10,
    /// The checkpoint is missing, malformed, or not signed by the ledger's key.
    Checkpoint = 11,
    /// Entries that the checkpoint counts are missing.
    Incomplete = 12,
    /// Bytes of the journal are not what was written.
    Damaged = 13,
    /// An entry does not follow the one before it, or its time is none that a ledger can name.
    Chain = 14,
    /// The entries do not have the checkpoint's root.
    Root = 15,
    /// An entry is not a record in its one encoding.
    Encoding = 16,
    /// A transaction's signature does not verify.
    Signature = 17,
    /// A transaction vouches for a history that is not this one.
    Seen = 18,
    /// The record departs from the contract.
    Contract = 19,
    /// The ledger no longer holds what a signed receipt or checkpoint promises.
    BrokenPromise = 20,
    /// A receipt or checkpoint that was to be honoured cannot be read, or is not one of this ledger's.
    Receipt = 21,
    /// The index, or a served hash tile, does not agree with the entries.
    Index = 22,
    /// An entry breaks the rules of the nodes that keep the ledger together: their blocks, or who they are.
    Network = 23,
    /// A learner has stated less of its privacy budget than what it says it did has revealed.
    Privacy = 24,
    /// Members have agreed on merges that do not follow from the updates, or none could be computed again.
    Merge = 25,
    /// A contract on a public chain keeps the ledger, and never writes this, or not with this time.
    OnChain = 26,
    /// A transaction was recorded that had been signed too long before.
    Expired = 27,
}

impl Kind {
    /// The exit code.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::Checkpoint => "checkpoint",
            Self::Incomplete => "incomplete",
            Self::Damaged => "damaged",
            Self::Chain => "chain",
            Self::Root => "root",
            Self::Encoding => "encoding",
            Self::Signature => "signature",
            Self::Seen => "seen",
            Self::Contract => "contract",
            Self::BrokenPromise => "broken_promise",
            Self::Receipt => "receipt",
            Self::Index => "index",
            Self::Network => "network",
            Self::Privacy => "privacy",
            Self::Merge => "merge",
            Self::OnChain => "on_chain",
            Self::Expired => "expired",
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// The entry, where it is about one.
    pub index: Option<u64>,
    /// What should have been there.
    pub expected: String,
    /// What was.
    pub got: String,
}

impl Finding {
    /// Bytes that are not what was written.
    pub(crate) fn damaged(index: u64, what: String) -> Self {
        let expected = "a whole entry".to_owned();
        Self { kind: Kind::Damaged, index: Some(index), expected, got: what }
    }

    /// What is wrong with an entry.
    pub(crate) fn of_fault(index: u64, fault: Fault) -> Self {
        let text = fault.to_string();
        let (kind, expected, got) = match fault {
            Fault::Broken(_) => {
                (Kind::Chain, "an entry that follows the one before".to_owned(), text)
            }
            Fault::OtherGenesis => (Kind::Genesis, "the ledger's first entry".to_owned(), text),
            Fault::Keys(BadKeyChange::Rotation(_)) => {
                (Kind::Signature, "a change of the ledger's key".to_owned(), text)
            }
            Fault::Keys(BadKeyChange::Validators(_) | BadKeyChange::InNetwork) => {
                (Kind::Network, "a change of who keeps the ledger".to_owned(), text)
            }
            Fault::Keys(BadKeyChange::OnChain) | Fault::OnChain(_) => {
                (Kind::OnChain, "what a contract on a public chain writes".to_owned(), text)
            }
            Fault::Block(_) => {
                (Kind::Network, "an entry that fits into its block".to_owned(), text)
            }
            Fault::Record(_) => (Kind::Encoding, "a record in its one encoding".to_owned(), text),
            Fault::Signature(_) => (Kind::Signature, "a signature that verifies".to_owned(), text),
            Fault::Upgrade(_) => {
                (Kind::Signature, "an upgrade signed by the ledger's key".to_owned(), text)
            }
            Fault::SecondGenesis => {
                (Kind::Encoding, "one genesis".to_owned(), "a second".to_owned())
            }
            Fault::Seen { vouched, root } => {
                let root = root.map_or_else(|| "none".to_owned(), |root| root.to_string());
                let expected = format!("root {root} at size {}", vouched.size);
                let got = format!("its signer saw root {} there", vouched.root);
                (Kind::Seen, expected, got)
            }
            Fault::Expired { vouched } => {
                let expected = "a transaction whose signer had seen what was recorded in time";
                let got = format!("its signer had seen {} entries only (R71)", vouched.size);
                (Kind::Expired, expected.to_owned(), got)
            }
            Fault::Time(_) => (Kind::Chain, "a time up to the year 9999".to_owned(), text),
            Fault::Forgotten(_) => (Kind::Seen, "leaves that are remembered".to_owned(), text),
            Fault::Departure(Departure::Refused(rejection)) => {
                (Kind::Contract, "what the contract accepts".to_owned(), rejection.to_string())
            }
            Fault::Departure(Departure::OtherOutcome { expected, found }) => (
                Kind::Contract,
                expected
                    .map_or_else(|| "no decision".to_owned(), |it| json::outcome(&it).to_string()),
                found.map_or_else(
                    || "a transaction".to_owned(),
                    |it| json::outcome(&it).to_string(),
                ),
            ),
            Fault::Departure(Departure::UnknownVersion(_) | Departure::NotAnUpgrade(_)) => {
                (Kind::Contract, "a later version of the rules that is known here".to_owned(), text)
            }
            Fault::Departure(Departure::Limits(_)) => {
                (Kind::Contract, "limits within their bounds".to_owned(), text)
            }
            Fault::Departed => (Kind::Contract, "a ledger that keeps to it".to_owned(), text),
        };
        Self { kind, index: Some(index), expected, got }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(index) = self.index {
            write!(f, "entry {index}: ")?;
        }
        let name = match self.kind {
            Kind::BrokenPromise => "BROKEN PROMISE",
            kind => kind.name(),
        };
        write!(f, "{name}: {}; expected {}", self.got, self.expected)
    }
}
