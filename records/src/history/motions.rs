//! What was moved, and what became of it.

use std::collections::BTreeMap;

use colearn_contracts::{LearnerId, Motion, Parameters};

use crate::words::Word as _;

/// What was moved.
#[derive(Clone, PartialEq, Debug)]
pub struct Moved {
    /// The motion's number.
    pub number: u64,
    /// Who moved it.
    pub mover: LearnerId,
    /// What was to be decided.
    pub motion: Motion,
    /// The rules that were in force then.
    pub rules: Option<Box<Parameters>>,
    /// Who voted for it (`true`) or against it. Its mover is not among them: from version 2 of the rules on its own
    /// vote counts for it.
    pub votes: BTreeMap<LearnerId, bool>,
    /// How the vote ended, if it has.
    pub decided: Option<MotionResult>,
    /// Whether it is in effect: some only are once a round is over.
    pub in_effect: bool,
}

/// How the vote on a motion ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MotionResult {
    /// Whether it was adopted.
    pub adopted: bool,
    /// Votes for.
    pub approvals: u32,
    /// Votes against.
    pub rejections: u32,
    /// How many could vote.
    pub electorate: u32,
}

impl Moved {
    /// As JSON for scripts.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let votes = self.votes.iter().map(|(voter, approve)| (voter.to_string(), *approve));
        let votes: BTreeMap<String, bool> = votes.collect();
        serde_json::json!({
            "number": self.number,
            "mover": self.mover.to_string(),
            "motion": self.motion.word(),
            "votes": votes,
            "adopted": self.decided.map(|it| it.adopted),
            "approvals": self.decided.map(|it| it.approvals),
            "rejections": self.decided.map(|it| it.rejections),
            "electorate": self.decided.map(|it| it.electorate),
            "in_effect": self.in_effect,
        })
    }
}
