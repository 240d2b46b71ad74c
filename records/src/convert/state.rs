//! How a node describes an experiment and a member, for people and programs to look at.

use bytes::Bytes;
use colearn_contracts::{
    Admission, Digest, Experiment, ExperimentName, LearnerId, Member, Model, Motion, OpenMotion,
    Parameters, Phase, PrivacySpent, Seat, Stage, Tally,
};
use colearn_proto::v1;

use super::{
    BadField, admission, admission_message, bytes, digest, finish_reason, finish_reason_message,
    learner, model, model_message, motion, move_message, name, parameters, parameters_message,
    pause_reason, pause_reason_message, privacy, privacy_message,
};

/// An experiment as it is described.
#[derive(Clone, PartialEq, Debug)]
pub struct ExperimentState {
    /// Its name.
    pub name: ExperimentName,
    /// Who created it.
    pub creator: LearnerId,
    /// Its rules.
    pub parameters: Parameters,
    /// Who may join.
    pub admission: Admission,
    /// The digest of the plan it was created from, if it was.
    pub plan: Option<Digest>,
    /// The global model.
    pub model: Model,
    /// The last opened round; 0 before the first.
    pub round: u64,
    /// Where it stands.
    pub phase: Phase,
    /// The members that take part, in joining order; perhaps not all of them.
    pub members: Vec<LearnerId>,
    /// How many they are.
    pub member_count: u32,
    /// The open motions.
    pub motions: Vec<MotionState>,
    /// The number of the last motion; 0 before the first.
    pub last_motion: u64,
}

/// An open motion as it is described.
#[derive(Clone, PartialEq, Debug)]
pub struct MotionState {
    /// Its number.
    pub number: u64,
    /// What is to be decided.
    pub motion: Motion,
    /// Who moved it.
    pub mover: LearnerId,
    /// The votes so far.
    pub tally: Tally,
    /// Ledger time at which voting ends, exclusive.
    pub deadline_ms: u64,
}

/// A member as it is described.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MemberState {
    /// How often the learner was a member before this time (R7).
    pub term: u32,
    /// Whether it takes part.
    pub seat: SeatState,
    /// The last round it voted or committed in; 0 for none.
    pub last_vote: u64,
    /// What its vote weighs (R37).
    pub weight: u32,
    /// How many turns it has missed in a row (R39).
    pub missed: u32,
    /// Whether it has declared its privacy budget spent (R43).
    pub exhausted: bool,
    /// What its proposals have revealed, in its words (R42).
    pub privacy: Option<PrivacySpent>,
    /// Whether it has committed to a ballot that is not revealed.
    pub unrevealed: bool,
}

/// Whether a member takes part: a [`Seat`] without its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeatState {
    /// Takes part from the next round on.
    Joining,
    /// Takes part.
    Seated,
    /// Takes part until the round ends.
    Leaving,
    /// Was a member.
    Left,
    /// Lost its seat; may rejoin.
    Suspended,
    /// Lost its seat; may not rejoin.
    Expelled,
    /// Goes on under another key.
    Replaced,
}

impl From<Seat> for SeatState {
    fn from(seat: Seat) -> Self {
        match seat {
            Seat::Joining => Self::Joining,
            Seat::Seated(_) => Self::Seated,
            Seat::Leaving(_) => Self::Leaving,
            Seat::Left => Self::Left,
            Seat::Suspended => Self::Suspended,
            Seat::Expelled => Self::Expelled,
            Seat::Replaced => Self::Replaced,
        }
    }
}

impl ExperimentState {
    /// Describes an experiment, with at most so many of its members.
    pub fn of(experiment: &Experiment, max_members: usize) -> Self {
        let seated = experiment.seated();
        Self {
            name: experiment.name().clone(),
            creator: experiment.creator(),
            parameters: experiment.parameters().clone(),
            admission: experiment.admission(),
            plan: experiment.plan(),
            model: experiment.model().clone(),
            round: experiment.round(),
            phase: experiment.phase().clone(),
            // MAX_MEMBERS keeps it far below u32::MAX.
            member_count: seated.len() as u32,
            members: seated.take(max_members).collect(),
            motions: experiment
                .motions()
                .map(|(number, open)| MotionState::of(number, open))
                .collect(),
            last_motion: experiment.last_motion(),
        }
    }

    /// Reads a description.
    ///
    /// # Errors
    /// The first field that is missing or malformed.
    pub fn read(message: v1::Experiment) -> Result<Self, BadField> {
        let phase = read_phase(&message)?;
        let rules = message.parameters.ok_or(BadField("parameters"))?;
        let motions = message.motions.into_iter().map(MotionState::read);
        Ok(Self {
            name: name(&message.name)?,
            creator: learner(&message.creator, "creator")?,
            parameters: parameters(&rules)?,
            admission: admission(rules.admission.ok_or(BadField("admission"))?)?,
            plan: match &message.plan[..] {
                [] => None,
                plan => Some(digest(plan, "plan")?),
            },
            model: model(message.model.ok_or(BadField("model"))?)?,
            round: message.round,
            phase,
            members: message
                .members
                .iter()
                .map(|member| learner(member, "members"))
                .collect::<Result<_, _>>()?,
            member_count: message.member_count,
            motions: motions.collect::<Result<_, _>>()?,
            last_motion: message.last_motion,
        })
    }

    /// Writes the description.
    pub fn message(&self) -> v1::Experiment {
        let mut message = v1::Experiment {
            name: self.name.to_string(),
            creator: bytes(self.creator.0),
            parameters: Some(v1::Parameters {
                admission: Some(admission_message(&self.admission)),
                ..parameters_message(&self.parameters)
            }),
            model: Some(model_message(&self.model)),
            round: self.round,
            members: self.members.iter().map(|member| bytes(member.0)).collect(),
            member_count: self.member_count,
            plan: self.plan.map_or_else(Bytes::new, |plan| bytes(plan.0)),
            motions: self.motions.iter().map(|motion| motion.message(&self.name)).collect(),
            last_motion: self.last_motion,
            ..v1::Experiment::default()
        };
        write_phase(&self.phase, &mut message);
        message
    }
}

fn read_phase(message: &v1::Experiment) -> Result<Phase, BadField> {
    let proposer = || learner(&message.proposer, "proposer");
    let deadline_ms = message.deadline_ms;
    Ok(match message.phase() {
        v1::Phase::Waiting => Phase::Waiting,
        v1::Phase::Paused => Phase::Paused(pause_reason(message.pause_reason())?),
        v1::Phase::Proposing => Phase::Proposing { proposer: proposer()?, deadline_ms },
        v1::Phase::Voting => Phase::Voting {
            proposer: proposer()?,
            weights: model(message.weights.clone().ok_or(BadField("weights"))?)?,
            tally: Tally {
                electorate: message.electorate,
                approvals: message.approvals,
                rejections: message.rejections,
            },
            stage: match message.stage() {
                v1::Stage::Open => Stage::Open,
                v1::Stage::Commit => Stage::Commit { committed: message.committed },
                v1::Stage::Reveal => Stage::Reveal { committed: message.committed },
            },
            deadline_ms,
        },
        v1::Phase::Finished => Phase::Finished(finish_reason(message.finish_reason())?),
        v1::Phase::Unspecified => return Err(BadField("phase")),
    })
}

fn write_phase(phase: &Phase, message: &mut v1::Experiment) {
    let written = match phase {
        Phase::Waiting => v1::Phase::Waiting,
        Phase::Paused(reason) => {
            message.set_pause_reason(pause_reason_message(*reason));
            v1::Phase::Paused
        }
        Phase::Proposing { proposer, deadline_ms } => {
            message.proposer = bytes(proposer.0);
            message.deadline_ms = *deadline_ms;
            v1::Phase::Proposing
        }
        Phase::Voting { proposer, weights, tally, stage, deadline_ms } => {
            message.proposer = bytes(proposer.0);
            message.deadline_ms = *deadline_ms;
            message.weights = Some(model_message(weights));
            message.electorate = tally.electorate;
            message.approvals = tally.approvals;
            message.rejections = tally.rejections;
            let (stage, committed) = match stage {
                Stage::Open => (v1::Stage::Open, 0),
                Stage::Commit { committed } => (v1::Stage::Commit, *committed),
                Stage::Reveal { committed } => (v1::Stage::Reveal, *committed),
            };
            message.committed = committed;
            message.set_stage(stage);
            v1::Phase::Voting
        }
        Phase::Finished(reason) => {
            message.set_finish_reason(finish_reason_message(*reason));
            v1::Phase::Finished
        }
    };
    message.set_phase(written);
}

impl MotionState {
    fn of(number: u64, open: &OpenMotion) -> Self {
        Self {
            number,
            motion: open.motion.clone(),
            mover: open.mover,
            tally: open.tally,
            deadline_ms: open.deadline_ms,
        }
    }

    fn read(message: v1::OpenMotion) -> Result<Self, BadField> {
        let moved = message.r#move.ok_or(BadField("motion"))?;
        Ok(Self {
            number: moved.number,
            motion: motion(moved.motion.ok_or(BadField("motion"))?)?,
            mover: learner(&message.mover, "mover")?,
            tally: Tally {
                electorate: message.electorate,
                approvals: message.approvals,
                rejections: message.rejections,
            },
            deadline_ms: message.deadline_ms,
        })
    }

    fn message(&self, experiment: &ExperimentName) -> v1::OpenMotion {
        v1::OpenMotion {
            r#move: Some(move_message(experiment, self.number, &self.motion)),
            mover: bytes(self.mover.0),
            electorate: self.tally.electorate,
            approvals: self.tally.approvals,
            rejections: self.tally.rejections,
            deadline_ms: self.deadline_ms,
        }
    }
}

impl MemberState {
    /// Describes a member.
    pub fn of(member: &Member) -> Self {
        Self {
            term: member.term,
            seat: member.seat.into(),
            last_vote: member.last_vote,
            weight: member.weight,
            missed: member.missed,
            exhausted: member.exhausted,
            privacy: member.privacy,
            unrevealed: member.has_unrevealed(),
        }
    }

    /// Reads a description.
    ///
    /// # Errors
    /// If the seat is missing or unknown.
    pub fn read(message: v1::Member) -> Result<Self, BadField> {
        Ok(Self {
            term: message.term,
            seat: match message.seat() {
                v1::Seat::Joining => SeatState::Joining,
                v1::Seat::Seated => SeatState::Seated,
                v1::Seat::Leaving => SeatState::Leaving,
                v1::Seat::Left => SeatState::Left,
                v1::Seat::Suspended => SeatState::Suspended,
                v1::Seat::Expelled => SeatState::Expelled,
                v1::Seat::Replaced => SeatState::Replaced,
                v1::Seat::Unspecified => return Err(BadField("seat")),
            },
            last_vote: message.last_vote,
            weight: message.weight,
            missed: message.missed,
            exhausted: message.exhausted,
            privacy: message.privacy.map(privacy),
            unrevealed: message.unrevealed,
        })
    }

    /// Writes the description.
    pub fn message(&self) -> v1::Member {
        let seat = match self.seat {
            SeatState::Joining => v1::Seat::Joining,
            SeatState::Seated => v1::Seat::Seated,
            SeatState::Leaving => v1::Seat::Leaving,
            SeatState::Left => v1::Seat::Left,
            SeatState::Suspended => v1::Seat::Suspended,
            SeatState::Expelled => v1::Seat::Expelled,
            SeatState::Replaced => v1::Seat::Replaced,
        };
        v1::Member {
            term: self.term,
            seat: seat.into(),
            last_vote: self.last_vote,
            weight: self.weight,
            missed: self.missed,
            exhausted: self.exhausted,
            privacy: self.privacy.map(privacy_message),
            unrevealed: self.unrevealed,
        }
    }
}
