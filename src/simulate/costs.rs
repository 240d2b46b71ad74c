//! What a run has moved: weights, and the ledger that everybody follows.

use std::collections::{BTreeMap, HashMap};

use colearn_contracts::{Digest, LearnerId};
use colearn_records::history::{History, MergedRound, Round};
use serde::Serialize;

/// The bytes of a run. Of weights only whole models are counted, of the ledger only its entries: what a transport
/// adds is small beside them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Costs {
    /// One model.
    pub model_bytes: u64,
    /// The ledger's entries, which everybody downloads who follows it.
    pub ledger_bytes: u64,
    /// Weights that the learners have sent, all together.
    pub sent_bytes: u64,
    /// Weights that they have fetched, all together.
    pub fetched_bytes: u64,
    /// The most that one of them has sent.
    pub most_sent_bytes: u64,
    /// The most that one of them has fetched.
    pub most_fetched_bytes: u64,
}

impl Costs {
    /// Of what happened on a ledger of so many bytes, with models of so many.
    pub(super) fn of(history: &History, model_bytes: u64, ledger_bytes: u64) -> Self {
        let mut moved = Moved::default();
        if let (Some(creator), Some(first)) = (history.learners.first(), history.rounds.first()) {
            moved.send(*creator, 1);
            moved.hold(*creator, first.base);
        }
        for round in &history.rounds {
            match &round.merged {
                None => moved.single(round),
                Some(merged) => moved.merged(round, merged),
            }
        }
        let all = |models: &BTreeMap<LearnerId, u64>| models.values().sum::<u64>();
        let most = |models: &BTreeMap<LearnerId, u64>| models.values().max().copied();
        let bytes = |models: u64| models.saturating_mul(model_bytes);
        Self {
            model_bytes,
            ledger_bytes,
            sent_bytes: bytes(all(&moved.sent)),
            fetched_bytes: bytes(all(&moved.fetched)),
            most_sent_bytes: bytes(most(&moved.sent).unwrap_or(0)),
            most_fetched_bytes: bytes(most(&moved.fetched).unwrap_or(0)),
        }
    }

    /// Of rounds in which all who are there send what they have trained to a server, and fetch what comes of
    /// it: in how many each was.
    pub(super) fn served(rounds: &[u64], model_bytes: u64) -> Self {
        let one = rounds.iter().max().copied().unwrap_or(0).saturating_mul(model_bytes);
        let all = rounds.iter().sum::<u64>().saturating_mul(model_bytes);
        Self {
            model_bytes,
            ledger_bytes: 0,
            sent_bytes: all,
            fetched_bytes: all,
            most_sent_bytes: one,
            most_fetched_bytes: one,
        }
    }
}

/// How many models each has moved, and which global one it has.
#[derive(Default)]
struct Moved {
    sent: BTreeMap<LearnerId, u64>,
    fetched: BTreeMap<LearnerId, u64>,
    held: HashMap<LearnerId, Digest>,
}

impl Moved {
    fn send(&mut self, who: LearnerId, models: u64) {
        *self.sent.entry(who).or_default() += models;
    }

    fn fetch(&mut self, who: LearnerId, models: u64) {
        *self.fetched.entry(who).or_default() += models;
    }

    fn hold(&mut self, who: LearnerId, model: Digest) {
        self.held.insert(who, model);
    }

    /// Who takes part in a round needs the model that it begins with; who was away has another.
    fn begin(&mut self, who: LearnerId, base: Digest) {
        if self.held.insert(who, base) != Some(base) {
            self.fetch(who, 1);
        }
    }

    fn single(&mut self, round: &Round) {
        let (Some(proposer), Some((proposal, _))) = (round.proposer, round.proposal) else {
            return;
        };
        self.begin(proposer, round.base);
        self.send(proposer, 1);
        let voters = || round.ballots.keys().copied().filter(|voter| *voter != proposer);
        for voter in voters() {
            self.begin(voter, round.base);
            self.fetch(voter, 1);
        }
        if round.result.is_some_and(|result| result.model == proposal) {
            voters().chain([proposer]).for_each(|who| self.hold(who, proposal));
        }
    }

    fn merged(&mut self, round: &Round, merged: &MergedRound) {
        for sender in merged.updates.keys() {
            self.begin(*sender, round.base);
            self.send(*sender, 1);
        }
        let updates = merged.merging.as_deref().unwrap_or_default();
        for voter in merged.votes.keys().copied() {
            self.begin(voter, round.base);
            if merged.checkers.is_empty() || merged.checkers.contains(&voter) {
                let of_others = updates.iter().filter(|update| update.learner != voter);
                self.fetch(voter, of_others.count() as u64);
                if !merged.checkers.is_empty() {
                    self.send(voter, MERGES);
                }
            } else {
                self.fetch(voter, MERGES);
            }
        }
        if let (Some(_), Some(result)) = (merged.decided.and_then(|it| it.accepted), round.result) {
            merged.votes.keys().for_each(|voter| self.hold(*voter, result.model));
        }
    }
}

/// The open one and the guarded one.
const MERGES: u64 = 2;
