//! Who may join an experiment, with how many votes, as what, and under which name.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::LearnerId;
use crate::name::MemberName;
use crate::parameters::{InvalidParameters, Parameters};
use crate::version::Version;

/// The most learners an invitation can list (R2); an entry holds at most 65,535 bytes.
pub const MAX_INVITED: usize = 1_500;
/// The most votes one member can have (R2).
pub const MAX_WEIGHT: u32 = 10_000;

/// A learner that may join, and what its vote weighs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// The learner.
    pub learner: LearnerId,
    /// 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// Whether it only judges: it votes, and is never drawn to train (R65).
    pub judge: bool,
    /// What it is called (R64). No two invitations of an experiment have the same.
    pub name: Option<MemberName>,
}

impl Invitation {
    /// One that trains and votes, without a name.
    pub fn new(learner: LearnerId, weight: u32) -> Self {
        Self { learner, weight, judge: false, name: None }
    }

    /// Whether it says more than version 1 could.
    pub(crate) fn is_more(&self) -> bool {
        self.judge || self.name.is_some()
    }
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
            learners.into_iter().map(|learner| Invitation::new(learner, 1)).collect();
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

    /// R51. The first version that has all of it.
    pub fn needs(&self) -> Version {
        let more = self.invitations().iter().any(Invitation::is_more);
        if more { Version::V2 } else { Version::V1 }
    }

    /// Checks against R2, as this version of the rules has it.
    ///
    /// # Errors
    /// The first bound that is not kept.
    pub fn check(
        &self,
        version: Version,
        parameters: &Parameters,
    ) -> Result<(), InvalidParameters> {
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
        // Founders who are too few to begin could not even decide to begin with fewer: a motion in
        // version 1 needs a round.
        let all_there = matches!(self, Self::Invited(_))
            || (version.rules().constitution && matches!(self, Self::ByVote(_)));
        if all_there && parameters.min_learners as usize > invitations.len() {
            return Err(InvalidParameters::MinLearners);
        }
        let mut names = BTreeSet::new();
        if !invitations.iter().filter_map(|it| it.name.as_ref()).all(|name| names.insert(name)) {
            return Err(InvalidParameters::Names);
        }
        if *self != Self::Open && invitations.iter().all(|it| it.judge) {
            return Err(InvalidParameters::Judges);
        }
        Ok(())
    }
}
