//! What learners sign, on its way to the contract, and what becomes of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use colearn_contracts::ExperimentName;
use colearn_records::transaction::Transaction;
use colearn_relay::Deliverer;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Shared, due};
use crate::order::waiting::Key;
use crate::refusal::Refusal;

/// How many transactions may wait for their delivery.
pub(super) const QUEUE: usize = 4096;
/// The most transactions that are delivered together, and experiments that are ticked: as many as one call takes.
const AT_ONCE: usize = 64;
/// How long the first of a batch waits for others.
const TOGETHER: Duration = Duration::from_millis(50);
/// How often something is delivered that a server says is recorded, or refused, and that is not.
const TRIES: u32 = 3;
/// For how many blocks something that is due is left to others' deliveries, at least.
const LEFT_TO_OTHERS: u64 = 2;
/// Each mirror draws one of so many turns, which are so many blocks apart: what one has said at its turn the next one sees
/// before its own, so that mostly one of them pays.
const TURNS: u64 = 3;
const APART: u64 = 3;
/// After how many blocks something that was delivered is looked for at the latest.
const PATIENCE: u64 = 25;
/// What the contract says of what is no transaction there, or vouches for a history that it does not keep.
const NOTHING_THERE: [u32; 2] = [200, 201];
/// After how many blocks a tick that has done nothing is sent again.
const AGAIN: u64 = 20;

/// What is delivered.
pub(super) enum Job {
    /// What a learner has signed.
    Transaction { key: Key, payload: Bytes, transaction: Box<Transaction>, tries: u32 },
    /// Experiments in which time has something to decide.
    Tick(Vec<ExperimentName>),
}

/// A transaction that a server says a block has carried out.
struct Delivered {
    key: Key,
    payload: Bytes,
    transaction: Box<Transaction>,
    tries: u32,
    /// What has become of it, it says.
    code: u32,
    /// And in which block.
    height: u64,
}

/// What was delivered and is not seen yet, and what was ticked.
#[derive(Default)]
pub(super) struct Deliveries {
    unseen: Mutex<Vec<Delivered>>,
    ticks: Mutex<BTreeMap<ExperimentName, Tick>>,
}

/// That something is due.
struct Tick {
    deadline_ms: u64,
    /// At which block it is to be said.
    at: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Delivers until the node stops.
pub(super) async fn deliver(
    shared: Arc<Shared>,
    mut deliverer: Deliverer,
    mut jobs: mpsc::Receiver<Job>,
    stopping: CancellationToken,
) {
    let mut left = None;
    loop {
        let first = match left.take() {
            Some(left) => left,
            None => tokio::select! {
                () = stopping.cancelled() => return,
                job = jobs.recv() => match job {
                    Some(job) => job,
                    None => return,
                },
            },
        };
        match first {
            // Whether it is due is not believed any more, and costs what it did.
            Job::Tick(_) if nothing_is_believed(&shared) => {}
            Job::Tick(names) => {
                let names = still_due(&shared, &names);
                if names.is_empty() {
                    continue;
                }
                let ticked = deliverer.tick(&names).await;
                shared.condition.delivered(ticked.map(drop).map_err(|error| error.to_string()));
            }
            Job::Transaction { .. } => {
                let batch = batch(first, &mut jobs, &mut left).await;
                carry(&shared, &mut deliverer, batch).await;
            }
        }
    }
}

/// Those in which time still has something to decide: what waited before may have done it, or another mirror.
fn still_due(shared: &Shared, names: &[ExperimentName]) -> Vec<String> {
    let due = due(shared.mirror().keeper(), shared.condition.header_ms(), &shared.used);
    let still = names.iter().filter(|name| due.iter().any(|(_, it)| it == *name));
    still.map(ToString::to_string).collect()
}

/// What comes within a moment; a tick is left.
async fn batch(first: Job, jobs: &mut mpsc::Receiver<Job>, left: &mut Option<Job>) -> Vec<Job> {
    let until = Instant::now() + TOGETHER;
    let mut batch = vec![first];
    while batch.len() < AT_ONCE {
        let Ok(Some(next)) = tokio::time::timeout_at(until, jobs.recv()).await else { break };
        if matches!(next, Job::Tick(_)) {
            *left = Some(next);
            break;
        }
        batch.push(next);
    }
    batch
}

/// Whether nothing of the chain is believed any more. Nobody can be told what becomes of anything then, so whoever waits
/// is told that.
pub(super) fn nothing_is_believed(shared: &Shared) -> bool {
    let Some(why) = shared.condition.why_nothing() else { return false };
    lock(&shared.deliveries.unseen).clear();
    shared.waiting.refuse_all(|| Refusal::NoOrder(why.clone()));
    true
}

async fn carry(shared: &Shared, deliverer: &mut Deliverer, mut batch: Vec<Job>) {
    if nothing_is_believed(shared) {
        return;
    }
    // Another has delivered some of it meanwhile, or something with which the rules refuse it: what is known is not paid for.
    let header_ms = shared.condition.header_ms();
    batch.retain(|job| match job {
        Job::Transaction { key, transaction, .. } => {
            shared.waiting.is_waited_for(key) && !is_decided(shared, key, transaction, header_ms)
        }
        Job::Tick(_) => false,
    });
    if batch.is_empty() {
        return;
    }
    let payloads: Vec<Vec<u8>> = batch
        .iter()
        .filter_map(|job| match job {
            Job::Transaction { payload, .. } => Some(payload.to_vec()),
            Job::Tick(_) => None,
        })
        .collect();
    if batch.iter().any(|job| matches!(job, Job::Transaction { tries: 1.., .. })) {
        // It was delivered before, a server said, and the chain does not show it.
        deliverer.ask_another();
    }
    let outcome = deliverer.submit(&payloads).await;
    shared.condition.delivered(outcome.as_ref().map(drop).map_err(ToString::to_string));
    match outcome {
        Ok(done) => {
            let newest = shared.condition.height();
            let mut unseen = lock(&shared.deliveries.unseen);
            for (at, (job, code)) in batch.into_iter().zip(done.codes).enumerate() {
                if let Job::Transaction { key, payload, transaction, tries } = job {
                    if let Some(why) = done.not_delivered.get(&at) {
                        shared.waiting.refuse(&key, || Refusal::NoOrder(why.clone()));
                        continue;
                    }
                    // A server says so: it is no earlier than what is here, and no later than may be.
                    let height = done.height.clamp(newest, newest.saturating_add(PATIENCE));
                    unseen.push(Delivered { key, payload, transaction, tries, code, height });
                }
            }
            drop(unseen);
            // It may have ended meanwhile, and then nobody looks for it.
            nothing_is_believed(shared);
        }
        Err(error) => {
            let why = error.to_string();
            for job in batch {
                if let Job::Transaction { key, .. } = job {
                    shared.waiting.refuse(&key, || Refusal::NoOrder(why.clone()));
                }
            }
        }
    }
}

/// Sees what has become of what was delivered before the block of this height. Recorded is what is proven; and refused
/// is what the rules refuse here, too, whatever a server says.
pub(super) fn settle(shared: &Shared, height: u64, header_ms: u64) {
    let (seen, unseen): (Vec<_>, Vec<_>) = std::mem::take(&mut *lock(&shared.deliveries.unseen))
        .into_iter()
        .partition(|it| it.height < height);
    lock(&shared.deliveries.unseen).extend(unseen);
    for Delivered { key, payload, transaction, tries, code, .. } in seen {
        if !shared.waiting.is_waited_for(&key) || is_decided(shared, &key, &transaction, header_ms)
        {
            continue;
        }
        // It was admitted here: it is a transaction, and vouches for this history. What one server says against that, or
        // of what the chain does not show, others have to say, too.
        let seen = transaction.seen().size;
        let job = Job::Transaction { key, payload, transaction, tries: tries + 1 };
        if tries + 1 >= TRIES && NOTHING_THERE.contains(&code) {
            shared.waiting.refuse(&key, || Refusal::UnknownSeen(seen));
        } else if tries + 1 >= TRIES || shared.jobs.try_send(job).is_err() {
            let why = format!(
                "delivered, and said to have come to the code {code}, which the chain does not show"
            );
            shared.waiting.refuse(&key, || Refusal::NoOrder(why.clone()));
        }
    }
}

/// Whether what is here decides what becomes of a transaction that somebody waits for, who is told: recorded is what is
/// proven, and refused what the rules refuse.
fn is_decided(shared: &Shared, key: &Key, transaction: &Transaction, header_ms: u64) -> bool {
    let mirror = shared.mirror();
    match mirror.keeper().find(transaction) {
        Ok(Some(index)) => {
            shared.use_of(&mirror, transaction);
            shared.waiting.recorded_before(key, index);
            super::look_again(shared);
            return true;
        }
        Ok(None) => {}
        Err(error) => {
            let why = error.to_string();
            shared.waiting.refuse(key, || Refusal::NoOrder(why.clone()));
            return true;
        }
    }
    match mirror.keeper().would(header_ms, transaction) {
        Ok(Err(rejection)) => {
            shared.waiting.refuse(key, || rejection.clone().into());
            true
        }
        // What cannot be found out here the contract says.
        Ok(Ok(())) | Err(_) => false,
    }
}

/// Says what is due, if nobody else does.
pub(super) fn tick(shared: &Shared, height: u64, header_ms: u64) {
    let due = due(shared.mirror().keeper(), header_ms, &shared.used);
    let mut ticks = lock(&shared.deliveries.ticks);
    ticks.retain(|name, tick| due.contains(&(tick.deadline_ms, name.clone())));
    let mut now = Vec::new();
    for (deadline_ms, name) in due {
        // Drawn once for each thing that is due.
        let tick = ticks.entry(name.clone()).or_insert_with(|| {
            let mut byte = [0];
            // Without it all mirrors pay, which costs money and does no harm.
            let _ = getrandom::fill(&mut byte);
            Tick { deadline_ms, at: height + LEFT_TO_OTHERS + APART * (u64::from(byte[0]) % TURNS) }
        });
        if tick.at <= height {
            tick.at = height + AGAIN;
            now.push(name);
        }
    }
    for names in now.chunks(AT_ONCE) {
        // Where too much waits, it is due after that, too.
        let _ = shared.jobs.try_send(Job::Tick(names.to_vec()));
    }
}
