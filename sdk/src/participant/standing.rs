//! Where an experiment stands, as far as one learner has to know.

use colearn_contracts::{
    BallotKind, CreateExperiment, Digest, FinishReason, LearnerId, Model, Parameters, PauseReason,
    PrivacyCap, PrivacySpent, Selection, SuspendReason, VERSION, Version, terms,
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
    /// What the round waits for.
    pub phase: Phase,
    /// Whether the learner takes part.
    pub membership: Membership,
    /// The term with which it would join the next time (R7): how often it was a member.
    pub next_term: u32,
    /// It has no vote before this round: it joined during the present one, or has voted in it.
    pub votes_from: u64,
    /// Whether it has committed to a ballot of this round that is still to be revealed.
    pub unrevealed: bool,
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
    /// Nothing: the experiment has ended.
    Finished(FinishReason),
}

/// How votes are taken.
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
            phase: Phase::Idle,
            membership: Membership::Outside,
            next_term: 0,
            votes_from: 0,
            unrevealed: false,
            sealed: false,
            drawn: false,
            chain: None,
            cap: None,
            max_weights_bytes: 0,
            privacy: None,
        };
        standing.set_parameters(parameters);
        standing
    }

    /// For `me`, of an experiment as it is described, with what is described of `me`, if it ever was a
    /// member.
    pub fn of(me: LearnerId, experiment: &ExperimentState, member: Option<&MemberState>) -> Self {
        let round = experiment.round;
        let mut standing = Self {
            version: experiment.version,
            terms: None,
            named: false,
            round,
            model: experiment.model.clone(),
            phase: Phase::of(&experiment.phase),
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
            unrevealed: matches!(experiment.phase, colearn_contracts::Phase::Voting { .. })
                && member.is_some_and(|member| member.unrevealed && member.last_vote == round),
            sealed: false,
            drawn: false,
            chain: member.and_then(|member| member.chain),
            cap: None,
            max_weights_bytes: 0,
            privacy: member.and_then(|member| member.privacy.clone()),
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
    pub(super) fn assignment(&self) -> Assignment {
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

impl Phase {
    fn of(known: &colearn_contracts::Phase) -> Self {
        use colearn_contracts::{Phase as Known, Stage as KnownStage};
        match known {
            Known::Waiting => Self::Idle,
            Known::Paused(reason) => Self::Paused(*reason),
            Known::Proposing { proposer, deadline_ms } => {
                Self::Proposing { proposer: *proposer, deadline_ms: *deadline_ms }
            }
            Known::Voting { proposer, weights, stage, deadline_ms, .. } => Self::Voting {
                proposer: *proposer,
                weights: weights.clone(),
                stage: match stage {
                    KnownStage::Open => Stage::Open,
                    KnownStage::Commit { .. } => Stage::Commit,
                    KnownStage::Reveal { .. } => Stage::Reveal,
                },
                deadline_ms: *deadline_ms,
            },
            // This participant takes no part in merged rounds.
            Known::Merged(_) => Self::Idle,
            Known::Finished(reason) => Self::Finished(*reason),
        }
    }
}
