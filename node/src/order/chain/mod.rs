//! A contract on a public chain orders: this node mirrors what it has recorded, as far as the chain proves it,
//! and delivers what its learners sign.

mod condition;
mod crosscheck;
mod delivery;
mod departed;
mod first;
mod line;
mod mirror;
mod proofs;
mod stretch;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod used;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use colearn_contracts::ExperimentName;
use colearn_ledger::SignedCheckpoint;
use colearn_light::RawBlock;
use colearn_records::on_chain::Between;
use colearn_records::record;
use colearn_records::transaction::{LedgerId, Transaction};
use colearn_relay::{Deliverer, Rpc, Settings};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use self::condition::Condition;
use self::delivery::{Deliveries, Job};
use self::departed::Why;
pub(crate) use self::first::{check_folder, first_entry};
use self::line::{Line, Proven};
use self::mirror::{Mirror, NotMirrored};
pub(crate) use self::proofs::Proofs;
use self::used::Used;
use super::Answers;
use super::waiting::{self, Waiter, Waiting};
use crate::door::rights::{Right, Rights};
use crate::error::{ChainError, NodeError};
use crate::keeper::Keeper;
use crate::refusal::Refusal;
use crate::view::Views;

/// How often it is looked for new blocks: a quarter of the time between two, within these.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long ago, by the chain's time, what is handed in again may have been recorded to count as a use: everybody has it, and
/// whoever hands in what is old would have a mirror pay for experiments that it has no part in.
const RECENT_MS: u64 = 3_600_000;

/// How many blocks are fetched at once for others.
const ASKING: usize = 8;

/// The running order.
pub(crate) struct OnChain {
    shared: Arc<Shared>,
    views: Views,
    thread: JoinHandle<Result<(), NodeError>>,
}

/// What both sides of it have.
pub(super) struct Shared {
    mirror: Mutex<Mirror>,
    waiting: Waiting,
    jobs: mpsc::Sender<Job>,
    deliveries: Deliveries,
    proofs: Proofs,
    condition: Condition,
    published: watch::Sender<Option<Arc<SignedCheckpoint>>>,
    /// Whether it is known how far the ledger that is to be taken over goes.
    begun: watch::Sender<bool>,
    /// Asked for others, so that what they ask for has no part in what this node asks.
    shown: Rpc,
    used: Used,
    /// Who may have something recorded here, once that is known.
    rights: OnceLock<Rights>,
}

impl Shared {
    /// Of a mirror whose files lie in this folder, and what it is to deliver.
    fn new(
        mirror: Mirror,
        shown: Rpc,
        folder: &std::path::Path,
    ) -> (Arc<Self>, mpsc::Receiver<Job>) {
        let (jobs, taken) = mpsc::channel(delivery::QUEUE);
        let shared = Self {
            mirror: Mutex::new(mirror),
            waiting: Waiting::default(),
            jobs,
            deliveries: Deliveries::default(),
            proofs: Proofs::default(),
            condition: Condition::default(),
            published: watch::Sender::new(None),
            begun: watch::Sender::new(false),
            shown,
            used: Used::begin(folder),
            rights: OnceLock::new(),
        };
        (Arc::new(shared), taken)
    }

    /// Somebody who may write here has had something recorded: what is due there is paid for.
    fn use_of(&self, mirror: &Mirror, transaction: &Transaction) {
        let may = |rights: &Rights| rights.check(Right::Write, transaction.sender()).is_ok();
        if self.rights.get().is_none_or(may) {
            self.used.note(&transaction.action().experiment, mirror.keeper().contract());
        }
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        // What panics with it in hand is the thread that keeps it, and then the node stops.
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is needed to begin.
pub(crate) struct Beginning {
    pub(crate) keeper: Keeper,
    pub(crate) ledger: LedgerId,
    pub(crate) settings: Settings,
    pub(crate) data: std::path::PathBuf,
}

impl OnChain {
    /// Starts to follow and to deliver. When it cannot go on it cancels `stopping`.
    pub(crate) async fn start(
        beginning: Beginning,
        stopping: &CancellationToken,
    ) -> Result<Self, NodeError> {
        let Beginning { keeper, ledger, settings, data } = beginning;
        let rpc = settings.servers().map_err(ChainError::from)?;
        let line = Line::begin(rpc.clone(), &settings, &data).await?;
        let account = settings.open_account().map_err(ChainError::from)?;
        let deliverer = Deliverer::new(rpc.clone(), &settings, account);
        let (mirror, views) = Mirror::new(keeper, ledger)?;
        let shown = settings.servers().map_err(ChainError::from)?;
        let (shared, taken) = Shared::new(mirror, shown, &data);
        let delivering = delivery::deliver(shared.clone(), deliverer, taken, stopping.clone());
        // If it panics the node stops: nobody would get a receipt any more, and all would look well.
        let ends = stopping.clone().drop_guard();
        tokio::spawn(async move {
            delivering.await;
            drop(ends);
        });
        let (following, runtime, stop) = (shared.clone(), Handle::current(), stopping.clone());
        let mut begun = shared.begun.subscribe();
        let thread = std::thread::spawn(move || {
            let ends = stop.clone().drop_guard();
            let result = runtime.block_on(follow(&following, line, &stop));
            if let Err(error) = &result {
                tracing::error!(%error, "the chain's ledger cannot be mirrored; stopping");
            }
            // Who waits is told, as long as connections are there.
            following.waiting.stop();
            following.begun.send_replace(true);
            drop(ends);
            result
        });
        // Until something is proven nothing can be shown. It goes on by itself where no server answers, and while a long ledger
        // is taken over; if it has stopped, whoever started it will see that.
        let _ = begun.wait_for(|begun| *begun).await;
        Ok(Self { shared, views, thread })
    }

    pub(crate) fn submissions(&self) -> Submissions {
        Submissions(self.shared.clone())
    }

    pub(crate) fn views(&self) -> Views {
        self.views.clone()
    }

    /// The newest checkpoint whose root the chain has proven since this was started.
    pub(crate) fn published(&self) -> watch::Receiver<Option<Arc<SignedCheckpoint>>> {
        self.shared.published.subscribe()
    }

    /// What the chain proves, for others.
    pub(crate) fn shows(&self) -> Shows {
        Shows {
            proofs: self.shared.proofs.clone(),
            condition: self.shared.condition.clone(),
            rpc: self.shared.shown.clone(),
            asking: Arc::new(Semaphore::new(ASKING)),
        }
    }

    /// From now on what is handed in counts as a use only of those who may write.
    pub(crate) fn pays_for(&self, rights: Rights) {
        // There is one door.
        let _ = self.shared.rights.set(rights);
    }

    /// How it goes.
    pub(crate) fn condition(&self) -> Condition {
        self.shared.condition.clone()
    }

    /// Waits until following has stopped, tells whoever waits, and closes the ledger.
    pub(crate) fn join(self) -> Result<(), NodeError> {
        let joined = self.thread.join();
        self.shared.waiting.stop();
        joined.map_err(|_| NodeError::Stopped("what mirrors the chain panicked".to_owned()))??;
        self.shared.mirror().close()
    }
}

/// What of the chain is shown to whoever follows this node; cheap to clone.
#[derive(Clone)]
pub(crate) struct Shows {
    proofs: Proofs,
    condition: Condition,
    rpc: Rpc,
    /// Whoever asks has servers asked that are others'.
    asking: Arc<Semaphore>,
}

impl Shows {
    /// What proves a ledger of so many entries; the newest for 0.
    pub(crate) fn proof(&self, size: u64) -> Option<Arc<Proven>> {
        self.proofs.of(size)
    }

    /// A block, as a server of the chain has it.
    pub(crate) async fn block(&self, height: u64) -> Result<RawBlock, Refusal> {
        if height == 0 || height > self.condition.height() {
            return Err(Refusal::NoOrder(format!("block {height} of the chain is not known here")));
        }
        let _slot = self.asking.try_acquire().map_err(|_| Refusal::Busy)?;
        let asked = async {
            let raw = self.rpc.block(height).await?;
            match raw.read()?.height() {
                found if found == height => Ok(raw),
                found => Err(ChainError::OtherBlock { asked: height, found }),
            }
        };
        let asked: Result<RawBlock, ChainError> = asked.await;
        asked.map_err(|error| {
            // What is handed on is to be what was asked for: whoever gets something else leaves this node.
            self.rpc.go_on();
            Refusal::NoOrder(error.to_string())
        })
    }
}

/// Takes transactions to the chain; cheap to clone.
#[derive(Clone)]
pub(crate) struct Submissions(Arc<Shared>);

impl Submissions {
    /// Has transactions recorded; each for itself, and delivered in this order.
    pub(crate) fn submit(&self, transactions: Vec<Transaction>) -> Result<Answers, Refusal> {
        let (waiters, answers) = Waiter::of(transactions.len());
        for (transaction, waiter) in transactions.into_iter().zip(waiters) {
            self.submit_one(transaction, waiter);
        }
        Ok(answers)
    }

    fn submit_one(&self, transaction: Transaction, waiter: Waiter) {
        let shared = &self.0;
        // What became of it would not be believed either.
        if let Some(why) = shared.condition.why_nothing() {
            return waiter.answer(Err(Refusal::NoOrder(why)));
        }
        let payload = Bytes::from(record::transaction_payload(&transaction));
        let key = waiting::key(&payload);
        // Held meanwhile, or it could be recorded between looking and waiting, and nobody would tell.
        let mirror = shared.mirror();
        match mirror.keeper().find(&transaction) {
            Ok(Some(index)) => {
                // Another mirror may have delivered it, or this one was stopped before it had noted that.
                if mirror.is_recent(index, shared.condition.header_ms().saturating_sub(RECENT_MS)) {
                    shared.use_of(&mirror, &transaction);
                }
                shared.waiting.wait_for_entry(index, waiter);
                look_again(shared);
                return;
            }
            Ok(None) => {}
            Err(error) => return waiter.answer(Err(error.into())),
        }
        // By half of a ledger the rules may refuse what they take by all of it, and a refusal is final.
        if shared.condition.height() == 0 {
            let why = "the chain's ledger is not here yet".to_owned();
            return waiter.answer(Err(Refusal::NoOrder(why)));
        }
        // What is refused here is refused there, and there it costs money. Not by this machine's clock: a block's
        // time is no earlier than that of the newest header.
        let now_ms = shared.condition.header_ms();
        match mirror.keeper().would(now_ms, &transaction) {
            Ok(Ok(())) => {}
            Ok(Err(rejection)) => return waiter.answer(Err(rejection.into())),
            Err(error) => return waiter.answer(Err(error.into())),
        }
        match shared.waiting.wait_for(key, &payload, waiter.clone()) {
            Ok(true) => {
                let job =
                    Job::Transaction { key, payload, transaction: Box::new(transaction), tries: 0 };
                if shared.jobs.try_send(job).is_err() {
                    shared.waiting.refuse(&key, || Refusal::Busy);
                }
            }
            Ok(false) => {}
            Err(refusal) => waiter.answer(Err(refusal)),
        }
    }
}

/// Tells whoever waits for what is under the newest checkpoint already.
fn look_again(shared: &Shared) {
    if let Some(published) = shared.published.borrow().clone() {
        shared.waiting.signed(&published);
    }
}

/// Follows the chain until the node stops.
///
/// It has begun once it has looked, or has a long ledger to take over, or has asked every server in vain.
async fn follow(
    shared: &Arc<Shared>,
    mut line: Line,
    stopping: &CancellationToken,
) -> Result<(), NodeError> {
    let (soonest, latest) = LOOK;
    let (mut pause, mut header_ms) = (soonest, line.time_ms());
    let mut in_vain = 0;
    while !stopping.is_cancelled() {
        // May be given up anywhere: what is taken over is so without a pause between.
        let done = tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            done = look(shared, &mut line) => done,
        };
        in_vain += usize::from(done.is_err());
        if done.is_ok() || in_vain >= line.rpc().servers() {
            shared.begun.send_replace(true);
        }
        match done {
            Ok(()) => {
                if line.time_ms() > header_ms {
                    let between = Duration::from_millis(line.time_ms() - header_ms);
                    pause = (between / 4).clamp(soonest, latest);
                    header_ms = line.time_ms();
                }
                shared.condition.followed(header_ms);
                // A server that stands still need not be the chain's end.
                if shared.condition.is_still() {
                    line.rpc().go_on();
                }
            }
            Err(NotMirrored::Unproven(error)) => {
                if error.ends_trust() {
                    shared.condition.believes_nothing(error.to_string());
                    delivery::nothing_is_believed(shared);
                }
                if error.is_of_other_code() {
                    // What is handed to it is not for it.
                    shared.condition.believes_nothing_now(error.to_string());
                    delivery::nothing_is_believed(shared);
                }
                // Another server may be honest, or alive.
                shared.condition.not_followed(error.to_string());
                line.rpc().go_on();
                pause = latest;
            }
            Err(NotMirrored::Fatal(error)) => return Err(error),
        }
        tokio::select! {
            () = stopping.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    Ok(())
}

/// Takes over what is new.
async fn look(shared: &Arc<Shared>, line: &mut Line) -> Result<(), NotMirrored> {
    let Some(proven) = line.advance().await.map_err(NotMirrored::Unproven)? else { return Ok(()) };
    let from = shared.mirror().tree().clone();
    let (had, size) = (from.head().size, proven.tree.head().size);
    if size < had && proven.time_ms <= from.head().time_ms {
        // After a restart the headers begin earlier than the entries that are here.
        let behind = ChainError::Behind { shown: size, had };
        return Err(NotMirrored::Unproven(behind));
    }
    if size < had || (size == had && proven.tree != from) {
        // Both were proven, under headers that follow from one another: the contract itself has changed its past.
        let departed = line.depart(&Why::Rewritten { had, size }, &from, &proven, None);
        return Err(NotMirrored::Unproven(departed));
    }
    // What is new is behind the end that the last header has proven, as long as this runs.
    let after_ms = shared.proofs.of(0).map_or(0, |last| last.time_ms);
    let between = Between { after_ms, before_ms: proven.time_ms };
    let mut here = from;
    while here.head().size < size {
        // It may take hours, and nothing more is taken once it is not to be believed.
        line.check().await.map_err(NotMirrored::Unproven)?;
        let stretch = match stretch::fetch(line, &here, &proven.tree, stretch::BOUNDS).await {
            Ok(stretch) => stretch,
            Err(error) => {
                // Is it the server that lies, or was the past changed?
                line.check_past(&here, &proven).await.map_err(NotMirrored::Unproven)?;
                return Err(NotMirrored::Unproven(error));
            }
        };
        if let Err(out_of_time) = stretch.check_times(between) {
            let departed = line.depart(&Why::Time(out_of_time), &here, &proven, None);
            return Err(NotMirrored::Unproven(departed));
        }
        let (entries, end) = stretch.into_parts();
        let recorded = shared.mirror().take(&entries, &end)?;
        tracing::debug!(height = proven.height, here = end.head().size, size, "mirrored");
        for (key, transaction, appended) in recorded {
            if shared.waiting.recorded(&key, &appended) {
                shared.use_of(&shared.mirror(), &transaction);
            }
        }
        here = end;
        shared.condition.taking_over(here.head().size, size);
        if here.head().size < size {
            shared.begun.send_replace(true);
        }
    }
    let height = proven.height;
    let header_ms = proven.time_ms;
    // The proof before the checkpoint: whoever is shown that may ask for it at once. And the checkpoint before the
    // entries: whoever waits for those looks what it counts.
    shared.proofs.push(proven);
    let mut mirror = shared.mirror();
    shared.published.send_replace(mirror.checkpoint());
    mirror.show();
    drop(mirror);
    look_again(shared);
    line.taken();
    shared.condition.followed(header_ms);
    shared.condition.reached(height);
    delivery::settle(shared, height, header_ms);
    delivery::tick(shared, height, header_ms);
    Ok(())
}

/// In which experiments time alone has something to decide by then, of those that this node's clients use.
fn due(keeper: &Keeper, by_ms: u64, used: &Used) -> Vec<(u64, ExperimentName)> {
    let contract = keeper.contract();
    if contract.next_deadline_ms().is_none_or(|deadline_ms| deadline_ms > by_ms) {
        return Vec::new();
    }
    let due = contract.experiments().filter_map(|experiment| {
        let deadline_ms = experiment.deadline_ms().filter(|deadline_ms| *deadline_ms <= by_ms)?;
        let name = experiment.name();
        used.contains(name).then(|| (deadline_ms, name.clone()))
    });
    due.collect()
}
