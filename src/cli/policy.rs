//! `colearn dp policy`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use colearn_sdk::policy::{Budget, Policy};
use colearn_sdk::spending::{LearnerSpent, SiteSpent};
use serde_json::{Value, json};

#[derive(Args)]
#[command(after_help = "Examples:
  colearn dp policy site.toml
  colearn dp policy site.toml --json

Fails where a learner with --policy would not start: if the file is no policy, or what was spent cannot be read.")]
pub(crate) struct PolicyArgs {
    /// The policy (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl PolicyArgs {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let policy = Policy::read(&self.file)?;
        let spent = SiteSpent::of(&policy)?;
        if self.json {
            println!("{}", document(&policy, &spent));
        } else {
            print(&policy, &spent);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(policy: &Policy, spent: &SiteSpent) {
    let line = |name: &str, text: String| println!("{name:<13} {text}");
    let most = |micros: Option<u64>| micros.map_or("any".to_owned(), |it| unit(it).to_string());
    let leaves = |may: bool| if may { "may leave" } else { "do not leave" }.to_owned();
    line("policy", policy.digest.to_string());
    line("data", policy.data.to_string());
    line("least noise", most(policy.least_noise_micros));
    line("largest clip", most(policy.largest_clip_micros));
    line(
        "epsilon",
        match policy.budget {
            Some(Budget { max_epsilon_micros, delta_picos }) => {
                format!("at most {} at delta {}", unit(max_epsilon_micros), delta(delta_picos))
            }
            None => "any".to_owned(),
        },
    );
    line("ledgers", list(policy.ledgers.as_deref()));
    line("experiments", list(policy.experiments.as_deref()));
    line(
        "scores",
        match policy.score_epsilon_micros {
            Some(micros) => {
                format!("may leave with noise, of epsilon at most {} each", unit(micros))
            }
            None => leaves(policy.scores),
        },
    );
    line("unprotected", leaves(policy.unprotected));
    line(
        "spent",
        format!(
            "{}{}",
            match spent.epsilon_micros {
                Some(micros) => {
                    format!("epsilon {:.4} at delta {}", unit(micros), delta(spent.delta_picos))
                }
                None => format!(
                    "no epsilon bounds it: {} trainings without differential privacy",
                    spent.unprotected
                ),
            },
            left(policy, spent).map_or(String::new(), |left| format!("; left {:.4}", unit(left))),
        ),
    );
    line("kept in", spent.path.display().to_string());
    if !spent.learners.is_empty() {
        println!();
        println!(
            "{:<9} {:<24} {:<9} {:>9} {:>9} {:>9}",
            "ledger", "experiment", "learner", "trainings", "steps", "epsilon"
        );
    }
    for it in &spent.learners {
        let LearnerSpent { ledger, experiment, learner, trainings, steps, epsilon_micros, .. } = it;
        let (ledger, learner) = (ledger.to_string(), learner.to_string());
        let (ledger, learner, experiment) = (&ledger[..8], &learner[..8], experiment.as_str());
        println!(
            "{ledger:<9} {experiment:<24} {learner:<9} {trainings:>9} {steps:>9} {:>9}",
            epsilon_micros.map_or("unbounded".to_owned(), |it| format!("{:.4}", unit(it)))
        );
    }
}

fn document(policy: &Policy, spent: &SiteSpent) -> Value {
    let all = |texts: Option<Vec<String>>| texts.map_or(Value::Null, Value::from);
    let learner = |it: &LearnerSpent| {
        json!({
            "ledger": it.ledger.to_string(),
            "experiment": it.experiment.as_str(),
            "learner": it.learner.to_string(),
            "trainings": it.trainings,
            "unprotected": it.unprotected,
            "steps": it.steps,
            "epsilon": it.epsilon_micros.map(unit),
        })
    };
    json!({
        "policy": policy.path,
        "digest": policy.digest.to_string(),
        "data": policy.data.as_str(),
        "least_noise": policy.least_noise_micros.map(unit),
        "largest_clip": policy.largest_clip_micros.map(unit),
        "max_epsilon": policy.budget.map(|budget| unit(budget.max_epsilon_micros)),
        "ledgers": all(policy.ledgers.as_deref().map(texts)),
        "experiments": all(policy.experiments.as_deref().map(texts)),
        "scores": policy.scores,
        "score_epsilon": policy.score_epsilon_micros.map(unit),
        "unprotected": policy.unprotected,
        "spent": {
            "file": spent.path,
            "delta": spent.delta_picos as f64 / 1e12,
            "epsilon": spent.epsilon_micros.map(unit),
            "unprotected": spent.unprotected,
            "left": left(policy, spent).map(unit),
            "learners": spent.learners.iter().map(learner).collect::<Vec<_>>(),
        },
    })
}

/// What is left of the budget, in millionths; 0 where there is more spent than a policy that was made stricter
/// allows, or what no ε bounds.
fn left(policy: &Policy, spent: &SiteSpent) -> Option<u64> {
    let budget = policy.budget?;
    let spent = spent.epsilon_micros.unwrap_or(u64::MAX);
    Some(budget.max_epsilon_micros.saturating_sub(spent))
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(T::to_string).collect()
}

fn list<T: ToString>(allowed: Option<&[T]>) -> String {
    allowed.map_or("any".to_owned(), |all| texts(all).join(", "))
}

fn unit(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn delta(picos: u64) -> String {
    format!("{:e}", picos as f64 / 1e12)
}
