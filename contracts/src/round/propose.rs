//! The proposer's turn: proposing, and passing.

use super::{Phase, Stage};
use crate::action::Proposal;
use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::outcome::{Decision, Verdict};
use crate::parameters::BallotKind;
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
        if proposal.base != self.model.digest {
            return Err(Rejection::WrongBase { current: self.model.digest });
        }
        let limit = self.parameters.max_weights_bytes;
        if proposal.weights.size == 0 || proposal.weights.size > limit {
            return Err(Rejection::WeightsSize { limit });
        }
        if proposal.weights.media_type != self.model.media_type {
            return Err(Rejection::MediaTypeDiffers);
        }
        let rules = self.version.rules();
        // A turn with nothing new in it would be a turn for nothing, and "accepted" a reward for that.
        if rules.new_models && self.models.contains(&proposal.weights.digest) {
            return Err(Rejection::NotNew);
        }
        let member = self.roster.present_mut(sender)?;
        match (&proposal.privacy, &self.parameters.privacy) {
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

        // A proposal that states nothing does not make the contract forget.
        if let Some(spent) = &proposal.privacy {
            member.privacy = Some(Box::new(spent.clone()));
        }
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

    /// R28, R43. Gives up the turn.
    pub(crate) fn pass(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        round: u64,
        exhausted: bool,
    ) -> Result<(), Rejection> {
        self.check_turn(step, sender, round)?;
        // Without a cap it never ends: there would be no other cap to begin anew with.
        let rules = self.version.rules();
        if exhausted && rules.exhausted_needs_cap && self.parameters.privacy.is_none() {
            return Err(Rejection::NoPrivacyCap);
        }

        if let Some(member) = self.roster.member_mut(sender) {
            member.missed = 0;
            // Only another cap takes it back (R48), not a later pass that does not say so.
            member.exhausted |= exhausted;
        }
        self.close_round(step, Verdict::Passed, Tally::default());
        Ok(())
    }

    /// R11 to R14: what proposing and passing have in common.
    fn check_turn(&mut self, step: &Step, sender: LearnerId, round: u64) -> Result<(), Rejection> {
        self.check_round(sender, round)?;
        let Phase::Proposing { proposer, deadline_ms } = self.rounds.phase else {
            return Err(Rejection::AlreadyProposed);
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
