//! What each piece holds, and how a part of an experiment becomes pieces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::keys;
use crate::action::Motion;
use crate::chain::Chain;
use crate::draw::Draws;
use crate::experiment::Experiment;
use crate::id::{Digest, LearnerId};
use crate::member::{Member, Seat};
use crate::merge_tally::MergeTally;
use crate::merging::Merges;
use crate::motions::{Electorate, OpenMotion};
use crate::outcome::{FinishReason, PauseReason};
use crate::parameters::{Model, Parameters, Threshold};
use crate::round::{MergeStage, Part, Phase, Stage};
use crate::tally::Tally;
use crate::version::Version;

/// Pieces by their keys, without what an experiment's keys begin with.
pub(super) type Pieces = BTreeMap<Vec<u8>, Vec<u8>>;

/// By which rules a round is judged, and where it stands; at most 512 bytes. One media type for all
/// models: there is no other (R16).
#[derive(Serialize, Deserialize)]
pub(super) struct Core {
    pub(super) version: Version,
    pub(super) parameters: Parameters,
    pub(super) model: Model,
    pub(super) round: u64,
    pub(super) phase: PhaseCore,
    pub(super) idle: u64,
    /// The votes of the seated members together.
    pub(super) weight: u32,
    /// When the first motion ends.
    pub(super) motion_deadline_ms: Option<u64>,
}

/// Where an experiment stands, but for what has pieces of its own.
#[derive(Serialize, Deserialize)]
pub(super) enum PhaseCore {
    Waiting,
    Paused(PauseReason),
    Proposing {
        proposer: LearnerId,
        deadline_ms: u64,
    },
    Voting {
        proposer: LearnerId,
        weights: Digest,
        size: u64,
        tally: Tally,
        stage: Stage,
        deadline_ms: u64,
    },
    Merged {
        stage: StageCore,
        deadline_ms: u64,
    },
    Finished(FinishReason),
}

/// Where a merged round stands.
#[derive(Serialize, Deserialize)]
pub(super) enum StageCore {
    Training,
    Revealing,
    Gathering,
    Voting { counts: Counts, stage: Stage },
}

/// The votes on merges, but for those of each pair.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) electorate: u32,
    pub(super) cast: u32,
    pub(super) abstentions: u32,
    pub(super) unavailable: u32,
    pub(super) checkers: u32,
    pub(super) checkers_cast: u32,
    /// How many pairs were named.
    pub(super) pairs: u32,
    pub(super) leading: Merges,
}

impl Core {
    /// When the present stage ends by itself.
    pub(super) fn round_deadline_ms(&self) -> Option<u64> {
        match &self.phase {
            PhaseCore::Proposing { deadline_ms, .. }
            | PhaseCore::Voting { deadline_ms, .. }
            | PhaseCore::Merged { deadline_ms, .. } => Some(*deadline_ms),
            PhaseCore::Waiting | PhaseCore::Paused(_) | PhaseCore::Finished(_) => None,
        }
    }

    fn of(experiment: &Experiment, unread: &Unread) -> Self {
        let Experiment { version, parameters, model, roster, rounds, motions, .. } = experiment;
        Self {
            version: *version,
            parameters: parameters.clone(),
            model: model.clone(),
            round: rounds.current,
            phase: PhaseCore::of(&rounds.phase),
            idle: rounds.idle,
            weight: roster.weight,
            motion_deadline_ms: unread.motion_deadline_ms.or(motions.deadline_ms()),
        }
    }
}

impl PhaseCore {
    fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Waiting => Self::Waiting,
            Phase::Paused(reason) => Self::Paused(*reason),
            Phase::Proposing { proposer, deadline_ms } => {
                Self::Proposing { proposer: *proposer, deadline_ms: *deadline_ms }
            }
            Phase::Voting { proposer, weights, tally, stage, deadline_ms } => Self::Voting {
                proposer: *proposer,
                weights: weights.digest,
                size: weights.size,
                tally: *tally,
                stage: *stage,
                deadline_ms: *deadline_ms,
            },
            Phase::Merged(round) => {
                Self::Merged { stage: StageCore::of(&round.stage), deadline_ms: round.deadline_ms }
            }
            Phase::Finished(reason) => Self::Finished(*reason),
        }
    }
}

impl StageCore {
    fn of(stage: &MergeStage) -> Self {
        match stage {
            MergeStage::Training => Self::Training,
            MergeStage::Revealing => Self::Revealing,
            MergeStage::Gathering { .. } => Self::Gathering,
            MergeStage::Voting { tally, stage } => {
                Self::Voting { counts: Counts::of(tally), stage: *stage }
            }
        }
    }
}

impl Counts {
    fn of(tally: &MergeTally) -> Self {
        Self {
            electorate: tally.electorate,
            cast: tally.cast,
            abstentions: tally.abstentions,
            unavailable: tally.unavailable,
            checkers: tally.checkers,
            checkers_cast: tally.checkers_cast,
            pairs: tally.count(),
            leading: tally.leading,
        }
    }
}

/// What else is one of an experiment.
#[derive(Serialize, Deserialize)]
pub(super) struct Aside {
    pub(super) creator: LearnerId,
    pub(super) created_by: LearnerId,
    pub(super) created_ms: u64,
    pub(super) plan: Option<Digest>,
    pub(super) terms: Digest,
    pub(super) last_proposer_seat: Option<u64>,
    pub(super) previous: Option<(Digest, u64)>,
    pub(super) rejected: u64,
    pub(super) between_since_ms: u64,
    pub(super) draws: Draws,
    pub(super) open: bool,
    pub(super) by_vote: bool,
    pub(super) admitted_weight: u32,
    pub(super) changes: u64,
    pub(super) next_seat: u64,
    /// How many members there have been, and how many of them are keys that were replaced.
    pub(super) members: usize,
    pub(super) replaced: usize,
    /// How often everybody's budgets have been renewed.
    pub(super) renewals: u64,
    pub(super) open_motions: usize,
    pub(super) adopted_motions: usize,
    pub(super) last_motion: u64,
}

impl Aside {
    fn of(experiment: &Experiment, unread: &Unread) -> Self {
        let Experiment { creator, created_by, created_ms, plan, terms, .. } = experiment;
        let Experiment { roster, rounds, motions, .. } = experiment;
        Self {
            creator: *creator,
            created_by: *created_by,
            created_ms: *created_ms,
            plan: *plan,
            terms: *terms,
            last_proposer_seat: rounds.last_proposer_seat,
            previous: rounds.previous.as_ref().map(|model| (model.digest, model.size)),
            rejected: rounds.rejected,
            between_since_ms: rounds.between_since_ms,
            draws: rounds.draws,
            open: roster.open,
            by_vote: roster.by_vote,
            admitted_weight: roster.admitted_weight,
            changes: roster.changes,
            next_seat: roster.next_seat,
            members: roster.keys(),
            replaced: roster.replaced,
            renewals: renewals(experiment),
            open_motions: unread.open_motions + motions.open.len(),
            adopted_motions: unread.adopted_motions + motions.adopted.len(),
            last_motion: unread.last_motion.max(motions.last),
        }
    }
}

/// What was not read of an experiment, as far as it is known without.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Unread {
    pub(super) motion_deadline_ms: Option<u64>,
    pub(super) open_motions: usize,
    pub(super) adopted_motions: usize,
    pub(super) last_motion: u64,
}

/// A member, but for what has pieces of its own; at most 120 bytes.
#[derive(Serialize, Deserialize)]
pub(super) struct SeatPiece {
    term: u32,
    seat: Seat,
    weight: u32,
    last_vote: u64,
    /// With the key that it was made under, if that is another.
    commitment: Option<(Digest, Option<LearnerId>)>,
    named: u32,
    last_have: u64,
    silent: u64,
    missed: u32,
    /// Whether it is exhausted. Of who has gone, also how often budgets had been renewed by then: one more
    /// renewal, and it is not, without anybody looking for it.
    exhausted: Option<u64>,
    judge: bool,
    chain: Option<Chain>,
    unavailable: u32,
    keys_replaced: u32,
    evaluations: u64,
}

impl SeatPiece {
    fn of(learner: LearnerId, member: &Member, renewals: u64) -> Self {
        let renewals = if member.seat.is_member() { 0 } else { renewals };
        let commitment = member.commitment.as_deref();
        Self {
            term: member.term,
            seat: member.seat,
            weight: member.weight,
            last_vote: member.last_vote,
            commitment: commitment.map(|(to, by)| (*to, (*by != learner).then_some(*by))),
            named: member.named,
            last_have: member.last_have,
            silent: member.silent,
            missed: member.missed,
            exhausted: member.exhausted.then_some(renewals),
            judge: member.judge,
            chain: member.chain.as_deref().copied(),
            unavailable: member.unavailable,
            keys_replaced: member.keys_replaced,
            evaluations: member.evaluations,
        }
    }

    /// The member whose it is, after so many renewals of all budgets.
    pub(super) fn member(self, learner: LearnerId, renewals: u64) -> Member {
        let renewals = if self.seat.is_member() { 0 } else { renewals };
        let commitment = self.commitment.map(|(to, by)| Box::new((to, by.unwrap_or(learner))));
        Member {
            term: self.term,
            seat: self.seat,
            weight: self.weight,
            last_vote: self.last_vote,
            commitment,
            named: self.named,
            last_have: self.last_have,
            silent: self.silent,
            missed: self.missed,
            exhausted: self.exhausted == Some(renewals),
            privacy: None,
            judge: self.judge,
            name: None,
            chain: self.chain.map(Box::new),
            unavailable: self.unavailable,
            keys_replaced: self.keys_replaced,
            evaluations: self.evaluations,
        }
    }
}

/// What somebody has done who trains in a merged round.
#[derive(Serialize, Deserialize)]
pub(super) enum PartPiece {
    Due,
    Passed,
    Committed { commitment: Digest, key: LearnerId },
    Sent { weights: Digest, size: u64 },
    Dropped { weights: Digest, size: u64, missed: bool },
}

impl PartPiece {
    fn of(part: &Part) -> Self {
        match part {
            Part::Due => Self::Due,
            Part::Passed => Self::Passed,
            Part::Committed { commitment, key } => {
                Self::Committed { commitment: *commitment, key: *key }
            }
            Part::Sent(weights) => Self::Sent { weights: weights.digest, size: weights.size },
            Part::Dropped { weights, missed } => {
                Self::Dropped { weights: weights.digest, size: weights.size, missed: *missed }
            }
        }
    }

    /// The part that it is of, where models are like this one.
    pub(super) fn part(self, like: &Model) -> Part {
        let model = |digest, size| Model { digest, size, media_type: like.media_type.clone() };
        match self {
            Self::Due => Part::Due,
            Self::Passed => Part::Passed,
            Self::Committed { commitment, key } => Part::Committed { commitment, key },
            Self::Sent { weights, size } => Part::Sent(model(weights, size)),
            Self::Dropped { weights, size, missed } => {
                Part::Dropped { weights: model(weights, size), missed }
            }
        }
    }
}

/// A motion, but for who has voted on it.
#[derive(Serialize, Deserialize)]
pub(super) struct MotionPiece {
    pub(super) motion: Motion,
    pub(super) mover: LearnerId,
    pub(super) tally: Tally,
    pub(super) version: Version,
    pub(super) threshold: Option<Threshold>,
    pub(super) electorate: Electorate,
    pub(super) deadline_ms: u64,
}

impl MotionPiece {
    fn of(open: &OpenMotion) -> Self {
        Self {
            motion: open.motion.clone(),
            mover: open.mover,
            tally: open.tally,
            version: open.version,
            threshold: open.threshold,
            electorate: open.electorate,
            deadline_ms: open.deadline_ms,
        }
    }
}

/// How often everybody's budgets have been renewed; never, of what is whole and so was just created.
fn renewals(experiment: &Experiment) -> u64 {
    experiment.roster.rest.map_or(0, |rest| rest.renewals)
}

/// The bytes of a piece.
pub(super) fn bytes(piece: &impl Serialize) -> Vec<u8> {
    // It fails for what has no length beforehand, which no piece has. Nothing there is no piece either.
    postcard::to_allocvec(piece).unwrap_or_default()
}

/// That something is there; a store keeps no empty values.
pub(super) const THERE: [u8; 1] = [1];

/// The pieces of a part of an experiment: of all that it has. What belongs to the aside is one of them if
/// that was read.
pub(super) fn pieces(experiment: &Experiment, unread: &Unread, with_aside: bool) -> Pieces {
    let Experiment { models, roster, rounds, motions, keys_replaced, .. } = experiment;
    let mut pieces = Pieces::new();
    pieces.insert(keys::CORE.to_vec(), bytes(&Core::of(experiment, unread)));
    if with_aside {
        pieces.insert(keys::ASIDE.to_vec(), bytes(&Aside::of(experiment, unread)));
    }
    for (learner, member) in &roster.members {
        let kind = if member.seat.is_member() { keys::PRESENT } else { keys::GONE };
        let seat = bytes(&SeatPiece::of(*learner, member, renewals(experiment)));
        pieces.insert(keys::of_learner(kind, *learner), seat);
        if let Some(name) = &member.name {
            pieces.insert(keys::of_learner(keys::CALLED, *learner), bytes(name));
        }
        if let Some(spent) = &member.privacy {
            pieces.insert(keys::of_learner(keys::PRIVACY, *learner), bytes(spent));
        }
    }
    for (place, learner) in roster.pending.iter().enumerate() {
        pieces.insert(keys::by_place(keys::PENDING, place), bytes(learner));
    }
    for (name, bearer) in &roster.names {
        pieces.insert(keys::of_name(name.as_str()), bytes(bearer));
        pieces.insert(keys::of_borne(*bearer, name.as_str()), THERE.to_vec());
    }
    for (learner, right) in &roster.admitted {
        pieces.insert(keys::of_learner(keys::RIGHT, *learner), bytes(right));
    }
    for digest in models {
        pieces.insert(keys::of_model(*digest), THERE.to_vec());
    }
    for (learner, count) in keys_replaced {
        pieces.insert(keys::of_learner(keys::KEYS_REPLACED, *learner), bytes(count));
    }
    for (number, open) in &motions.open {
        pieces.insert(keys::by_number(keys::MOTION, *number), bytes(&MotionPiece::of(open)));
        for voter in &open.voters {
            pieces.insert(keys::of_voter(*number, *voter), THERE.to_vec());
        }
    }
    for (place, adopted) in motions.adopted.iter().enumerate() {
        pieces.insert(keys::by_place(keys::ADOPTED, place), bytes(adopted));
    }
    if let Phase::Merged(round) = &rounds.phase {
        for (place, participant) in round.participants.iter().enumerate() {
            let piece = (participant.learner, PartPiece::of(&participant.part));
            pieces.insert(keys::by_place(keys::PARTICIPANT, place), bytes(&piece));
        }
        if !round.checkers.is_empty() {
            pieces.insert(keys::CHECKERS.to_vec(), bytes(&round.checkers));
        }
        match &round.stage {
            MergeStage::Training | MergeStage::Revealing => {}
            MergeStage::Gathering { said, held } => {
                pieces.insert(keys::HELD.to_vec(), bytes(&(said, held)));
            }
            MergeStage::Voting { tally, .. } => {
                for (pair, named) in &tally.pairs {
                    let checked = named.checkers > 0;
                    let kind = if checked { keys::CHECKED_PAIR } else { keys::PAIR };
                    pieces.insert(keys::of_pair(kind, pair), bytes(named));
                }
            }
        }
    }
    pieces
}
