//! A merged round, counted once more: who sent what, what of it is merged, and what the votes come to.

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{
    Decision, Digest, Experiment, LearnerId, Merge, MergeVote, Merges, Parameters, Reason, Sent,
    Tally, Verdict,
};

use super::shadow::reaches;

/// One merged round, from what was asked in it.
#[derive(Default)]
pub(crate) struct Counted {
    participants: Vec<LearnerId>,
    checkers: BTreeSet<LearnerId>,
    sent: BTreeMap<LearnerId, Digest>,
    /// What each member has said that it holds, with its weight.
    held: BTreeMap<LearnerId, (u32, u64)>,
    /// What was told of as sent or merged last.
    told: Vec<Sent>,
    electorate: u32,
    votes: BTreeMap<LearnerId, (u32, MergeVote)>,
    /// What was decided of the merges.
    pub(crate) accepted: Option<Digest>,
    pub(crate) verdict: Option<Verdict>,
}

impl Counted {
    pub(crate) fn opened(participants: &[LearnerId], checkers: &[LearnerId]) -> Self {
        assert!(!participants.is_empty() && participants.len() <= 64 && checkers.len() <= 64);
        let checkers = checkers.iter().copied().collect();
        Self { participants: participants.to_vec(), checkers, ..Self::default() }
    }

    pub(crate) fn sent(&mut self, before: &Experiment, sender: LearnerId, weights: Digest) {
        assert!(self.participants.contains(&sender), "who does not train has sent an update");
        assert!(self.sent.insert(sender, weights).is_none(), "sent twice");
        assert!(!before.was_global(weights));
    }

    pub(crate) fn passed(&self, sender: LearnerId) {
        assert!(self.participants.contains(&sender) && !self.sent.contains_key(&sender));
    }

    pub(crate) fn has(&mut self, sender: LearnerId, weight: u32, held: u64) {
        assert!(self.held.insert(sender, (weight, held)).is_none(), "said twice what it holds");
    }

    pub(crate) fn voted(&mut self, sender: LearnerId, weight: u32, vote: &MergeVote) {
        assert!(self.votes.insert(sender, (weight, vote.clone())).is_none(), "counted twice");
    }

    pub(crate) fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        let learners =
            self.participants.iter_mut().chain(self.told.iter_mut().map(|it| &mut it.learner));
        learners.filter(|it| **it == from).for_each(|it| *it = to);
        if self.checkers.remove(&from) {
            self.checkers.insert(to);
        }
        if let Some(sent) = self.sent.remove(&from) {
            self.sent.insert(to, sent);
        }
        if let Some(held) = self.held.remove(&from) {
            self.held.insert(to, held);
        }
        if let Some(vote) = self.votes.remove(&from) {
            self.votes.insert(to, vote);
        }
    }

    /// What is to be told as sent, in joining order.
    fn all_sent(&self) -> Vec<Sent> {
        let sent = |it: &LearnerId| Some(Sent { learner: *it, weights: *self.sent.get(it)? });
        self.participants.iter().filter_map(sent).collect()
    }

    pub(crate) fn gathering(&mut self, updates: &[Sent]) {
        assert_eq!(updates, self.all_sent());
        self.told = updates.to_vec();
    }

    pub(crate) fn voting(&mut self, updates: &[Sent], electorate: u32, gathers: bool) {
        let all = self.all_sent();
        let merged: Vec<Sent> = match gathers {
            false => all,
            true => {
                let holds = |i: usize| {
                    let who = self.held.values().filter(|(_, held)| held >> i & 1 == 1);
                    who.map(|(weight, _)| weight).sum::<u32>()
                };
                let said: u32 = self.held.values().map(|(weight, _)| weight).sum();
                assert!(2 * said > electorate, "merged what too few have spoken of");
                let all = all.into_iter().enumerate();
                all.filter(|(i, _)| 2 * holds(*i) > said).map(|(_, it)| it).collect()
            }
        };
        assert_eq!(updates, merged);
        assert!(!updates.is_empty());
        self.electorate = electorate;
    }

    /// Judges the votes, and gives what the round's count is to be.
    pub(crate) fn decided(&mut self, rules: &Parameters, decision: &Decision) -> Tally {
        let Decision::MergeDecided {
            agreed,
            named,
            bear_open,
            bear_guarded,
            prefer_guarded,
            accepted,
            ..
        } = decision
        else {
            panic!("{decision:?}")
        };
        let weigh = |which: &dyn Fn(&MergeVote) -> bool| -> u32 {
            let votes = self.votes.values().filter(|(_, vote)| which(vote));
            votes.map(|(weight, _)| weight).sum()
        };
        let pairs: BTreeSet<Merges> = self.votes.values().map(|(_, vote)| vote.merges).collect();
        let pairs = || pairs.iter().filter(|pair| **pair != Merges::default());
        let most = pairs().map(|pair| weigh(&|vote| vote.merges == *pair)).max().unwrap_or(0);
        assert_eq!(*named, most);
        let checked = |pair: &Merges| {
            let by = self.votes.iter().filter(|(who, _)| self.checkers.contains(who));
            by.filter(|(_, (_, vote))| vote.merges == *pair).count() * 3 >= self.checkers.len() * 2
        };
        let enough = |pair: &&Merges| {
            2 * weigh(&|vote| vote.merges == **pair) > self.electorate && checked(pair)
        };
        let found = pairs().find(enough);
        assert_eq!(agreed.as_ref(), found);
        let (abstentions, cast) = (weigh(&MergeVote::is_abstention), weigh(&|_| true));
        let mut tally = Tally {
            electorate: self.electorate,
            abstentions,
            unavailable: weigh(&|vote| vote.reason == Some(Reason::Unavailable)),
            ..Tally::default()
        };
        let verdict = match found {
            None => {
                assert_eq!(*accepted, None);
                Verdict::NoAgreement
            }
            Some(pair) => {
                let of = |which: &dyn Fn(&MergeVote) -> bool| {
                    weigh(&|vote| vote.merges == *pair && which(vote))
                };
                let (open, guarded) = (of(&|it| it.bear_open), of(&|it| it.bear_guarded));
                let prefer = of(&|it| it.prefer_guarded);
                assert_eq!((*bear_open, *bear_guarded, *prefer_guarded), (open, guarded, prefer));
                let meets = |votes| reaches(rules.threshold, votes, self.electorate);
                let takes_open = pair.open.is_some() && meets(open);
                let takes_guarded = pair.guarded.is_some() && meets(guarded);
                let which = match (takes_open, takes_guarded, 2 * prefer > self.electorate) {
                    (true, true, false) | (true, false, _) => Some(Merge::Open),
                    (true, true, true) | (false, true, _) => Some(Merge::Guarded),
                    (false, false, _) => None,
                };
                assert_eq!(*accepted, which);
                self.accepted = which.and_then(|which| pair.of(which));
                tally.approvals = match which {
                    Some(Merge::Open) => open,
                    Some(Merge::Guarded) => guarded,
                    None => open.max(guarded),
                };
                if which.is_some() { Verdict::Accepted } else { Verdict::Rejected }
            }
        };
        self.verdict = Some(verdict);
        tally.rejections = cast - abstentions - tally.approvals;
        tally
    }
}
