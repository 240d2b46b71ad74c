//! The proposer's turn: proposing, and passing.

use super::{Phase, Stage};
use crate::experiment::Experiment;
use crate::id::{Digest, LearnerId};
use crate::member::Member;
use crate::outcome::{Decision, Verdict};
use crate::parameters::{BallotKind, Model};
use crate::privacy::PrivacySpent;
use crate::proposal::Proposal;
use crate::rejection::Rejection;
use crate::step::Step;
use crate::tally::Tally;
use crate::version::Version;

impl Experiment {
    /// R15, R16, R42. Puts the proposal to the vote.
    pub(crate) fn propose(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        proposal: &Proposal,
    ) -> Result<(), Rejection> {
        self.check_turn(step, sender, proposal.round)?;
        let Proposal { base, weights, privacy, .. } = proposal;
        let member = self.check_trained(sender, *base, weights, privacy.as_ref())?;

        member.state(privacy.as_ref());
        member.missed = 0;
        let weight = member.weight;
        self.rounds.idle = 0;
        let tally = Tally::of(self.roster.weight() - weight);
        let deadline_ms = step.deadline_ms(self.parameters.vote_deadline_ms);
        step.push(Decision::VotingOpened {
            round: self.rounds.current,
            weights: proposal.weights.digest,
            electorate: tally.electorate,
            deadline_ms,
        });
        let stage = match self.parameters.ballot {
            BallotKind::Open => Stage::Open,
            BallotKind::Sealed => Stage::Commit { committed: 0 },
        };
        let weights = proposal.weights.clone();
        self.rounds.phase = Phase::Voting { proposer: sender, weights, tally, stage, deadline_ms };
        // Of a lone learner's proposal nothing more can come.
        self.close_if_decided(step);
        Ok(())
    }

    /// R15, R16, R42, R60, R62. Whether what a member has trained can be what it says: a proposal, or
    /// an update.
    pub(super) fn check_trained(
        &mut self,
        sender: LearnerId,
        base: Digest,
        weights: &Model,
        privacy: Option<&PrivacySpent>,
    ) -> Result<&mut Member, Rejection> {
        if base != self.model.digest {
            return Err(Rejection::WrongBase { current: self.model.digest });
        }
        let limit = self.parameters.max_weights_bytes;
        if weights.size == 0 || weights.size > limit {
            return Err(Rejection::WeightsSize { limit });
        }
        if weights.media_type != self.model.media_type {
            return Err(Rejection::MediaTypeDiffers);
        }
        let rules = self.version.rules();
        // A turn with nothing new in it would be a turn for nothing, and "accepted" a reward for that.
        if rules.new_models && self.models.contains(&weights.digest) {
            return Err(Rejection::NotNew);
        }
        let member = self.roster.present_mut(sender)?;
        match (privacy, &self.parameters.privacy) {
            (None, Some(_)) => return Err(Rejection::PrivacyMissing),
            (None, None) => {}
            // Without a cap too: what is once stated is what a later cap counts from.
            (Some(spent), cap) => {
                let before = member.privacy.as_deref();
                let fits = rules.segments == (spent.needs() > Version::V1);
                if !fits
                    || !spent.is_valid()
                    || before.is_some_and(|before| !spent.continues(before))
                {
                    return Err(Rejection::PrivacyInvalid);
                }
                if cap.as_ref().is_some_and(|cap| !spent.is_within(cap)) {
                    return Err(Rejection::PrivacyOverCap);
                }
            }
        }
        Ok(member)
    }

    /// R28, R43. Gives up the turn.
    pub(crate) fn pass(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        round: u64,
        exhausted: bool,
    ) -> Result<(), Rejection> {
        let merged = matches!(self.rounds.phase, Phase::Merged(_));
        match merged {
            true => self.check_training_pass(step, sender, round)?,
            false => self.check_turn(step, sender, round)?,
        }
        // Without a cap it never ends: there would be no other cap to begin anew with.
        let rules = self.version.rules();
        if exhausted && rules.exhausted_needs_cap && self.parameters.privacy.is_none() {
            return Err(Rejection::NoPrivacyCap);
        }

        if let Some(member) = self.roster.member_mut(sender) {
            // Only another cap takes it back (R48), not a later pass that does not say so.
            member.exhausted |= exhausted;
            if !merged {
                member.missed = 0;
            }
        }
        match merged {
            true => self.pass_training(step, sender),
            false => self.close_round(step, Verdict::Passed, Tally::default()),
        }
        Ok(())
    }

    /// R11 to R14: what proposing and passing have in common.
    fn check_turn(&mut self, step: &Step, sender: LearnerId, round: u64) -> Result<(), Rejection> {
        self.check_round(sender, round)?;
        let (proposer, deadline_ms) = match self.rounds.phase {
            Phase::Proposing { proposer, deadline_ms } => (proposer, deadline_ms),
            Phase::Merged(_) => return Err(Rejection::RoundIsMerged),
            Phase::Voting { .. } | Phase::Waiting | Phase::Paused(_) | Phase::Finished(_) => {
                return Err(Rejection::AlreadyProposed);
            }
        };
        if step.now_ms() >= deadline_ms {
            return Err(Rejection::DeadlinePassed);
        }
        if sender != proposer {
            return Err(Rejection::NotYourTurn { proposer });
        }
        Ok(())
    }
}
