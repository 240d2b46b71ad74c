//! Who is waited for in a round, since when, and how long it usually takes: all by the ledger's own times.

use std::collections::{BTreeMap, VecDeque};

use colearn_contracts::{Act, Decision, Experiment, LearnerId, MergeStage, Part, Phase, Stage};
use colearn_records::convert::MemberState;
use colearn_records::record::{DecodedEntry, Record};

/// How many of a learner's last answers say what is usual.
const RECENT: usize = 31;

/// What a learner can owe a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Owes {
    /// What it has trained: a proposal or an update.
    Training,
    /// A vote, or a commitment to one.
    Vote,
    /// To reveal what it has committed to.
    Reveal,
    /// Which updates it holds.
    Holding,
}

impl Owes {
    /// For programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Vote => "vote",
            Self::Reveal => "reveal",
            Self::Holding => "holding",
        }
    }

    /// For people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Training => "what it trains",
            Self::Vote => "a vote",
            Self::Reveal => "a reveal",
            Self::Holding => "what it holds",
        }
    }
}

/// How fast an experiment's learners are.
#[derive(Default)]
pub(crate) struct Pace {
    /// When the present phase began, in ms of ledger time; 0 before the first round.
    pub(crate) since_ms: u64,
    took: BTreeMap<(LearnerId, Owes), VecDeque<u64>>,
}

impl Pace {
    /// Adds an entry of the experiment.
    pub(crate) fn record(&mut self, entry: &DecodedEntry) {
        match &entry.record {
            Record::Outcome(outcome) => match &outcome.what {
                Decision::RoundOpened { .. }
                | Decision::VotingOpened { .. }
                | Decision::RevealOpened { .. }
                | Decision::TrainingOpened { .. }
                | Decision::GatheringOpened { .. }
                | Decision::MergeVotingOpened { .. }
                | Decision::Waiting { .. }
                | Decision::Paused { .. }
                | Decision::Finished { .. } => self.since_ms = entry.time_ms,
                Decision::RoundClosed { .. }
                | Decision::Suspended { .. }
                | Decision::MotionOpened { .. }
                | Decision::MotionDecided { .. }
                | Decision::MotionTookEffect { .. }
                | Decision::MergeDecided { .. } => {}
            },
            Record::Transaction(transaction) => {
                let sender = transaction.sender;
                let owed = match &transaction.action.what {
                    Act::Propose(_) | Act::Pass { .. } | Act::Update(_) | Act::CommitUpdate(_) => {
                        Owes::Training
                    }
                    Act::Vote(_) | Act::Commit(_) | Act::MergeVote(_) => Owes::Vote,
                    Act::Reveal(_) | Act::RevealUpdate(_) | Act::RevealMergeVote(_) => Owes::Reveal,
                    Act::Have { .. } => Owes::Holding,
                    Act::ReplaceKey { to } => return self.replace_key(sender, *to),
                    Act::Create(_)
                    | Act::Join(_)
                    | Act::Leave { .. }
                    | Act::Resume { .. }
                    | Act::Move { .. }
                    | Act::MotionVote { .. }
                    | Act::Stop
                    | Act::Evaluate(_) => return,
                };
                let took = self.took.entry((sender, owed)).or_default();
                took.push_back(entry.time_ms.saturating_sub(self.since_ms));
                if took.len() > RECENT {
                    took.pop_front();
                }
            }
            Record::Genesis(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => {}
        }
    }

    fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        for owed in [Owes::Training, Owes::Vote, Owes::Reveal, Owes::Holding] {
            if let Some(took) = self.took.remove(&(from, owed)) {
                self.took.insert((to, owed), took);
            }
        }
    }

    /// How long the learner usually takes, in ms: the median of its last answers; `None` before its first.
    pub(crate) fn usual_ms(&self, learner: LearnerId, owed: Owes) -> Option<u64> {
        let mut took: Vec<u64> = self.took.get(&(learner, owed))?.iter().copied().collect();
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    }
}

/// Who is waited for now, and for what. Nobody where no round is open.
pub(crate) fn owed(experiment: &Experiment) -> Vec<(LearnerId, Owes)> {
    let round = experiment.round();
    let seated = |owed: Owes, open: &dyn Fn(&MemberState) -> bool| -> Vec<(LearnerId, Owes)> {
        let open = |it: &LearnerId| {
            experiment.member(*it).is_some_and(|member| open(&MemberState::of(member)))
        };
        experiment.seated().filter(open).map(|it| (it, owed)).collect()
    };
    let ballots = |stage: &Stage| match stage {
        Stage::Open | Stage::Commit { .. } => seated(Owes::Vote, &|it| it.last_vote < round),
        Stage::Reveal { .. } => seated(Owes::Reveal, &|it| it.unrevealed),
    };
    match experiment.phase() {
        Phase::Waiting | Phase::Paused(_) | Phase::Finished(_) => Vec::new(),
        Phase::Proposing { proposer, .. } => vec![(*proposer, Owes::Training)],
        Phase::Voting { proposer, stage, .. } => {
            ballots(stage).into_iter().filter(|(learner, _)| learner != proposer).collect()
        }
        Phase::Merged(merged) => {
            let parts = |owed: Owes, open: &dyn Fn(&Part) -> bool| -> Vec<(LearnerId, Owes)> {
                let open = merged.participants.iter().filter(|it| open(&it.part));
                open.map(|it| (it.learner, owed)).collect()
            };
            match &merged.stage {
                MergeStage::Training => parts(Owes::Training, &|part| *part == Part::Due),
                MergeStage::Revealing => {
                    parts(Owes::Reveal, &|part| matches!(part, Part::Committed { .. }))
                }
                MergeStage::Gathering { .. } => seated(Owes::Holding, &|it| it.last_have < round),
                MergeStage::Voting { stage, .. } => ballots(stage),
            }
        }
    }
}
