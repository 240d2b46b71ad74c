//! `colearn key`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use colearn::keys;

#[derive(Subcommand)]
pub(crate) enum Key {
    /// Make a private key in a new file, readable by you only, and print its public key.
    #[command(after_help = "Example:\n  colearn key new hospital-a.pem")]
    New {
        /// The file to write (Ed25519, PKCS#8 PEM)
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a private key's public key: what others invite you by.
    #[command(after_help = "Example:\n  colearn key show hospital-a.pem")]
    Show {
        /// The key file
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Key {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (key, json) = match self {
            Self::New { file, json } => {
                let key = keys::generate()?;
                keys::save_new(&key, &file)?;
                (key, json)
            }
            Self::Show { file, json } => (keys::load(&file)?, json),
        };
        let id = keys::learner_id(&key);
        if json {
            println!("{}", serde_json::json!({ "public_key": id.to_string() }));
        } else {
            println!("{id}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
