//! Who orders the transactions: what the services see of it, whichever does.

pub(crate) mod solo;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use colearn_ledger::{Appended, SignedCheckpoint};
use colearn_records::transaction::Transaction;
use tokio::sync::oneshot;

use crate::refusal::Refusal;

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

/// Takes transactions to whoever orders them; cheap to clone.
#[derive(Clone)]
pub(crate) struct Submissions {
    queue: SyncSender<Command>,
}

impl Submissions {
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
