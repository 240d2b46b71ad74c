//! A key, what it remembers, and what is believed before anything was verified.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use colearn_contracts::LearnerId;
use colearn_ledger::Verifier;
use colearn_records::keys;
use colearn_records::pins::Pins;
use colearn_records::plan::Plan;
use colearn_records::transaction::LedgerId;
use colearn_sdk::client::{Client, Followed, Memory, Trust};
use ed25519_dalek::SigningKey;

use crate::cli::{key_file, progress};

/// Whose key signs, what it remembers, and what it believes before anything was verified.
// No other arguments are flattened into these: clap then counts `Option<Signer>` as given never.
#[derive(Args, Clone)]
pub(crate) struct Signer {
    /// The private key to sign with (colearn key new FILE)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Where the key remembers what must survive a restart [default: the key file's name with .data behind
    /// it]
    #[arg(long, value_name = "DIR")]
    memory: Option<PathBuf>,
    /// Take part in this ledger only, by its id
    #[arg(long, value_name = "ID")]
    ledger: Option<LedgerId>,
    /// Only in a ledger that this key keeps, or has kept (the one that `colearn node` prints)
    #[arg(long, value_name = "KEY", value_parser = Verifier::parse)]
    verifier_key: Option<Verifier>,
    /// A signed checkpoint: believe who has signed what it counts, and check the rest. For newcomers to a
    /// long ledger
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

impl Signer {
    /// The key and the folder of its memory.
    pub(crate) fn load(&self) -> anyhow::Result<(SigningKey, PathBuf)> {
        let key = key_file::load(&self.key)?;
        let memory = self.folder(keys::learner_id(&key))?;
        Ok((key, memory))
    }

    fn folder(&self, key: LearnerId) -> anyhow::Result<PathBuf> {
        Ok(match &self.memory {
            Some(dir) => dir.clone(),
            None => Memory::beside(&self.key, key)?,
        })
    }

    /// What is believed; where it is not given here, as a plan says.
    pub(crate) fn trust(&self, plan: Option<&Plan>) -> anyhow::Result<Trust> {
        let _ = plan;
        let planned = Pins::default();
        let pins = Pins::new(
            self.ledger.or(planned.ledger()),
            self.verifier_key.clone().or_else(|| planned.verifier_key().cloned()),
            planned.witnesses().to_vec(),
            (!planned.witnesses().is_empty()).then(|| planned.quorum()),
        )?;
        let checkpoint = self.trust.as_ref().map(|path| {
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the checkpoint {}", path.display()))
        });
        Ok(Trust { pins, checkpoint: checkpoint.transpose()? })
    }

    /// The key, and the ledger that the node keeps, followed to its end from where the key's memory stands.
    pub(crate) async fn follow(&self, node: &str) -> anyhow::Result<(SigningKey, Followed)> {
        let (key, dir) = self.load()?;
        let memory = Memory::open(&dir, keys::learner_id(&key))?;
        let client = Client::connect(node).await?;
        let mut followed = Followed::open(client, memory, self.trust(None)?).await?;
        let bar = progress::entries("following the ledger");
        followed
            .catch_up(&mut |progress| {
                bar.set_length(progress.size);
                bar.set_position(progress.followed);
            })
            .await?;
        bar.finish_and_clear();
        followed.keep()?;
        Ok((key, followed))
    }
}
