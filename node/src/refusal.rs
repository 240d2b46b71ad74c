//! What a peer is told when something is refused.

use colearn_contracts::{LearnerId, Rejection, RejectionKind};
use colearn_ledger::Error as LedgerError;
use tonic::{Code, Status};

use colearn_proto::RULE_METADATA;
use colearn_records::transaction::Invalid;

use crate::door::rights::Right;
use crate::metrics::Class;

/// Why a transaction was not recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is not a transaction of this ledger.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The message has no transaction.
    #[error("the request has no transaction")]
    Empty,
    /// The signer vouches for a history that is not this ledger's.
    #[error(
        "the checkpoint this transaction vouches for (size {0}) is not in this ledger's history; \
         if it was served by this node, keep it: it is evidence of a fork"
    )]
    UnknownSeen(u64),
    /// The weights were not uploaded.
    #[error(
        "the weights {0} are not in the artifact store (or have another size); upload them first"
    )]
    NoSuchArtifact(String),
    /// The contract refuses it.
    #[error("{0}")]
    Rejected(#[from] Rejection),
    /// There is no checkpoint that enough nodes have signed.
    #[error(
        "what is here is not signed by two thirds of the nodes that keep this ledger, or proven by the chain that does, since this one was \
         started; try again when they are there"
    )]
    Unsigned,
    /// Another node has shown more than this one has.
    #[error("this node has not come to entry {0} yet; try again, or another node")]
    Behind(u64),
    /// It changes nothing about who keeps the ledger.
    #[error("the change is refused: {0}")]
    NoChange(String),
    /// The nodes that order are not reached.
    #[error("the nodes cannot agree on an order now ({0}); try again, or another node")]
    NoOrder(String),
    /// More than a third of the nodes have signed another history than this one.
    #[error(
        "{by} of the {of} nodes have signed another history than this one: nothing is taken here until \
         more than two thirds agree with it; submit to another node"
    )]
    Contradicted {
        /// How many have.
        by: usize,
        /// How many there are.
        of: usize,
    },
    /// Nobody has signed what is asked.
    #[error(
        "this node answers those who say who they are: sign what you ask with your key (--key, or --auth-key FILE at \
         commands that have none; a node's own is node.pem in its folder), by a version of colearn that does"
    )]
    WhoAsks,
    /// What was asked is signed for another time.
    #[error(
        "what was asked is signed for another time, or for this node before it was started; sign it again"
    )]
    OldSignature,
    /// What was asked is not what was signed.
    #[error(
        "what was asked is not what its key has signed, or was signed for another connection; who stands between \
         may not change paths and bodies, and TLS that ends before the node is to be known to it (--insecure)"
    )]
    BadSignature,
    /// What was asked has come before.
    #[error("what was asked has come before: each signature counts once")]
    Repeated,
    /// What was asked is too long to be signed, or does not come.
    #[error("what was asked has more than 64 KiB, or did not come within 10 s")]
    TooLong,
    /// A key asks too much.
    #[error("the key {} has asked {of} times within a few minutes; try again later", short(key))]
    TooMuch {
        /// The key.
        key: LearnerId,
        /// How many are answered.
        of: usize,
    },
    /// Whoever asks may not.
    #[error(
        "the key {} may not {right} here: that is given to {to}; whoever runs the node can give it (colearn node \
         --{right}){how}",
        short(key)
    )]
    NoRight {
        /// Whose key it is.
        key: LearnerId,
        /// What it may not do.
        right: Right,
        /// To whom the right is given.
        to: &'static str,
        /// How else to come by it.
        how: &'static str,
    },
    /// Weights of others.
    #[error(
        "the key {} may not have these weights: they are for members of the experiments that name them, and for \
         readers whom whoever runs the node lists (colearn node --read members,keys:FILE)",
        short(key)
    )]
    NoWeights {
        /// Whose key it is.
        key: LearnerId,
    },
    /// What was uploaded is not what was signed.
    #[error("what comes is not what was signed to be coming")]
    OtherContent,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The queue is full.
    #[error("the node is busy; try again in 100 ms")]
    Busy,
    /// The disk is nearly full.
    #[error(
        "the node's disk is nearly full ({free} bytes free, {reserve} are kept in reserve); nothing \
         is taken until there is room, reading goes on"
    )]
    DiskFull {
        /// Bytes free.
        free: u64,
        /// Bytes kept in reserve.
        reserve: u64,
    },
    /// The node takes nothing more.
    #[error("the node is stopping; try again when it is back")]
    Stopped,
    /// The ledger cannot be read.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
}

impl Refusal {
    /// What it is counted as.
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Rejected(rejection) => Class::Rule(rejection.rule()),
            Self::Invalid(Invalid::BadSignature) => Class::Node("bad_transaction_signature"),
            Self::Invalid(Invalid::NoConsent) => Class::Node("no_consent"),
            Self::Invalid(Invalid::Malformed(_) | Invalid::NotCanonical) | Self::Empty => {
                Class::Node("malformed")
            }
            Self::Invalid(Invalid::TooLarge(_)) => Class::Node("too_large"),
            Self::UnknownSeen(_) => Class::Node("unknown_history"),
            Self::NoSuchArtifact(_) => Class::Node("no_weights"),
            Self::Unsigned => Class::Node("unsigned"),
            Self::Behind(_) => Class::Node("behind"),
            Self::NoChange(_) => Class::Node("no_change"),
            Self::NoOrder(_) => Class::Node("no_order"),
            Self::Contradicted { .. } => Class::Node("contradicted"),
            Self::Busy => Class::Node("busy"),
            Self::DiskFull { .. } => Class::Node("disk_full"),
            Self::Stopped => Class::Node("stopping"),
            Self::Ledger(_) => Class::Node("ledger"),
            Self::Random(_) => Class::Node("random"),
            Self::WhoAsks => Class::Door("who_asks"),
            Self::OldSignature => Class::Door("old_signature"),
            Self::BadSignature => Class::Door("bad_signature"),
            Self::Repeated => Class::Door("repeated"),
            Self::TooLong => Class::Door("too_long"),
            Self::TooMuch { .. } => Class::Door("requests_of_key"),
            Self::NoRight { .. } => Class::Door("no_right"),
            Self::NoWeights { .. } => Class::Door("weights_of_others"),
            Self::OtherContent => Class::Door("other_content"),
        }
    }

    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Invalid(Invalid::BadSignature | Invalid::NoConsent) => Code::Unauthenticated,
            Self::Invalid(Invalid::Malformed(_) | Invalid::NotCanonical | Invalid::TooLarge(_))
            | Self::Empty => Code::InvalidArgument,
            Self::UnknownSeen(_) | Self::NoSuchArtifact(_) => Code::FailedPrecondition,
            Self::Rejected(rejection) => code(rejection),
            Self::NoChange(_) => Code::FailedPrecondition,
            Self::NoOrder(_) | Self::Behind(_) | Self::Unsigned | Self::Contradicted { .. } => {
                Code::Unavailable
            }
            Self::WhoAsks
            | Self::OldSignature
            | Self::BadSignature
            | Self::Repeated
            | Self::OtherContent => Code::Unauthenticated,
            Self::NoRight { .. } | Self::NoWeights { .. } => Code::PermissionDenied,
            Self::TooLong => Code::InvalidArgument,
            Self::Random(_) => Code::Internal,
            Self::TooMuch { .. } | Self::Busy | Self::DiskFull { .. } => Code::ResourceExhausted,
            Self::Stopped => Code::Unavailable,
            Self::Ledger(error) => ledger_code(error),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut status = Self::new(refusal.code(), refusal.to_string());
        if let Refusal::Rejected(rejection) = &refusal {
            status.metadata_mut().insert(RULE_METADATA, u16::from(rejection.rule()).into());
        }
        status
    }
}

/// No `_` arm: a new kind does not compile until someone decides what peers are told.
fn code(rejection: &Rejection) -> Code {
    match rejection.kind() {
        RejectionKind::Invalid => Code::InvalidArgument,
        RejectionKind::Exists => Code::AlreadyExists,
        RejectionKind::Limit => Code::ResourceExhausted,
        RejectionKind::Unknown => Code::NotFound,
        RejectionKind::Forbidden => Code::PermissionDenied,
        RejectionKind::Outdated => Code::Aborted,
        RejectionKind::Late => Code::DeadlineExceeded,
        RejectionKind::NotNow => Code::FailedPrecondition,
    }
}

fn ledger_code(error: &LedgerError) -> Code {
    match error {
        LedgerError::NoSuchEntry { .. } => Code::OutOfRange,
        LedgerError::TooLarge { .. } => Code::InvalidArgument,
        LedgerError::Stopped => Code::Unavailable,
        LedgerError::Index(_)
        | LedgerError::InUse { .. }
        | LedgerError::Corrupt { .. }
        | LedgerError::RolledBack { .. }
        | LedgerError::Rewritten { .. }
        | LedgerError::AnchorMissing { .. }
        | LedgerError::Foreign { .. }
        | LedgerError::NotAFolder { .. }
        | LedgerError::Storage { .. } => Code::Internal,
    }
}

/// A key, as much as tells people which one.
fn short(key: &LearnerId) -> String {
    hex::encode(&key.0[..4])
}
