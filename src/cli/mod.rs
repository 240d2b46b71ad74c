//! The commands, one file each.

#[macro_use]
mod output;

mod args;
mod audit;
mod bridge;
mod data;
mod demo;
mod dp;
mod experiment;
mod following;
mod key;
mod key_file;
mod learner;
mod ledger;
mod node;
mod progress;
mod round;
mod signals;
mod simulate;
mod tell;
mod witness;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Collective learning on a ledger: learners propose model updates, vote on each other's on their
/// own data, and anyone can audit the history.
#[derive(Parser)]
#[command(name = "colearn", version, about, max_term_width = 100)]
#[command(
    after_help = "Start here:\n  colearn demo\n\nLogs go to stderr; COLEARN_LOG=debug shows more."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine: a real node, learners over gRPC, audit and plot.
    Demo(demo::Demo),
    /// Run a node: it orders transactions, runs the contract and keeps the ledger.
    Node(node::Node),
    /// Make, show or change a private key.
    #[command(subcommand)]
    Key(key::Key),
    /// Create, list, show, watch or stop experiments.
    #[command(subcommand)]
    Experiment(experiment::Experiment),
    /// Tell what happened in a round, and why its proposer was chosen.
    Round(round::RoundArgs),
    /// Take part in an experiment with a built-in model on a data file.
    Learner(learner::LearnerArgs),
    /// Take part for a learner server of the original colearn package.
    Bridge(bridge::BridgeArgs),
    /// Re-derive a ledger's whole history from its bytes and say whether it is as it should be.
    Audit(audit::Audit),
    /// Cosign a ledger's checkpoints, so that nobody can show two histories unnoticed.
    Witness(witness::WitnessArgs),
    /// Try learners, data splits, rules and attackers on this machine, in simulated time.
    Simulate(simulate::SimulateArgs),
    /// Measure what attackers reach: the table of docs/attacks.md.
    Attacks(simulate::AttacksArgs),
    /// Look at data files, and derive what their columns mean.
    #[command(subcommand)]
    Data(data::Data),
    /// Account for differential privacy.
    #[command(subcommand)]
    Dp(dp::Dp),
    /// Look into a ledger.
    #[command(subcommand)]
    Ledger(ledger::Ledger),
}

pub(crate) use output::{CLOSED_EXIT_CODE, is_closed, tell};

/// Runs a command.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Demo(command) => block_on(command.run()),
        Command::Node(command) => block_on(command.run()),
        Command::Key(command) => block_on(command.run()),
        Command::Round(command) => command.run(),
        Command::Experiment(command) => block_on(command.run()),
        Command::Learner(command) => block_on(command.run()),
        Command::Witness(command) => block_on(command.run()),
        Command::Bridge(command) => block_on(command.run()),
        Command::Audit(command) => command.run(),
        Command::Simulate(command) => command.run(),
        Command::Attacks(command) => command.run(),
        Command::Data(command) => command.run(),
        Command::Dp(command) => command.run(),
        Command::Ledger(command) => command.run(),
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(command);
    // Whoever is asked to stop while it trains ends now, not when it has trained.
    runtime.shutdown_background();
    done
}

/// An error with its causes, on one line.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // Many errors repeat their cause.
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text.replace('\n', " ")
}
