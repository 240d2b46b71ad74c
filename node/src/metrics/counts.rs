//! What a node counts as it goes, because nothing else knows it afterwards: refusals, and how long things took.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use colearn_contracts::LearnerId;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::events;
use crate::peer::Peer;

/// How often at most one class of refusals is logged.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// How many uploads are logged in that time, each with a line of its own. Of what is here already an upload costs
/// whoever brings it nothing; it is not to cost the operator a disk of logs.
const UPLOADS_TOLD: u64 = 100;

/// What a refusal is counted as. There are few, whatever is sent: none holds anything that a peer chose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Class {
    /// The contract refuses a transaction by the rule of this number.
    Rule(u8),
    /// The node refuses a transaction before the contract is asked.
    Node(&'static str),
    /// The door lets nobody in, or not so often, or not without knowing who it is.
    Door(&'static str),
    /// The artifact store takes or gives no weights.
    Weights(&'static str),
}

impl Class {
    /// What refuses.
    pub(crate) fn by(self) -> &'static str {
        match self {
            Self::Rule(_) => "contract",
            Self::Node(_) => "node",
            Self::Door(_) => "door",
            Self::Weights(_) => "weights",
        }
    }

    /// Why, in a word; of the contract the rule's number.
    pub(crate) fn word(self) -> Cow<'static, str> {
        match self {
            Self::Rule(number) => Cow::Owned(format!("R{number}")),
            Self::Node(word) | Self::Door(word) | Self::Weights(word) => Cow::Borrowed(word),
        }
    }
}

/// What a node counts as it goes; cheap to clone.
#[derive(Clone)]
pub(crate) struct Counts(Arc<Inner>);

struct Inner {
    refused: Mutex<BTreeMap<Class, Refused>>,
    uploads: Mutex<Uploads>,
    receipts: Histogram,
    batches: Histogram,
    syncs: Histogram,
}

/// What was refused for one reason.
#[derive(Default)]
struct Refused {
    count: u64,
    /// What of that is not logged yet.
    untold: u64,
    /// When it was last logged.
    told: Option<Instant>,
    /// What was answered last, as far as that is not logged yet.
    latest: String,
}

/// Uploads, as far as they are logged.
#[derive(Default)]
struct Uploads {
    /// Since when these are counted.
    since: Option<Instant>,
    told: u64,
    untold: u64,
}

impl Uploads {
    /// Whether another one has a line of its own.
    fn take(&mut self) -> bool {
        let has_line = self.told < UPLOADS_TOLD;
        *(if has_line { &mut self.told } else { &mut self.untold }) += 1;
        has_line
    }

    /// Begins anew where it is time; gives how many have had no line.
    fn renew(&mut self, now: Instant) -> u64 {
        if self.since.is_some_and(|since| now.duration_since(since) < TOLD_EVERY) {
            return 0;
        }
        (self.since, self.told) = (Some(now), 0);
        std::mem::take(&mut self.untold)
    }
}

impl Refused {
    /// What is to be logged now: how much, and what was answered last.
    fn take(&mut self, now: Instant) -> Option<(u64, String)> {
        let is_time = self.told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY);
        if self.untold == 0 || !is_time {
            return None;
        }
        self.told = Some(now);
        Some((std::mem::take(&mut self.untold), std::mem::take(&mut self.latest)))
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self(Arc::new(Inner {
            refused: Mutex::default(),
            uploads: Mutex::default(),
            // From half a millisecond to 16 s.
            receipts: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            // From one transaction to all that share a sync.
            batches: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            // From a tenth of a millisecond to 3 s.
            syncs: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
        }))
    }
}

impl Counts {
    fn refused(&self) -> MutexGuard<'_, BTreeMap<Class, Refused>> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was refused with this answer. The first of a class is logged at once, the others with the
    /// next [`Counts::tell`].
    pub(crate) fn refuse(&self, class: Class, answer: &dyn Display) {
        self.refuse_at(Instant::now(), class, answer);
    }

    fn refuse_at(&self, now: Instant, class: Class, answer: &dyn Display) {
        let mut all = self.refused();
        let refused = all.entry(class).or_default();
        refused.count += 1;
        refused.untold += 1;
        // The text only where it is told: somebody who is refused a million times costs no million texts.
        if refused.latest.is_empty() {
            refused.latest = answer.to_string();
        }
        let told = refused.take(now);
        drop(all);
        if let Some((count, latest)) = told {
            events::refused(class, count, &latest);
        }
    }

    /// Weights came whole.
    pub(crate) fn uploaded(
        &self,
        digest: &dyn Display,
        bytes: u64,
        from: Peer,
        key: Option<LearnerId>,
    ) {
        if self.uploads().take() {
            events::uploaded(digest, bytes, from, key);
        }
    }

    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs what is not logged yet: of refusals each class once a minute at most, and how many uploads had no line.
    pub(crate) fn tell(&self) {
        let uploads = self.uploads().renew(Instant::now());
        if uploads > 0 {
            events::more_uploaded(uploads);
        }
        for (class, count, latest) in self.take_untold(Instant::now()) {
            events::refused(class, count, &latest);
        }
    }

    fn take_untold(&self, now: Instant) -> Vec<(Class, u64, String)> {
        let mut all = self.refused();
        let told = all.iter_mut().filter_map(|(class, refused)| {
            refused.take(now).map(|(count, latest)| (*class, count, latest))
        });
        told.collect()
    }

    /// How often each class was refused since the node was started.
    pub(super) fn refusals(&self) -> Vec<(Class, u64)> {
        self.refused().iter().map(|(class, refused)| (*class, refused.count)).collect()
    }

    /// So many transactions that came together have their receipts after this time.
    pub(crate) fn receipts(&self, count: usize, took: Duration) {
        for _ in 0..count {
            self.0.receipts.observe(took.as_secs_f64());
        }
    }

    /// So many transactions were decided together.
    pub(crate) fn batch(&self, transactions: usize) {
        self.0.batches.observe(transactions as f64);
    }

    /// A batch was made durable in this time.
    pub(crate) fn sync(&self, took: Duration) {
        self.0.syncs.observe(took.as_secs_f64());
    }

    /// How long receipts took, how many transactions batches have, and how long these took to be durable.
    pub(super) fn histograms(&self) -> [Histogram; 3] {
        let Inner { receipts, batches, syncs, .. } = &*self.0;
        [receipts.clone(), batches.clone(), syncs.clone()]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_told_once_a_minute_with_all_that_came_since() {
        let counts = Counts::default();
        let (start, class) = (Instant::now(), Class::Rule(8));
        for _ in 0..1_000 {
            counts.refuse_at(start, class, &"again");
        }
        counts.refuse_at(start, Class::Door("calls"), &"too much");
        // Each was told at once when it came first.
        assert_eq!(counts.take_untold(start + TOLD_EVERY / 2), []);
        let told = counts.take_untold(start + TOLD_EVERY);
        assert_eq!(told, [(class, 999, "again".to_owned())]);
        assert_eq!(counts.take_untold(start + 2 * TOLD_EVERY), []);
        assert_eq!(counts.refusals(), [(class, 1_000), (Class::Door("calls"), 1)]);
        assert_eq!((class.by(), &*class.word()), ("contract", "R8"));
    }

    #[test]
    fn of_many_uploads_some_have_a_line_and_the_others_are_counted() {
        let (mut uploads, start) = (Uploads::default(), Instant::now());
        assert_eq!(uploads.renew(start), 0);
        assert_eq!((0..1_000).filter(|_| uploads.take()).count(), 100);
        assert_eq!(uploads.renew(start + TOLD_EVERY / 2), 0);
        assert!(!uploads.take());
        assert_eq!(uploads.renew(start + TOLD_EVERY), 901);
        assert!(uploads.take());
        assert_eq!(uploads.renew(start + 2 * TOLD_EVERY), 0);
    }
}
