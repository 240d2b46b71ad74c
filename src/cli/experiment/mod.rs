//! `colearn experiment`.

mod create;
mod govern;
mod rules;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use colearn::plot;
use colearn_contracts::{Act, Decision, ExperimentName};
use colearn_records::convert::ExperimentState;
use colearn_records::history::History;
use colearn_records::pins::Pins;
use colearn_records::plan::Plan;
use colearn_records::record::Record;
use colearn_sdk::client::{Client, Followed, Memory, Trust};

use self::govern::{ActionArgs, MoveArgs};
use super::args::NodeAddress;
use super::following::follow;
use super::tell::rounds::RoundTable;
use super::tell::{json, text};

#[derive(Subcommand)]
pub(crate) enum Experiment {
    /// Create an experiment: its rules and its initial model.
    Create(Box<create::Create>),
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
    /// Print the rules in force as a plan file.
    #[command(after_help = "Example:\n  colearn experiment plan xray > xray.toml")]
    Plan {
        /// The experiment
        name: String,
        #[command(flatten)]
        node: NodeAddress,
    },
    /// Print what each learner's proposals have revealed, from the ledger alone.
    #[command(after_help = "Example:\n  colearn experiment privacy xray --json")]
    Privacy {
        /// The experiment
        name: String,
        #[command(flatten)]
        node: NodeAddress,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Move that the members decide something: other rules, who may join, to stop.
    Move(Box<MoveArgs>),
    /// Vote on a motion.
    #[command(after_help = "Example:\n  colearn experiment ballot xray 1 approve --key b.pem")]
    Ballot {
        #[command(flatten)]
        action: ActionArgs,
        /// The motion's number
        number: u64,
        /// The vote
        #[arg(value_enum)]
        vote: VoteArg,
    },
    /// Leave an experiment from the next round on.
    #[command(after_help = "Examples:
  colearn experiment leave xray --key a.pem
  colearn experiment leave xray --key a.pem --renounce

Who leaves may come back, and its vote goes on counting in what the members decide. With --renounce it gives
that up for good.")]
    Leave {
        #[command(flatten)]
        action: ActionArgs,
        /// Give up the right to come back, and to decide
        #[arg(long)]
        renounce: bool,
    },
    /// Record what a model is worth on your own data.
    Evaluate(govern::EvaluateArgs),
    /// Let a paused experiment go on.
    #[command(after_help = "Example:\n  colearn experiment resume xray --key a.pem")]
    Resume(ActionArgs),
    /// End an experiment alone, where its rules let its creator do that, or that nobody uses.
    #[command(after_help = "Example:\n  colearn experiment stop digits --key me.pem")]
    Stop(ActionArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VoteArg {
    /// For.
    Approve,
    /// Against.
    Reject,
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
                show(&node.node, &name.parse()?, plot, json).await
            }
            Self::Watch { name, node } => watch(&node.node, &name.parse()?).await,
            Self::Plan { name, node } => {
                print!("{}", load_plan(&node.node, &name.parse()?).await?.to_text());
                Ok(ExitCode::SUCCESS)
            }
            Self::Privacy { name, node, json } => privacy(&node.node, &name.parse()?, json).await,
            Self::Move(args) => args.run().await,
            Self::Ballot { action, number, vote } => {
                action.ballot(number, vote == VoteArg::Approve).await
            }
            Self::Leave { action, renounce } => action.leave(renounce).await,
            Self::Evaluate(args) => args.run().await,
            Self::Resume(action) => action.resume().await,
            Self::Stop(action) => action.stop().await,
        }
    }
}

/// The plan that an experiment on a node follows, with the ledger that it is in.
async fn load_plan(node: &str, name: &ExperimentName) -> anyhow::Result<Plan> {
    let client = Client::connect(node).await?;
    let followed = Followed::open(client, Memory::default(), Trust::default()).await?;
    let plan = text::plan_of(&followed.client().experiment(name, None).await?.experiment);
    Ok(Plan { pins: Pins::default().of_ledger(followed.keys()), ..plan })
}

async fn privacy(node: &str, name: &ExperimentName, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::connect(node).await?;
    let (experiment, history) = load_history(&client, name).await?;
    let cap = experiment.parameters.privacy;
    if json {
        println!("{}", serde_json::to_string_pretty(&json::privacy(&history, cap))?);
    } else {
        print!("{}", text::privacy_table(&history, cap));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(node: &str, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::connect(node).await?;
    let experiments = client.experiments().await?;
    if json {
        let list: Vec<_> = experiments.iter().map(|e| json::experiment(e, None)).collect();
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
            text::phase(&experiment.phase)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// An experiment's state and everything that happened in it so far.
pub(crate) async fn load_history(
    client: &Client,
    name: &ExperimentName,
) -> anyhow::Result<(ExperimentState, History)> {
    let experiment = client.experiment(name, None).await?.experiment;
    let mut history = History::new(name.clone());
    let mut entries = client.watch(name, 0).await?;
    // The first message without an entry says that there is nothing more for now.
    while let Some(entry) = entries.next().await?.entry {
        history.record(&Record::decode(&entry)?.record);
    }
    Ok((experiment, history))
}

async fn show(
    node: &str,
    name: &ExperimentName,
    plot: Option<PathBuf>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let client = Client::connect(node).await?;
    let (experiment, history) = load_history(&client, name).await?;
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&json::experiment(&experiment, Some(&history)))?
        );
    } else {
        let model = &experiment.model;
        println!("experiment  {} ({})", experiment.name, text::phase(&experiment.phase));
        println!("creator     {}", text::short(experiment.creator));
        println!("model       {} ({} bytes, {})", model.digest, model.size, model.media_type);
        println!("version     {} of the rules", experiment.version);
        println!("members     {}", experiment.member_count);
        println!(
            "decide      {} of the {} votes of all that are admitted",
            experiment.parameters.governance(experiment.version),
            experiment.governing_weight
        );
        for (at, line) in text::plan_of(&experiment).to_text().lines().skip(1).enumerate() {
            println!("{}{line}", if at == 0 { "rules       " } else { "            " });
        }
        for open in &experiment.motions {
            println!("motion      {}", text::open_motion(open));
        }
        println!();
        let mut table = RoundTable::default();
        for round in &history.rounds {
            println!("{}", table.line(&history, round));
        }
        println!("\n{}", text::learner_table(&history).trim_end());
        if !history.evaluations.is_empty() {
            println!("\n{}", text::evaluation_table(&history).trim_end());
        }
    }
    if let Some(path) = plot {
        plot::write(&history, &path)?;
        eprintln!("plot written to {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

async fn watch(node: &str, name: &ExperimentName) -> anyhow::Result<ExitCode> {
    let mut history = History::new(name.clone());
    let (mut printed, mut table) = (0, RoundTable::default());
    // Who mistypes an address is told at once; a node that goes away later is waited for.
    follow(node, name, Some(Duration::ZERO), |decoded| {
        history.record(&decoded.record);
        if let Record::Transaction(transaction) = &decoded.record
            && let Act::Create(create) = &transaction.action.what
        {
            println!("{}", table.begin(create.parameters.merging.is_some()));
        }
        if let Some(line) = beside_rounds(&decoded.record) {
            println!("       {line}");
        }
        for round in history.closed().skip(printed) {
            println!("{}", table.line(&history, round));
            printed += 1;
        }
        let Some(reason) = history.finished else { return Ok(ControlFlow::Continue(())) };
        println!("{}", text::finished(reason));
        Ok(ControlFlow::Break(()))
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// What the lines of the rounds do not tell.
fn beside_rounds(record: &Record) -> Option<String> {
    match record {
        Record::Outcome(outcome) => match outcome.what {
            Decision::Waiting { .. }
            | Decision::Paused { .. }
            | Decision::Suspended { .. }
            | Decision::MotionOpened { .. }
            | Decision::MotionDecided { .. }
            | Decision::MotionTookEffect { .. } => Some(text::outcome(outcome)),
            Decision::RoundOpened { .. }
            | Decision::VotingOpened { .. }
            | Decision::RevealOpened { .. }
            | Decision::RoundClosed { .. }
            | Decision::TrainingOpened { .. }
            | Decision::GatheringOpened { .. }
            | Decision::MergeVotingOpened { .. }
            | Decision::MergeDecided { .. }
            | Decision::Finished { .. } => None,
        },
        Record::Transaction(transaction) => match &transaction.action.what {
            Act::Move { motion, number } => Some(format!(
                "motion {number}: {} moves to {}",
                text::short(transaction.sender),
                text::motion(motion)
            )),
            Act::Create(_)
            | Act::Join(_)
            | Act::Leave { .. }
            | Act::Propose(_)
            | Act::Pass { .. }
            | Act::Vote(_)
            | Act::Commit(_)
            | Act::Reveal(_)
            | Act::Resume { .. }
            | Act::ReplaceKey { .. }
            | Act::MotionVote { .. }
            | Act::Update(_)
            | Act::CommitUpdate(_)
            | Act::RevealUpdate(_)
            | Act::Have { .. }
            | Act::MergeVote(_)
            | Act::RevealMergeVote(_)
            | Act::Stop => None,
            Act::Evaluate(_) => Some(text::entry_action(transaction.sender, &transaction.action)),
        },
        Record::Genesis(_)
        | Record::KeyRotation(_)
        | Record::Upgrade(_)
        | Record::Block(_)
        | Record::ValidatorChange(_) => None,
    }
}
