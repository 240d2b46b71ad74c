//! `colearn completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn completions bash >/etc/bash_completion.d/colearn
  colearn completions zsh >\"${fpath[1]}/_colearn\"
  colearn completions fish >~/.config/fish/completions/colearn.fish
  source <(colearn completions bash)")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut super::Arguments::command(),
            "colearn",
            &mut script,
        );
        print!("{}", String::from_utf8_lossy(&script));
        Ok(ExitCode::SUCCESS)
    }
}
