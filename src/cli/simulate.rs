//! `colearn simulate` and `colearn attacks`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use colearn::plot::{self, Curve, Curves};
use colearn::simulate::{
    AttackTable, Cell, Scenario, Simulation, SimulationReport, Size, attack_table,
};
use serde_json::json;

use super::args::capital;
use super::progress;
use super::tell::rounds::RoundTable;
use super::tell::text;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn simulate scenario.toml
  colearn simulate scenario.toml --merging
  colearn simulate scenario.toml --seed 7 --plot rounds.svg --json

A scenario, everything in it optional:
  task = \"digits\"            # or data = \"mine.csv\" and label = \"column\"
  learners = 20
  rounds = 40
  split = \"dirichlet:0.5\"
  rule = \"median\"            # instead of voting: average, median or krum
  [model]
  hidden = [32]
  [training]
  epochs = 5
  noise = 1.0                # differential privacy; the noise follows the seed
  [plan]                     # as in a plan file
  threshold = \"2/3\"
  ballot = \"sealed\"
  merging = {}               # merged rounds: everybody trains in each
  [timing]
  training = \"2m\"
  voting = \"10s\"
  [[faults]]
  share = 0.3                # or learners = [4, 5]
  attack = \"sign_flip\"       # label_flip, scaled, random, nan, alie, ipm, backdoor
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
    /// How many threads [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Draw the rounds to this file (.svg, .png or .html)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Show who has what
    #[arg(long)]
    show_split: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:
  colearn attacks --out docs/attacks.md
  colearn attacks --learners 21 --rounds 20 --seeds 1 --json")]
pub(crate) struct AttacksArgs {
    /// How many learners share the digits
    #[arg(long, default_value_t = 41, value_name = "N")]
    learners: usize,
    /// How many rounds
    #[arg(long, default_value_t = 82, value_name = "N")]
    rounds: u64,
    /// How many runs of each cell
    #[arg(long, default_value_t = 3, value_name = "N")]
    seeds: u64,
    /// Write the page here instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the cells as JSON
    #[arg(long)]
    json: bool,
}

impl SimulateArgs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.plot {
            plot::check_path(path)?;
        }
        let mut scenario = Scenario::read(&self.scenario)?;
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        if self.merging {
            scenario.plan.entry("merging").or_insert_with(|| toml::Table::new().into());
        }
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
        }
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
                Some(run) => plot::write(&run.history, path)?,
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
}

fn print_report(report: &SimulationReport, seconds: f64) {
    println!(
        "final model: mean {} {:.3} on the honest learners' test rows, after {} rounds in {seconds:.1} s",
        report.metric, report.final_score, report.rounds
    );
    if let Some(root) = &report.root {
        let simulated = std::time::Duration::from_secs(report.simulated_ms / 1000);
        println!(
            "accepted {} proposals, {} of them from faulty learners, {} harmful",
            report.accepted, report.accepted_from_faulty, report.accepted_harmful
        );
        println!("simulated time {}", humantime::format_duration(simulated));
        println!("ledger: {} entries, root {root}", report.entries);
    }
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

impl AttacksArgs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let size = Size { learners: self.learners, rounds: self.rounds, seeds: self.seeds };
        let bar = progress::steps(1, self.json, "cell");
        let table = attack_table(size, |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&table)?);
            return Ok(ExitCode::SUCCESS);
        }
        let page = page(&table)?;
        match &self.out {
            Some(path) => write(path, &page)?,
            None => print!("{page}"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, page: &str) -> anyhow::Result<()> {
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

const INTRODUCTION: &str = "\
Nobody wrote these numbers: `colearn attacks --out docs/attacks.md` did, from the same contract and learners that run
on a ledger. Attackers propose something bad in their turns and, unless it says otherwise, collude in votes: they
approve each other's proposals and reject everybody else's. Averaging, median and Krum are what a server would do
that gets an update from everybody in every round, computed in the same simulator; they use as many trainings a round
as there are learners, where a vote uses one.

Rules: *vote* is the default (threshold 1/2, approve what is not less accurate than the present model); *lenient* has a
margin of 0.15 in accuracy; *strict* judges by loss and approves only what is better by 0.01 (a margin of -0.01); *sealed*
commits before anybody reveals, which matters where votes are copied; *Krum* is told how many attackers there are.
";

const LIMITS: &str = "\
## What voting on clean data cannot stop

**Backdoors.** A model that is as good as before on everybody's data, and does what the attackers want on data that
carries their trigger, deserves every honest vote. The rows above show it: accuracy stays, the backdoor opens. Nothing
in a ledger of votes finds it; the ledger only says whose proposal it was. Look into models that matter by other
means.

**Small harm.** An update that costs less than the voters can see on their rows passes. Here each learner has seven voting
rows and sees accuracy in steps of a seventh; that is also why honest updates that do harm are accepted without any
attacker. More voting rows, or judging by loss, see more.

**A large minority.** A vote asks each time whether one update is good; colluders answer before they are asked. At 30 %
they need two honest votes in seven, and voters who see seven rows are wrong that often; at 49 % they need one, and honest
proposals need them all. The median, which needs every learner's update in every round, holds out longer. A threshold above
one half (`--threshold 2/3`) protects the model for longer too, and stops progress earlier.

**Refusal.** Voters who reject everything slow progress down, and near one half stop it: the old model stays. That
harms nobody's model, and the ledger says who did it.
";

fn page(table: &AttackTable) -> anyhow::Result<String> {
    let mut text = String::from("# What attackers reach\n\n");
    text.push_str(INTRODUCTION);
    writeln!(
        text,
        "\nThe digits evenly divided among {} learners, {} rounds, an MLP 64-32-10; means over {} seeds. Each cell \
         is the final accuracy on the honest learners' test rows; in brackets, for votes, how many accepted updates \
         cost more than a hundredth of it.\n",
        table.learners, table.rounds, table.seeds
    )?;
    let percent = |count: usize| 100.0 * count as f64 / table.learners as f64;
    for group in table.cells.chunk_by(|a, b| a.attack == b.attack) {
        let Some(first) = group.first() else { continue };
        writeln!(text, "## {}\n", capital(first.attack))?;
        let heads: Vec<String> =
            table.attackers.iter().map(|count| format!("{:.0} %", percent(*count))).collect();
        writeln!(text, "| rule | {} |\n|---|{}", heads.join(" | "), "---|".repeat(heads.len()))?;
        for row in group.chunk_by(|a, b| a.rule == b.rule) {
            let cells: Vec<String> = row.iter().map(cell).collect();
            let rule = row.first().map_or("", |cell| cell.rule);
            writeln!(text, "| {rule} | {} |", cells.join(" | "))?;
        }
        text.push('\n');
    }
    text.push_str(LIMITS);
    Ok(text)
}

fn cell(cell: &Cell) -> String {
    let mut text = format!("{:.3}", cell.accuracy);
    if let Some(harmful) = cell.harmful {
        let _ = write!(text, " ({harmful:.1})");
    }
    if let Some(backdoor) = cell.backdoor {
        let _ = write!(text, ", opens {:.0} %", 100.0 * backdoor);
    }
    text
}
