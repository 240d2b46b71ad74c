//! `colearn bridge`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use colearn_contracts::ExperimentName;
use colearn_sdk::bridge::{BridgedLearner, LEGACY, Setup};
use colearn_sdk::client::{self, Options};
use colearn_sdk::learner::Learner as _;

use super::args::{ModelKeysArg, NodeAddress, PolicyArg, Signer};
use super::learner::print_events;
use super::signals::Signals;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn bridge --learner 127.0.0.1:9991 --dataset MNIST_TF --model KERAS_MNIST --initial initial.pkl
  colearn experiment create mnist --key a.pem --open --weights initial.pkl \\
      --media-type application/x-colearn-legacy --max-rounds 15
  colearn bridge --learner 127.0.0.1:9991 --dataset MNIST_TF --model KERAS_MNIST \\
      --experiment mnist --key a.pem

Takes part for a learner server of the original colearn package (gRPC service contract_learn.grpc.GRPCLearner), which
runs unchanged. Its weights are pickles: whoever proposes one can execute code in every server that votes on it, so
only members that trust each other with that should share such an experiment, and all of them are bridged.")]
pub(crate) struct BridgeArgs {
    /// The learner server's address
    #[arg(long, value_name = "HOST:PORT")]
    learner: String,
    /// The name of its data loader
    #[arg(long, value_name = "NAME")]
    dataset: String,
    /// The data loader's parameters
    #[arg(long, default_value = "{}", value_name = "JSON", value_parser = json_text)]
    dataset_parameters: String,
    /// The name of its model architecture
    #[arg(long, value_name = "NAME")]
    model: String,
    /// The model's parameters
    #[arg(long, default_value = "{}", value_name = "JSON", value_parser = json_text)]
    model_parameters: String,
    /// Write the server's present weights here, to create an experiment with, and stop
    #[arg(long, value_name = "FILE", conflicts_with_all = ["experiment", "key"])]
    initial: Option<PathBuf>,
    #[command(flatten)]
    node: NodeAddress,
    /// The experiment to take part in
    #[arg(long, value_name = "NAME", required_unless_present = "initial")]
    experiment: Option<ExperimentName>,
    #[command(flatten)]
    signer: Option<Signer>,
    #[command(flatten)]
    policy: PolicyArg,
    #[command(flatten)]
    model_keys: ModelKeysArg,
    /// Print one JSON object an event
    #[arg(long)]
    json: bool,
}

fn json_text(text: &str) -> Result<String, String> {
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
    parsed.map(|_| text.to_owned()).map_err(|error| format!("not JSON: {error}"))
}

impl BridgeArgs {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let setup = Setup {
            dataset: self.dataset,
            dataset_parameters: self.dataset_parameters,
            model: self.model,
            model_parameters: self.model_parameters,
        };
        if let Some(path) = &self.initial {
            let learner = BridgedLearner::connect(&self.learner, setup).await?;
            std::fs::write(path, learner.current().bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}  {}", learner.current().digest(), path.display());
            return Ok(ExitCode::SUCCESS);
        }
        let (Some(experiment), Some(signer)) = (self.experiment, self.signer) else {
            bail!("give --experiment and --key, or --initial");
        };
        let mut signals = Signals::catch()?;
        let policy = self.policy.read()?;
        let model_keys = self.model_keys.read()?;
        let (key, memory) = signer.load()?;
        let options = Options {
            data: Some(memory),
            trust: signer.trust(None)?,
            policy,
            model_keys,
            watch: print_events(self.json),
            ..Options::new(self.node.node, experiment.clone(), key)
        };
        // Before the server trains for an experiment that cannot use it.
        let prepared = tokio::select! {
            prepared = client::prepare(options) => prepared?,
            asked = signals.asked() => return Ok(asked.exit_code()),
        };
        let known = prepared.described()?.experiment;
        let kind = known.model.media_type;
        if kind != LEGACY {
            bail!(
                "the weights of {experiment} are {kind}, a bridged learner's {LEGACY}; create it with --media-type {LEGACY}"
            );
        }
        let learner = BridgedLearner::connect(&self.learner, setup).await?;
        let mut learner = learner.patient(&known.parameters);
        if !self.json {
            let version = learner.version().await;
            println!(
                "learner server at {}, version {}",
                self.learner,
                version.as_deref().unwrap_or("unknown (before 0.2.9)")
            );
        }
        tokio::select! {
            ended = prepared.run(learner) => ended.map(|_| ExitCode::SUCCESS).map_err(Into::into),
            asked = signals.asked() => Ok(asked.exit_code()),
        }
    }
}
