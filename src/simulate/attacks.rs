//! The attack table: what attackers of each kind and number reach against each rule.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use super::baseline::Aggregation;
use super::faults::{Attack, VoteFault};
use super::scenario::FaultTable;
use super::{Scenario, Simulation, SimulationError, SimulationReport};
use colearn_learning::data::{Dataset, Embedded};

/// How large a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Learners of each run.
    pub learners: usize,
    /// Rounds of each run.
    pub rounds: u64,
    /// Runs of each cell, with different seeds.
    pub seeds: u64,
}

/// What one kind of attackers, in some number, reached against one rule; means over the seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The attack's name.
    pub attack: &'static str,
    /// The rule's name.
    pub rule: &'static str,
    /// How many of the learners attack.
    pub attackers: usize,
    /// The final accuracy on the honest learners' test rows.
    pub accuracy: f64,
    /// Accepted updates that cost more than a hundredth of it; of votes only.
    pub harmful: Option<f64>,
    /// How often the backdoor opened, if one was planted.
    pub backdoor: Option<f64>,
}

/// All cells.
#[derive(Clone, Debug, Serialize)]
pub struct AttackTable {
    /// How many learners each run had.
    pub learners: usize,
    /// How many rounds.
    pub rounds: u64,
    /// How many seeds.
    pub seeds: u64,
    /// The numbers of attackers.
    pub attackers: Vec<usize>,
    /// The cells, by attack, then rule, then number.
    pub cells: Vec<Cell>,
}

/// The shares of attackers, in percent.
const SHARES: [usize; 6] = [0, 10, 20, 30, 40, 49];

/// The attacks: a name, what is proposed, how is voted.
const ATTACKS: [(&str, Option<Attack>, VoteFault); 10] = [
    ("label flip", Some(Attack::LabelFlip), VoteFault::Colludes),
    ("sign flip", Some(Attack::SignFlip), VoteFault::Colludes),
    ("scaled x10", Some(Attack::Scaled), VoteFault::Colludes),
    ("random weights", Some(Attack::Random), VoteFault::Colludes),
    ("NaN weights", Some(Attack::Nan), VoteFault::Colludes),
    ("backdoor", Some(Attack::Backdoor), VoteFault::Colludes),
    ("always approves", None, VoteFault::Approves),
    ("always rejects", None, VoteFault::Rejects),
    ("votes opposite", None, VoteFault::Opposite),
    ("copies votes", None, VoteFault::Copies),
];

/// The rules: a name, the way of combining if there is no vote, the rest in TOML.
const RULES: [(&str, Option<Aggregation>, &str); 7] = [
    ("vote", None, ""),
    ("vote, lenient", None, "[training]\nmargin = 0.15"),
    ("vote, strict", None, "[training]\nscore = \"loss\"\nmargin = -0.01"),
    ("vote, sealed", None, "[plan]\nballot = \"sealed\""),
    ("average", Some(Aggregation::Average), ""),
    ("median", Some(Aggregation::Median), ""),
    ("Krum", Some(Aggregation::Krum), ""),
];

/// Runs every attack against every rule, on the digits. `done` is called after each cell, of so many.
///
/// # Errors
/// If a run fails.
pub fn attack_table(
    size: Size,
    done: impl Fn(usize, usize) + Sync,
) -> Result<AttackTable, SimulationError> {
    let data = Arc::new(Dataset::embedded(Embedded::Digits).map_err(super::ScenarioError::from)?);
    let mut attackers: Vec<usize> =
        SHARES.iter().map(|percent| (size.learners * percent + 50) / 100).collect();
    // Rounding up must not make a majority of them.
    attackers
        .iter_mut()
        .for_each(|count| *count = (*count).min(size.learners.saturating_sub(1) / 2));
    attackers.dedup();
    let mut wanted = Vec::new();
    for (attack, proposal, vote) in ATTACKS {
        for (rule, aggregation, text) in RULES {
            // How one votes means nothing where nobody votes.
            if proposal.is_none() && aggregation.is_some() {
                continue;
            }
            for count in &attackers {
                let attackers = *count;
                wanted.push(Wanted { attack, proposal, vote, rule, aggregation, text, attackers });
            }
        }
    }
    let total = wanted.len();
    let finished = std::sync::atomic::AtomicUsize::new(0);
    let cells = wanted
        .into_par_iter()
        .map(|wanted| {
            let cell = wanted.run(size, &data)?;
            let at = finished.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            done(at, total);
            Ok(cell)
        })
        .collect::<Result<Vec<Cell>, SimulationError>>()?;
    let Size { learners, rounds, seeds } = size;
    Ok(AttackTable { learners, rounds, seeds, attackers, cells })
}

/// A cell that is to be filled: an attack by so many, and what holds against it.
struct Wanted {
    attack: &'static str,
    proposal: Option<Attack>,
    vote: VoteFault,
    rule: &'static str,
    aggregation: Option<Aggregation>,
    /// The rest of the rule, in TOML.
    text: &'static str,
    attackers: usize,
}

impl Wanted {
    fn run(self, size: Size, data: &Arc<Dataset>) -> Result<Cell, SimulationError> {
        let mut reports = Vec::new();
        for seed in 1..=size.seeds {
            let mut scenario = Scenario::parse(self.text)?;
            scenario.seed = seed;
            scenario.learners = size.learners;
            scenario.rounds = size.rounds;
            scenario.rule = self.aggregation;
            scenario.fault_tables = vec![FaultTable {
                // Half a learner more, so that rounding down gives the number again.
                share: Some((self.attackers as f64 + 0.5) / size.learners as f64),
                attack: self.proposal,
                vote: Some(self.vote),
                ..FaultTable::default()
            }];
            let shares = scenario.split(data)?;
            let simulation = Simulation::new(&scenario, &shares)?;
            reports.push(simulation.run(|_, _| {}, |_, _| {})?.0);
        }
        let mean = |pick: &dyn Fn(&SimulationReport) -> f64| {
            reports.iter().map(pick).sum::<f64>() / reports.len().max(1) as f64
        };
        let planted = self.proposal == Some(Attack::Backdoor) && self.attackers > 0;
        let voted = self.aggregation.is_none();
        Ok(Cell {
            attack: self.attack,
            rule: self.rule,
            attackers: self.attackers,
            accuracy: mean(&|report| report.final_score),
            harmful: voted.then(|| mean(&|report| report.accepted_harmful as f64)),
            backdoor: planted.then(|| mean(&|report| report.backdoor.unwrap_or(0.0))),
        })
    }
}
