//! `colearn model`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use colearn::model::{self, Progress};
use colearn::place::Place;
use colearn::proving::Proving;
use colearn_audit::models::Which;
use colearn_audit::{AuditOptions, AuditReport, Promise};
use colearn_contracts::ExperimentName;
use colearn_records::pins::Pins;

use super::args::{NODE, PinArgs, PlaceArgs};
use super::progress;
use super::tell::{alone, models};
use super::{model_files, model_keys};
use crate::alone::Record;

#[derive(Subcommand)]
pub(crate) enum Model {
    /// Get an experiment's model, once the ledger that it is in has been audited.
    #[command(after_help = "Examples:
  colearn model get digits --out digits.safetensors
  colearn model get digits --best --from https://ledger.example.org --out digits.safetensors
  colearn model get digits --round 7 --from colearn-data --out seven.safetensors
  colearn model get digits --from public --out digits.safetensors

Nothing that the place says is believed: every entry is verified up to the signed checkpoint, and what
is written has the digest that an accepted round gives it. What was cut short is gone on from when the
same is asked for again. A folder like public is made by: colearn ledger export --artifacts. Exit codes:
0; 1 where there is no such model, nobody has its weights, or the ledger is not as it should be.")]
    Get(GetArgs),
    /// Show what is in a model's file: which model it is, its tensors, its digest. Nothing in it is executed.
    #[command(after_help = "Examples:
  colearn model show digits.safetensors
  colearn model show digits.safetensors --json | jq .model.schema")]
    Show {
        /// The file
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say of which round a model's file is, who proposed it and how it was voted on.
    #[command(after_help = "Examples:
  colearn model verify deployed.safetensors http://127.0.0.1:7400
  colearn model verify deployed.safetensors colearn-data digits --ledger cdf1c20e... --json
  colearn model verify deployed.safetensors public --receipts a.pem.data/receipts

The ledger is audited first. Exit codes: 0 an experiment has or had this model; 1 cannot be read; 3 none
has: it is unknown to the ledger, or was not accepted; 10 to 27 the ledger is not as it should be, as
colearn audit says it. A member's false statement of privacy is a warning only.")]
    Verify(VerifyArgs),
    /// Make and look at the keys of encrypted models, which the members of an experiment share.
    #[command(subcommand)]
    Keys(model_keys::Keys),
    /// Decrypt an encrypted model's file.
    #[command(after_help = "Examples:
  colearn model decrypt xray.encrypted --model-keys xray.keys --out xray.safetensors

What is written is what a member has encrypted, all of it, or nothing is. To have the encrypted file, and know of which
round it is: colearn model get. Exit codes: 0; 1 where the keys are not there, or it is not encrypted under them.")]
    Decrypt(model_keys::Decrypt),
    /// Join a model that lies in several files, as Hugging Face's libraries write large ones, into one.
    #[command(after_help = "Examples:
  colearn model join llama/model.safetensors.index.json --out llama.safetensors
  colearn experiment create llama --key a.pem --weights llama.safetensors --open

A ledger knows a model by one digest. The same tensors give the same file, in however many files they lay and whoever
wrote these: they are put into the order of the format's own library. A part of a file at a time is in memory.")]
    Join(model_files::Join),
    /// Split a model's file into several with an index, as Hugging Face's libraries read them.
    #[command(after_help = "Examples:
  colearn model split llama.safetensors --out llama --file-bytes 2000000000

The index is written last: a folder without one was interrupted.")]
    Split(model_files::Split),
    /// Tell what a learner's model alone was worth beside the shared one, on the same test rows.
    #[command(after_help = "Examples:
  colearn model compare a.pem.data/experiments/credit/alone.jsonl
  colearn model compare a.pem.data/experiments/credit/alone.jsonl --json | jq .rounds[-1]

The file is written by: colearn learner --alone. Intervals are of the difference, row by row: of accuracies
Bonett and Price's (2012), of other scores by a paired bootstrap with a fixed seed. p is McNemar's exact test
of the rows that only one of the two models gets right.")]
    Compare {
        /// The learner's file
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub(crate) struct GetArgs {
    /// The experiment
    name: ExperimentName,
    #[command(flatten)]
    place: PlaceArgs,
    /// The model's file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    pins: PinArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[group(multiple = false)]
struct WhichArgs {
    /// The model that the experiment has now, which is the default
    #[arg(long)]
    current: bool,
    /// The model that this round came to; 0 is what the experiment began with
    #[arg(long, value_name = "N")]
    round: Option<u64>,
    /// Of all that were accepted the one with the highest median vote score, the proposer's own left out; the
    /// last of several
    #[arg(long)]
    best: bool,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The model's file
    file: PathBuf,
    /// A node's URL, a node's data folder (it may be running), or an exported folder
    #[arg(env = NODE)]
    place: Place,
    /// The experiment [default: any]
    name: Option<ExperimentName>,
    #[command(flatten)]
    pins: PinArgs,
    /// Insist that the ledger still holds what the receipts in this folder promise
    #[arg(long, value_name = "DIR")]
    receipts: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Model {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Get(args) => args.run(),
            Self::Compare { file, json } => {
                let record = Record::read(&file)?;
                match json {
                    true => println!(
                        "{}",
                        serde_json::to_string_pretty(
                            &serde_json::json!({ "rounds": record.lines() })
                        )?
                    ),
                    false => print!("{}", alone::table(record.lines())),
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Show { file, json } => {
                let shown = model::show(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                match json {
                    true => println!("{}", serde_json::to_string_pretty(&shown.to_json())?),
                    false => print!("{}", models::shown(&shown)),
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Verify(args) => args.run(),
            Self::Keys(keys) => keys.run(),
            Self::Decrypt(args) => args.run(),
            Self::Join(args) => args.run(),
            Self::Split(args) => args.run(),
        }
    }
}

impl WhichArgs {
    fn which(&self) -> Which {
        match (self.round, self.best) {
            (Some(round), _) => Which::After(round),
            (None, true) => Which::Best,
            (None, false) => Which::Current,
        }
    }
}

impl GetArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        let pins = self.pins.pins(&Pins::default())?;
        let proving = Proving::of(&self.place.from, &pins)?;
        let is_pinned = pins.ledger().is_some() || pins.verifier_key().is_some();
        let which = self.which.which();
        let got = with_progress(|progress| {
            let known = (pins, proving.as_ref().map(Proving::prover));
            model::get(&self.place.from, Some(&self.name), which, &self.out, known, progress)
        })?;
        warn_of(&got.report);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&got.to_json()?)?);
        } else {
            print!("{}", models::got(&got, &got.held()?, is_pinned));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl VerifyArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        let pins = self.pins.pins(&Pins::default())?;
        let proving = Proving::of(&self.place, &pins)?;
        let is_pinned = pins.ledger().is_some() || pins.verifier_key().is_some();
        let promises = match &self.receipts {
            Some(dir) => Promise::receipts(dir)?,
            None => Vec::new(),
        };
        let bar = progress::entries("auditing");
        let entries = progress::on(&bar);
        let options = AuditOptions {
            pins,
            prover: proving.as_ref().map(Proving::prover),
            promises,
            progress: Some(&entries),
            ..AuditOptions::default()
        };
        let verified = model::verify(&self.file, &self.place, self.name.as_ref(), options);
        bar.finish_and_clear();
        let verified = verified?;
        if verified.report.is_sound() {
            warn_of(&verified.report);
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&verified.to_json())?);
        } else {
            print!("{}", models::verified(&verified, &self.place.to_string(), is_pinned));
        }
        Ok(ExitCode::from(verified.exit_code()))
    }
}

/// Tells what is wrong with a ledger that can be gone by all the same.
pub(crate) fn warn_of(report: &AuditReport) {
    for finding in &report.findings {
        eprintln!("warning: {finding}");
    }
}

/// Shows how far an audit is and what is got after it.
pub(crate) fn with_progress<T>(work: impl FnOnce(Progress<'_>) -> T) -> T {
    let (auditing, getting) = (progress::entries("auditing"), progress::bytes("getting"));
    let audited = progress::on(&auditing);
    let entries = |done, all| {
        audited(done, all);
        if done == all {
            auditing.finish_and_clear();
        }
    };
    let bytes = progress::on(&getting);
    let done = work(Progress { entries: &entries, bytes: &bytes });
    auditing.finish_and_clear();
    getting.finish_and_clear();
    done
}
