//! Judging the merges of a round, and its end (R81 to R88).

use std::collections::BTreeMap;

use super::vote::{Cast, check_link, reveal_link};
use super::{MergeStage, MergedRound, Part, Phase, Stage};
use crate::ballot::{Commit, MergeVote, RevealMergeVote};
use crate::experiment::Experiment;
use crate::id::{Digest, LearnerId};
use crate::member::Member;
use crate::merge_tally::{MergeTally, MergeVerdict};
use crate::merging::Merge;
use crate::outcome::{Decision, Verdict};
use crate::parameters::{BallotKind, Close, Model};
use crate::rejection::Rejection;
use crate::sealed::SealedMergeVote;
use crate::step::Step;
use crate::tally::Tally;

impl Experiment {
    /// R79. What is merged is certain: puts the merges to the vote, whatever they are.
    pub(super) fn open_merge_voting(&mut self, step: &mut Step) {
        let electorate = self.roster.weight();
        let deadline_ms = step.deadline_ms(self.parameters.vote_deadline_ms);
        let stage = match self.parameters.ballot {
            BallotKind::Open => Stage::Open,
            BallotKind::Sealed => Stage::Commit { committed: 0 },
        };
        let Phase::Merged(open) = &mut self.rounds.phase else { return };
        // At most 64.
        let tally = MergeTally::of(electorate, open.checkers.len() as u32);
        open.stage = MergeStage::Voting { tally, stage };
        open.deadline_ms = deadline_ms;
        step.push(Decision::MergeVotingOpened {
            round: self.rounds.current,
            updates: open.sent(),
            electorate,
            deadline_ms,
        });
    }

    /// R81.
    pub(crate) fn vote_on_merges(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        vote: &MergeVote,
    ) -> Result<(), Rejection> {
        let current = self.rounds.current;
        let drawn = self.draws_from_chains();
        let member = self.check_merge_ballot(step, sender, vote.round, None, Cast::Vote)?;
        check_judgement(vote)?;
        check_link(member, drawn, vote.link)?;

        member.last_vote = current;
        reveal_link(member, vote.link, current);
        self.count_merge_vote(step, sender, vote);
        Ok(())
    }

    /// R34, R81.
    pub(super) fn commit_merge_vote(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        commit: &Commit,
    ) -> Result<(), Rejection> {
        let Commit { round, weights, commitment, link } = *commit;
        let current = self.rounds.current;
        let drawn = self.draws_from_chains();
        let member = self.check_merge_ballot(step, sender, round, Some(weights), Cast::Commit)?;
        check_link(member, drawn, link)?;

        member.last_vote = current;
        reveal_link(member, link, current);
        member.commitment = Some(Box::new((commitment, sender)));
        let weight = member.weight;
        if let Phase::Merged(open) = &mut self.rounds.phase
            && let MergeStage::Voting { tally, stage: Stage::Commit { committed } } =
                &mut open.stage
        {
            *committed += weight;
            assert!(*committed <= tally.electorate, "more commitments than votes");
        }
        self.close_if_judged(step);
        Ok(())
    }

    /// R35, R81.
    pub(crate) fn reveal_merge_vote(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        reveal: &RevealMergeVote,
    ) -> Result<(), Rejection> {
        let RevealMergeVote { vote, salt } = reveal;
        let current = self.rounds.current;
        let ledger = step.context.ledger;
        // Cloned for the hash, before the member is borrowed to be changed.
        let experiment = &self.name.clone();
        let member = self.check_merge_ballot(step, sender, vote.round, None, Cast::Reveal)?;
        // A commitment of an earlier round that was never revealed is worth nothing in this one.
        let committed = member.commitment.as_deref().filter(|_| member.last_vote == current);
        let (commitment, voter) = *committed.ok_or(Rejection::NothingCommitted)?;
        if (SealedMergeVote { ledger, experiment, voter, vote, salt }).commitment() != commitment {
            return Err(Rejection::RevealMismatch);
        }
        check_judgement(vote)?;
        // The commitment had the link.
        if vote.link.is_some() {
            return Err(Rejection::WrongLink);
        }

        member.commitment = None;
        self.count_merge_vote(step, sender, vote);
        Ok(())
    }

    /// R11 to R13, R15, R19, R20, R34, R35: what voting, committing and revealing have in common.
    fn check_merge_ballot(
        &mut self,
        step: &Step,
        sender: LearnerId,
        round: u64,
        base: Option<Digest>,
        cast: Cast,
    ) -> Result<&mut Member, Rejection> {
        let (now_ms, current) = (step.now_ms(), self.rounds.current);
        let open = self.check_merged_round(sender, round)?;
        let MergeStage::Voting { stage, .. } = &open.stage else {
            return Err(Rejection::NothingProposed);
        };
        if now_ms >= open.deadline_ms {
            return Err(Rejection::DeadlinePassed);
        }
        cast.check(*stage)?;
        if base.is_some_and(|base| base != self.model.digest) {
            return Err(Rejection::WrongBase { current: self.model.digest });
        }
        let member = self.roster.present_mut(sender)?;
        if member.seat.number().is_none() {
            return Err(Rejection::NotInElectorate);
        }
        // Who reveals has committed in this round; that it reveals once is its commitment's to say.
        if member.last_vote == current && cast != Cast::Reveal {
            return Err(Rejection::AlreadyVoted);
        }
        Ok(member)
    }

    /// Adds a vote that can be read to the tally.
    fn count_merge_vote(&mut self, step: &mut Step, sender: LearnerId, vote: &MergeVote) {
        let Some(member) = self.roster.member_mut(sender) else { return };
        if let Phase::Merged(open) = &mut self.rounds.phase {
            let is_checker = open.is_checker(sender);
            if let MergeStage::Voting { tally, .. } = &mut open.stage {
                member.named = tally.add(vote, member.weight, is_checker);
            }
        }
        self.close_if_judged(step);
    }

    /// R22, R35, R88. Goes on when nothing more can come, or nothing more can change the verdict.
    ///
    /// Costs the same with any number of members: it is asked after every vote.
    fn close_if_judged(&mut self, step: &mut Step) {
        let Phase::Merged(open) = &self.rounds.phase else { return };
        let MergeStage::Voting { tally, stage } = &open.stage else { return };
        let to_come = match *stage {
            Stage::Commit { committed } => {
                if committed == tally.electorate {
                    self.open_merge_reveal(step, committed);
                }
                return;
            }
            Stage::Open => tally.outstanding(),
            Stage::Reveal { committed } => committed - tally.cast,
        };
        let checkers_to_come = tally.checkers - tally.checkers_cast;
        let settled = || tally.settled(to_come, checkers_to_come, self.parameters.threshold);
        let early = self.parameters.close == Close::Early;
        if to_come == 0 || (early && settled().is_some()) {
            // Whoever had not committed by the deadline has missed a turn. Not where the round closes
            // early: some had no time (R33).
            self.close_judged(step, to_come == 0);
        }
    }

    /// R35. What is committed may be revealed.
    fn open_merge_reveal(&mut self, step: &mut Step, votes: u32) {
        let opened_deadline_ms = step.deadline_ms(self.parameters.reveal_deadline_ms);
        if let Phase::Merged(open) = &mut self.rounds.phase
            && let MergeStage::Voting { stage, .. } = &mut open.stage
        {
            *stage = Stage::Reveal { committed: votes };
            open.deadline_ms = opened_deadline_ms;
            step.push(Decision::RevealOpened {
                round: self.rounds.current,
                committed: votes,
                deadline_ms: opened_deadline_ms,
            });
        }
        // Where rounds close early, too few may have committed for revealing to decide anything.
        self.close_if_judged(step);
    }

    /// R13, R36, R76, R78, R80. The stage's deadline has come.
    pub(super) fn expire_merged(&mut self, step: &mut Step) {
        let Phase::Merged(open) = &self.rounds.phase else { return };
        match open.stage {
            MergeStage::Training | MergeStage::Revealing => self.end_training(step),
            MergeStage::Gathering { .. } => self.end_gathering(step),
            MergeStage::Voting { stage: Stage::Commit { committed }, .. } if committed > 0 => {
                self.open_merge_reveal(step, committed);
            }
            MergeStage::Voting { .. } => self.close_judged(step, true),
        }
    }

    /// R78, R80. Closes a round in which nothing came to a vote.
    pub(super) fn close_unjudged(&mut self, step: &mut Step, verdict: Verdict) {
        let closing = core::mem::replace(&mut self.rounds.phase, Phase::Waiting);
        if let Phase::Merged(closed) = closing {
            self.count_duties(&closed, false);
        }
        self.end_round(step, verdict, Tally::default(), None);
    }

    /// R82 to R85. Closes a round by its votes. `waited`: whether all had the time that they were given.
    fn close_judged(&mut self, step: &mut Step, waited: bool) {
        let closing = core::mem::replace(&mut self.rounds.phase, Phase::Waiting);
        let Phase::Merged(closed) = closing else { return };
        self.count_duties(&closed, waited);
        let MergeStage::Voting { tally, .. } = &closed.stage else { return };
        let threshold = self.parameters.threshold;
        let verdict = tally.verdict(threshold);
        let agreed = tally.agreed().map(|(pair, _)| *pair);
        let accepted = match verdict {
            MergeVerdict::Accepted(which) => Some(which),
            MergeVerdict::Rejected | MergeVerdict::NoAgreement => None,
        };
        let named = tally.leading();
        step.push(Decision::MergeDecided {
            round: self.rounds.current,
            agreed,
            named: named.weight,
            bear_open: named.bear_open,
            bear_guarded: named.bear_guarded,
            prefer_guarded: named.prefer_guarded,
            accepted,
        });
        let of = |which: Merge| agreed.and_then(|pair| pair.of(which));
        // It has the base's header, and so its size.
        let model = |digest| Model { digest, ..self.model.clone() };
        let accepted = accepted.and_then(of).map(model);
        self.end_round(step, verdict.of_round(), tally.told(threshold), accepted);
    }

    /// R39, R87. Who did not do all that the round asked of it has missed a turn. Counted when it closes,
    /// since who has done half of it has missed one, too.
    fn count_duties(&mut self, closed: &MergedRound, waited: bool) {
        let current = self.rounds.current;
        let gathers = self.parameters.merging.is_some_and(|it| it.gather_deadline_ms.is_some());
        let parts: BTreeMap<LearnerId, &Part> =
            closed.participants.iter().map(|it| (it.learner, &it.part)).collect();
        for (learner, member) in self.roster.seated_mut() {
            let (mut did, mut missed) = match parts.get(&learner) {
                None => (false, false),
                Some(Part::Due | Part::Committed { .. }) => (false, true),
                Some(Part::Passed | Part::Sent(_)) => (true, false),
                Some(Part::Dropped { missed, .. }) => (true, *missed),
            };
            let gathered = match &closed.stage {
                MergeStage::Training | MergeStage::Revealing => false,
                MergeStage::Gathering { .. } | MergeStage::Voting { .. } => gathers,
            };
            if gathered {
                did |= member.last_have == current;
                missed |= member.last_have != current;
            }
            if let MergeStage::Voting { tally, stage } = &closed.stage {
                let agreed = tally.agreed().map(|(_, named)| named.number);
                let sealed = *stage != Stage::Open && member.commitment.is_some();
                let voted = member.last_vote == current && !sealed;
                let named_another =
                    voted && member.named != 0 && agreed.is_some_and(|it| it != member.named);
                did |= voted;
                missed |= named_another || (waited && !voted);
                if waited && member.last_vote != current {
                    member.silent = current;
                }
            }
            if missed {
                member.miss();
            } else if did {
                member.missed = 0;
            }
        }
    }
}

/// R67, R81. Whether a vote says what it may.
fn check_judgement(vote: &MergeVote) -> Result<(), Rejection> {
    if !vote.is_valid() {
        return Err(Rejection::MergeVoteInvalid);
    }
    if !vote.has_fitting_reason() {
        return Err(Rejection::ReasonMisplaced);
    }
    Ok(())
}
