//! Opening a node's data folder: key, genesis, ledger, contract.

use std::path::Path;

use bytes::Bytes;
use colearn_contracts::Contract;
use colearn_ledger::note::KeyKind;
use colearn_ledger::{JournalReader, Ledger, Opened, Options, Signer, Verifier};
use colearn_proto::v1;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Config, NodeError, snapshot};
use crate::keys;
use crate::record::{self, CONTRACT_VERSION, Record};
use crate::replay::Replay;

/// A ledger ready to be written.
pub(super) struct OpenLedger {
    pub(super) ledger: Ledger,
    pub(super) contract: Contract,
    pub(super) genesis: v1::Genesis,
    pub(super) verifier: Verifier,
    pub(super) report: Opened,
    /// The first entry that was replayed; those before came from a snapshot.
    pub(super) replayed_from: u64,
}

/// Opens the data folder, or makes a new ledger in it.
pub(super) fn open(config: &Config) -> Result<OpenLedger, NodeError> {
    let io = |doing: String| move |source| NodeError::Io { doing, source };
    std::fs::create_dir_all(&config.data)
        .map_err(io(format!("create {}", config.data.display())))?;
    let dir = config.data.join("ledger");
    let key = keys::load_or_create(&config.data.join("node.pem"))?;
    let recorded = read_genesis(&dir)?;
    let genesis = match recorded.clone() {
        Some(genesis) => genesis,
        None => {
            let mut nonce = [0; 32];
            getrandom::fill(&mut nonce).map_err(keys::KeyError::Random)?;
            let public = key.verifying_key().to_bytes();
            let made = || format!("colearn/{}", hex::encode(&public[..8]));
            v1::Genesis {
                origin: config.origin.clone().unwrap_or_else(made),
                log_public_key: Bytes::copy_from_slice(&public),
                nonce: Bytes::copy_from_slice(&nonce),
                contract_version: CONTRACT_VERSION,
            }
        }
    };
    let signer = Signer::new(&genesis.origin, KeyKind::Log, key)
        .map_err(|error| NodeError::Origin(genesis.origin.clone(), error))?;
    let verifier = signer.verifier().clone();
    let options = Options {
        keys_of: record::keys_of,
        progress: Some(rebuild_progress()),
        ..Options::new(signer)
    };
    let (mut ledger, mut report) = Ledger::open(&dir, options)?;
    if ledger.head().size == 0 {
        let payload = record::genesis_payload(genesis.clone());
        ledger.append(crate::clock::now_ms(), payload, Vec::new())?;
        ledger.commit()?;
        report.size = 1;
    } else if recorded.is_none() {
        return Err(NodeError::Genesis(dir));
    }
    let (contract, replayed_from) = replay(&mut ledger)?;
    Ok(OpenLedger { ledger, contract, genesis, verifier, report, replayed_from })
}

/// The genesis of the ledger in a folder; `None` if there is no whole entry yet.
fn read_genesis(dir: &Path) -> Result<Option<v1::Genesis>, NodeError> {
    if !dir.join("journal/00000000.journal").exists() {
        return Ok(None);
    }
    let mut journal = JournalReader::open(dir)?;
    let first = match journal.next_entry() {
        Ok(Some(entry)) => entry,
        // Opening the ledger decides whether this is a torn first write or damage.
        Ok(None) | Err(colearn_ledger::Error::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match Record::decode(&first.bytes) {
        Ok(placed) => match placed.record {
            Record::Genesis(genesis) if genesis.contract_version == CONTRACT_VERSION => {
                Ok(Some(genesis))
            }
            Record::Genesis(_) | Record::Transaction(_) | Record::Outcome(_) => {
                Err(NodeError::Genesis(dir.to_owned()))
            }
        },
        Err(source) => Err(NodeError::Record { index: 0, source }),
    }
}

/// Replays the ledger from the last snapshot on, and records what an interrupted write has left
/// undone. Gives the contract and the first entry that was replayed.
fn replay(ledger: &mut Ledger) -> Result<(Contract, u64), NodeError> {
    /// How many entries are read at once.
    const CHUNK: u64 = 4096;
    let reader = ledger.reader();
    let size = reader.size();
    let kept = ledger.snapshot()?;
    let kept = kept.and_then(|(size, bytes)| Some((size, snapshot::decode(&bytes)?)));
    let (first, contract) = kept.unwrap_or((1, Contract::new()));
    let mut replay = Replay::resume(contract);
    let mut next = first;
    while next < size {
        for bytes in reader.entries(next, next + CHUNK, 8 << 20)? {
            let placed = Record::decode(&bytes)
                .map_err(|source| NodeError::Record { index: next, source })?;
            let step = match &placed.record {
                Record::Transaction(transaction) => {
                    replay.transaction(placed.time_ms, transaction.sender, &transaction.action)
                }
                Record::Outcome(outcome) => replay.outcome(placed.time_ms, outcome),
                Record::Genesis(_) => {
                    let source = record::NotARecord::Malformed;
                    return Err(NodeError::Record { index: next, source });
                }
            };
            step.map_err(|source| NodeError::Departure { index: next, source })?;
            next += 1;
        }
    }
    let (contract, time_ms, due) = replay.finish();
    if !due.is_empty() {
        for outcome in &due {
            let keys = record::keys_of_outcome(outcome);
            ledger.append(time_ms, record::outcome_payload(outcome), keys)?;
        }
        ledger.commit()?;
        ledger.update_index()?;
    }
    Ok((contract, first))
}

/// A progress bar that appears only when an index is rebuilt.
fn rebuild_progress() -> Box<dyn Fn(u64, u64)> {
    let bar = ProgressBar::hidden();
    if let Ok(style) = ProgressStyle::with_template(
        "rebuilding the index {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    ) {
        bar.set_style(style);
    }
    Box::new(move |done, total| {
        if bar.is_hidden() && bar.position() == 0 {
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
        bar.set_length(total);
        bar.set_position(done);
    })
}
