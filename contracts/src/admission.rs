//! Who may join an experiment, and with how many votes.

use serde::{Deserialize, Serialize};

use crate::{InvalidParameters, LearnerId, Parameters};

/// The most learners an invitation can list (R2); an entry holds at most 65,535 bytes.
pub const MAX_INVITED: usize = 1_500;
/// The most votes one member can have (R2).
pub const MAX_WEIGHT: u32 = 10_000;

/// A learner that may join, and what its vote weighs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// The learner.
    pub learner: LearnerId,
    /// 1 to [`MAX_WEIGHT`].
    pub weight: u32,
}

/// Who may join (R6). Fixed for the experiment's life, but for what the members decide (R48).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Admission {
    /// Anyone with a key, with one vote each.
    Open,
    /// The listed learners, in strictly ascending order of their keys.
    Invited(Vec<Share>),
    /// The listed founders, in strictly ascending order of their keys, and whom the members admit.
    ByVote(Vec<Share>),
}

impl Admission {
    /// The invitation of these learners, each with one vote.
    pub fn invite(learners: impl IntoIterator<Item = LearnerId>) -> Self {
        let mut shares: Vec<Share> =
            learners.into_iter().map(|learner| Share { learner, weight: 1 }).collect();
        shares.sort_by_key(|share| share.learner);
        Self::Invited(shares)
    }

    /// The learners that are named.
    pub fn shares(&self) -> &[Share] {
        match self {
            Self::Open => &[],
            Self::Invited(shares) | Self::ByVote(shares) => shares,
        }
    }

    /// Checks against R2.
    ///
    /// # Errors
    /// The first bound that is not kept.
    pub fn check(&self, parameters: &Parameters) -> Result<(), InvalidParameters> {
        let shares = self.shares();
        if *self != Self::Open {
            let ascending = shares.windows(2).all(|pair| pair[0].learner < pair[1].learner);
            if shares.is_empty() || shares.len() > MAX_INVITED || !ascending {
                return Err(InvalidParameters::Invited);
            }
        }
        if shares.iter().any(|share| !(1..=MAX_WEIGHT).contains(&share.weight)) {
            return Err(InvalidParameters::Weight);
        }
        if matches!(self, Self::Invited(_)) && parameters.min_learners as usize > shares.len() {
            return Err(InvalidParameters::MinLearners);
        }
        Ok(())
    }
}
