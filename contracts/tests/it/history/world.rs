//! A ledger's contract, and people who ask it for one thing after another while time goes by.

use colearn_contracts::{
    Act, Action, Charter, Contract, Creators, Decision, ExperimentName, LearnerId, Limits, Moment,
    Outcome, Phase, Rejection, Version,
};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::LEDGER;
use super::aim::{Aim, chance, creation, experiment_name, id, pick};

const STEPS: u64 = 400;
const EXPERIMENTS: u8 = 4;
const WEEK_MS: u64 = 604_800_000;

/// Which rules a history is under.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Rules {
    /// Version 1's.
    First,
    /// Version 2's.
    Second,
    /// Version 1's, until the ledger is upgraded and members adopt version 2.
    Crossing,
    /// Version 2's, where a contract on a public chain keeps the ledger.
    OnChain,
}

impl Rules {
    /// Each in its turn.
    pub(crate) fn of(seed: u64) -> Self {
        match seed % 4 {
            0 => Self::First,
            1 => Self::Second,
            2 => Self::Crossing,
            _ => Self::OnChain,
        }
    }
}

/// Who looks on, and judges what the contract does.
pub(crate) trait Watch {
    /// Time has passed: for the one experiment that was touched (R93), or for all.
    fn time(
        &mut self,
        at: Moment,
        touched: Option<&ExperimentName>,
        before: &Contract,
        after: &Contract,
        outcomes: &[Outcome],
    );
    /// The ledger follows another version.
    fn upgraded(&mut self, now_ms: u64, version: Version, limits: Limits);
    /// Somebody has asked for something.
    fn asked(
        &mut self,
        at: Moment,
        before: &Contract,
        after: &Contract,
        asked: (LearnerId, &Action),
        result: &Result<Vec<Outcome>, Rejection>,
    );
}

/// How much there was.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Count {
    pub(crate) histories: u64,
    pub(crate) steps: u64,
    pub(crate) accepted: u64,
    pub(crate) rounds: u64,
    pub(crate) experiments: u64,
    /// Experiments that follow version 2 on a ledger that began with version 1.
    pub(crate) adopted: u64,
    pub(crate) motions: u64,
    /// Merged rounds, and those whose votes came to an agreement, and to a new model.
    pub(crate) merged: u64,
    pub(crate) agreed: u64,
    pub(crate) accepted_merges: u64,
}

impl Count {
    fn decided(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match &outcome.what {
                Decision::TrainingOpened { .. } => self.merged += 1,
                Decision::MergeDecided { agreed, accepted, .. } => {
                    self.agreed += u64::from(agreed.is_some());
                    self.accepted_merges += u64::from(accepted.is_some());
                }
                _ => {}
            }
        }
    }
}

/// The limits of a ledger on which few experiments fit.
pub(crate) fn limits(rng: &mut ChaCha8Rng) -> Limits {
    Limits {
        per_creator: rng.random_range(1..3),
        experiments: rng.random_range(1..4),
        expiry_ms: 10,
    }
}

/// The version that a history begins under, and its limits.
pub(crate) fn beginning(rng: &mut ChaCha8Rng, rules: Rules) -> Contract {
    match rules {
        Rules::First | Rules::Crossing => Contract::new(LEDGER, Version::V1),
        Rules::Second => Contract::with_limits(LEDGER, Version::V2, limits(rng)),
        Rules::OnChain => {
            let limits = limits(rng);
            let creators = match rng.random_bool(0.5) {
                true => Creators::Anybody,
                false => {
                    // All but one of those who try.
                    let mut keys = vec![id(0), id(2)];
                    keys.sort_unstable();
                    Creators::Listed(keys)
                }
            };
            let charter = Charter { creators, max_members: rng.random_range(3..9) };
            Contract::on_chain(LEDGER, Version::V2, limits, charter)
        }
    }
}

/// Moves the clock: mostly a little, now and then to where something is due, seldom far.
pub(crate) fn pass_time(rng: &mut ChaCha8Rng, contract: &Contract, now_ms: &mut u64) {
    match rng.random_range(0..1000) {
        0..4 => *now_ms += WEEK_MS,
        4..8 => *now_ms += 2000,
        8..70 => *now_ms = contract.next_deadline_ms().map_or(*now_ms, |due| due.max(*now_ms)),
        _ => *now_ms += *pick(rng, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 5, 10]),
    }
}

/// One history of some hundred steps, in which several experiments run.
pub(crate) fn history(seed: u64, rules: Rules, watch: &mut impl Watch) -> (Count, Contract) {
    let mut rng = chance(seed);
    let rng = &mut rng;
    let mut contract = beginning(rng, rules);
    let upgrade_at = (rules == Rules::Crossing).then(|| rng.random_range(30..200));
    let mut aim = Aim::default();
    let mut at = Moment { now_ms: 0, head: LEDGER };
    let mut count = Count { histories: 1, ..Count::default() };
    for step in 0..STEPS {
        if upgrade_at == Some(step) {
            let limits = limits(rng);
            contract.upgrade(at.now_ms, Version::V2, limits).unwrap();
            assert!(contract.upgrade(at.now_ms, Version::V2, limits).is_err(), "upgraded twice");
            watch.upgraded(at.now_ms, Version::V2, limits);
        }
        pass_time(rng, &contract, &mut at.now_ms);
        // The clock may also be set back; the contract must not care.
        let now_ms = at.now_ms.saturating_sub(*pick(rng, &[0, 0, 0, 500]));
        at.head.0[..8].copy_from_slice(&step.to_be_bytes());
        let told = Moment { now_ms, ..at };
        if rules != Rules::OnChain {
            let before = contract.clone();
            let outcomes = contract.advance(told);
            count.decided(&outcomes);
            watch.time(told, None, &before, &contract, &outcomes);
        } else if rng.random_bool(0.3) {
            // Somebody asks for one by name, be there one or not.
            let name = experiment_name(rng.random_range(0..EXPERIMENTS));
            touch(&mut contract, told, &name, &mut count, watch);
        }

        let running: Vec<_> = contract.experiments().filter(|it| !is_over(it)).collect();
        if running.is_empty() && step > 0 && rng.random_bool(0.05) {
            break;
        }
        let creates = step == 0 || (running.is_empty() && rng.random_bool(0.5));
        let (sender, action) = match running.first() {
            _ if creates || rng.random_bool(0.015) => {
                let mut create = creation(rng, contract.version());
                if rng.random_bool(0.1) && step > 0 {
                    create.version = 3 - create.version;
                }
                let name = experiment_name(rng.random_range(0..EXPERIMENTS));
                (id(rng.random_range(0..3)), Action::new(name, Act::Create(create)))
            }
            Some(first) if rng.random_bool(0.8) => aim.attempt(rng, &contract, first),
            _ => {
                let all: Vec<_> = contract.experiments().collect();
                if all.is_empty() {
                    continue;
                }
                let one = pick(rng, &all);
                aim.attempt(rng, &contract, one)
            }
        };
        if rules == Rules::OnChain {
            touch(&mut contract, told, &action.experiment, &mut count, watch);
        }
        let before = contract.clone();
        let would = contract.would(told, sender, &action);
        assert!(contract == before, "looking changes nothing");
        let result = contract.apply(told, sender, &action);
        assert_eq!(would, result.as_ref().map(drop).map_err(Clone::clone));
        count.steps += 1;
        if let Ok(outcomes) = &result {
            count.accepted += 1;
            count.decided(outcomes);
            aim.accepted(sender, &action);
        }
        watch.asked(told, &before, &contract, (sender, &action), &result);
    }
    count.experiments = contract.experiments().len() as u64;
    count.rounds = contract.experiments().map(|it| it.round()).sum();
    count.motions = contract.experiments().map(|it| it.last_motion()).sum();
    if rules == Rules::Crossing {
        let adopted = contract.experiments().filter(|it| it.version() == Version::V2);
        count.adopted = adopted.count() as u64;
    }
    (count, contract)
}

/// R93. Has time pass for one experiment.
fn touch(
    contract: &mut Contract,
    at: Moment,
    name: &ExperimentName,
    count: &mut Count,
    watch: &mut impl Watch,
) {
    let before = contract.clone();
    let outcomes = contract.touch(at, name);
    count.decided(&outcomes);
    watch.time(at, Some(name), &before, contract, &outcomes);
}

fn is_over(experiment: &colearn_contracts::Experiment) -> bool {
    matches!(experiment.phase(), Phase::Finished(_))
}

/// As many histories as `COLEARN_STEPS` says, or `few` steps; `COLEARN_SEED=N` is that one alone.
/// `watcher` makes who looks on; `after` is what is left to check at the end of each.
pub(crate) fn histories<W: Watch>(
    few: u64,
    watcher: impl Fn(u64, Rules) -> W + std::panic::RefUnwindSafe,
    after: impl Fn(W, &Contract) + std::panic::RefUnwindSafe,
) -> Count {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (one_seed, most) = (number("COLEARN_SEED"), number("COLEARN_STEPS").unwrap_or(few));
    let mut total = Count::default();
    let mut seed = one_seed.unwrap_or(0);
    while total.steps < most {
        let run = std::panic::catch_unwind(|| {
            let rules = Rules::of(seed);
            let mut watch = watcher(seed, rules);
            let (count, contract) = history(seed, rules, &mut watch);
            after(watch, &contract);
            count
        });
        let more = run.unwrap_or_else(|_| panic!("again with COLEARN_SEED={seed}"));
        total.histories += more.histories;
        total.steps += more.steps;
        total.accepted += more.accepted;
        total.rounds += more.rounds;
        total.experiments += more.experiments;
        total.adopted += more.adopted;
        total.motions += more.motions;
        total.merged += more.merged;
        total.agreed += more.agreed;
        total.accepted_merges += more.accepted_merges;
        seed += 1;
        if one_seed.is_some() {
            break;
        }
    }
    println!("{total:?}");
    if one_seed.is_none() {
        assert!(total.accepted * 2 >= total.steps, "mostly refused");
        assert!(total.rounds > total.steps / 50, "few rounds");
        assert!(total.adopted > 0, "no experiment crossed over");
        assert!(total.merged > total.steps / 200, "few merged rounds");
        assert!(total.agreed < total.merged && total.accepted_merges < total.agreed);
        assert!(total.accepted_merges > total.merged / 8, "few merges");
    }
    total
}
