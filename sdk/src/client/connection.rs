//! A connection to a node: its address, its services, and what can be asked of them.

use std::time::Duration;

use bytes::Bytes;
use colearn_contracts::{Action, ExperimentName, LearnerId, VERSION, Version};
use colearn_ledger::{Checkpoint, Hash, Receipt, Verifier};
use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_proto::v1::ledger_service_client::LedgerServiceClient;
use colearn_proto::{CONTRACT_METADATA, v1};
use colearn_records::convert::{ExperimentState, MemberState};
use colearn_records::transaction::{LedgerId, Transaction};
use ed25519_dalek::SigningKey;
use prost::Message as _;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::{BoxFuture, ClientError, Entries, Memory};
use crate::error_cause::root_cause;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent connection is probed: a node that died without closing is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The largest message that is read: 4,096 entries or some chunks.
const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// A connection to a node that verifies what the node says, and remembers it.
pub struct Client {
    pub(super) url: String,
    pub(super) ledger_id: LedgerId,
    pub(super) verifier: Verifier,
    /// The version of the rules that the node says new experiments follow.
    pub(super) contract_version: u32,
    /// The last checkpoint that was verified to continue the ones before, and the note it is in.
    pub(super) latest: Option<(Checkpoint, String)>,
    pub(super) memory: Memory,
    pub(super) services: Services,
}

/// The node's services over one channel.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) coordinator: CoordinatorServiceClient<Telling>,
    pub(super) ledger: LedgerServiceClient<Telling>,
    pub(super) artifacts: ArtifactServiceClient<Telling>,
}

/// A channel over which each request tells which version of the rules this program knows.
type Telling = InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>;

/// Says that this program knows the rules up to [`VERSION`].
fn tell_version(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.metadata_mut().insert(CONTRACT_METADATA, MetadataValue::from(VERSION.number()));
    Ok(request)
}

/// A recorded transaction.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// Proof of its place; verified.
    pub receipt: Receipt,
    /// Its entry, as recorded.
    pub entry: Bytes,
}

/// An experiment's state as a node tells it, which proves nothing.
#[derive(Clone, Debug)]
pub struct Described {
    /// The number of entries it results from.
    pub size: u64,
    /// The experiment.
    pub experiment: ExperimentState,
    /// How the learner that was asked about stands in it, if it ever joined.
    pub member: Option<MemberState>,
}

/// The address in full: without a scheme it is plain http.
fn full_url(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

impl Services {
    /// Opens a channel to a node.
    async fn connect(url: &str) -> Result<Self, ClientError> {
        let bad = || ClientError::Address { url: url.to_owned() };
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|_| bad())?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .initial_stream_window_size(Some(4 << 20))
            .initial_connection_window_size(Some(16 << 20));
        let endpoint = if url.starts_with("https://") { tls(endpoint, url)? } else { endpoint };
        let channel = endpoint.connect().await.map_err(|error| ClientError::Unreachable {
            url: url.to_owned(),
            reason: root_cause(&error),
        })?;
        let channel: Telling = InterceptedService::new(channel, tell_version);
        Ok(Self {
            coordinator: CoordinatorServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            ledger: LedgerServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            artifacts: ArtifactServiceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        })
    }
}

#[cfg(feature = "tls")]
fn tls(endpoint: Endpoint, url: &str) -> Result<Endpoint, ClientError> {
    let tls = tonic::transport::ClientTlsConfig::new().with_enabled_roots();
    endpoint.tls_config(tls).map_err(|_| ClientError::Address { url: url.to_owned() })
}

#[cfg(not(feature = "tls"))]
fn tls(_: Endpoint, url: &str) -> Result<Endpoint, ClientError> {
    Err(ClientError::NoTls { url: url.to_owned() })
}

impl Client {
    /// Connects and learns which ledger the node keeps.
    ///
    /// # Errors
    /// If the node cannot be reached, or keeps another ledger than `memory` knows.
    pub fn connect<'a>(url: &'a str, memory: Memory) -> BoxFuture<'a, Result<Self, ClientError>> {
        Box::pin(async move {
            let url = full_url(url);
            let mut services = Services::connect(&url).await?;
            let known = super::trust::known_ledger(&mut services, &url).await?;
            let (ledger_id, verifier) = super::trust::stated_ledger(&known, &url, &memory)?;
            let latest = memory.latest_checkpoint()?;
            let contract_version = known.contract_version;
            let mut client =
                Self { url, ledger_id, verifier, contract_version, latest, memory, services };
            client.establish(known).await?;
            Ok(client)
        })
    }

    /// Connects again, to the same node, after the connection was lost.
    ///
    /// # Errors
    /// Those of [`Client::connect`].
    pub fn reconnect<'a>(&'a mut self) -> BoxFuture<'a, Result<(), ClientError>> {
        Box::pin(async move {
            self.services = Services::connect(&self.url).await?;
            let known = super::trust::known_ledger(&mut self.services, &self.url).await?;
            super::trust::stated_ledger(&known, &self.url, &self.memory)?;
            self.contract_version = known.contract_version;
            self.establish(known).await?;
            Ok(())
        })
    }

    /// The node's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which ledger the node keeps.
    pub fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    /// The version of the rules that an experiment is to be created for: the one that new experiments
    /// follow, as the node said when it was connected to. Where it is one that this program does not know,
    /// the latest that it knows; the node will refuse that (R52).
    pub fn contract_version(&self) -> Version {
        // A node that does not say follows the first.
        Version::try_from(self.contract_version.max(1)).unwrap_or(VERSION)
    }

    /// The key that verifies its checkpoints.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// What it remembers.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn refusal(&self, status: &Status) -> ClientError {
        ClientError::from_status(&self.url, status)
    }

    /// Signs an action over the node's latest checkpoint.
    ///
    /// # Errors
    /// If that cannot be fetched or does not fit.
    pub fn sign<'a>(
        &'a mut self,
        key: &'a SigningKey,
        action: Action,
    ) -> BoxFuture<'a, Result<Transaction, ClientError>> {
        Box::pin(async move {
            let seen = self.refresh().await?;
            Ok(Transaction::sign(key, &self.ledger_id, seen, action))
        })
    }

    /// Submits a signed transaction, verifies the receipt and keeps it.
    ///
    /// # Errors
    /// If the node refuses, or its receipt does not prove the transaction's place.
    pub fn submit<'a>(
        &'a mut self,
        transaction: &'a Transaction,
    ) -> BoxFuture<'a, Result<Submitted, ClientError>> {
        Box::pin(async move {
            let sent = transaction.message();
            let request = v1::SubmitRequest { transaction: Some(sent.clone()) };
            let answer = self.services.coordinator.submit(request).await;
            let answer = answer.map_err(|status| self.refusal(&status))?;
            let bad = |what: &str| ClientError::Receipt(what.to_owned());
            let message = answer.into_inner().receipt.ok_or_else(|| bad("there is none"))?;
            let entry = v1::Entry::decode(message.entry.clone()).map_err(|_| bad("no entry"))?;
            let Some(v1::entry::Payload::Transaction(recorded)) = entry.payload else {
                return Err(bad("the entry is no transaction"));
            };
            if recorded.body != sent.body
                || recorded.public_key != sent.public_key
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
            self.memory.keep_receipt(&receipt, &message.entry)?;
            Ok(Submitted { receipt, entry: message.entry })
        })
    }

    /// Signs an action, submits it, and keeps the receipt.
    ///
    /// # Errors
    /// Those of [`Client::sign`] and [`Client::submit`].
    pub fn act<'a>(
        &'a mut self,
        key: &'a SigningKey,
        action: Action,
    ) -> BoxFuture<'a, Result<Submitted, ClientError>> {
        Box::pin(async move {
            let signed = self.sign(key, action).await?;
            self.submit(&signed).await
        })
    }

    /// An experiment's state, and how a learner stands in it.
    ///
    /// # Errors
    /// If there is no such experiment.
    pub fn experiment<'a>(
        &'a mut self,
        name: &'a ExperimentName,
        learner: Option<LearnerId>,
    ) -> BoxFuture<'a, Result<Described, ClientError>> {
        Box::pin(async move {
            let learner = learner.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.0));
            let request = v1::GetExperimentRequest { name: name.to_string(), learner };
            let answer = self.services.coordinator.get_experiment(request).await;
            let answer = answer.map_err(|status| self.refusal(&status))?.into_inner();
            let missing = || ClientError::Malformed("no experiment".to_owned());
            Ok(Described {
                size: answer.size,
                experiment: ExperimentState::read(answer.experiment.ok_or_else(missing)?)?,
                member: answer.member.map(MemberState::read).transpose()?,
            })
        })
    }

    /// Every experiment, in short.
    ///
    /// # Errors
    /// If the node cannot answer.
    pub fn experiments<'a>(
        &'a mut self,
    ) -> BoxFuture<'a, Result<Vec<ExperimentState>, ClientError>> {
        Box::pin(async move {
            let mut all: Vec<ExperimentState> = Vec::new();
            loop {
                let after = all.last().map_or_else(String::new, |last| last.name.to_string());
                let request = v1::ListExperimentsRequest { page_size: 0, after };
                let answer = self.services.coordinator.list_experiments(request).await;
                let page = answer.map_err(|status| self.refusal(&status))?.into_inner().experiments;
                if page.is_empty() {
                    return Ok(all);
                }
                for experiment in page {
                    all.push(ExperimentState::read(experiment)?);
                }
            }
        })
    }

    /// An experiment's entries from an index on, as they come.
    ///
    /// # Errors
    /// If there is no such experiment.
    pub fn watch<'a>(
        &'a mut self,
        name: &'a ExperimentName,
        start: u64,
    ) -> BoxFuture<'a, Result<Entries, ClientError>> {
        Box::pin(async move {
            let request = v1::WatchExperimentRequest { name: name.to_string(), start };
            let answer = self.services.coordinator.watch_experiment(request).await;
            let stream = answer.map_err(|status| self.refusal(&status))?.into_inner();
            Ok(Entries::new(self.url.clone(), stream))
        })
    }

    /// Some consecutive entries, at least one.
    ///
    /// # Errors
    /// If the first does not exist.
    pub fn entries<'a>(
        &'a mut self,
        start: u64,
        count: u32,
    ) -> BoxFuture<'a, Result<Vec<Bytes>, ClientError>> {
        Box::pin(async move {
            let request = v1::GetEntriesRequest { start, count };
            let answer = self.services.ledger.get_entries(request).await;
            Ok(answer.map_err(|status| self.refusal(&status))?.into_inner().entries)
        })
    }

    /// The size of the last verified checkpoint.
    pub fn size(&self) -> u64 {
        self.latest.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size)
    }
}

/// Hashes as they come over the wire.
pub(super) fn hashes(wire: &[Bytes]) -> Result<Vec<Hash>, ClientError> {
    let malformed = |_| ClientError::Malformed("a hash is 32 bytes".to_owned());
    wire.iter().map(|bytes| Hash::try_from(&bytes[..]).map_err(malformed)).collect()
}
