//! `colearn man`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

#[derive(Args)]
#[command(after_help = "Example:
  colearn man --out /usr/local/share/man/man1

Then: man colearn, man colearn-learner, man colearn-key-rotate.")]
pub(crate) struct Man {
    /// The folder to write to; pages that are there already are replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Man {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        std::fs::create_dir_all(&self.out)
            .and_then(|()| clap_mangen::generate_to(super::Arguments::command(), &self.out))
            .with_context(|| format!("cannot write to {}", self.out.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
