//! `colearn learner`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use colearn_contracts::{ExperimentName, MemberName, PrivacySpent};
use colearn_learning::model::ModelSpec;
use colearn_learning::private::Noise;
use colearn_learning::{BuiltinLearner, learner_seed};
use colearn_records::keys;
use colearn_records::plan::Plan;
use colearn_sdk::client::{self, Client, Event, Memory, Options, Patience};
use colearn_sdk::learner::{SAFETENSORS, Weights};
use ed25519_dalek::SigningKey;

use super::args::{Data, NodeAddress, SplitArgs, TrainingArgs};
use super::experiment::load_plan;
use super::following::patiently;
use super::signals::Signals;
use super::tell::{json, text};

#[derive(Args)]
#[command(after_help = "Examples:
  colearn learner --experiment digits --key a.pem --share 1/5
  colearn learner --experiment credit --key bank.pem --data my-customers.csv
  colearn learner --experiment xray --key a.pem --data mine.npz --noise 1.1 --batch 256 --hide-scores

The experiment's model says what it is and what the data's columns mean. Runs until the experiment finishes. Ctrl-C stops it; started again with the same key it goes on where
the ledger stands.")]
pub(crate) struct LearnerArgs {
    #[command(flatten)]
    node: NodeAddress,
    /// The experiment to take part in
    #[arg(long, value_name = "NAME")]
    experiment: String,
    /// The learner's private key (colearn key new FILE)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to remember what must survive a restart [default: the key file's name with .data]
    #[arg(long, value_name = "DIR")]
    memory: Option<PathBuf>,
    #[command(flatten)]
    source: Data,
    /// Which part of the data is this learner's, such as 2/5: the second of five even parts
    #[arg(long, default_value = "1/1", value_parser = share, value_name = "I/N")]
    share: (usize, usize),
    #[command(flatten)]
    split: SplitArgs,
    #[command(flatten)]
    training: TrainingArgs,
    /// Decides the split and the order of training; the same for all learners of one split
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// What this organisation is called, where its invitation does not say; for people
    #[arg(long, value_name = "NAME")]
    name: Option<MemberName>,
    /// Give up when the node cannot be reached for this long, such as 5m [default: never]
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    patience: Option<Duration>,
    /// Take part only if the experiment follows this plan (TOML)
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Write the final model here (safetensors)
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Print one JSON object an event
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((i, n)) if 1 <= i && i <= n => Ok((i, n)),
        _ => Err("write it as I/N, for example 2/5".to_owned()),
    }
}

impl LearnerArgs {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let key = keys::load(&self.key)?;
        let experiment: ExperimentName = self.experiment.parse()?;
        // As patient from the start as the learner itself will be.
        let mut patience = Patience::new(self.patience);
        if let Some(path) = &self.plan {
            self.insist_on(path, &experiment, &mut patience).await?;
        }
        let memory = self.memory.clone().unwrap_or_else(|| self.key.with_extension("data"));
        let ask = async || standing(&memory, &self.node.node, &experiment, &key).await;
        let (initial, spent) = patiently(&mut patience, ask).await?;
        let spec = ModelSpec::of(&initial)?;
        let data = self.source.load(Some(&spec.schema))?;
        let (number, learners) = self.share;
        let mut shares = data.split(self.split.split, learners, self.seed)?;
        if self.split.show_split && !self.json {
            print!("{}", text::split_table(&shares));
        }
        let training = self.training.training(Noise::Secret)?;
        let seed = learner_seed(self.seed, number);
        let mut learner =
            BuiltinLearner::new(shares.swap_remove(number - 1), training, initial, seed)?;
        if let Some(spent) = spent {
            learner.resume(&spent)?;
        }
        let metric = learner.test_metric().name();
        let options = Options {
            data: Some(memory),
            name: self.name,
            patience: self.patience,
            watch: print_events(self.json),
            ..Options::new(self.node.node, experiment, key)
        };
        let mut signals = Signals::catch()?;
        let (learner, summary) = tokio::select! {
            ended = client::run(learner, options) => ended?,
            asked = signals.asked() => return Ok(asked.exit_code()),
        };
        if let Some(path) = self.save {
            learner
                .save(&path)
                .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
        }
        if !self.json {
            println!(
                "final model {} after {} rounds, {metric} {:.3} on this learner's test rows",
                summary.model.digest,
                summary.rounds,
                learner.test_score().map_err(|error| anyhow::anyhow!("{error}"))?
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Fails, having said how, where the experiment does not follow a plan.
    async fn insist_on(
        &self,
        path: &Path,
        experiment: &ExperimentName,
        patience: &mut Patience,
    ) -> anyhow::Result<()> {
        let plan = Plan::read(path)?;
        let load = async || load_plan(&self.node.node, experiment).await;
        let difference = plan.difference(&patiently(patience, load).await?);
        if difference.is_empty() {
            return Ok(());
        }
        for line in difference {
            println!("{line}");
        }
        bail!("{experiment} does not follow {}; nothing was joined", path.display());
    }
}

/// An experiment's present model, and what this learner has stated of its privacy budget.
async fn standing(
    memory: &Path,
    node: &str,
    experiment: &ExperimentName,
    key: &SigningKey,
) -> anyhow::Result<(Weights, Option<PrivacySpent>)> {
    let mut client = Client::connect(node, Memory::open(memory)?).await?;
    let known = client.experiment(experiment, Some(keys::learner_id(key))).await?;
    let model = known.experiment.model;
    if model.media_type != SAFETENSORS {
        bail!(
            "the weights of {experiment} are {}, the built-in learner's {SAFETENSORS}; learners of the original \
             package take part through: colearn bridge",
            model.media_type
        );
    }
    let weights = client.download(&model).await?;
    let spent = known.member.and_then(|member| member.privacy);
    Ok((weights, spent))
}

/// Prints what happens to a learner, for people or as one JSON object an event.
pub(crate) fn print_events(as_json: bool) -> Box<dyn FnMut(&Event) + Send> {
    Box::new(move |event| {
        println!("{}", if as_json { json::event(event).to_string() } else { text::event(event) });
    })
}
