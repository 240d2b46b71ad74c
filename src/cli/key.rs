//! `colearn key`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueHint};
use colearn_contracts::{Experiment, ExperimentName, LearnerId, Phase};
use colearn_records::convert::{MemberState, SeatState};
use colearn_records::keys::{self, KeyError, KeyFile, Passphrase, Place};
use colearn_records::pins::Pins;
use colearn_records::transaction::Transaction;
use colearn_sdk::client::{
    Client, ClientError, Credential, Followed, Memory, Nodes, Refused, Trust,
};
use ed25519_dalek::SigningKey;

use super::args::{NodeAddress, PinArgs};
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
    #[command(after_help = "Examples:
  colearn key show hospital-a.pem
  colearn key show agent:hospital-a
  colearn key show 'exec:/usr/local/bin/hsm-sign --slot 2'")]
    Show {
        /// The key: a file, agent:COMMENT or exec:COMMAND (docs/keys.md)
        #[arg(value_name = "KEY", value_hint = ValueHint::AnyPath)]
        key: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change a learner's key: it keeps its place in its experiments. Its process must be stopped.
    #[command(after_help = "Examples:
  colearn key rotate hospital-a.pem --node http://10.0.0.5:7400
  colearn key rotate hospital-a.pem --to agent:hospital-a --node http://10.0.0.5:7400

Without --to a new key is made beside the old one (FILE.next) and takes its place when every experiment knows it;
the old one is kept as FILE.old. With it nothing is renamed, and what the old key remembers is the new one's: use
its folder with --memory. Interrupted, run it again.")]
    Rotate {
        /// The learner's key: a file, agent:COMMENT or exec:COMMAND
        #[arg(value_name = "KEY", value_hint = ValueHint::AnyPath)]
        key: Place,
        /// The key that goes on in its place, which exists already
        #[arg(long, value_name = "KEY", value_hint = ValueHint::AnyPath)]
        to: Option<Place>,
        /// Where the old key remembers what must survive a restart [default: as for colearn learner]
        #[arg(long, value_name = "DIR")]
        memory: Option<PathBuf>,
        #[command(flatten)]
        pins: PinArgs,
        #[command(flatten)]
        node: NodeAddress,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Key {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let (id, json) = match self {
            Self::New { file, passphrase, json } => {
                let key = keys::generate()?;
                let passphrase = passphrase.then(|| key_file::new_passphrase(&file)).transpose()?;
                save_new(&key, &file, passphrase.as_ref())?;
                (keys::learner_id(&key), json)
            }
            Self::Show { key, json } => (keys::learner_id(&key_file::load(&key)?), json),
            Self::Rotate { key, to, memory, pins, node, json } => {
                let rotation = Rotation::prepare(&key, to.as_ref(), memory)?;
                return rotation.run(&node.node, pins.trust(&Pins::default())?, json).await;
            }
        };
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

/// A key that goes on in another's place.
struct Rotation {
    old: keys::Key,
    new: keys::Key,
    /// What the old key remembers.
    memory: PathBuf,
    /// What comes of the files, where both keys are in one: the old key's.
    file: Option<PathBuf>,
    /// How the new key is named from then on.
    named: Place,
}

impl Rotation {
    fn prepare(key: &Place, to: Option<&Place>, memory: Option<PathBuf>) -> anyhow::Result<Self> {
        let (old, new, file) = match (key, to) {
            (_, Some(to)) => (key_file::load(key)?, key_file::load(to)?, None),
            (Place::File(file), None) => {
                let (old, passphrase) = key_file::open(file)?;
                // What an interrupted try has left is used: some experiments may know it already.
                let new = load_or_create(&beside(file, ".next"), passphrase.as_ref())?;
                (old.into(), new.into(), Some(file.clone()))
            }
            (Place::Agent(_) | Place::Command(_), None) => {
                bail!(
                    "{key} is in no file that another key could be put in; say which goes on, with --to KEY"
                )
            }
        };
        let from = keys::learner_id(&old);
        if from == keys::learner_id(&new) {
            bail!("{} is the same key as {key}; make another one", to.unwrap_or(key));
        }
        let memory = match memory {
            Some(dir) => dir,
            None => Memory::of(key, from)?,
        };
        Ok(Self { old, new, memory, file, named: to.unwrap_or(key).clone() })
    }

    async fn run(self, node: &str, trust: Trust, json: bool) -> anyhow::Result<ExitCode> {
        let Self { old, new, memory: dir, file, named } = self;
        let (from, to) = (keys::learner_id(&old), keys::learner_id(&new));
        let memory = Memory::open(&dir, from)?;
        let as_key = |key: &keys::Key| Nodes::from(node).signed_by(Credential::new(key));
        let mut followed = match follow(as_key(&old), memory.clone(), trust.clone()).await {
            // Where an earlier try was interrupted at its end, every experiment knows the new one alone.
            Err(ClientError::Refused { refused: Refused::Forbidden, .. }) => {
                follow(as_key(&new), memory, trust).await?
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
            let signed = Transaction::replace_key_with(&old, &new, &ledger, seen, name.clone())?;
            followed.submit(&signed).await?;
            changed.push(name.to_string());
        }
        followed.keep()?;
        followed.goes_on_as(to)?;
        let kept = file.as_ref().map(|file| put_in_place(file)).transpose()?;
        if json {
            let done = serde_json::json!({
                "from": from.to_string(), "to": to.to_string(), "experiments": changed,
                "memory": dir,
            });
            println!("{done}");
            return Ok(ExitCode::SUCCESS);
        }
        println!("{from} goes on as {to} in {} experiments", changed.len());
        changed.iter().for_each(|name| println!("  {name}"));
        match kept {
            Some(kept) => println!("the old key is kept in {}", kept.display()),
            None => println!("sign from now on with: --key {named} --memory {}", dir.display()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The ledger that these nodes keep, followed to its end.
async fn follow(nodes: Nodes, memory: Memory, trust: Trust) -> Result<Followed, ClientError> {
    let client = Client::connect(nodes).await?;
    let mut followed = Followed::open(client, memory, trust).await?;
    followed.catch_up_somewhere(&mut |_| {}).await?;
    Ok(followed)
}

/// Puts the new key's file in the old one's place, and gives where that is kept. Only once every experiment knows the
/// new key: until then the old one is needed.
fn put_in_place(file: &Path) -> anyhow::Result<PathBuf> {
    let kept = beside(file, ".old");
    colearn_files::rename(file, &kept)
        .and_then(|()| colearn_files::rename(&beside(file, ".next"), file))
        .with_context(|| format!("cannot put {} in place", file.display()))?;
    Ok(kept)
}
