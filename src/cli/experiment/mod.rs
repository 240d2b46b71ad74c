//! `colearn experiment`.

mod agreements;
mod create;
mod govern;
mod notices;
mod reading;
mod rules;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use colearn::place::Place;
use colearn::plot;
use colearn_audit::experiments::Told;
use colearn_contracts::{Act, Decision, ExperimentName};
use colearn_records::history::History;
use colearn_records::pins::Pins;
use colearn_records::plan::Plan;
use colearn_records::record::Record;

use self::govern::{ActionArgs, MoveArgs};
use self::notices::Notices;
use self::reading::{Reading, whose};
use super::args::{NodeAddress, PlaceArgs};
use super::following::follow;
use super::tell::rounds::RoundTable;
use super::tell::{json, text};

#[derive(Subcommand)]
pub(crate) enum Experiment {
    /// Create an experiment: its rules and its initial model.
    Create(Box<create::Create>),
    /// List a ledger's experiments.
    #[command(after_help = "Examples:
  colearn experiment list
  colearn experiment list --mine a.pem
  colearn experiment list --from colearn-export --json")]
    List {
        #[command(flatten)]
        place: PlaceArgs,
        /// Only those that this key has created, is a member of or is invited to: a private key, or a public
        /// one
        #[arg(long, value_name = "KEY")]
        mine: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show an experiment: its rules, where it stands, its rounds and learners.
    #[command(after_help = "Examples:
  colearn experiment show digits --plot digits.svg
  colearn experiment show digits --from colearn-export

A node is asked and says what it has. A folder is audited first, and shown as of its signed checkpoint.")]
    Show {
        /// The experiment
        name: ExperimentName,
        #[command(flatten)]
        place: PlaceArgs,
        /// Draw scores and votes to this file (.svg, .png or .html)
        #[arg(long, value_name = "FILE")]
        plot: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print each round as it closes, until the experiment finishes.
    #[command(after_help = "Examples:
  colearn experiment watch digits
  colearn experiment watch digits --json | jq -c 'select(.verdict)'
  colearn experiment watch digits --mine a.pem --exec 'mail -s \"$COLEARN_EVENT\" ann@example.org'

--exec runs a command by the shell for what happens from now on, with what happened as JSON on its standard input
and, in the environment, COLEARN_EXPERIMENT, COLEARN_ROUND and COLEARN_EVENT: round, absent (members did not vote),
motion, motion-decided, suspended, paused, finished; with --mine KEY also my-turn and my-vote. One runs after the
other, and is ended after a minute.
With --json one object a line: each round as it closes, as in show --json, and what happens beside the
rounds, as outcome or transaction.")]
    Watch {
        /// The experiment
        name: ExperimentName,
        #[command(flatten)]
        node: NodeAddress,
        /// Run this command for what happens
        #[arg(long, value_name = "COMMAND")]
        exec: Option<String>,
        /// Also when it is this key's turn, or its time to vote: a private key, or a public one
        #[arg(long, value_name = "KEY", requires = "exec")]
        mine: Option<String>,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print the rules in force as a plan file.
    #[command(after_help = "Example:\n  colearn experiment plan xray > xray.toml")]
    Plan {
        /// The experiment
        name: ExperimentName,
        #[command(flatten)]
        place: PlaceArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what each learner's proposals have revealed, from the ledger alone.
    #[command(after_help = "Example:\n  colearn experiment privacy xray --json")]
    Privacy {
        /// The experiment
        name: ExperimentName,
        #[command(flatten)]
        place: PlaceArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show with its plan which agreements an experiment stands on, such as one on sharing data.
    Agreements(Box<agreements::Agreements>),
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
            Self::List { place, mine, json } => list(&place.from, mine.as_deref(), json).await,
            Self::Show { name, place, plot, json } => {
                if let Some(path) = &plot {
                    plot::check_path(path)?;
                }
                show(&place.from, &name, plot, json).await
            }
            Self::Watch { name, node, exec, mine, json } => {
                let mine = mine.as_deref().map(whose).transpose()?;
                let begin = |command| Notices::begin(command, name.to_string(), mine);
                let notices = exec.map(begin).transpose()?;
                let watched = watch(&node.node, &name, notices.as_ref(), json).await;
                if let Some(notices) = notices {
                    tokio::task::block_in_place(|| notices.end());
                }
                watched
            }
            Self::Plan { name, place, json } => plan(&place.from, &name, json).await,
            Self::Privacy { name, place, json } => privacy(&place.from, &name, json).await,
            Self::Agreements(args) => tokio::task::spawn_blocking(|| args.run()).await?,
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

/// Prints the plan that an experiment follows, with the ledger that it is in.
async fn plan(place: &Place, name: &ExperimentName, json: bool) -> anyhow::Result<ExitCode> {
    let (keys, state) = Reading::open(place).await?.kept_by(name).await?;
    let plan = Plan { pins: Pins::default().of_ledger(&keys), ..text::plan_of(&state) };
    match json {
        true => println!("{:#}", json::plan(&plan)),
        false => print!("{}", plan.to_text()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn privacy(place: &Place, name: &ExperimentName, json: bool) -> anyhow::Result<ExitCode> {
    let Told { state, history } = Reading::open(place).await?.told(name).await?;
    let cap = state.parameters.privacy;
    if json {
        println!("{}", serde_json::to_string_pretty(&json::privacy(&history, cap))?);
    } else {
        print!("{}", text::privacy_table(&history, cap));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(place: &Place, mine: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let mine = mine.map(whose).transpose()?;
    let reading = Reading::open(place).await?;
    let mut experiments = reading.list().await?;
    if let Some(mine) = mine {
        experiments = reading.of_learner(experiments, mine).await?;
    }
    if json {
        let list: Vec<_> = experiments.iter().map(json::listed).collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(ExitCode::SUCCESS);
    }
    if let (true, Some(mine)) = (experiments.is_empty(), mine) {
        println!("{mine} has created none, is a member of none and is invited to none");
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
            experiment.name.as_str(),
            experiment.round,
            experiment.member_count,
            text::phase(&experiment.phase)
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(
    place: &Place,
    name: &ExperimentName,
    plot: Option<PathBuf>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let Told { state: experiment, history } = Reading::open(place).await?.told(name).await?;
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&json::experiment(&experiment, Some(&history)))?
        );
    } else {
        let model = &experiment.model;
        println!("experiment  {} ({})", experiment.name, text::phase(&experiment.phase));
        println!("creator     {}", text::who(&history.names, experiment.creator));
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
        for moved in &history.motions {
            let open = experiment.motions.iter().find(|open| open.number == moved.number);
            println!("motion      {}", text::moved(moved, open, &history.names));
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

async fn watch(
    node: &str,
    name: &ExperimentName,
    notices: Option<&Notices>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    if let Some(folder) = Place::new(node).folder().filter(|folder| folder.exists()) {
        let folder = folder.display();
        bail!(
            "watch follows a running node; of a folder: colearn experiment show {name} --from {folder}"
        );
    }
    let mut history = History::new(name.clone());
    let (mut printed, mut table) = (0, RoundTable::default());
    // Who mistypes an address is told at once; a node that goes away later is waited for.
    follow(node, name, Some(Duration::ZERO), |decoded, live| {
        history.record(decoded);
        if let Some(notices) = notices.filter(|_| live) {
            notices.recorded(decoded, &history);
        }
        if !json
            && let Record::Transaction(transaction) = &decoded.record
            && let Act::Create(create) = &transaction.action.what
        {
            println!("{}", table.begin(create.parameters.merging.is_some()));
        }
        match beside_rounds(&decoded.record, &history) {
            Some(_) if json => println!("{}", json::happened(decoded)),
            Some(line) => println!("       {line}"),
            None => {}
        }
        for round in history.closed().skip(printed) {
            match json {
                true => println!("{}", round.to_json()),
                false => println!("{}", table.line(&history, round)),
            }
            printed += 1;
        }
        let Some(reason) = history.finished else { return Ok(ControlFlow::Continue(())) };
        match json {
            true => println!("{}", json::happened(decoded)),
            false => println!("{}", text::finished(reason)),
        }
        Ok(ControlFlow::Break(()))
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// What the lines of the rounds do not tell.
fn beside_rounds(record: &Record, history: &History) -> Option<String> {
    match record {
        Record::Outcome(outcome) => match outcome.what {
            Decision::Waiting { .. }
            | Decision::Paused { .. }
            | Decision::Suspended { .. }
            | Decision::MotionOpened { .. }
            | Decision::MotionDecided { .. }
            | Decision::MotionTookEffect { .. } => Some(text::outcome(outcome, &history.names)),
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
            Act::Move { motion, number } => {
                let rules = history.motions.last().and_then(|moved| moved.rules.as_deref());
                Some(format!(
                    "motion {number}: {} moves to {}",
                    text::who(&history.names, transaction.sender),
                    text::motion_against(rules, motion)
                ))
            }
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
