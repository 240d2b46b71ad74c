//! `colearn experiment`.

mod agreements;
mod create;
mod govern;
mod notices;
mod reading;
mod rules;
mod show;
mod watch;

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use colearn::place::Place;
use colearn_audit::experiments::Told;
use colearn_contracts::ExperimentName;
use colearn_records::pins::Pins;
use colearn_records::plan::Plan;

use self::govern::{ActionArgs, MoveArgs};
use self::reading::{Reading, whose};
use super::args::PlaceArgs;
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
    Show(Box<show::Show>),
    /// Print each round as it closes, until the experiment finishes.
    Watch(Box<watch::Watch>),
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
            Self::Show(show) => show.run().await,
            Self::Watch(watch) => watch.run().await,
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
    let (keys, state) = Reading::open(place, &Pins::default()).await?.kept_by(name).await?;
    let plan = Plan { pins: Pins::default().of_ledger(&keys), ..text::plan_of(&state) };
    match json {
        true => println!("{:#}", json::plan(&plan)),
        false => print!("{}", plan.to_text()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn privacy(place: &Place, name: &ExperimentName, json: bool) -> anyhow::Result<ExitCode> {
    let Told { state, history } = Reading::open(place, &Pins::default()).await?.told(name).await?;
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
    let reading = Reading::open(place, &Pins::default()).await?;
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
