//! `colearn dp audit`: an attack on one's own private training.

use std::process::ExitCode;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use colearn_learning::Training;
use colearn_learning::canaries::{AuditPlan, Audited, LEAST_CANARIES, MOST_CANARIES, audit};
use serde_json::json;

use super::args::{Data, ModelShape};

#[derive(Args)]
#[command(after_help = "Examples:
  colearn dp audit --noise 3 --batch 256 --epochs 10
  colearn dp audit --data mine.csv --label default --noise 1.1 --batch 128 --canaries 1000 --json
  colearn dp audit --noise 0.3 --claim 3 --batch 256 --epochs 10     # what a lie looks like

Rows that stand out (canaries) are trained on or not, each by the toss of a coin, and guessed from what every step
shows to whoever knows everything else. How often the guesses are right proves a lower bound of epsilon (Steinke, Nasr and
Jagielski 2023). Larger batches, more steps and more canaries prove more. A lower bound that is far below the accountant's
says nothing against either. Exit codes: 0; 1 the lower bound is above what is claimed, so noise, clipping, sampling or
accounting is broken (at 95 % confidence that happens by chance in at most one of 20 audits: repeat it).")]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    source: Data,
    #[command(flatten)]
    shape: ModelShape,
    /// The noise multiplier to train with
    #[arg(long, value_name = "SIGMA")]
    noise: f64,
    /// Hold the training to this noise multiplier instead of its own
    #[arg(long, value_name = "SIGMA")]
    claim: Option<f64>,
    /// The norm to which each example's gradient is clipped [default: 1]
    #[arg(long, value_name = "NUMBER")]
    clip: Option<f64>,
    /// The delta that epsilon is for [default: 1e-5]
    #[arg(long, value_name = "DELTA")]
    delta: Option<f64>,
    /// The mean number of rows in a batch [default: 32]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    batch: Option<usize>,
    /// Passes over the rows [default: 5]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// How many canaries
    #[arg(
        long,
        value_name = "N",
        default_value_t = 500,
        value_parser = RangedU64ValueParser::<usize>::new()
            .range(LEAST_CANARIES as u64..=MOST_CANARIES as u64)
    )]
    canaries: usize,
    /// How sure the lower bound is to be
    #[arg(long, value_name = "NUMBER", default_value_t = 0.95)]
    confidence: f64,
    /// Draw everything from this seed, to have the same audit again [default: from the operating system]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl AuditArgs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let data = self.source.load(None)?;
        let spec = self.shape.spec(&data.schema)?;
        let usual = Training::default();
        let training = Training {
            noise: Some(self.noise),
            clip: self.clip.unwrap_or(usual.clip),
            delta: self.delta.unwrap_or(usual.delta),
            batch: self.batch.unwrap_or(usual.batch),
            epochs: self.epochs.unwrap_or(usual.epochs),
            ..usual
        };
        let plan = AuditPlan {
            canaries: self.canaries,
            confidence: self.confidence,
            claimed: self.claim.unwrap_or(self.noise),
            seed: self.seed,
        };
        let rows: Vec<usize> = (0..data.rows()).collect();
        let audited = audit(&data, &rows, &spec, &training, &plan)?;
        match self.json {
            true => println!("{}", to_json(&audited, &plan, self.noise)),
            false => print(&audited, &plan, self.noise),
        }
        Ok(if audited.is_refuted() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn to_json(audited: &Audited, plan: &AuditPlan, noise: f64) -> serde_json::Value {
    json!({
        "canaries": audited.canaries,
        "claimed_noise_multiplier": plan.claimed,
        "confidence": plan.confidence,
        "delta": audited.delta,
        "epsilon_claimed": audited.upper,
        "epsilon_proven": audited.lower,
        "epsilon_provable": audited.most,
        "guesses": audited.guesses.guesses,
        "included": audited.included,
        "noise_multiplier": noise,
        "refuted": audited.is_refuted(),
        "right": audited.guesses.right,
        "rows": audited.rows,
        "sampling_rate": audited.sampling,
        "steps": audited.steps,
    })
}

fn print(audited: &Audited, plan: &AuditPlan, noise: f64) {
    let Audited { rows, canaries, included, guesses, lower, most, upper, delta, steps, sampling } =
        *audited;
    println!("trained on          {rows} rows and {included} of {canaries} canaries");
    println!("noise multiplier    {noise:.4}, {steps} steps, sampling rate {sampling:.6}");
    println!("guessed             {} of {} right", guesses.right, guesses.guesses);
    println!(
        "epsilon, at least   {lower:.4}  (at {:.0} % confidence; such an audit can show {most:.2})",
        plan.confidence * 100.0
    );
    let claim = match plan.claimed == noise {
        true => String::new(),
        false => format!(", for a noise multiplier of {:.4}", plan.claimed),
    };
    println!("epsilon, at most    {upper:.4}  (accounted, delta {delta:e}{claim})");
    if audited.is_refuted() {
        println!(
            "REFUTED: more was revealed than is claimed; noise, clipping, sampling or accounting is broken"
        );
    } else if most < upper {
        println!(
            "so few canaries cannot refute so large an epsilon: take more, more noise, or fewer steps"
        );
    } else {
        println!("nothing speaks against what is claimed");
    }
}
