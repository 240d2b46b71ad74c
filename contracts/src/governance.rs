//! The rules of governance: what members decide together.

use std::collections::BTreeSet;

use crate::action::Motion;
use crate::admission::Admission;
use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::member::Seat;
use crate::motions::OpenMotion;
use crate::outcome::{Decision, FinishReason, SuspendReason, Verdict};
use crate::rejection::Rejection;
use crate::step::Step;
use crate::tally::Tally;

impl Experiment {
    /// R44, R45.
    pub(crate) fn make_motion(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        number: u64,
        motion: &Motion,
    ) -> Result<(), Rejection> {
        let member = self.roster.present(sender)?;
        // Those who happen to come first do not decide for those who are still to come.
        let alone = self.roster.seats().len() < 2 && self.parameters.min_learners > 1;
        if self.rounds.current == 0 || alone {
            return Err(Rejection::WaitingForMembers);
        }
        if member.seat.number().is_none() {
            return Err(Rejection::NotInElectorate);
        }
        let expected = self.motions.last + 1;
        if number != expected {
            return Err(Rejection::WrongMotion { expected });
        }
        let mine = self.motions.open.values().any(|open| open.mover == sender);
        if mine || self.motions.open.len() >= self.version.rules().open_motions {
            return Err(Rejection::MotionsOpen);
        }
        let invalid = match motion {
            Motion::SetParameters(parameters) => parameters.check(&self.model).err(),
            Motion::Admit(invitation) => {
                Admission::ByVote(vec![*invitation]).check(&self.parameters).err()
            }
            Motion::Suspend(_) | Motion::Expel(_) | Motion::Stop => None,
        };
        if let Some(which) = invalid {
            return Err(Rejection::MotionInvalid(which));
        }
        if let Motion::Suspend(learner) | Motion::Expel(learner) = motion
            && self.roster.present(*learner).is_err()
        {
            return Err(Rejection::NoSuchMember);
        }

        let electorate = self.roster.weight() - member.weight;
        let deadline_ms = step.deadline_ms(self.parameters.motion_deadline_ms);
        self.motions.last = number;
        self.motions.open.insert(
            number,
            OpenMotion {
                motion: motion.clone(),
                mover: sender,
                tally: Tally::of(electorate),
                voters: BTreeSet::new(),
                seats_below: self.roster.next_seat(),
                deadline_ms,
            },
        );
        step.push(Decision::MotionOpened { number, electorate, deadline_ms });
        // Where nobody else has a vote it is adopted at once.
        self.decide_motion(step, number, false);
        Ok(())
    }

    /// R46.
    pub(crate) fn vote_on_motion(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        number: u64,
        approve: bool,
    ) -> Result<(), Rejection> {
        let member = self.roster.present(sender)?;
        let open = self.motions.open.get_mut(&number);
        // Precedence: a deadline, then who may vote, then the motion itself.
        if let Some(open) = &open {
            if step.now_ms() >= open.deadline_ms {
                return Err(Rejection::DeadlinePassed);
            }
            if open.mover == sender {
                return Err(Rejection::ProposerCannotVote);
            }
            if member.seat.number().is_none_or(|seat| seat >= open.seats_below) {
                return Err(Rejection::NotInElectorate);
            }
            if open.voters.contains(&sender) {
                return Err(Rejection::AlreadyVoted);
            }
        }
        let open = open.ok_or(Rejection::NoSuchMotion)?;

        open.voters.insert(sender);
        open.tally.add(approve, member.weight);
        self.decide_motion(step, number, false);
        Ok(())
    }

    /// R47. The first motion whose deadline this is.
    pub(crate) fn expire_motion(&mut self, step: &mut Step, deadline_ms: u64) {
        if let Some(number) = self.motions.due(deadline_ms) {
            self.decide_motion(step, number, true);
        }
    }

    /// R47. Decides a motion if enough members approve, if enough no longer can, or if it is due.
    fn decide_motion(&mut self, step: &mut Step, number: u64, due: bool) {
        let Some(open) = self.motions.open.get(&number) else { return };
        let tally = open.tally;
        // The threshold of now, which may be another than when it was moved.
        let parameters = &self.parameters;
        let threshold = parameters.governance_threshold.unwrap_or(parameters.threshold);
        let to_come = if due { 0 } else { tally.outstanding() };
        let Some(verdict) = tally.settled(to_come, threshold) else { return };
        let adopted = verdict == Verdict::Accepted;
        let Some(open) = self.motions.open.remove(&number) else { return };
        step.push(Decision::MotionDecided {
            number,
            adopted,
            approvals: tally.approvals,
            rejections: tally.rejections,
            electorate: tally.electorate,
        });
        if !adopted {
            return;
        }
        match open.motion {
            Motion::Stop => {
                step.push(Decision::MotionTookEffect { number });
                self.finish(step, FinishReason::Stopped);
            }
            // At once: whom it lets in takes part only from the next round on anyway.
            Motion::Admit(invitation) => {
                self.roster.admit(invitation);
                step.push(Decision::MotionTookEffect { number });
            }
            // Between rounds: nobody votes under other rules, or with others, than the round began with.
            motion @ (Motion::SetParameters(_) | Motion::Suspend(_) | Motion::Expel(_)) => {
                self.motions.adopted.push((number, motion));
                self.settle_now(step);
            }
        }
    }

    /// R48. What was adopted takes effect, in the order of adoption.
    pub(crate) fn take_effect(&mut self, step: &mut Step) {
        for (number, motion) in core::mem::take(&mut self.motions.adopted) {
            match motion {
                Motion::SetParameters(parameters) => {
                    if parameters.privacy != self.parameters.privacy {
                        self.roster.renew_budgets();
                    }
                    self.parameters = *parameters;
                    self.rounds.idle = 0;
                }
                Motion::Suspend(learner) if self.roster.present(learner).is_ok() => {
                    self.unseat(step, learner, Seat::Suspended, SuspendReason::Decided);
                }
                Motion::Expel(learner) if self.roster.member(learner).is_some() => {
                    self.roster.withdraw(learner);
                    self.unseat(step, learner, Seat::Expelled, SuspendReason::Expelled);
                }
                // Whoever it was about has left or changed its key meanwhile, or it took effect when
                // it was adopted.
                Motion::Suspend(_) | Motion::Expel(_) | Motion::Admit(_) | Motion::Stop => {}
            }
            step.push(Decision::MotionTookEffect { number });
        }
    }
}
