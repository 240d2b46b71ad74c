//! An independent model of the contract, written from the README: a table of facts, who did what when,
//! and functions from the facts to what is refused and what follows. It is told what happens, judges
//! every step by itself, and must agree with the contract on what is accepted, on which rule refuses, and
//! on everything that comes of it.
//!
//! `COLEARN_STEPS=1000000` runs the long form, `COLEARN_SEED=N` one seed.

mod bounds;
mod experiment;
mod facts;
mod hashes;
mod merged;
mod refusals;

use std::collections::BTreeMap;

use colearn_contracts::{
    Act, Action, Charter, Contract, CreateExperiment, Creators, ExperimentName, LearnerId, Limits,
    Moment, Outcome, Rejection, Seat, Version,
};

use crate::history::LEDGER;
use crate::history::world::{Rules, Watch, beginning, histories};
use experiment::Experiment;
use facts::{Phase, Standing};
use refusals::Asked;

/// R70. The last millisecond of the year 9999.
const LAST_MS: u64 = 253_402_300_799_999;

/// The rejections in the order of the README's table, each with its rule.
fn precedence() -> Vec<(&'static str, u8)> {
    let readme = include_str!("../../../README.md");
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.strip_suffix('`')?;
        Some((name, cells.next()?.strip_prefix('R')?.parse().ok()?))
    };
    readme.lines().filter_map(row).collect()
}

/// A ledger as the model has it.
struct Model {
    precedence: Vec<(&'static str, u8)>,
    version: Version,
    limits: Limits,
    charter: Option<Charter>,
    now_ms: u64,
    experiments: BTreeMap<String, Experiment>,
    /// How often each rejection was the answer.
    refused: BTreeMap<&'static str, u64>,
}

impl Model {
    fn new(seed: u64, rules: Rules) -> Self {
        let contract = beginning(&mut crate::history::chance(seed), rules);
        let precedence = precedence();
        assert!(precedence.len() > 50, "the README has a table of rejections");
        Self {
            precedence,
            version: contract.version(),
            limits: contract.limits(),
            charter: contract.charter().cloned(),
            now_ms: 0,
            experiments: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// R30, R70.
    fn clock(&self, at: Moment) -> u64 {
        at.now_ms.min(LAST_MS).max(self.now_ms)
    }

    /// What time brings about: in the one experiment that is touched (R93), or in all.
    fn pass(&mut self, at: Moment, touched: Option<&ExperimentName>) -> Vec<Outcome> {
        let now_ms = self.clock(at);
        let mut outcomes = Vec::new();
        loop {
            let seen = self.experiments.iter();
            let seen = seen.filter(|(name, _)| touched.is_none_or(|it| it.as_str() == *name));
            let due = seen.filter_map(|(name, it)| Some((it.due_ms()?, name)));
            let Some((_, name)) = due.min().filter(|(due_ms, _)| *due_ms <= now_ms) else { break };
            let name: ExperimentName = name.parse().unwrap();
            let experiment = self.experiments.get_mut(name.as_str()).unwrap();
            let decisions = experiment.pass(now_ms, at.head);
            outcomes.extend(decisions.into_iter().map(|what| Outcome::new(name.clone(), what)));
            self.now_ms = now_ms;
        }
        outcomes
    }

    /// What comes of somebody's asking, or the name of the rejection and its rule.
    fn ask(
        &mut self,
        at: Moment,
        key: LearnerId,
        action: &Action,
    ) -> Result<Vec<Outcome>, (&'static str, u8)> {
        let now_ms = self.clock(at);
        let name = action.experiment.as_str();
        let most = self.charter.as_ref().map(|charter| charter.max_members);
        let broken = match (&action.what, self.experiments.get(name)) {
            (Act::Create(create), existing) => self.creating(key, create, existing.is_some()),
            (_, None) => vec!["UnknownExperiment"],
            (act, Some(experiment)) => {
                let who = experiment.facts.holder(key);
                experiment.refusals(Asked { who, now_ms, ledger: self.version, most }, act)
            }
        };
        if let Some(first) = self.precedence.iter().find(|(name, _)| broken.contains(name)) {
            return Err(*first);
        }
        assert!(broken.is_empty(), "not in the README's table: {broken:?}");
        self.now_ms = now_ms;
        let decisions = match &action.what {
            Act::Create(create) => {
                let created = Experiment::create(LEDGER, name, key, create, now_ms);
                self.experiments.insert(name.to_owned(), created);
                Vec::new()
            }
            act => {
                let experiment = self.experiments.get_mut(name).unwrap();
                experiment.accept(now_ms, at.head, key, act)
            }
        };
        let outcome = |what| Outcome::new(action.experiment.clone(), what);
        Ok(decisions.into_iter().map(outcome).collect())
    }

    /// R2, R3, R51, R52, R54, R91.
    fn creating(
        &self,
        key: LearnerId,
        create: &CreateExperiment,
        exists: bool,
    ) -> Vec<&'static str> {
        let second = self.version > Version::V1;
        let running = || {
            let all = self.experiments.values();
            all.filter(|it| it.facts.phase() != Phase::Finished)
        };
        let of_it = running().filter(|it| it.facts.created_by() == key).count();
        let listed = match self.charter.as_ref().map(|charter| &charter.creators) {
            Some(Creators::Listed(keys)) => keys.contains(&key),
            Some(Creators::Anybody) | None => true,
        };
        let full = match second {
            true if self.charter.is_some() => false,
            true => running().count() >= self.limits.experiments as usize,
            false => self.experiments.len() >= 10_000,
        };
        let rules = [
            ("OtherVersion", create.version != self.version.number()),
            ("NotInVersion", !second && bounds::is_of_version_2(&Act::Create(create.clone()))),
            ("InvalidParameters", !bounds::creation_fits(create, self.version)),
            ("CreatorNotListed", !listed),
            ("ExperimentExists", exists),
            ("TooManyExperiments", full),
            ("TooManyOfCreator", second && of_it >= self.limits.per_creator as usize),
        ];
        rules.into_iter().filter_map(|(name, broken)| broken.then_some(name)).collect()
    }

    /// What is public of an experiment is what the model has of it.
    fn compare(&self, contract: &Contract) {
        for experiment in contract.experiments() {
            let mine = &self.experiments[experiment.name().as_str()];
            let facts = &mine.facts;
            assert_eq!(facts.global(), experiment.model());
            assert_eq!(facts.previous(), experiment.previous());
            assert_eq!(facts.round(), experiment.round());
            assert_eq!(facts.rules(), experiment.parameters());
            assert_eq!(facts.version(), experiment.version());
            assert_eq!(mine.due_ms(), experiment.deadline_ms());
            assert_eq!(mine.terms(), experiment.terms());
            let seats: Vec<LearnerId> =
                facts.seats().0.iter().map(|(_, who)| facts.key(*who)).collect();
            assert!(seats.iter().copied().eq(experiment.seated()));
            for (learner, member) in experiment.members() {
                let who = facts.holder(learner);
                let standing = match member.seat {
                    Seat::Joining => Standing::Joining,
                    Seat::Seated(_) => Standing::Seated,
                    Seat::Leaving(_) => Standing::Going,
                    Seat::Left => Standing::Left,
                    Seat::Suspended => Standing::Suspended,
                    Seat::Expelled => Standing::Expelled,
                    Seat::Replaced => Standing::Retired,
                };
                assert_eq!(facts.standing(who), standing, "{learner}");
                if facts.is_member(who) {
                    assert_eq!(facts.part(who), (member.weight, member.judge), "{learner}");
                }
            }
        }
    }
}

impl Watch for Model {
    fn time(
        &mut self,
        at: Moment,
        touched: Option<&ExperimentName>,
        _: &Contract,
        _: &Contract,
        outcomes: &[Outcome],
    ) {
        assert_eq!(self.pass(at, touched), outcomes, "after time has passed");
    }

    fn upgraded(&mut self, _: u64, version: Version, limits: Limits) {
        (self.version, self.limits) = (version, limits);
    }

    fn asked(
        &mut self,
        at: Moment,
        _: &Contract,
        after: &Contract,
        (sender, action): (LearnerId, &Action),
        result: &Result<Vec<Outcome>, Rejection>,
    ) {
        let expected = self.ask(at, sender, action);
        let told = match result {
            Ok(outcomes) => Ok(outcomes.clone()),
            Err(rejection) => {
                let described = rejection.describe();
                *self.refused.entry(described.name).or_insert(0) += 1;
                Err((described.name, described.rule))
            }
        };
        assert_eq!(expected, told, "the model, the contract: {sender:?} asked {action:?}");
        if told.is_ok() {
            self.compare(after);
        }
    }
}

#[test]
fn a_table_of_facts_comes_to_the_same_verdicts() {
    let refused = std::sync::Mutex::new(BTreeMap::new());
    histories(30_000, Model::new, |model, _| {
        let mut refused = refused.lock().unwrap();
        for (name, count) in model.refused {
            *refused.entry(name).or_insert(0) += count;
        }
    });
    println!("{:?}", refused.lock().unwrap());
}
