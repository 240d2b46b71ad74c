//! `colearn audit`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use colearn::place::Place;
use colearn_audit::{self as audit, AuditOptions, AuditReport, Level, Promise};
use colearn_ledger::{Verifier, Verifiers};
use colearn_records::pins::Pins;
use indicatif::ProgressBar;

use super::args::{NODE, PinArgs, WeightsArgs};
use super::progress;
use super::tell::merges::merges;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn audit colearn-data
  colearn audit http://127.0.0.1:7400
  colearn audit http://127.0.0.1:7400 --receipts a.pem.data/receipts --since last-week.checkpoint
  colearn audit colearn-data --merges colearn-data
  colearn audit http://127.0.0.1:7400 --ledger cdf1c20e... --verifier-key 'colearn/0011223344556677+...'
  colearn audit http://127.0.0.1:7400 --witness 'w1+...' --witness 'w2+...' --witness 'w3+...' --json

Cosignatures are beside the checkpoint that a node serves or that was exported from it, not in its folder.

Exit codes: 0 all is well; 1 cannot be read; 10 genesis, or another
ledger or key; 11 checkpoint, or too few cosignatures; 12 entries missing;
13 damaged bytes; 14 chain broken; 15 root differs; 16 encoding; 17 signature; 18 a signer saw another
history; 19 departs from the contract; 20 broken promise; 21 a receipt or older checkpoint that cannot be
read or is another ledger's, or no receipt at all; 22 the index or a hash tile differs from the entries;
23 several nodes keep the ledger, and their blocks or who they are break the rules; 24 less privacy stated
as spent than was; 25 merges were agreed on that do not follow from the updates, or --merges has the
weights of none; 27 a transaction was signed too long before it was recorded.")]
pub(crate) struct Audit {
    /// A node's URL, a node's data folder (it may be running), or an exported folder
    #[arg(env = NODE)]
    place: Place,
    #[command(flatten)]
    pins: PinArgs,
    /// What `--verifier-key` was called
    #[arg(long, hide = true, value_name = "KEY", conflicts_with = "verifier_key")]
    key: Option<Verifier>,
    /// Insist that the ledger still holds what the receipts in this folder promise
    #[arg(long, value_name = "DIR")]
    receipts: Option<PathBuf>,
    /// Insist that the ledger continues this older checkpoint; may be repeated
    #[arg(long, value_name = "CHECKPOINT")]
    since: Vec<PathBuf>,
    /// How deep to go
    #[arg(long, value_enum, default_value = "contract")]
    level: LevelArg,
    #[command(flatten)]
    weights: WeightsArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LevelArg {
    /// Bytes, chain and tree only.
    Tree,
    /// Every encoding, signature and vouched history too.
    Signatures,
    /// Everything: also the contract, outcome by outcome.
    Contract,
}

impl Audit {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let planned = Pins::new(None, self.key, Vec::new(), None)?;
        let pins = self.pins.pins(&planned)?;
        let pinned = pins.ledger().is_some() || pins.verifier_key().is_some();
        let mut promises = match &self.receipts {
            Some(dir) => Promise::receipts(dir)?,
            None => Vec::new(),
        };
        for path in &self.since {
            promises.push(Promise::checkpoint(path)?);
        }
        let level = match self.level {
            LevelArg::Tree => Level::Tree,
            LevelArg::Signatures => Level::Signatures,
            LevelArg::Contract => Level::Contract,
        };
        let weights = self.weights.weights()?;
        if weights.is_some() && level != Level::Contract {
            bail!("what is merged follows from the contract: --merges needs --level contract");
        }
        let weights = weights.as_deref();
        let options = AuditOptions { pins, level, promises, weights, ..AuditOptions::default() };
        let report = audit_place(self.place.one()?, options, &progress::entries("auditing"))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{}", merges(&report.merges));
            for finding in &report.findings {
                println!("{finding}");
            }
            if !pinned && report.ok {
                // Where several nodes keep it, the ledger's id says with whom it began.
                let keys: Verifiers = report.verifier_key.parse()?;
                let key = keys.one().cloned();
                let found = Pins::new(report.ledger_id.parse().ok(), key, Vec::new(), None)?;
                let keys = if keys.count() == 1 { "key" } else { "keys" };
                println!(
                    "verified with the {keys} in the ledger's first entry; to insist on it: {}",
                    found.flags()
                );
            }
            println!("{}", report.verdict_line());
        }
        Ok(ExitCode::from(report.exit_code()))
    }
}

/// Audits a place, showing progress on the bar.
pub(crate) fn audit_place(
    place: &str,
    options: AuditOptions<'_>,
    bar: &ProgressBar,
) -> anyhow::Result<AuditReport> {
    let mut source = audit::open(place)?;
    let progress = progress::on(bar);
    let options = AuditOptions { progress: Some(&progress), ..options };
    let report = audit::audit(&mut *source, options)?;
    bar.finish_and_clear();
    Ok(report)
}
