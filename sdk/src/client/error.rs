//! What can go wrong between a learner and its node.

use std::io;
use std::path::{Path, PathBuf};

use colearn_contracts::{
    Digest, ExperimentName, LearnerId, PrivacyCap, SuspendReason, rule_is_stale,
};
use colearn_keys::SignerError;
use colearn_ledger::NoteError;
use colearn_net::NetError;
use tonic::{Code, Status};

use super::on_chain::ChainError;
use crate::encrypted::EncryptionError;
use crate::learner::LearnerError;
use crate::links::{NoLink, WrongChain};
use crate::spending::SpendingError;
use colearn_proto::RULE_METADATA;
use colearn_records::convert::BadField;
use colearn_records::follower::Fault;
use colearn_records::pins::Unpinned;
use colearn_records::transaction::LedgerId;

/// Why a client cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The node's address cannot be used.
    #[error("{url:?} is not the address of a node; it looks like http://HOST:PORT or https://HOST")]
    Address {
        /// What was given.
        url: String,
    },
    /// The way to the node: its certificate is not believed, a proxy does not let it through, files with
    /// certificates cannot be used.
    #[error(transparent)]
    Net(NetError),
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
    #[error("the node's checkpoint is not to be trusted: {0}{1}")]
    Checkpoint(NoteError, Evidence),
    /// The ledger's key has signed two histories.
    #[error(
        "FORK: the ledger's history does not continue what was followed before ({0}); stop trusting it and compare with the other learners{1}"
    )]
    Fork(String, Evidence),
    /// The node shows less than before: it was put back to an older copy, or somebody between repeats an
    /// old answer.
    #[error(
        "ROLLED BACK: the node shows {shown} entries of a ledger that had {known}; it was put back to an older copy, or somebody between repeats what it once said{evidence}"
    )]
    RolledBack {
        /// How many entries it shows.
        shown: u64,
        /// How many are known to be there.
        known: u64,
        /// Both checkpoints.
        evidence: Evidence,
    },
    /// The node has less of the ledger than others have, which several nodes do not have at the same moment.
    #[error("the node at {url} is behind: it shows {shown} entries of a ledger that had {known}")]
    Behind {
        /// Its address.
        url: String,
        /// How many entries it shows.
        shown: u64,
        /// How many are known to be there.
        known: u64,
    },
    /// Of several nodes none will do: their addresses, and what is wrong with each.
    #[error("none of the {} nodes will do: {}", .0.len(), each(.0))]
    NoNode(Vec<(String, Self)>),
    /// What was sent is not proven to be what the ledger's key has signed. Nothing of it was believed.
    #[error(
        "what came from the node is not what the ledger's key has signed or its chain proves, and was not believed: {0}; whoever stands between can do that{1}"
    )]
    Unproven(String, Evidence),
    /// The ledger's key has signed what no ledger can be.
    #[error(
        "the ledger breaks its own rules at entry {index} ({fault}), and its key has signed that, or its chain proves it; stop trusting it, and see: colearn audit{evidence}"
    )]
    Departed {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        fault: Fault,
        /// The entry and the checkpoint.
        evidence: Evidence,
    },
    /// What is shown of a public chain's ledger is not believed, or nothing is signed because of it.
    #[error("{0}{1}")]
    OnChain(ChainError, Evidence),
    /// What was to be trusted is no checkpoint.
    #[error("what is to be trusted is no signed checkpoint: {0}; check --trust")]
    NoCheckpoint(NoteError),
    /// The ledger does not go on from the checkpoint that was to be trusted.
    #[error(
        "the node's ledger of {size} entries is not proven to go on from the trusted checkpoint of {trusted}; check --trust and --node"
    )]
    NotTrusted {
        /// How many entries the trusted checkpoint counts.
        trusted: u64,
        /// How many the node's does.
        size: u64,
    },
    /// The ledger is not the one that was insisted on.
    #[error(transparent)]
    Unpinned(#[from] Unpinned),
    /// The ledger is another one than before, or than was insisted on.
    #[error(
        "the node at {url} keeps ledger {found}, this learner belongs to {expected}; check --node and --ledger, or use another folder with --memory"
    )]
    OtherLedger {
        /// The node's address.
        url: String,
        /// The node's ledger.
        found: LedgerId,
        /// The learner's ledger.
        expected: LedgerId,
    },
    /// There is no such experiment.
    #[error("there is no experiment {0} in the ledger; see: colearn experiment list")]
    NoExperiment(ExperimentName),
    /// A receipt does not prove what it should.
    #[error("the node's receipt does not prove that the transaction is in the ledger: {0}{1}")]
    Receipt(String, Evidence),
    /// Weights do not have their digest.
    #[error("the node sent other bytes than the weights {0}")]
    WrongArtifact(Digest),
    /// A round's updates cannot be merged here.
    #[error(transparent)]
    Merge(#[from] colearn_merge::Error),
    /// The experiment's models are encrypted, and the learner's keys do not open them; or they are not.
    #[error(transparent)]
    Encrypted(#[from] EncryptionError),
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
    /// The experiment has a privacy cap, and the learner no privacy.
    #[error(
        "the experiment caps what proposals may reveal of private data (epsilon {} at delta {:e}), and \
         this learner does not train privately: it could propose nothing. Nothing was joined; train with \
         noise (colearn learner --noise SIGMA)",
        .cap.epsilon_micros as f64 / 1e6, .cap.delta_picos as f64 / 1e12
    )]
    NotPrivate {
        /// The cap.
        cap: PrivacyCap,
    },
    /// The learner states its privacy for a larger δ than the experiment's cap has.
    #[error(
        "the experiment caps what proposals may reveal at delta {:e}, and this learner would state it at \
         {:e}: it could propose nothing. Nothing was joined; train with that delta (colearn learner --delta \
         DELTA)",
        .cap.delta_picos as f64 / 1e12, *.delta_picos as f64 / 1e12
    )]
    DeltaOverCap {
        /// The learner's δ, in millionths of a millionth.
        delta_picos: u64,
        /// The cap.
        cap: PrivacyCap,
    },
    /// What the learner has spent of its privacy cannot be known or kept.
    #[error(transparent)]
    Spending(#[from] SpendingError),
    /// The key is kept elsewhere, and does not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
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
    /// The folder is another key's.
    #[error(
        "{} is the memory of {owner}, and {key} would forget there what it has signed; every key has a folder of its own", dir.display()
    )]
    ForeignMemory {
        /// The folder.
        dir: PathBuf,
        /// The public key that it belongs to.
        owner: String,
        /// The one that was to use it.
        key: LearnerId,
    },
    /// A key that is in no file has no folder for its memory.
    #[error(
        "this key is in no file, beside which its memory could lie, and neither XDG_STATE_HOME nor a home folder is \
         known; say where with --memory DIR"
    )]
    NoHome,
    /// Another process signs with this key in this experiment.
    #[error(
        "another process takes part in this experiment with this key (it has locked {}); stop it first", dir.display()
    )]
    MemoryInUse {
        /// What it has locked.
        dir: PathBuf,
    },
    /// Something else was signed already.
    #[error(
        "nothing was signed for round {round}: this key has signed something else in round {last}, and signs once for each"
    )]
    SignedBefore {
        /// The round that was to be signed for.
        round: u64,
        /// The last one that was.
        last: u64,
    },
    /// There is no room for large weights; it goes on when there is.
    #[error("no room for weights in {}: {source}; make some, and it goes on", path.display())]
    NoRoom {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The key's folder cannot be used.
    #[error("cannot use the key's memory {}: {source}", path.display())]
    Data {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// What kind of refusal it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// What was asked about does not exist.
    NotFound,
    /// What was asked about lies beyond the ledger's end.
    OutOfRange,
    /// The node wants to know who asks.
    WhoAsks,
    /// Whoever asks may not; another node may allow it.
    Forbidden,
    /// The node cannot do it now: trying again later may help.
    Temporary,
    /// The same request will always be refused.
    Final,
}

impl Refused {
    fn of(code: Code) -> Self {
        match code {
            Code::NotFound => Self::NotFound,
            Code::OutOfRange => Self::OutOfRange,
            Code::Unauthenticated => Self::WhoAsks,
            Code::PermissionDenied => Self::Forbidden,
            Code::ResourceExhausted | Code::Internal | Code::Aborted => Self::Temporary,
            _ => Self::Final,
        }
    }
}

/// What is wrong with each node.
fn each(failures: &[(String, ClientError)]) -> String {
    let told = failures.iter().map(|(url, error)| match error {
        // Its own words would name the address again.
        ClientError::Unreachable { reason, .. } => format!("{url}: {reason}"),
        error => format!("{url}: {error}"),
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Where evidence was kept, if it was.
#[derive(Debug, Default)]
pub struct Evidence(pub Option<PathBuf>);

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(path) => write!(f, "; the evidence is kept in {}", path.display()),
            None => Ok(()),
        }
    }
}

impl ClientError {
    /// Reads a status.
    pub(super) fn from_status(url: &str, status: &Status) -> Self {
        if let Some(cause) = std::error::Error::source(status)
            && let Some(error) = NetError::below(url, cause)
        {
            return error.into();
        }
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

    /// Whether the node, or somebody between, has shown what it should not have.
    pub fn is_a_lie(&self) -> bool {
        matches!(
            self,
            Self::Unproven(..)
                | Self::RolledBack { .. }
                | Self::Malformed(_)
                | Self::Checkpoint(..)
                | Self::Receipt(..)
                | Self::WrongArtifact(_)
                | Self::OtherLedger { .. }
                | Self::Net(NetError::OtherLedger { .. } | NetError::NoChannel(_))
                | Self::Unpinned(_)
        ) || matches!(self, Self::OnChain(error, _) if error.is_a_lie())
            || matches!(self, Self::NoNode(each) if each.iter().all(|(_, error)| error.is_a_lie()))
    }

    /// Whether it says something of the node alone: another node may do better. So may the same, once it is
    /// known what the ledger has; no other ledger's name is believed then, and no refusal that does not
    /// follow from it.
    pub(super) fn is_the_nodes_own(&self) -> bool {
        if let Self::Signer(_) = self {
            return false;
        }
        self.is_transient()
            || self.is_a_lie()
            || matches!(
                self,
                Self::Refused { rule: None, .. }
                    | Self::NotTrusted { .. }
                    | Self::Net(NetError::Tls { .. })
            )
    }

    /// The number of the contract's rule by which the node refused, if that was the reason.
    pub fn rule(&self) -> Option<u8> {
        match self {
            Self::Refused { rule, .. } => *rule,
            _ => None,
        }
    }

    /// Whether trying again later may help. It may where nobody's signature says otherwise: whoever stands
    /// between, or answers wrongly now, may be gone the next time.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Net(NetError::Proxy { .. })
            | Self::Behind { .. }
            | Self::Unproven(..)
            | Self::RolledBack { .. }
            | Self::Malformed(_)
            | Self::Checkpoint(..)
            | Self::Receipt(..)
            | Self::WrongArtifact(_)
            | Self::NoRoom { .. } => true,
            // What the contract refuses it would refuse again.
            Self::Refused { refused, rule, .. } => rule.is_none() && *refused == Refused::Temporary,
            Self::OnChain(error, _) => error.is_transient(),
            Self::NoNode(each) => each.iter().any(|(_, error)| error.is_transient()),
            Self::Signer(error) => error.is_transient(),
            _ => false,
        }
    }

    /// Where weights should lie, something is wrong.
    pub(super) fn data(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoRoom { path, source }
            }
            _ => Self::Data { path, source },
        }
    }

    /// The same of merges.
    pub(super) fn merging(dir: Option<&Path>, error: colearn_merge::Error) -> Self {
        match (error, dir) {
            (colearn_merge::Error::Write(source), Some(dir)) => Self::data(dir, source),
            (error, _) => error.into(),
        }
    }

    /// Whether it is this machine's own fault, which no other node can mend.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::NoRoom { .. } | Self::Data { .. } | Self::Panicked)
    }

    /// Whether the round has moved on in the meantime, which is nobody's fault.
    pub fn is_stale(&self) -> bool {
        self.rule().is_some_and(rule_is_stale)
    }
}

impl From<NetError> for ClientError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Address(url) => Self::Address { url },
            NetError::Unreachable { url, reason } => Self::Unreachable { url, reason },
            NetError::Signer(error) => Self::Signer(error),
            error => Self::Net(error),
        }
    }
}

impl From<NoLink> for ClientError {
    fn from(error: NoLink) -> Self {
        match error {
            NoLink::WrongChain(error) => Self::Chain(error),
            NoLink::Signer(error) => Self::Signer(error),
        }
    }
}

impl From<NoteError> for ClientError {
    fn from(error: NoteError) -> Self {
        Self::Checkpoint(error, Evidence::default())
    }
}

impl From<ChainError> for ClientError {
    fn from(error: ChainError) -> Self {
        Self::OnChain(error, Evidence::default())
    }
}

impl From<BadField> for ClientError {
    fn from(field: BadField) -> Self {
        Self::Malformed(field.to_string())
    }
}
