//! `colearn audit`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use colearn::place::Place;
use colearn::proving::Proving;
use colearn_audit::reached::{Reached, reached};
use colearn_audit::{self as audit, AuditOptions, AuditReport, Level, Promise};
use colearn_contracts::ExperimentName;
use colearn_ledger::{Verifier, Verifiers};
use colearn_records::pins::Pins;
use colearn_records::plan::Plan;
use colearn_relay::Settings;
use indicatif::ProgressBar;

use super::args::{NODE, PinArgs, WeightsArgs};
use super::progress;
use super::tell::merges::merges;
use super::tell::text::kept_on_chain;
use crate::report::{Audited, document, page};
use crate::ui::now_ms;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn audit colearn-data
  colearn audit http://127.0.0.1:7400
  colearn audit http://127.0.0.1:7400 --receipts a.pem.data/receipts --since last-week.checkpoint
  colearn audit colearn-data --merges colearn-data
  colearn audit http://127.0.0.1:7400 --ledger cdf1c20e... --verifier-key 'colearn/0011223344556677+...'
  colearn audit http://127.0.0.1:7400 --witness 'w1+...' --witness 'w2+...' --witness 'w3+...' --json
  colearn audit colearn-data --chain chain.toml
  colearn audit http://127.0.0.1:7400 --trust fetchhub-4/19000000/5e1f.../1209600s/9ab3.../fetch1...
  colearn audit colearn-data --report audit.html --report audit.json

A report is written whatever the audit finds, and says that first. It holds names, keys, votes and scores as the
ledger does, and no weights.

Where a contract on a public chain keeps the ledger, nobody signs for it: entries and root are held against
each other, and with --trust the node is asked for what the chain proves of that root. A folder has no such
proof; with --chain the chain's own servers are asked for it, whatever the place.

Cosignatures are beside the checkpoint that a node serves or that was exported from it, not in its folder.

Exit codes: 0 all is well; 1 cannot be read; 10 genesis, or another
ledger or key; 11 checkpoint, or too few cosignatures; 12 entries missing;
13 damaged bytes; 14 chain broken; 15 root differs; 16 encoding; 17 signature; 18 a signer saw another
history; 19 departs from the contract; 20 broken promise; 21 a receipt or older checkpoint that cannot be
read or is another ledger's, or no receipt at all; 22 the index or a hash tile differs from the entries;
23 several nodes keep the ledger, and their blocks or who they are break the rules; 24 less privacy stated
as spent than was; 25 merges were agreed on that do not follow from the updates, or --merges has the
weights of none; 26 a contract on a public chain keeps the ledger, and never writes this; 27 a transaction
was signed too long before it was recorded.")]
pub(crate) struct Audit {
    /// A node's URL, a node's data folder (it may be running), or an exported folder
    #[arg(env = NODE)]
    place: Place,
    #[command(flatten)]
    pins: PinArgs,
    /// Where a contract on a public chain keeps the ledger: have the chain itself prove the root, by the servers and the
    /// `trust` of this file (relay/README.md)
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
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
    /// Write a report to hand in: a page (FILE.html), or the document that it is made from (FILE.json); may be
    /// repeated
    #[arg(long, value_name = "FILE")]
    report: Vec<ReportFile>,
    /// Tell of this experiment only in the report; may be repeated [default: all]
    #[arg(long, value_name = "NAME", requires = "report")]
    experiment: Vec<ExperimentName>,
    /// A plan file, to show in the report which agreements the experiment that was created from it stands on; may be
    /// repeated
    #[arg(long, value_name = "FILE", requires = "report")]
    plan: Vec<PathBuf>,
    /// Replace reports that are there
    #[arg(long, requires = "report")]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where a report is written, and as what.
#[derive(Clone)]
struct ReportFile {
    path: PathBuf,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Document,
}

impl FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        let form = match path.extension().and_then(|ending| ending.to_str()) {
            Some("html") => Form::Page,
            Some("json") => Form::Document,
            Some(_) | None => return Err("a report ends in .html or .json".to_owned()),
        };
        Ok(Self { path, form })
    }
}

impl ReportFile {
    /// Nobody is to wait for an audit whose report cannot be written.
    fn check(&self, force: bool) -> anyhow::Result<()> {
        let path = self.path.display();
        let folder = colearn_files::folder_of(&self.path);
        anyhow::ensure!(
            folder.is_dir(),
            "{path} cannot be written: {} is no folder",
            folder.display()
        );
        match self.path.symlink_metadata() {
            Ok(found) if !found.is_file() => {
                bail!("{path} cannot be written: it is no regular file")
            }
            Ok(_) if !force => bail!("{path} is there already; to replace it: --force"),
            Ok(_) | Err(_) => Ok(()),
        }
    }
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
        let planned = Pins::new(None, self.key.clone(), Vec::new(), None)?;
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
        if !self.report.is_empty() && level != Level::Contract {
            bail!(
                "what became of rounds follows from the contract: --report needs --level contract"
            );
        }
        for file in &self.report {
            file.check(self.force)?;
        }
        let plans = self.plan.iter().map(|path| Plan::read(path));
        let plans: Vec<Plan> = plans.collect::<Result<_, _>>()?;
        let (place, at_ms, promised) = (self.place.one()?, now_ms(), promises.len());
        let weights = weights.as_deref();
        let proving = match &self.chain {
            Some(file) => Some(Proving::by_chain(&Settings::read(file)?, &pins)?),
            None => Proving::of(&self.place, &pins)?,
        };
        let options = AuditOptions {
            pins: pins.clone(),
            prover: proving.as_ref().map(Proving::prover),
            level,
            promises,
            weights,
            ..AuditOptions::default()
        };
        let bar = progress::entries("auditing");
        let (report, written) = if self.report.is_empty() {
            (audit_place(place, options, &bar)?, Ok(()))
        } else {
            let (report, reached) = reached_at(place, options, &bar)?;
            let audited = Audited {
                place,
                at_ms,
                pins: &pins,
                promises: promised,
                merges: weights.is_some(),
                report: &report,
                reached: &reached,
                asked: &self.experiment,
                plans: &plans,
            };
            let written = self.write(&audited);
            (report, written)
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{}", merges(&report.merges));
            for finding in &report.findings {
                println!("{finding}");
            }
            if let Some(chain) = report.chain.as_ref().filter(|_| report.ok) {
                let (keeper, proof) = kept_on_chain(chain);
                println!("{keeper}\n{proof}");
            }
            // Of a chain's ledger there is no key to insist on.
            if !pinned && report.ok && report.chain.is_none() {
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
        match written {
            // What the audit has found is worse.
            Err(error) if !report.ok => eprintln!("error: {error:#}"),
            written => written?,
        }
        Ok(ExitCode::from(report.exit_code()))
    }

    /// Writes each report, all of it or none of it.
    fn write(&self, audited: &Audited<'_>) -> anyhow::Result<()> {
        let unknown = |name: &&ExperimentName| !audited.reached.experiments.contains_key(*name);
        if let Some(name) = self.experiment.iter().find(unknown)
            && audited.report.is_sound()
        {
            bail!("no report was written: the ledger has no experiment {name}");
        }
        let document = document(audited);
        for ReportFile { path, form } in &self.report {
            let text = match form {
                Form::Page => page(&document).context("the page cannot be made")?,
                Form::Document => format!("{document}\n"),
            };
            // It may be there since.
            match self.force {
                true => colearn_files::replace(path, text.as_bytes())?,
                false => colearn_files::create(path, text.as_bytes())?,
            }
            eprintln!("report written to {}, {} bytes", path.display(), text.len());
        }
        Ok(())
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

/// The same, with what the ledger has come to.
fn reached_at(
    place: &str,
    options: AuditOptions<'_>,
    bar: &ProgressBar,
) -> anyhow::Result<(AuditReport, Reached)> {
    let progress = progress::on(bar);
    let options = AuditOptions { progress: Some(&progress), ..options };
    let reached = reached(&mut *audit::open(place)?, options)?;
    bar.finish_and_clear();
    Ok(reached)
}
