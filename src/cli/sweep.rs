//! `colearn simulate --vary`: a scenario with several values, and with several seeds.

use std::path::Path;
use std::time::Instant;

use colearn::plot::{Curve, Curves};
use colearn::simulate::{Scenario, Setting, Simulation, SimulationReport, Varied, settings, shown};
use serde_json::{Value, json};

use super::progress;

/// What came of a setting, with each seed.
pub(crate) struct Swept {
    setting: Setting,
    runs: Vec<(u64, SimulationReport)>,
}

/// Runs all of them, one after the other: each has all threads.
pub(crate) fn run(
    path: &Path,
    varied: &[Varied],
    seeds: u64,
    prepare: impl Fn(&mut Scenario),
    quiet: bool,
) -> anyhow::Result<Vec<Swept>> {
    let mut scenarios = Vec::new();
    // What cannot be is told before anything runs.
    for setting in settings(varied).map_err(anyhow::Error::msg)? {
        let mut scenario = Scenario::read_with(path, &setting)?;
        prepare(&mut scenario);
        scenarios.push((setting, scenario));
    }
    let bar = progress::steps(scenarios.len() as u64 * seeds, quiet, "run");
    let mut swept = Vec::new();
    for (setting, scenario) in scenarios {
        let mut runs = Vec::new();
        for seed in scenario.seed..scenario.seed.saturating_add(seeds) {
            let scenario = Scenario { seed, ..scenario.clone() };
            let shares = scenario.split(&scenario.load()?)?;
            let simulation = Simulation::new(&scenario, &shares)?;
            let (report, _) = simulation.run(|_, _| {}, |_, _| {})?;
            runs.push((seed, report));
            bar.inc(1);
        }
        swept.push(Swept { setting, runs });
    }
    bar.finish_and_clear();
    Ok(swept)
}

impl Swept {
    fn name(&self) -> String {
        let said =
            self.setting.iter().map(|(key, value)| format!("{key}={}", shown(value.as_ref())));
        said.collect::<Vec<_>>().join(" ")
    }

    /// The mean of the final scores, and their standard deviation if there are several.
    fn score(&self) -> (f64, Option<f64>) {
        let count = self.runs.len() as f64;
        let scores = || self.runs.iter().map(|(_, report)| report.final_score);
        let mean = scores().sum::<f64>() / count;
        let squares: f64 = scores().map(|score| (score - mean).powi(2)).sum();
        (mean, (self.runs.len() > 1).then(|| (squares / (count - 1.0)).sqrt()))
    }

    fn mean(&self, of: impl Fn(&SimulationReport) -> f64) -> f64 {
        self.runs.iter().map(|(_, report)| of(report)).sum::<f64>() / self.runs.len() as f64
    }

    /// The mean of what is one for a round.
    fn mean_a_round(&self, of: impl Fn(&SimulationReport) -> f64) -> f64 {
        self.mean(|report| of(report) / report.rounds.max(1) as f64)
    }

    fn json(&self) -> Value {
        let (mean, deviation) = self.score();
        let setting = self.setting.iter().map(|(key, value)| (key.clone(), json!(value)));
        let run =
            |(seed, report): &(u64, SimulationReport)| json!({ "seed": seed, "report": report });
        json!({
            "setting": setting.collect::<serde_json::Map<_, _>>(),
            "final_score": mean,
            "deviation": deviation,
            "runs": self.runs.iter().map(run).collect::<Vec<_>>(),
        })
    }

    /// The mean score after each round, as far as all runs went.
    fn curve(&self) -> Curve {
        let rounds = self.runs.iter().map(|(_, report)| report.scores.len()).min().unwrap_or(0);
        let at = |round: usize| (round as f64 + 1.0, self.mean(|report| report.scores[round]));
        Curve { name: self.name(), points: (0..rounds).map(at).collect() }
    }
}

/// What came of everything, for programs.
pub(crate) fn to_json(swept: &[Swept], plot: Option<&Path>, began: Instant) -> Value {
    json!({
        "metric": metric(swept),
        "seconds": began.elapsed().as_secs_f64(),
        "settings": swept.iter().map(Swept::json).collect::<Vec<_>>(),
        "plot": plot,
    })
}

/// What came of everything, for people: a line for each setting. What a round takes and moves is the mean of all: the
/// weights that pass through the node, and the entries that each follows.
pub(crate) fn print(swept: &[Swept], began: Instant) {
    let mut lines = vec![Vec::new()];
    if let Some(first) = swept.first() {
        lines[0].extend(first.setting.iter().map(|(key, _)| key.clone()));
    }
    let names = [metric(swept), "+-", "accepted", "harmful", "s a round", "MB", "ledger kB"];
    lines[0].extend(names.map(str::to_owned));
    for it in swept {
        let (mean, deviation) = it.score();
        let mut line: Vec<String> =
            it.setting.iter().map(|(_, value)| shown(value.as_ref())).collect();
        line.push(format!("{mean:.3}"));
        line.push(deviation.map_or_else(|| "-".to_owned(), |it| format!("{it:.3}")));
        line.push(format!("{:.1}", it.mean(|report| report.accepted as f64)));
        line.push(format!("{:.1}", it.mean(|report| report.accepted_harmful as f64)));
        line.push(format!("{:.1}", it.mean_a_round(|report| report.simulated_ms as f64 / 1e3)));
        let moved = |report: &SimulationReport| {
            report.costs.sent_bytes as f64 + report.costs.fetched_bytes as f64
        };
        line.push(format!("{:.1}", it.mean_a_round(|report| moved(report) / 1e6)));
        line.push(format!(
            "{:.1}",
            it.mean_a_round(|report| report.costs.ledger_bytes as f64 / 1e3)
        ));
        lines.push(line);
    }
    let columns = lines.first().map_or(0, Vec::len);
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    let runs: usize = swept.iter().map(|it| it.runs.len()).sum();
    println!("{runs} runs in {:.1} s", began.elapsed().as_secs_f64());
}

/// The mean scores by round, a curve for each setting.
pub(crate) fn curves(swept: &[Swept]) -> Curves<'_> {
    Curves {
        title: "score of the model after each round, mean of all seeds",
        x: "round",
        y: metric(swept),
        curves: swept.iter().map(Swept::curve).collect(),
    }
}

fn metric(swept: &[Swept]) -> &'static str {
    let first = swept.first().and_then(|it| it.runs.first());
    first.map_or("score", |(_, report)| report.metric)
}
