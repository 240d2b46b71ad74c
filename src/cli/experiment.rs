//! `colearn experiment`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use colearn::client::{Client, Memory};
use colearn::history::History;
use colearn::learner::{SAFETENSORS, Weights};
use colearn::record::Record;
use colearn::{convert, keys, plot};
use colearn_contracts::{
    Action, Admission, CreateExperiment, ExperimentName, LearnerId, Parameters, Threshold,
};
use colearn_proto::v1;
use serde_json::json;

use super::args::{Data, ModelShape, NodeAddress, duration_ms};
use super::table::{self, short};
use colearn::learning::Training;

#[derive(Subcommand)]
pub(crate) enum Experiment {
    /// Create an experiment: its rules and its initial model.
    Create(Box<Create>),
    /// List the node's experiments.
    #[command(after_help = "Example:\n  colearn experiment list --json")]
    List {
        #[command(flatten)]
        node: NodeAddress,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show an experiment: its rules, where it stands, its rounds and learners.
    #[command(after_help = "Example:\n  colearn experiment show digits --plot digits.svg")]
    Show {
        /// The experiment
        name: String,
        #[command(flatten)]
        node: NodeAddress,
        /// Draw scores and votes to this file (.svg, .png or .html)
        #[arg(long, value_name = "FILE")]
        plot: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print each round as it closes, until the experiment finishes.
    #[command(after_help = "Example:\n  colearn experiment watch digits")]
    Watch {
        /// The experiment
        name: String,
        #[command(flatten)]
        node: NodeAddress,
    },
    /// End an experiment; only its creator may.
    #[command(after_help = "Example:\n  colearn experiment stop digits --key me.pem")]
    Stop {
        /// The experiment
        name: String,
        #[command(flatten)]
        node: NodeAddress,
        /// The creator's private key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

#[derive(Args)]
#[command(after_help = "Examples:
  colearn experiment create digits --key a.pem --open --max-rounds 15
  colearn experiment create xray --key a.pem --weights initial.safetensors \\
      --invite 3b6a27bc... --invite d75a9801... --threshold 2/3 --vote-deadline 1h")]
pub(crate) struct Create {
    /// Its name: 1 to 64 of a-z 0-9 . _ -
    name: String,
    #[command(flatten)]
    node: NodeAddress,
    /// The creator's private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The initial model (safetensors) [default: a built-in one for the data]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csv", "model", "hidden"])]
    weights: Option<PathBuf>,
    #[command(flatten)]
    source: Data,
    #[command(flatten)]
    shape: ModelShape,
    /// Decides the built-in model's initial weights
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Let anyone join
    #[arg(long, conflicts_with = "invite", required_unless_present = "invite")]
    open: bool,
    /// Let this learner join: a public key; may be repeated
    #[arg(long, value_name = "PUBLIC_KEY", value_parser = keys::parse_learner_id)]
    invite: Vec<LearnerId>,
    /// The share of the electorate that must approve; exactly reaching it counts
    #[arg(long, default_value_t = Threshold::HALF, value_name = "N/D")]
    threshold: Threshold,
    /// How long a proposer has, such as 10m
    #[arg(long, default_value = "10m", value_parser = duration_ms, value_name = "TIME")]
    proposal_deadline: u64,
    /// How long the voters have, such as 10m
    #[arg(long, default_value = "10m", value_parser = duration_ms, value_name = "TIME")]
    vote_deadline: u64,
    /// Rounds open only while there are at least this many members
    #[arg(long, default_value_t = 2, value_name = "N")]
    min_learners: u32,
    /// Finish after this many rounds [default: never]
    #[arg(long, value_name = "N")]
    max_rounds: Option<u64>,
    /// The largest proposal, in bytes [default: twice the initial model, at least 1 MiB]
    #[arg(long, value_name = "BYTES")]
    max_weights_bytes: Option<u64>,
}

impl Experiment {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List { node, json } => list(&node.node, json).await,
            Self::Show { name, node, plot, json } => {
                if let Some(path) = &plot {
                    plot::check_path(path)?;
                }
                show(&node.node, &name, plot, json).await
            }
            Self::Watch { name, node } => watch(&node.node, &name).await,
            Self::Stop { name, node, key } => {
                let key = keys::load(&key)?;
                let experiment: ExperimentName = name.parse()?;
                let mut memory = Memory::default();
                let mut client = Client::connect(&node.node, &mut memory).await?;
                let signed = client.sign(&key, Action::Stop { experiment }, &mut memory).await?;
                let submitted = client.submit(signed, &memory).await?;
                println!("stopped {name}, entry {}", submitted.receipt.index);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl Create {
    async fn run(mut self) -> anyhow::Result<ExitCode> {
        let key = keys::load(&self.key)?;
        let name: ExperimentName = self.name.parse()?;
        let weights = match &self.weights {
            Some(path) => {
                let bytes = std::fs::read(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                Weights::new(bytes)
            }
            None => {
                let data = self.source.load()?;
                let training = Training { hidden: self.shape.hidden(), ..Training::default() };
                training.network(data.width(), data.classes.len(), self.seed).to_weights()?
            }
        };
        let admission = if self.open {
            Admission::Open
        } else {
            self.invite.sort_unstable();
            self.invite.dedup();
            Admission::Invited(self.invite)
        };
        let model = weights.model(SAFETENSORS);
        let parameters = Parameters {
            threshold: self.threshold,
            proposal_deadline_ms: self.proposal_deadline,
            vote_deadline_ms: self.vote_deadline,
            admission,
            min_learners: self.min_learners,
            max_rounds: self.max_rounds,
            max_weights_bytes: self.max_weights_bytes.unwrap_or((2 * model.size).max(1 << 20)),
        };
        parameters.check(&model)?;
        let mut memory = Memory::default();
        let mut client = Client::connect(&self.node.node, &mut memory).await?;
        client.upload(&weights).await?;
        let action = Action::Create(CreateExperiment { name: name.clone(), parameters, model });
        let signed = client.sign(&key, action, &mut memory).await?;
        let submitted = client.submit(signed, &memory).await?;
        println!(
            "created {name}, entry {}, initial model {}",
            submitted.receipt.index,
            weights.digest()
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn phase_word(experiment: &v1::Experiment) -> &'static str {
    match experiment.phase() {
        v1::Phase::Waiting => "waiting for members",
        v1::Phase::Proposing => "proposing",
        v1::Phase::Voting => "voting",
        v1::Phase::Finished => "finished",
        v1::Phase::Unspecified => "unknown",
    }
}

async fn list(node: &str, json: bool) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(node, &mut Memory::default()).await?;
    let experiments = client.experiments().await?;
    if json {
        let list: Vec<_> = experiments.iter().map(|e| describe_json(e, None)).collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(ExitCode::SUCCESS);
    }
    if experiments.is_empty() {
        println!("no experiments yet; make one with: colearn experiment create NAME --key FILE");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<24}  {:>6}  {:>7}  phase", "name", "round", "members");
    for experiment in &experiments {
        println!(
            "{:<24}  {:>6}  {:>7}  {}",
            experiment.name,
            experiment.round,
            experiment.member_count,
            phase_word(experiment)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn describe_json(experiment: &v1::Experiment, history: Option<&History>) -> serde_json::Value {
    let parameters = experiment.parameters.clone().unwrap_or_default();
    let threshold = parameters.threshold.unwrap_or_default();
    let model = experiment.model.clone().unwrap_or_default();
    json!({
        "name": experiment.name,
        "creator": hex::encode(&experiment.creator),
        "phase": phase_word(experiment),
        "round": experiment.round,
        "members": experiment.members.iter().map(hex::encode).collect::<Vec<_>>(),
        "member_count": experiment.member_count,
        "threshold": format!("{}/{}", threshold.numerator, threshold.denominator),
        "proposal_deadline_ms": parameters.proposal_deadline_ms,
        "vote_deadline_ms": parameters.vote_deadline_ms,
        "min_learners": parameters.min_learners,
        "max_rounds": parameters.max_rounds,
        "max_weights_bytes": parameters.max_weights_bytes,
        "model": {
            "digest": hex::encode(&model.digest),
            "size": model.size,
            "media_type": model.media_type,
        },
        "history": history.map(History::to_json),
    })
}

/// An experiment's state and everything that happened in it so far.
pub(crate) async fn load_history(
    client: &mut Client,
    name: &str,
) -> anyhow::Result<(v1::Experiment, History)> {
    let experiment = client.experiment(name, None).await?.experiment.unwrap_or_default();
    let mut history = History::new(name.parse()?);
    let mut stream = client.watch(name, 0).await?;
    while let Some(message) = stream.message().await? {
        // The first message without an entry says that there is nothing more for now.
        let Some(entry) = message.entry else { break };
        history.record(&Record::decode(&entry)?.record);
    }
    Ok((experiment, history))
}

async fn show(
    node: &str,
    name: &str,
    plot: Option<PathBuf>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(node, &mut Memory::default()).await?;
    let (experiment, history) = load_history(&mut client, name).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&describe_json(&experiment, Some(&history)))?);
    } else {
        let parameters =
            convert::parameters(experiment.parameters.clone().context("no parameters")?)?;
        let model = convert::model(experiment.model.clone().context("no model")?)?;
        let admission = match &parameters.admission {
            Admission::Open => "open".to_owned(),
            Admission::Invited(invited) => format!("{} invited", invited.len()),
        };
        println!("experiment  {} ({})", experiment.name, phase_word(&experiment));
        println!("creator     {}", short(convert::learner(&experiment.creator, "creator")?));
        println!("model       {} ({} bytes, {})", model.digest, model.size, model.media_type);
        println!(
            "rules       threshold {}, {admission}, at least {} learners, {} rounds, \
             deadlines {} and {}",
            parameters.threshold,
            parameters.min_learners,
            parameters.max_rounds.map_or_else(|| "endless".to_owned(), |max| max.to_string()),
            duration_text(parameters.proposal_deadline_ms),
            duration_text(parameters.vote_deadline_ms),
        );
        println!("\n{}", table::ROUND_HEADER);
        for round in &history.rounds {
            println!("{}", table::round_line(&history, round));
        }
        println!("\n{}", table::learner_table(&history).trim_end());
    }
    if let Some(path) = plot {
        plot::write(&history, &path)?;
        eprintln!("plot written to {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn duration_text(ms: u64) -> String {
    humantime::format_duration(std::time::Duration::from_millis(ms)).to_string()
}

async fn watch(node: &str, name: &str) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(node, &mut Memory::default()).await?;
    let mut stream = client.watch(name, 0).await?;
    let mut history = History::new(name.parse()?);
    let mut printed = 0;
    println!("{}", table::ROUND_HEADER);
    while let Some(message) = stream.message().await? {
        let Some(entry) = message.entry else { continue };
        history.record(&Record::decode(&entry)?.record);
        let closed = history.rounds.iter().filter(|round| round.result.is_some());
        for round in closed.skip(printed) {
            println!("{}", table::round_line(&history, round));
            printed += 1;
        }
        if let Some(reason) = history.finished {
            println!("finished: {reason:?}");
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
