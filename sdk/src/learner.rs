//! What a learner is: the one interface for the local backend and the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use colearn_contracts::{Choice, Digest, PrivacySegment, Reason, Scores};

pub use crate::weights::{LARGE_BYTES, SAFETENSORS, Weights};

/// Whatever a learner cannot do, in its own words.
pub type LearnerError = Box<dyn std::error::Error + Send + Sync>;

/// A failure with a reason of its own, to be recorded; of any other failure it is [`Reason::Failed`].
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Failure {
    /// The reason.
    pub reason: Reason,
    /// What happened.
    pub source: LearnerError,
}

impl Failure {
    /// The reason for a failure.
    pub(crate) fn reason_of(error: &LearnerError) -> Reason {
        error.downcast_ref::<Self>().map_or(Reason::Failed, |failure| failure.reason)
    }
}

/// What a learner's methods return.
pub type Result<T> = std::result::Result<T, LearnerError>;

/// What a learner proposes in its turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proposed {
    /// New weights.
    Weights(Weights),
    /// New weights, and what this training took, by itself. What all of them together have revealed is
    /// counted by whoever drives the learner ([`crate::spending`]).
    Private(Weights, PrivacySegment),
    /// Nothing: the turn is given up; why, if there is something to say.
    Pass(Option<Reason>),
    /// Nothing, now and later: the privacy budget is spent. The learner still votes.
    Exhausted,
}

impl Proposed {
    /// The proposed weights, if there are any.
    pub fn weights(&self) -> Option<&Weights> {
        match self {
            Self::Weights(weights) | Self::Private(weights, _) => Some(weights),
            Self::Pass(_) | Self::Exhausted => None,
        }
    }
}

/// What a learner's next training takes of the privacy of its data (DP-SGD), and how much it may take
/// at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Privacy {
    /// The settings, and how many steps with them.
    pub segment: PrivacySegment,
    /// The δ that ε is stated for, in millionths of a millionth.
    pub delta_picos: u64,
    /// The ε, in millionths, that this learner's data may reveal in all experiments of its key
    /// together;
    /// `None` for no limit of its own.
    pub max_epsilon_micros: Option<u64>,
}

/// What a learner thinks of some weights: should they become the global model? A `bool` says it too.
///
/// ```
/// use colearn_sdk::contracts::Reason;
/// use colearn_sdk::learner::Judgement;
/// assert_eq!(Judgement::from(true), Judgement::Approve);
/// assert_eq!(Judgement::from(false), Judgement::Reject(None));
/// assert_eq!(Judgement::Abstain(Some(Reason::TooLittleData)).reason(), Some(Reason::TooLittleData));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// They should.
    Approve,
    /// They should not; why, if there is something to say.
    Reject(Option<Reason>),
    /// This learner cannot tell; why not.
    Abstain(Option<Reason>),
}

impl From<bool> for Judgement {
    fn from(approve: bool) -> Self {
        if approve { Self::Approve } else { Self::Reject(None) }
    }
}

impl Judgement {
    /// What the vote says.
    pub fn choice(self) -> Choice {
        match self {
            Self::Approve => Choice::Approve,
            // Whoever has not seen them has nothing against them (R67).
            Self::Reject(Some(Reason::Unavailable)) | Self::Abstain(_) => Choice::Abstain,
            Self::Reject(_) => Choice::Reject,
        }
    }

    /// Why not.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Approve => None,
            Self::Reject(reason) | Self::Abstain(reason) => reason,
        }
    }
}

/// A learner's judgement of some weights on its own data.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Score {
    /// The score the judgement is based on, for example an accuracy between 0 and 1.
    pub vote: f64,
    /// The score on data that decides nothing, if the learner keeps any.
    pub test: Option<f64>,
    /// Whether the weights should become the global model.
    pub judgement: Judgement,
}

impl Score {
    /// A score, and what follows from it.
    pub fn new(vote: f64, judgement: impl Into<Judgement>) -> Self {
        Self { vote, test: None, judgement: judgement.into() }
    }

    /// The judgement, without what it is based on.
    pub fn unsaid(self) -> Self {
        Self::none(self.judgement)
    }

    /// No score, but a judgement.
    pub fn none(judgement: impl Into<Judgement>) -> Self {
        Self::new(f64::NAN, judgement)
    }

    /// As recorded: in micro-units, absent where it is not a finite number.
    pub fn scores(&self) -> Scores {
        Scores { vote: micro(self.vote), test: self.test.and_then(micro) }
    }
}

/// A number in micro-units, clamped to what fits.
fn micro(value: f64) -> Option<i64> {
    // The cast saturates.
    value.is_finite().then(|| (value * 1e6).round() as i64)
}

/// Weights, and what a learner has found them to be worth.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scored<'a> {
    /// The weights.
    pub weights: &'a Weights,
    /// Their score, as [`Learner::test`] gave it.
    pub score: Score,
}

/// What a learner is about to be asked, for one that hands its work on to another process or machine.
#[derive(Clone, Debug)]
pub struct Task {
    /// The round.
    pub round: u64,
    /// What for.
    pub work: Work,
    /// The global model that the round begins from.
    pub base: Digest,
    /// Ledger time at which it is too late, in ms since 1970, exclusive.
    pub deadline_ms: Option<u64>,
    over: Arc<AtomicBool>,
}

/// What a learner works for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// A proposal, which the others vote on: it trains, and scores what came of it.
    Propose,
    /// An update, which is merged with the others': likewise.
    Update,
    /// Its vote on what another proposes.
    Vote,
    /// Its vote on the merges of a round.
    Merge,
}

impl Task {
    /// A task that is not over.
    pub fn new(round: u64, work: Work, base: Digest, deadline_ms: Option<u64>) -> Self {
        Self { round, work, base, deadline_ms, over: Arc::default() }
    }

    /// Whether nobody needs it any more, such as when the round was decided by others. Clones of a task are over
    /// with it.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Nobody needs it any more.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A participant with private data.
///
/// Implement this once; run it on one machine with [`crate::local::run`] and on a ledger with
/// [`crate::client::run`].
pub trait Learner {
    /// It is about to be asked for what this task takes: `propose`, `test`, `measure`, `prefer`. One that gives
    /// `true` stops where the task is over ([`Task::is_over`]), so the ledger is followed while it works; by default
    /// whatever it does is waited for. Without a network nothing moves on meanwhile, and the answer does not count.
    fn begin(&mut self, task: &Task) -> bool {
        let _ = task;
        false
    }

    /// Trains on private data from the current weights, without changing them, and proposes the
    /// result.
    ///
    /// # Errors
    /// If it cannot; the turn is passed then, as *failed*, or for the reason of a [`Failure`].
    fn propose(&mut self) -> Result<Proposed>;

    /// What the next training will take of the privacy of its data; `None` for one without differential
    /// privacy. Asked before each training, which does not take place if a cap does not allow it.
    fn privacy(&self) -> Option<Privacy> {
        None
    }

    /// What a score takes of the privacy of the rows that it is of, where it has noise that hides them; `None` where it has
    /// none. Each score that leaves is counted; one that a limit does not allow stays here, and the vote leaves without.
    fn score_privacy(&self) -> Option<Privacy> {
        None
    }

    /// Scores weights on private data, without changing the current ones.
    ///
    /// # Errors
    /// If they cannot be scored, for example because their shapes are wrong; that counts as a vote
    /// against them, since judging them *failed*, or for the reason of a [`Failure`].
    fn test(&mut self, weights: &Weights) -> Result<Score>;

    /// How good weights are, as finely as this learner can tell: how that has swung from model to model
    /// decides what it can bear in merged rounds. It is never recorded. Without a method of its own it is the
    /// score that is voted on, which serves badly where that is an accuracy on a handful of rows: the same
    /// several times in a row, it leaves no room for anything lower.
    ///
    /// # Errors
    /// If they cannot be measured; then its judgement decides.
    fn measure(&mut self, scored: Scored<'_>) -> Result<f64> {
        Ok(scored.score.vote)
    }

    /// Whether, of the two merges of a round, the guarded one is better on private data; then the other
    /// is taken only if more than half do not think so. Without a method of its own a learner prefers what
    /// has the higher score, and nothing where they are equal or one is no number. What is fine-grained,
    /// such as a loss, serves better than an accuracy on a handful of rows.
    ///
    /// # Errors
    /// If they cannot be compared; then the guarded one is not preferred.
    fn prefer(&mut self, guarded: Scored<'_>, open: Scored<'_>) -> Result<bool> {
        Ok(guarded.score.vote > open.score.vote)
    }

    /// Takes weights as the current ones: the round accepted them, or they are where to begin.
    ///
    /// # Errors
    /// If they do not fit this learner, which cannot take part then.
    fn accept(&mut self, weights: &Weights) -> Result<()>;

    /// The current weights.
    fn current(&self) -> Weights;
}

impl<L: Learner + ?Sized> Learner for Box<L> {
    fn begin(&mut self, task: &Task) -> bool {
        (**self).begin(task)
    }

    fn propose(&mut self) -> Result<Proposed> {
        (**self).propose()
    }

    fn privacy(&self) -> Option<Privacy> {
        (**self).privacy()
    }

    fn score_privacy(&self) -> Option<Privacy> {
        (**self).score_privacy()
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        (**self).test(weights)
    }

    fn measure(&mut self, scored: Scored<'_>) -> Result<f64> {
        (**self).measure(scored)
    }

    fn prefer(&mut self, guarded: Scored<'_>, open: Scored<'_>) -> Result<bool> {
        (**self).prefer(guarded, open)
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        (**self).accept(weights)
    }

    fn current(&self) -> Weights {
        (**self).current()
    }
}
