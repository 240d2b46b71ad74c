//! `--exec` and what goes with it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Args;

use super::TrainingArgs;
use crate::exec::{Private, Setup};

/// How a command does a learner's work.
#[derive(Args, Clone)]
#[command(next_help_heading = "Work done by a command")]
pub(crate) struct ExecArgs {
    /// Have this command train, vote and test, whatever it is written in: it is run by the shell in a folder with
    /// the models and round.json, and leaves update.safetensors and result.json there; see docs/how-to/exec.md
    #[arg(
        long,
        value_name = "COMMAND",
        conflicts_with_all = [
            "task", "data", "label", "share", "split", "show_split", "epochs", "batch", "optimizer",
            "learning_rate", "momentum", "vote", "confidence", "vote_batches", "harden",
            "score_epsilon",
        ]
    )]
    pub(crate) exec: Option<String>,
    /// Where the folders are, below which each experiment and key has its own: where all machines see them that work
    /// for it [default: in the key's memory]
    #[arg(long, value_name = "DIR", requires = "exec")]
    exec_dir: Option<PathBuf>,
    /// Keep the folders of so many rounds before the present one
    #[arg(long, value_name = "N", default_value_t = 2, requires = "exec")]
    exec_keep: u64,
    /// How long a command may take to end when its round has moved on, before it is killed
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30s",
        value_parser = humantime::parse_duration,
        requires = "exec"
    )]
    exec_grace: Duration,
    /// Have the command make an experiment's first model, write it here (safetensors), and stop
    #[arg(
        long,
        value_name = "FILE",
        requires = "exec",
        conflicts_with_all = ["experiment", "key"]
    )]
    pub(crate) exec_start: Option<PathBuf>,
    /// With --noise: the share of the rows in a batch
    #[arg(long, value_name = "SHARE", requires = "exec", requires = "noise")]
    sampling_rate: Option<f64>,
    /// With --noise: the most steps that a training takes
    #[arg(long, value_name = "N", requires = "exec", requires = "noise")]
    steps: Option<u64>,
}

impl ExecArgs {
    /// What is run, by these rules, and where: in this folder, or in one of this name in the folder that was given.
    /// Learners do not share one: each ends the commands that it finds and does not need.
    pub(crate) fn setup(
        &self,
        command: &str,
        usual: PathBuf,
        name: &str,
        training: &TrainingArgs,
    ) -> anyhow::Result<Setup> {
        ensure!(
            cfg!(unix),
            "--exec needs process groups and locks that are inherited, which only Unix has"
        );
        let privacy = training.privacy().map(|planned| match (self.sampling_rate, self.steps) {
            (Some(sampling_rate), Some(steps)) => {
                let private = Private { sampling_rate, steps, ..planned };
                private.privacy().map(|_| private).map_err(anyhow::Error::msg)
            }
            _ => bail!("with --exec, --noise needs --sampling-rate and --steps"),
        });
        let margin = training.margin();
        ensure!(margin.is_finite(), "the margin is no number");
        Ok(Setup {
            command: command.to_owned(),
            dir: self.exec_dir.as_ref().map_or(usual, |dir| dir.join(name)),
            experiment: None,
            learner: None,
            metric: training.metric().map(ToOwned::to_owned),
            margin,
            hide_scores: training.hides_scores(),
            privacy: privacy.transpose()?,
            keep: self.exec_keep,
            grace: self.exec_grace,
        })
    }
}
