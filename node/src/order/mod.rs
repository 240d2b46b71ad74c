//! Who orders the transactions: what the services see of it, whichever does.

pub(crate) mod chain;
#[cfg(unix)]
pub(crate) mod replicated;
pub(crate) mod solo;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use colearn_ledger::{Appended, SignedCheckpoint, Signer};
use colearn_records::log_keys::LogKeys;
use colearn_records::transaction::Transaction;
use tokio::sync::{oneshot, watch};

use self::chain::OnChain;
#[cfg(unix)]
use self::replicated::{Network, Replicated, Signatures};
use self::solo::SoloThread;
use crate::config::NetworkConfig;
use crate::error::NodeError;
use crate::keeper::Keeper;
use crate::metrics::Counts;
use crate::refusal::Refusal;
use crate::resync::Vouched;
use crate::view::Views;

/// A transaction that is durable.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) entry: RecordedEntry,
    /// Covers the entry.
    pub(crate) checkpoint: Arc<SignedCheckpoint>,
}

/// Where it is recorded.
#[derive(Debug)]
pub(crate) enum RecordedEntry {
    /// In an entry of its own.
    New(Appended),
    /// In this entry, before: it is the very same transaction.
    Before(u64),
}

impl RecordedEntry {
    /// Its index.
    pub(crate) fn index(&self) -> u64 {
        match self {
            Self::New(entry) => entry.index,
            Self::Before(index) => *index,
        }
    }
}

/// What became of submitted transactions, one answer each, in their order; resolves when what was
/// recorded is durable.
pub(crate) type Answers = oneshot::Receiver<Vec<Result<Recorded, Refusal>>>;

/// Some transactions of one peer, in its order.
struct Submission {
    transactions: Vec<Transaction>,
    reply: oneshot::Sender<Vec<Result<Recorded, Refusal>>>,
}

enum Command {
    Submit(Submission),
    SetTime(SetTime),
    Stop,
}

/// Moves the clock, for a test.
struct SetTime {
    time_ms: u64,
    /// Told, with no answers, when what the time alone decides is durable.
    reply: oneshot::Sender<Vec<Result<Recorded, Refusal>>>,
}

impl Command {
    fn transactions(&self) -> usize {
        match self {
            Self::Submit(submission) => submission.transactions.len(),
            Self::SetTime(_) | Self::Stop => 0,
        }
    }
}

/// Whoever orders.
pub(crate) enum Order {
    /// This process.
    Alone(SoloThread),
    /// CometBFT, with other nodes.
    #[cfg(unix)]
    Together(Replicated),
    /// A contract on a public chain.
    OnChain(OnChain),
}

impl Order {
    pub(crate) fn submissions(&self) -> Submissions {
        match self {
            Self::Alone(solo) => Submissions::Alone(solo.submissions()),
            #[cfg(unix)]
            Self::Together(replicated) => Submissions::Together(replicated.submissions()),
            Self::OnChain(chain) => Submissions::OnChain(chain.submissions()),
        }
    }

    /// The state as everybody may read it.
    pub(crate) fn views(&self) -> Views {
        match self {
            Self::Alone(solo) => solo.views(),
            #[cfg(unix)]
            Self::Together(replicated) => replicated.views(),
            Self::OnChain(chain) => chain.views(),
        }
    }

    /// The newest checkpoint that enough nodes have signed, where there are several, or that a public chain proves.
    pub(crate) fn published(&self) -> Option<watch::Receiver<Option<Arc<SignedCheckpoint>>>> {
        match self {
            Self::Alone(_) => None,
            #[cfg(unix)]
            Self::Together(replicated) => Some(replicated.published()),
            Self::OnChain(chain) => Some(chain.published()),
        }
    }

    /// Who keeps the ledger, as it changes; `keys` are those that opening it has found.
    pub(crate) fn keys(&self, keys: &LogKeys) -> watch::Receiver<Arc<LogKeys>> {
        match self {
            Self::Alone(_) | Self::OnChain(_) => watch::channel(Arc::new(keys.clone())).1,
            #[cfg(unix)]
            Self::Together(replicated) => replicated.keys(),
        }
    }

    /// What signs for this node, where there are several.
    #[cfg(unix)]
    pub(crate) fn signatures(&self) -> Option<Arc<Signatures>> {
        match self {
            Self::Alone(_) | Self::OnChain(_) => None,
            Self::Together(replicated) => Some(replicated.signatures()),
        }
    }

    /// What a node of several says of itself and the others.
    #[cfg(unix)]
    pub(crate) fn network(&self) -> Option<Arc<Network>> {
        match self {
            Self::Alone(_) | Self::OnChain(_) => None,
            Self::Together(replicated) => Some(Arc::new(replicated.network())),
        }
    }

    /// What keeps the ledger on a public chain, if that does.
    pub(crate) fn chain(&self) -> Option<&OnChain> {
        match self {
            Self::OnChain(chain) => Some(chain),
            Self::Alone(_) => None,
            #[cfg(unix)]
            Self::Together(_) => None,
        }
    }

    /// Waits until everything taken is answered and the ledger is closed.
    pub(crate) fn join(self) -> Result<(), NodeError> {
        match self {
            Self::Alone(solo) => solo.join(),
            #[cfg(unix)]
            Self::Together(replicated) => replicated.join(),
            Self::OnChain(chain) => chain.join(),
        }
    }
}

/// What a node of several needs to begin.
pub(crate) struct Beginning {
    pub(crate) keeper: Keeper,
    pub(crate) keys: LogKeys,
    /// The height of the last block in the ledger; 0 before the first.
    pub(crate) height: u64,
    /// Signs this node's checkpoints.
    pub(crate) signer: Signer,
    /// What it has vouched for in a ledger that was set aside, and that did not come again yet.
    pub(crate) vouched: Option<Vouched>,
    pub(crate) data: PathBuf,
    pub(crate) config: NetworkConfig,
    pub(crate) counts: Counts,
}

/// Takes transactions to whoever orders them; cheap to clone.
#[derive(Clone)]
pub(crate) enum Submissions {
    /// To the thread of this process.
    Alone(Queue),
    /// To CometBFT.
    #[cfg(unix)]
    Together(replicated::Submissions),
    /// To a public chain.
    OnChain(chain::Submissions),
}

impl Submissions {
    /// Has transactions recorded in their order, as far as whoever orders keeps to one.
    pub(crate) fn submit(&self, transactions: Vec<Transaction>) -> Result<Answers, Refusal> {
        match self {
            Self::Alone(queue) => queue.submit(transactions),
            #[cfg(unix)]
            Self::Together(submissions) => submissions.submit(transactions),
            Self::OnChain(submissions) => submissions.submit(transactions),
        }
    }

    /// Moves the clock, for a test.
    pub(crate) fn set_time(&self, time_ms: u64) -> Result<Answers, Refusal> {
        match self {
            Self::Alone(queue) => queue.set_time(time_ms),
            #[cfg(unix)]
            Self::Together(_) => {
                Err(Refusal::NoOrder("the nodes have their own clocks".to_owned()))
            }
            Self::OnChain(_) => Err(Refusal::NoOrder("the chain has its own clock".to_owned())),
        }
    }
}

/// The way to the thread that orders alone.
#[derive(Clone)]
pub(crate) struct Queue {
    queue: SyncSender<Command>,
}

impl Queue {
    /// Has transactions recorded in their order.
    pub(crate) fn submit(&self, transactions: Vec<Transaction>) -> Result<Answers, Refusal> {
        let (reply, answers) = oneshot::channel();
        self.send(Command::Submit(Submission { transactions, reply }))?;
        Ok(answers)
    }

    /// Moves the clock, for a test. It comes through the queue, so that whatever is submitted later
    /// is decided at that time.
    pub(crate) fn set_time(&self, time_ms: u64) -> Result<Answers, Refusal> {
        let (reply, answers) = oneshot::channel();
        self.send(Command::SetTime(SetTime { time_ms, reply }))?;
        Ok(answers)
    }

    fn send(&self, command: Command) -> Result<(), Refusal> {
        // Never waits: a peer that is told at once can do something better.
        self.queue.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Busy,
            TrySendError::Disconnected(_) => Refusal::Stopped,
        })
    }
}
