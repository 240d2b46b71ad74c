//! The rules of governance: what members decide together.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::experiment::{Experiment, Seat, Step, Tally};
use crate::outcome::{FinishReason, Outcome, SuspendReason};
use crate::{Admission, LearnerId, Motion, Rejection, Share};

/// The most motions that can be open in one experiment (R45).
pub const MAX_OPEN_MOTIONS: usize = 64;

/// A motion that is being voted on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenMotion {
    /// What is to be decided.
    pub motion: Motion,
    /// Who moved it.
    pub mover: LearnerId,
    /// The votes so far.
    pub tally: Tally,
    /// Who has voted.
    pub(crate) voters: BTreeSet<LearnerId>,
    /// Members with a seat below this may vote: those who were seated when it was moved.
    pub(crate) seats_below: u64,
    /// When voting ends, exclusive.
    pub deadline_ms: u64,
}

impl Experiment {
    /// R44, R45.
    pub(crate) fn make_motion(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        number: u64,
        motion: &Motion,
    ) -> Result<(), Rejection> {
        let member = self.member_now(sender)?;
        // Those who happen to come first do not decide for those who are still to come.
        let alone = self.roster.len() < 2 && self.parameters.min_learners > 1;
        if self.round == 0 || alone {
            return Err(Rejection::WaitingForMembers);
        }
        if member.seat.number().is_none() {
            return Err(Rejection::NotInElectorate);
        }
        let expected = self.last_motion + 1;
        if number != expected {
            return Err(Rejection::WrongMotion { expected });
        }
        let mine = self.motions.values().any(|open| open.mover == sender);
        if mine || self.motions.len() >= MAX_OPEN_MOTIONS {
            return Err(Rejection::MotionsOpen);
        }
        let invalid = match motion {
            Motion::SetParameters(parameters) => parameters.check(&self.model).err(),
            Motion::Admit(share) => Admission::ByVote(vec![*share]).check(&self.parameters).err(),
            Motion::Suspend(_) | Motion::Expel(_) | Motion::Stop => None,
        };
        if let Some(which) = invalid {
            return Err(Rejection::MotionInvalid(which));
        }
        if let Motion::Suspend(learner) | Motion::Expel(learner) = motion
            && self.member_now(*learner).is_err()
        {
            return Err(Rejection::NoSuchMember);
        }

        let electorate = self.roster_weight - member.weight;
        let deadline_ms = step.at.now_ms.saturating_add(self.parameters.motion_deadline_ms);
        self.last_motion = number;
        self.motions.insert(
            number,
            OpenMotion {
                motion: motion.clone(),
                mover: sender,
                tally: Tally { electorate, ..Tally::default() },
                voters: BTreeSet::new(),
                seats_below: self.next_seat,
                deadline_ms,
            },
        );
        step.outcomes.push(Outcome::MotionOpened {
            experiment: self.name.clone(),
            number,
            electorate,
            deadline_ms,
        });
        self.decide_motion(step, number, false);
        Ok(())
    }

    /// R46.
    pub(crate) fn ballot(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        number: u64,
        approve: bool,
    ) -> Result<(), Rejection> {
        let member = self.member_now(sender)?;
        let weight = member.weight;
        let seat = member.seat.number();
        let open = self.motions.get_mut(&number);
        // Precedence: a deadline, then who may vote, then the motion itself.
        if let Some(open) = &open {
            if step.at.now_ms >= open.deadline_ms {
                return Err(Rejection::DeadlinePassed);
            }
            if open.mover == sender {
                return Err(Rejection::ProposerCannotVote);
            }
            if seat.is_none_or(|seat| seat >= open.seats_below) {
                return Err(Rejection::NotInElectorate);
            }
            if open.voters.contains(&sender) {
                return Err(Rejection::AlreadyVoted);
            }
        }
        let open = open.ok_or(Rejection::NoSuchMotion)?;

        open.voters.insert(sender);
        open.tally.add(approve, weight);
        self.decide_motion(step, number, false);
        Ok(())
    }

    /// The first motion whose deadline this is.
    pub(crate) fn expire_motion(&mut self, step: &mut Step, deadline_ms: u64) {
        let due = self.motions.iter().find(|(_, open)| open.deadline_ms == deadline_ms);
        if let Some(number) = due.map(|(number, _)| *number) {
            self.decide_motion(step, number, true);
        }
    }

    /// R47. Decides a motion if enough members approve, if enough no longer can, or if it is due.
    fn decide_motion(&mut self, step: &mut Step, number: u64, due: bool) {
        let Some(open) = self.motions.get(&number) else { return };
        let tally = open.tally;
        let parameters = &self.parameters;
        let threshold = parameters.governance_threshold.unwrap_or(parameters.threshold);
        let adopted = threshold.is_met(tally.approvals, tally.electorate);
        let best = tally.electorate - tally.rejections;
        if !adopted && threshold.is_met(best, tally.electorate) && !due {
            return;
        }
        let Some(open) = self.motions.remove(&number) else { return };
        step.outcomes.push(Outcome::MotionDecided {
            experiment: self.name.clone(),
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
                self.took_effect(step, number);
                self.finish(step, FinishReason::Stopped);
            }
            Motion::Admit(Share { learner, weight }) => {
                if !self.open {
                    self.admitted.insert(learner, weight);
                }
                if let Some(member) = self.members.get_mut(&learner)
                    && member.seat == Seat::Expelled
                {
                    member.seat = Seat::Left;
                }
                self.took_effect(step, number);
            }
            motion @ (Motion::SetParameters(_) | Motion::Suspend(_) | Motion::Expel(_)) => {
                self.adopted.push((number, motion));
                self.settle_now(step);
            }
        }
    }

    fn took_effect(&self, step: &mut Step, number: u64) {
        let experiment = self.name.clone();
        step.outcomes.push(Outcome::MotionTookEffect { experiment, number });
    }

    /// R48. What was adopted takes effect, in the order of adoption.
    pub(crate) fn take_effect(&mut self, step: &mut Step) {
        for (number, motion) in core::mem::take(&mut self.adopted) {
            match motion {
                Motion::SetParameters(parameters) => {
                    if parameters.privacy != self.parameters.privacy {
                        // Under another cap there may be something left.
                        self.members.values_mut().for_each(|member| member.exhausted = false);
                    }
                    self.parameters = *parameters;
                    self.idle = 0;
                }
                Motion::Suspend(learner) if self.member_now(learner).is_ok() => {
                    self.unseat(step, learner, Seat::Suspended, SuspendReason::Decided);
                }
                Motion::Expel(learner) if self.members.contains_key(&learner) => {
                    self.admitted.remove(&learner);
                    self.unseat(step, learner, Seat::Expelled, SuspendReason::Expelled);
                }
                // Whoever it was about has left or changed its key meanwhile, or it took effect when
                // it was adopted.
                Motion::Suspend(_) | Motion::Expel(_) | Motion::Admit(_) | Motion::Stop => {}
            }
            self.took_effect(step, number);
        }
    }

    /// R31, in the open and adopted motions.
    pub(crate) fn replace_in_motions(&mut self, from: LearnerId, to: LearnerId) {
        let replace = |motion: &mut Motion| {
            if let Motion::Suspend(learner) | Motion::Expel(learner) = motion
                && *learner == from
            {
                *learner = to;
            }
        };
        for open in self.motions.values_mut() {
            if open.mover == from {
                open.mover = to;
            }
            if open.voters.remove(&from) {
                open.voters.insert(to);
            }
            replace(&mut open.motion);
        }
        self.adopted.iter_mut().for_each(|(_, motion)| replace(motion));
    }
}
