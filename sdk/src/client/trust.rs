//! What a node is believed: checkpoints that continue one another, signed by keys that the ledger
//! itself names.

use bytes::Bytes;
use colearn_ledger::{Checkpoint, Hash, NoteError, Verifier, tree};
use colearn_proto::v1;
use colearn_records::log_keys::LogKeys;
use colearn_records::record::Record;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use tonic::Code;

use super::connection::{Client, Services, hashes};
use super::error::Evidence;
use super::{BoxFuture, ClientError, Memory};
use crate::participant::Turn;

/// How many changes of the ledger's key are followed.
const MAX_ROTATIONS: usize = 1000;

/// What the node says that it keeps.
pub(super) async fn known_ledger(
    services: &mut Services,
    url: &str,
) -> Result<v1::GetLedgerResponse, ClientError> {
    let known = services.ledger.get_ledger(v1::GetLedgerRequest {}).await;
    Ok(known.map_err(|status| ClientError::from_status(url, &status))?.into_inner())
}

/// The stated ledger and key. Another ledger than the remembered one is refused before anything else
/// is asked.
pub(super) fn stated_ledger(
    known: &v1::GetLedgerResponse,
    url: &str,
    memory: &Memory,
) -> Result<(LedgerId, Verifier), ClientError> {
    let id = known.ledger_id[..].try_into();
    let id = id.map_err(|_| ClientError::Malformed("a ledger id is 32 bytes".to_owned()))?;
    let found = LedgerId(id);
    if let Some(expected) = memory.ledger_id()
        && expected != found.to_string()
    {
        let (url, found, expected) = (url.to_owned(), found.to_string(), expected.to_owned());
        return Err(ClientError::OtherLedger { url, found, expected });
    }
    Ok((found, Verifier::parse(&known.verifier_key)?))
}

impl Client {
    /// Believes the node's checkpoint, and the key that signs it, only if that key is the one in the
    /// ledger's first entry or was changed to by entries signed by both keys.
    pub(super) async fn establish(
        &mut self,
        known: v1::GetLedgerResponse,
    ) -> Result<Seen, ClientError> {
        let malformed = |what: &str| ClientError::Malformed(what.to_owned());
        self.verifier = Verifier::parse(&known.verifier_key)?;
        let (checkpoint, note) = self.fetch_checkpoint().await?;
        let first = self.proven_entry(0, &checkpoint).await?;
        let mut keys = match Record::decode(&first).map(|placed| placed.record) {
            Ok(Record::Genesis(genesis)) if LedgerId::of(&genesis) == self.ledger_id => {
                LogKeys::of_genesis(&genesis)
            }
            _ => None,
        }
        .ok_or_else(|| malformed("the ledger id is not that of the first entry"))?;
        if known.key_rotations.len() > MAX_ROTATIONS {
            return Err(malformed("the key changed too often"));
        }
        for index in known.key_rotations {
            let entry = self.proven_entry(index, &checkpoint).await?;
            let Ok(Record::KeyRotation(rotation)) =
                Record::decode(&entry).map(|placed| placed.record)
            else {
                return Err(malformed("an entry said to change the key does not"));
            };
            keys.follow(index, &rotation).map_err(|error| malformed(&error.to_string()))?;
        }
        if *keys.current() != self.verifier {
            return Err(malformed("the key is neither the first entry's nor one it changed to"));
        }
        self.keep(checkpoint, note)
    }

    /// An entry that the checkpoint's tree is proven to hold.
    async fn proven_entry(
        &mut self,
        index: u64,
        checkpoint: &Checkpoint,
    ) -> Result<Bytes, ClientError> {
        let request = v1::GetEntriesRequest { start: index, count: 1 };
        let entries =
            self.services.ledger.get_entries(request).await.map_err(|s| self.refusal(&s))?;
        let missing = || ClientError::Malformed(format!("entry {index} is missing"));
        let entry = entries.into_inner().entries.into_iter().next().ok_or_else(missing)?;
        let request = v1::GetInclusionProofRequest { index, size: checkpoint.size };
        let proof = self
            .services
            .ledger
            .get_inclusion_proof(request)
            .await
            .map_err(|s| self.refusal(&s))?;
        let path = hashes(&proof.into_inner().proof)?;
        let (size, root) = (checkpoint.size, checkpoint.root);
        if !tree::verify_inclusion(Hash::leaf(&entry), index, size, &path, root) {
            let what = format!("entry {index} is not in the checkpoint's tree");
            return Err(ClientError::Malformed(what));
        }
        Ok(entry)
    }

    /// Fetches the node's checkpoint and verifies that it continues the last one.
    ///
    /// # Errors
    /// [`ClientError::Fork`] if it does not, with both checkpoints kept as evidence.
    pub fn refresh<'a>(&'a mut self) -> BoxFuture<'a, Result<Seen, ClientError>> {
        Box::pin(async move {
            match self.fetch_checkpoint().await {
                Ok((checkpoint, note)) => self.keep(checkpoint, note),
                // Perhaps the ledger's key was changed.
                Err(ClientError::Checkpoint(NoteError::Unsigned(_))) => {
                    let known = known_ledger(&mut self.services, &self.url).await?;
                    self.establish(known).await
                }
                Err(error) => Err(error),
            }
        })
    }

    /// The node's checkpoint, if it is signed and continues the last one.
    async fn fetch_checkpoint(&mut self) -> Result<(Checkpoint, String), ClientError> {
        let old_size = self.latest.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
        let request = v1::GetCheckpointRequest { old_size };
        let answer = match self.services.ledger.get_checkpoint(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::OutOfRange => {
                return Err(self.fork("it is shorter", status.message()));
            }
            Err(status) => return Err(self.refusal(&status)),
        };
        let checkpoint = Checkpoint::open(&answer.checkpoint, &self.verifier)?;
        if let Some((old, _)) = &self.latest {
            let path = hashes(&answer.consistency_proof)?;
            let (size, root) = (checkpoint.size, checkpoint.root);
            if !tree::verify_consistency(old.size, old.root, size, root, &path) {
                return Err(self.fork("the proof does not fit", &answer.checkpoint));
            }
        }
        Ok((checkpoint, answer.checkpoint))
    }

    fn keep(&mut self, checkpoint: Checkpoint, note: String) -> Result<Seen, ClientError> {
        let seen = Seen { size: checkpoint.size, root: checkpoint.root };
        let (id, key) = (self.ledger_id.to_string(), self.verifier.to_string());
        self.memory.keep_checkpoint(&id, &key, &note)?;
        self.latest = Some((checkpoint, note));
        Ok(seen)
    }

    fn fork(&self, what: &str, new: &str) -> ClientError {
        let old = self.latest.as_ref().map_or("", |(_, note)| note.as_str());
        ClientError::Fork(what.to_owned(), Evidence(self.memory.keep_evidence(old, new)))
    }

    /// What was signed for a turn or ballot before, if anything was.
    pub(super) fn signed_for(&self, turn: &Turn) -> Option<Transaction> {
        self.memory.signed_for(turn, &self.ledger_id)
    }
}
