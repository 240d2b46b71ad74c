//! `colearn key`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use colearn_contracts::{Experiment, ExperimentName, LearnerId, Phase};
use colearn_records::convert::{MemberState, SeatState};
use colearn_records::keys::{self, KeyError, KeyFile, Passphrase};
use colearn_records::transaction::Transaction;
use colearn_sdk::client::{ClientError, Credential, Followed, Memory, Nodes, Refused};
use ed25519_dalek::SigningKey;

use super::args::NodeAddress;
use super::key_file;

#[derive(Subcommand)]
pub(crate) enum Key {
    /// Make a private key in a new file, readable by you only, and print its public key.
    #[command(after_help = "Examples:
  colearn key new hospital-a.pem
  colearn key new hospital-a.pem --passphrase

Whatever uses an encrypted key asks for its passphrase at a terminal, or takes it from
COLEARN_KEY_PASSPHRASE. Ed25519 keys that openssl (encrypted with AES) or ssh-keygen (without a
passphrase) has made can be used as they are.")]
    New {
        /// The file to write (Ed25519, PKCS#8 PEM)
        file: PathBuf,
        /// Encrypt it with a passphrase, from COLEARN_KEY_PASSPHRASE or asked for
        #[arg(long)]
        passphrase: bool,
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
            Self::New { file, passphrase, json } => {
                let key = keys::generate()?;
                let passphrase = passphrase.then(|| key_file::new_passphrase(&file)).transpose()?;
                save_new(&key, &file, passphrase.as_ref())?;
                (key, json)
            }
            Self::Show { file, json } => (key_file::load(&file)?, json),
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

/// Writes a key to a new file, encrypted if a passphrase is given.
fn save_new(
    key: &SigningKey,
    file: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<(), KeyError> {
    match passphrase {
        Some(passphrase) => keys::save_new_locked(key, file, passphrase),
        None => keys::save_new(key, file),
    }
}

/// The key in a file, or a new one if there is none. It is as well guarded as the one before it.
fn load_or_create(file: &Path, passphrase: Option<&Passphrase>) -> Result<SigningKey, KeyError> {
    let read = match (keys::read(file), passphrase) {
        (Ok(KeyFile::Open(key)), _) => return Ok(key),
        (Ok(KeyFile::Locked(locked)), Some(passphrase)) => return locked.unlock(passphrase),
        (Ok(KeyFile::Locked(_)), None) => KeyError::Locked { path: file.to_owned() },
        (Err(error), _) => error,
    };
    match read {
        KeyError::Missing { .. } => {
            let key = keys::generate()?;
            save_new(&key, file, passphrase)?;
            Ok(key)
        }
        error => Err(error),
    }
}

/// The file with this after its name.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

async fn rotate(file: &Path, node: &str, json: bool) -> anyhow::Result<ExitCode> {
    let (old, passphrase) = key_file::open(file)?;
    let next = beside(file, ".next");
    // What an interrupted try has left is used: some experiments may know it already.
    let new = load_or_create(&next, passphrase.as_ref())?;
    let (from, to) = (keys::learner_id(&old), keys::learner_id(&new));
    let memory = Memory::open(&Memory::beside(file, from)?, from)?;
    let as_key = |key| Nodes::from(node).signed_by(Credential::new(key));
    let mut followed = match Followed::connect(as_key(&old), memory.clone()).await {
        // Where an earlier try was interrupted at its end, every experiment knows the new one alone.
        Err(ClientError::Refused { refused: Refused::Forbidden, .. }) => {
            Followed::connect(as_key(&new), memory).await?
        }
        followed => followed?,
    };
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
