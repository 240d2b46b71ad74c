//! `colearn dp`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use colearn::plot::{self, Curve, Curves};
use colearn_dp::{Accountant, DpError, Mechanism, Steps};
use serde_json::json;

use super::dp_audit::AuditArgs;
use super::policy::PolicyArgs;

/// Points on a plotted curve.
const CURVE_POINTS: u64 = 60;

/// What training with differential privacy (DP-SGD) reveals.
#[derive(Subcommand)]
pub(crate) enum Dp {
    /// The epsilon that some steps with some noise have.
    Epsilon(EpsilonArgs),
    /// The noise that keeps some steps within an epsilon.
    Noise(NoiseArgs),
    /// Attack a private training on this machine: prove a lower bound of its epsilon, beside the one that is accounted.
    Audit(Box<AuditArgs>),
    /// Check a site's policy; show it, and what was spent under it.
    Policy(PolicyArgs),
}

#[derive(Args)]
#[command(after_help = "Examples:
  colearn dp epsilon --noise 1.1 --sampling 0.004 --steps 3500
  colearn dp epsilon --noise 1.1 --batch 256 --examples 60000 --epochs 15 --delta 1e-5 --plot epsilon.svg

Neighbouring data sets differ in one example more or less; batches are drawn by Poisson sampling.")]
pub(crate) struct EpsilonArgs {
    /// The noise multiplier: the noise's standard deviation over the clipping norm
    #[arg(long, value_name = "SIGMA")]
    noise: f64,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
#[command(after_help = "Examples:
  colearn dp noise --epsilon 3 --sampling 0.004 --steps 3500
  colearn dp noise --epsilon 1 --delta 1e-6 --batch 256 --examples 60000 --epochs 15 --json")]
pub(crate) struct NoiseArgs {
    /// The epsilon to stay within
    #[arg(long, value_name = "EPSILON")]
    epsilon: f64,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// The delta that epsilon is for; well below one over the number of examples
    #[arg(long, default_value_t = 1e-5, value_name = "DELTA")]
    delta: f64,
    /// The probability of each example to be in a batch
    #[arg(long, value_name = "Q", conflicts_with_all = ["batch", "examples"], required_unless_present = "batch")]
    sampling: Option<f64>,
    /// The mean size of a batch (with --examples, instead of --sampling)
    #[arg(long, value_name = "N", requires = "examples")]
    batch: Option<u64>,
    /// How many examples there are
    #[arg(long, value_name = "N", requires = "batch")]
    examples: Option<u64>,
    /// How many steps
    #[arg(long, value_name = "N", conflicts_with = "epochs", required_unless_present = "epochs")]
    steps: Option<u64>,
    /// How many passes over the examples, instead of --steps
    #[arg(long, value_name = "N")]
    epochs: Option<f64>,
    /// How to account; pld is tight, rdp what most libraries report
    #[arg(long, value_enum, default_value = "pld")]
    accountant: Method,
    /// Draw epsilon over the steps to this file (.svg, .png or .html)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// The distribution of the privacy loss.
    Pld,
    /// Rényi divergences.
    Rdp,
}

impl Method {
    fn accountant(self) -> Accountant {
        match self {
            Self::Pld => Accountant::Pld,
            Self::Rdp => Accountant::Rdp,
        }
    }
}

impl Common {
    fn sampling(&self) -> anyhow::Result<f64> {
        match (self.sampling, self.batch, self.examples) {
            (Some(q), _, _) => Ok(q),
            (None, Some(batch), Some(examples)) => Ok(batch as f64 / examples as f64),
            _ => anyhow::bail!("give --sampling, or --batch and --examples"),
        }
    }

    fn steps(&self, sampling: f64) -> anyhow::Result<u64> {
        let steps = match (self.steps, self.epochs) {
            (Some(steps), _) => steps as f64,
            (None, Some(epochs)) => (epochs / sampling).ceil(),
            (None, None) => anyhow::bail!("give --steps or --epochs"),
        };
        if (0.0..=1e9).contains(&steps) {
            Ok(steps as u64)
        } else {
            anyhow::bail!("{steps} steps cannot be accounted for; at most a billion can")
        }
    }
}

impl Dp {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Epsilon(EpsilonArgs { noise, common }) => common.tell(|_, _| Ok(noise)),
            Self::Noise(NoiseArgs { epsilon, common }) => common.tell(|sampling, steps| {
                common.accountant.accountant().noise_multiplier(
                    epsilon,
                    common.delta,
                    sampling,
                    steps,
                )
            }),
            Self::Audit(audit) => audit.run(),
            Self::Policy(policy) => policy.run(),
        }
    }
}

impl Common {
    /// Tells what steps reveal with the noise that follows from the sampling rate and their number.
    fn tell(&self, noise: impl Fn(f64, u64) -> Result<f64, DpError>) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.plot {
            plot::check_path(path)?;
        }
        let delta = self.delta;
        let sampling = self.sampling()?;
        let steps = self.steps(sampling)?;
        let noise = noise(sampling, steps)?;
        let mechanism = Mechanism::new(noise, sampling)?;
        let pld = epsilon(Accountant::Pld, mechanism, steps, delta)?;
        let rdp = epsilon(Accountant::Rdp, mechanism, steps, delta)?;
        if let Some(path) = &self.plot {
            draw(mechanism, steps, delta, path)?;
        }
        if self.json {
            // JSON has no infinity: null.
            let report = json!({
                "noise_multiplier": noise,
                "sampling_rate": sampling,
                "steps": steps,
                "delta": delta,
                "epsilon_pld": pld,
                "epsilon_rdp": rdp,
            });
            println!("{report}");
            return Ok(ExitCode::SUCCESS);
        }
        println!("noise multiplier  {noise:.4}");
        println!("sampling rate     {sampling:.6}");
        println!("steps             {steps}");
        println!("delta             {delta:e}");
        println!("epsilon           {pld:.4}  (privacy loss distribution)");
        println!("                  {rdp:.4}  (Rényi)");
        Ok(ExitCode::SUCCESS)
    }
}

/// What so many steps reveal.
fn epsilon(
    accountant: Accountant,
    mechanism: Mechanism,
    count: u64,
    delta: f64,
) -> Result<f64, DpError> {
    accountant.epsilon(&[Steps { mechanism, count }], delta)
}

/// Draws epsilon over the steps, as both accountants have it.
fn draw(mechanism: Mechanism, steps: u64, delta: f64, path: &Path) -> anyhow::Result<()> {
    let curve = |name: &str, accountant| {
        let counts = (0..=CURVE_POINTS).map(|point| steps * point / CURVE_POINTS);
        let points = counts
            .map(|count| Ok((count as f64, epsilon(accountant, mechanism, count, delta)?)))
            .collect::<anyhow::Result<_>>()?;
        anyhow::Ok(Curve { name: name.to_owned(), points })
    };
    let (noise, sampling) = (mechanism.noise_multiplier(), mechanism.sampling_rate());
    let curves = Curves {
        title: &format!("noise {noise:.3}, sampling {sampling:.4}, delta {delta:e}"),
        x: "steps",
        y: "epsilon",
        curves: vec![
            curve("privacy loss distribution", Accountant::Pld)?,
            curve("Rényi", Accountant::Rdp)?,
        ],
    };
    plot::write_curves(&curves, path).context("no plot")
}
