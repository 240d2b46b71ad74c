//! The commands, one file each.

#[macro_use]
pub(crate) mod output;
mod policy;

mod args;
mod artifacts;
mod attacks;
mod audit;
mod bridge;
mod chain;
mod completions;
mod data;
mod demo;
mod doctor;
mod dp;
mod dp_audit;
mod experiment;
mod following;
mod init;
mod key;
mod key_file;
mod learner;
mod ledger;
mod logs;
mod looking;
mod man;
mod model;
mod model_files;
mod model_keys;
#[cfg(unix)]
mod network;
mod node;
mod predict;
mod progress;
mod round;
pub(crate) mod signals;
mod simulate;
mod sweep;
pub(crate) mod tell;
mod top;
mod ui;
mod witness;

use self::logs::{LogArgs, Logging};
pub(crate) use self::output::harmless;

pub use tell::json::experiment as experiment_json;
pub use tell::text::{event as event_text, plan_of};

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueHint};
use colearn_net::{Address, Credential, Trust};
use colearn_records::keys::Place;

/// Collective learning on a ledger: learners propose model updates, vote on each other's on their
/// own data, and anyone can audit the history.
#[derive(Parser)]
#[command(name = "colearn", version, about, max_term_width = 100)]
#[command(
    after_help = "Start here:\n  colearn demo\n\nLogs go to stderr; --log-level debug shows more."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    logs: LogArgs,
}

/// Whom a command believes, and what it shows, wherever it connects to.
#[derive(clap::Args)]
#[command(next_help_heading = "TLS")]
struct TrustArgs {
    /// Believe servers for which one of these certificates vouches, and no other authority [env: COLEARN_CA]
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show this certificate to servers that ask for one [env: COLEARN_CLIENT_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// Its key [env: COLEARN_CLIENT_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// Say with this private key who asks, where a node wants to know: a file, agent:COMMENT or exec:COMMAND; commands
    /// with --key say it with that [env: COLEARN_AUTH_KEY]
    #[arg(long, global = true, value_name = "KEY", value_hint = ValueHint::AnyPath)]
    auth_key: Option<Place>,
    /// Fetch models from addresses that begin with this, such as https://store.example/models, where a node says that they
    /// are there; may be repeated. Nowhere else is gone to on a node's word [env: COLEARN_WEIGHTS_FROM]
    #[arg(long, global = true, value_name = "URL")]
    weights_from: Vec<Address>,
}

/// The environment's variable for [`TrustArgs::auth_key`].
const AUTH_KEY: &str = "COLEARN_AUTH_KEY";

impl TrustArgs {
    /// What all of this process goes by for a command: its key is read, and the passphrase asked for, only where it
    /// asks nodes for something.
    fn trust(self, command: &Command) -> anyhow::Result<Trust> {
        let Self { ca, client_cert, client_key, auth_key, weights_from } = self;
        let weights_from = weights_from.iter().map(Address::to_string).collect();
        let trust = Trust::given(ca, client_cert, client_key).fetching_from(weights_from);
        let named = || std::env::var_os(AUTH_KEY).filter(|it| !it.is_empty()).map(Place::from);
        let own = || command.own_key().map(Place::File);
        let key = auth_key.or_else(named).or_else(own);
        match key.filter(|_| command.may_ask()) {
            Some(place) => Ok(trust.signed_by(Credential::new(key_file::load(&place)?))),
            None => Ok(trust),
        }
    }
}

impl Command {
    /// The key that a node's own folder has, for what it asks the others.
    fn own_key(&self) -> Option<PathBuf> {
        match self {
            #[cfg(unix)]
            Self::Network(command) => command.own_key(),
            _ => None,
        }
    }

    /// Whether it may ask a node for something, in the name of whoever runs it.
    fn may_ask(&self) -> bool {
        match self {
            Self::Demo(_)
            | Self::Key(_)
            | Self::Simulate(_)
            | Self::Attacks(_)
            | Self::Data(_)
            | Self::Predict(_)
            | Self::Dp(_)
            | Self::Completions(_)
            | Self::Man(_)
            // These sign with their own, or ask no node.
            | Self::Learner(_)
            | Self::Doctor(_)
            | Self::Init(_)
            | Self::Bridge(_)
            | Self::Chain(_)
            | Self::Witness(_) => false,
            #[cfg(unix)]
            Self::Network(_) => true,
            Self::Node(command) => command.may_ask(),
            Self::Artifacts(command) => command.may_ask(),
            Self::Round(_)
            | Self::Model(_)
            | Self::Experiment(_)
            | Self::Audit(_)
            | Self::Ui(_)
            | Self::Top(_)
            | Self::Ledger(_) => true,
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine: a real node, learners over gRPC, audit and plot.
    Demo(demo::Demo),
    /// Run a node: it orders transactions, runs the contract and keeps the ledger.
    Node(node::Node),
    /// List the models that a node keeps, and prune those of a stopped one.
    #[command(subcommand)]
    Artifacts(artifacts::Artifacts),
    /// Keep a ledger together with other organisations: who they are, how it begins, what changes.
    #[cfg(unix)]
    #[command(subcommand)]
    Network(network::Network),
    /// Keep a ledger in a contract on a public chain: who pays there, how it begins, how it is.
    #[command(subcommand)]
    Chain(chain::Chain),
    /// Make, show or change a private key.
    #[command(subcommand)]
    Key(key::Key),
    /// Create, list, show, watch or stop experiments.
    #[command(subcommand)]
    Experiment(experiment::Experiment),
    /// Tell what happened in a round, why its proposer was chosen, and what was merged.
    Round(round::RoundArgs),
    /// Get a model out of a ledger, look into its file, and tell of which round it is.
    #[command(subcommand)]
    Model(model::Model),
    /// Have a built-in model predict the rows of a CSV or Parquet file.
    Predict(predict::Predict),
    /// Take part in an experiment with a built-in model on a data file.
    Learner(learner::LearnerArgs),
    /// Write what an organisation needs to take part, and say what to do next.
    Init(Box<init::Init>),
    /// Look whether a learner would get on here, and say what to do where not.
    Doctor(Box<doctor::DoctorArgs>),
    /// Take part for a learner server of the original colearn package.
    Bridge(bridge::BridgeArgs),
    /// Re-derive a ledger's whole history from its bytes and say whether it is as it should be.
    Audit(audit::Audit),
    /// Show experiments, rounds and the ledger in the browser, verified by a follower of your own.
    Ui(Box<ui::Ui>),
    /// Show experiments live in the terminal, verified by a follower of your own.
    Top(Box<top::Top>),
    /// Cosign a ledger's checkpoints, so that nobody can show two histories unnoticed.
    Witness(witness::WitnessArgs),
    /// Try learners, data splits, rules and attackers on this machine, in simulated time.
    Simulate(simulate::SimulateArgs),
    /// Measure what attackers reach: the table of docs/attacks.md.
    Attacks(attacks::AttacksArgs),
    /// Look at data files, and derive what their columns mean.
    #[command(subcommand)]
    Data(data::Data),
    /// Account for differential privacy.
    #[command(subcommand)]
    Dp(dp::Dp),
    /// Look into a ledger.
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// Print what has a shell complete commands and flags.
    Completions(completions::Completions),
    /// Write a manual page for each command, or print one page of Markdown with all.
    Man(man::Man),
}

/// How the process that runs a command can be started again: by its own file, and such arguments
/// before those of the command as it takes to run one.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Its file; `None` for that of this process.
    pub file: Option<OsString>,
    /// What comes before a command's own arguments.
    pub before: Vec<OsString>,
}

impl Program {
    /// Its file, and what comes before a command's arguments.
    fn parts(&self) -> std::io::Result<(OsString, Vec<OsString>)> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => std::env::current_exe()?.into_os_string(),
        };
        Ok((file, self.before.clone()))
    }
}

/// Runs the command that these arguments ask for, the program's name first; prints what comes of it,
/// or why nothing does.
pub fn main(arguments: Vec<OsString>, program: Program) -> ExitCode {
    // Who reads the answer by a program reads there why there is none.
    let json = arguments.iter().any(|argument| argument == "--json");
    if json {
        progress::be_quiet();
    }
    let asked = match Arguments::try_parse_from(arguments) {
        Ok(asked) => asked,
        Err(told) => {
            // Where nobody reads it, the exit code still says it.
            let _ = told.print();
            return ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(1));
        }
    };
    hush_the_index();
    asked.logs.begin(match &asked.command {
        Command::Node(node) if node.is_to_run() => Logging::Node,
        Command::Top(_) => Logging::BesideScreen,
        _ => Logging::Usual,
    });
    match run(asked, &program) {
        Ok(code) => code,
        // What `| head` has read enough of is no error.
        Err(error) if output::is_closed(&error) => ExitCode::from(output::CLOSED_EXIT_CODE),
        Err(error) if error.is::<key_file::Interrupted>() => signals::Asked::Interrupt.exit_code(),
        Err(error) => {
            let error = one_line(&error);
            match json {
                true => output::tell(format_args!("{}", serde_json::json!({ "error": error }))),
                false => output::tell(format_args!("error: {error}")),
            }
            ExitCode::FAILURE
        }
    }
}

/// Keeps from stderr what is caught, and told in other words, where the index is opened.
fn hush_the_index() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some(colearn_ledger::INDEX_THREAD) {
            usual(panic);
        }
    }));
}

/// Has files that this process makes readable for its own user alone: a node's folder holds everybody's weights.
fn keep_to_oneself() {
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// Has this process's memory in small pages. With huge ones (2 MiB, zeroed at the first byte) the allocator's many
/// heaps take a node that does nothing from 18 MB to 68; training is faster with them.
fn in_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "memory is in huge pages");
    }
}

fn run(arguments: Arguments, program: &Program) -> anyhow::Result<ExitCode> {
    arguments.trust.trust(&arguments.command)?.set_for_process();
    match arguments.command {
        Command::Demo(command) => block_on(command.run(program)),
        Command::Node(command) => block_on(command.run()),
        Command::Artifacts(command) => block_on(command.run()),
        #[cfg(unix)]
        Command::Network(command) => block_on(command.run()),
        Command::Chain(command) => block_on(command.run()),
        Command::Key(command) => block_on(command.run()),
        Command::Round(command) => command.run(),
        Command::Model(command) => command.run(),
        Command::Predict(command) => command.run(),
        Command::Experiment(command) => block_on(command.run()),
        Command::Learner(command) => block_on(command.run()),
        Command::Init(command) => command.run(),
        Command::Doctor(command) => block_on(command.run()),
        Command::Ui(command) => block_on(command.run()),
        Command::Top(command) => block_on(command.run()),
        Command::Witness(command) => block_on(command.run()),
        Command::Bridge(command) => block_on(command.run()),
        Command::Audit(command) => command.run(),
        Command::Simulate(command) => command.run(),
        Command::Attacks(command) => command.run(),
        Command::Data(command) => command.run(),
        Command::Dp(command) => command.run(),
        Command::Ledger(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
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
