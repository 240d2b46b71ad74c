//! What a ledger has come to, also where something is wrong with it: for whoever has to tell of an audit whatever it
//! finds.

use std::collections::BTreeMap;

use colearn_contracts::{Contract, ExperimentName};
use colearn_records::convert::ExperimentState;
use colearn_records::log_keys::LogKeys;
use colearn_records::record::DecodedEntry;

use crate::auditor::Auditor;
use crate::models::{self, Models};
use crate::{AuditOptions, AuditReport, Level, Source, SourceError};

/// What a ledger has come to, as far as it could be followed. It is worth what the report says.
#[derive(Clone, Default, Debug)]
pub struct Reached {
    /// The experiments, with what happened in them.
    pub experiments: BTreeMap<ExperimentName, Models>,
    /// So many entries were taken by the contract, and tell of that.
    pub told: u64,
    /// The time of the last of those, in ms since 1970.
    pub last_ms: u64,
    /// Who keeps the ledger; `None` where it could not be followed to its end.
    pub keys: Option<LogKeys>,
    /// The checkpoint that its entries were held to, as it was signed; `None` if they were held to none.
    pub checkpoint: Option<String>,
    contract: Option<Contract>,
}

/// Audits a ledger, and tells what it has come to.
///
/// # Errors
/// Only if it cannot be read; whatever is wrong with it is in the report.
pub fn reached(
    source: &mut dyn Source,
    options: AuditOptions<'_>,
) -> Result<(AuditReport, Reached), SourceError> {
    let mut reached = Reached::default();
    let mut watch = |entry: &DecodedEntry, contract: &Contract| {
        (reached.told, reached.last_ms) = (entry.index + 1, entry.time_ms);
        models::take(&mut reached.experiments, entry, contract);
    };
    // What follows from the entries, only the contract says.
    let options = AuditOptions { level: Level::Contract, ..options };
    let (report, end) = Auditor::new(options).watched_by(&mut watch).audit_to_end(source)?;
    if let Some(end) = end {
        reached.keys = Some(end.keys);
        reached.checkpoint = end.checkpoint.map(|signed| signed.note);
        reached.contract = end.contract;
    }
    Ok((report, reached))
}

impl Reached {
    /// Where an experiment stands after the entries that were followed; `None` where they could not be followed to
    /// their end, or if there is none of the name.
    pub fn state(&self, name: &ExperimentName) -> Option<ExperimentState> {
        let experiment = self.contract.as_ref()?.experiment(name)?;
        Some(ExperimentState::of(experiment, usize::MAX))
    }
}
