//! Counting votes: of a round, and of a motion.

use serde::{Deserialize, Serialize};

use crate::ballot::{Choice, Reason};
use crate::outcome::Verdict;
use crate::parameters::Threshold;

/// The count of votes. Where members' votes weigh differently, the sums of their weights (R37).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// The votes there are; frozen when voting begins (R19, R46).
    pub electorate: u32,
    /// Votes for.
    pub approvals: u32,
    /// Votes against.
    pub rejections: u32,
    /// Votes for neither side (R67).
    pub abstentions: u32,
    /// How many of those could not get the proposal's bytes (R68).
    pub unavailable: u32,
}

impl Tally {
    /// No votes yet, of so many.
    pub(crate) fn of(electorate: u32) -> Self {
        Self { electorate, ..Self::default() }
    }

    /// The votes that were cast, for either side or neither.
    pub fn cast(self) -> u32 {
        self.approvals + self.rejections + self.abstentions
    }

    /// The votes that were not cast.
    pub fn outstanding(self) -> u32 {
        self.electorate - self.cast()
    }

    /// Adds a vote.
    pub(crate) fn add(&mut self, choice: Choice, reason: Option<Reason>, weight: u32) {
        match choice {
            Choice::Approve => self.approvals += weight,
            Choice::Reject => self.rejections += weight,
            Choice::Abstain => {
                self.abstentions += weight;
                if reason == Some(Reason::Unavailable) {
                    self.unavailable += weight;
                }
            }
        }
        // Everybody in the electorate votes once (R20, R46).
        assert!(self.cast() <= self.electorate, "more votes than there are");
    }

    /// R68. Whether so many votes would be more than half.
    fn is_most(self, votes: u32) -> bool {
        u64::from(votes) * 2 > u64::from(self.electorate)
    }

    /// R21, R68. What the verdict is if no more votes come. Silence is not approval: the count is over
    /// the electorate, not over those who came.
    pub fn verdict(self, threshold: Threshold) -> Verdict {
        if self.is_most(self.unavailable) {
            Verdict::Expired
        } else if threshold.is_met(self.approvals, self.electorate) {
            Verdict::Accepted
        } else {
            Verdict::Rejected
        }
    }

    /// R33, R47. The verdict, if none of the votes that may still come can change it any more.
    ///
    /// `to_come` is at most what is [outstanding](Self::outstanding): of a sealed ballot, only what
    /// was committed to can still be revealed. `may_lack` of them may yet say that they could not get
    /// the bytes (R68): none of a motion's, and none in version 1.
    ///
    /// ```
    /// use colearn_contracts::{Tally, Threshold, Verdict};
    ///
    /// let tally = Tally { electorate: 5, approvals: 1, rejections: 2, ..Tally::default() };
    /// assert_eq!(tally.settled(2, 0, Threshold::HALF), None);
    /// assert_eq!(tally.settled(1, 0, Threshold::HALF), Some(Verdict::Rejected));
    /// ```
    pub fn settled(self, to_come: u32, may_lack: u32, threshold: Threshold) -> Option<Verdict> {
        if self.is_most(self.unavailable) {
            Some(Verdict::Expired)
        } else if self.is_most(self.unavailable + may_lack) {
            None
        } else if threshold.is_met(self.approvals, self.electorate) {
            // Votes are never taken back, so what is accepted stays so.
            Some(Verdict::Accepted)
        } else if !threshold.is_met(self.approvals + to_come, self.electorate) {
            Some(Verdict::Rejected)
        } else {
            None
        }
    }
}
