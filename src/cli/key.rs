//! `colearn key`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use colearn_contracts::Phase;
use colearn_records::convert::SeatState;
use colearn_records::keys;
use colearn_records::transaction::Transaction;
use colearn_sdk::client::{Client, Memory};

use super::args::NodeAddress;

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
    /// Change a learner's key: it keeps its place in its experiments. Its process must be stopped.
    #[command(after_help = "Example:
  colearn key rotate hospital-a.pem --node http://10.0.0.5:7400

The new key is made beside the old one (FILE.next) and takes its place when every experiment knows it; the
old one is kept as FILE.old. Interrupted, run it again.")]
    Rotate {
        /// The learner's key file
        file: PathBuf,
        #[command(flatten)]
        node: NodeAddress,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Key {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let (key, json) = match self {
            Self::New { file, json } => {
                let key = keys::generate()?;
                keys::save_new(&key, &file)?;
                (key, json)
            }
            Self::Show { file, json } => (keys::load(&file)?, json),
            Self::Rotate { file, node, json } => return rotate(&file, &node.node, json).await,
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

/// The file with this after its name.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

async fn rotate(file: &Path, node: &str, json: bool) -> anyhow::Result<ExitCode> {
    let old = keys::load(file)?;
    let next = beside(file, ".next");
    // What an interrupted try has left is used: some experiments may know it already.
    let new = keys::load_or_create(&next)?;
    let (from, to) = (keys::learner_id(&old), keys::learner_id(&new));
    let mut client = Client::connect(node, Memory::default()).await?;
    let mut changed = Vec::new();
    for experiment in client.experiments().await? {
        if matches!(experiment.phase, Phase::Finished(_)) {
            continue;
        }
        let name = experiment.name;
        let member = client.experiment(&name, Some(from)).await?.member;
        let known = member.is_some_and(|member| member.seat != SeatState::Replaced);
        let admitted = experiment.admission.invitations().iter().any(|it| it.learner == from);
        if known || admitted || experiment.creator == from {
            let seen = client.refresh().await?;
            let ledger = client.ledger_id();
            let signed = Transaction::replace_key(&old, &new, &ledger, seen, name.clone());
            client.submit(&signed).await?;
            changed.push(name.to_string());
        }
    }
    // Only now: until every experiment knows the new key, the old one is needed.
    let kept = beside(file, ".old");
    colearn_files::rename(file, &kept)
        .and_then(|()| colearn_files::rename(&next, file))
        .with_context(|| format!("cannot put {} in place", file.display()))?;
    if json {
        let done = serde_json::json!({
            "from": from.to_string(), "to": to.to_string(), "experiments": changed,
        });
        println!("{done}");
    } else {
        println!("{from} goes on as {to} in {} experiments", changed.len());
        changed.iter().for_each(|name| println!("  {name}"));
        println!("the old key is kept in {}", kept.display());
    }
    Ok(ExitCode::SUCCESS)
}
