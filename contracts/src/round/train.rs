//! Training in a merged round: updates, open ones and sealed ones, and passing (R75 to R78).

use super::{MergeStage, MergedRound, Part, Phase};
use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::outcome::{Decision, Verdict};
use crate::parameters::BallotKind;
use crate::proposal::{CommitUpdate, RevealUpdate, Update};
use crate::rejection::Rejection;
use crate::sealed::SealedUpdate;
use crate::step::Step;

/// What a participant does with its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Send {
    /// Sends its update for all to see.
    Update,
    /// Commits to it.
    Commit,
    /// Reveals it.
    Reveal,
    /// Gives up its turn.
    Pass,
}

impl Experiment {
    /// R75.
    pub(crate) fn update(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        update: &Update,
    ) -> Result<(), Rejection> {
        let Update { round, base, weights, privacy, .. } = update;
        self.check_training(step, sender, *round, Send::Update)?;
        let member = self.check_trained(sender, *base, weights, privacy.as_ref())?;

        member.state(privacy.as_ref());
        self.take_part(step, sender, Part::Sent(weights.clone()));
        Ok(())
    }

    /// R76.
    pub(crate) fn commit_update(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        commit: &CommitUpdate,
    ) -> Result<(), Rejection> {
        let CommitUpdate { round, base, commitment } = *commit;
        self.check_training(step, sender, round, Send::Commit)?;
        if base != self.model.digest {
            return Err(Rejection::WrongBase { current: self.model.digest });
        }

        self.take_part(step, sender, Part::Committed { commitment, key: sender });
        Ok(())
    }

    /// R76.
    pub(crate) fn reveal_update(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        reveal: &RevealUpdate,
    ) -> Result<(), Rejection> {
        let RevealUpdate { update, salt } = reveal;
        let part = self.check_training(step, sender, update.round, Send::Reveal)?;
        let privacy = update.privacy.as_ref();
        self.check_trained(sender, update.base, &update.weights, privacy)?;
        let Part::Committed { commitment, key } = part else {
            return Err(Rejection::NothingCommitted);
        };
        let ledger = step.context.ledger;
        let sealed = SealedUpdate { ledger, experiment: &self.name, sender: key, update, salt };
        if sealed.commitment() != commitment {
            return Err(Rejection::RevealMismatch);
        }

        if let Some(member) = self.roster.member_mut(sender) {
            member.state(privacy);
        }
        self.take_part(step, sender, Part::Sent(update.weights.clone()));
        Ok(())
    }

    /// R77. Whether a participant may give up its turn.
    pub(super) fn check_training_pass(
        &mut self,
        step: &Step,
        sender: LearnerId,
        round: u64,
    ) -> Result<(), Rejection> {
        self.check_training(step, sender, round, Send::Pass).map(|_| ())
    }

    /// R77. Gives up a turn that may be given up.
    pub(super) fn pass_training(&mut self, step: &mut Step, sender: LearnerId) {
        self.take_part(step, sender, Part::Passed);
    }

    /// R28, R77. Who leaves before it has sent or committed to anything gives up its turn.
    pub(crate) fn leave_training(&mut self, step: &mut Step, sender: LearnerId) {
        let Phase::Merged(open) = &self.rounds.phase else { return };
        if open.stage == MergeStage::Training && open.part(sender) == Some(&Part::Due) {
            self.take_part(step, sender, Part::Passed);
        }
    }

    /// R11, R72. What all that is sent in a merged round has in common.
    pub(super) fn check_merged_round(
        &mut self,
        sender: LearnerId,
        round: u64,
    ) -> Result<&mut MergedRound, Rejection> {
        self.check_round(sender, round)?;
        match &mut self.rounds.phase {
            Phase::Merged(open) => Ok(open),
            Phase::Proposing { .. }
            | Phase::Voting { .. }
            | Phase::Waiting
            | Phase::Paused(_)
            | Phase::Finished(_) => Err(Rejection::RoundIsSingle),
        }
    }

    /// R13, R73, R75, R76, R78: what all that a participant sends has in common. Gives what it has done
    /// so far.
    fn check_training(
        &mut self,
        step: &Step,
        sender: LearnerId,
        round: u64,
        send: Send,
    ) -> Result<Part, Rejection> {
        let sealed = self.parameters.ballot == BallotKind::Sealed;
        let open = self.check_merged_round(sender, round)?;
        let revealing = match open.stage {
            MergeStage::Training => false,
            MergeStage::Revealing => true,
            MergeStage::Gathering { .. } | MergeStage::Voting { .. } => {
                return Err(Rejection::TrainingOver);
            }
        };
        if step.now_ms() >= open.deadline_ms {
            return Err(Rejection::DeadlinePassed);
        }
        match send {
            Send::Update if sealed => return Err(Rejection::BallotSealed),
            Send::Commit | Send::Reveal if !sealed => return Err(Rejection::BallotOpen),
            Send::Commit | Send::Pass if revealing => return Err(Rejection::DeadlinePassed),
            Send::Reveal if !revealing => return Err(Rejection::NotRevealing),
            Send::Update | Send::Commit | Send::Reveal | Send::Pass => {}
        }
        let part = open.part(sender).ok_or(Rejection::NotParticipant)?;
        if *part != Part::Due && send != Send::Reveal {
            return Err(Rejection::AlreadySent);
        }
        Ok(part.clone())
    }

    /// Takes what a participant has done, and goes on if it was the last.
    fn take_part(&mut self, step: &mut Step, sender: LearnerId, done: Part) {
        let Phase::Merged(open) = &mut self.rounds.phase else { return };
        if let Some(part) = open.part_mut(sender) {
            *part = done;
        }
        let waits_for = |part: &Part| match open.stage {
            MergeStage::Training => *part == Part::Due,
            MergeStage::Revealing => matches!(part, Part::Committed { .. }),
            MergeStage::Gathering { .. } | MergeStage::Voting { .. } => false,
        };
        if open.count(waits_for) == 0 {
            self.end_training(step);
        }
    }

    /// R76, R78. All have sent, or the time is over: what was committed to may be revealed; after that,
    /// or where nothing was, the updates are in.
    pub(super) fn end_training(&mut self, step: &mut Step) {
        let reveal_ms = step.deadline_ms(self.parameters.reveal_deadline_ms);
        let Phase::Merged(open) = &mut self.rounds.phase else { return };
        let committed = open.count(|part| matches!(part, Part::Committed { .. }));
        if open.stage == MergeStage::Training && committed > 0 {
            (open.stage, open.deadline_ms) = (MergeStage::Revealing, reveal_ms);
            step.push(Decision::RevealOpened {
                round: self.rounds.current,
                // At most 64.
                committed: committed as u32,
                deadline_ms: reveal_ms,
            });
            return;
        }
        if open.updates().next().is_none() {
            let passed = open.participants.iter().all(|it| it.part == Part::Passed);
            // R40. Everybody's turn has gone by: that is a whole rotation.
            self.rounds.idle += self.roster.seats().len() as u64;
            let verdict = if passed { Verdict::Passed } else { Verdict::Expired };
            return self.close_unjudged(step, verdict);
        }
        self.rounds.idle = 0;
        self.open_gathering(step);
    }
}
