//! Random histories: whatever is thrown at it, the contract keeps its invariants, no minority decides
//! for the others, and a second contract that reads only what was recorded arrives at the very same
//! bytes.
//!
//! `COLEARN_STEPS=1000000` runs the long form, `COLEARN_SEED=N` one seed.

mod aim;
pub(crate) use aim::chance;
mod merged;
mod replay;
mod shadow;
mod state;
mod theorem;
pub(crate) mod train;
pub(crate) mod world;

use std::collections::BTreeMap;

use colearn_contracts::{
    Act, Action, Contract, Digest, ExperimentName, LearnerId, Limits, Moment, Outcome, Rejection,
    Version,
};

use replay::Record;
use shadow::Shadow;
use world::{Rules, Watch, histories};

/// The id of the ledger that they are on.
pub(crate) const LEDGER: Digest = Digest([0; 32]);

/// What is checked at every step, and what for that is remembered.
struct Invariants {
    record: Record,
    shadows: BTreeMap<ExperimentName, Shadow>,
}

impl Invariants {
    fn new(seed: u64, rules: Rules) -> Self {
        let beginning = world::beginning(&mut aim::chance(seed), rules);
        Self { record: Record::new(beginning), shadows: BTreeMap::new() }
    }

    /// Has each experiment's outcomes checked.
    fn outcomes(&mut self, after: &Contract, outcomes: &[Outcome]) {
        for Outcome { experiment, what } in outcomes {
            self.shadows.get_mut(experiment).unwrap().decided(what);
        }
        for experiment in after.experiments() {
            self.shadows[experiment.name()].check(experiment);
        }
    }
}

impl Watch for Invariants {
    fn time(
        &mut self,
        at: Moment,
        touched: Option<&ExperimentName>,
        before: &Contract,
        after: &Contract,
        outcomes: &[Outcome],
    ) {
        if outcomes.is_empty() {
            assert_eq!(before, after, "time changed something and nothing came of it");
        } else {
            self.record.time(at, touched, outcomes);
        }
        self.outcomes(after, outcomes);
        state::check(after, at.now_ms);
    }

    fn upgraded(&mut self, now_ms: u64, version: Version, limits: Limits) {
        self.record.upgraded(now_ms, version, limits);
    }

    fn asked(
        &mut self,
        at: Moment,
        before: &Contract,
        after: &Contract,
        (sender, action): (LearnerId, &Action),
        result: &Result<Vec<Outcome>, Rejection>,
    ) {
        if let Act::Create(create) = &action.what {
            state::check_creation(before, sender, &action.experiment, create, result);
        }
        let outcomes = match result {
            Err(rejection) => {
                assert_eq!(before, after, "a rejection changed the state");
                let rule = format!("R{}: ", rejection.rule());
                assert!(rejection.to_string().starts_with(&rule));
                assert_ne!(*rejection, Rejection::TooManyMembers);
                return;
            }
            Ok(outcomes) => outcomes,
        };
        let mut again = after.clone();
        assert!(again.apply(at, sender, action).is_err(), "counted twice: {action:?}");
        match &action.what {
            Act::Create(create) => {
                let first = self.shadows.insert(action.experiment.clone(), Shadow::new(create));
                assert!(first.is_none(), "a name was used twice");
            }
            what => {
                let experiment = before.experiment(&action.experiment).unwrap();
                let shadow = self.shadows.get_mut(&action.experiment).unwrap();
                shadow.accepted(experiment, sender, what);
            }
        }
        self.outcomes(after, outcomes);
        self.record.asked(at, sender, action, outcomes);
        state::check(after, at.now_ms);
    }
}

#[test]
fn invariants_hold_and_replay_agrees() {
    histories(60_000, Invariants::new, |invariants, end| invariants.record.replay(end));
}
