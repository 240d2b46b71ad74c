//! Judging a proposal: open votes, and sealed ones, which are committed to and then revealed.

use super::{Phase, Stage};
use crate::ballot::{Choice, Commit, Reason, Reveal, Vote};
use crate::chain::Chain;
use crate::experiment::Experiment;
use crate::id::{Digest, LearnerId};
use crate::member::Member;
use crate::outcome::Decision;
use crate::parameters::{Close, Selection};
use crate::rejection::Rejection;
use crate::sealed::Sealed;
use crate::step::Step;

/// What a voter does with its ballot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cast {
    /// Casts it for all to see.
    Vote,
    /// Commits to it.
    Commit,
    /// Reveals it.
    Reveal,
}

impl Cast {
    /// R13, R34, R35. Whether that is what the stage asks for.
    pub(super) fn check(self, stage: Stage) -> Result<(), Rejection> {
        match (self, stage) {
            (Self::Vote, Stage::Open)
            | (Self::Commit, Stage::Commit { .. })
            | (Self::Reveal, Stage::Reveal { .. }) => Ok(()),
            (Self::Vote, Stage::Commit { .. } | Stage::Reveal { .. }) => {
                Err(Rejection::BallotSealed)
            }
            (Self::Commit | Self::Reveal, Stage::Open) => Err(Rejection::BallotOpen),
            // The time to commit is over, by its deadline or because all have.
            (Self::Commit, Stage::Reveal { .. }) => Err(Rejection::DeadlinePassed),
            (Self::Reveal, Stage::Commit { .. }) => Err(Rejection::NotRevealing),
        }
    }
}

impl Experiment {
    /// R17 to R20.
    pub(crate) fn vote(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        vote: &Vote,
    ) -> Result<(), Rejection> {
        let round = self.rounds.current;
        let drawn = self.draws_from_chains();
        let member = self.check_ballot(step, sender, vote.round, vote.weights, Cast::Vote)?;
        check_reason(vote)?;
        check_link(member, drawn, vote.link)?;

        (member.last_vote, member.missed) = (round, 0);
        reveal_link(member, vote.link, round);
        let weight = member.weight;
        self.count(step, vote, weight);
        Ok(())
    }

    /// R63. Whether votes reveal links.
    pub(super) fn draws_from_chains(&self) -> bool {
        self.parameters.selection == Selection::Sortition && self.version.rules().chains
    }

    /// R34.
    pub(crate) fn commit(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        commit: &Commit,
    ) -> Result<(), Rejection> {
        if matches!(self.rounds.phase, Phase::Merged(_)) {
            return self.commit_merge_vote(step, sender, commit);
        }
        let round = self.rounds.current;
        let drawn = self.draws_from_chains();
        let member = self.check_ballot(step, sender, commit.round, commit.weights, Cast::Commit)?;
        check_link(member, drawn, commit.link)?;

        // `missed` is not reset here: only who reveals has voted (R36, R39).
        member.last_vote = round;
        // With the commitment and not when it is opened: who has seen the count could still choose then.
        reveal_link(member, commit.link, round);
        member.commitment = Some(Box::new((commit.commitment, sender)));
        let weight = member.weight;
        if let Phase::Voting { tally, stage: Stage::Commit { committed }, .. } =
            &mut self.rounds.phase
        {
            *committed += weight;
            assert!(*committed <= tally.electorate, "more commitments than votes");
        }
        self.close_if_decided(step);
        Ok(())
    }

    /// R35.
    pub(crate) fn reveal(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        reveal: &Reveal,
    ) -> Result<(), Rejection> {
        let vote = &reveal.vote;
        let round = self.rounds.current;
        let ledger = step.context.ledger;
        let version = self.version;
        // Cloned for the hash, before the member is borrowed to be changed.
        let experiment = self.name.clone();
        let member = self.check_ballot(step, sender, vote.round, vote.weights, Cast::Reveal)?;
        // A commitment of an earlier round that was never revealed is worth nothing in this one.
        let committed = member.commitment.as_deref().filter(|_| member.last_vote == round);
        let (commitment, voter) = *committed.ok_or(Rejection::NothingCommitted)?;
        let experiment = &experiment;
        let sealed = Sealed { version, ledger, experiment, voter, vote, salt: &reveal.salt };
        if sealed.commitment() != commitment {
            return Err(Rejection::RevealMismatch);
        }
        check_reason(vote)?;
        // The commitment had the link.
        if vote.link.is_some() {
            return Err(Rejection::WrongLink);
        }

        (member.commitment, member.missed) = (None, 0);
        let weight = member.weight;
        self.count(step, vote, weight);
        Ok(())
    }

    /// Adds a vote that can be read to the tally.
    fn count(&mut self, step: &mut Step, vote: &Vote, weight: u32) {
        if let Phase::Voting { tally, .. } = &mut self.rounds.phase {
            tally.add(vote.choice, vote.reason, weight);
        }
        self.close_if_decided(step);
    }

    /// R11 to R13, R17 to R20, R34, R35: what voting, committing and revealing have in common.
    ///
    /// The order of these checks is the order in which [`Rejection`] declares its variants. It is
    /// part of the protocol: who is refused acts on the rule that it is told.
    fn check_ballot(
        &mut self,
        step: &Step,
        sender: LearnerId,
        round: u64,
        judged: Digest,
        cast: Cast,
    ) -> Result<&mut Member, Rejection> {
        // Copied, so that the member can be given back to be changed.
        let open = match &self.rounds.phase {
            Phase::Voting { proposer, weights, stage, deadline_ms, .. } => {
                Some((*proposer, weights.digest, *stage, *deadline_ms))
            }
            Phase::Waiting
            | Phase::Paused(_)
            | Phase::Proposing { .. }
            | Phase::Merged(_)
            | Phase::Finished(_) => None,
        };
        let is_merged = matches!(self.rounds.phase, Phase::Merged(_));
        let current = self.rounds.current;
        let member = self.check_round(sender, round)?;
        if is_merged {
            return Err(Rejection::RoundIsMerged);
        }
        let (proposer, proposed, stage, deadline_ms) = open.ok_or(Rejection::NothingProposed)?;
        if step.now_ms() >= deadline_ms {
            return Err(Rejection::DeadlinePassed);
        }
        cast.check(stage)?;
        if judged != proposed {
            return Err(Rejection::WrongProposal { proposed });
        }
        if sender == proposer {
            return Err(Rejection::ProposerCannotVote);
        }
        if member.seat.number().is_none() {
            return Err(Rejection::NotInElectorate);
        }
        // Who reveals has committed in this round; that it reveals once is its commitment's to say.
        if member.last_vote == current && cast != Cast::Reveal {
            return Err(Rejection::AlreadyVoted);
        }
        Ok(member)
    }

    /// R5, R9, R10, R11, R40: what proposing, passing and voting have in common.
    pub(super) fn check_round(
        &mut self,
        sender: LearnerId,
        round: u64,
    ) -> Result<&mut Member, Rejection> {
        // Looked up once: with many members this is most of what a vote costs.
        let member = self.roster.present_mut(sender)?;
        match self.rounds.phase {
            Phase::Waiting => return Err(Rejection::WaitingForMembers),
            Phase::Paused(_) => return Err(Rejection::Paused),
            Phase::Proposing { .. }
            | Phase::Voting { .. }
            | Phase::Merged(_)
            | Phase::Finished(_) => {}
        }
        let current = self.rounds.current;
        if round != current {
            return Err(Rejection::WrongRound { current });
        }
        Ok(member)
    }

    /// R22, R33 to R35. Goes on when nothing more can come, or nothing more can change the verdict.
    ///
    /// Costs the same with any number of members: it is asked after every vote.
    pub(super) fn close_if_decided(&mut self, step: &mut Step) {
        let Phase::Voting { proposer, tally, stage, .. } = self.rounds.phase else { return };
        let to_come = match stage {
            Stage::Commit { committed } if tally.electorate > 0 => {
                if committed == tally.electorate {
                    self.open_reveal(step, committed);
                }
                return;
            }
            Stage::Open | Stage::Commit { .. } => tally.outstanding(),
            Stage::Reveal { committed } => committed - tally.cast(),
        };
        let may_lack = if self.version.rules().unavailable { to_come } else { 0 };
        let settled = tally.settled(to_come, may_lack, self.parameters.threshold);
        let early = self.parameters.close == Close::Early;
        if let Some(verdict) = settled
            && (to_come == 0 || early)
        {
            let missing =
                matches!(stage, Stage::Reveal { committed } if committed < tally.electorate);
            if to_come == 0 && missing {
                // Whoever had not committed by the deadline has missed a turn. Not where the round
                // closes early: some had no time (R33).
                self.count_missed(proposer, stage);
            }
            self.close_round(step, verdict, tally);
        }
    }

    /// R35. What is committed may be revealed.
    pub(super) fn open_reveal(&mut self, step: &mut Step, votes: u32) {
        let opened_deadline_ms = step.deadline_ms(self.parameters.reveal_deadline_ms);
        if let Phase::Voting { stage, deadline_ms, .. } = &mut self.rounds.phase {
            *stage = Stage::Reveal { committed: votes };
            *deadline_ms = opened_deadline_ms;
            step.push(Decision::RevealOpened {
                round: self.rounds.current,
                committed: votes,
                deadline_ms: opened_deadline_ms,
            });
        }
        // Where rounds close early, too few may have committed for revealing to decide anything.
        self.close_if_decided(step);
    }
}

/// R67. A vote for says why by its scores.
fn check_reason(vote: &Vote) -> Result<(), Rejection> {
    match (vote.choice, vote.reason) {
        (Choice::Approve, Some(_)) | (Choice::Reject, Some(Reason::Unavailable)) => {
            Err(Rejection::ReasonMisplaced)
        }
        (Choice::Approve, None) | (Choice::Reject | Choice::Abstain, _) => Ok(()),
    }
}

/// R63. Whether the link is the next one of the voter's chain, or the anchor of its first or next chain.
pub(super) fn check_link(
    member: &Member,
    drawn: bool,
    link: Option<Digest>,
) -> Result<(), Rejection> {
    let fits = match (drawn, link, member.chain.as_deref()) {
        (false, None, _) => true,
        (true, Some(_), None) => true,
        (true, Some(link), Some(chain)) => chain.left == 0 || chain.is_next(link),
        (false, Some(_), _) | (true, None, _) => false,
    };
    if fits { Ok(()) } else { Err(Rejection::WrongLink) }
}

/// R63. Takes a link that was checked.
pub(super) fn reveal_link(member: &mut Member, link: Option<Digest>, round: u64) {
    let Some(link) = link else { return };
    match member.chain.as_deref_mut() {
        Some(chain) if chain.left > 0 => chain.reveal(link, round),
        // Another key has another chain, so changing it is a way to keep a link back, too.
        Some(chain) => (*chain, member.silent) = (Chain::anchored(link, round), round),
        None => member.chain = Some(Box::new(Chain::anchored(link, round))),
    }
}
