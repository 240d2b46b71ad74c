//! What a learner owes, and why it owes nothing any more.

use std::time::Duration;

use colearn_contracts::{FinishReason, LearnerId, Model, PrivacyCap, SuspendReason};

use super::{Statement, Turn};

/// What a learner owes now.
#[derive(Clone, PartialEq, Debug)]
pub enum Duty {
    /// Take these weights, the global model, as the current ones; then [`super::Participant::accepted`].
    /// If they cannot be had, and something is owed until [`super::Participant::deadline_ms`]:
    /// [`super::Participant::unavailable`], shortly before.
    Accept(Model),
    /// It is this learner's turn: train from the current weights and score the result, unless the cap
    /// does not allow it ([`crate::learner::Proposed::within`]); then [`super::Participant::trained`].
    Train {
        /// The round.
        round: u64,
        /// What proposals may reveal.
        cap: Option<PrivacyCap>,
    },
    /// Score what another proposes; then [`super::Participant::scored`]. If it cannot be had until shortly
    /// before [`super::Participant::deadline_ms`]: [`super::Participant::unavailable`].
    Score {
        /// The round.
        round: u64,
        /// The proposed weights.
        weights: Model,
    },
    /// Sign this, with the link that it has to carry ([`Statement::act_of`]), and submit it; then [`super::Participant::submitted`] or [`super::Participant::refused`].
    Submit(Statement),
    /// Submit again what was signed for this turn before; then as for `Submit`. If it has become too old
    /// (R71), the very same act is signed again.
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
