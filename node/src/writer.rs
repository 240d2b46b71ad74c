//! The writer: the one thread that decides the order, applies the contract and appends.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use colearn_contracts::{Contract, Digest, Moment, Outcome};
use colearn_ledger::{Appended, Hash, Head, Ledger, Reader, Sealed, SignedCheckpoint};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::refusal::Refusal;
use super::{NodeError, snapshot};
use crate::clock::LedgerClock;
use colearn_records::record;
use colearn_records::transaction::Transaction;

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

type Reply = oneshot::Sender<Vec<Result<Recorded, Refusal>>>;
/// Asks the contract, and gives what is to be done with the answer once it is durable.
type Query = Box<dyn FnOnce(&Contract, u64) -> Answer + Send>;
type Answer = Box<dyn FnOnce() + Send>;

enum Command {
    /// Some transactions of one peer, in its order.
    Submit {
        transactions: Vec<Transaction>,
        reply: Reply,
    },
    Query(Query),
    Stop,
}

impl Command {
    fn transactions(&self) -> usize {
        match self {
            Self::Submit { transactions, .. } => transactions.len(),
            Self::Query(_) | Self::Stop => 0,
        }
    }
}

/// Hands commands to the writer.
#[derive(Clone)]
pub(crate) struct WriterHandle {
    queue: SyncSender<Command>,
    size: watch::Receiver<u64>,
}

impl WriterHandle {
    /// Records transactions in their order; what comes back resolves when they are durable.
    pub(crate) fn submit(
        &self,
        transactions: Vec<Transaction>,
    ) -> Result<oneshot::Receiver<Vec<Result<Recorded, Refusal>>>, Refusal> {
        let (reply, answers) = oneshot::channel();
        self.send(Command::Submit { transactions, reply })?;
        Ok(answers)
    }

    /// Asks something of the contract's state; resolves when that is durable. The closure also gets
    /// the number of entries the state results from.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Contract, u64) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Query(Box::new(move |contract, size| {
            let told = ask(contract, size);
            Box::new(move || {
                // Nobody waits any more if this fails.
                let _ = reply.send(told);
            })
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
    pub(crate) fn start(
        ledger: Ledger,
        contract: Contract,
        room: Room,
        stopping: CancellationToken,
    ) -> Self {
        let (queue, commands) = sync_channel(QUEUE);
        let reader = ledger.reader();
        let (grown, size) = watch::channel(reader.size());
        let snapshot_size = reader.size();
        let clock = LedgerClock::after(ledger.head().time_ms);
        let recent = HashMap::new();
        let writer = Writer { ledger, reader, contract, grown, clock, recent, snapshot_size, room };
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
    clock: LedgerClock,
    /// Transactions that the index may not have yet, with their entries.
    recent: HashMap<Vec<u8>, u64>,
    /// How many entries the last snapshot covers.
    snapshot_size: u64,
    room: Room,
}

/// The disk space that must stay free, so that what was taken can always be completed.
pub(crate) struct Room {
    pub(crate) dir: PathBuf,
    pub(crate) reserve_bytes: u64,
}

impl Room {
    /// The free and the reserved bytes, if there are fewer free than reserved.
    fn lacking(&self) -> Option<(u64, u64)> {
        // A disk that does not say how full it is will say so when it is written.
        let stat = rustix::fs::statvfs(&self.dir).ok()?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        (free < self.reserve_bytes).then_some((free, self.reserve_bytes))
    }
}

/// What becomes of a submitted transaction when its batch is durable.
enum Decision {
    /// Place in the batch.
    Appended(usize),
    /// The entry of the very same transaction.
    Original(u64),
    Refused(Refusal),
}

/// A decided batch and whoever waits for it.
#[derive(Default)]
struct Batch {
    appended: Vec<Appended>,
    decisions: Vec<(Vec<Decision>, Reply)>,
    answers: Vec<Answer>,
    /// The contract's state after this batch, to be kept when that is durable.
    snapshot: Option<(Head, Vec<u8>)>,
}

impl Writer {
    /// Decides one batch while the one before is on its way to the disk.
    fn run(mut self, commands: &Receiver<Command>) -> Result<(), NodeError> {
        let mut in_flight: Option<(Batch, Sealed)> = None;
        let mut go_on = true;
        while go_on || in_flight.is_some() {
            let first = match &in_flight {
                Some(_) => commands.try_recv().ok(),
                None => match commands.recv_timeout(self.sleep()) {
                    Ok(command) => Some(command),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                },
            };
            let mut taken: Vec<Command> = first.into_iter().collect();
            let mut transactions = taken.iter().map(Command::transactions).sum::<usize>();
            while transactions < MAX_BATCH
                && let Ok(command) = commands.try_recv()
            {
                transactions += command.transactions().max(1);
                taken.push(command);
            }
            go_on &= !taken.iter().any(|command| matches!(command, Command::Stop));
            let step = self.decide_all(taken).and_then(|batch| {
                if let Some((before, sealed)) = in_flight.take() {
                    self.land(before, sealed)?;
                }
                if batch.appended.is_empty() {
                    // Nothing to wait for.
                    self.reply(batch, self.reader.checkpoint());
                } else {
                    in_flight = Some((batch, self.ledger.seal()?));
                }
                // While the disk is busy.
                self.update_index()
            });
            if let Err(error) = step {
                tracing::error!(%error, "the ledger cannot be written; stopping");
                return Err(error.into());
            }
        }
        if self.ledger.head().size > self.snapshot_size {
            // Everything is durable now; the next start need not replay it.
            let (head, bytes) = self.take_snapshot();
            self.ledger.save_snapshot(head, &bytes)?;
        }
        Ok(())
    }

    /// How long nothing will happen by itself.
    fn sleep(&mut self) -> Duration {
        match self.contract.next_deadline_ms() {
            Some(deadline_ms) => {
                let left_ms = deadline_ms.saturating_sub(self.clock.now_ms());
                Duration::from_millis(left_ms).min(MAX_SLEEP)
            }
            None => MAX_SLEEP,
        }
    }

    /// Applies and appends, in order. Nothing is awaited between deciding and appending.
    fn decide_all(&mut self, commands: Vec<Command>) -> Result<Batch, colearn_ledger::Error> {
        let now_ms = self.clock.now_ms();
        let mut batch = Batch::default();
        for outcome in self.contract.advance(self.moment(now_ms)) {
            batch.appended.push(append_outcome(&mut self.ledger, now_ms, &outcome)?);
        }
        let mut queries = Vec::new();
        let full = if commands.is_empty() { None } else { self.room.lacking() };
        for command in commands {
            match command {
                Command::Submit { transactions, reply } => {
                    if let Some((free, reserve)) = full {
                        let refused =
                            transactions.iter().map(|_| Err(Refusal::DiskFull { free, reserve }));
                        // A peer that has gone does not need to know.
                        let _ = reply.send(refused.collect());
                        continue;
                    }
                    let decisions = transactions
                        .iter()
                        .map(|transaction| self.decide(now_ms, transaction, &mut batch.appended))
                        .collect::<Result<_, _>>()?;
                    batch.decisions.push((decisions, reply));
                }
                Command::Query(query) => queries.push(query),
                Command::Stop => {}
            }
        }
        let size = self.ledger.head().size;
        batch.answers = queries.into_iter().map(|query| query(&self.contract, size)).collect();
        if size >= self.snapshot_size + snapshot::EVERY {
            batch.snapshot = Some(self.take_snapshot());
        }
        Ok(batch)
    }

    fn moment(&self, now_ms: u64) -> Moment {
        Moment { now_ms, head: Digest(self.ledger.head().leaf.0) }
    }

    fn take_snapshot(&mut self) -> (Head, Vec<u8>) {
        let head = self.ledger.head();
        self.snapshot_size = head.size;
        (head, snapshot::encode(&self.contract))
    }

    fn decide(
        &mut self,
        now_ms: u64,
        transaction: &Transaction,
        appended: &mut Vec<Appended>,
    ) -> Result<Decision, colearn_ledger::Error> {
        let keys = record::keys_of_transaction(transaction.message(), transaction.action());
        let at = self.moment(now_ms);
        match self.contract.apply(at, transaction.sender(), transaction.action()) {
            Ok(outcomes) => {
                let at = appended.len();
                let [key, _] = &keys;
                let key = key.clone();
                let payload = record::transaction_payload(transaction);
                let entry = self.ledger.append(now_ms, payload, keys.into())?;
                self.recent.insert(key, entry.index);
                appended.push(entry);
                for outcome in outcomes {
                    appended.push(append_outcome(&mut self.ledger, now_ms, &outcome)?);
                }
                Ok(Decision::Appended(at))
            }
            Err(rejection) => {
                // Every action is idempotent by meaning, so a repetition is always rejected here.
                let [key, _] = &keys;
                let original = match self.recent.get(key) {
                    Some(index) => Some(*index),
                    None => self.reader.find(key, 0)?,
                };
                Ok(original.map_or_else(|| Decision::Refused(rejection.into()), Decision::Original))
            }
        }
    }

    /// Waits until a batch is durable, then answers.
    fn land(&mut self, mut batch: Batch, sealed: Sealed) -> Result<(), colearn_ledger::Error> {
        let checkpoint = sealed.wait()?;
        let kept = batch.snapshot.take();
        self.reply(batch, Some(checkpoint));
        match kept {
            Some((head, bytes)) => self.ledger.save_snapshot(head, &bytes),
            None => Ok(()),
        }
    }

    fn reply(&self, mut batch: Batch, checkpoint: Option<Arc<SignedCheckpoint>>) {
        for (decisions, reply) in batch.decisions {
            let answers = decisions
                .into_iter()
                .map(|decision| self.answer(decision, &mut batch.appended, checkpoint.clone()))
                .collect();
            // A peer that has gone will find its transactions in the ledger.
            let _ = reply.send(answers);
        }
        for answer in batch.answers {
            answer();
        }
    }

    /// Indexes what is durable, and tells those who watch.
    fn update_index(&mut self) -> Result<(), colearn_ledger::Error> {
        let size = self.reader.size();
        if *self.grown.borrow() == size {
            return Ok(());
        }
        self.ledger.update_index()?;
        self.recent.retain(|_, index| *index >= size);
        self.grown.send_replace(size);
        Ok(())
    }

    fn answer(
        &self,
        decision: Decision,
        appended: &mut [Appended],
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
                // Each is asked for once.
                let Appended { index, leaf, bytes } = &mut appended[at];
                let entry = std::mem::take(bytes);
                Ok(Recorded { index: *index, leaf: *leaf, entry, checkpoint })
            }
        }
    }
}

fn append_outcome(
    ledger: &mut Ledger,
    now_ms: u64,
    outcome: &Outcome,
) -> Result<Appended, colearn_ledger::Error> {
    ledger.append(now_ms, record::outcome_payload(outcome), record::keys_of_outcome(outcome))
}
