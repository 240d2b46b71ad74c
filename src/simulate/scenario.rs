//! Scenario files: a simulation in TOML.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use colearn_contracts::{Merging, Parameters};
use serde::Deserialize;

use super::attack::{Attack, Rule};
use super::baseline::Aggregation;
use super::faults::{Fault, VoteFault};
use super::sweep::{Setting, shown};
use super::timing::{Churn, Network, Timing, Transfers};
use colearn_learning::Training;
use colearn_learning::data::{CsvOptions, DataError, Dataset, Embedded, Schema, Share, Split};
use colearn_learning::model::{Activation, ModelSpec, WeightsError};
use colearn_learning::private::Noise;
use colearn_records::plan::{Millis, Plan, toml_error};
use colearn_sdk::learner::Weights;
use colearn_sdk::local::{Conduct, Voting};

/// The most learners of a simulation.
const MAX_LEARNERS: usize = 100_000;

/// What of a scenario says what learners are made of.
const MAKES_LEARNERS: [&str; 7] = ["task", "data", "label", "ignore", "split", "model", "training"];

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read the scenario {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It says what cannot be.
    #[error("the scenario: {0}")]
    Malformed(String),
    /// Its data cannot be loaded.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// A simulation as it is written: what is left out takes its default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// An embedded data set.
    pub task: Option<Embedded>,
    /// Or a file or folder of one's own.
    pub data: Option<PathBuf>,
    /// The CSV column to predict.
    pub label: Option<String>,
    /// CSV columns to leave out.
    pub ignore: Vec<String>,
    /// How many learners.
    pub learners: usize,
    /// How many rounds.
    pub rounds: u64,
    /// Decides everything that is drawn at random.
    pub seed: u64,
    /// How the data is divided.
    pub split: String,
    /// Combine all learners' updates in every round instead of voting on one.
    pub rule: Option<Aggregation>,
    /// The model.
    pub model: ModelTable,
    /// How learners train and vote.
    pub training: Training,
    /// The experiment's rules, as in a plan file.
    pub plan: toml::Table,
    /// How long learners take.
    pub timing: Timing,
    /// What they are connected by.
    pub network: Network,
    /// Who goes and returns.
    pub churn: Churn,
    /// Who does what wrong.
    #[serde(rename = "faults")]
    pub fault_tables: Vec<FaultTable>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            task: None,
            data: None,
            label: None,
            ignore: Vec::new(),
            learners: 10,
            rounds: 20,
            seed: 1,
            split: "iid".to_owned(),
            rule: None,
            model: ModelTable::default(),
            training: Training::default(),
            plan: toml::Table::new(),
            timing: Timing::default(),
            network: Network::default(),
            churn: Churn::default(),
            fault_tables: Vec::new(),
        }
    }
}

/// The model of a scenario.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelTable {
    /// The widths of the hidden layers; none for softmax or linear regression. Without it: 32, or
    /// 128 from 500 inputs on.
    pub hidden: Option<Vec<usize>>,
    /// Between them.
    pub activation: Activation,
}

/// Who does what wrong.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultTable {
    /// Which learners, counted from 1.
    pub learners: Vec<usize>,
    /// Or so many of all, spread evenly; rounded down.
    pub share: Option<f64>,
    /// What is wrong with their proposals.
    pub attack: Option<Attack>,
    /// What is wrong with their votes.
    pub vote: Option<VoteFault>,
    /// So much slower, such as "15m".
    pub(super) slow: Millis,
    /// The first and last of the rounds in which they are not there.
    pub away: Option<[u64; 2]>,
}

impl Scenario {
    /// Reads a scenario file. Data files are looked for beside it.
    ///
    /// # Errors
    /// If it cannot be read, or has an unknown key or a value that cannot be.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        Self::read_with(path, &Setting::new())
    }

    /// The same, of a scenario that says some things otherwise.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_with(path: &Path, setting: &Setting) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Io { path: path.to_owned(), source })?;
        let mut scenario = Self::parse(&Self::with(&text, setting)?)?;
        if let (Some(data), Some(folder)) = (&scenario.data, path.parent()) {
            scenario.data = Some(folder.join(data));
        }
        Ok(scenario)
    }

    /// A scenario's text that says some things otherwise.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn with(text: &str, setting: &Setting) -> Result<String, ScenarioError> {
        Self::parse(text)?;
        if setting.is_empty() {
            return Ok(text.to_owned());
        }
        let mut table: toml::Table = toml::from_str(text)
            .map_err(|error| ScenarioError::Malformed(toml_error(text, &error)))?;
        super::sweep::apply(&mut table, setting).map_err(ScenarioError::Malformed)?;
        let changed =
            toml::to_string(&table).map_err(|error| ScenarioError::Malformed(error.to_string()))?;
        Self::parse(&changed).map(|_| changed).map_err(|error| match error {
            // Its lines are nobody's.
            ScenarioError::Malformed(what) => {
                let what = what.split_once(": ").map_or(what.as_str(), |(_, what)| what);
                let said =
                    setting.iter().map(|(key, value)| format!("{key}={}", shown(value.as_ref())));
                let said = said.collect::<Vec<_>>().join(" ");
                ScenarioError::Malformed(format!("with {said}: {what}"))
            }
            other => other,
        })
    }

    /// Reads a scenario.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)
            .map_err(|error| ScenarioError::Malformed(toml_error(text, &error)))?;
        let bounds = [
            ((1..=MAX_LEARNERS).contains(&scenario.learners), "learners must be 1 to 100000"),
            (scenario.rounds > 0, "rounds must be positive"),
            (scenario.task.is_none() || scenario.data.is_none(), "give a task or data, not both"),
        ];
        let checks = [
            scenario.training.check(),
            scenario.timing.check(),
            scenario.network.check(),
            scenario.churn.check(),
        ];
        let mut broken = bounds.iter().filter(|(holds, _)| !holds).map(|(_, message)| *message);
        match broken.next().or(checks.into_iter().find_map(Result::err)) {
            Some(message) => Err(ScenarioError::Malformed(message.to_owned())),
            None => Ok(scenario),
        }
    }

    /// The same, for so many learners that bring their own data.
    ///
    /// # Errors
    /// As [`Self::parse`]; and if it says what learners are made of, or another number of them.
    pub fn parse_for(text: &str, learners: usize) -> Result<Self, ScenarioError> {
        let mut scenario = Self::parse(text)?;
        let table: toml::Table = toml::from_str(text)
            .map_err(|error| ScenarioError::Malformed(toml_error(text, &error)))?;
        if let Some(key) = MAKES_LEARNERS.into_iter().find(|key| table.contains_key(*key)) {
            return Err(ScenarioError::Malformed(format!(
                "{key} says what learners are made of, and these are made already; leave it out, or hand in a \
                 function that makes a learner of its share of the data"
            )));
        }
        if table.contains_key("learners") && scenario.learners != learners {
            return Err(ScenarioError::Malformed(format!(
                "learners is {}, and {learners} were handed in",
                scenario.learners
            )));
        }
        scenario.learners = learners;
        Ok(scenario)
    }

    /// The data.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn load(&self) -> Result<Arc<Dataset>, ScenarioError> {
        if let Some(path) = &self.data {
            let options = CsvOptions {
                label: self.label.clone(),
                ignore: self.ignore.clone(),
                ..CsvOptions::default()
            };
            return Ok(Arc::new(Dataset::load(path, &options)?));
        }
        let which = self.task.unwrap_or(Embedded::Digits);
        Ok(Arc::new(Dataset::embedded(which)?))
    }

    /// The learners' shares of it.
    ///
    /// # Errors
    /// If it is too little.
    pub fn split(&self, data: &Arc<Dataset>) -> Result<Vec<Share>, ScenarioError> {
        let split: Split = self.split.parse().map_err(ScenarioError::Malformed)?;
        Ok(data.split(split, self.learners, self.seed)?)
    }

    /// The model for some data.
    pub fn model(&self, schema: &Schema) -> ModelSpec {
        let hidden = self.model.hidden.clone().unwrap_or_else(|| ModelSpec::usual_hidden(schema));
        ModelSpec::new(hidden, self.model.activation, schema.clone())
    }

    /// Where built-in learners begin with some data.
    ///
    /// # Errors
    /// If the model cannot be.
    pub fn initial(&self, schema: &Schema) -> Result<Weights, WeightsError> {
        let spec = self.model(schema);
        spec.write(&spec.untrained(self.seed))
    }

    /// What learners learn from: their shares, poisoned where an attack does that.
    ///
    /// # Errors
    /// If a fault names a learner that there is not.
    pub fn poisoned(&self, shares: &[Share]) -> Result<Vec<Share>, ScenarioError> {
        let faults = self.faults(shares.len())?;
        let learned = |(share, fault): (&Share, &Option<Fault>)| match fault {
            Some(fault) => fault.poison(share),
            None => share.clone(),
        };
        Ok(shares.iter().zip(&faults).map(learned).collect())
    }

    /// Whether rounds are merged.
    ///
    /// # Errors
    /// If the plan says what cannot be.
    pub fn is_merged(&self) -> Result<bool, ScenarioError> {
        Ok(matches!(self.rule_of_rounds()?, Rule::Merged(_)))
    }

    /// What decides what becomes of a round.
    pub(super) fn rule_of_rounds(&self) -> Result<Rule, ScenarioError> {
        Ok(match (self.rule, self.plan()?.merging) {
            (Some(rule), _) => Rule::Server(rule),
            (None, Some(merging)) => Rule::Merged(merging),
            (None, None) => Rule::Votes,
        })
    }

    /// How long transfers take in each round, of models of so many bytes.
    pub(super) fn transfers(
        &self,
        bytes: usize,
        learners: usize,
    ) -> Result<Transfers, ScenarioError> {
        let (bytes, learners) = (bytes as u64, learners as u64);
        Ok(match self.rule_of_rounds()? {
            Rule::Votes => self.network.single(bytes, learners),
            Rule::Merged(merging) => self.network.merged(bytes, learners, merging),
            Rule::Server(_) => self.network.served(bytes, learners),
        })
    }

    /// The plan's parameters.
    fn plan(&self) -> Result<Parameters, ScenarioError> {
        let text = toml::to_string(&self.plan)
            .map_err(|error| ScenarioError::Malformed(error.to_string()))?;
        Ok(Plan::parse(&text).map_err(ScenarioError::Malformed)?.parameters)
    }

    /// How learners train. The noise of private training follows the seed.
    pub fn training(&self) -> Training {
        Training { noise_source: Noise::Seeded(self.seed), ..self.training }
    }

    /// The experiment's rules. Learners that miss turns are not suspended unless the plan says so;
    /// then rounds go on with the plan's `min_learners`, and otherwise all are waited for.
    pub(super) fn parameters(
        &self,
        learners: usize,
        conducts: &[Conduct],
    ) -> Result<Parameters, ScenarioError> {
        let mut parameters = self.plan()?;
        if conducts.iter().any(|conduct| !conduct.withheld_from.is_empty()) {
            self.check_withholding(&parameters)?;
        }
        parameters.max_rounds = parameters.max_rounds.or(Some(self.rounds));
        if !self.plan.contains_key("missed_turns") {
            parameters.missed_turns = None;
            parameters.idle_rotations = None;
        }
        let absent = conducts.iter().any(|conduct| {
            let withholds = !conduct.withheld_from.is_empty();
            !conduct.away.is_empty() || conduct.voting == Voting::Never || withholds
        });
        if !(absent && parameters.missed_turns.is_some()) {
            parameters.min_learners = learners as u32;
        }
        Ok(parameters)
    }

    /// Only where members are asked what they hold can bytes be missing: elsewhere no update is taken that is
    /// not there for all.
    fn check_withholding(&self, parameters: &Parameters) -> Result<(), ScenarioError> {
        let asks = |merging: Merging| merging.gather_deadline_ms.is_some();
        if self.rule.is_some() || parameters.merging.is_some_and(asks) {
            return Ok(());
        }
        Err(ScenarioError::Malformed(
            "bytes are withheld, so the plan needs merging = { gather_deadline = \"10s\" }, or another"
                .to_owned(),
        ))
    }

    /// Whether it has a place for an attack that is handed in.
    ///
    /// # Errors
    /// If a learner is named that there is not.
    pub fn takes_attack(&self) -> Result<bool, ScenarioError> {
        let faults = self.faults(self.learners)?;
        Ok(faults.iter().flatten().any(|fault| fault.attack == Some(Attack::Own)))
    }

    /// Whether it has a place for a rule that is handed in.
    pub fn takes_rule(&self) -> bool {
        matches!(self.rule, None | Some(Aggregation::Own))
    }

    /// What is wrong with each learner.
    ///
    /// # Errors
    /// If a learner is named that there is not.
    pub fn faults(&self, learners: usize) -> Result<Vec<Option<Fault>>, ScenarioError> {
        let mut faults: Vec<Option<Fault>> = vec![None; learners];
        for table in &self.fault_tables {
            let mut who: Vec<usize> = Vec::new();
            for number in &table.learners {
                if !(1..=learners).contains(number) {
                    return Err(ScenarioError::Malformed(format!(
                        "a fault names learner {number}, but they are 1 to {learners}"
                    )));
                }
                who.push(number - 1);
            }
            if let Some(share) = table.share {
                if !(0.0..=1.0).contains(&share) {
                    return Err(ScenarioError::Malformed(format!(
                        "a fault's share is {share}, not 0 to 1"
                    )));
                }
                let count = (share * learners as f64).floor() as usize;
                // Spread evenly over the joining order, and so over the turns.
                who.extend((0..count).map(|at| (2 * at + 1) * learners / (2 * count)));
            }
            let fault = Fault {
                attack: table.attack,
                vote: table.vote,
                slow_ms: table.slow.0,
                away: table.away.map(|[first, last]| first..=last).into_iter().collect(),
            };
            for at in who {
                faults[at] = Some(fault.clone());
            }
        }
        Ok(faults)
    }
}
