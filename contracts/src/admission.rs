//! Who may join an experiment, and with how many votes.

use serde::{Deserialize, Serialize};

use crate::id::LearnerId;
use crate::parameters::{InvalidParameters, Parameters};

/// The most learners an invitation can list (R2); an entry holds at most 65,535 bytes.
pub const MAX_INVITED: usize = 1_500;
/// The most votes one member can have (R2).
pub const MAX_WEIGHT: u32 = 10_000;

/// A learner that may join, and what its vote weighs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invitation {
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
    Invited(Vec<Invitation>),
    /// The listed founders, in strictly ascending order of their keys, and whom the members admit.
    ByVote(Vec<Invitation>),
}

impl Admission {
    /// The invitation of these learners, each with one vote.
    pub fn invite(learners: impl IntoIterator<Item = LearnerId>) -> Self {
        let mut invitations: Vec<Invitation> =
            learners.into_iter().map(|learner| Invitation { learner, weight: 1 }).collect();
        invitations.sort_by_key(|it| it.learner);
        Self::Invited(invitations)
    }

    /// The learners that are named.
    pub fn invitations(&self) -> &[Invitation] {
        match self {
            Self::Open => &[],
            Self::Invited(invitations) | Self::ByVote(invitations) => invitations,
        }
    }

    /// Checks against R2.
    ///
    /// # Errors
    /// The first bound that is not kept.
    pub fn check(&self, parameters: &Parameters) -> Result<(), InvalidParameters> {
        let invitations = self.invitations();
        if *self != Self::Open {
            let ascending = invitations.windows(2).all(|pair| pair[0].learner < pair[1].learner);
            if invitations.is_empty() || invitations.len() > MAX_INVITED || !ascending {
                return Err(InvalidParameters::Invited);
            }
        }
        if invitations.iter().any(|it| !(1..=MAX_WEIGHT).contains(&it.weight)) {
            return Err(InvalidParameters::Weight);
        }
        if matches!(self, Self::Invited(_)) && parameters.min_learners as usize > invitations.len()
        {
            return Err(InvalidParameters::MinLearners);
        }
        Ok(())
    }
}
