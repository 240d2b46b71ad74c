//! What a ledger's entries come to in numbers, from the first one on: so that what is counted is the ledger's own, and
//! the same after a restart.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use colearn_contracts::{Act, Decision, ExperimentName, LearnerId, Outcome};
use colearn_records::record::{DecodedEntry, Record};
use colearn_records::transaction::Unverified;
use colearn_records::words::Word as _;

use crate::events;

/// What the entries come to; cheap to clone. Whoever reads the ledger tells it of each, in order.
#[derive(Clone)]
pub(crate) struct Chronicle(Arc<Mutex<Told>>);

/// What the entries so far come to.
#[derive(Default)]
pub(super) struct Told {
    /// How many entries there were when the node was started: what comes later is news.
    began: u64,
    followed: u64,
    /// When the last entry was recorded, in ms since 1970.
    pub(super) last_ms: u64,
    /// Transactions, by what they do.
    pub(super) acts: BTreeMap<&'static str, u64>,
    /// What the contract decided.
    pub(super) outcomes: u64,
    /// Entries of neither kind.
    pub(super) others: u64,
    /// Closed rounds, by verdict.
    pub(super) rounds: BTreeMap<&'static str, u64>,
    stories: BTreeMap<ExperimentName, Story>,
}

/// What the entries of one experiment come to.
#[derive(Default)]
pub(super) struct Story {
    /// The entry that created it.
    pub(super) created: u64,
    /// Closed rounds, by verdict.
    pub(super) rounds: BTreeMap<&'static str, u64>,
    /// When the last of them was closed, in ms since 1970.
    pub(super) last_round_ms: Option<u64>,
    /// When the last transaction of each was recorded, in ms since 1970; of nobody once it has finished.
    heard: HashMap<LearnerId, u64>,
}

impl Story {
    /// When the last transaction of somebody was recorded, in ms since 1970.
    pub(super) fn heard(&self, learner: &LearnerId) -> Option<u64> {
        self.heard.get(learner).copied()
    }
}

impl Chronicle {
    /// Of a ledger that has so many entries when the node is started.
    pub(crate) fn new(began: u64) -> Self {
        Self(Arc::new(Mutex::new(Told { began, ..Told::default() })))
    }

    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the next entry; logs it if it came since the node was started. `None` for one that cannot be read,
    /// which is for the audit to tell.
    pub(crate) fn note(&self, entry: Option<&DecodedEntry>) {
        let mut told = self.told();
        let is_news = told.followed >= told.began;
        told.note(entry);
        drop(told);
        if let Some(entry) = entry.filter(|_| is_news) {
            events::recorded(entry);
        }
    }
}

impl Told {
    /// How many entries were taken in.
    pub(super) fn followed(&self) -> u64 {
        self.followed
    }

    /// Whether all is taken in that was there at the start. Before that counters would seem to have fallen, and then to
    /// rise by all that the ledger holds.
    pub(super) fn is_caught_up(&self) -> bool {
        self.followed >= self.began
    }

    /// What the entries of an experiment come to.
    pub(super) fn story(&self, experiment: &ExperimentName) -> Option<&Story> {
        self.stories.get(experiment)
    }

    fn note(&mut self, entry: Option<&DecodedEntry>) {
        self.followed += 1;
        let Some(DecodedEntry { index, time_ms, record }) = entry else {
            self.others += 1;
            return;
        };
        self.last_ms = *time_ms;
        match record {
            Record::Transaction(transaction) => self.note_act(*index, *time_ms, transaction),
            Record::Outcome(outcome) => self.note_outcome(*time_ms, outcome),
            Record::Genesis(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => self.others += 1,
        }
    }

    fn note_act(&mut self, index: u64, time_ms: u64, transaction: &Unverified) {
        let what = &transaction.action.what;
        *self.acts.entry(what.word()).or_default() += 1;
        let experiment = &transaction.action.experiment;
        if let Act::Create(_) = what {
            self.stories.insert(experiment.clone(), Story { created: index, ..Story::default() });
        }
        let Some(story) = self.stories.get_mut(experiment) else { return };
        story.heard.insert(transaction.sender, time_ms);
        if let Act::ReplaceKey { to } = what {
            story.heard.remove(&transaction.sender);
            story.heard.insert(*to, time_ms);
        }
    }

    fn note_outcome(&mut self, time_ms: u64, Outcome { experiment, what }: &Outcome) {
        self.outcomes += 1;
        let story = self.stories.get_mut(experiment);
        match what {
            Decision::RoundClosed { verdict, .. } => {
                *self.rounds.entry(verdict.word()).or_default() += 1;
                if let Some(story) = story {
                    *story.rounds.entry(verdict.word()).or_default() += 1;
                    story.last_round_ms = Some(time_ms);
                }
            }
            Decision::Finished { .. } => {
                if let Some(story) = story {
                    story.heard = HashMap::new();
                }
            }
            Decision::RoundOpened { .. }
            | Decision::VotingOpened { .. }
            | Decision::RevealOpened { .. }
            | Decision::Waiting { .. }
            | Decision::Paused { .. }
            | Decision::Suspended { .. }
            | Decision::MotionOpened { .. }
            | Decision::MotionDecided { .. }
            | Decision::MotionTookEffect { .. }
            | Decision::TrainingOpened { .. }
            | Decision::GatheringOpened { .. }
            | Decision::MergeVotingOpened { .. }
            | Decision::MergeDecided { .. } => {}
        }
    }
}
