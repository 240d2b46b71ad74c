//! Gathering in a merged round: which of the updates the members hold (R79, R80).

use super::{MergeStage, Part, Phase};
use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::outcome::{Decision, Verdict};
use crate::rejection::Rejection;
use crate::step::Step;

impl Experiment {
    /// R80. Asks what the members hold, where the rules want that; otherwise all that was sent is merged.
    pub(super) fn open_gathering(&mut self, step: &mut Step) {
        let lasts_ms = self.parameters.merging.and_then(|merging| merging.gather_deadline_ms);
        let Some(lasts_ms) = lasts_ms else { return self.open_merge_voting(step) };
        let Phase::Merged(open) = &mut self.rounds.phase else { return };
        let updates = open.sent();
        let deadline_ms = step.deadline_ms(lasts_ms);
        open.stage = MergeStage::Gathering { said: 0, held: vec![0; updates.len()] };
        open.deadline_ms = deadline_ms;
        step.push(Decision::GatheringOpened { round: self.rounds.current, updates, deadline_ms });
    }

    /// R80.
    pub(crate) fn have(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        round: u64,
        bits: u64,
    ) -> Result<(), Rejection> {
        let open = self.check_merged_round(sender, round)?;
        let updates = match &open.stage {
            MergeStage::Gathering { held, .. } => held.len() as u32,
            MergeStage::Training | MergeStage::Revealing | MergeStage::Voting { .. } => {
                return Err(Rejection::NotGathering);
            }
        };
        if step.now_ms() >= open.deadline_ms {
            return Err(Rejection::DeadlinePassed);
        }
        let current = self.rounds.current;
        let member = self.roster.present_mut(sender)?;
        if member.seat.number().is_none() {
            return Err(Rejection::NotInElectorate);
        }
        if member.last_have == current {
            return Err(Rejection::AlreadyTold);
        }
        if bits.checked_shr(updates).unwrap_or(0) != 0 {
            return Err(Rejection::NoSuchUpdate { updates });
        }

        member.last_have = current;
        let weight = member.weight;
        let Phase::Merged(open) = &mut self.rounds.phase else { return Ok(()) };
        let MergeStage::Gathering { said, held } = &mut open.stage else { return Ok(()) };
        *said += weight;
        for (i, held) in held.iter_mut().enumerate() {
            *held += if bits >> i & 1 == 1 { weight } else { 0 };
        }
        if *said == self.roster.weight() {
            self.end_gathering(step);
        }
        Ok(())
    }

    /// R80. Leaves out what too few hold, and goes on with the rest.
    pub(super) fn end_gathering(&mut self, step: &mut Step) {
        let electorate = u64::from(self.roster.weight());
        let Phase::Merged(open) = &mut self.rounds.phase else { return };
        let MergeStage::Gathering { said, held } = &open.stage else { return };
        let said = u64::from(*said);
        let mut held = held.clone().into_iter().map(u64::from);
        for participant in &mut open.participants {
            let Part::Sent(weights) = &participant.part else { continue };
            let held = held.next().unwrap_or(0);
            // So somebody honest holds it, as long as less than half of those who have said so lie.
            if !(said * 2 > electorate && held * 2 > said) {
                let missed = (said - held) * 2 > electorate;
                participant.part = Part::Dropped { weights: weights.clone(), missed };
            }
        }
        if open.updates().next().is_some() {
            self.open_merge_voting(step);
        } else {
            self.close_unjudged(step, Verdict::Expired);
        }
    }
}
