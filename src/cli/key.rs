//! `colearn key`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use colearn_contracts::{Experiment, ExperimentName, LearnerId, Phase};
use colearn_records::convert::{MemberState, SeatState};
use colearn_records::keys;
use colearn_records::transaction::Transaction;
use colearn_sdk::client::{Followed, Memory};

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

/// Whether a key has a place in an experiment that another can take.
fn concerns(experiment: &Experiment, key: LearnerId) -> bool {
    let member = experiment.member(key).map(MemberState::of);
    let known = member.is_some_and(|member| member.seat != SeatState::Replaced);
    let admission = experiment.admission();
    let admitted = admission.invitations().iter().any(|it| it.learner == key);
    !matches!(experiment.phase(), Phase::Finished(_))
        && (known || admitted || experiment.creator() == key)
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
    let memory = Memory::open(&Memory::beside(file, from)?, from)?;
    let mut followed = Followed::connect(node, memory).await?;
    let concerned: Vec<ExperimentName> = followed
        .contract()?
        .experiments()
        .filter(|experiment| concerns(experiment, from))
        .map(|experiment| experiment.name().clone())
        .collect();
    let mut changed = Vec::new();
    for name in concerned {
        followed.catch_up(&mut |_| {}).await?;
        let (seen, ledger) = (followed.seen()?, followed.ledger_id());
        let signed = Transaction::replace_key(&old, &new, &ledger, seen, name.clone());
        followed.submit(&signed).await?;
        changed.push(name.to_string());
    }
    followed.keep()?;
    followed.goes_on_as(to)?;
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
