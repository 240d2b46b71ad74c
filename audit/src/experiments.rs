//! Where experiments stand and what happened in them, from a ledger that is audited on the way: no node is asked.

use std::collections::BTreeMap;

use colearn_contracts::{Contract, ExperimentName, LearnerId};
use colearn_records::convert::ExperimentState;
use colearn_records::history::History;
use colearn_records::log_keys::LogKeys;
use colearn_records::record::DecodedEntry;

use crate::auditor::{Auditor, End};
use crate::{AuditOptions, AuditReport, Level, Source, SourceError};

/// All experiments of a ledger.
#[derive(Clone, Debug)]
pub struct Experiments {
    /// Who keeps the ledger.
    pub keys: LogKeys,
    contract: Contract,
    histories: BTreeMap<ExperimentName, History>,
}

/// What a ledger tells of an experiment.
#[derive(Clone, Debug)]
pub struct Told {
    /// Where it stands, with all its members.
    pub state: ExperimentState,
    /// What happened in it.
    pub history: History,
}

/// Why it cannot be told which experiment is meant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoExperiment {
    /// There is none of the name.
    #[error("the ledger has no experiment {0}; {has}", has = has(.1))]
    NoSuch(ExperimentName, Vec<ExperimentName>),
    /// Nothing was said, and there are several, or none.
    #[error("name the experiment; {has}", has = has(.0))]
    Unnamed(Vec<ExperimentName>),
}

fn has(names: &[ExperimentName]) -> String {
    match names {
        [] => "it has none".to_owned(),
        _ => {
            let names: Vec<_> = names.iter().map(ExperimentName::as_str).collect();
            format!("it has: {}", names.join(", "))
        }
    }
}

/// What is known of an experiment, or of the only one where none is named.
///
/// # Errors
/// If there is none.
pub fn of<'a, T>(
    all: &'a BTreeMap<ExperimentName, T>,
    name: Option<&ExperimentName>,
) -> Result<&'a T, NoExperiment> {
    let names = || all.keys().cloned().collect();
    match (name, all.len(), all.values().next()) {
        (Some(name), _, _) => {
            all.get(name).ok_or_else(|| NoExperiment::NoSuch(name.clone(), names()))
        }
        (None, 1, Some(only)) => Ok(only),
        (None, _, _) => Err(NoExperiment::Unnamed(names())),
    }
}

/// Audits a ledger, and tells its experiments as of its checkpoint: nothing where it could not be followed to that.
/// They are worth what the report says.
///
/// # Errors
/// Only if it cannot be read; whatever is wrong with it is in the report.
pub fn experiments(
    source: &mut dyn Source,
    options: AuditOptions<'_>,
) -> Result<(AuditReport, Option<Experiments>), SourceError> {
    let mut histories = BTreeMap::new();
    let mut watch = |entry: &DecodedEntry, _: &Contract| {
        let Some(name) = entry.record.experiment() else { return };
        let new = || History::new(name.clone());
        histories.entry(name.clone()).or_insert_with(new).record(entry);
    };
    // Where an experiment stands, only the contract says.
    let options = AuditOptions { level: Level::Contract, ..options };
    let (report, end) = Auditor::new(options).watched_by(&mut watch).audit_to_end(source)?;
    let told = end.and_then(|End { contract, keys, checkpoint }| {
        checkpoint?;
        Some(Experiments { keys, contract: contract?, histories })
    });
    Ok((report, told))
}

impl Experiments {
    /// What each is called, in that order.
    pub fn names(&self) -> impl Iterator<Item = &ExperimentName> {
        self.histories.keys()
    }

    /// Where each stands, in the order of their names.
    pub fn states(&self) -> impl Iterator<Item = ExperimentState> {
        self.names().filter_map(|name| self.state(name))
    }

    /// What is known of an experiment.
    ///
    /// # Errors
    /// If there is none of the name.
    pub fn told(&self, name: &ExperimentName) -> Result<Told, NoExperiment> {
        let history = of(&self.histories, Some(name))?.clone();
        match self.state(name) {
            Some(state) => Ok(Told { state, history }),
            None => Err(NoExperiment::NoSuch(name.clone(), self.names().cloned().collect())),
        }
    }

    /// Whether a learner is or was a member of an experiment.
    pub fn has_joined(&self, name: &ExperimentName, learner: LearnerId) -> bool {
        let experiment = self.contract.experiment(name);
        experiment.is_some_and(|experiment| experiment.member(learner).is_some())
    }

    fn state(&self, name: &ExperimentName) -> Option<ExperimentState> {
        let experiment = self.contract.experiment(name)?;
        Some(ExperimentState::of(experiment, usize::MAX))
    }
}
