//! `colearn man`: manual pages, and the same of all commands as one page of Markdown.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _};

/// Columns of the texts in Markdown, whatever terminal it is made in.
const COLUMNS: usize = 120;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn man --out /usr/local/share/man/man1
  colearn man --markdown >commands.md

Then: man colearn, man colearn-learner, man colearn-key-rotate.")]
pub(crate) struct Man {
    /// The folder to write to; pages that are there already are replaced
    #[arg(long, value_name = "DIR", required_unless_present = "markdown")]
    out: Option<PathBuf>,
    /// Print the help of all commands as one page of Markdown instead
    #[arg(long, conflicts_with = "out")]
    markdown: bool,
}

impl Man {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(out) = self.out {
            std::fs::create_dir_all(&out)
                .and_then(|()| clap_mangen::generate_to(super::Arguments::command(), &out))
                .with_context(|| format!("cannot write to {}", out.display()))?;
        } else {
            print!("{}", markdown());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The page `docs/reference/commands.md`.
fn markdown() -> String {
    let mut command = super::Arguments::command().term_width(COLUMNS);
    command.build();
    let mut page = String::from(
        "# Commands\n\nNobody wrote this page: `colearn man --markdown` did. It has what `--help` says of each command. \
         Flags that all\ncommands take are said once, of [`colearn`](#colearn) itself.\n",
    );
    describe(&command, 0, &mut page);
    page
}

/// Appends what a command, so many words behind the program's name, and those below it say of themselves.
fn describe(command: &Command, words: usize, page: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    // What a variable is set to here is nobody else's business.
    let mut alone = command.clone().mut_args(|argument| {
        let said_once = argument.is_global_set() || argument.get_id() == "help";
        let hidden = argument.is_hide_set() || (words > 0 && said_once);
        argument.hide_env_values(true).hide(hidden)
    });
    let help = alone.render_long_help().to_string();
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    let level = if words > 1 { "###" } else { "##" };
    // Writing to a string cannot fail.
    let _ = write!(page, "\n{level} {name}\n\n```text\n{}\n```\n", lines.join("\n"));
    for below in command.get_subcommands() {
        if below.get_name() != "help" && !below.is_hide_set() {
            describe(below, words + 1, page);
        }
    }
}
