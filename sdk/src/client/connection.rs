//! A connection to a node that verifies what the node says.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use colearn_contracts::{Action, LearnerId, Model};
use colearn_ledger::{Checkpoint, Hash, NoteError, Receipt, Verifier, tree};
use colearn_proto::v1;
use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_proto::v1::ledger_service_client::LedgerServiceClient;
use ed25519_dalek::SigningKey;
use prost::Message as _;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status, Streaming};

use super::error::Evidence;
use super::{ClientError, Memory};
use crate::learner::Weights;
use colearn_records::log_keys::LogKeys;
use colearn_records::record::Record;
use colearn_records::transaction::{LedgerId, Seen, Transaction};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent connection is probed: a node that died without closing is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The largest message that is read: 4,096 entries or some chunks.
const MAX_MESSAGE_BYTES: usize = 8 << 20;
/// How many changes of the ledger's key are followed.
const MAX_ROTATIONS: usize = 1000;
/// The size of an uploaded chunk.
const CHUNK_BYTES: usize = 1 << 18;
/// What is set aside for a download before any of it has arrived.
const MAX_RESERVE_BYTES: u64 = 64 << 20;
/// How often a transfer goes on after a break before it is given up.
const TRANSFER_TRIES: u32 = 5;

/// A connection to a node.
#[derive(Clone)]
pub struct Client {
    url: String,
    ledger_id: LedgerId,
    verifier: Verifier,
    /// The last checkpoint that was verified to continue the ones before.
    latest: Option<(Checkpoint, String)>,
    coordinator: CoordinatorServiceClient<Channel>,
    ledger: LedgerServiceClient<Channel>,
    artifacts: ArtifactServiceClient<Channel>,
}

/// A recorded transaction.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// Proof of its place; verified.
    pub receipt: Receipt,
    /// Its entry, as recorded.
    pub entry: Bytes,
}

impl Client {
    /// Connects and learns which ledger the node keeps.
    ///
    /// # Errors
    /// If the node cannot be reached, or keeps another ledger than `memory` knows.
    pub async fn connect(url: &str, memory: &mut Memory) -> Result<Self, ClientError> {
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let bad = || ClientError::Address { url: url.clone() };
        let mut endpoint = Endpoint::from_shared(url.clone())
            .map_err(|_| bad())?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .initial_stream_window_size(Some(4 << 20))
            .initial_connection_window_size(Some(16 << 20));
        if url.starts_with("https://") {
            let tls = ClientTlsConfig::new().with_enabled_roots();
            endpoint = endpoint.tls_config(tls).map_err(|_| bad())?;
        }
        let channel = endpoint.connect().await.map_err(|error| ClientError::Unreachable {
            url: url.clone(),
            reason: root_cause(&error),
        })?;
        let mut ledger =
            LedgerServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let known = ledger
            .get_ledger(v1::GetLedgerRequest {})
            .await
            .map_err(|status| ClientError::from_status(&url, &status))?
            .into_inner();
        let ledger_id: [u8; 32] = known.ledger_id[..]
            .try_into()
            .map_err(|_| ClientError::Malformed("a ledger id is 32 bytes".to_owned()))?;
        let ledger_id = LedgerId(ledger_id);
        if let Some(expected) = memory.ledger_id()
            && expected != ledger_id.to_string()
        {
            return Err(ClientError::OtherLedger {
                url,
                found: ledger_id.to_string(),
                expected: expected.to_owned(),
            });
        }
        let latest = match memory.checkpoint() {
            Some((note, key)) => {
                Some((Checkpoint::open(note, &Verifier::parse(key)?)?, note.to_owned()))
            }
            None => None,
        };
        let mut client = Self {
            url,
            ledger_id,
            verifier: Verifier::parse(&known.verifier_key)?,
            latest,
            coordinator: CoordinatorServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            ledger,
            artifacts: ArtifactServiceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        };
        client.establish(known, memory).await?;
        Ok(client)
    }

    /// Believes the node's checkpoint, and the key that signs it, only if that key is the one in the
    /// ledger's first entry or was changed to by entries signed by both keys.
    async fn establish(
        &mut self,
        known: v1::GetLedgerResponse,
        memory: &mut Memory,
    ) -> Result<Seen, ClientError> {
        let malformed = |what: &str| ClientError::Malformed(what.to_owned());
        self.verifier = Verifier::parse(&known.verifier_key)?;
        let (checkpoint, note) = self.fetch_checkpoint(memory).await?;
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
        self.keep(checkpoint, note, memory)
    }

    /// The node's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which ledger the node keeps.
    pub fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    /// The key that verifies its checkpoints.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    fn status(&self, status: &Status) -> ClientError {
        ClientError::from_status(&self.url, status)
    }

    /// An entry that the checkpoint's tree is proven to hold.
    async fn proven_entry(
        &mut self,
        index: u64,
        checkpoint: &Checkpoint,
    ) -> Result<Bytes, ClientError> {
        let request = v1::GetEntriesRequest { start: index, count: 1 };
        let entries = self.ledger.get_entries(request).await.map_err(|s| self.status(&s))?;
        let missing = || ClientError::Malformed(format!("entry {index} is missing"));
        let entry = entries.into_inner().entries.into_iter().next().ok_or_else(missing)?;
        let request = v1::GetInclusionProofRequest { index, size: checkpoint.size };
        let proof = self.ledger.get_inclusion_proof(request).await.map_err(|s| self.status(&s))?;
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
    pub async fn refresh(&mut self, memory: &mut Memory) -> Result<Seen, ClientError> {
        match self.fetch_checkpoint(memory).await {
            Ok((checkpoint, note)) => self.keep(checkpoint, note, memory),
            // Perhaps the ledger's key was changed.
            Err(ClientError::Checkpoint(NoteError::Unsigned(_))) => {
                let known = self.ledger.get_ledger(v1::GetLedgerRequest {}).await;
                let known = known.map_err(|status| self.status(&status))?.into_inner();
                self.establish(known, memory).await
            }
            Err(error) => Err(error),
        }
    }

    /// The node's checkpoint, if it is signed and continues the last one.
    async fn fetch_checkpoint(
        &mut self,
        memory: &Memory,
    ) -> Result<(Checkpoint, String), ClientError> {
        let old_size = self.latest.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
        let request = v1::GetCheckpointRequest { old_size };
        let answer = match self.ledger.get_checkpoint(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::OutOfRange => {
                return Err(self.fork(memory, "it is shorter", status.message()));
            }
            Err(status) => return Err(self.status(&status)),
        };
        let checkpoint = Checkpoint::open(&answer.checkpoint, &self.verifier)?;
        if let Some((old, _)) = &self.latest {
            let path = hashes(&answer.consistency_proof)?;
            let (size, root) = (checkpoint.size, checkpoint.root);
            if !tree::verify_consistency(old.size, old.root, size, root, &path) {
                return Err(self.fork(memory, "the proof does not fit", &answer.checkpoint));
            }
        }
        Ok((checkpoint, answer.checkpoint))
    }

    fn keep(
        &mut self,
        checkpoint: Checkpoint,
        note: String,
        memory: &mut Memory,
    ) -> Result<Seen, ClientError> {
        let seen = Seen { size: checkpoint.size, root: checkpoint.root };
        let (id, key) = (self.ledger_id.to_string(), self.verifier.to_string());
        memory.keep_checkpoint(&id, &key, &note)?;
        self.latest = Some((checkpoint, note));
        Ok(seen)
    }

    fn fork(&self, memory: &Memory, what: &str, new: &str) -> ClientError {
        let old = self.latest.as_ref().map_or("", |(_, note)| note.as_str());
        ClientError::Fork(what.to_owned(), Evidence(memory.keep_evidence(old, new)))
    }

    /// Signs an action over the node's latest checkpoint.
    ///
    /// # Errors
    /// If that cannot be fetched or does not fit.
    pub async fn sign(
        &mut self,
        key: &SigningKey,
        action: Action,
        memory: &mut Memory,
    ) -> Result<v1::SignedTransaction, ClientError> {
        let seen = self.refresh(memory).await?;
        Ok(Transaction::sign(key, &self.ledger_id, seen, action).message().clone())
    }

    /// Submits a signed transaction, verifies the receipt and keeps it.
    ///
    /// # Errors
    /// If the node refuses, or its receipt does not prove the transaction's place.
    pub async fn submit(
        &mut self,
        transaction: v1::SignedTransaction,
        memory: &Memory,
    ) -> Result<Submitted, ClientError> {
        let request = v1::SubmitRequest { transaction: Some(transaction.clone()) };
        let answer = self.coordinator.submit(request).await.map_err(|s| self.status(&s))?;
        let bad = |what: &str| ClientError::Receipt(what.to_owned());
        let message = answer.into_inner().receipt.ok_or_else(|| bad("there is none"))?;
        let entry = v1::Entry::decode(message.entry.clone()).map_err(|_| bad("no entry"))?;
        let Some(v1::entry::Payload::Transaction(recorded)) = entry.payload else {
            return Err(bad("the entry is no transaction"));
        };
        if recorded.body != transaction.body
            || recorded.public_key != transaction.public_key
            || entry.index != message.index
        {
            return Err(bad("the entry is another one"));
        }
        let receipt = Receipt {
            index: message.index,
            path: hashes(&message.inclusion_proof)?,
            checkpoint: message.checkpoint,
        };
        receipt
            .verify(Hash::leaf(&message.entry), &self.verifier)
            .map_err(|error| bad(&error.to_string()))?;
        memory.keep_receipt(&receipt, &message.entry)?;
        Ok(Submitted { receipt, entry: message.entry })
    }

    /// Signs an action, submits it, and keeps the receipt.
    ///
    /// # Errors
    /// Those of [`Client::sign`] and [`Client::submit`].
    pub async fn act(
        &mut self,
        key: &SigningKey,
        action: Action,
        memory: &mut Memory,
    ) -> Result<Submitted, ClientError> {
        let signed = self.sign(key, action, memory).await?;
        self.submit(signed, memory).await
    }

    /// An experiment's state, and how a learner stands in it.
    ///
    /// # Errors
    /// If there is no such experiment.
    pub async fn experiment(
        &mut self,
        name: &str,
        learner: Option<LearnerId>,
    ) -> Result<v1::GetExperimentResponse, ClientError> {
        let learner = learner.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.0));
        let request = v1::GetExperimentRequest { name: name.to_owned(), learner };
        let answer = self.coordinator.get_experiment(request).await;
        Ok(answer.map_err(|status| self.status(&status))?.into_inner())
    }

    /// Every experiment, in short.
    ///
    /// # Errors
    /// If the node cannot answer.
    pub async fn experiments(&mut self) -> Result<Vec<v1::Experiment>, ClientError> {
        let mut all: Vec<v1::Experiment> = Vec::new();
        loop {
            let after = all.last().map_or_else(String::new, |last| last.name.clone());
            let request = v1::ListExperimentsRequest { page_size: 0, after };
            let answer = self.coordinator.list_experiments(request).await;
            let page = answer.map_err(|status| self.status(&status))?.into_inner().experiments;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// An experiment's entries from an index on, as they come.
    ///
    /// # Errors
    /// If there is no such experiment.
    pub async fn watch(
        &mut self,
        name: &str,
        start: u64,
    ) -> Result<Streaming<v1::WatchExperimentResponse>, ClientError> {
        let request = v1::WatchExperimentRequest { name: name.to_owned(), start };
        let answer = self.coordinator.watch_experiment(request).await;
        Ok(answer.map_err(|status| self.status(&status))?.into_inner())
    }

    /// Some consecutive entries, at least one.
    ///
    /// # Errors
    /// If the first does not exist.
    pub async fn entries(&mut self, start: u64, count: u32) -> Result<Vec<Bytes>, ClientError> {
        let request = v1::GetEntriesRequest { start, count };
        let answer = self.ledger.get_entries(request).await;
        Ok(answer.map_err(|status| self.status(&status))?.into_inner().entries)
    }

    /// The size of the last verified checkpoint.
    pub fn size(&self) -> u64 {
        self.latest.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size)
    }

    /// Uploads weights unless the node has them, going on after a break.
    ///
    /// # Errors
    /// If the node does not take them.
    pub async fn upload(&mut self, weights: &Weights) -> Result<(), ClientError> {
        let mut tries = 0;
        loop {
            match self.try_upload(weights).await {
                Err(error) if error.is_transient() && tries < TRANSFER_TRIES => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(50 << tries)).await;
                }
                done => return done,
            }
        }
    }

    async fn try_upload(&mut self, weights: &Weights) -> Result<(), ClientError> {
        use v1::upload_artifact_request::Part;
        let digest = Bytes::copy_from_slice(&weights.digest().0);
        let size = weights.bytes().len() as u64;
        let request = v1::StatArtifactRequest { digest: digest.clone() };
        let there = self.artifacts.stat_artifact(request).await.map_err(|s| self.status(&s))?;
        let there = there.into_inner();
        if there.stored {
            return Ok(());
        }
        let offset = if there.partial_size <= size { there.partial_size } else { 0 };
        let header = Part::Header(v1::UploadHeader { digest, size, offset });
        let bytes = weights.bytes().slice(offset as usize..);
        let chunks = (0..bytes.len()).step_by(CHUNK_BYTES).map(move |at| {
            // A slice shares the buffer.
            Part::Chunk(bytes.slice(at..bytes.len().min(at + CHUNK_BYTES)))
        });
        let parts = std::iter::once(header)
            .chain(chunks)
            .map(|part| v1::UploadArtifactRequest { part: Some(part) });
        let answer = self.artifacts.upload_artifact(tokio_stream::iter(parts)).await;
        answer.map_err(|status| self.status(&status))?;
        Ok(())
    }

    /// Downloads weights and verifies their digest, going on after a break.
    ///
    /// # Errors
    /// If the node does not have them or sends other bytes.
    pub async fn download(&mut self, model: &Model) -> Result<Weights, ClientError> {
        let reserve = model.size.min(MAX_RESERVE_BYTES) as usize;
        let mut bytes = BytesMut::with_capacity(reserve);
        let mut tries = 0;
        loop {
            match self.try_download(model, &mut bytes).await {
                Err(error) if error.is_transient() && tries < TRANSFER_TRIES => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(50 << tries)).await;
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        let bytes = bytes.freeze();
        // Hashing large weights would hold up everything else here.
        let hashed = tokio::task::spawn_blocking(move || Weights::new(bytes)).await;
        let weights = hashed.map_err(|_| ClientError::WrongArtifact(model.digest))?;
        if weights.digest() == model.digest {
            Ok(weights)
        } else {
            Err(ClientError::WrongArtifact(model.digest))
        }
    }

    async fn try_download(
        &mut self,
        model: &Model,
        bytes: &mut BytesMut,
    ) -> Result<(), ClientError> {
        let digest = Bytes::copy_from_slice(&model.digest.0);
        let request = v1::DownloadArtifactRequest { digest, offset: bytes.len() as u64 };
        let answer = self.artifacts.download_artifact(request).await;
        let mut chunks = answer.map_err(|status| self.status(&status))?.into_inner();
        while let Some(part) = chunks.message().await.map_err(|s| self.status(&s))? {
            if bytes.len() as u64 + part.chunk.len() as u64 > model.size {
                return Err(ClientError::WrongArtifact(model.digest));
            }
            bytes.extend_from_slice(&part.chunk);
        }
        Ok(())
    }
}

fn hashes(wire: &[Bytes]) -> Result<Vec<Hash>, ClientError> {
    let malformed = |_| ClientError::Malformed("a hash is 32 bytes".to_owned());
    wire.iter().map(|bytes| Hash::try_from(&bytes[..]).map_err(malformed)).collect()
}

/// What an error is at bottom: "Connection refused" rather than "transport error".
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
