//! `colearn learner`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use colearn_contracts::{ExperimentName, MemberName};
use colearn_learning::model::ModelSpec;
use colearn_learning::private::Noise;
use colearn_learning::{BuiltinLearner, Training, learner_seed};
use colearn_records::keys::learner_id;
use colearn_records::plan::Plan;
use colearn_sdk::client::{self, ClientError, Event, Options, Prepared};
use colearn_sdk::learner::{Learner as _, SAFETENSORS, Weights};

use super::args::{
    Data, ExecArgs, ModelKeysArg, NodeAddress, PolicyArg, Signer, SplitArgs, TrainingArgs, share,
    word,
};
use super::signals::Signals;
use super::tell::{alone, json, text};
use crate::alone::{BesideAlone, Effort, Setup as Beside};
use crate::exec::{self, ExecLearner, Setup};

#[derive(Args)]
#[command(after_help = "Examples:
  colearn learner --experiment digits --key a.pem --share 1/5
  colearn learner --experiment credit --key bank.pem --data my-customers.csv
  colearn learner --experiment xray --key a.pem --data mine.npz --noise 1.1 --batch 256 --hide-scores
  colearn learner --exec 'python3 ~/train.py' --exec-start first.safetensors
  colearn learner --experiment x --key a.pem --exec 'sbatch --wait ~/train.sh' --exec-dir /shared/colearn
  colearn learner --experiment xray --key a.pem --data mine.npz --noise 1.1 --policy site.toml
  colearn learner --experiment credit --key bank.pem --data my-customers.csv --alone each
  colearn learner --experiment xray --key a.pem --data mine.npz --model-keys xray.keys

The experiment's model says what it is and what the data's columns mean. Runs until the experiment finishes. Ctrl-C stops it; started again with the same key it goes on where
the ledger stands.")]
pub(crate) struct LearnerArgs {
    #[command(flatten)]
    node: NodeAddress,
    /// The experiment to take part in
    #[arg(long, value_name = "NAME", required_unless_present = "exec_start")]
    experiment: Option<ExperimentName>,
    #[command(flatten)]
    signer: Option<Signer>,
    #[command(flatten)]
    source: Data,
    /// Which part of the data is this learner's, such as 2/5: the second of five even parts
    #[arg(long, default_value = "1/1", value_parser = share, value_name = "I/N")]
    share: (usize, usize),
    #[command(flatten)]
    split: SplitArgs,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    exec: ExecArgs,
    /// Decides the split and the order of training; the same for all learners of one split
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How the two merges of a merged round are judged: "bearing", by how the models so far have swung; "own", by
    /// whether the learner approves of them; or "cautious", as "bearing", but preferring the guarded merge unless
    /// the open one is clearly better: see docs/attacks.md
    #[arg(
        long,
        default_value = "bearing",
        value_parser = ["bearing", "own", "cautious"],
        value_name = "HOW"
    )]
    judge: String,
    /// What this organisation is called, where its invitation does not say; for people
    #[arg(long, value_name = "NAME")]
    name: Option<MemberName>,
    /// Give up when the node cannot be reached for this long, such as 5m [default: never]
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    patience: Option<Duration>,
    /// Take part only if the experiment follows this plan (TOML)
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArg,
    #[command(flatten)]
    model_keys: ModelKeysArg,
    /// Train a model of one's own as well, on one's own rows alone, and compare both on the same test rows after each
    /// round that changes the shared one; see docs/how-to/alone.md
    #[arg(long, value_parser = word::<Effort>(), value_name = "EFFORT", conflicts_with = "exec")]
    alone: Option<Effort>,
    /// Write the final model here (safetensors)
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Print one JSON object an event
    #[arg(long)]
    json: bool,
}

impl LearnerArgs {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        // From the first moment on: as the first process of a container it would not end otherwise.
        let mut signals = Signals::catch()?;
        tokio::select! {
            ended = self.take_part() => ended,
            asked = signals.asked() => Ok(asked.exit_code()),
        }
    }

    async fn take_part(self) -> anyhow::Result<ExitCode> {
        if let (Some(command), Some(path)) = (&self.exec.exec, &self.exec.exec_start) {
            let mut dir = path.clone().into_os_string();
            dir.push(".exec");
            // Of its own, also where two are made in one --exec-dir.
            let name = format!("start-{}", path.file_name().unwrap_or_default().display());
            let setup = self.exec.setup(command, dir.into(), &name, &self.training)?;
            let to = path.clone();
            let made = tokio::task::spawn_blocking(move || exec::start(setup, &to)).await??;
            println!("{}  {}", made.digest(), path.display());
            return Ok(ExitCode::SUCCESS);
        }
        let (Some(experiment), Some(signer)) = (&self.experiment, &self.signer) else {
            bail!("give --experiment and --key, or --exec and --exec-start");
        };
        let policy = self.policy.read()?;
        let model_keys = self.model_keys.read()?;
        let (key, memory) = signer.load()?;
        let me = learner_id(&key);
        let plan = self.plan.as_deref().map(Plan::read).transpose()?;
        let round = Arc::new(AtomicU64::new(0));
        let options = Options {
            data: Some(memory.clone()),
            own_judge: self.judge == "own",
            name: self.name.clone(),
            trust: signer.trust(plan.as_ref())?,
            plan,
            policy,
            model_keys,
            patience: self.patience,
            watch: with_rounds(print_events(self.json), round.clone()),
            ..Options::new(self.node.node.clone(), experiment.clone(), key)
        };
        // What is wrong with these is told before anything is asked.
        let setup = self.exec.exec.as_ref().map(|command| {
            ensure!(self.judge != "cautious", "--judge cautious is for built-in models");
            let usual = memory.join("experiments").join(experiment.as_str()).join("exec");
            self.exec.setup(command, usual, &format!("{experiment}-{me}"), &self.training)
        });
        let setup = setup.transpose()?;
        let prepared = match client::prepare(options).await {
            Err(ClientError::OtherPlan(difference)) => {
                for line in difference {
                    println!("{line}");
                }
                let plan = self.plan.unwrap_or_default();
                bail!("{experiment} does not follow {}; nothing was joined", plan.display());
            }
            prepared => prepared?,
        };
        let model = prepared.described()?.experiment.model;
        if model.media_type != SAFETENSORS {
            bail!(
                "the weights of {experiment} are {}, {}'s {SAFETENSORS}; learners of the original package take part \
                 through: colearn bridge",
                model.media_type,
                if setup.is_some() { "a command" } else { "the built-in learner" },
            );
        }
        let initial = prepared.weights().context("the experiment's model is not there")?.clone();
        if let Some(setup) = setup {
            let experiment = Some(experiment.to_string());
            let setup = Setup { experiment, learner: Some(me.to_string()), ..setup };
            let learner =
                ExecLearner::new(setup, initial).map_err(|error| anyhow::anyhow!("{error}"))?;
            let (learner, summary) = prepared.run(learner).await?;
            if let Some(path) = self.save.as_ref().filter(|_| summary.reason.is_some()) {
                write(path, &learner.current())?;
            }
            if !self.json && summary.reason.is_some() {
                let (digest, rounds) = (summary.model.digest, summary.rounds);
                println!("final model {digest} after {rounds} rounds");
            }
            return Ok(ExitCode::SUCCESS);
        }
        let folder = memory.join("experiments").join(experiment.as_str());
        self.learn(prepared, initial, folder, round).await
    }

    /// Takes part with a built-in model. What it is worth alone is kept in the folder.
    async fn learn(
        self,
        prepared: Prepared,
        initial: Weights,
        folder: PathBuf,
        round: Arc<AtomicU64>,
    ) -> anyhow::Result<ExitCode> {
        let spec = ModelSpec::of(&initial)?;
        let data = self.source.load(Some(&spec.schema))?;
        let (number, learners) = self.share;
        let mut shares = data.split(self.split.split, learners, self.seed)?;
        if self.split.show_split && !self.json {
            print!("{}", text::split_table(&shares));
        }
        let cautious = self.judge == "cautious";
        let training = Training { cautious, ..self.training.training(Noise::Secret)? };
        let seed = learner_seed(self.seed, number);
        let share = shares.swap_remove(number - 1);
        let learner = BuiltinLearner::new(share.clone(), training, initial, seed)?;
        tell_abstaining(&learner, self.json);
        let metric = learner.test_metric().name();
        let (learner, summary) = match self.alone {
            None => prepared.run(learner).await?,
            Some(effort) => {
                let tell = alone::print_lines(self.json);
                let beside = Beside { folder, effort, share, training, seed, round, tell };
                let (beside, summary) = prepared.run(BesideAlone::new(learner, beside)?).await?;
                if !self.json
                    && let Some(last) = beside.last()
                {
                    println!(
                        "{}; all of it: colearn model compare {}",
                        last.text(),
                        beside.path().display()
                    );
                }
                (beside.into_inner(), summary)
            }
        };
        if let Some(path) = self.save.filter(|_| summary.reason.is_some()) {
            learner
                .save(&path)
                .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
        }
        if !self.json && summary.reason.is_some() {
            println!(
                "final model {} after {} rounds, {metric} {:.3} on this learner's test rows",
                summary.model.digest,
                summary.rounds,
                learner.test_score().map_err(|error| anyhow::anyhow!("{error}"))?
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, weights: &Weights) -> anyhow::Result<()> {
    std::fs::write(path, weights.bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Says before it joins that a learner can only abstain, if its voting rows tell it nothing.
fn tell_abstaining(learner: &BuiltinLearner, as_json: bool) {
    let Some(why) = learner.cannot_judge() else { return };
    if as_json {
        println!("{}", serde_json::json!({ "event": "abstaining", "reason": why }));
        return;
    }
    let (metric, rows) = (learner.metric().name(), learner.share().vote.len());
    println!(
        "the {rows} voting rows cannot tell good weights from bad ones by {metric}: {why}; this learner will abstain"
    );
}

/// Has the round that is spoken of known to others.
fn with_rounds(
    mut print: Box<dyn FnMut(&Event) + Send>,
    round: Arc<AtomicU64>,
) -> Box<dyn FnMut(&Event) + Send> {
    Box::new(move |event| {
        if let Some(told) = event.round() {
            round.store(told, Ordering::Relaxed);
        }
        print(event);
    })
}

/// Prints what happens to a learner, for people or as one JSON object an event.
pub(crate) fn print_events(as_json: bool) -> Box<dyn FnMut(&Event) + Send> {
    Box::new(move |event| {
        println!("{}", if as_json { json::event(event).to_string() } else { text::event(event) });
    })
}
