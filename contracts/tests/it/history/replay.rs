//! What is recorded of a history, and two that read it: a second contract, and each experiment alone.

use std::collections::BTreeMap;

use colearn_contracts::{
    Act, Action, Context, Contract, Experiment, ExperimentName, LearnerId, Limits, Moment, Outcome,
    Version,
};

use super::LEDGER;

enum Entry {
    /// Of one experiment alone, if it says so.
    Time(Moment, Option<ExperimentName>),
    Upgrade(u64, Version, Limits),
    Asked(Moment, LearnerId, Action),
}

/// A ledger's entries, each with what came of it.
pub(crate) struct Record {
    /// What there was before the first entry.
    beginning: Contract,
    entries: Vec<(Entry, Vec<Outcome>)>,
}

fn encode<T: serde::Serialize + ?Sized>(what: &T) -> Vec<u8> {
    postcard::to_allocvec(what).unwrap()
}

impl Record {
    pub(crate) fn new(beginning: Contract) -> Self {
        Self { beginning, entries: Vec::new() }
    }

    pub(crate) fn time(
        &mut self,
        at: Moment,
        touched: Option<&ExperimentName>,
        outcomes: &[Outcome],
    ) {
        self.entries.push((Entry::Time(at, touched.cloned()), outcomes.to_vec()));
    }

    pub(crate) fn upgraded(&mut self, now_ms: u64, version: Version, limits: Limits) {
        self.entries.push((Entry::Upgrade(now_ms, version, limits), Vec::new()));
    }

    pub(crate) fn asked(
        &mut self,
        at: Moment,
        sender: LearnerId,
        action: &Action,
        outcomes: &[Outcome],
    ) {
        self.entries.push((Entry::Asked(at, sender, action.clone()), outcomes.to_vec()));
    }

    /// Reads it all again, and comes to the same end.
    pub(crate) fn replay(self, end: &Contract) {
        let mut contract = self.beginning.clone();
        let mut alone: BTreeMap<ExperimentName, Experiment> = BTreeMap::new();
        let mut now_ms = 0;
        for (entry, outcomes) in &self.entries {
            let came_of_it = match entry {
                Entry::Upgrade(now_ms, version, limits) => {
                    contract.upgrade(*now_ms, *version, *limits).unwrap();
                    continue;
                }
                Entry::Time(at, touched) => pass(&mut contract, *at, touched.as_ref()),
                Entry::Asked(at, sender, action) => {
                    // R93. On a chain others may be overdue.
                    let touched = contract.charter().map(|_| &action.experiment);
                    assert_eq!(pass(&mut contract, *at, touched), []);
                    contract.apply(*at, *sender, action).expect("what was accepted replays")
                }
            };
            assert_eq!(encode(&came_of_it), encode(outcomes));
            let (Entry::Time(at, _) | Entry::Asked(at, ..)) = entry else { continue };
            // R30, which is the caller's to see to where there is no contract.
            now_ms = now_ms.max(at.now_ms);
            let at = Moment { now_ms, ..*at };
            let max_members = contract.charter().map_or(u32::MAX, |charter| charter.max_members);
            let version = contract.version();
            let context = Context { ledger: LEDGER, version, at, max_members };
            let came_of_it = read_alone(&mut alone, context, entry, contract.charter().is_some());
            let mut expected: BTreeMap<ExperimentName, Vec<Outcome>> = BTreeMap::new();
            for outcome in outcomes {
                expected.entry(outcome.experiment.clone()).or_default().push(outcome.clone());
            }
            assert_eq!(encode(&came_of_it), encode(&expected));
        }
        assert_eq!(encode(&contract), encode(end));
        let experiments: Vec<&Experiment> = contract.experiments().collect();
        assert_eq!(encode(&experiments), encode(&alone.values().collect::<Vec<_>>()));
    }
}

fn pass(contract: &mut Contract, at: Moment, touched: Option<&ExperimentName>) -> Vec<Outcome> {
    match touched {
        Some(name) => contract.touch(at, name),
        None => contract.advance(at),
    }
}

/// What experiments that are kept alone decide of an entry.
fn read_alone(
    alone: &mut BTreeMap<ExperimentName, Experiment>,
    context: Context,
    entry: &Entry,
    lazy: bool,
) -> BTreeMap<ExperimentName, Vec<Outcome>> {
    let mut all = BTreeMap::new();
    for (name, experiment) in alone.iter_mut() {
        let touched = match entry {
            Entry::Time(_, touched) => touched.as_ref(),
            Entry::Asked(_, _, action) => lazy.then_some(&action.experiment),
            Entry::Upgrade(..) => None,
        };
        if touched.is_some_and(|touched| touched != name) {
            continue;
        }
        let mut decisions = experiment.advance(context);
        if let Entry::Asked(_, sender, action) = entry {
            assert_eq!(decisions, []);
            if action.experiment == *name {
                decisions = experiment.apply(context, *sender, &action.what).unwrap();
            }
        }
        if !decisions.is_empty() {
            let outcomes = decisions.into_iter().map(|what| Outcome::new(name.clone(), what));
            all.insert(name.clone(), outcomes.collect());
        }
    }
    if let Entry::Asked(_, sender, Action { experiment, what: Act::Create(create) }) = entry {
        let created = Experiment::create(context, experiment.clone(), *sender, create).unwrap();
        alone.insert(experiment.clone(), created);
    }
    all
}
