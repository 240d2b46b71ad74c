//! `colearn simulate`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use colearn::plot::{self, Curve, Curves};
use colearn::simulate::{Scenario, Simulation, SimulationReport, Varied};
use indicatif::DecimalBytes;
use serde_json::json;

use super::progress;
use super::sweep;
use super::tell::rounds::RoundTable;
use super::tell::text;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn simulate scenario.toml
  colearn simulate scenario.toml --merging
  colearn simulate scenario.toml --seed 7 --plot rounds.svg --json
  colearn simulate scenario.toml --vary faults.1.share=0,0.2,0.4 --vary rule=-,average,median --seeds 3

A scenario, everything in it optional:
  task = \"digits\"            # or data = \"mine.csv\" and label = \"column\"
  learners = 20
  rounds = 40
  split = \"dirichlet:0.5\"
  rule = \"median\"            # instead of voting; or average, momentum, krum, multi_krum, clipping
  [model]
  hidden = [32]
  [training]
  epochs = 5
  vote = \"not_worse\"         # or better, with confidence = 0.9: docs/votes.md
  noise = 1.0                # differential privacy; the noise follows the seed
  cautious = true            # without noise: defences against backdoors, in merged rounds;
  harden = true              # docs/attacks.md says what they are good for
  [plan]                     # as in a plan file
  threshold = \"2/3\"
  ballot = \"sealed\"
  merging = {}               # merged rounds: everybody trains in each
  [timing]
  training = \"2m\"
  voting = \"10s\"
  spread = 0.5               # how much learners differ in that: of the logarithm, one standard deviation
  [network]                  # megabits a second; what is left out takes no time
  up_mbit = 20
  down_mbit = 100
  node_up_mbit = 1000
  node_down_mbit = 1000
  latency = \"50ms\"
  [churn]
  leaves = 0.05              # the share that goes away before a round,
  away = 3                   # for so many on average
  [[faults]]
  share = 0.3                # or learners = [4, 5]
  attack = \"sign_flip\"       # label_flip, scaled, random, nan, zero, alie, ipm, mimic, mixed, limit, gate,
                             # adaptive, withheld, half_withheld, backdoor
  vote = \"colludes\"          # approves, rejects, opposite, copies, never
  [[faults]]
  learners = [1]
  slow = \"1h\"
  away = [5, 9]              # rounds: crashed, and returned

The same scenario and seed give the same root, on any number of threads.")]
pub(crate) struct SimulateArgs {
    /// The scenario (TOML)
    #[arg(value_name = "FILE")]
    scenario: PathBuf,
    /// Another seed than the scenario's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Merge rounds, by the rules of the scenario's plan if it has some for that
    #[arg(long)]
    merging: bool,
    /// Run it once with each of these values of a scenario's key, and with each other one that is varied; - leaves it
    /// out. Prints a table
    #[arg(long, value_name = "KEY=VALUE,VALUE")]
    vary: Vec<Varied>,
    /// Run each so often, with this many seeds one after the other. Prints a table
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000), value_name = "N")]
    seeds: Option<u64>,
    /// How many threads [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Draw the rounds to this file (.svg, .png or .html)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Show who has what
    #[arg(long, conflicts_with_all = ["vary", "seeds"])]
    show_split: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl SimulateArgs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.plot {
            plot::check_path(path)?;
        }
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
        }
        if !self.vary.is_empty() || self.seeds.is_some() {
            return self.sweep();
        }
        let mut scenario = Scenario::read(&self.scenario)?;
        self.prepare(&mut scenario);
        let shares = scenario.split(&scenario.load()?)?;
        if self.show_split && !self.json {
            println!("split {}", scenario.split);
            print!("{}", text::split_table(&shares));
        }
        let simulation = Simulation::new(&scenario, &shares)?;
        let bar = progress::steps(simulation.rounds(), self.json, "round");
        let (started, mut table) = (Instant::now(), RoundTable::default());
        let (report, run) = simulation.run(
            |history, round| {
                if !self.json {
                    bar.suspend(|| println!("{}", table.line(history, round)));
                }
                bar.set_position(round.number);
            },
            |round, score| {
                if !self.json {
                    bar.suspend(|| println!("{round:>5}  score {score:.3}"));
                }
                bar.set_position(round);
            },
        )?;
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        if let Some(path) = &self.plot {
            match &run {
                Some(run) => plot::write(&run.history, Some(report.metric), &[], path)?,
                None => plot::write_curves(&curve(&report), path)?,
            }
        }
        if self.json {
            let history = run.as_ref().map(|run| run.history.to_json());
            let report = json!({
                "seed": scenario.seed,
                "seconds": seconds,
                "report": report,
                "history": history,
                "plot": self.plot,
            });
            println!("{}", serde_json::to_string_pretty(&report)?);
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(run) = &run {
            println!("\n{}", text::learner_table(&run.history));
        }
        print_report(&report, seconds);
        if let Some(path) = &self.plot {
            println!("plot: {}", path.display());
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What the flags say otherwise than the scenario.
    fn prepare(&self, scenario: &mut Scenario) {
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        if self.merging {
            scenario.plan.entry("merging").or_insert_with(|| toml::Table::new().into());
        }
    }

    fn sweep(&self) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let (vary, seeds) = (&self.vary, self.seeds.unwrap_or(1));
        let prepare = |scenario: &mut Scenario| self.prepare(scenario);
        let swept = sweep::run(&self.scenario, vary, seeds, prepare, self.json)?;
        if let Some(path) = &self.plot {
            plot::write_curves(&sweep::curves(&swept), path)?;
        }
        if self.json {
            let report = sweep::to_json(&swept, self.plot.as_deref(), began);
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            sweep::print(&swept, began);
            if let Some(path) = &self.plot {
                println!("plot: {}", path.display());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print_report(report: &SimulationReport, seconds: f64) {
    let (costs, bytes) = (&report.costs, DecimalBytes);
    println!(
        "final model: mean {} {:.3} on the honest learners' test rows, after {} rounds in {seconds:.1} s",
        report.metric, report.final_score, report.rounds
    );
    if let Some(root) = &report.root {
        println!(
            "accepted {} proposals, {} of them from faulty learners, {} harmful",
            report.accepted, report.accepted_from_faulty, report.accepted_harmful
        );
        println!("ledger: {} entries, {}, root {root}", report.entries, bytes(costs.ledger_bytes));
    }
    let simulated = std::time::Duration::from_secs(report.simulated_ms / 1000);
    println!("simulated time {}", humantime::format_duration(simulated));
    println!(
        "weights of {}: {} sent, {} fetched; a learner at most {} and {}",
        bytes(costs.model_bytes),
        bytes(costs.sent_bytes),
        bytes(costs.fetched_bytes),
        bytes(costs.most_sent_bytes),
        bytes(costs.most_fetched_bytes)
    );
    if let Some(backdoor) = report.backdoor {
        println!("the backdoor opens for {:.0} % of the rows that carry it", 100.0 * backdoor);
    }
}

fn curve(report: &SimulationReport) -> Curves<'static> {
    let points = report.scores.iter().enumerate().map(|(at, score)| (at as f64 + 1.0, *score));
    Curves {
        title: "score of the combined model",
        x: "round",
        y: report.metric,
        curves: vec![Curve { name: "mean over the honest".to_owned(), points: points.collect() }],
    }
}
