//! The attack table: what attackers of each kind and number reach against each rule.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::Serialize;

use super::attack::Attack;
use super::baseline::Aggregation;
use super::faults::VoteFault;
use super::scenario::FaultTable;
use super::{Scenario, Simulation, SimulationError, SimulationReport};
use colearn_learning::data::{Dataset, Embedded};

/// How many of the last rounds a score is the mean of.
const LAST: usize = 3;

/// What is run: each number of learners with each split, each attack with each number of attackers, against
/// each rule.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Grid {
    /// How many learners.
    pub learners: Vec<usize>,
    /// How the digits are divided.
    pub splits: Vec<String>,
    /// How many attack, in percent.
    pub percents: Vec<usize>,
    /// How many rounds in which everybody trains.
    pub rounds: u64,
    /// How many in which one learner does.
    pub single_rounds: u64,
    /// How many runs of each cell, with different seeds.
    pub seeds: u64,
}

impl Default for Grid {
    /// What a computer with two cores does while one has a coffee.
    fn default() -> Self {
        Self {
            learners: vec![10, 41],
            splits: ["iid", "dirichlet:0.5"].map(str::to_owned).to_vec(),
            percents: vec![20, 39],
            rounds: 20,
            single_rounds: 82,
            seeds: 3,
        }
    }
}

impl Grid {
    /// All splits and numbers.
    pub fn full() -> Self {
        let splits = ["iid", "dirichlet:0.5", "dirichlet:0.1", "shards:2", "sorted"];
        Self {
            learners: vec![5, 10, 20, 41],
            splits: splits.map(str::to_owned).to_vec(),
            percents: vec![10, 20, 30, 39, 49],
            ..Self::default()
        }
    }

    /// The numbers of attackers that the percentages are of so many learners, each once: never half of them.
    pub fn attackers(&self, learners: usize) -> Vec<usize> {
        let most = learners.saturating_sub(1) / 2;
        let counts = self.percents.iter().map(|percent| (learners * percent + 50) / 100);
        counts
            .map(|count| count.min(most))
            .filter(|count| *count > 0)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    fn wanted(&self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for &learners in &self.learners {
            for split in &self.splits {
                for kind in KINDS {
                    let counts = match kind {
                        Kind::Nobody => vec![0],
                        Kind::Attack(..) | Kind::Votes => self.attackers(learners),
                    };
                    for attackers in counts {
                        for rule in RULES.iter().filter(|rule| rule.tells(kind)) {
                            let split = split.clone();
                            wanted.push(Wanted { learners, split, kind, attackers, rule });
                        }
                    }
                }
            }
        }
        wanted
    }
}

/// What some of the learners do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Nothing bad: there are no attackers.
    Nobody,
    /// They send this, and collude in their votes; what it is called.
    Attack(Attack, &'static str),
    /// They train honestly, and collude in their votes.
    Votes,
}

/// The rows of the table.
const KINDS: [Kind; 18] = [
    Kind::Nobody,
    Kind::Votes,
    Kind::Attack(Attack::LabelFlip, "label flip"),
    Kind::Attack(Attack::SignFlip, "sign flip"),
    Kind::Attack(Attack::Scaled, "scaled x10"),
    Kind::Attack(Attack::Random, "random weights"),
    Kind::Attack(Attack::Nan, "NaN weights"),
    Kind::Attack(Attack::Zero, "free riders"),
    Kind::Attack(Attack::Withheld, "bytes withheld"),
    Kind::Attack(Attack::HalfWithheld, "bytes half withheld"),
    Kind::Attack(Attack::Mimic, "mimics"),
    Kind::Attack(Attack::Mixed, "mixed"),
    Kind::Attack(Attack::Alie, "ALIE"),
    Kind::Attack(Attack::Ipm, "IPM"),
    Kind::Attack(Attack::Limit, "inside the clip"),
    Kind::Attack(Attack::Gate, "against the guard"),
    Kind::Attack(Attack::Adaptive, "adaptive"),
    Kind::Attack(Attack::Backdoor, "backdoor"),
];

impl Kind {
    /// What it is called.
    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody attacks",
            Self::Attack(_, name) => name,
            Self::Votes => "only votes",
        }
    }

    fn attack(self) -> Option<Attack> {
        match self {
            Self::Attack(attack, _) => Some(attack),
            Self::Nobody | Self::Votes => None,
        }
    }
}

/// A way in which learners come to a model.
#[derive(Debug)]
pub struct Rule {
    /// What it is called.
    pub name: &'static str,
    means: Means,
}

#[derive(Debug)]
enum Means {
    Single,
    /// Merged rounds, and what the learners do besides.
    Merged(&'static str),
    Server(Aggregation),
}

/// The columns of the table.
pub const RULES: [Rule; 11] = [
    Rule { name: "single", means: Means::Single },
    Rule { name: "merged", means: Means::Merged("") },
    Rule { name: "average", means: Means::Server(Aggregation::Average) },
    Rule { name: "momentum", means: Means::Server(Aggregation::Momentum) },
    Rule { name: "median", means: Means::Server(Aggregation::Median) },
    Rule { name: "Krum", means: Means::Server(Aggregation::Krum) },
    Rule { name: "multi-Krum", means: Means::Server(Aggregation::MultiKrum) },
    Rule { name: "clipping", means: Means::Server(Aggregation::Clipping) },
    Rule { name: "cautious", means: Means::Merged("cautious = true") },
    Rule { name: "hardened", means: Means::Merged("harden = true") },
    Rule { name: "both", means: Means::Merged("cautious = true\nharden = true") },
];

impl Rule {
    /// Whether it is a defence against backdoors, which stand in a table of their own.
    pub fn is_defence(&self) -> bool {
        matches!(self.means, Means::Merged(training) if !training.is_empty())
    }

    /// Whether there is anything to tell of it.
    fn tells(&self, kind: Kind) -> bool {
        let withholds = matches!(kind.attack(), Some(Attack::Withheld | Attack::HalfWithheld));
        match self.means {
            // A single proposer sends while nobody else does, so there is nothing to wait for.
            Means::Single => !withholds && !kind.attack().is_some_and(Attack::waits),
            Means::Merged("") => true,
            Means::Merged(_) => matches!(kind, Kind::Nobody | Kind::Attack(Attack::Backdoor, _)),
            // A server asks nobody, and has the bytes or has them not.
            Means::Server(_) => !withholds && kind != Kind::Votes,
        }
    }
}

/// What one kind of attackers, in some number, reached against one rule; means over the seeds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Cell {
    /// How many learners there were.
    pub learners: usize,
    /// How the data was divided.
    pub split: String,
    /// What the attackers did.
    pub attack: &'static str,
    /// How many they were.
    pub attackers: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// The accuracy on the honest learners' test rows: the mean of the last three rounds.
    pub accuracy: f64,
    /// How often the backdoor opened, if one was planted.
    pub backdoor: Option<f64>,
}

/// All cells.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttackTable {
    /// What was run.
    pub grid: Grid,
    /// The cells, by learners, split, attack, number of attackers, rule.
    pub cells: Vec<Cell>,
}

/// Runs a grid on the digits. `done` is called after each run, of so many.
///
/// # Errors
/// If a run fails.
pub fn attack_table(
    grid: Grid,
    done: impl Fn(usize, usize) + Sync,
) -> Result<AttackTable, SimulationError> {
    let data = Arc::new(Dataset::embedded(Embedded::Digits).map_err(super::ScenarioError::from)?);
    let wanted = grid.wanted();
    let runs: Vec<(&Wanted, u64)> =
        wanted.iter().flat_map(|it| (1..=grid.seeds).map(move |seed| (it, seed))).collect();
    let (finished, total) = (AtomicUsize::new(0), runs.len());
    // One at a time to whoever is free: some take a hundred times as long as others.
    let reports = runs
        .into_par_iter()
        .with_max_len(1)
        .map(|(wanted, seed)| {
            let report = wanted.run(&grid, seed, &data)?;
            done(finished.fetch_add(1, Ordering::Relaxed) + 1, total);
            Ok(report)
        })
        .collect::<Result<Vec<SimulationReport>, SimulationError>>()?;
    let per_cell = reports.chunks(grid.seeds.max(1) as usize);
    let cells = wanted.iter().zip(per_cell).map(|(wanted, reports)| wanted.cell(reports)).collect();
    Ok(AttackTable { grid, cells })
}

/// A cell that is to be filled: an attack by so many, and what holds against it.
struct Wanted {
    learners: usize,
    split: String,
    kind: Kind,
    attackers: usize,
    rule: &'static Rule,
}

impl Wanted {
    fn scenario(&self, grid: &Grid, seed: u64) -> Result<Scenario, SimulationError> {
        let withholds = matches!(self.kind.attack(), Some(Attack::Withheld | Attack::HalfWithheld));
        let text = match self.rule.means {
            Means::Merged(training) => {
                let asks = if withholds { "gather_deadline = \"10s\"" } else { "" };
                format!("[plan]\nmerging = {{ {asks} }}\n[training]\n{training}")
            }
            Means::Single | Means::Server(_) => String::new(),
        };
        let (rule, rounds) = match self.rule.means {
            Means::Single => (None, grid.single_rounds),
            Means::Merged(_) => (None, grid.rounds),
            Means::Server(rule) => (Some(rule), grid.rounds),
        };
        let faults = FaultTable {
            // Half a learner more, so that rounding down gives the number again.
            share: Some((self.attackers as f64 + 0.5) / self.learners as f64),
            attack: self.kind.attack(),
            vote: Some(VoteFault::Colludes),
            ..FaultTable::default()
        };
        Ok(Scenario {
            learners: self.learners,
            split: self.split.clone(),
            fault_tables: if self.attackers > 0 { vec![faults] } else { Vec::new() },
            seed,
            rounds,
            rule,
            ..Scenario::parse(&text)?
        })
    }

    fn run(
        &self,
        grid: &Grid,
        seed: u64,
        data: &Arc<Dataset>,
    ) -> Result<SimulationReport, SimulationError> {
        let scenario = self.scenario(grid, seed)?;
        let shares = scenario.split(data)?;
        Ok(Simulation::new(&scenario, &shares)?.run(|_, _| {}, |_, _| {})?.0)
    }

    fn cell(&self, reports: &[SimulationReport]) -> Cell {
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let backdoor: Option<Vec<f64>> = reports.iter().map(|report| report.backdoor).collect();
        Cell {
            learners: self.learners,
            split: self.split.clone(),
            attack: self.kind.name(),
            attackers: self.attackers,
            rule: self.rule.name,
            accuracy: mean(reports.iter().map(last_score).collect()),
            backdoor: backdoor.map(mean),
        }
    }
}

/// The mean of the last scores. Where nothing was accepted there is none, and one in ten is guessed.
pub(super) fn last_score(report: &SimulationReport) -> f64 {
    let last = report.scores.iter().rev().take(LAST);
    let last: Vec<f64> = last.map(|score| if score.is_nan() { 0.1 } else { *score }).collect();
    last.iter().sum::<f64>() / last.len().max(1) as f64
}
