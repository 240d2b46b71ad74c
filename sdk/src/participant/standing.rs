//! Where an experiment stands, as far as one learner has to know.

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{
    BallotKind, CreateExperiment, Digest, FinishReason, LearnerId, MergeStage, MergedRound, Merges,
    Merging, Model, Parameters, Part, PauseReason, PrivacyCap, PrivacySpent, Selection,
    SuspendReason, VERSION, Version, terms,
};
use colearn_records::convert::{ChainState, ExperimentState, MemberState, SeatState};

use super::Assignment;

/// Where an experiment stands, for one learner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The version of the rules that it follows.
    pub version: Version,
    /// The digest of the terms under which one would join now (R53); `None` if they have changed since
    /// they were known.
    pub terms: Option<Digest>,
    /// Whether its invitation says what the learner is called (R64).
    pub named: bool,
    /// The last opened round; 0 before the first.
    pub round: u64,
    /// The global model.
    pub model: Model,
    /// The model before it, if the last round accepted the present one; the merges of the next one go on
    /// with that movement.
    pub previous: Option<Model>,
    /// What the round waits for.
    pub phase: Phase,
    /// Who must compute this round's merges; nobody where all do.
    pub checkers: Vec<LearnerId>,
    /// What they have named so far, and how many of them; who abstains has named nothing.
    pub checked: BTreeMap<Merges, u32>,
    /// What was sent to be merged in this round.
    pub sent: Vec<Model>,
    /// Which of these somebody has said that it lacks.
    pub lacked: BTreeSet<Digest>,
    /// Whether the learner takes part.
    pub membership: Membership,
    /// The term with which it would join the next time (R7): how often it was a member.
    pub next_term: u32,
    /// It has no vote before this round: it joined during the present one, or has voted in it.
    pub votes_from: u64,
    /// Whether it has committed to a ballot of this round that is still to be revealed.
    pub unrevealed: bool,
    /// Whether it has committed to an update of this round that is still to be revealed.
    pub committed: bool,
    /// Whether ballots are sealed.
    pub sealed: bool,
    /// Whether votes reveal links of hash chains (R63).
    pub drawn: bool,
    /// Its hash chain, if it has one.
    pub chain: Option<ChainState>,
    /// What proposals may reveal.
    pub cap: Option<PrivacyCap>,
    /// How large they may be, in bytes.
    pub max_weights_bytes: u64,
    /// What it has stated of its privacy last.
    pub privacy: Option<PrivacySpent>,
    /// How merges are computed, where rounds are merged.
    pub merging: Option<Merging>,
}

/// What a round waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// No round is open: members are missing.
    Idle,
    /// No round is open, for another reason.
    Paused(PauseReason),
    /// A proposal.
    Proposing {
        /// Whose turn it is.
        proposer: LearnerId,
        /// Ledger time at which the turn ends, exclusive.
        deadline_ms: u64,
    },
    /// Votes.
    Voting {
        /// Who proposed.
        proposer: LearnerId,
        /// The proposed weights.
        weights: Model,
        /// How votes are taken now.
        stage: Stage,
        /// Ledger time at which that ends, exclusive.
        deadline_ms: u64,
    },
    /// What its participants have trained, to be merged.
    Training {
        /// Whether this learner still owes something: an update, or what it has committed to.
        mine: bool,
        /// How updates are taken now.
        stage: Stage,
        /// Ledger time at which that ends, exclusive.
        deadline_ms: u64,
    },
    /// What members hold of the updates.
    Gathering {
        /// The updates, in order.
        updates: Vec<Model>,
        /// Whether this learner still has to say it.
        mine: bool,
        /// Ledger time at which that ends, exclusive.
        deadline_ms: u64,
    },
    /// Votes on the merges.
    Merging {
        /// What is merged, in order.
        updates: Vec<Model>,
        /// How votes are taken now.
        stage: Stage,
        /// Ledger time at which that ends, exclusive.
        deadline_ms: u64,
    },
    /// Nothing: the experiment has ended.
    Finished(FinishReason),
}

/// How votes, or updates, are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// As they are.
    Open,
    /// As commitments.
    Commit,
    /// By revealing what was committed to.
    Reveal,
}

/// Whether a learner takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Membership {
    /// Not a member, but it may become one.
    Outside,
    /// A member, perhaps from the next round on.
    Member,
    /// Left while it took part.
    Left,
    /// Lost its seat by a decision of the members.
    Unseated(SuspendReason),
    /// Goes on under another key.
    Replaced(LearnerId),
}

impl Standing {
    /// For `me`, of an experiment that `creator` has just created.
    pub(super) fn created(me: LearnerId, creator: LearnerId, create: &CreateExperiment) -> Self {
        let CreateExperiment { version, parameters, admission, model, .. } = create;
        // Only a node that knows a version records what is created under it.
        let version = Version::try_from(*version).unwrap_or(VERSION);
        let is_named = |it: &colearn_contracts::Invitation| it.learner == me && it.name.is_some();
        let mut standing = Self {
            version,
            terms: Some(terms(version, creator, parameters, admission)),
            named: admission.invitations().iter().any(is_named),
            round: 0,
            model: model.clone(),
            previous: None,
            phase: Phase::Idle,
            checkers: Vec::new(),
            checked: BTreeMap::new(),
            sent: Vec::new(),
            lacked: BTreeSet::new(),
            membership: Membership::Outside,
            next_term: 0,
            votes_from: 0,
            unrevealed: false,
            committed: false,
            sealed: false,
            drawn: false,
            chain: None,
            cap: None,
            max_weights_bytes: 0,
            privacy: None,
            merging: None,
        };
        standing.set_parameters(parameters);
        standing
    }

    /// For `me`, of an experiment as it is described, with what is described of `me`, if it ever was a
    /// member.
    pub fn of(me: LearnerId, experiment: &ExperimentState, member: Option<&MemberState>) -> Self {
        let round = experiment.round;
        let merged = match &experiment.phase {
            colearn_contracts::Phase::Merged(open) => Some(&**open),
            _ => None,
        };
        let mut standing = Self {
            version: experiment.version,
            terms: None,
            named: false,
            round,
            model: experiment.model.clone(),
            previous: experiment.previous.clone(),
            phase: Phase::of(me, experiment, member),
            checkers: merged.map(|open| open.checkers.clone()).unwrap_or_default(),
            checked: merged.map(checked).unwrap_or_default(),
            sent: merged.map(updates).unwrap_or_default(),
            lacked: merged.map(lacked).unwrap_or_default(),
            membership: match member.map(|member| member.seat) {
                Some(SeatState::Joining | SeatState::Seated | SeatState::Leaving) => {
                    Membership::Member
                }
                // Whether it may come back is the contract's to say.
                Some(
                    SeatState::Left
                    | SeatState::Suspended
                    | SeatState::Expelled
                    | SeatState::Replaced,
                )
                | None => Membership::Outside,
            },
            next_term: member.map_or(0, |member| member.term + 1),
            votes_from: member.map_or(0, |member| match member.seat {
                SeatState::Joining => round + 1,
                SeatState::Seated
                | SeatState::Leaving
                | SeatState::Left
                | SeatState::Suspended
                | SeatState::Expelled
                | SeatState::Replaced => member.last_vote + 1,
            }),
            // What was not revealed in its round can never be.
            unrevealed: (merged.is_some()
                || matches!(experiment.phase, colearn_contracts::Phase::Voting { .. }))
                && member.is_some_and(|member| member.unrevealed && member.last_vote == round),
            committed: merged
                .is_some_and(|open| matches!(open.part(me), Some(Part::Committed { .. }))),
            sealed: false,
            drawn: false,
            chain: member.and_then(|member| member.chain),
            cap: None,
            max_weights_bytes: 0,
            privacy: member.and_then(|member| member.privacy.clone()),
            merging: None,
        };
        standing.set_rules(me, experiment);
        standing
    }

    /// Takes the rules of an experiment as it is described, as far as they matter to `me`.
    pub fn set_rules(&mut self, me: LearnerId, experiment: &ExperimentState) {
        let invitations = experiment.admission.invitations();
        self.version = experiment.version;
        self.terms = Some(experiment.terms);
        self.named = invitations.iter().any(|it| it.learner == me && it.name.is_some());
        self.set_parameters(&experiment.parameters);
    }

    /// Whether there are terms, reasons, abstentions and links: from version 2 of the rules on.
    pub(super) fn is_second(&self) -> bool {
        self.version > Version::V1
    }

    /// What a turn in the present round asks.
    pub(crate) fn assignment(&self) -> Assignment {
        let Self { round, version, cap, .. } = *self;
        let (base, stated) = (self.model.digest, self.privacy.clone());
        Assignment { round, base, version, cap, stated }
    }

    /// Takes other parameters, as far as they matter to a learner.
    pub(super) fn set_parameters(&mut self, parameters: &Parameters) {
        self.sealed = parameters.ballot == BallotKind::Sealed;
        // In version 1 they are drawn from the ledger itself.
        self.drawn = parameters.selection == Selection::Sortition && self.is_second();
        self.cap = parameters.privacy;
        self.max_weights_bytes = parameters.max_weights_bytes;
        self.merging = parameters.merging;
    }

    /// The learner has lost its seat. Whoever missed turns may come back at once; whom the members
    /// suspended or expelled waits for people to decide.
    pub(super) fn unseat(&mut self, reason: SuspendReason) {
        self.membership = match reason {
            SuspendReason::MissedTurns => Membership::Outside,
            SuspendReason::Decided | SuspendReason::Expelled => Membership::Unseated(reason),
        };
    }
}

/// The updates of a merged round that are there.
fn updates(open: &MergedRound) -> Vec<Model> {
    open.updates().map(|(_, weights)| weights.clone()).collect()
}

/// What somebody lacks of the updates of a merged round; known as long as members are asked.
fn lacked(open: &MergedRound) -> BTreeSet<Digest> {
    let MergeStage::Gathering { said, held } = &open.stage else { return BTreeSet::new() };
    let lacked = open.updates().zip(held).filter(|(_, held)| *held < said);
    lacked.map(|((_, weights), _)| weights.digest).collect()
}

/// What the checkers have named. It is counted, so that it is known also to who comes in the middle.
fn checked(open: &MergedRound) -> BTreeMap<Merges, u32> {
    let MergeStage::Voting { tally, .. } = &open.stage else { return BTreeMap::new() };
    let named = tally.named().map(|(merges, named)| (*merges, named.checkers));
    let mut checked: BTreeMap<Merges, u32> = named.filter(|(_, checkers)| *checkers > 0).collect();
    let abstaining = tally.checkers_cast - checked.values().sum::<u32>();
    if abstaining > 0 {
        checked.insert(Merges::default(), abstaining);
    }
    checked
}

impl Stage {
    /// How votes or updates are taken at first.
    pub(super) fn first(sealed: bool) -> Self {
        if sealed { Self::Commit } else { Self::Open }
    }

    fn of(known: colearn_contracts::Stage) -> Self {
        match known {
            colearn_contracts::Stage::Open => Self::Open,
            colearn_contracts::Stage::Commit { .. } => Self::Commit,
            colearn_contracts::Stage::Reveal { .. } => Self::Reveal,
        }
    }
}

impl Phase {
    fn of(me: LearnerId, experiment: &ExperimentState, member: Option<&MemberState>) -> Self {
        use colearn_contracts::Phase as Known;
        match &experiment.phase {
            Known::Waiting => Self::Idle,
            Known::Paused(reason) => Self::Paused(*reason),
            Known::Proposing { proposer, deadline_ms } => {
                Self::Proposing { proposer: *proposer, deadline_ms: *deadline_ms }
            }
            Known::Voting { proposer, weights, stage, deadline_ms, .. } => Self::Voting {
                proposer: *proposer,
                weights: weights.clone(),
                stage: Stage::of(*stage),
                deadline_ms: *deadline_ms,
            },
            Known::Merged(open) => {
                let deadline_ms = open.deadline_ms;
                match &open.stage {
                    MergeStage::Training => {
                        let sealed = experiment.parameters.ballot == BallotKind::Sealed;
                        let mine = open.part(me) == Some(&Part::Due);
                        Self::Training { mine, stage: Stage::first(sealed), deadline_ms }
                    }
                    MergeStage::Revealing => {
                        let mine = matches!(open.part(me), Some(Part::Committed { .. }));
                        Self::Training { mine, stage: Stage::Reveal, deadline_ms }
                    }
                    MergeStage::Gathering { .. } => {
                        let mine = member.is_some_and(|it| {
                            matches!(it.seat, SeatState::Seated | SeatState::Leaving)
                                && it.last_have != experiment.round
                        });
                        Self::Gathering { updates: updates(open), mine, deadline_ms }
                    }
                    MergeStage::Voting { stage, .. } => {
                        let stage = Stage::of(*stage);
                        Self::Merging { updates: updates(open), stage, deadline_ms }
                    }
                }
            }
            Known::Finished(reason) => Self::Finished(*reason),
        }
    }
}
