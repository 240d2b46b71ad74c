//! A key, what it remembers, and what is believed before anything was verified.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use colearn_contracts::LearnerId;
use colearn_records::keys::{self, Key, Place};
use colearn_records::plan::Plan;
use colearn_sdk::client::{Client, Credential, Followed, Memory, Nodes, Trust};
use colearn_sdk::participant::Event;

use super::PinArgs;
use crate::cli::tell::text;
use crate::cli::{following, key_file};

/// Whose key signs, what it remembers, and what it believes before anything was verified.
// The group says when an `Option<Signer>` is given: clap does not by itself where arguments are flattened
// into these.
#[derive(Args, Clone)]
#[group(args = ["key"])]
pub(crate) struct Signer {
    /// The private key to sign with: a file (colearn key new FILE), agent:COMMENT for one in an ssh-agent, or
    /// exec:COMMAND for one that a command signs with (docs/keys.md)
    #[arg(long, value_name = "KEY", value_hint = ValueHint::AnyPath)]
    pub(crate) key: Place,
    /// Where the key remembers what must survive a restart [default: the key file's name with .data behind
    /// it; for a key in no file, colearn/PUBLIC_KEY in ~/.local/state]
    #[arg(long, value_name = "DIR")]
    memory: Option<PathBuf>,
    #[command(flatten)]
    pins: PinArgs,
}

impl Signer {
    /// Of a command in which a key need not be given.
    pub(crate) fn of(key: Place, memory: Option<PathBuf>, pins: PinArgs) -> Self {
        Self { key, memory, pins }
    }

    /// The key and the folder of its memory.
    pub(crate) fn load(&self) -> anyhow::Result<(Key, PathBuf)> {
        let key = key_file::load(&self.key)?;
        let memory = self.folder(keys::learner_id(&key))?;
        Ok((key, memory))
    }

    fn folder(&self, key: LearnerId) -> anyhow::Result<PathBuf> {
        Ok(match &self.memory {
            Some(dir) => dir.clone(),
            None => Memory::of(&self.key, key)?,
        })
    }

    /// What is believed; where it is not given here, as a plan says.
    pub(crate) fn trust(&self, plan: Option<&Plan>) -> anyhow::Result<Trust> {
        self.pins.trust(&plan.map(|plan| plan.pins.clone()).unwrap_or_default())
    }

    /// The key, and the ledger that the node keeps, followed to its end from where the key's memory stands.
    /// What is not given here is believed as a plan says.
    pub(crate) async fn follow(
        &self,
        node: &str,
        plan: Option<&Plan>,
    ) -> anyhow::Result<(Key, Followed)> {
        let (key, dir) = self.load()?;
        let memory = Memory::open(&dir, keys::learner_id(&key))?;
        let nodes = Nodes::from(node).signed_by(Credential::new(&key));
        let client = Client::connect(nodes).await?;
        let mut followed = Followed::open(client, memory, self.trust(plan)?).await?;
        if followed.trusted() > 0 {
            let size = followed.trusted();
            eprintln!("{}", text::event(&Event::Trusting { size }));
        }
        following::to_the_end(&mut followed).await?;
        Ok((key, followed))
    }
}
