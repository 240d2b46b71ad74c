//! Counting the votes on a round's merges (R82 to R84, R86, R88).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ballot::{MergeVote, Reason};
use crate::merging::{Merge, Merges};
use crate::outcome::Verdict;
use crate::parameters::Threshold;
use crate::tally::Tally;

/// What becomes of a round's merges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MergeVerdict {
    /// This one is the global model.
    Accepted(Merge),
    /// Neither can be borne.
    Rejected,
    /// No pair was named by enough.
    NoAgreement,
}

impl MergeVerdict {
    /// What it is of the round.
    pub fn of_round(self) -> Verdict {
        match self {
            Self::Accepted(_) => Verdict::Accepted,
            Self::Rejected => Verdict::Rejected,
            Self::NoAgreement => Verdict::NoAgreement,
        }
    }
}

/// The votes that name one pair of merges, as sums of weights (R37).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Named {
    /// The how many-th pair it was that anybody named, from 1.
    pub number: u32,
    /// The votes that name it.
    pub weight: u32,
    /// How many of the checkers name it.
    pub checkers: u32,
    /// Those of the votes that can bear the open merge.
    pub bear_open: u32,
    /// Those that can bear the guarded one.
    pub bear_guarded: u32,
    /// Those to whom the guarded one is better.
    pub prefer_guarded: u32,
}

/// The count of the votes on merges.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MergeTally {
    /// The votes there are; frozen when voting begins (R73).
    pub electorate: u32,
    /// The votes that were cast.
    pub cast: u32,
    /// Those that judge nothing (R81).
    pub abstentions: u32,
    /// Those of these that could not get the bytes.
    pub unavailable: u32,
    /// How many checkers there are (R86).
    pub checkers: u32,
    /// How many of them have voted.
    pub checkers_cast: u32,
    /// Every pair that somebody names. One that most name is alone in that, so liars can add pairs, and
    /// change nothing.
    pub(crate) pairs: BTreeMap<Merges, Named>,
    /// The pair that the most name so far, so that no vote has to look for it.
    pub(crate) leading: Merges,
    /// The pairs that a checker names: no more than there are checkers.
    pub(crate) checked: BTreeSet<Merges>,
    /// How many pairs there are beside, where only a part was read ([`pieces`](crate::pieces)); no part of
    /// the state.
    #[serde(skip)]
    pub(crate) unread: u32,
}

impl MergeTally {
    /// No votes yet, of so many, and so many checkers.
    pub fn of(electorate: u32, checkers: u32) -> Self {
        Self {
            electorate,
            cast: 0,
            abstentions: 0,
            unavailable: 0,
            checkers,
            checkers_cast: 0,
            pairs: BTreeMap::new(),
            leading: Merges::default(),
            checked: BTreeSet::new(),
            unread: 0,
        }
    }

    /// With these pairs, of those on which there were votes before: for who is told of a count and has
    /// not seen the votes. If several lead, the first of them does.
    pub fn with(self, named: impl IntoIterator<Item = (Merges, Named)>) -> Self {
        let mut tally = self;
        for (pair, votes) in named {
            tally.pairs.insert(pair, votes);
            if votes.weight > tally.leading().weight || tally.pairs.len() == 1 {
                tally.leading = pair;
            }
            if votes.checkers > 0 {
                tally.checked.insert(pair);
            }
        }
        tally
    }

    /// The votes that were not cast.
    pub fn outstanding(&self) -> u32 {
        self.electorate - self.cast
    }

    /// The pairs that were named, with their votes: the one that the most name first.
    pub fn named(&self) -> impl Iterator<Item = (&Merges, &Named)> {
        let leading = self.pairs.get_key_value(&self.leading);
        let others = self.pairs.iter().filter(|(pair, _)| **pair != self.leading);
        leading.into_iter().chain(others)
    }

    /// How many pairs were named.
    pub(crate) fn count(&self) -> u32 {
        // No more than there are votes.
        self.pairs.len() as u32 + self.unread
    }

    /// The votes for the pair that the most name.
    pub fn leading(&self) -> Named {
        self.pairs.get(&self.leading).copied().unwrap_or_default()
    }

    /// Adds a vote, of a checker or of somebody else. Gives the number of the pair that it names; 0 for
    /// an abstention.
    pub fn add(&mut self, vote: &MergeVote, weight: u32, is_checker: bool) -> u32 {
        self.cast += weight;
        // Everybody in the electorate votes once (R20).
        assert!(self.cast <= self.electorate, "more votes than there are");
        self.checkers_cast += u32::from(is_checker);
        assert!(self.checkers_cast <= self.checkers, "more checkers than there are");
        if vote.is_abstention() {
            self.abstentions += weight;
            if vote.reason == Some(Reason::Unavailable) {
                self.unavailable += weight;
            }
            return 0;
        }
        let next = self.count() + 1;
        let named = self.pairs.entry(vote.merges).or_default();
        if named.number == 0 {
            named.number = next;
        }
        if is_checker && named.checkers == 0 {
            self.checked.insert(vote.merges);
        }
        named.weight += weight;
        named.checkers += u32::from(is_checker);
        named.bear_open += if vote.bear_open { weight } else { 0 };
        named.bear_guarded += if vote.bear_guarded { weight } else { 0 };
        named.prefer_guarded += if vote.prefer_guarded { weight } else { 0 };
        let (number, weight) = (named.number, named.weight);
        if weight > self.leading().weight {
            self.leading = vote.merges;
        }
        number
    }

    /// R82, R86. The pair that was agreed on, and its votes. There is one at most: more than half name
    /// it.
    pub fn agreed(&self) -> Option<(&Merges, &Named)> {
        let (pair, named) = self.pairs.get_key_value(&self.leading)?;
        let enough = self.is_most(named.weight) && self.is_checked(named.checkers);
        enough.then_some((pair, named))
    }

    /// What the verdict is if no more votes come.
    pub fn verdict(&self, threshold: Threshold) -> MergeVerdict {
        match self.agreed() {
            Some((pair, named)) => self.judge(pair, named, threshold),
            None => MergeVerdict::NoAgreement,
        }
    }

    /// R88. The verdict, if it is the same whatever is still said: by votes of this weight, and by so
    /// many checkers among those who cast them.
    pub fn settled(
        &self,
        to_come: u32,
        checkers_to_come: u32,
        threshold: Threshold,
    ) -> Option<MergeVerdict> {
        let now = self.verdict(threshold);
        let settled = match self.agreed() {
            // Each count can only grow, and what a verdict asks of it is to reach something. So where
            // none of what may come and all of it have one verdict, all between have it too.
            Some((pair, named)) => (0..8_u8).all(|more| {
                let add = |bit: u8| if more & bit == 0 { 0 } else { to_come };
                let then = Named {
                    bear_open: named.bear_open + add(1),
                    bear_guarded: named.bear_guarded + add(2),
                    prefer_guarded: named.prefer_guarded + add(4),
                    ..*named
                };
                self.judge(pair, &then, threshold) == now
            }),
            None => to_come == 0 || !self.can_agree(to_come, checkers_to_come),
        };
        settled.then_some(now)
    }

    /// Whether enough may yet name one pair, be it one that nobody has named so far.
    fn can_agree(&self, to_come: u32, checkers_to_come: u32) -> bool {
        if self.is_checked(checkers_to_come) {
            // Those checkers who are to come are enough for any pair: the leading one is the nearest.
            return self.is_most(self.leading().weight + to_come);
        }
        self.checked.iter().filter_map(|pair| self.pairs.get(pair)).any(|named| {
            self.is_most(named.weight + to_come)
                && self.is_checked(named.checkers + checkers_to_come)
        })
    }

    /// R82. Whether these votes are more than half.
    fn is_most(&self, votes: u32) -> bool {
        u64::from(votes) * 2 > u64::from(self.electorate)
    }

    /// R86. Whether so many checkers are two thirds of them.
    fn is_checked(&self, checkers: u32) -> bool {
        u64::from(checkers) * 3 >= u64::from(self.checkers) * 2
    }

    /// R84. Which of an agreed pair is accepted, by these votes.
    fn judge(&self, pair: &Merges, votes: &Named, threshold: Threshold) -> MergeVerdict {
        let bearable = |merge: Merge, bear: u32| {
            pair.of(merge).is_some() && threshold.is_met(bear, self.electorate)
        };
        let open = bearable(Merge::Open, votes.bear_open);
        let guarded = bearable(Merge::Guarded, votes.bear_guarded);
        if guarded && (!open || self.is_most(votes.prefer_guarded)) {
            MergeVerdict::Accepted(Merge::Guarded)
        } else if open {
            MergeVerdict::Accepted(Merge::Open)
        } else {
            MergeVerdict::Rejected
        }
    }

    /// As the count of a round is told: for it are those who can bear what was accepted, or, where
    /// nothing was, what more of them can bear; and nobody where nothing was agreed on.
    pub fn told(&self, threshold: Threshold) -> Tally {
        let approvals = match (self.agreed(), self.verdict(threshold)) {
            (None, _) | (Some(_), MergeVerdict::NoAgreement) => 0,
            (Some((_, votes)), MergeVerdict::Accepted(Merge::Open)) => votes.bear_open,
            (Some((_, votes)), MergeVerdict::Accepted(Merge::Guarded)) => votes.bear_guarded,
            (Some((_, votes)), MergeVerdict::Rejected) => votes.bear_open.max(votes.bear_guarded),
        };
        Tally {
            electorate: self.electorate,
            approvals,
            rejections: self.cast - self.abstentions - approvals,
            abstentions: self.abstentions,
            unavailable: self.unavailable,
        }
    }
}
