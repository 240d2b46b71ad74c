//! The rules of governance: what members decide together.

use std::collections::BTreeSet;

use crate::action::Motion;
use crate::admission::{Admission, Invitation};
use crate::ballot::Choice;
use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::member::Seat;
use crate::motions::{Adopted, Electorate, OpenMotion};
use crate::outcome::{Decision, FinishReason, SuspendReason, Verdict};
use crate::parameters::{InvalidParameters, MAX_MEMBERS, Parameters};
use crate::rejection::Rejection;
use crate::step::Step;
use crate::tally::Tally;
use crate::version::{Version, v1};

impl Experiment {
    /// R44, R45, R55, R57.
    pub(crate) fn make_motion(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        number: u64,
        motion: &Motion,
    ) -> Result<(), Rejection> {
        // Whoever adopts rules decides by those, not by the ones that they are to be rid of.
        let version = match motion {
            Motion::Adopt(adopted) => self.version.max(*adopted),
            Motion::SetParameters(_)
            | Motion::Admit(_)
            | Motion::Suspend(_)
            | Motion::Expel(_)
            | Motion::Stop => self.version,
        };
        let weight = self.check_mover(version, sender)?;
        self.check_room(version, motion)?;
        let expected = self.motions.last + 1;
        if number != expected {
            return Err(Rejection::WrongMotion { expected });
        }
        let mine = self.motions.open.values().any(|open| open.mover == sender);
        if mine || self.motions.open.len() >= v1::MAX_OPEN_MOTIONS {
            return Err(Rejection::MotionsOpen);
        }
        self.check_motion(step, version, motion)?;

        let rules = version.rules();
        let (electorate, total) = match rules.constitution && !self.roster.is_open() {
            true => (
                Electorate::Admitted { changes: self.roster.changes() },
                self.roster.admitted_weight(),
            ),
            false => (Electorate::Seated { below: self.roster.next_seat() }, self.roster.weight()),
        };
        // In version 1 the mover's own vote counted for neither side.
        let mut tally = Tally::of(if rules.constitution { total } else { total - weight });
        if rules.constitution {
            tally.add(Choice::Approve, None, weight);
        }
        let deadline_ms = step.deadline_ms(self.parameters.motion_deadline_ms);
        self.motions.last = number;
        self.motions.open.insert(
            number,
            OpenMotion {
                motion: motion.clone(),
                mover: sender,
                tally,
                version,
                threshold: rules
                    .constitution
                    .then(|| self.parameters_under(version).governance(version)),
                voters: BTreeSet::new(),
                electorate,
                deadline_ms,
            },
        );
        step.push(Decision::MotionOpened { number, electorate: tally.electorate, deadline_ms });
        // Where nobody else has a vote, or a share alone is enough, it is adopted at once.
        self.decide_motion(step, number, false);
        Ok(())
    }

    /// The rules as they would be under a version.
    fn parameters_under(&self, version: Version) -> Parameters {
        let mut parameters = self.parameters.clone();
        parameters.adopt(version);
        parameters
    }

    /// R9, R44, R55. Whether a learner may move, and what its vote weighs.
    fn check_mover(&self, version: Version, sender: LearnerId) -> Result<u32, Rejection> {
        if version.rules().constitution && !self.roster.is_open() {
            return self.check_right(sender);
        }
        let member = self.roster.present(sender)?;
        // Those who happen to come first do not decide for those who are still to come.
        let alone = self.roster.seats().len() < 2 && self.parameters.min_learners > 1;
        if self.rounds.current == 0 || alone {
            return Err(Rejection::WaitingForMembers);
        }
        if member.seat.number().is_none() {
            return Err(Rejection::NotInElectorate);
        }
        Ok(member.weight)
    }

    /// R55. The votes of who has a right to a seat, whether it sits or not.
    fn check_right(&self, learner: LearnerId) -> Result<u32, Rejection> {
        match self.roster.member(learner).map(|member| member.seat) {
            Some(Seat::Expelled) => return Err(Rejection::Expelled),
            Some(Seat::Replaced) => return Err(Rejection::KeyReplaced),
            Some(
                Seat::Joining | Seat::Seated(_) | Seat::Leaving(_) | Seat::Left | Seat::Suspended,
            )
            | None => {}
        }
        self.roster.right(learner).map(|right| right.weight).ok_or(Rejection::NotInvited)
    }

    /// R8, R64. Whether who is to be admitted could be, by what others have: told before all that is
    /// wrong with the motion itself.
    fn check_room(&self, version: Version, motion: &Motion) -> Result<(), Rejection> {
        let Motion::Admit(Invitation { learner, name, .. }) = motion else { return Ok(()) };
        if !version.rules().constitution || self.roster.is_open() {
            return Ok(());
        }
        if name.as_ref().is_some_and(|name| self.roster.is_taken(name, *learner)) {
            return Err(Rejection::NameTaken);
        }
        if self.roster.right(*learner).is_none() && self.roster.admitted() >= MAX_MEMBERS {
            return Err(Rejection::TooManyMembers);
        }
        Ok(())
    }

    /// R44, R49, R50, R69. Whether what is moved could be.
    fn check_motion(
        &self,
        step: &Step,
        version: Version,
        motion: &Motion,
    ) -> Result<(), Rejection> {
        let constitution = version.rules().constitution;
        match motion {
            Motion::SetParameters(parameters) => {
                parameters.check(version, &self.model).map_err(Rejection::MotionInvalid)?;
                let enough = parameters.min_learners as usize <= self.roster.admitted();
                if constitution && !self.roster.is_open() && !enough {
                    return Err(Rejection::MotionInvalid(InvalidParameters::MinLearners));
                }
                Ok(())
            }
            Motion::Admit(invitation) => self.check_admission(version, invitation),
            Motion::Suspend(learner) => {
                self.roster.present(*learner).map_err(|_| Rejection::NoSuchMember).map(|_| ())
            }
            // Also one that has never come, or has gone: otherwise nobody could take back an invitation.
            Motion::Expel(learner) => {
                let there = match self.roster.member(*learner).map(|member| member.seat) {
                    Some(seat) if seat.is_member() => true,
                    Some(Seat::Left | Seat::Suspended) => constitution,
                    Some(_) => false,
                    None => constitution && self.roster.right(*learner).is_some(),
                };
                if there { Ok(()) } else { Err(Rejection::NoSuchMember) }
            }
            Motion::Stop => Ok(()),
            Motion::Adopt(adopted) => {
                let ledger = step.context.version;
                if *adopted <= self.version || *adopted > ledger {
                    return Err(Rejection::CannotAdopt { ledger: ledger.number() });
                }
                Ok(())
            }
        }
    }

    /// R44, R49.
    fn check_admission(&self, version: Version, invitation: &Invitation) -> Result<(), Rejection> {
        let one_alone = Parameters { min_learners: 1, ..self.parameters.clone() };
        // One alone that judges is in order here: others train.
        let alone = Invitation { judge: false, ..invitation.clone() };
        let checked = Admission::ByVote(vec![alone]).check(version, &one_alone);
        checked.map_err(Rejection::MotionInvalid)?;
        if !version.rules().constitution {
            return Ok(());
        }
        let learner = invitation.learner;
        if self.roster.is_open() {
            if invitation.weight != 1 || invitation.is_more() {
                return Err(Rejection::MotionInvalid(InvalidParameters::Weight));
            }
            return Ok(());
        }
        if self.roster.member(learner).is_some_and(|member| member.seat == Seat::Replaced) {
            // Nobody could ever cast its votes, and they would count.
            return Err(Rejection::NoSuchMember);
        }
        Ok(())
    }

    /// R46, R55.
    pub(crate) fn vote_on_motion(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        number: u64,
        approve: bool,
    ) -> Result<(), Rejection> {
        let electorate = self.motions.open.get(&number).map(|open| open.electorate);
        // Whose votes count, and what they weigh: those of the version that judges the motion.
        let weight = match electorate {
            Some(Electorate::Admitted { .. }) => self.check_right(sender)?,
            Some(Electorate::Seated { .. }) => self.roster.present(sender)?.weight,
            None if self.version.rules().constitution && !self.roster.is_open() => {
                self.check_right(sender)?
            }
            None => self.roster.present(sender)?.weight,
        };
        let seat = self.roster.member(sender).and_then(|member| member.seat.number());
        let right = self.roster.right(sender).map(|right| right.since);
        let open = self.motions.open.get_mut(&number);
        // Precedence: a deadline, then who may vote, then the motion itself.
        if let Some(open) = &open {
            if step.now_ms() >= open.deadline_ms {
                return Err(Rejection::DeadlinePassed);
            }
            if open.mover == sender {
                return Err(Rejection::ProposerCannotVote);
            }
            let may_vote = match open.electorate {
                Electorate::Seated { below } => seat.is_some_and(|seat| seat < below),
                Electorate::Admitted { changes } => right.is_some_and(|since| since < changes),
            };
            if !may_vote {
                return Err(Rejection::NotInElectorate);
            }
            if open.voters.contains(&sender) {
                return Err(Rejection::AlreadyVoted);
            }
        }
        let open = open.ok_or(Rejection::NoSuchMotion)?;

        open.voters.insert(sender);
        let choice = if approve { Choice::Approve } else { Choice::Reject };
        open.tally.add(choice, None, weight);
        self.decide_motion(step, number, false);
        Ok(())
    }

    /// R47. The first motion whose deadline this is.
    pub(crate) fn expire_motion(&mut self, step: &mut Step, deadline_ms: u64) {
        if let Some(number) = self.motions.due(deadline_ms) {
            self.decide_motion(step, number, true);
        }
    }

    /// R47, R57. Decides a motion if enough members approve, if enough no longer can, or if it is due.
    fn decide_motion(&mut self, step: &mut Step, number: u64, due: bool) {
        let Some(open) = self.motions.open.get(&number) else { return };
        let tally = open.tally;
        // Version 1 takes that of now, which may be another than when it was moved.
        let threshold = open.threshold.unwrap_or_else(|| self.parameters.governance(open.version));
        let to_come = if due { 0 } else { tally.outstanding() };
        let Some(verdict) = tally.settled(to_come, 0, threshold) else { return };
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
        let OpenMotion { motion, version, .. } = open;
        match motion {
            Motion::Stop => {
                step.push(Decision::MotionTookEffect { number });
                self.finish(step, FinishReason::Stopped);
            }
            Motion::Admit(invitation) if !version.rules().constitution => {
                self.roster.admit(invitation, false);
                self.terms_changed();
                step.push(Decision::MotionTookEffect { number });
            }
            // Between rounds: nobody votes under other rules, or with others, than the round began with.
            Motion::SetParameters(_)
            | Motion::Admit(_)
            | Motion::Suspend(_)
            | Motion::Expel(_)
            | Motion::Adopt(_) => {
                self.motions.adopted.push(Adopted { number, motion, version });
                self.settle_now(step);
            }
        }
    }

    /// R48. What was adopted takes effect, in the order of adoption.
    pub(crate) fn take_effect(&mut self, step: &mut Step) {
        let adopted = core::mem::take(&mut self.motions.adopted);
        if adopted.is_empty() {
            return;
        }
        for Adopted { number, motion, .. } in adopted {
            match motion {
                Motion::SetParameters(parameters) => {
                    if parameters.privacy != self.parameters.privacy {
                        self.roster.renew_budgets();
                    }
                    self.parameters = *parameters;
                    // Moved under earlier rules than those that it takes effect under, perhaps.
                    self.parameters.adopt(self.version);
                    self.rounds.idle = 0;
                }
                Motion::Suspend(learner) if self.roster.present(learner).is_ok() => {
                    self.unseat(step, learner, Seat::Suspended, SuspendReason::Decided);
                }
                Motion::Expel(learner) => self.expel(step, learner),
                Motion::Admit(invitation) => self.admit(invitation),
                Motion::Adopt(version) if version > self.version => {
                    self.version = version;
                    self.parameters.adopt(version);
                    self.roster.weigh_all();
                    self.roster.withdraw_replaced();
                    self.lapse_motions(step);
                }
                // Whoever it was about has left meanwhile, or it took effect when it was adopted.
                Motion::Suspend(_) | Motion::Stop | Motion::Adopt(_) => {}
            }
            step.push(Decision::MotionTookEffect { number });
        }
        self.terms_changed();
    }

    /// R69. What is open under earlier rules is not adopted: by those a few could still decide what by
    /// these only most can.
    fn lapse_motions(&mut self, step: &mut Step) {
        let version = self.version;
        let earlier = |(number, open): (&u64, &OpenMotion)| {
            (open.version < version).then_some((*number, open.tally))
        };
        let lapsed: Vec<(u64, Tally)> = self.motions.open.iter().filter_map(earlier).collect();
        for (number, Tally { approvals, rejections, electorate, .. }) in lapsed {
            self.motions.open.remove(&number);
            let adopted = false;
            step.push(Decision::MotionDecided {
                number,
                adopted,
                approvals,
                rejections,
                electorate,
            });
        }
    }

    /// R49, R56. It had room, and its key was in use, when it was moved; both may have changed.
    fn admit(&mut self, invitation: Invitation) {
        let known = self.roster.right(invitation.learner).is_some();
        let replaced = self.roster.member(invitation.learner).map(|member| member.seat)
            == Some(Seat::Replaced);
        if !replaced && (known || self.roster.admitted() < MAX_MEMBERS) {
            self.roster.admit(invitation, true);
        }
    }

    /// R48, R50.
    fn expel(&mut self, step: &mut Step, learner: LearnerId) {
        let right = self.roster.right(learner).is_some();
        let last = right && self.roster.admitted() == 1;
        // By the rules that it takes effect under: others may have been adopted since.
        if self.version.rules().constitution && !self.roster.is_open() && last {
            // R55. Somebody must be left to decide, be it to end.
            return;
        }
        let withdrawn = self.roster.withdraw(learner);
        let seat = self.roster.member(learner).map(|member| member.seat);
        match seat {
            // R31. A replaced key stays one.
            Some(Seat::Replaced) => {}
            Some(_) => self.unseat(step, learner, Seat::Expelled, SuspendReason::Expelled),
            None if withdrawn => {
                step.push(Decision::Suspended { learner, reason: SuspendReason::Expelled });
            }
            None => {}
        }
    }
}
