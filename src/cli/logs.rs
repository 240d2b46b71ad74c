//! What a command logs, and how: to stderr, for people or for programs.

use std::io::IsTerminal as _;

use colearn_records::words;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::args::word;

/// What a node tells of what happens, line by line.
const NODE_EVENTS: &str = "colearn_node::events";

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LogFormat {
    Text,
    Json,
}

words! {
    LogFormat {
        Text = "text", "for people";
        Json = "json", "an object a line, for programs: docs/operations.md has the fields";
    }
}

#[derive(clap::Args)]
#[command(next_help_heading = "Logs")]
pub(super) struct LogArgs {
    /// How log lines are written, which go to stderr [default: text]
    #[arg(long, global = true, value_parser = word::<LogFormat>(), value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// What is logged: off, error, warn, info, debug or trace. COLEARN_LOG says it too, and of parts
    /// (colearn_node=debug) [default: warn; of a node also what happens in rounds]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<LevelFilter>,
}

/// What logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Logging {
    Usual,
    /// A node, which tells besides what happens.
    Node,
    /// What draws on the whole terminal: lines that went there, too, would be in what is drawn.
    BesideScreen,
}

impl LogArgs {
    /// Logs from here on what was asked for: by `--log-level`, or else by `COLEARN_LOG`: `debug`, `colearn=debug`,
    /// several separated by commas. Warnings where nothing is or it cannot be read, without those of the index's
    /// library: what they come to is told where the index is used.
    pub(super) fn begin(&self, logging: Logging) {
        if logging == Logging::BesideScreen && std::io::stderr().is_terminal() {
            return;
        }
        let by_default =
            |level| Targets::new().with_default(level).with_target("sled", LevelFilter::OFF);
        // Not `EnvFilter`: it can filter by a span's fields, and brings a regex engine for that.
        let named = || std::env::var("COLEARN_LOG").ok().and_then(|text| text.parse().ok());
        let filter = match self.log_level {
            Some(level) => by_default(level),
            None => named().unwrap_or_else(|| {
                let warnings = by_default(LevelFilter::WARN);
                match logging {
                    Logging::Node => warnings.with_target(NODE_EVENTS, LevelFilter::INFO),
                    Logging::Usual | Logging::BesideScreen => warnings,
                }
            }),
        };
        // Where nobody reads stderr, the complaint about that would be a panic.
        let lines = layer().with_writer(std::io::stderr).log_internal_errors(false);
        let lines = match self.log_format.unwrap_or(LogFormat::Text) {
            LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        // Whoever runs commands from a process that logs already has its own way.
        let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
    }
}
