//! A learner's turn: what it trains, what that takes of its privacy, and what is proposed of it. The
//! client and the local backend take turns in the same way, for learners in any language.

use colearn_contracts::{Digest, PrivacySegment, PrivacySpent, Reason, Scores, Update};

use crate::learner::{Learner, LearnerError, Privacy, Proposed, Score, Weights};
use crate::participant::{Assignment, NOT_PRIVATE};
use crate::policy::PolicyError;
use crate::spending::{Spending, SpendingError};

/// What came of a turn.
#[derive(Clone, PartialEq, Debug)]
pub enum Trained {
    /// Weights to propose.
    Proposal {
        /// The weights.
        weights: Weights,
        /// What is stated of privacy with them, which is spent.
        privacy: Option<PrivacySpent>,
        /// How the learner itself scores them.
        scores: Scores,
    },
    /// Nothing: the turn is given up.
    Pass {
        /// Why, as it is recorded.
        reason: Option<Reason>,
        /// Why, for who runs the learner.
        told: Option<String>,
    },
    /// Nothing, now and later: the privacy budget is spent.
    Exhausted {
        /// In more words.
        told: Option<String>,
    },
}

/// Takes a learner's turn: trains unless a cap does not allow it, scores what came of it, and spends
/// what it took. Nothing may leave the process before this returns.
///
/// # Errors
/// That of the learner: the turn is passed, and nothing is spent.
pub fn take<L: Learner + ?Sized>(
    learner: &mut L,
    spending: &mut Spending,
    asked: &Assignment,
) -> Result<Trained, LearnerError> {
    Ok(match make(learner, spending, asked)? {
        Attempt::Made(made) => made.spend(learner, spending, asked),
        Attempt::Not(trained) => trained,
    })
}

/// Trains, unless a cap does not allow it, and scores what came of it.
pub(crate) fn make<L: Learner + ?Sized>(
    learner: &mut L,
    spending: &mut Spending,
    asked: &Assignment,
) -> Result<Attempt, LearnerError> {
    let mut attempt = train(learner, spending, asked)?;
    if let Attempt::Made(made) = &mut attempt {
        let score = learner.test(&made.weights)?;
        made.scores =
            cleared(learner, spending, asked.round, made.weights.digest(), score).scores();
    }
    Ok(attempt)
}

/// A score as it may leave: counted, where it has noise, and none where that must not be.
pub(crate) fn cleared<L: Learner + ?Sized>(
    learner: &L,
    spending: &mut Spending,
    round: u64,
    weights: Digest,
    score: Score,
) -> Score {
    if score.scores() == Scores::default() {
        return score;
    }
    match spending.spend_scores(weights, score.scores(), round, learner.score_privacy().as_ref()) {
        Ok(()) => score,
        // No news: it is what the site has decided.
        Err(SpendingError::Policy(PolicyError::Scores)) => score.unsaid(),
        Err(error) => {
            tracing::warn!(round, %error, "the scores stay here");
            score.unsaid()
        }
    }
}

/// What came of training.
pub(crate) enum Attempt {
    /// Weights that are not spent yet.
    Made(Made),
    /// Nothing to propose.
    Not(Trained),
}

/// Weights that must not leave the process before what they took is spent.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Made {
    pub(crate) weights: Weights,
    /// How the learner itself scores them.
    pub(crate) scores: Scores,
    /// What they took, if they were trained privately, and the δ that it is stated for.
    pub(crate) taken: Option<(PrivacySegment, u64)>,
}

/// Trains, unless a cap does not allow it.
pub(crate) fn train<L: Learner + ?Sized>(
    learner: &mut L,
    spending: &mut Spending,
    asked: &Assignment,
) -> Result<Attempt, LearnerError> {
    let planned = learner.privacy();
    match &planned {
        None if asked.cap.is_some() => return Ok(passes(Reason::Policy, NOT_PRIVATE)),
        // Without a step nothing is trained; the learner says why.
        Some(planned) if planned.segment.steps > 0 => {
            if let Err(error) = spending.after(planned, asked) {
                return Ok(Attempt::Not(error.into()));
            }
        }
        Some(_) | None => {}
    }
    if let Err(error) = spending.check_policy(planned.as_ref()) {
        return Ok(Attempt::Not(error.into()));
    }
    Ok(match (learner.propose()?, planned) {
        (Proposed::Weights(weights), None) => Attempt::Made(Made::new(weights, None)),
        // What it took counts, whatever it had planned.
        (Proposed::Private(weights, segment), Some(planned)) => {
            Attempt::Made(Made::new(weights, Some((segment, planned.delta_picos))))
        }
        (Proposed::Weights(_), Some(_)) => passes(
            Reason::Policy,
            "the learner was to train privately, and did not say what it took",
        ),
        (Proposed::Private(..), None) => {
            passes(Reason::Policy, "the learner did not say before that it would train privately")
        }
        (Proposed::Pass(reason), _) => Attempt::Not(Trained::Pass { reason, told: None }),
        (Proposed::Exhausted, _) => Attempt::Not(Trained::Exhausted { told: None }),
    })
}

impl Made {
    fn new(weights: Weights, taken: Option<(PrivacySegment, u64)>) -> Self {
        Self { weights, scores: Scores::default(), taken }
    }

    /// Spends what the weights took, so that they can be proposed. They may have been made before a
    /// restart; the learner's own limit is that of now.
    pub(crate) fn spend<L: Learner + ?Sized>(
        self,
        learner: &L,
        spending: &mut Spending,
        asked: &Assignment,
    ) -> Trained {
        let Self { weights, scores, taken } = self;
        let scores = match spending.release_kept_scores(scores, weights.digest(), asked.round) {
            Ok(()) => scores,
            // No news: it is what the site has decided.
            Err(SpendingError::Policy(_)) => Scores::default(),
            Err(error) => {
                tracing::warn!(round = asked.round, %error, "the scores stay here");
                Scores::default()
            }
        };
        let max_epsilon_micros = learner.privacy().and_then(|privacy| privacy.max_epsilon_micros);
        let spent = match taken {
            Some((segment, delta_picos)) => {
                let taken = Privacy { segment, delta_picos, max_epsilon_micros };
                spending.spend(weights.digest(), &taken, asked).map(Some)
            }
            // It may have been made before there was a policy.
            None => spending.spend_unprotected(weights.digest(), asked).map(|()| None),
        };
        match spent {
            Ok(privacy) => Trained::Proposal { weights, privacy, scores },
            Err(error) => error.into(),
        }
    }

    /// Whether these weights may leave with an update that was sealed before a restart: all that leaves with it
    /// follows the policy of now, and is spent. Why not, otherwise.
    pub(crate) fn release<L: Learner + ?Sized>(
        self,
        sealed: &Update,
        learner: &L,
        spending: &mut Spending,
        asked: &Assignment,
    ) -> Result<(), String> {
        if self.weights.digest() != sealed.weights.digest || asked.round != sealed.round {
            return Err("it is not of what was trained for this round".to_owned());
        }
        let digest = sealed.weights.digest;
        let kept = spending.release_kept_scores(sealed.scores, digest, sealed.round);
        kept.map_err(|error| error.to_string())?;
        match self.spend(learner, spending, asked) {
            Trained::Proposal { privacy, .. } if privacy == sealed.privacy => Ok(()),
            Trained::Proposal { .. } => Err("it states another privacy than is spent".to_owned()),
            Trained::Pass { told, .. } | Trained::Exhausted { told } => {
                Err(told.unwrap_or_else(|| "it is not to leave".to_owned()))
            }
        }
    }
}

fn passes(reason: Reason, told: &str) -> Attempt {
    Attempt::Not(Trained::Pass { reason: Some(reason), told: Some(told.to_owned()) })
}

impl From<SpendingError> for Trained {
    fn from(error: SpendingError) -> Self {
        let told = Some(error.to_string());
        match error.is_exhausted() {
            true => Self::Exhausted { told },
            false => Self::Pass { reason: Some(error.reason()), told },
        }
    }
}
