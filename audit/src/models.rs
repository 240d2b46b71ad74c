//! The models that experiments have had, from a ledger that is audited on the way: of which round each is, how
//! large, and which entries say so.

use std::collections::BTreeMap;

use colearn_contracts::{
    Act, Contract, CreateExperiment, Decision, Digest, ExperimentName, LearnerId, Merge, Model,
    Outcome, Verdict,
};
use colearn_records::history::{History, Round, unit};
use colearn_records::record::{DecodedEntry, Record};
use colearn_records::words::Word as _;

use crate::experiments::NoExperiment;
use crate::reached::reached;
use crate::{AuditOptions, AuditReport, Source, SourceError};

/// Audits a ledger, and tells the models of each of its experiments. They are worth what the report says.
///
/// # Errors
/// Only if it cannot be read; whatever is wrong with it is in the report.
pub fn models(
    source: &mut dyn Source,
    options: AuditOptions<'_>,
) -> Result<(AuditReport, BTreeMap<ExperimentName, Models>), SourceError> {
    let (report, reached) = reached(source, options)?;
    Ok((report, reached.experiments))
}

/// Takes in an entry that the contract has taken.
pub(crate) fn take(
    all: &mut BTreeMap<ExperimentName, Models>,
    entry: &DecodedEntry,
    contract: &Contract,
) {
    let Some(name) = entry.record.experiment() else { return };
    if let Some(begun) = Models::begin(entry) {
        all.insert(name.clone(), begun);
    }
    if let Some(models) = all.get_mut(name) {
        models.record(entry, contract);
    }
}

/// The models of one experiment.
#[derive(Clone, Debug)]
pub struct Models {
    history: History,
    creator: LearnerId,
    creation: CreateExperiment,
    current: Model,
    /// All that were named with their sizes.
    named: BTreeMap<Digest, Model>,
    /// The entry that created the experiment.
    created: u64,
    entries: BTreeMap<u64, RoundEntries>,
}

/// The entries that say what became of a round.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RoundEntries {
    /// The proposal; in a merged round there are updates instead.
    pub proposed: Option<u64>,
    /// The votes, as far as it is known what they are.
    pub votes: BTreeMap<LearnerId, u64>,
    /// The end.
    pub closed: Option<u64>,
}

/// Which of an experiment's models.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Which {
    /// The one that it has now.
    #[default]
    Current,
    /// The one that this round came to; 0 is the one that it began with.
    After(u64),
    /// Of those that were accepted the one with the highest median vote score, the last of several.
    Best,
}

/// How many of an experiment's models.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// The one that it has now.
    Current,
    /// All that it has had, and the one that it began with.
    Accepted,
    /// Those, and all proposals and updates.
    All,
}

/// A model that an experiment has or had.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The model.
    pub model: &'a Model,
    /// The round that accepted it; `None` of the one that the experiment began with.
    pub round: Option<&'a Round>,
    /// The entry that made it the experiment's.
    pub entry: u64,
}

/// What some weights are to an experiment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It began with them.
    Initial,
    /// They were accepted in this round.
    Accepted(u64),
    /// They were proposed in this round, and not accepted, or not yet.
    Proposed(u64),
    /// They are this learner's update in this merged round.
    Update(u64, LearnerId),
    /// They are this merge of this round, which was agreed on and not accepted.
    Merge(u64, Merge),
}

impl Role {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Accepted(_) => "model",
            Self::Proposed(_) => "proposal",
            Self::Update(..) => "update",
            Self::Merge(..) => "merge",
        }
    }
}

/// Why a model cannot be told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoModel {
    /// It is not known of which experiment.
    #[error(transparent)]
    NoExperiment(#[from] NoExperiment),
    /// There is no such round.
    #[error("{0} has no round {1}; its last is {2}")]
    NoSuchRound(ExperimentName, u64, u64),
    /// The round has come to nothing yet.
    #[error("round {1} of {0} is not over; the model of now is: --current")]
    Open(ExperimentName, u64),
    /// The round came to no model.
    #[error(
        "round {round} of {experiment} ended {verdict} and left the model that it began with, which is: \
         --round {model_of}"
    )]
    NotAccepted {
        /// The experiment.
        experiment: ExperimentName,
        /// The round.
        round: u64,
        /// How it ended.
        verdict: &'static str,
        /// The round whose model stayed; 0 for what the experiment began with.
        model_of: u64,
    },
    /// Nobody has said how good any of them is.
    #[error(
        "no voter's score is recorded of any model that {0} accepted, so none is the best; the model of now is: \
         --current"
    )]
    NoScores(ExperimentName),
}

/// The median of what the voters of a round have scored what it came to on their own rows, without the proposer's
/// own figure: nobody makes their own model the best, and one voter among many moves it little.
pub fn median_vote_score(round: &Round) -> Option<f64> {
    let voters = round.ballots.iter().filter(|(voter, _)| Some(**voter) != round.proposer);
    let mut scores: Vec<f64> = voters.filter_map(|(_, cast)| cast.scores.vote.map(unit)).collect();
    scores.sort_unstable_by(f64::total_cmp);
    let upper = scores.get(scores.len() / 2)?;
    let lower = scores.get((scores.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

impl Models {
    /// Of the experiment that an entry creates.
    fn begin(entry: &DecodedEntry) -> Option<Self> {
        let Record::Transaction(transaction) = &entry.record else { return None };
        let Act::Create(create) = &transaction.action.what else { return None };
        Some(Self {
            history: History::new(transaction.action.experiment.clone()),
            creator: transaction.sender,
            creation: create.clone(),
            current: create.model.clone(),
            named: BTreeMap::from([(create.model.digest, create.model.clone())]),
            created: entry.index,
            entries: BTreeMap::new(),
        })
    }

    fn record(&mut self, entry: &DecodedEntry, contract: &Contract) {
        self.history.record(entry);
        if let Some(experiment) = contract.experiment(&self.history.experiment) {
            // Merges are named without their sizes, which the contract knows.
            if experiment.model().digest != self.current.digest {
                self.current = experiment.model().clone();
                self.name(&self.current.clone());
            }
        }
        match &entry.record {
            Record::Transaction(transaction) => {
                self.act(entry.index, transaction.sender, &transaction.action.what);
            }
            Record::Outcome(Outcome { what: Decision::RoundClosed { round, .. }, .. }) => {
                self.entries.entry(*round).or_default().closed = Some(entry.index);
            }
            Record::Outcome(_)
            | Record::Genesis(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => {}
        }
    }

    fn act(&mut self, index: u64, sender: LearnerId, act: &Act) {
        let round = self.history.rounds.last().map_or(0, |round| round.number);
        let entries = self.entries.entry(round).or_default();
        match act {
            Act::Propose(proposal) => {
                entries.proposed = Some(index);
                self.name(&proposal.weights);
            }
            Act::Update(update) => self.name(&update.weights),
            Act::RevealUpdate(reveal) => self.name(&reveal.update.weights),
            Act::Vote(_) | Act::Reveal(_) | Act::MergeVote(_) | Act::RevealMergeVote(_) => {
                entries.votes.insert(sender, index);
            }
            // What was done under one key counts as the other's.
            Act::ReplaceKey { to, .. } => {
                for entries in self.entries.values_mut() {
                    let vote = entries.votes.remove(&sender);
                    entries.votes.extend(vote.map(|vote| (*to, vote)));
                }
                if self.creator == sender {
                    self.creator = *to;
                }
            }
            Act::Create(_)
            | Act::Join(_)
            | Act::Leave { .. }
            | Act::Pass { .. }
            | Act::Commit(_)
            | Act::CommitUpdate(_)
            | Act::Have { .. }
            | Act::Resume { .. }
            | Act::Move { .. }
            | Act::MotionVote { .. }
            | Act::Evaluate(_)
            | Act::Stop => {}
        }
    }

    fn name(&mut self, model: &Model) {
        self.named.entry(model.digest).or_insert_with(|| model.clone());
    }

    /// What happened in the experiment.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Who has created it, under the present key.
    pub fn creator(&self) -> LearnerId {
        self.creator
    }

    /// What it was created with.
    pub fn creation(&self) -> &CreateExperiment {
        &self.creation
    }

    /// The entries of a round.
    pub fn entries_of(&self, round: u64) -> Option<&RoundEntries> {
        self.entries.get(&round)
    }

    /// One of its models.
    ///
    /// # Errors
    /// If there is no such one.
    pub fn held(&self, which: Which) -> Result<Held<'_>, NoModel> {
        match which {
            Which::Current => Ok(self.current()),
            Which::After(number) => self.after(number),
            Which::Best => {
                let score = |round: &Round| Some((median_vote_score(round)?, round.number));
                let scored = self.accepted().filter_map(|round| Some((score(round)?, round)));
                // Scores are better the higher they are.
                let best = scored.max_by(|(one, _), (other, _)| {
                    one.0.total_cmp(&other.0).then(one.1.cmp(&other.1))
                });
                let best = best.and_then(|(_, round)| self.of_round(round));
                best.ok_or_else(|| NoModel::NoScores(self.history.experiment.clone()))
            }
        }
    }

    /// The model that it has now.
    pub fn current(&self) -> Held<'_> {
        let last = self.accepted().last();
        last.and_then(|round| self.of_round(round)).unwrap_or_else(|| self.initial())
    }

    /// The model that it began with.
    pub fn initial(&self) -> Held<'_> {
        Held { model: &self.creation.model, round: None, entry: self.created }
    }

    fn after(&self, number: u64) -> Result<Held<'_>, NoModel> {
        if number == 0 {
            return Ok(self.initial());
        }
        let experiment = || self.history.experiment.clone();
        let rounds = &self.history.rounds;
        let last = rounds.last().map_or(0, |round| round.number);
        let round = rounds.iter().find(|round| round.number == number);
        let round = round.ok_or_else(|| NoModel::NoSuchRound(experiment(), number, last))?;
        let result = round.result.ok_or_else(|| NoModel::Open(experiment(), number))?;
        if let (Verdict::Accepted, Some(held)) = (result.verdict, self.of_round(round)) {
            return Ok(held);
        }
        let stays = self.accepted().take_while(|it| it.number < number).last();
        Err(NoModel::NotAccepted {
            experiment: experiment(),
            round: number,
            verdict: result.verdict.word(),
            model_of: stays.map_or(0, |round| round.number),
        })
    }

    /// The rounds that accepted something, in order.
    pub fn accepted(&self) -> impl Iterator<Item = &Round> {
        self.history
            .closed()
            .filter(|round| round.result.is_some_and(|result| result.verdict == Verdict::Accepted))
    }

    /// What an accepted round came to.
    fn of_round<'a>(&'a self, round: &'a Round) -> Option<Held<'a>> {
        let model = self.named.get(&round.result?.model)?;
        let entry = self.entries.get(&round.number)?.closed?;
        Some(Held { model, round: Some(round), entry })
    }

    /// So many of its models, each once.
    pub fn extent(&self, extent: Extent) -> Vec<&Model> {
        let models: BTreeMap<Digest, &Model> = match extent {
            Extent::Current => return vec![self.current().model],
            Extent::All => return self.named.values().collect(),
            Extent::Accepted => {
                let accepted = self.accepted().filter_map(|round| self.of_round(round));
                let held = accepted.chain([self.initial()]);
                held.map(|held| (held.model.digest, held.model)).collect()
            }
        };
        models.into_values().collect()
    }

    /// What these weights are to the experiment, in the order of its rounds.
    pub fn roles_of(&self, digest: Digest) -> Vec<Role> {
        let mut roles = Vec::new();
        if self.creation.model.digest == digest {
            roles.push(Role::Initial);
        }
        for round in &self.history.rounds {
            let number = round.number;
            let accepted = round
                .result
                .is_some_and(|it| it.verdict == Verdict::Accepted && it.model == digest);
            if accepted {
                roles.push(Role::Accepted(number));
            } else if round.proposal.is_some_and(|(weights, _)| weights == digest) {
                roles.push(Role::Proposed(number));
            }
            let Some(merged) = &round.merged else { continue };
            let sent = merged.updates.iter().filter(|(_, (weights, _))| *weights == digest);
            roles.extend(sent.map(|(learner, _)| Role::Update(number, *learner)));
            let agreed = merged.decided.and_then(|decided| decided.agreed).unwrap_or_default();
            let merges = [(agreed.open, Merge::Open), (agreed.guarded, Merge::Guarded)];
            if let Some((_, which)) = merges.iter().find(|(it, _)| *it == Some(digest) && !accepted)
            {
                roles.push(Role::Merge(number, *which));
            }
        }
        roles
    }
}
