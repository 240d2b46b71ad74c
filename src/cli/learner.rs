//! `colearn learner`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use colearn_contracts::{ExperimentName, PrivacySpent, Scores};
use colearn_learning::model::ModelSpec;
use colearn_learning::private::Noise;
use colearn_learning::{BuiltinLearner, learner_seed};
use colearn_records::history::{unit, verdict_word};
use colearn_records::keys;
use colearn_records::plan::Plan;
use colearn_sdk::client::{self, Client, Event, Memory, Options};
use colearn_sdk::learner::{SAFETENSORS, Weights};
use ed25519_dalek::SigningKey;
use serde_json::json;

use super::args::{Data, NodeAddress, SplitArgs, TrainingArgs, split_table};
use super::experiment::load_plan;

/// Between two tries to reach the node.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

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
        if let Some(path) = &self.plan {
            let plan = Plan::read(path)?;
            let actual = load_plan(&self.node.node, &experiment).await?;
            let difference = plan.difference(&actual);
            if !difference.is_empty() {
                for line in difference {
                    println!("{line}");
                }
                bail!("{} does not follow {}; nothing was joined", self.experiment, path.display());
            }
        }
        let memory = self.memory.clone().unwrap_or_else(|| self.key.with_extension("data"));
        let (initial, spent) =
            standing(&memory, &self.node.node, &experiment, &key, self.patience).await?;
        let spec = ModelSpec::of(&initial)?;
        let data = self.source.load(Some(&spec.schema))?;
        let (number, learners) = self.share;
        let mut shares = data.split(self.split.split, learners, self.seed)?;
        if self.split.show_split && !self.json {
            print!("{}", split_table(&shares));
        }
        let training = self.training.training(&spec, Noise::Secret)?;
        let seed = learner_seed(self.seed, number);
        let mut learner =
            BuiltinLearner::new(shares.swap_remove(number - 1), training, initial, seed)?;
        if let Some(spent) = spent {
            learner.resume(&spent)?;
        }
        let metric = learner.test_metric().name();
        let json = self.json;
        let options = Options {
            data: Some(memory),
            patience: self.patience,
            watch: print_events(json),
            ..Options::new(self.node.node, experiment, key)
        };
        let (learner, summary) = tokio::select! {
            ended = client::run(learner, options) => ended?,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(130)),
        };
        if let Some(path) = self.save {
            learner
                .save(&path)
                .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
        }
        if !json {
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

/// An experiment's present model, and what this learner has stated of its privacy budget.
async fn standing(
    memory: &Path,
    node: &str,
    experiment: &ExperimentName,
    key: &SigningKey,
    patience: Option<Duration>,
) -> anyhow::Result<(Weights, Option<PrivacySpent>)> {
    let started = Instant::now();
    let mut client = loop {
        match Client::connect(node, Memory::open(memory)?).await {
            Ok(client) => break client,
            // As patient as the learner itself will be.
            Err(error)
                if error.is_transient() && patience.is_none_or(|it| started.elapsed() < it) =>
            {
                tracing::info!(%error, "waiting for the node");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
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

fn both(scores: Scores) -> String {
    let text = |value: Option<i64>| value.map_or("-".to_owned(), |v| format!("{:.3}", unit(v)));
    format!("vote score {}, test score {}", text(scores.vote), text(scores.test))
}

/// Prints what happens to a learner, for people or as one JSON object an event.
pub(crate) fn print_events(json: bool) -> Box<dyn FnMut(&Event) + Send> {
    Box::new(move |event| {
        println!("{}", if json { event_json(event).to_string() } else { event_line(event) });
    })
}

fn event_line(event: &Event) -> String {
    match event {
        Event::Connected { url } => format!("connected to {url}"),
        Event::Joined => "joined".to_owned(),
        Event::MyTurn { round } => format!("round {round}: my turn, training"),
        Event::Proposed { round, scores } => format!("round {round}: proposed, {}", both(*scores)),
        Event::Passed { round, reason: None } => format!("round {round}: passed"),
        Event::Passed { round, reason: Some(reason) } => {
            format!("round {round}: passed, because: {reason}")
        }
        Event::Voted { round, approve, scores } => {
            let word = if *approve { "approved" } else { "rejected" };
            format!("round {round}: {word}, {}", both(*scores))
        }
        Event::RoundClosed { round, verdict, approvals, rejections, electorate } => format!(
            "round {round}: {} with {approvals} for, {rejections} against, of {electorate}",
            verdict_word(*verdict)
        ),
        Event::Waiting { members, min_learners } => {
            format!("waiting for members: {members} of {min_learners}")
        }
        Event::Committed { round } => format!("round {round}: committed to a sealed vote"),
        Event::Paused { reason } => format!("paused: {reason:?}"),
        Event::Resumed => "resumed".to_owned(),
        Event::Suspended { reason } => format!("suspended: {reason:?}"),
        Event::MotionOpened { number } => format!(
            "motion {number} is open; see: colearn experiment show, and vote: colearn experiment ballot"
        ),
        Event::TooLate { reason } => format!("too late: {reason}"),
        Event::Reconnecting { reason, pause } => {
            format!("{reason}; trying again in {} ms", pause.as_millis())
        }
        Event::Finished { reason } => format!("finished: {reason:?}"),
    }
}

fn event_json(event: &Event) -> serde_json::Value {
    let scored = |name: &str, round: u64, scores: Scores| {
        json!({
            "event": name,
            "round": round,
            "vote_score": scores.vote.map(unit),
            "test_score": scores.test.map(unit),
        })
    };
    match event {
        Event::Connected { url } => json!({ "event": "connected", "url": url }),
        Event::Joined => json!({ "event": "joined" }),
        Event::MyTurn { round } => json!({ "event": "my_turn", "round": round }),
        Event::Proposed { round, scores } => scored("proposed", *round, *scores),
        Event::Passed { round, reason } => {
            json!({ "event": "passed", "round": round, "reason": reason })
        }
        Event::Voted { round, approve, scores } => {
            let mut voted = scored("voted", *round, *scores);
            voted["approve"] = (*approve).into();
            voted
        }
        Event::RoundClosed { round, verdict, approvals, rejections, electorate } => json!({
            "event": "round_closed",
            "round": round,
            "verdict": verdict_word(*verdict),
            "approvals": approvals,
            "rejections": rejections,
            "electorate": electorate,
        }),
        Event::Waiting { members, min_learners } => {
            json!({ "event": "waiting", "members": members, "min_learners": min_learners })
        }
        Event::Committed { round } => json!({ "event": "committed", "round": round }),
        Event::Paused { reason } => json!({ "event": "paused", "reason": format!("{reason:?}") }),
        Event::Resumed => json!({ "event": "resumed" }),
        Event::Suspended { reason } => {
            json!({ "event": "suspended", "reason": format!("{reason:?}") })
        }
        Event::MotionOpened { number } => json!({ "event": "motion_opened", "number": number }),
        Event::TooLate { reason } => json!({ "event": "too_late", "reason": reason }),
        Event::Reconnecting { reason, pause } => json!({
            "event": "reconnecting",
            "reason": reason,
            "pause_ms": u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
        }),
        Event::Finished { reason } => {
            json!({ "event": "finished", "reason": format!("{reason:?}") })
        }
    }
}
