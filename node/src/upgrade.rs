//! Upgrading a ledger to the latest version of the rules.

use std::path::Path;

use colearn_contracts::{Limits, Phase, VERSION, Version};
use colearn_records::{keys, upgrade};

use crate::clock;
use crate::config::{Config, Progress};
use crate::error::NodeError;
use crate::key_files::KeyFiles;
use crate::open::{OpenLedger, open};

/// What an upgrade would change, or has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upgrade {
    /// The version that the ledger followed.
    pub from: Version,
    /// The one that it follows from then on.
    pub to: Version,
    /// What it limits from then on.
    pub limits: Limits,
    /// The experiments that have not finished, and go on under their own version until their members
    /// adopt the new one: their names.
    pub running: Vec<String>,
    /// The entry that records it, once it does.
    pub index: Option<u64>,
}

/// Says what upgrading the ledger in a folder to the latest version of the rules would change.
///
/// # Errors
/// If a node has the folder open, it cannot be opened, or the ledger follows the latest version.
pub fn plan_upgrade(
    data: &Path,
    limits: Limits,
    progress: Option<Progress>,
) -> Result<Upgrade, NodeError> {
    let opened = open_existing(data, progress)?;
    let plan = plan(&opened, limits)?;
    opened.keeper.close()?;
    Ok(plan)
}

/// Records that new experiments follow the latest version of the rules, and the ledger these limits.
///
/// # Errors
/// Those of [`plan_upgrade`], and if it cannot be written.
pub fn upgrade(
    data: &Path,
    limits: Limits,
    progress: Option<Progress>,
) -> Result<Upgrade, NodeError> {
    let mut opened = open_existing(data, progress)?;
    let plan = plan(&opened, limits)?;
    let key = keys::load(&KeyFiles::of(data).current)?;
    let message = upgrade::sign(&opened.keys.ledger(), &key, plan.to, limits);
    let keeper = &mut opened.keeper;
    let entry = keeper.upgrade(clock::now_ms(), plan.to, limits, &message)?;
    keeper.seal()?.wait()?;
    keeper.update_index()?;
    opened.keeper.close()?;
    Ok(Upgrade { index: Some(entry.index), ..plan })
}

fn open_existing(data: &Path, progress: Option<Progress>) -> Result<OpenLedger, NodeError> {
    if !data.join("ledger").is_dir() {
        return Err(NodeError::Genesis(data.to_owned()));
    }
    open(&Config { progress, ..Config::new(data) }, None)?.alone()
}

fn plan(opened: &OpenLedger, limits: Limits) -> Result<Upgrade, NodeError> {
    limits.check()?;
    let contract = opened.keeper.contract();
    let from = contract.version();
    // Tried on a copy: what may be upgraded is the contract's to say.
    contract.clone().upgrade(0, VERSION, limits).map_err(NodeError::NotAnUpgrade)?;
    let unfinished = contract.experiments().filter(|it| !matches!(it.phase(), Phase::Finished(_)));
    let running = unfinished.map(|it| it.name().to_string()).collect();
    Ok(Upgrade { from, to: VERSION, limits, running, index: None })
}
