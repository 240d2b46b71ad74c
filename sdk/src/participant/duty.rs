//! What a learner owes, and why it owes nothing any more.

use std::collections::BTreeSet;
use std::time::Duration;

use colearn_contracts::{
    Digest, FinishReason, LearnerId, Merges, Merging, Model, PrivacyCap, PrivacySpent,
    SuspendReason, Version,
};

use super::{Statement, Turn};

/// What a learner owes now.
#[derive(Clone, PartialEq, Debug)]
pub enum Duty {
    /// Take these weights, the global model, as the current ones; then
    /// [`super::Participant::accepted`]. If they cannot be had, and something is owed until
    /// [`super::Participant::deadline_ms`]: [`super::Participant::unavailable`], shortly before.
    Accept(Model),
    /// It is this learner's turn: [`crate::turn::take`] it; then [`super::Participant::trained`].
    Train(Assignment),
    /// Score what another proposes; then [`super::Participant::scored`]. If it cannot be had until
    /// shortly before [`super::Participant::deadline_ms`]: [`super::Participant::unavailable`].
    Score {
        /// The round.
        round: u64,
        /// The proposed weights.
        weights: Model,
    },
    /// Say which of the updates can be had; then [`super::Participant::gathered`].
    Gather {
        /// The round.
        round: u64,
        /// The updates, in order.
        updates: Vec<Model>,
    },
    /// Merge the round's updates and judge the merges ([`crate::merging`]); then
    /// [`super::Participant::judged`]. If they cannot be had until shortly before
    /// [`super::Participant::deadline_ms`]: [`super::Participant::unavailable`].
    Merge(MergeTask),
    /// Sign this, with the link that it has to carry ([`Statement::act_of`]), and submit it; then
    /// [`super::Participant::submitted`] or [`super::Participant::refused`].
    Submit(Statement),
    /// Submit again what was signed for this turn before; then as for `Submit`. If it has become too
    /// old (R71), the very same act is signed again.
    SubmitAgain(Turn),
    /// Ask how the experiment is described: a motion has changed the rules that was moved before this
    /// learner came, or the terms that it would join under; then [`super::Participant::set_rules`].
    AskRules,
    /// The experiment is paused for nobody proposing. If nothing happens for this long, let it go on:
    /// [`super::Participant::resume`].
    Resume {
        /// How long to wait first.
        pause: Duration,
    },
    /// Nothing, until the next record.
    Wait,
    /// Nothing any more.
    End(Ending),
}

/// What a turn asks of a learner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The round.
    pub round: u64,
    /// The global model that it begins from.
    pub base: Digest,
    /// The version of the rules that the experiment follows.
    pub version: Version,
    /// What proposals may reveal.
    pub cap: Option<PrivacyCap>,
    /// What the ledger has the learner say of its privacy: never may it say less.
    pub stated: Option<PrivacySpent>,
}

/// What a vote on merges asks of a learner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MergeTask {
    /// The round.
    pub round: u64,
    /// The global model, which all updates were trained from.
    pub base: Model,
    /// The model before it, if the last movement counts.
    pub previous: Option<Model>,
    /// What is merged, in order.
    pub updates: Vec<Model>,
    /// Which of these somebody has said that it lacks: whoever holds them has to see that they are to be had.
    pub lacked: BTreeSet<Digest>,
    /// How.
    pub rules: Merging,
    /// The merges, where others have computed them for this learner.
    pub named: Option<Merges>,
    /// Whether the base has to be scored, too.
    pub score_base: bool,
}

/// Why nothing is owed any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The experiment has finished.
    Finished {
        /// Why.
        reason: FinishReason,
        /// The final global model.
        model: Model,
        /// How many rounds were opened.
        rounds: u64,
    },
    /// This learner has left, by its own word.
    Left {
        /// The global model then.
        model: Model,
        /// How many rounds were opened.
        rounds: u64,
    },
    /// The members have taken this learner's seat.
    Unseated(SuspendReason),
    /// Another key goes on in this one's place.
    KeyReplaced(LearnerId),
}
