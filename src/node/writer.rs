//! The writer: the one thread that decides the order, applies the contract and appends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use colearn_contracts::Contract;
use colearn_ledger::{Appended, Hash, Ledger, Reader, SignedCheckpoint};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::NodeError;
use super::refusal::Refusal;
use crate::clock::now_ms;
use crate::record;
use crate::transaction::Transaction;

/// How many commands may wait. A full queue refuses at once.
const QUEUE: usize = 4096;
/// The most transactions that share one sync.
const MAX_BATCH: usize = 1024;
/// How long the writer sleeps at most; it then looks at the clock again, which may have been set.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// A recorded transaction's place.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) index: u64,
    pub(crate) leaf: Hash,
    pub(crate) entry: Vec<u8>,
    pub(crate) checkpoint: Arc<SignedCheckpoint>,
}

type Reply = oneshot::Sender<Result<Recorded, Refusal>>;
type Query = Box<dyn FnOnce(&Contract, u64) + Send>;

enum Command {
    Submit { transaction: Box<Transaction>, reply: Reply },
    Query(Query),
    Stop,
}

/// Hands commands to the writer.
#[derive(Clone)]
pub(crate) struct WriterHandle {
    queue: SyncSender<Command>,
    size: watch::Receiver<u64>,
}

impl WriterHandle {
    /// Records a transaction; resolves when it is durable.
    pub(crate) async fn submit(&self, transaction: Transaction) -> Result<Recorded, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Submit { transaction: Box::new(transaction), reply })?;
        answer.await.map_err(|_| Refusal::Stopped)?
    }

    /// Asks something of the contract's committed state; the closure also gets its size.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Contract, u64) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Query(Box::new(move |contract, size| {
            // Nobody waits any more if this fails.
            let _ = reply.send(ask(contract, size));
        })))?;
        answer.await.map_err(|_| Refusal::Stopped)
    }

    /// The number of committed entries that can be looked up, as it grows.
    pub(crate) fn size(&self) -> watch::Receiver<u64> {
        self.size.clone()
    }

    fn send(&self, command: Command) -> Result<(), Refusal> {
        self.queue.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Busy,
            TrySendError::Disconnected(_) => Refusal::Stopped,
        })
    }
}

/// The running thread.
pub(crate) struct WriterThread {
    handle: WriterHandle,
    thread: JoinHandle<Result<(), NodeError>>,
}

impl WriterThread {
    /// Starts writing. When it stops by itself it cancels `stopping`.
    pub(crate) fn start(ledger: Ledger, contract: Contract, stopping: CancellationToken) -> Self {
        let (queue, commands) = sync_channel(QUEUE);
        let reader = ledger.reader();
        let (grown, size) = watch::channel(reader.size());
        let writer = Writer { ledger, reader, contract, grown, now_ms: 0, recent: HashMap::new() };
        let thread = std::thread::spawn(move || {
            let result = writer.run(&commands);
            stopping.cancel();
            result
        });
        Self { handle: WriterHandle { queue, size }, thread }
    }

    pub(crate) fn handle(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// Waits until everything taken is answered and the ledger is closed.
    pub(crate) fn join(self) -> Result<(), NodeError> {
        // If the queue is closed the writer has stopped already.
        let _ = self.handle.queue.send(Command::Stop);
        match self.thread.join() {
            Ok(result) => result,
            Err(_) => Err(NodeError::Stopped("the writer panicked".to_owned())),
        }
    }
}

struct Writer {
    ledger: Ledger,
    reader: Reader,
    contract: Contract,
    grown: watch::Sender<u64>,
    /// Ledger time, which never runs backwards.
    now_ms: u64,
    /// Transactions of this batch, which the index does not have yet.
    recent: HashMap<Vec<u8>, usize>,
}

/// What becomes of a submitted transaction when the batch is durable.
enum Decision {
    Appended(usize),
    Original(u64),
    Refused(Refusal),
}

impl Writer {
    fn run(mut self, commands: &Receiver<Command>) -> Result<(), NodeError> {
        let mut go_on = true;
        while go_on {
            let first = match commands.recv_timeout(self.sleep()) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let mut submitted = Vec::new();
            let mut queries = Vec::new();
            let rest = std::iter::from_fn(|| commands.try_recv().ok());
            for command in first.into_iter().chain(rest).take(MAX_BATCH) {
                match command {
                    Command::Submit { transaction, reply } => submitted.push((transaction, reply)),
                    Command::Query(query) => queries.push(query),
                    Command::Stop => go_on = false,
                }
            }
            if let Err(error) = self.batch(submitted) {
                tracing::error!(%error, "the ledger cannot be written; stopping");
                return Err(error.into());
            }
            for query in queries {
                query(&self.contract, self.reader.size());
            }
        }
        Ok(())
    }

    /// How long nothing will happen by itself.
    fn sleep(&self) -> Duration {
        match self.contract.next_deadline_ms() {
            Some(deadline_ms) => {
                Duration::from_millis(deadline_ms.saturating_sub(now_ms())).min(MAX_SLEEP)
            }
            None => MAX_SLEEP,
        }
    }

    /// Applies, appends, syncs once, answers all. Nothing is awaited between deciding and
    /// recording.
    fn batch(
        &mut self,
        submitted: Vec<(Box<Transaction>, Reply)>,
    ) -> Result<(), colearn_ledger::Error> {
        self.now_ms = self.now_ms.max(now_ms()).max(self.ledger.head().time_ms);
        let now_ms = self.now_ms;
        let mut appended = Vec::new();
        for outcome in self.contract.advance(now_ms) {
            appended.push(self.ledger.append(now_ms, record::outcome_payload(&outcome))?);
        }
        let mut decisions = Vec::with_capacity(submitted.len());
        for (transaction, reply) in submitted {
            decisions.push((self.decide(now_ms, &transaction, &mut appended)?, reply));
        }
        self.recent.clear();
        if appended.is_empty() {
            let checkpoint = self.reader.checkpoint();
            for (decision, reply) in decisions {
                let _ = reply.send(self.answer(decision, &[], checkpoint.clone()));
            }
            return Ok(());
        }
        let checkpoint = self.ledger.commit()?;
        for (decision, reply) in decisions {
            // A peer that has gone will find its transaction in the ledger.
            let _ = reply.send(self.answer(decision, &appended, Some(checkpoint.clone())));
        }
        self.ledger.update_index()?;
        self.grown.send_replace(checkpoint.checkpoint.size);
        Ok(())
    }

    fn decide(
        &mut self,
        now_ms: u64,
        transaction: &Transaction,
        appended: &mut Vec<Appended>,
    ) -> Result<Decision, colearn_ledger::Error> {
        match self.contract.apply(now_ms, transaction.sender(), transaction.action()) {
            Ok(outcomes) => {
                let at = appended.len();
                let payload = record::transaction_payload(transaction);
                appended.push(self.ledger.append(now_ms, payload)?);
                self.recent.insert(record::transaction_key(transaction.message()), at);
                for outcome in outcomes {
                    appended.push(self.ledger.append(now_ms, record::outcome_payload(&outcome))?);
                }
                Ok(Decision::Appended(at))
            }
            Err(rejection) => {
                // Every action is idempotent by meaning, so a repetition is always rejected here.
                let key = record::transaction_key(transaction.message());
                if let Some(at) = self.recent.get(&key) {
                    return Ok(Decision::Appended(*at));
                }
                Ok(match self.reader.find(&key, 0)? {
                    Some(index) => Decision::Original(index),
                    None => Decision::Refused(rejection.into()),
                })
            }
        }
    }

    fn answer(
        &self,
        decision: Decision,
        appended: &[Appended],
        checkpoint: Option<Arc<SignedCheckpoint>>,
    ) -> Result<Recorded, Refusal> {
        let checkpoint = checkpoint.ok_or(Refusal::Stopped)?;
        match decision {
            Decision::Refused(refusal) => Err(refusal),
            Decision::Original(index) => {
                let entry = self.reader.entry(index)?;
                Ok(Recorded { index, leaf: Hash::leaf(&entry), entry, checkpoint })
            }
            Decision::Appended(at) => {
                let Appended { index, leaf, bytes } = appended[at].clone();
                Ok(Recorded { index, leaf, entry: bytes, checkpoint })
            }
        }
    }
}
