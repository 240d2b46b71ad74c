//! The `colearn` command.

mod cli;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// A node under load spends a third less time allocating with this one than with glibc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    hush_the_index();
    log_to_stderr();
    match cli::run(arguments) {
        Ok(code) => code,
        // What `| head` has read enough of is no error.
        Err(error) if cli::is_closed(&error) => ExitCode::from(cli::CLOSED_EXIT_CODE),
        Err(error) => {
            cli::tell(format_args!("error: {}", cli::one_line(&error)));
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

/// Logs to stderr what `COLEARN_LOG` asks for: `debug`, `colearn=debug`, several separated by
/// commas. Warnings where it is unset or cannot be read, without those of the index's library: what they
/// come to is told where the index is used.
fn log_to_stderr() {
    // Not `EnvFilter`: it can filter by a span's fields, and brings a regex engine for that.
    let asked = std::env::var("COLEARN_LOG").ok().and_then(|text| text.parse().ok());
    let filter = asked.unwrap_or_else(|| {
        Targets::new().with_default(LevelFilter::WARN).with_target("sled", LevelFilter::OFF)
    });
    let colored = std::io::stderr().is_terminal();
    tracing_subscriber::registry()
        // Where nobody reads stderr, the complaint about that would be a panic.
        .with(layer().with_writer(std::io::stderr).with_ansi(colored).log_internal_errors(false))
        .with(filter)
        .init();
}
