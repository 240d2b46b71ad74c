//! Who waits for what became of a transaction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use colearn_ledger::{Appended, SignedCheckpoint};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::{Recorded, RecordedEntry};
use crate::refusal::Refusal;

/// How many transactions may wait. A full node refuses at once.
const MAX_WAITING: usize = 4096;
/// How many may wait for the same one.
const MAX_SAME: usize = 16;
/// After this long without a word it is offered again where CometBFT orders: that forgets what waits when it is started
/// anew.
pub(super) const AGAIN: Duration = Duration::from_secs(10);

/// Which transaction it is, of all that are ordered: the SHA-256 of its payload.
pub(super) type Key = [u8; 32];

pub(super) fn key(payload: &[u8]) -> Key {
    Sha256::digest(payload).into()
}

type Answer = Result<Recorded, Refusal>;

/// Some transactions of one peer, which is told of all of them together.
pub(super) struct Submission {
    left: usize,
    answers: Vec<Option<Answer>>,
    reply: Option<oneshot::Sender<Vec<Answer>>>,
}

/// One transaction of a submission.
#[derive(Clone)]
pub(super) struct Waiter {
    submission: Arc<Mutex<Submission>>,
    place: usize,
}

impl Waiter {
    /// As many as a submission has, and where they are answered.
    pub(super) fn of(count: usize) -> (Vec<Self>, oneshot::Receiver<Vec<Answer>>) {
        let (reply, answers) = oneshot::channel();
        let submission = Submission {
            left: count,
            answers: std::iter::repeat_with(|| None).take(count).collect(),
            reply: Some(reply),
        };
        let submission = Arc::new(Mutex::new(submission));
        let waiters = (0..count).map(|place| Self { submission: submission.clone(), place });
        (waiters.collect(), answers)
    }

    pub(super) fn answer(&self, answer: Answer) {
        let mut submission = lock(&self.submission);
        let Some(place) = submission.answers.get_mut(self.place) else { return };
        if place.replace(answer).is_none() {
            submission.left -= 1;
        }
        if submission.left == 0
            && let Some(reply) = submission.reply.take()
        {
            let answers = std::mem::take(&mut submission.answers);
            // A peer that has gone will find its transactions in the ledger.
            let _ = reply.send(answers.into_iter().flatten().collect());
        }
    }
}

impl Waiter {
    /// Whether nobody is there any more to be told.
    fn is_gone(&self) -> bool {
        lock(&self.submission).reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

struct Ordering {
    /// What it is offered as: alone, or with others.
    tx: Bytes,
    since: Instant,
    waiters: Vec<Waiter>,
}

#[derive(Default)]
struct State {
    /// Not in a block yet, as far as is known here.
    unordered: HashMap<Key, Ordering>,
    /// In the ledger, but not under a checkpoint that enough nodes have signed.
    unsigned: Vec<(u64, RecordedEntry, Waiter)>,
    stopped: bool,
}

impl State {
    fn count(&self) -> usize {
        self.unordered.len() + self.unsigned.len()
    }

    /// All who wait, and who do so no more.
    fn take_all(&mut self) -> Vec<Waiter> {
        let unordered = std::mem::take(&mut self.unordered).into_values();
        let unsigned = std::mem::take(&mut self.unsigned).into_iter();
        let unsigned = unsigned.map(|(_, _, waiter)| waiter);
        unordered.flat_map(|it| it.waiters).chain(unsigned).collect()
    }

    /// Whether one more may wait. What is recorded and waited for by nobody any more takes no room.
    fn has_room(&mut self) -> bool {
        if self.count() >= MAX_WAITING {
            self.unsigned.retain(|(_, _, waiter)| !waiter.is_gone());
        }
        self.count() < MAX_WAITING
    }
}

/// All who wait.
#[derive(Default)]
pub(super) struct Waiting(Mutex<State>);

impl Waiting {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Has somebody told what becomes of a transaction. `true` if nobody has offered it yet.
    ///
    /// # Errors
    /// If too many wait, or the node stops.
    pub(super) fn wait_for(&self, key: Key, tx: &Bytes, waiter: Waiter) -> Result<bool, Refusal> {
        let mut state = self.state();
        if state.stopped {
            return Err(Refusal::Stopped);
        }
        if let Some(waiting) = state.unordered.get_mut(&key) {
            if waiting.waiters.len() >= MAX_SAME {
                return Err(Refusal::Busy);
            }
            waiting.waiters.push(waiter);
            return Ok(false);
        }
        if !state.has_room() {
            return Err(Refusal::Busy);
        }
        let waiting = Ordering { tx: tx.clone(), since: Instant::now(), waiters: vec![waiter] };
        state.unordered.insert(key, waiting);
        Ok(true)
    }

    /// Has somebody told when an entry that was recorded before is under a checkpoint.
    pub(super) fn wait_for_entry(&self, index: u64, waiter: Waiter) {
        let mut state = self.state();
        if state.stopped {
            drop(state);
            return waiter.answer(Err(Refusal::Stopped));
        }
        if !state.has_room() {
            drop(state);
            return waiter.answer(Err(Refusal::Busy));
        }
        state.unsigned.push((index, RecordedEntry::Before(index), waiter));
    }

    /// It was refused before it was ordered.
    pub(super) fn refuse(&self, key: &Key, refusal: impl Fn() -> Refusal) {
        let waiting = self.state().unordered.remove(key);
        for waiter in waiting.into_iter().flat_map(|it| it.waiters) {
            waiter.answer(Err(refusal()));
        }
    }

    /// Whatever is waited for, nobody will be told what has become of it; what comes after this may wait.
    pub(super) fn refuse_all(&self, refusal: impl Fn() -> Refusal) {
        let waiters = self.state().take_all();
        for waiter in waiters {
            waiter.answer(Err(refusal()));
        }
    }

    /// It was ordered, and recorded. `true` if somebody waits here.
    pub(super) fn recorded(&self, key: &Key, entry: &Appended) -> bool {
        let mut state = self.state();
        let Some(waiting) = state.unordered.remove(key) else { return false };
        for waiter in waiting.waiters {
            let entry = RecordedEntry::New(entry.clone());
            state.unsigned.push((entry.index(), entry, waiter));
        }
        true
    }

    /// It was ordered, and is in this entry already.
    pub(super) fn recorded_before(&self, key: &Key, index: u64) {
        let mut state = self.state();
        let Some(waiting) = state.unordered.remove(key) else { return };
        for waiter in waiting.waiters {
            state.unsigned.push((index, RecordedEntry::Before(index), waiter));
        }
    }

    /// Whether somebody waits for this to be ordered.
    pub(super) fn is_waited_for(&self, key: &Key) -> bool {
        self.state().unordered.contains_key(key)
    }

    /// Enough nodes have signed.
    pub(super) fn signed(&self, checkpoint: &Arc<SignedCheckpoint>) {
        let mut state = self.state();
        let (covered, rest) = std::mem::take(&mut state.unsigned)
            .into_iter()
            .partition(|(index, ..)| *index < checkpoint.checkpoint.size);
        state.unsigned = rest;
        drop(state);
        for (_, entry, waiter) in covered {
            waiter.answer(Ok(Recorded { entry, checkpoint: checkpoint.clone() }));
        }
    }

    /// They are offered as one. Whatever of it is not heard of is offered again as the same bytes: CometBFT takes those
    /// once, and would take the same transactions in other bundles again and again.
    pub(super) fn offered(&self, keys: &[Key], tx: &Bytes) {
        let mut state = self.state();
        for key in keys {
            if let Some(waiting) = state.unordered.get_mut(key) {
                waiting.tx = tx.clone();
            }
        }
    }

    /// What has to be offered again, with those of it that are waited for.
    pub(super) fn unheard(&self) -> Vec<(Vec<Key>, Bytes)> {
        let mut state = self.state();
        let now = Instant::now();
        let mut again: HashMap<Bytes, Vec<Key>> = HashMap::new();
        for (key, waiting) in &mut state.unordered {
            if now.saturating_duration_since(waiting.since) >= AGAIN {
                waiting.since = now;
                again.entry(waiting.tx.clone()).or_default().push(*key);
            }
        }
        again.into_iter().map(|(tx, keys)| (keys, tx)).collect()
    }

    /// As if all had been waiting for long.
    #[cfg(test)]
    pub(super) fn make_old(&self) {
        for waiting in self.state().unordered.values_mut() {
            waiting.since -= AGAIN;
        }
    }

    /// Whether anybody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many transactions are waited for.
    pub(super) fn count(&self) -> usize {
        self.state().count()
    }

    /// Nobody will be told any more.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        let waiters = state.take_all();
        drop(state);
        for waiter in waiters {
            waiter.answer(Err(Refusal::Stopped));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn one() -> (Waiter, oneshot::Receiver<Vec<Answer>>) {
        let (waiters, answers) = Waiter::of(1);
        (waiters[0].clone(), answers)
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let waiting = Waiting::default();
        let tx = Bytes::from_static(b"tx");
        let key = |number: usize| {
            let mut key = Key::default();
            key[..8].copy_from_slice(&number.to_le_bytes());
            key
        };
        // The same one, offered again and again.
        for again in 0..MAX_SAME {
            assert_eq!(waiting.wait_for(key(0), &tx, one().0).unwrap(), again == 0);
        }
        assert!(matches!(waiting.wait_for(key(0), &tx, one().0), Err(Refusal::Busy)));
        // What is recorded and waits for signatures takes room, too.
        let mut told = Vec::new();
        for number in 1..MAX_WAITING {
            let (waiter, answers) = one();
            match number % 2 {
                0 => assert!(waiting.wait_for(key(number), &tx, waiter).unwrap()),
                _ => waiting.wait_for_entry(7, waiter),
            }
            told.push(answers);
        }
        assert_eq!(waiting.count(), MAX_WAITING);
        assert!(matches!(waiting.wait_for(key(MAX_WAITING), &tx, one().0), Err(Refusal::Busy)));
        let (waiter, answers) = one();
        waiting.wait_for_entry(7, waiter);
        assert!(matches!(answers.blocking_recv().unwrap()[..], [Err(Refusal::Busy)]));
        // Whoever has gone takes none, once it is needed.
        told.truncate(MAX_WAITING - 10);
        let (waiter, mut answers) = one();
        waiting.wait_for_entry(7, waiter);
        assert!(answers.try_recv().is_err(), "it waits");
        assert!((MAX_WAITING - 10..MAX_WAITING).contains(&waiting.count()));
        assert!(waiting.wait_for(key(MAX_WAITING), &tx, one().0).unwrap());
    }
}
