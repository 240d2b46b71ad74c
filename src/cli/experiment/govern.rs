//! What members decide, and other single words to the ledger: `move`, `ballot`, `leave`, `resume`,
//! `stop`, `evaluate`.

use std::process::ExitCode;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueHint};
use colearn_contracts::{
    Act, Action, Digest, Evaluation, ExperimentName, Invitation, LearnerId, Measure, Motion,
    VERSION, Version,
};
use colearn_records::{keys, record};
use colearn_sdk::client::Described;
use colearn_sdk::learner::Weights;

use super::rules::{Rules, parse_share};
use crate::cli::args::{NodeAddress, Signer};
use crate::cli::tell::json;

/// Who signs an action, and of which experiment.
#[derive(Args)]
pub(crate) struct ActionArgs {
    /// The experiment
    name: String,
    #[command(flatten)]
    node: NodeAddress,
    #[command(flatten)]
    signer: Signer,
    /// Submit nothing: write what is signed to this file, for somebody to hand to a public chain (colearn chain submit)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ActionArgs {
    /// Signs and submits what the experiment's state asks for, and says it in a line.
    pub(crate) async fn act(
        &self,
        done: &str,
        act: impl FnOnce(&Described) -> anyhow::Result<Act>,
    ) -> anyhow::Result<ExitCode> {
        let name: ExperimentName = self.name.parse()?;
        let (key, mut followed) = self.signer.follow(&self.node.node, None).await?;
        let known = followed.described(&name, keys::learner_id(&key), 0)?;
        let action = Action::new(name, act(&known)?);
        if let Some(out) = &self.out {
            if !followed.keys().is_on_chain() {
                bail!(
                    "no contract on a public chain keeps this ledger: only its nodes take what is signed, without --out"
                );
            }
            let signed = followed.sign(&key, action)?;
            followed.keep()?;
            let written = colearn_files::replace(out, &record::transaction_payload(&signed));
            written.with_context(|| format!("cannot write {}", out.display()))?;
            match self.json {
                true => println!("{}", serde_json::json!({ "written": out })),
                false => println!("written to {}: nothing is submitted yet", out.display()),
            }
            return Ok(ExitCode::SUCCESS);
        }
        let submitted = followed.act(&key, action.clone()).await?;
        followed.keep()?;
        let index = submitted.receipt.index;
        if self.json {
            println!("{}", json::acted(&action, index));
            return Ok(ExitCode::SUCCESS);
        }
        // Said once it is recorded: what is refused has no number.
        match &action.what {
            Act::Move { number, .. } => println!("motion {number}"),
            Act::Evaluate(evaluation) => println!("model {}", evaluation.model),
            _ => {}
        }
        println!("{done} {}, entry {index}", self.name);
        Ok(ExitCode::SUCCESS)
    }

    pub(crate) async fn stop(self) -> anyhow::Result<ExitCode> {
        self.act("stopped", |_| Ok(Act::Stop)).await
    }

    pub(crate) async fn leave(self, renounce: bool) -> anyhow::Result<ExitCode> {
        self.act("left", |known| {
            // Who is no member names the term that it would join for (R7).
            let term = match &known.member {
                None => 0,
                Some(member) if member.seat.is_member() => member.term,
                Some(member) => member.term.saturating_add(1),
            };
            Ok(Act::Leave { term, renounce })
        })
        .await
    }

    pub(crate) async fn resume(self) -> anyhow::Result<ExitCode> {
        self.act("resumed", |known| Ok(Act::Resume { round: known.experiment.round })).await
    }

    pub(crate) async fn ballot(self, number: u64, approve: bool) -> anyhow::Result<ExitCode> {
        let done = if approve { "approved a motion in" } else { "rejected a motion in" };
        self.act(done, |_| Ok(Act::MotionVote { number, approve })).await
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  colearn experiment move xray --key a.pem set --threshold 2/3 --missed-turns 5
  colearn experiment move xray --key a.pem set --merging
  colearn experiment move xray --key a.pem admit 3b6a27bc...=2
  colearn experiment move xray --key a.pem expel d75a9801...
  colearn experiment move xray --key a.pem stop
  colearn experiment move xray --key a.pem adopt 2

Moving approves. The others vote with: colearn experiment ballot NAME NUMBER approve --key FILE")]
pub(crate) struct MoveArgs {
    #[command(flatten)]
    action: ActionArgs,
    #[command(subcommand)]
    motion: MotionArg,
}

#[derive(Subcommand)]
enum MotionArg {
    /// Go on under changed rules; what is not given stays
    Set(Box<Rules>),
    /// Let a learner join, also one that was expelled
    Admit {
        /// Its public key, what its vote weighs if not 1, whether it only judges, and what it is called
        #[arg(value_name = "PUBLIC_KEY[=WEIGHT][:judge][:NAME]", value_parser = parse_share)]
        learner: Invitation,
    },
    /// Suspend a member; it may rejoin
    Suspend {
        /// Its public key
        #[arg(value_name = "PUBLIC_KEY", value_parser = keys::parse_learner_id)]
        learner: LearnerId,
    },
    /// Expel a member
    Expel {
        /// Its public key
        #[arg(value_name = "PUBLIC_KEY", value_parser = keys::parse_learner_id)]
        learner: LearnerId,
    },
    /// End the experiment
    Stop,
    /// Follow a later version of the rules, up to the one that the ledger follows
    Adopt {
        /// The version
        #[arg(value_name = "N", value_parser = parse_version)]
        version: Version,
    },
}

fn parse_version(text: &str) -> Result<Version, String> {
    let number: u32 =
        text.parse().map_err(|_| format!("{text} is not a version such as {VERSION}"))?;
    Version::try_from(number).map_err(|unknown| unknown.to_string())
}

impl MoveArgs {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { action, motion } = self;
        action
            .act("moved a motion in", |known| {
                let state = &known.experiment;
                let motion = match motion {
                    MotionArg::Set(rules) => {
                        let mut parameters = state.parameters.clone();
                        rules.apply(&mut parameters)?;
                        Motion::SetParameters(Box::new(parameters))
                    }
                    MotionArg::Admit { learner } => Motion::Admit(learner),
                    MotionArg::Suspend { learner } => Motion::Suspend(learner),
                    MotionArg::Expel { learner } => Motion::Expel(learner),
                    MotionArg::Stop => Motion::Stop,
                    MotionArg::Adopt { version } => Motion::Adopt(version),
                };
                let number = state.last_motion + 1;
                Ok(Act::Move { number, motion })
            })
            .await
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  colearn experiment evaluate xray --key a.pem accuracy=0.913 auc=0.954
  colearn experiment evaluate xray --key a.pem --model final.safetensors accuracy=0.913 accuracy.alone=0.871

Recorded for all to see, with the model's digest, also after the experiment has finished. It decides nothing.")]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    action: ActionArgs,
    /// The model: a file, or the SHA-256 of one in 64 hex digits [default: the experiment's]
    #[arg(long, value_name = "FILE|DIGEST")]
    model: Option<String>,
    /// What was measured on your own data: 1 to 16 names with numbers
    #[arg(required = true, value_name = "NAME=NUMBER", value_parser = parse_measure)]
    measures: Vec<Measure>,
}

fn parse_measure(text: &str) -> Result<Measure, String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=NUMBER: accuracy=0.913")?;
    let name = name.parse().map_err(|error| format!("{name:?}: {error}"))?;
    let number: f64 = value.parse().map_err(|_| format!("{value} is not a number"))?;
    let micros = (number * 1e6).round();
    // Beyond it a float is no exact number of millionths any more.
    if !number.is_finite() || micros.abs() > 2_f64.powi(53) {
        return Err(format!("{value} cannot be kept in millionths"));
    }
    Ok(Measure { name, value_micros: micros as i64 })
}

/// The digest that is written out, or that of a file.
fn model_digest(text: &str) -> anyhow::Result<Digest> {
    if let Ok(bytes) = hex::decode(text)
        && let Ok(digest) = bytes.try_into()
    {
        return Ok(Digest(digest));
    }
    let weights = Weights::open(Path::new(text));
    Ok(weights.with_context(|| format!("cannot read the model {text}"))?.digest())
}

impl EvaluateArgs {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { action, model, mut measures } = self;
        measures.sort_by(|a, b| a.name.cmp(&b.name));
        let model = model.as_deref().map(model_digest).transpose()?;
        action
            .act("evaluated in", |known| {
                let Some(member) = &known.member else {
                    bail!("only members evaluate; this key has never joined");
                };
                let number = member.evaluations + 1;
                let model = model.unwrap_or(known.experiment.model.digest);
                Ok(Act::Evaluate(Evaluation { number, model, measures }))
            })
            .await
    }
}
