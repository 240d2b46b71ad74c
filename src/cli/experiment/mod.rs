//! `colearn experiment`.

mod create;
mod govern;
mod rules;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use colearn::plot;
use colearn_contracts::{Act, Decision, ExperimentName, Outcome, PauseReason, Phase, Tally};
use colearn_records::convert::{ExperimentState, MotionState};
use colearn_records::history::History;
use colearn_records::plan::Plan;
use colearn_records::record::{DecodedEntry, Record};
use colearn_sdk::client::{Client, Memory};
use serde_json::json;

use self::govern::{MoveArgs, Said};
use super::args::NodeAddress;
use super::ledger::{describe_motion, describe_outcome};
use super::table::{self, short};

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
        said: Said,
        /// The motion's number
        number: u64,
        /// The vote
        #[arg(value_enum)]
        vote: VoteArg,
    },
    /// Leave an experiment from the next round on.
    #[command(after_help = "Example:\n  colearn experiment leave xray --key a.pem")]
    Leave(Said),
    /// Let a paused experiment go on.
    #[command(after_help = "Example:\n  colearn experiment resume xray --key a.pem")]
    Resume(Said),
    /// End an experiment alone, where its rules let its creator do that.
    #[command(after_help = "Example:\n  colearn experiment stop digits --key me.pem")]
    Stop(Said),
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
            Self::Ballot { said, number, vote } => {
                said.ballot(number, vote == VoteArg::Approve).await
            }
            Self::Leave(said) => said.leave().await,
            Self::Resume(said) => said.resume().await,
            Self::Stop(said) => said.stop().await,
        }
    }
}

/// The plan that an experiment follows.
fn plan_of(experiment: &ExperimentState) -> Plan {
    Plan {
        name: Some(experiment.name.clone()),
        parameters: experiment.parameters.clone(),
        limits_weights: true,
        admission: Some(experiment.admission.clone()),
    }
}

/// The plan that an experiment on a node follows.
pub(crate) async fn load_plan(node: &str, name: &ExperimentName) -> anyhow::Result<Plan> {
    let mut client = Client::connect(node, Memory::default()).await?;
    Ok(plan_of(&client.experiment(name, None).await?.experiment))
}

async fn privacy(node: &str, name: &ExperimentName, json: bool) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(node, Memory::default()).await?;
    let (experiment, history) = load_history(&mut client, name).await?;
    let cap = experiment.parameters.privacy;
    if json {
        println!("{}", serde_json::to_string_pretty(&table::privacy_json(&history, cap))?);
    } else {
        print!("{}", table::privacy_table(&history, cap));
    }
    Ok(ExitCode::SUCCESS)
}

fn phase_word(experiment: &ExperimentState) -> &'static str {
    match &experiment.phase {
        Phase::Waiting => "waiting for members",
        Phase::Proposing { .. } => "proposing",
        Phase::Voting { .. } => "voting",
        Phase::Paused(PauseReason::BudgetsSpent) => "paused: every privacy budget is spent",
        Phase::Paused(PauseReason::NobodyProposes) => "paused: nobody proposes",
        Phase::Finished(_) => "finished",
    }
}

async fn list(node: &str, json: bool) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(node, Memory::default()).await?;
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

fn describe_json(experiment: &ExperimentState, history: Option<&History>) -> serde_json::Value {
    let (parameters, model) = (&experiment.parameters, &experiment.model);
    json!({
        "name": experiment.name.as_str(),
        "creator": experiment.creator.to_string(),
        "phase": phase_word(experiment),
        "round": experiment.round,
        "members": experiment.members.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "member_count": experiment.member_count,
        "threshold": parameters.threshold.to_string(),
        "proposal_deadline_ms": parameters.proposal_deadline_ms,
        "vote_deadline_ms": parameters.vote_deadline_ms,
        "min_learners": parameters.min_learners,
        "max_rounds": parameters.max_rounds,
        "max_weights_bytes": parameters.max_weights_bytes,
        "rules": plan_of(experiment).to_text(),
        "plan": experiment.plan.map_or_else(String::new, |plan| plan.to_string()),
        "motions": experiment.motions.iter().map(motion_json).collect::<Vec<_>>(),
        "model": {
            "digest": model.digest.to_string(),
            "size": model.size,
            "media_type": model.media_type,
        },
        "history": history.map(History::to_json),
    })
}

fn motion_json(open: &MotionState) -> serde_json::Value {
    json!({
        "number": open.number,
        "motion": describe_motion(&open.motion),
        "mover": open.mover.to_string(),
        "approvals": open.tally.approvals,
        "rejections": open.tally.rejections,
        "electorate": open.tally.electorate,
        "deadline_ms": open.deadline_ms,
    })
}

/// An experiment's state and everything that happened in it so far.
pub(crate) async fn load_history(
    client: &mut Client,
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
    let mut client = Client::connect(node, Memory::default()).await?;
    let (experiment, history) = load_history(&mut client, name).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&describe_json(&experiment, Some(&history)))?);
    } else {
        let model = &experiment.model;
        println!("experiment  {} ({})", experiment.name, phase_word(&experiment));
        println!("creator     {}", short(experiment.creator));
        println!("model       {} ({} bytes, {})", model.digest, model.size, model.media_type);
        println!("members     {}", experiment.member_count);
        for (at, line) in plan_of(&experiment).to_text().lines().skip(1).enumerate() {
            println!("{}{line}", if at == 0 { "rules       " } else { "            " });
        }
        for open in &experiment.motions {
            println!("motion      {}", motion_line(open));
        }
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

fn motion_line(open: &MotionState) -> String {
    let MotionState { number, motion, tally, .. } = open;
    let what = describe_motion(motion);
    let Tally { approvals, rejections, electorate } = tally;
    format!("{number}: {what}; {approvals} for, {rejections} against, of {electorate}")
}

async fn watch(node: &str, name: &ExperimentName) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(node, Memory::default()).await?;
    let mut entries = client.watch(name, 0).await?;
    let mut history = History::new(name.clone());
    let mut printed = 0;
    println!("{}", table::ROUND_HEADER);
    loop {
        let Some(entry) = entries.next().await?.entry else { continue };
        let DecodedEntry { record, .. } = Record::decode(&entry)?;
        history.record(&record);
        // What is not told by the rounds.
        match &record {
            Record::Outcome(
                outcome @ Outcome {
                    what:
                        Decision::Waiting { .. }
                        | Decision::Paused { .. }
                        | Decision::Suspended { .. }
                        | Decision::MotionOpened { .. }
                        | Decision::MotionDecided { .. }
                        | Decision::MotionTookEffect { .. },
                    ..
                },
            ) => println!("       {}", describe_outcome(outcome)),
            Record::Transaction(transaction) => {
                if let Act::Move { motion, number } = &transaction.action.what {
                    let what = describe_motion(motion);
                    println!(
                        "       motion {number}: {} moves to {what}",
                        short(transaction.sender)
                    );
                }
            }
            Record::Outcome(_)
            | Record::Genesis(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_) => {}
        }
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
