//! A connection to a node: its address, its services, and what can be asked of them.

use std::time::Duration;

use bytes::Bytes;
use colearn_contracts::{ExperimentName, LearnerId, VERSION};
use colearn_ledger::Hash;
#[cfg(feature = "chain")]
use colearn_light::{RawBlock, RawValue};
use colearn_net::{Address, Connector, NetError, Protocol, Signing};
use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_proto::v1::ledger_service_client::LedgerServiceClient;
use colearn_proto::{CONTRACT_METADATA, v1};
use colearn_records::convert::{ExperimentState, MemberState};
use colearn_records::transaction::LedgerId;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};

use super::nodes::Failures;
use super::signing::SignedChannel;
use super::silent::Silent;
use super::{BoxFuture, ClientError, Entries, Nodes, Suspicion};
use crate::error_cause::root_cause;

/// How often a silent connection is probed: a node that died without closing is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long an answer is waited for: with endless patience, and with none.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// The largest message that is read: 4,096 entries or some chunks.
const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// A connection to a node. What is answered proves nothing, but for weights, whose digest is checked; for
/// what is known of a ledger, see [`Followed`](super::Followed).
#[derive(Clone)]
pub struct Client {
    pub(super) nodes: Nodes,
    /// Which stores do not answer.
    pub(super) silent: Silent,
    services: Services,
    /// How long an answer is waited for,
    patience: Duration,
    /// and that to a submission.
    unanswered: Duration,
}

/// The node's services over one channel.
#[derive(Clone)]
struct Services {
    coordinator: CoordinatorServiceClient<Telling>,
    ledger: LedgerServiceClient<Telling>,
    artifacts: ArtifactServiceClient<Telling>,
    connector: Connector,
    signing: Signing,
}

/// A signed channel over which each request tells which version of the rules this program knows.
pub(super) type Telling =
    InterceptedService<SignedChannel, fn(Request<()>) -> Result<Request<()>, Status>>;

/// Says that this program knows the rules up to [`VERSION`].
fn tell_version(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.metadata_mut().insert(CONTRACT_METADATA, MetadataValue::from(VERSION.number()));
    Ok(request)
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

impl Services {
    /// Opens a channel to a node.
    async fn connect(nodes: &Nodes) -> Result<Self, ClientError> {
        let address: Address = nodes.url().parse()?;
        let connector = Connector::new(&address, nodes.trust(), Protocol::Http2)?;
        let endpoint = Endpoint::from(address.uri().clone())
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .initial_stream_window_size(Some(4 << 20))
            .initial_connection_window_size(Some(16 << 20));
        let channel =
            endpoint.connect_with_connector(connector.clone()).await.map_err(|error| {
                match NetError::below(address.url(), &error) {
                    Some(error) => error.into(),
                    None => ClientError::Unreachable {
                        url: address.url().to_owned(),
                        reason: root_cause(&error),
                    },
                }
            })?;
        let signing = Signing::new(&address, nodes.trust());
        let channel = SignedChannel::new(channel, connector.clone(), signing.clone());
        let channel: Telling = InterceptedService::new(channel, tell_version);
        Ok(Self {
            coordinator: CoordinatorServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            ledger: LedgerServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            artifacts: ArtifactServiceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            connector,
            signing,
        })
    }
}

impl Client {
    /// Connects to the first of these nodes that answers.
    ///
    /// # Errors
    /// If none can be reached.
    pub fn connect(nodes: impl Into<Nodes>) -> BoxFuture<'static, Result<Self, ClientError>> {
        Self::connect_within(nodes.into(), None, Suspicion::default())
    }

    /// The same, where it is said when one of several nodes will not do.
    ///
    /// # Errors
    /// If none can be reached.
    pub fn connect_suspecting(
        nodes: impl Into<Nodes>,
        suspicion: Suspicion,
    ) -> BoxFuture<'static, Result<Self, ClientError>> {
        Self::connect_within(nodes.into(), None, suspicion)
    }

    /// Connects, and waits for no answer longer than the patience there is.
    pub(super) fn connect_within(
        nodes: Nodes,
        patience: Option<Duration>,
        suspicion: Suspicion,
    ) -> BoxFuture<'static, Result<Self, ClientError>> {
        Box::pin(async move {
            let mut nodes = nodes.in_full()?;
            let patience = patience.unwrap_or(LONGEST_WAIT).clamp(SHORTEST_WAIT, LONGEST_WAIT);
            // Where nobody else can be asked, there is no use in giving up sooner.
            let unanswered = match nodes.are_several() {
                true => suspicion.unanswered.min(patience),
                false => patience,
            };
            let mut failures = Failures::default();
            loop {
                match Services::connect(&nodes).await {
                    Ok(services) => {
                        let silent = Silent::default();
                        return Ok(Self { nodes, silent, services, patience, unanswered });
                    }
                    Err(error) => failures.try_next(&mut nodes, error)?,
                }
            }
        })
    }

    /// Connects again, after the connection was lost or another node was gone on to.
    pub(super) async fn reconnect(&mut self) -> Result<(), ClientError> {
        self.services = Services::connect(&self.nodes).await?;
        Ok(())
    }

    /// A connection to another one of the nodes.
    pub(super) async fn to(&self, nodes: Nodes) -> Result<Self, ClientError> {
        let services = Services::connect(&nodes).await?;
        Ok(Self { nodes, services, silent: self.silent.clone(), ..*self })
    }

    /// Signs what it asks for no other ledger than this, here and at the other nodes.
    pub(super) fn insist_on(&mut self, ledger: LedgerId) {
        self.services.signing.insist_on(ledger.0);
        self.nodes = self.nodes.clone().for_ledger(ledger.0);
    }

    /// The node's address.
    pub fn url(&self) -> &str {
        self.nodes.url()
    }

    /// All nodes that are known to keep the ledger.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    pub(super) fn coordinator(&self) -> CoordinatorServiceClient<Telling> {
        self.services.coordinator.clone()
    }

    pub(super) fn ledger(&self) -> LedgerServiceClient<Telling> {
        self.services.ledger.clone()
    }

    pub(super) fn artifacts(&self) -> ArtifactServiceClient<Telling> {
        self.services.artifacts.clone()
    }

    /// An answer, if it comes in time.
    pub(super) async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ClientError> {
        self.in_time(answer).await.map(Response::into_inner)
    }

    /// The answer to a submission, if it comes in time.
    pub(super) async fn submitted(
        &self,
        request: v1::SubmitRequest,
    ) -> Result<v1::SubmitResponse, ClientError> {
        let mut coordinator = self.coordinator();
        let answer = coordinator.submit(request);
        self.within(self.unanswered, answer).await.map(Response::into_inner)
    }

    /// The next message of a stream, if it comes in time.
    pub(super) async fn message<T>(
        &self,
        stream: &mut Streaming<T>,
    ) -> Result<Option<T>, ClientError> {
        self.in_time(stream.message()).await
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ClientError> {
        self.within(self.patience, answer).await
    }

    async fn within<T>(
        &self,
        wait: Duration,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(wait, answer).await {
            Ok(answer) => answer.map_err(|status| self.refusal(&status)),
            Err(_) => Err(self.silent_for(wait)),
        }
    }

    /// The node, or something between, takes what is asked and says nothing.
    pub(super) fn stalled(&self) -> ClientError {
        self.silent_for(self.patience)
    }

    fn silent_for(&self, wait: Duration) -> ClientError {
        let reason = format!("no answer for {wait:?}");
        ClientError::Unreachable { url: self.url().to_owned(), reason }
    }

    /// How long an answer is waited for.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn refusal(&self, status: &Status) -> ClientError {
        let told = ClientError::from_status(self.url(), status);
        match &told {
            ClientError::Unreachable { .. } => {
                self.services.connector.trouble().map_or(told, ClientError::from)
            }
            _ => told,
        }
    }

    /// What the node says that it keeps.
    pub(super) async fn known_ledger(&self) -> Result<v1::GetLedgerResponse, ClientError> {
        self.answer(self.ledger().get_ledger(v1::GetLedgerRequest {})).await
    }

    /// The node's checkpoint, with the proof that it goes on from the first `old_size` entries.
    pub(super) async fn checkpoint(
        &self,
        old_size: u64,
    ) -> Result<(String, Vec<Hash>), ClientError> {
        let request = v1::GetCheckpointRequest { old_size, cosigned: false };
        let answer = self.answer(self.ledger().get_checkpoint(request)).await?;
        Ok((answer.checkpoint, hashes(&answer.consistency_proof)?))
    }

    /// The last checkpoint that each of the node's witnesses has cosigned.
    pub(super) async fn cosigned(&self) -> Result<Vec<String>, ClientError> {
        let request = v1::GetCheckpointRequest { old_size: 0, cosigned: true };
        Ok(self.answer(self.ledger().get_checkpoint(request)).await?.cosigned)
    }

    /// The proof that the first `new_size` entries go on from the first `old_size`.
    pub(super) async fn consistency(
        &self,
        old_size: u64,
        new_size: u64,
    ) -> Result<Vec<Hash>, ClientError> {
        let request = v1::GetConsistencyProofRequest { old_size, new_size };
        hashes(&self.answer(self.ledger().get_consistency_proof(request)).await?.proof)
    }

    /// What the chain that keeps the ledger proves of it, at a size that was shown lately; 0 for the newest.
    #[cfg(feature = "chain")]
    pub(super) async fn chain_proof(&self, size: u64) -> Result<(RawBlock, RawValue), ClientError> {
        let request = v1::GetChainProofRequest { size };
        let answer = self.answer(self.ledger().get_chain_proof(request)).await?;
        let v1::GetChainProofResponse { block, tree, contract, code } = answer;
        let value = RawValue { value: tree.into(), contract: contract.into(), code: code.into() };
        Ok((raw_block(block), value))
    }

    /// A block of that chain.
    #[cfg(feature = "chain")]
    pub(super) async fn chain_block(&self, height: u64) -> Result<RawBlock, ClientError> {
        let request = v1::GetChainBlockRequest { height };
        Ok(raw_block(self.answer(self.ledger().get_chain_block(request)).await?.block))
    }

    /// The proof that entry `index` is among the first `size`.
    pub(super) async fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, ClientError> {
        let request = v1::GetInclusionProofRequest { index, size };
        hashes(&self.answer(self.ledger().get_inclusion_proof(request)).await?.proof)
    }

    /// An experiment's state, and how a learner stands in it, as the node tells it.
    ///
    /// # Errors
    /// If there is no such experiment.
    pub fn experiment<'a>(
        &'a self,
        name: &'a ExperimentName,
        learner: Option<LearnerId>,
    ) -> BoxFuture<'a, Result<Described, ClientError>> {
        Box::pin(async move {
            let learner = learner.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.0));
            let request = v1::GetExperimentRequest { name: name.to_string(), learner };
            let answer = self.answer(self.coordinator().get_experiment(request)).await?;
            let missing = || ClientError::Malformed("no experiment".to_owned());
            Ok(Described {
                size: answer.size,
                experiment: ExperimentState::read(answer.experiment.ok_or_else(missing)?)?,
                member: answer.member.map(MemberState::read).transpose()?,
            })
        })
    }

    /// Every experiment, in short, as the node tells it.
    ///
    /// # Errors
    /// If the node cannot answer.
    pub fn experiments(&self) -> BoxFuture<'_, Result<Vec<ExperimentState>, ClientError>> {
        Box::pin(async move {
            let mut all: Vec<ExperimentState> = Vec::new();
            loop {
                let after = all.last().map_or_else(String::new, |last| last.name.to_string());
                let request = v1::ListExperimentsRequest { page_size: 0, after: after.clone() };
                let answer = self.answer(self.coordinator().list_experiments(request)).await?;
                if answer.experiments.is_empty() {
                    return Ok(all);
                }
                for experiment in answer.experiments {
                    let experiment = ExperimentState::read(experiment)?;
                    // Or a list without end could be told.
                    if all.last().is_some_and(|last| last.name >= experiment.name) {
                        let unordered = "a list of experiments that does not ascend".to_owned();
                        return Err(ClientError::Malformed(unordered));
                    }
                    all.push(experiment);
                }
            }
        })
    }

    /// An experiment's entries from an index on, as they come.
    ///
    /// # Errors
    /// If there is no such experiment.
    pub fn watch<'a>(
        &'a self,
        name: &'a ExperimentName,
        start: u64,
    ) -> BoxFuture<'a, Result<Entries, ClientError>> {
        Box::pin(async move {
            let request = v1::WatchExperimentRequest { name: name.to_string(), start };
            let stream = self.answer(self.coordinator().watch_experiment(request)).await?;
            Ok(Entries::new(self.url().to_owned(), stream))
        })
    }

    /// Some consecutive entries, at least one.
    ///
    /// # Errors
    /// If the first does not exist.
    pub fn entries(
        &self,
        start: u64,
        count: u32,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ClientError>> {
        Box::pin(async move {
            let request = v1::GetEntriesRequest { start, count };
            Ok(self.answer(self.ledger().get_entries(request)).await?.entries)
        })
    }
}

/// A block as it comes over the wire; none is no block either.
#[cfg(feature = "chain")]
fn raw_block(wire: Option<v1::ChainBlock>) -> RawBlock {
    let v1::ChainBlock { commit, validators, next_validators } = wire.unwrap_or_default();
    let pages = |pages: Vec<Bytes>| pages.into_iter().map(Vec::from).collect();
    RawBlock {
        commit: commit.into(),
        validators: pages(validators),
        next_validators: pages(next_validators),
    }
}

/// Hashes as they come over the wire.
pub(super) fn hashes(wire: &[Bytes]) -> Result<Vec<Hash>, ClientError> {
    let malformed = |_| ClientError::Malformed("a hash is 32 bytes".to_owned());
    wire.iter().map(|bytes| Hash::try_from(&bytes[..]).map_err(malformed)).collect()
}
