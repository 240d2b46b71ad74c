//! How a node describes an experiment and a member, for people and programs to look at.

use std::collections::BTreeMap;

use colearn_contracts::{
    Admission, Chain, Digest, Experiment, ExperimentName, LearnerId, Member, MemberName,
    MergeStage, Model, Motion, OpenMotion, Parameters, Phase, PrivacySpent, Seat, Stage, Tally,
    Threshold, Version,
};
use colearn_proto::v1;
use prost::Message as _;

use super::{
    BadField, admission, admission_message, bytes, digest, finish_reason, finish_reason_message,
    learner, maybe_bytes, maybe_digest, member_name, model, model_message, motion, move_message,
    name, parameters, parameters_message, pause_reason, pause_reason_message, privacy,
    privacy_message,
};
use crate::convert::merged::{merged, merged_message};
use crate::convert::parameters::{fraction, threshold};

/// An experiment as it is described.
#[derive(Clone, PartialEq, Debug)]
pub struct ExperimentState {
    /// Its name.
    pub name: ExperimentName,
    /// The version of the rules that it follows.
    pub version: Version,
    /// The digest of its terms: what who joins agrees to (R53).
    pub terms: Digest,
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
    /// The model before it, if the last round accepted it (R74).
    pub previous: Option<Model>,
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
    /// The votes that motions are counted over (R55).
    pub governing_weight: u32,
    /// What the listed members call themselves; what the invited are called is in the admission.
    pub names: BTreeMap<LearnerId, MemberName>,
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
    /// The share that must approve.
    pub threshold: Threshold,
    /// Ledger time at which voting ends, exclusive.
    pub deadline_ms: u64,
}

/// A member as it is described.
#[derive(Clone, PartialEq, Debug)]
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
    /// Whether it only judges (R65).
    pub judge: bool,
    /// Its hash chain, where proposers are drawn (R63).
    pub chain: Option<ChainState>,
    /// How many of its evaluations are recorded (R66).
    pub evaluations: u64,
    /// How many of its proposals in a row most could not get (R68).
    pub unavailable: u32,
    /// What it calls itself (R64).
    pub name: Option<MemberName>,
    /// The last merged round in which it said what it holds; 0 for none (R80).
    pub last_have: u64,
}

/// A member's hash chain as it is described.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChainState {
    /// What was revealed last: the anchor at first.
    pub link: Digest,
    /// How many links are left.
    pub left: u32,
    /// The round in which the anchor was stated.
    pub anchored: u64,
}

impl From<&Chain> for ChainState {
    fn from(chain: &Chain) -> Self {
        Self { link: chain.link, left: chain.left, anchored: chain.anchored }
    }
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

impl SeatState {
    /// Whether it is a member's, though perhaps not from this round on.
    pub fn is_member(self) -> bool {
        match self {
            Self::Joining | Self::Seated | Self::Leaving => true,
            Self::Left | Self::Suspended | Self::Expelled | Self::Replaced => false,
        }
    }
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
        let admission = experiment.admission();
        // MAX_MEMBERS keeps it far below u32::MAX.
        let member_count = seated.len() as u32;
        let members: Vec<LearnerId> = seated.take(max_members).collect();
        let own = |it: &LearnerId| Some((*it, experiment.member(*it)?.name.clone()?));
        let names = members.iter().filter_map(own).collect();
        Self {
            name: experiment.name().clone(),
            version: experiment.version(),
            terms: experiment.terms(),
            creator: experiment.creator(),
            parameters: experiment.parameters().clone(),
            admission,
            plan: experiment.plan(),
            model: experiment.model().clone(),
            previous: Some(experiment.previous().clone()).filter(|it| it != experiment.model()),
            round: experiment.round(),
            phase: experiment.phase().clone(),
            member_count,
            members,
            motions: experiment
                .motions()
                .map(|(number, open)| {
                    let now = || experiment.parameters().governance(open.version);
                    MotionState::of(number, open, open.threshold.unwrap_or_else(now))
                })
                .collect(),
            last_motion: experiment.last_motion(),
            governing_weight: experiment.governing_weight(),
            names,
        }
    }

    /// What a learner is called (R64): by its invitation, or else by itself, if it is listed.
    pub fn name_of(&self, learner: LearnerId) -> Option<&MemberName> {
        let invitations = self.admission.invitations();
        let invited = invitations.binary_search_by_key(&learner, |it| it.learner).ok();
        let invited = invited.and_then(|at| invitations[at].name.as_ref());
        invited.or_else(|| self.names.get(&learner))
    }

    /// Reads a description from its bytes, as a contract on a public chain answers.
    ///
    /// # Errors
    /// If they are none, or the first field that is missing or malformed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadField> {
        Self::read(v1::Experiment::decode(bytes).map_err(|_| BadField("message"))?)
    }

    /// Reads a description.
    ///
    /// # Errors
    /// The first field that is missing or malformed.
    pub fn read(message: v1::Experiment) -> Result<Self, BadField> {
        let phase = read_phase(&message)?;
        let rules = message.parameters.ok_or(BadField("parameters"))?;
        let named = message.named.iter().map(|named| {
            let called = member_name(&named.name)?.ok_or(BadField("named"))?;
            Ok((learner(&named.learner, "named")?, called))
        });
        // Version 1 did not say so.
        let version = Version::try_from(message.contract_version.max(1))
            .map_err(|_| BadField("contract_version (a later colearn knows it)"))?;
        let parameters = parameters(&rules)?;
        let governance = parameters.governance(version);
        let motions = message.motions.into_iter().map(|it| MotionState::read(it, governance));
        Ok(Self {
            name: name(&message.name)?,
            version,
            terms: maybe_digest(&message.terms, "terms")?.unwrap_or(Digest([0; 32])),
            creator: learner(&message.creator, "creator")?,
            parameters,
            admission: admission(rules.admission.ok_or(BadField("admission"))?)?,
            plan: maybe_digest(&message.plan, "plan")?,
            model: model(message.model.ok_or(BadField("model"))?)?,
            previous: message.previous.map(model).transpose()?,
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
            governing_weight: message.governing_weight,
            names: named.collect::<Result<_, BadField>>()?,
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
            previous: self.previous.as_ref().map(model_message),
            round: self.round,
            members: self.members.iter().map(|member| bytes(member.0)).collect(),
            member_count: self.member_count,
            plan: maybe_bytes(self.plan),
            contract_version: self.version.number(),
            terms: bytes(self.terms.0),
            governing_weight: self.governing_weight,
            named: self
                .names
                .iter()
                .map(|(learner, name)| v1::NamedMember {
                    learner: bytes(learner.0),
                    name: name.to_string(),
                })
                .collect(),
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
                abstentions: message.abstentions,
                unavailable: message.unavailable,
            },
            stage: read_stage(message)?,
            deadline_ms,
        },
        v1::Phase::Merged => {
            let round = message.merged.as_ref().ok_or(BadField("merged"))?;
            Phase::Merged(Box::new(merged(round, read_stage(message)?, deadline_ms)?))
        }
        v1::Phase::Finished => Phase::Finished(finish_reason(message.finish_reason())?),
        v1::Phase::Unspecified => return Err(BadField("phase")),
    })
}

fn read_stage(message: &v1::Experiment) -> Result<Stage, BadField> {
    // Not `message.stage()`, which takes what it does not know for an open ballot.
    Ok(match v1::Stage::try_from(message.stage).map_err(|_| BadField("stage"))? {
        v1::Stage::Open => Stage::Open,
        v1::Stage::Commit => Stage::Commit { committed: message.committed },
        v1::Stage::Reveal => Stage::Reveal { committed: message.committed },
    })
}

fn write_stage(stage: Stage, message: &mut v1::Experiment) {
    let (stage, committed) = match stage {
        Stage::Open => (v1::Stage::Open, 0),
        Stage::Commit { committed } => (v1::Stage::Commit, committed),
        Stage::Reveal { committed } => (v1::Stage::Reveal, committed),
    };
    message.committed = committed;
    message.set_stage(stage);
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
            message.abstentions = tally.abstentions;
            message.unavailable = tally.unavailable;
            write_stage(*stage, message);
            v1::Phase::Voting
        }
        Phase::Merged(round) => {
            message.deadline_ms = round.deadline_ms;
            message.merged = Some(merged_message(round));
            if let MergeStage::Voting { stage, .. } = round.stage {
                write_stage(stage, message);
            }
            v1::Phase::Merged
        }
        Phase::Finished(reason) => {
            message.set_finish_reason(finish_reason_message(*reason));
            v1::Phase::Finished
        }
    };
    message.set_phase(written);
}

impl MotionState {
    fn of(number: u64, open: &OpenMotion, threshold: Threshold) -> Self {
        Self {
            number,
            motion: open.motion.clone(),
            mover: open.mover,
            tally: open.tally,
            threshold,
            deadline_ms: open.deadline_ms,
        }
    }

    /// Reads a motion; a node that does not say what judges it is one of version 1, where the
    /// rules in force do: `rules`.
    fn read(message: v1::OpenMotion, rules: Threshold) -> Result<Self, BadField> {
        let moved = message.r#move.ok_or(BadField("motion"))?;
        Ok(Self {
            number: moved.number,
            motion: motion(moved.motion.ok_or(BadField("motion"))?)?,
            mover: learner(&message.mover, "mover")?,
            tally: Tally {
                electorate: message.electorate,
                approvals: message.approvals,
                rejections: message.rejections,
                ..Tally::default()
            },
            threshold: message.threshold.map_or(rules, threshold),
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
            threshold: Some(fraction(self.threshold)),
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
            privacy: member.privacy.as_deref().cloned(),
            unrevealed: member.has_unrevealed(),
            judge: member.judge,
            chain: member.chain.as_deref().map(Into::into),
            evaluations: member.evaluations,
            unavailable: member.unavailable,
            name: member.name.clone(),
            last_have: member.last_have,
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
            privacy: message.privacy.map(privacy).transpose()?,
            unrevealed: message.unrevealed,
            judge: message.judge,
            chain: match message.chain {
                Some(chain) => Some(ChainState {
                    link: digest(&chain.link, "link")?,
                    left: chain.left,
                    anchored: chain.anchored,
                }),
                None => None,
            },
            evaluations: message.evaluations,
            unavailable: message.unavailable,
            name: member_name(&message.name)?,
            last_have: message.last_have,
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
            privacy: self.privacy.as_ref().map(privacy_message),
            unrevealed: self.unrevealed,
            judge: self.judge,
            chain: self.chain.map(|chain| v1::Chain {
                link: bytes(chain.link.0),
                left: chain.left,
                anchored: chain.anchored,
            }),
            evaluations: self.evaluations,
            unavailable: self.unavailable,
            name: self.name.as_ref().map_or_else(String::new, ToString::to_string),
            last_have: self.last_have,
        }
    }
}
