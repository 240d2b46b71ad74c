//! `colearn demo`.

#[cfg(unix)]
mod chain;
#[cfg(unix)]
mod consortium;
#[cfg(unix)]
mod fleet;
#[cfg(unix)]
mod ports;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use colearn::plot;
use colearn::supervise::Supervisor;
use colearn_audit::{AuditOptions, AuditReport};
use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, ExperimentName, Join, Merging, Parameters, Phase,
    Threshold,
};
use colearn_learning::data::Share;
use colearn_learning::private::Noise;
use colearn_learning::{BuiltinLearner, learner_seed};
use colearn_records::history::{History, Round};
use colearn_records::keys;
use colearn_records::words;
use colearn_records::words::Word as _;
use colearn_sdk::client::{self, Client, ClientError, Followed, Memory, Options, Trust};
use colearn_sdk::learner::{Learner as _, SAFETENSORS};
use colearn_sdk::local;
use ed25519_dalek::SigningKey;
use indicatif::ProgressBar;
use rayon::prelude::*;
use tokio::task::JoinHandle;

#[cfg(unix)]
use self::fleet::Fleet;
use super::args::{Data, ModelShape, SINGLE_ROUNDS, SplitArgs, TrainingArgs, word};
use super::audit::audit_place;
use super::output::{OutputError, try_print};
use super::signals::Signals;
use super::tell::rounds::RoundTable;
use super::tell::text;
use super::{Program, following, progress};

const EXPERIMENT: &str = "demo";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    /// A real node process; the learners connect to it over gRPC.
    Ledger,
    /// The same contract and learners in this process, without network or disk.
    Local,
}

words! {
    Backend {
        Ledger = "ledger", "a real node process; the learners connect to it over gRPC";
        Local = "local", "the same contract and learners in this process, without network or disk";
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  colearn demo
  colearn demo --learners 8 --rounds 30 --threshold 2/3 --baselines --plot rounds.png
  colearn demo --merging --split sorted
  colearn demo --nodes 4
  colearn demo --chain --wasmd wasmd --contract colearn-chain.wasm
  colearn demo --backend local --model softmax
  colearn demo --task iris --split sorted --show-split
  colearn demo --task mnist --data mnist/
  colearn demo --data customers.csv --label default --json

The exit code is 0 only if the audit passes.")]
pub(crate) struct Demo {
    /// How many learners share the data
    #[arg(long, default_value_t = 5, value_name = "N")]
    learners: usize,
    /// How many rounds
    #[arg(long, default_value_t = 15, value_name = "N")]
    rounds: u64,
    /// The share of the electorate that must approve; exactly reaching it counts
    #[arg(long, default_value_t = Threshold::HALF, value_name = "N/D")]
    threshold: Threshold,
    /// Merge rounds: in each all train, and vote on two merges of what they have trained
    #[arg(long)]
    merging: bool,
    /// How many organisations keep the ledger together, each with a node; one of them dies half-way. Needs
    /// CometBFT
    #[arg(long, default_value_t = 1, value_name = "N")]
    nodes: usize,
    /// Have a public chain keep the ledger: one of one node on this machine, mirrored by two nodes, one of which dies
    /// half-way. Needs wasmd, and the contract (docs/chain.md)
    #[arg(long, conflicts_with = "nodes")]
    chain: bool,
    /// The program of the chain's node [default: wasmd in the PATH]
    #[arg(
        long,
        value_name = "FILE",
        env = "COLEARN_WASMD",
        default_value = "wasmd",
        hide_default_value = true
    )]
    wasmd: PathBuf,
    /// The contract, as .ci/chain-wasm builds it
    #[arg(long, value_name = "FILE", env = "COLEARN_CHAIN_WASM")]
    contract: Option<PathBuf>,
    /// Where the rounds run
    #[arg(long, value_parser = word::<Backend>(), default_value = "ledger")]
    backend: Backend,
    #[command(flatten)]
    source: Data,
    #[command(flatten)]
    split: SplitArgs,
    #[command(flatten)]
    shape: ModelShape,
    #[command(flatten)]
    training: TrainingArgs,
    /// Decides the split, the initial weights and the order of training
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Keep everything here; a demo that was interrupted goes on [default: a new folder in the
    /// system's temporary one]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Draw scores and votes to this file (.svg, .png or .html) [default: rounds.svg in the data
    /// folder]
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Also train each learner alone, and one on all data together
    #[arg(long)]
    baselines: bool,
    /// Print one JSON object at the end instead of text
    #[arg(long)]
    json: bool,
}

/// What a backend leaves.
struct Outcome {
    history: History,
    /// The mean score of the final model over the learners' test rows.
    score: f64,
    /// What the score is.
    metric: &'static str,
    /// Of each node's ledger.
    audits: Vec<AuditReport>,
}

impl Demo {
    pub(crate) async fn run(self, program: &Program) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.plot {
            plot::check_path(path)?;
        }
        let data = self.source.load(None)?;
        let shares = data.split(self.split.split, self.learners, self.seed)?;
        let dir = self.folder()?;
        self.say(format!(
            "{} learners, {} rounds, threshold {}, {} ({} rows, {} inputs, {})",
            self.learners,
            self.rounds,
            self.threshold,
            data.name,
            data.rows(),
            data.width(),
            match data.schema.target.classes() {
                [] => "a number to predict".to_owned(),
                classes => format!("{} classes", classes.len()),
            }
        ))?;
        if !self.merging {
            self.say(SINGLE_ROUNDS)?;
        }
        if self.split.show_split {
            self.say(format!("\nsplit {}\n{}", self.split.split, text::split_table(&shares)))?;
        }
        let learners = self.make_learners(&shares)?;
        let started = Instant::now();
        let outcome = match self.backend {
            Backend::Local if self.nodes > 1 => bail!("--nodes needs --backend ledger"),
            Backend::Local if self.chain => bail!("--chain needs --backend ledger"),
            Backend::Local => self.run_local(learners)?,
            Backend::Ledger => {
                let mut signals = Signals::catch()?;
                let outcome = async {
                    match self.nodes {
                        _ if self.chain => self.run_on_chain(learners, &dir, program).await,
                        0 | 1 => self.run_ledger(learners, &dir, program).await,
                        _ => self.run_together(learners, &dir, program).await,
                    }
                };
                tokio::select! {
                    outcome = outcome => outcome?,
                    asked = signals.asked() => return Ok(asked.exit_code()),
                }
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        let baselines = if self.baselines { Some(self.baselines(&shares)?) } else { None };
        let plot = self.plot.clone().unwrap_or_else(|| dir.join("rounds.svg"));
        plot::write(&outcome.history, Some(outcome.metric), &[], &plot)?;
        self.report(&outcome, seconds, baselines, &plot, &dir)?;
        let codes = outcome.audits.iter().map(AuditReport::exit_code);
        Ok(ExitCode::from(codes.max().unwrap_or(0)))
    }

    /// Prints for people. An error is passed on, not the end of the process: there may be a node to
    /// end first.
    fn say(&self, text: impl AsRef<str>) -> Result<(), OutputError> {
        if self.json { Ok(()) } else { try_print(format_args!("{}\n", text.as_ref())) }
    }

    fn folder(&self) -> anyhow::Result<PathBuf> {
        let dir = match &self.keep {
            Some(dir) => dir.clone(),
            // Kept, so that it can be looked into afterwards.
            None => tempfile::Builder::new().prefix("colearn-demo-").tempdir()?.keep(),
        };
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    fn make_learners(&self, shares: &[Share]) -> anyhow::Result<Vec<BuiltinLearner>> {
        let data = &shares.first().context("a demo needs a learner")?.data;
        let spec = self.shape.spec(&data.schema)?;
        let initial = spec.write(&spec.untrained(self.seed))?;
        // Everything follows the seed, the noise too: a demo can be repeated, and is not private.
        let training = self.training.training(Noise::Seeded(self.seed))?;
        let learners = shares.iter().enumerate().map(|(at, share)| {
            let seed = learner_seed(self.seed, at + 1);
            BuiltinLearner::new(
                share.clone(),
                training.with_noise_seed(seed),
                initial.clone(),
                seed,
            )
        });
        Ok(learners.collect::<Result<_, _>>()?)
    }

    fn parameters(&self) -> Parameters {
        Parameters {
            threshold: self.threshold,
            max_rounds: Some(self.rounds),
            min_learners: self.learners as u32,
            merging: self.merging.then(Merging::default),
            ..Parameters::default()
        }
    }

    fn progress(&self) -> Result<ProgressBar, OutputError> {
        self.say("")?;
        Ok(progress::steps(self.rounds, self.json, "round"))
    }

    fn run_local(&self, mut learners: Vec<BuiltinLearner>) -> anyhow::Result<Outcome> {
        let (bar, mut table) = (self.progress()?, RoundTable::default());
        let local::LocalRun { history, .. } =
            local::run(&mut learners, self.parameters(), |history, round| {
                if !self.json {
                    bar.suspend(|| println!("{}", table.line(history, round)));
                }
                bar.set_position(round.number);
            })?;
        bar.finish_and_clear();
        let (score, metric) = (mean_score(&learners)?, metric_name(&learners));
        Ok(Outcome { history, score, metric, audits: Vec::new() })
    }

    async fn run_ledger(
        &self,
        learners: Vec<BuiltinLearner>,
        dir: &Path,
        program: &Program,
    ) -> anyhow::Result<Outcome> {
        let name: ExperimentName = EXPERIMENT.parse()?;
        let learner_keys = learner_keys(dir, learners.len())?;
        let node = Supervisor::start(node_command(program, &dir.join("node"))?, |status| {
            eprintln!("the node ended ({status}); starting it again on its data");
        })?;
        self.say(format!(
            "node at {} (process {}), data in {}",
            node.url(),
            node.pid(),
            dir.display()
        ))?;
        let trust = Trust::default();
        self.prepare(node.url(), &trust, &name, &learner_keys, &learners).await?;

        let running =
            start_learners(learners, learner_keys, dir, &name, &trust, |_| node.url().to_owned());
        let (bar, mut table) = (self.progress()?, RoundTable::default());
        let watching = follow(node.url(), &name, |history, closed| {
            bar.suspend(|| self.say(table.line(history, closed)))?;
            bar.set_position(closed.number);
            Ok(())
        });
        let (history, learners) = tokio::select! {
            both = async { tokio::try_join!(watching, all(running)) } => both?,
            reason = node.given_up() => bail!("{reason}"),
        };
        bar.finish_and_clear();
        tokio::task::spawn_blocking(move || node.stop()).await??;
        let audits = vec![self.audit(&dir.join("node")).await?];
        let (score, metric) = (mean_score(&learners)?, metric_name(&learners));
        Ok(Outcome { history, score, metric, audits })
    }

    async fn audit(&self, dir: &Path) -> anyhow::Result<AuditReport> {
        let place = dir.display().to_string();
        let bar = if self.json { ProgressBar::hidden() } else { progress::entries("auditing") };
        let audit = move || audit_place(&place, AuditOptions::default(), &bar);
        tokio::task::spawn_blocking(audit).await?
    }

    #[cfg(not(unix))]
    async fn run_together(
        &self,
        _: Vec<BuiltinLearner>,
        _: &Path,
        _: &Program,
    ) -> anyhow::Result<Outcome> {
        bail!("several nodes keep a ledger together on Unix systems only")
    }

    /// Runs the rounds on a ledger that several nodes keep, of which one dies half-way, comes back, and has
    /// the same in the end as the others.
    #[cfg(unix)]
    async fn run_together(
        &self,
        learners: Vec<BuiltinLearner>,
        dir: &Path,
        program: &Program,
    ) -> anyhow::Result<Outcome> {
        let starting = {
            let (program, dir, nodes) = (program.clone(), dir.to_owned(), self.nodes);
            tokio::task::spawn_blocking(move || consortium::start(&program, &dir, nodes))
        };
        let nodes = starting.await??;
        let tolerated = (nodes.count() - 1) / 3;
        let (told, trust) =
            (format!("of which {tolerated} may be down or faulty"), Trust::default());
        // Without one of fewer than four nobody could go on.
        let one_dies = tolerated > 0;
        self.run_on(nodes, &told, &trust, one_dies, learners, dir).await
    }

    #[cfg(not(unix))]
    async fn run_on_chain(
        &self,
        _: Vec<BuiltinLearner>,
        _: &Path,
        _: &Program,
    ) -> anyhow::Result<Outcome> {
        bail!("a public chain is started on Unix systems only")
    }

    /// Runs the rounds on a ledger that a contract on a public chain keeps. In the end the mirrors have what the chain
    /// itself proves.
    #[cfg(unix)]
    async fn run_on_chain(
        &self,
        learners: Vec<BuiltinLearner>,
        dir: &Path,
        program: &Program,
    ) -> anyhow::Result<Outcome> {
        let contract = self.contract.clone().context(
            "give the contract that the chain is to run: --contract FILE, or COLEARN_CHAIN_WASM (docs/chain.md)",
        )?;
        let programs = chain::Programs { wasmd: self.wasmd.clone(), contract };
        let public = chain::PublicChain::start(&programs, dir).await?;
        self.say(format!("contract {} on a chain of this machine", public.contract()))?;
        self.say(format!("trust {}", public.trust()))?;
        let nodes = {
            let (program, dir) = (program.clone(), dir.to_owned());
            tokio::task::block_in_place(|| public.mirrors(&program, &dir))?
        };
        let trust = Trust { chain: Some(public.trust().clone()), ..Trust::default() };
        let told = "mirrors of the chain's ledger";
        let outcome = self.run_on(nodes, told, &trust, true, learners, dir).await?;
        let (size, root, height) = public.proven().await?;
        if outcome.audits.iter().any(|audit| (audit.size, &audit.root) != (size, &root)) {
            bail!(
                "the mirrors have not what the chain proves: {size} entries with the root {root}"
            );
        }
        self.say(format!("the chain proves the root of {size} entries by block {height}"))?;
        Ok(outcome)
    }

    /// Runs the rounds on a ledger that several nodes show, of which one dies half-way if it may, comes back, and has the
    /// same in the end as the others.
    #[cfg(unix)]
    async fn run_on(
        &self,
        mut nodes: Fleet,
        told: &str,
        trust: &Trust,
        one_dies: bool,
        learners: Vec<BuiltinLearner>,
        dir: &Path,
    ) -> anyhow::Result<Outcome> {
        let name: ExperimentName = EXPERIMENT.parse()?;
        let learner_keys = learner_keys(dir, learners.len())?;
        nodes.come_together().await?;
        self.say(format!("{} nodes, {told}; data in {}", nodes.count(), dir.display()))?;
        let watched = nodes.urls_for(0);
        self.prepare(&watched, trust, &name, &learner_keys, &learners).await?;
        let running = start_learners(learners, learner_keys, dir, &name, trust, |learner| {
            nodes.urls_for(learner)
        });
        let (bar, mut table) = (self.progress()?, RoundTable::default());
        let (dies, returns) = (self.rounds / 2, self.rounds - self.rounds / 4);
        let watching = follow(&watched, &name, |history, closed| {
            bar.suspend(|| self.say(table.line(history, closed)))?;
            bar.set_position(closed.number);
            if one_dies && closed.number == dies {
                let killed = nodes.kill_one()?;
                bar.suspend(|| self.say(format!("the node of {killed} is killed")))?;
            }
            if closed.number == returns {
                nodes.start_again()?;
            }
            Ok(())
        });
        let (history, learners) = tokio::try_join!(watching, all(running))?;
        bar.finish_and_clear();
        nodes.start_again()?;
        nodes.come_together().await?;
        let folders: Vec<PathBuf> = (0..nodes.count()).map(|at| nodes.folder(at)).collect();
        tokio::task::spawn_blocking(move || nodes.stop()).await??;
        let mut audits = Vec::new();
        for folder in &folders {
            audits.push(self.audit(folder).await?);
        }
        if !audits.iter().all(|it| (it.size, &it.root) == (audits[0].size, &audits[0].root)) {
            bail!("the nodes' ledgers differ; audit each of the folders in {}", dir.display());
        }
        let (score, metric) = (mean_score(&learners)?, metric_name(&learners));
        Ok(Outcome { history, score, metric, audits })
    }

    /// Creates the experiment and lets the learners join in order, unless that was done before.
    async fn prepare(
        &self,
        url: &str,
        trust: &Trust,
        name: &ExperimentName,
        learner_keys: &[SigningKey],
        learners: &[BuiltinLearner],
    ) -> anyhow::Result<()> {
        let client = Client::connect(url).await?;
        let mut followed = Followed::open(client, Memory::default(), trust.clone()).await?;
        followed.catch_up(&mut |_| {}).await?;
        let creator = learner_keys.first().context("a demo needs a learner")?;
        match followed.described(name, keys::learner_id(creator), 0) {
            Ok(known) => {
                let known = known.experiment;
                if matches!(known.phase, Phase::Finished(_)) {
                    bail!("the demo in this folder has finished; choose another --keep folder");
                }
                self.say(format!("going on after round {}", known.round.saturating_sub(1)))?;
            }
            Err(ClientError::NoExperiment(_)) => {
                let first = learners.first().context("a demo needs a learner")?.current();
                followed.client().upload(&first).await?;
                let create = Action::new(
                    name.clone(),
                    Act::Create(CreateExperiment {
                        version: followed.contract_version()?.number(),
                        parameters: self.parameters(),
                        admission: Admission::invite(learner_keys.iter().map(keys::learner_id)),
                        model: first.model(SAFETENSORS),
                        plan: None,
                    }),
                );
                followed.act(creator, create).await?;
            }
            Err(error) => return Err(error.into()),
        }
        for key in learner_keys {
            followed.catch_up(&mut |_| {}).await?;
            let known = followed.described(name, keys::learner_id(key), 0)?;
            if known.member.is_none() {
                let join = Join::new(0, Some(known.experiment.terms));
                let join = Action::new(name.clone(), Act::Join(join));
                followed.act(key, join).await?;
            }
        }
        Ok(())
    }

    /// Test accuracies of learning alone (each learner's) and of all data together.
    fn baselines(&self, shares: &[Share]) -> anyhow::Result<(Vec<f64>, f64)> {
        let train = |mut learner: BuiltinLearner| {
            for _ in 0..self.rounds {
                learner.train_alone().map_err(|error| anyhow::anyhow!("{error}"))?;
            }
            anyhow::Ok(learner)
        };
        // Everyone is tested on everybody's test rows, as the shared model is.
        let together = Share::merge(shares).context("no data")?;
        let alone: Vec<Share> = shares
            .iter()
            .map(|share| Share { test: together.test.clone(), ..share.clone() })
            .collect();
        let alone = self
            .make_learners(&alone)?
            .into_par_iter()
            .map(|learner| test_score(&train(learner)?))
            .collect::<anyhow::Result<Vec<f64>>>()?;
        let central = self.make_learners(&[together])?.pop().context("no data")?;
        Ok((alone, test_score(&train(central)?)?))
    }

    fn report(
        &self,
        outcome: &Outcome,
        seconds: f64,
        baselines: Option<(Vec<f64>, f64)>,
        plot: &Path,
        dir: &Path,
    ) -> anyhow::Result<()> {
        if self.json {
            let report = serde_json::json!({
                "backend": self.backend.word(),
                "merging": self.merging,
                "seed": self.seed,
                "seconds": seconds,
                "final_mean_test_score": outcome.score,
                "metric": outcome.metric,
                "history": outcome.history.to_json(),
                "baselines": baselines.map(|(alone, together)| {
                    serde_json::json!({ "alone": alone, "together": together })
                }),
                "audit": outcome.audits.first(),
                "audits": &outcome.audits,
                "plot": plot,
                "data": dir,
            });
            println!("{}", serde_json::to_string_pretty(&report)?);
            return Ok(());
        }
        println!("\n{}", text::learner_table(&outcome.history));
        println!(
            "final model: mean {} {:.3} on the learners' test rows, after {seconds:.1} s",
            outcome.metric, outcome.score
        );
        if let Some((alone, together)) = baselines {
            let mean = alone.iter().sum::<f64>() / alone.len().max(1) as f64;
            let low = alone.iter().copied().fold(f64::INFINITY, f64::min);
            let high = alone.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            println!("  each learner alone: mean {mean:.3}, from {low:.3} to {high:.3}");
            println!("  all data together:  {together:.3}");
        }
        println!("plot: {}", plot.display());
        let folder = |at: usize| match outcome.audits.len() {
            1 => dir.join("node"),
            _ => dir.join(format!("node-{}", at + 1)),
        };
        for (at, audit) in outcome.audits.iter().enumerate() {
            println!("audit it again: colearn audit {}", folder(at).display());
            for finding in &audit.findings {
                println!("{finding}");
            }
            println!("{}", audit.verdict_line());
        }
        Ok(())
    }
}

/// Starts learners, each at the nodes that it is told.
fn start_learners(
    learners: Vec<BuiltinLearner>,
    learner_keys: Vec<SigningKey>,
    dir: &Path,
    name: &ExperimentName,
    trust: &Trust,
    nodes: impl Fn(usize) -> String,
) -> Vec<JoinHandle<Result<(BuiltinLearner, client::Summary), ClientError>>> {
    learners
        .into_iter()
        .zip(learner_keys)
        .enumerate()
        .map(|(at, (learner, key))| {
            let options = Options {
                data: Some(dir.join(format!("learners/{}.pem.data", at + 1))),
                trust: trust.clone(),
                ..Options::new(nodes(at), name.clone(), key)
            };
            tokio::spawn(client::run(learner, options))
        })
        .collect()
}

fn mean_score(learners: &[BuiltinLearner]) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for learner in learners {
        sum += test_score(learner)?;
    }
    Ok(sum / learners.len().max(1) as f64)
}

fn metric_name(learners: &[BuiltinLearner]) -> &'static str {
    learners.first().map_or("", |learner| learner.test_metric().name())
}

fn test_score(learner: &BuiltinLearner) -> anyhow::Result<f64> {
    learner.test_score().map_err(|error| anyhow::anyhow!("{error}"))
}

fn learner_keys(dir: &Path, count: usize) -> anyhow::Result<Vec<SigningKey>> {
    let dir = dir.join("learners");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let keys = (1..=count).map(|i| keys::load_or_create(&dir.join(format!("{i}.pem"))));
    Ok(keys.collect::<Result<_, _>>()?)
}

/// All learners, when they have finished; the first error, as soon as there is one.
async fn all(
    running: Vec<JoinHandle<Result<(BuiltinLearner, client::Summary), ClientError>>>,
) -> anyhow::Result<Vec<BuiltinLearner>> {
    let mut learners = Vec::new();
    for (at, learner) in running.into_iter().enumerate() {
        let ended = learner.await.map_err(|_| ClientError::Panicked)?;
        learners.push(ended.with_context(|| format!("learner {}", at + 1))?.0);
    }
    Ok(learners)
}

/// Follows the experiment until it finishes.
async fn follow(
    url: &str,
    name: &ExperimentName,
    mut closed: impl FnMut(&History, &Round) -> anyhow::Result<()>,
) -> anyhow::Result<History> {
    let mut history = History::new(name.clone());
    let mut told = 0;
    following::follow(url, name, |decoded| {
        history.record(decoded);
        for round in history.closed().skip(told) {
            closed(&history, round)?;
            told += 1;
        }
        Ok(match history.finished {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        })
    })
    .await?;
    Ok(history)
}

/// The command that runs a node on this data.
fn node_command(
    program: &Program,
    data: &Path,
) -> anyhow::Result<impl Fn(SocketAddr) -> Command + Send + use<>> {
    let (file, before) = program.parts().context("cannot find this program")?;
    let data = data.to_owned();
    Ok(move |listen: SocketAddr| {
        let mut command = Command::new(&file);
        let listen = listen.to_string();
        command.args(&before);
        command.args(["node", "--json", "--until-eof", "--listen", &listen, "--data"]).arg(&data);
        // The demo tells what happens itself.
        command.args(["--ops-listen", "off", "--log-level", "warn"]);
        command
    })
}
