//! A learner of a simulation: built in, or somebody's own.

use std::ops::{Deref, DerefMut};

use super::own::OwnLearner;
use colearn_learning::BuiltinLearner;
use colearn_sdk::learner::{Learner, Result, Score};

/// A learner of a simulation.
pub(super) enum Subject {
    /// One on a share of the scenario's data.
    Builtin(Box<BuiltinLearner>),
    /// One that was handed in.
    Own(OwnLearner),
}

impl Subject {
    /// The learner, where it is built in.
    pub(super) fn builtin(&self) -> Option<&BuiltinLearner> {
        match self {
            Self::Builtin(learner) => Some(learner),
            Self::Own(_) => None,
        }
    }

    /// As [`Self::builtin`].
    pub(super) fn builtin_mut(&mut self) -> Option<&mut BuiltinLearner> {
        match self {
            Self::Builtin(learner) => Some(learner),
            Self::Own(_) => None,
        }
    }

    /// What its present weights are worth on its test rows; of one's own that cannot tell it is no number.
    ///
    /// # Errors
    /// If those of a built-in one cannot be read.
    pub(super) fn test_score(&mut self) -> Result<f64> {
        match self {
            Self::Builtin(learner) => learner.test_score(),
            Self::Own(learner) => {
                let current = learner.current();
                Ok(learner.test(&current).map_or(f64::NAN, |score| tested(&score)))
            }
        }
    }
}

impl Deref for Subject {
    type Target = dyn Learner + Send;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Builtin(learner) => &**learner,
            Self::Own(learner) => &**learner,
        }
    }
}

impl DerefMut for Subject {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Builtin(learner) => &mut **learner,
            Self::Own(learner) => &mut **learner,
        }
    }
}

/// The score on data that decides nothing, or where a learner keeps none, the one that it votes on.
pub(super) fn tested(score: &Score) -> f64 {
    score.test.unwrap_or(score.vote)
}

/// The mean of those that are numbers; no number if there are none.
pub(super) fn mean(scores: impl IntoIterator<Item = f64>) -> f64 {
    let scores: Vec<f64> = scores.into_iter().filter(|score| !score.is_nan()).collect();
    scores.iter().sum::<f64>() / scores.len() as f64
}
