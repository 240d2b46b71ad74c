//! What a learner remembers between two starts: the ledger it belongs to, the last checkpoint it
//! verified, and the last transaction it signed for a round.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use colearn_contracts::{Act, Action, ExperimentName, Reveal};
use colearn_ledger::{Checkpoint, Receipt, Verifier};
use colearn_proto::v1;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::ClientError;
use crate::participant::Turn;
use colearn_records::convert;
use colearn_records::transaction::{LedgerId, Transaction, Unverified};

const FILE: &str = "learner.json";

/// A learner's memory, in a folder or, without one, until the process ends.
#[derive(Debug, Default)]
pub struct Memory {
    dir: Option<PathBuf>,
    remembered: Remembered,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Remembered {
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
        let remembered = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| data(error.into()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Remembered::default(),
            Err(error) => return Err(data(error)),
        };
        Ok(Self { dir: Some(dir.to_owned()), remembered })
    }

    pub(super) fn ledger_id(&self) -> Option<&str> {
        self.remembered.ledger_id.as_deref()
    }

    /// The last verified checkpoint, and the note it was in.
    pub(super) fn latest_checkpoint(&self) -> Result<Option<(Checkpoint, String)>, ClientError> {
        let Some((note, key)) = self.checkpoint() else { return Ok(None) };
        Ok(Some((Checkpoint::open(note, &Verifier::parse(key)?)?, note.to_owned())))
    }

    /// The last verified checkpoint and the key that signed it.
    fn checkpoint(&self) -> Option<(&str, &str)> {
        Some((self.remembered.checkpoint.as_deref()?, self.remembered.verifier_key.as_deref()?))
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
        self.remembered.ledger_id = Some(ledger_id.to_owned());
        self.remembered.verifier_key = Some(verifier_key.to_owned());
        self.remembered.checkpoint = Some(checkpoint.to_owned());
        self.save()
    }

    /// The transaction signed for this turn or ballot, if there is one: it is sent again rather
    /// than signing another.
    pub(super) fn signed_for(&self, turn: &Turn, ledger: &LedgerId) -> Option<Transaction> {
        let signed = self.signed()?.verify(ledger).ok()?;
        (Turn::of(signed.action()).as_ref() == Some(turn)).then_some(signed)
    }

    /// The turn or ballot that was signed last.
    pub(super) fn signed_turn(&self) -> Option<Turn> {
        Turn::of(&self.signed()?.action)
    }

    fn signed(&self) -> Option<Unverified> {
        let bytes = hex::decode(self.remembered.signed.as_ref()?).ok()?;
        let message = v1::SignedTransaction::decode(Bytes::from(bytes)).ok()?;
        Unverified::decode(message).ok()
    }

    /// Remembers a transaction before it is sent, durably.
    pub(super) fn keep_signed(&mut self, signed: &Transaction) -> Result<(), ClientError> {
        self.remembered.signed = Some(hex::encode(signed.message().encode_to_vec()));
        self.save()
    }

    /// The sealed ballot of this experiment that was kept last.
    pub(super) fn sealed(&self, experiment: &ExperimentName) -> Option<Reveal> {
        let bytes = hex::decode(self.remembered.sealed.as_ref()?).ok()?;
        let message = v1::Reveal::decode(Bytes::from(bytes)).ok()?;
        let action = convert::action(v1::transaction::Action::Reveal(message)).ok()?;
        match action.what {
            Act::Reveal(reveal) if action.experiment == *experiment => Some(reveal),
            _ => None,
        }
    }

    /// Remembers a sealed ballot before it is committed to, durably: without the salt it could
    /// never be revealed.
    pub(super) fn keep_sealed(
        &mut self,
        experiment: &ExperimentName,
        reveal: &Reveal,
    ) -> Result<(), ClientError> {
        let action = Action::new(experiment.clone(), Act::Reveal(reveal.clone()));
        if let v1::transaction::Action::Reveal(message) = convert::action_message(&action) {
            self.remembered.sealed = Some(hex::encode(message.encode_to_vec()));
        }
        self.save()
    }

    /// Keeps a verified receipt and its entry: `receipts/<index>.tlog-proof` and `.entry`.
    pub(super) fn keep_receipt(&self, receipt: &Receipt, entry: &[u8]) -> Result<(), ClientError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let dir = dir.join("receipts");
        let stem = dir.join(receipt.index.to_string());
        let text = receipt.to_text();
        // Synced: what the ledger has promised is worth as much as what it holds.
        colearn_files::create_folder(&dir)
            .and_then(|()| colearn_files::replace(&stem.with_extension("entry"), entry))
            .and_then(|()| {
                colearn_files::replace(&stem.with_extension("tlog-proof"), text.as_bytes())
            })
            .map_err(|error| ClientError::Data { path: dir, source: error.into() })
    }

    /// Keeps two checkpoints that do not fit as evidence; where, if there is a folder.
    pub(super) fn keep_evidence(&self, old: &str, new: &str) -> Option<PathBuf> {
        let path = self.dir.as_ref()?.join("fork-evidence.txt");
        let both = format!("{old}\n---\n\n{new}");
        colearn_files::replace(&path, both.as_bytes()).ok()?;
        Some(path)
    }

    fn save(&self) -> Result<(), ClientError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let path = dir.join(FILE);
        let data = |source| ClientError::Data { path: path.clone(), source };
        let json =
            serde_json::to_vec_pretty(&self.remembered).map_err(|error| data(error.into()))?;
        // Not readable by others: it holds the salt of a sealed ballot.
        colearn_files::replace_secret(&path, &json).map_err(|error| data(error.into()))
    }
}
