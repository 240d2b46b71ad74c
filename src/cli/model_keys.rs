//! `colearn model keys`, and what they open: `colearn model decrypt`.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use colearn_encrypted::{ModelKeys, Opened};

use super::model_files::write_new;

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Make a file with a first key, readable by you only.
    #[command(after_help = "Examples:
  colearn model keys new xray.keys
  age -R members.txt -o xray.keys.age xray.keys

Whoever has the file reads the models. Hand it to members only, encrypted on its way, such as by age to keys that they
have sent you; each then has it with mode 0600. See docs/encrypted.md")]
    New {
        /// The file to write
        file: PathBuf,
    },
    /// Add a key to the file: models are encrypted under that from now on.
    #[command(after_help = "Examples:
  colearn model keys add xray.keys

When somebody has left: hand the new file to those who stay, and start their learners again. What was encrypted before
stays readable to whoever had the keys before. A newcomer need not have the lines of earlier keys.")]
    Add {
        /// The file
        file: PathBuf,
    },
    /// Show which keys a file has, without their secrets.
    #[command(after_help = "Examples:
  colearn model keys show xray.keys

Members compare the ids: who has the same ids reads the same models.")]
    Show {
        /// The file
        file: PathBuf,
    },
}

impl Keys {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let keys = match self {
            Self::New { file } => {
                let keys = ModelKeys::generate()?;
                keys.create(&file)?;
                keys
            }
            Self::Add { file } => {
                let mut keys = ModelKeys::read(&file)?;
                keys.add()?;
                keys.replace(&file)?;
                keys
            }
            Self::Show { file } => ModelKeys::read(&file)?,
        };
        for key in keys.iter() {
            println!("{} {}", key.number(), hex::encode(key.id()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub(crate) struct Decrypt {
    /// The encrypted model's file
    file: PathBuf,
    /// The experiment's model keys
    #[arg(long, value_name = "FILE")]
    model_keys: PathBuf,
    /// The file to write, which is not there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Decrypt {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let keys = ModelKeys::read(&self.model_keys)?;
        let cannot = || format!("cannot decrypt {}", self.file.display());
        let file = File::open(&self.file).with_context(cannot)?;
        let opened = Opened::new(&file, &keys).with_context(cannot)?;
        let cannot = || format!("cannot write {}", self.out.display());
        write_new(&self.out, |file| opened.copy_to(file).with_context(cannot))?;
        println!("{}  {}", hex::encode(opened.digest()), self.out.display());
        Ok(ExitCode::SUCCESS)
    }
}
