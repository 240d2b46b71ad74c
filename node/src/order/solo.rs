//! What orders alone: one thread with a queue, a clock and batches, which drives the keeper.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use colearn_ledger::{Error, Reader, Sealed, SignedCheckpoint};
use colearn_records::transaction::Transaction;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Command, Queue, Recorded, RecordedEntry, SetTime, Submission};
use crate::clock::LedgerClock;
use crate::disk::DiskReserve;
use crate::error::NodeError;
use crate::keeper::{Decision, Keeper, Snapshot};
use crate::metrics::Counts;
use crate::refusal::Refusal;
use crate::view::{Publisher, View, Views};

/// How many submissions may wait. A full queue refuses at once.
const QUEUE: usize = 4096;
/// The most transactions that share one sync.
const MAX_BATCH: usize = 1024;
/// How long the thread sleeps at most; it then looks at the clock again, which may have been set.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The running thread.
pub(crate) struct SoloThread {
    submissions: Queue,
    views: Views,
    thread: JoinHandle<Result<(), NodeError>>,
}

impl SoloThread {
    /// Starts ordering. When it stops by itself it cancels `stopping`.
    pub(crate) fn start(
        keeper: Keeper,
        reserve: DiskReserve,
        counts: Counts,
        stopping: CancellationToken,
    ) -> Self {
        let (queue, commands) = sync_channel(QUEUE);
        let head = keeper.head();
        let (publisher, views) = Publisher::new(keeper.contract(), head.size);
        let clock = LedgerClock::after(head.time_ms);
        let reader = keeper.reader();
        let solo = Solo { keeper, reader, publisher, clock, reserve, counts };
        let thread = std::thread::spawn(move || {
            let result = solo.run(&commands);
            stopping.cancel();
            result
        });
        Self { submissions: Queue { queue }, views, thread }
    }

    pub(crate) fn submissions(&self) -> Queue {
        self.submissions.clone()
    }

    pub(crate) fn views(&self) -> Views {
        self.views.clone()
    }

    /// Waits until everything taken is answered and the ledger is closed.
    pub(crate) fn join(self) -> Result<(), NodeError> {
        // If the queue is closed the thread has stopped already.
        let _ = self.submissions.queue.send(Command::Stop);
        match self.thread.join() {
            Ok(result) => result,
            Err(_) => Err(NodeError::Stopped("the writer panicked".to_owned())),
        }
    }
}

/// What is to be decided, with a look at what comes next.
struct Waiting<'a> {
    commands: &'a Receiver<Command>,
    next: Option<Command>,
}

impl Waiting<'_> {
    fn next(&mut self) -> Option<Command> {
        self.next.take().or_else(|| self.commands.try_recv().ok())
    }

    fn has_more(&mut self) -> bool {
        self.next = self.next();
        self.next.is_some()
    }
}

struct Solo {
    keeper: Keeper,
    reader: Reader,
    publisher: Publisher,
    clock: LedgerClock,
    reserve: DiskReserve,
    counts: Counts,
}

type Reply = oneshot::Sender<Vec<Result<Recorded, Refusal>>>;

/// A decided batch and whoever waits for it.
struct Batch {
    answers: Vec<(Vec<Result<RecordedEntry, Refusal>>, Reply)>,
    /// The state after this batch, to be shown and kept when that is durable.
    view: Option<Arc<View>>,
    snapshot: Option<Snapshot>,
}

impl Solo {
    /// Decides one batch while the one before is on its way to the disk.
    fn run(mut self, commands: &Receiver<Command>) -> Result<(), NodeError> {
        let mut queue = Waiting { commands, next: None };
        let mut in_flight = None;
        let mut go_on = true;
        while go_on || in_flight.is_some() {
            let taken = self.take(&mut queue, in_flight.is_some());
            go_on &= !taken.iter().any(|command| matches!(command, Command::Stop));
            if let Err(error) = self.step(taken, &mut queue, &mut in_flight) {
                tracing::error!(%error, "the ledger cannot be written; stopping");
                return Err(error.into());
            }
        }
        Ok(self.keeper.close()?)
    }

    /// What waits in the queue, as much as one batch takes. Sleeps while there is nothing to do, but
    /// never while a batch is on its way: that must be landed first.
    fn take(&mut self, queue: &mut Waiting<'_>, disk_is_busy: bool) -> Vec<Command> {
        let first = if disk_is_busy || queue.has_more() {
            queue.next()
        } else {
            match queue.commands.recv_timeout(self.sleep()) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                // Whoever could stop this has gone.
                Err(RecvTimeoutError::Disconnected) => Some(Command::Stop),
            }
        };
        let mut taken: Vec<Command> = first.into_iter().collect();
        let mut transactions = taken.iter().map(Command::transactions).sum::<usize>();
        while transactions < MAX_BATCH
            && let Some(command) = queue.next()
        {
            transactions += command.transactions().max(1);
            taken.push(command);
        }
        taken
    }

    /// How long nothing will happen by itself.
    fn sleep(&mut self) -> Duration {
        match self.keeper.contract().next_deadline_ms() {
            Some(deadline_ms) => {
                let left_ms = deadline_ms.saturating_sub(self.clock.now_ms());
                Duration::from_millis(left_ms).min(MAX_SLEEP)
            }
            None => MAX_SLEEP,
        }
    }

    /// Decides a batch, finishes the one before and sends this one on its way.
    fn step(
        &mut self,
        commands: Vec<Command>,
        queue: &mut Waiting<'_>,
        in_flight: &mut Option<(Batch, Sealed)>,
    ) -> Result<(), Error> {
        let batch = self.decide(commands)?;
        if in_flight.is_none() && self.keeper.is_unsealed() && !queue.has_more() {
            let sealed = self.keeper.seal_here()?;
            self.land(batch, sealed)?;
            return self.keeper.update_index();
        }
        // Before the last batch has landed: the disk goes on with this one at once.
        let sealed = self.keeper.is_unsealed().then(|| self.keeper.seal()).transpose()?;
        if let Some((before, sealed)) = in_flight.take() {
            self.land(before, sealed)?;
        }
        match sealed {
            Some(sealed) => *in_flight = Some((batch, sealed)),
            // Nothing to wait for: what these answers name is durable.
            None => batch.reply(self.reader.checkpoint()),
        }
        // While the disk is busy.
        self.keeper.update_index()
    }

    /// Decides and records, in order.
    fn decide(&mut self, commands: Vec<Command>) -> Result<Batch, Error> {
        let mut now_ms = self.clock.now_ms();
        self.keeper.advance(now_ms)?;
        let mut answers = Vec::new();
        let full = if commands.is_empty() { None } else { self.reserve.lacking() };
        for command in commands {
            let Submission { transactions, reply } = match command {
                Command::Submit(submission) => submission,
                Command::SetTime(SetTime { time_ms, reply }) => {
                    self.clock.set(time_ms);
                    now_ms = self.clock.now_ms();
                    self.keeper.advance(now_ms)?;
                    answers.push((Vec::new(), reply));
                    continue;
                }
                Command::Stop => continue,
            };
            if let Some((free, reserve)) = full {
                let refused = transactions.iter().map(|_| Err(Refusal::DiskFull { free, reserve }));
                // A peer that has gone does not need to know.
                let _ = reply.send(refused.collect());
                continue;
            }
            let decided = transactions.iter().map(|it| self.decide_one(now_ms, it));
            answers.push((decided.collect::<Result<_, Error>>()?, reply));
        }
        let decided = answers.iter().map(|(answers, _)| answers.len()).sum();
        if decided > 0 {
            self.counts.batch(decided);
        }
        let view = self.keeper.is_unsealed().then(|| {
            let touched = self.keeper.take_touched();
            self.publisher.draw(self.keeper.contract(), &touched, self.keeper.head().size)
        });
        Ok(Batch { answers, view, snapshot: self.keeper.snapshot_if_due() })
    }

    fn decide_one(
        &mut self,
        now_ms: u64,
        transaction: &Transaction,
    ) -> Result<Result<RecordedEntry, Refusal>, Error> {
        match self.keeper.decide(now_ms, transaction)? {
            Decision::Recorded(entry) => Ok(Ok(RecordedEntry::New(entry))),
            Decision::Refused(rejection) => match self.keeper.find(transaction)? {
                Some(index) => Ok(Ok(RecordedEntry::Before(index))),
                None => Ok(Err(rejection.into())),
            },
        }
    }

    /// Waits until a batch is durable, then answers.
    fn land(&mut self, mut batch: Batch, sealed: Sealed) -> Result<(), Error> {
        let (checkpoint, took) = sealed.wait_timed()?;
        self.counts.sync(took);
        // Before anybody is answered: who has a receipt and asks for the state sees what it has done.
        if let Some(view) = batch.view.take() {
            self.publisher.publish(view);
        }
        let snapshot = batch.snapshot.take();
        let size = checkpoint.checkpoint.size;
        batch.reply(Some(checkpoint));
        self.publisher.show_entries(size);
        match snapshot {
            Some(snapshot) => self.keeper.save_snapshot(snapshot),
            None => Ok(()),
        }
    }
}

impl Batch {
    fn reply(self, checkpoint: Option<Arc<SignedCheckpoint>>) {
        for (answers, reply) in self.answers {
            let answers = answers.into_iter().map(|answer| {
                let checkpoint = checkpoint.clone().ok_or(Refusal::Stopped)?;
                Ok(Recorded { entry: answer?, checkpoint })
            });
            // A peer that has gone will find its transactions in the ledger.
            let _ = reply.send(answers.collect());
        }
    }
}
