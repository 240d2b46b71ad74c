//! What a learner remembers between two starts: the ledger it belongs to, the last checkpoint it
//! verified, and the last transaction it signed for a round.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use colearn_contracts::{Action, Digest, Reveal};
use colearn_ledger::Receipt;
use colearn_proto::v1;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::ClientError;
use colearn_records::convert;
use colearn_records::transaction::Unverified;

const FILE: &str = "learner.json";

/// A learner's memory, in a folder or, without one, until the process ends.
#[derive(Debug, Default)]
pub struct Memory {
    dir: Option<PathBuf>,
    kept: Kept,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Hex.
    ledger_id: Option<String>,
    verifier_key: Option<String>,
    /// The last verified checkpoint, verbatim.
    checkpoint: Option<String>,
    /// The last proposal, pass, vote or commitment that was signed: hex of a SignedTransaction.
    signed: Option<String>,
    /// The last sealed ballot, with its salt: hex of a Reveal.
    #[serde(default)]
    sealed: Option<String>,
}

impl Memory {
    /// Opens the memory in a folder, creating that if need be.
    ///
    /// # Errors
    /// If the folder cannot be used or the file in it cannot be read.
    pub fn open(dir: &Path) -> Result<Self, ClientError> {
        let path = dir.join(FILE);
        let data = |source| ClientError::Data { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(data)?;
        let kept = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| data(error.into()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(data(error)),
        };
        Ok(Self { dir: Some(dir.to_owned()), kept })
    }

    pub(super) fn ledger_id(&self) -> Option<&str> {
        self.kept.ledger_id.as_deref()
    }

    /// The last verified checkpoint and the key that signed it.
    pub(super) fn checkpoint(&self) -> Option<(&str, &str)> {
        Some((self.kept.checkpoint.as_deref()?, self.kept.verifier_key.as_deref()?))
    }

    /// Remembers the ledger and the last verified checkpoint.
    pub(super) fn keep_checkpoint(
        &mut self,
        ledger_id: &str,
        verifier_key: &str,
        checkpoint: &str,
    ) -> Result<(), ClientError> {
        if self.checkpoint() == Some((checkpoint, verifier_key)) {
            return Ok(());
        }
        self.kept.ledger_id = Some(ledger_id.to_owned());
        self.kept.verifier_key = Some(verifier_key.to_owned());
        self.kept.checkpoint = Some(checkpoint.to_owned());
        self.save()
    }

    /// The transaction signed for this turn or ballot, if there is one: it is sent again rather
    /// than signing another.
    pub(super) fn signed_for(&self, action: &Turn) -> Option<v1::SignedTransaction> {
        let bytes = hex::decode(self.kept.signed.as_ref()?).ok()?;
        let message = v1::SignedTransaction::decode(Bytes::from(bytes)).ok()?;
        let signed = Unverified::decode(message.clone()).ok()?;
        (Turn::of(&signed.action).as_ref() == Some(action)).then_some(message)
    }

    /// Remembers a transaction before it is sent, durably.
    pub(super) fn keep_signed(
        &mut self,
        message: &v1::SignedTransaction,
    ) -> Result<(), ClientError> {
        self.kept.signed = Some(hex::encode(message.encode_to_vec()));
        self.save()
    }

    /// The sealed ballot on these weights, if there is one.
    pub(super) fn sealed_for(&self, round: u64, weights: Digest) -> Option<Reveal> {
        let bytes = hex::decode(self.kept.sealed.as_ref()?).ok()?;
        let message = v1::Reveal::decode(Bytes::from(bytes)).ok()?;
        let action = convert::action(v1::transaction::Action::Reveal(message)).ok()?;
        match action {
            Action::Reveal(reveal)
                if reveal.vote.round == round && reveal.vote.weights == weights =>
            {
                Some(reveal)
            }
            _ => None,
        }
    }

    /// Remembers a sealed ballot before it is committed to, durably: without the salt it could
    /// never be revealed.
    pub(super) fn keep_sealed(&mut self, reveal: &Reveal) -> Result<(), ClientError> {
        let message = convert::action_message(&Action::Reveal(reveal.clone()));
        if let v1::transaction::Action::Reveal(message) = message {
            self.kept.sealed = Some(hex::encode(message.encode_to_vec()));
        }
        self.save()
    }

    /// Keeps a verified receipt and its entry: `receipts/<index>.tlog-proof` and `.entry`.
    pub(super) fn keep_receipt(&self, receipt: &Receipt, entry: &[u8]) -> Result<(), ClientError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let dir = dir.join("receipts");
        let stem = dir.join(receipt.index.to_string());
        std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::write(stem.with_extension("entry"), entry))
            .and_then(|()| std::fs::write(stem.with_extension("tlog-proof"), receipt.to_text()))
            .map_err(|source| ClientError::Data { path: dir, source })
    }

    /// Keeps two checkpoints that do not fit as evidence; where, if there is a folder.
    pub(super) fn keep_evidence(&self, old: &str, new: &str) -> Option<PathBuf> {
        let path = self.dir.as_ref()?.join("fork-evidence.txt");
        std::fs::write(&path, format!("{old}\n---\n\n{new}")).ok()?;
        Some(path)
    }

    fn save(&self) -> Result<(), ClientError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let path = dir.join(FILE);
        let write = || {
            let temporary = dir.join("learner.json.new");
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(&self.kept)?)?;
            file.sync_data()?;
            std::fs::rename(&temporary, &path)
        };
        write().map_err(|source| ClientError::Data { path: path.clone(), source })
    }
}

/// What a learner signs at most once: its turn in a round, or its vote on a proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    Propose { experiment: String, round: u64 },
    Vote { experiment: String, round: u64, weights: Digest },
}

impl Turn {
    fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Propose(proposal) => Some(Self::Propose {
                experiment: proposal.experiment.to_string(),
                round: proposal.round,
            }),
            Action::Pass { experiment, round, .. } => {
                Some(Self::Propose { experiment: experiment.to_string(), round: *round })
            }
            Action::Vote(vote) => Some(Self::Vote {
                experiment: vote.experiment.to_string(),
                round: vote.round,
                weights: vote.weights,
            }),
            // A commitment is the vote, as far as signing once goes.
            Action::Commit(commit) => Some(Self::Vote {
                experiment: commit.experiment.to_string(),
                round: commit.round,
                weights: commit.weights,
            }),
            Action::Create(_)
            | Action::Join { .. }
            | Action::Leave { .. }
            | Action::Reveal(_)
            | Action::Resume { .. }
            | Action::ReplaceKey { .. }
            | Action::Move { .. }
            | Action::Ballot { .. }
            | Action::Stop { .. } => None,
        }
    }
}
