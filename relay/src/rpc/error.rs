//! Why servers of a chain do not give what they were asked for.

use colearn_net::NetError;

/// How much of what others wrote is told.
const MAX_TOLD: usize = 400;

/// Where servers of a chain are is not said as it is to be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadServer {
    /// There is none.
    #[error("no server of the chain is named: rpc = [\"https://HOST\"]")]
    None,
    /// One is no address.
    #[error(transparent)]
    Address(#[from] NetError),
}

/// Why a chain has no answer. Servers are named without the path of their address, in which there may be a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RpcError {
    /// Nobody answers, at none of the addresses; this is the last of them.
    #[error("no server of the chain answers: {0}")]
    Away(String),
    /// A server does not answer the question, and the others do not either.
    #[error("the chain's server {server} has no answer to {asked}: {text}")]
    Failed {
        /// Its address.
        server: String,
        /// What it was asked.
        asked: String,
        /// What it says.
        text: String,
    },
    /// A server answers what makes no sense.
    #[error("what the chain's server {server} answers to {asked} cannot be read: {text}")]
    Malformed {
        /// Its address.
        server: String,
        /// What it was asked.
        asked: String,
        /// What is wrong.
        text: String,
    },
    /// The chain says no.
    #[error("the chain refuses ({codespace} {code}): {log}")]
    Refused {
        /// Why, as far as it is told apart.
        why: Refusal,
        /// The number of that.
        code: u32,
        /// The part of the chain whose number it is.
        codespace: String,
        /// Why, in its words.
        log: String,
    },
}

/// Why a chain refuses something: those of cosmos-sdk's codes (`types/errors`) after which something can be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The account has not so much (5).
    OutOfFunds,
    /// It would take more gas than it may (11).
    OutOfGas,
    /// The fee is below what this chain takes for so much gas (13).
    FeeTooLow,
    /// The server has it already (19).
    InCache,
    /// Too many others wait (20).
    MempoolFull,
    /// There is no such thing (22, 38, and 30 for a key).
    NotFound,
    /// The account has signed another number of transactions (32).
    WrongSequence,
    /// Something else.
    Other,
}

impl Refusal {
    /// What a code means.
    pub fn of(code: u32, codespace: &str) -> Self {
        match (codespace, code) {
            ("sdk", 5) => Self::OutOfFunds,
            ("sdk", 11) => Self::OutOfGas,
            ("sdk", 13) => Self::FeeTooLow,
            ("sdk", 19) => Self::InCache,
            ("sdk", 20) => Self::MempoolFull,
            ("sdk", 22 | 30 | 38) => Self::NotFound,
            ("sdk", 32) => Self::WrongSequence,
            _ => Self::Other,
        }
    }
}

impl RpcError {
    pub(super) fn refused(code: u32, codespace: String, log: String) -> Self {
        let why = Refusal::of(code, &codespace);
        Self::Refused { why, code, codespace: told(&codespace), log: told(&log) }
    }

    /// Whether it is that a server keeps no index of transactions, in CometBFT's own words (`rpc/core/tx.go`).
    pub(crate) fn is_without_index(&self) -> bool {
        matches!(self, Self::Failed { text, .. } if text.contains("transaction indexing is disabled"))
    }

    /// Whether it is that a server does not keep what comes of blocks (`state/errors.go`).
    pub(crate) fn is_without_results(&self) -> bool {
        matches!(self, Self::Failed { text, .. } if text.contains("is not persisting"))
    }

    /// What the chain refuses because of; `None` if it does not.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { why, .. } => Some(*why),
            // CometBFT's own, which have no number.
            Self::Failed { text, .. } if text.contains("tx already exists in cache") => {
                Some(Refusal::InCache)
            }
            Self::Failed { text, .. } if text.contains("mempool is full") => {
                Some(Refusal::MempoolFull)
            }
            Self::Failed { .. } | Self::Away(_) | Self::Malformed { .. } => None,
        }
    }
}

/// A line of what others wrote.
pub(super) fn told(text: &str) -> String {
    let line = text.trim().chars().map(|it| if it.is_control() { ' ' } else { it });
    line.take(MAX_TOLD).collect()
}
