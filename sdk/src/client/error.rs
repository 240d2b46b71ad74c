//! What can go wrong between a learner and its node.

use std::path::PathBuf;

use colearn_contracts::{Digest, LearnerId, SuspendReason, rule_is_stale};
use colearn_ledger::NoteError;
use tonic::{Code, Status};

use crate::learner::LearnerError;
use crate::links::WrongChain;
use colearn_proto::RULE_METADATA;
use colearn_records::convert::BadField;

/// Why a client cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The node's address cannot be used.
    #[error("{url:?} is not the address of a node; it looks like http://HOST:PORT")]
    Address {
        /// What was given.
        url: String,
    },
    /// The node's address needs TLS, and this program was built without.
    #[error("{url} needs TLS; build with the feature tls of colearn-sdk")]
    NoTls {
        /// The address.
        url: String,
    },
    /// The node cannot be reached.
    #[error(
        "no node answers at {url} ({reason}); is it running? start one with: colearn node --data DIR"
    )]
    Unreachable {
        /// Its address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The node refused.
    #[error("the node refused: {message}")]
    Refused {
        /// Whether it is worth trying again.
        refused: Refused,
        /// The number of the contract's rule, if that was the reason.
        rule: Option<u8>,
        /// In its words.
        message: String,
    },
    /// The node answered nonsense.
    #[error("the node answered something that cannot be: {0}")]
    Malformed(String),
    /// A checkpoint is not signed as it should be.
    #[error("the node's checkpoint is not to be trusted: {0}")]
    Checkpoint(#[from] NoteError),
    /// The node shows another history than before.
    #[error(
        "FORK: the node's history does not continue what it showed before ({0}); stop trusting it and compare with the other learners{1}"
    )]
    Fork(String, Evidence),
    /// The ledger is another one than before.
    #[error(
        "the node at {url} keeps ledger {found}, this learner belongs to {expected}; check --node, or use another data folder"
    )]
    OtherLedger {
        /// The node's address.
        url: String,
        /// The node's ledger.
        found: String,
        /// The learner's ledger.
        expected: String,
    },
    /// A receipt does not prove what it should.
    #[error("the node's receipt does not prove that the transaction is in the ledger: {0}")]
    Receipt(String),
    /// Weights do not have their digest.
    #[error("the node sent other bytes than the weights {0}")]
    WrongArtifact(Digest),
    /// The learner cannot take the experiment's model.
    #[error("this learner cannot take the experiment's model: {0}")]
    Model(LearnerError),
    /// The node's description of the experiment contradicts itself.
    #[error(
        "the node shows other terms of the experiment than those of the rules and members that it shows; \
         do not join what it shows"
    )]
    Terms,
    /// The experiment is another than was planned.
    #[error("the experiment does not follow the plan; nothing was joined:\n{}", .0.join("\n"))]
    OtherPlan(Vec<String>),
    /// The learner's hash chain is another than its key gives.
    #[error(transparent)]
    Chain(#[from] WrongChain),
    /// The members have taken this learner's seat.
    #[error(
        "the members have {} this learner; see: colearn experiment show NAME",
        match .0 { SuspendReason::Expelled => "expelled", _ => "suspended" }
    )]
    Unseated(SuspendReason),
    /// Another key goes on in this one's place.
    #[error("this learner's key was replaced by {0}; use that one")]
    KeyReplaced(LearnerId),
    /// There are no random numbers for a sealed ballot.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The learner panicked.
    #[error("the learner panicked; see its own output")]
    Panicked,
    /// The learner's data folder cannot be used.
    #[error("cannot use the learner's data folder {}: {source}", path.display())]
    Data {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// What kind of refusal it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// What was asked about does not exist.
    NotFound,
    /// The node cannot do it now: trying again later may help.
    Temporary,
    /// The same request will always be refused.
    Final,
}

impl Refused {
    fn of(code: Code) -> Self {
        match code {
            Code::NotFound => Self::NotFound,
            Code::ResourceExhausted | Code::Internal | Code::Aborted => Self::Temporary,
            _ => Self::Final,
        }
    }
}

/// Where the evidence of a fork was kept.
#[derive(Debug, Default)]
pub struct Evidence(pub Option<PathBuf>);

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(path) => write!(f, "; both checkpoints are kept in {}", path.display()),
            None => Ok(()),
        }
    }
}

impl ClientError {
    /// Reads a status.
    pub(super) fn from_status(url: &str, status: &Status) -> Self {
        match status.code() {
            Code::Unavailable | Code::Cancelled | Code::Unknown => {
                Self::Unreachable { url: url.to_owned(), reason: status.message().to_owned() }
            }
            code => {
                let rule = status.metadata().get(RULE_METADATA);
                Self::Refused {
                    refused: Refused::of(code),
                    rule: rule.and_then(|text| text.to_str().ok()?.parse().ok()),
                    message: status.message().to_owned(),
                }
            }
        }
    }

    /// The number of the contract's rule by which the node refused, if that was the reason.
    pub fn rule(&self) -> Option<u8> {
        match self {
            Self::Refused { rule, .. } => *rule,
            _ => None,
        }
    }

    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // What the contract refuses it would refuse again.
            Self::Refused { refused, rule, .. } => rule.is_none() && *refused == Refused::Temporary,
            _ => false,
        }
    }

    /// Whether the round has moved on in the meantime, which is nobody's fault.
    pub fn is_stale(&self) -> bool {
        self.rule().is_some_and(rule_is_stale)
    }
}

impl From<BadField> for ClientError {
    fn from(field: BadField) -> Self {
        Self::Malformed(field.to_string())
    }
}
