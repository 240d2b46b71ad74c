//! Whoever stands between a learner and its node, and holds no key: passes on what it likes, and makes up
//! the rest.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use colearn_contracts::Digest;
use colearn_ledger::{Checkpoint, Hash, SignedNote};
use colearn_proto::RULE_METADATA;
use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
use colearn_proto::v1::artifact_service_server::{ArtifactService, ArtifactServiceServer};
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_proto::v1::coordinator_service_server::{CoordinatorService, CoordinatorServiceServer};
use colearn_proto::v1::entry::Payload;
use colearn_proto::v1::ledger_service_client::LedgerServiceClient;
use colearn_proto::v1::ledger_service_server::{LedgerService, LedgerServiceServer};
use colearn_proto::v1::outcome::Decision;
use colearn_proto::v1::upload_artifact_request::Part;
use colearn_proto::v1::{self, transaction::Action};
use colearn_sdk::learner::SAFETENSORS;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use crate::support::{Counter, id, key};

/// A lie, told from the learner's first commitment on, or from the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lie {
    /// A proposal that nobody has signed.
    Proposal,
    /// A round that was accepted.
    Verdict,
    /// The experiment's end, with another model.
    Finish,
    /// The learner was expelled.
    Expulsion,
    /// Ballots are to be revealed, while others have yet to commit.
    Reveal,
    /// A motion that changes the rules took effect.
    Motion,
    /// From the start: other rules, by which ballots are open.
    Rules,
    /// A checkpoint that nobody has signed.
    Checkpoint,
    /// A receipt from a tree of one entry.
    Receipt,
    /// The receipt for something else.
    OldReceipt,
    /// The refusal of what the rules allow.
    Refusal,
    /// A refusal that names no rule.
    Denial,
    /// A checkpoint of before.
    OldCheckpoint,
    /// The name of another ledger.
    OtherLedger,
    /// Garbage without end, in many entries.
    Flood,
    /// In one that is larger than anything.
    Huge,
    /// From the start: other weights than the model's.
    OtherModel,
    /// More of them than there are.
    EndlessModel,
    /// From the start: a part of them, and then nothing.
    StalledModel,
    /// No answer to anything.
    Stall,
    /// Entries are held back, on a connection that is kept.
    Silence,
    /// The commitment is kept back until it turns honest.
    Late,
}

/// The weights that no ledger holds.
pub(crate) const FALSE_VALUE: u64 = 1_000_000;

impl Lie {
    fn is_told_from_the_start(self) -> bool {
        matches!(self, Self::Rules | Self::OtherModel | Self::EndlessModel | Self::StalledModel)
    }

    /// Whether the entries go on as they are, and something else is the lie.
    fn is_told_elsewhere(self) -> bool {
        self.is_told_from_the_start()
            || matches!(
                self,
                Self::Receipt | Self::OldReceipt | Self::Refusal | Self::Denial | Self::Late
            )
    }

    /// What does not come where something else should: no forged answer, but none.
    pub(crate) fn is_a_silence(self) -> bool {
        matches!(self, Self::Denial | Self::Huge | Self::StalledModel | Self::Stall | Self::Silence)
    }
}

#[derive(Clone)]
pub(crate) struct Proxy(Arc<Inner>);

struct Inner {
    /// The node, and how often it was changed.
    target: watch::Sender<String>,
    /// What is to be told, once it is time.
    lie: Option<Lie>,
    state: watch::Sender<State>,
    seen: Mutex<Seen>,
    /// Weights that do not pass.
    withheld: Mutex<BTreeSet<Digest>>,
    /// Weights that a node here would not have, until somebody brings them; and what was brought.
    lacked: Mutex<BTreeSet<Digest>>,
    brought: Mutex<Vec<Digest>>,
    /// Where it says that weights can be fetched from.
    points_to: Mutex<Option<String>>,
    /// Whether submissions are swallowed, and whether nothing more is passed on over open streams.
    swallows: AtomicBool,
    keeps_back: watch::Sender<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    NotYet,
    Lying,
    Honest,
}

/// What has passed.
#[derive(Default)]
struct Seen {
    /// The entry passed on last, and the first and the last checkpoint.
    last: Option<(v1::Entry, Hash)>,
    checkpoints: Vec<String>,
    first_receipt: Option<v1::SubmitResponse>,
    /// What the learner has signed, and what of it while it was lied to.
    signed: Vec<Action>,
    signed_while_lying: Vec<Action>,
    /// All that was submitted, to the byte, and what of it had no answer.
    sent: Vec<v1::SignedTransaction>,
    swallowed: Vec<v1::SignedTransaction>,
}

impl Proxy {
    /// Between whoever connects to the address that it gives, and a node.
    pub(crate) async fn start(node: &str, lie: Option<Lie>) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = match lie {
            Some(lie) if lie.is_told_from_the_start() => State::Lying,
            _ => State::NotYet,
        };
        let proxy = Self(Arc::new(Inner {
            target: watch::Sender::new(node.to_owned()),
            lie,
            state: watch::Sender::new(state),
            seen: Mutex::default(),
            withheld: Mutex::default(),
            lacked: Mutex::default(),
            brought: Mutex::default(),
            points_to: Mutex::default(),
            swallows: AtomicBool::new(false),
            keeps_back: watch::Sender::new(false),
        }));
        let serving = tonic::transport::Server::builder()
            .add_service(LedgerServiceServer::new(proxy.clone()))
            .add_service(CoordinatorServiceServer::new(proxy.clone()))
            .add_service(ArtifactServiceServer::new(proxy.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        (proxy, url)
    }

    /// Tells the truth from now on.
    pub(crate) fn turn_honest(&self) {
        self.0.state.send_replace(State::Honest);
    }

    /// Passes on what another node says.
    pub(crate) fn turn_to(&self, node: &str) {
        self.0.target.send_replace(node.to_owned());
    }

    /// Lets these weights pass no more.
    pub(crate) fn withhold(&self, weights: Digest) {
        self.0.withheld.lock().unwrap().insert(weights);
    }

    /// Says that weights can be fetched from there.
    pub(crate) fn point_to(&self, address: String) {
        *self.0.points_to.lock().unwrap() = Some(address);
    }

    /// Lets all weights pass again.
    pub(crate) fn give_out(&self) {
        self.0.withheld.lock().unwrap().clear();
    }

    /// Is as a node that lacks these weights.
    pub(crate) fn lack(&self, weights: Digest) {
        self.0.lacked.lock().unwrap().insert(weights);
    }

    /// What was uploaded.
    pub(crate) fn brought(&self) -> Vec<Digest> {
        self.0.brought.lock().unwrap().clone()
    }

    /// From now on submissions have no answer, and are passed on no more; all else goes on.
    pub(crate) fn swallow(&self) {
        self.0.swallows.store(true, Ordering::SeqCst);
    }

    /// From now on shows what this node shows, and nothing over the streams that are open.
    pub(crate) fn freeze_at(&self, old: &str) {
        self.0.keeps_back.send_replace(true);
        self.turn_to(old);
    }

    /// What learners have sent, to the byte; of that what was swallowed.
    pub(crate) fn sent(&self) -> (Vec<v1::SignedTransaction>, Vec<v1::SignedTransaction>) {
        let seen = self.0.seen.lock().unwrap();
        (seen.sent.clone(), seen.swallowed.clone())
    }

    /// Resolves when it lies for the first time.
    pub(crate) async fn begins_to_lie(&self) {
        let mut state = self.0.state.subscribe();
        let _ = state.wait_for(|state| *state != State::NotYet).await;
    }

    pub(crate) fn has_lied(&self) -> bool {
        *self.0.state.borrow() != State::NotYet
    }

    /// What the learner has signed, and what of it while it was lied to.
    pub(crate) fn signed(&self) -> (Vec<Action>, Vec<Action>) {
        let seen = self.0.seen.lock().unwrap();
        (seen.signed.clone(), seen.signed_while_lying.clone())
    }

    fn channel(&self) -> Channel {
        Endpoint::from_shared(self.0.target.borrow().clone()).unwrap().connect_lazy()
    }

    fn ledger(&self) -> LedgerServiceClient<Channel> {
        LedgerServiceClient::new(self.channel()).max_decoding_message_size(64 << 20)
    }

    fn lying(&self) -> Option<Lie> {
        self.0.lie.filter(|_| *self.0.state.borrow() == State::Lying)
    }

    fn lacks(&self, digest: &[u8]) -> bool {
        self.0.lacked.lock().unwrap().iter().any(|lacked| lacked.0 == digest)
    }

    /// Never answers, where that is the lie.
    async fn perhaps_stall(&self) {
        if self.lying() == Some(Lie::Stall) {
            std::future::pending().await
        }
    }

    fn pass_on(&self, message: &v1::SubscribeResponse) {
        let mut seen = self.0.seen.lock().unwrap();
        if let Some(last) = message.entries.last() {
            let leaf = Hash::leaf(last);
            seen.last = Some((v1::Entry::decode(last.clone()).unwrap(), leaf));
        }
        if !message.checkpoint.is_empty() {
            seen.checkpoints.push(message.checkpoint.clone());
        }
    }

    /// What is said at last, before it is held back what would be said next.
    fn forged(&self, lie: Lie) -> Option<v1::SubscribeResponse> {
        let seen = self.0.seen.lock().unwrap();
        let (last, parent) = seen.last.clone()?;
        let checkpoint = seen.checkpoints.last()?.clone();
        let message = |entries: Vec<Bytes>| {
            let (checkpoint, consistency_proof) = (checkpoint.clone(), Vec::new());
            Some(v1::SubscribeResponse { entries, checkpoint, consistency_proof })
        };
        let entry = |payload| {
            let (index, parent) = (last.index + 1, Bytes::copy_from_slice(&parent.0));
            let entry = v1::Entry { index, parent, time_ms: last.time_ms, payload: Some(payload) };
            Bytes::from(entry.encode_to_vec())
        };
        let outcome = |decision| {
            let experiment = "x".to_owned();
            message(vec![entry(Payload::Outcome(v1::Outcome {
                experiment,
                decision: Some(decision),
            }))])
        };
        let model = Bytes::copy_from_slice(&Counter::weights(FALSE_VALUE).digest().0);
        match lie {
            Lie::Proposal => {
                let weights = Counter::weights(FALSE_VALUE);
                let propose = v1::Propose {
                    experiment: "x".to_owned(),
                    round: 1,
                    weights: Some(v1::Model {
                        digest: model,
                        size: weights.bytes().len() as u64,
                        media_type: SAFETENSORS.to_owned(),
                    }),
                    ..v1::Propose::default()
                };
                let action = Some(Action::Propose(propose));
                let body = v1::Transaction { seen: None, action }.encode_to_vec().into();
                let public_key = Bytes::copy_from_slice(&id(&key(1)).0);
                let signature = vec![0; 64].into();
                let signed = v1::SignedTransaction { body, public_key, signature };
                message(vec![entry(Payload::Transaction(signed))])
            }
            Lie::Verdict => outcome(Decision::RoundClosed(v1::RoundClosed {
                round: 1,
                verdict: v1::Verdict::Accepted.into(),
                approvals: 2,
                electorate: 2,
                model,
                ..v1::RoundClosed::default()
            })),
            Lie::Finish => outcome(Decision::Finished(v1::Finished {
                reason: v1::FinishReason::MaxRounds.into(),
                rounds: 1,
                model,
            })),
            Lie::Expulsion => outcome(Decision::Suspended(v1::Suspended {
                learner: Bytes::copy_from_slice(&id(&key(9)).0),
                reason: v1::SuspendReason::Expelled.into(),
            })),
            Lie::Reveal => outcome(Decision::RevealOpened(v1::RevealOpened {
                round: 1,
                committed: 2,
                deadline_ms: last.time_ms + 600_000,
            })),
            Lie::Motion => outcome(Decision::MotionTookEffect(1)),
            Lie::Checkpoint => {
                // Another text above the signature.
                let made_up = outcome(Decision::MotionTookEffect(1))?;
                let read = SignedNote::parse(&checkpoint).unwrap();
                let Checkpoint { origin, size, .. } = Checkpoint::parse(read.text()).unwrap();
                let text = Checkpoint { origin, size: size + 1, root: parent }.text();
                let signatures = checkpoint.strip_prefix(read.text()).unwrap();
                Some(v1::SubscribeResponse { checkpoint: text + signatures, ..made_up })
            }
            Lie::Flood => message((0..1000).map(|_| Bytes::from(vec![7; 3000])).collect()),
            Lie::Huge => message(vec![Bytes::from(vec![7; 80 << 20])]),
            Lie::Rules
            | Lie::Receipt
            | Lie::OldReceipt
            | Lie::Refusal
            | Lie::Denial
            | Lie::OldCheckpoint
            | Lie::OtherLedger
            | Lie::OtherModel
            | Lie::EndlessModel
            | Lie::StalledModel
            | Lie::Stall
            | Lie::Silence
            | Lie::Late => None,
        }
    }
}

#[tonic::async_trait]
impl LedgerService for Proxy {
    type SubscribeStream = BoxStream<'static, Result<v1::SubscribeResponse, Status>>;

    async fn get_ledger(
        &self,
        request: Request<v1::GetLedgerRequest>,
    ) -> Result<Response<v1::GetLedgerResponse>, Status> {
        self.perhaps_stall().await;
        let mut answer = self.ledger().get_ledger(request.into_inner()).await?;
        if self.lying() == Some(Lie::OtherLedger) {
            answer.get_mut().ledger_id = vec![7; 32].into();
        }
        Ok(answer)
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        self.perhaps_stall().await;
        let answer = self.ledger().get_checkpoint(request.into_inner()).await?;
        let seen = self.0.seen.lock().unwrap();
        match (self.lying(), seen.checkpoints.first()) {
            (Some(Lie::OldCheckpoint), Some(old)) => {
                let checkpoint = old.clone();
                Ok(Response::new(v1::GetCheckpointResponse {
                    checkpoint,
                    ..v1::GetCheckpointResponse::default()
                }))
            }
            _ => Ok(answer),
        }
    }

    async fn get_entries(
        &self,
        request: Request<v1::GetEntriesRequest>,
    ) -> Result<Response<v1::GetEntriesResponse>, Status> {
        self.perhaps_stall().await;
        self.ledger().get_entries(request.into_inner()).await
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<v1::GetInclusionProofRequest>,
    ) -> Result<Response<v1::GetInclusionProofResponse>, Status> {
        self.perhaps_stall().await;
        self.ledger().get_inclusion_proof(request.into_inner()).await
    }

    async fn get_consistency_proof(
        &self,
        request: Request<v1::GetConsistencyProofRequest>,
    ) -> Result<Response<v1::GetConsistencyProofResponse>, Status> {
        self.perhaps_stall().await;
        self.ledger().get_consistency_proof(request.into_inner()).await
    }

    async fn get_chain_proof(
        &self,
        request: Request<v1::GetChainProofRequest>,
    ) -> Result<Response<v1::GetChainProofResponse>, Status> {
        self.ledger().get_chain_proof(request.into_inner()).await
    }

    async fn get_chain_block(
        &self,
        request: Request<v1::GetChainBlockRequest>,
    ) -> Result<Response<v1::GetChainBlockResponse>, Status> {
        self.ledger().get_chain_block(request.into_inner()).await
    }

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.perhaps_stall().await;
        let mut target = self.0.target.subscribe();
        target.mark_unchanged();
        let entries = self.ledger().subscribe(request.into_inner()).await?.into_inner();
        let passing = Passing { proxy: self.clone(), entries, target, said: false };
        Ok(Response::new(stream::unfold(passing, Passing::next).boxed()))
    }
}

/// A stream of entries that is passed on.
struct Passing {
    proxy: Proxy,
    entries: Streaming<v1::SubscribeResponse>,
    target: watch::Receiver<String>,
    /// What was made up is said; nothing comes behind it.
    said: bool,
}

impl Passing {
    async fn next(mut self) -> Option<(Result<v1::SubscribeResponse, Status>, Self)> {
        if self.said {
            std::future::pending::<()>().await;
        }
        let mut state = self.proxy.0.state.subscribe();
        let mut keeps_back = self.proxy.0.keeps_back.subscribe();
        let lie = self.proxy.0.lie.filter(|lie| !lie.is_told_elsewhere());
        let message = tokio::select! {
            biased;
            // From now on nothing true is passed on over this connection.
            true = is_lying(&mut state), if lie.is_some() => match lie? {
                Lie::OldCheckpoint | Lie::OtherLedger => return None,
                lie => match self.proxy.forged(lie) {
                    Some(forged) => {
                        self.said = true;
                        return Some((Ok(forged), self));
                    }
                    None => std::future::pending().await,
                },
            },
            true = is_true(&mut keeps_back) => std::future::pending().await,
            _ = self.target.changed() => return None,
            message = self.entries.message() => message,
        };
        let mut message = message.transpose()?;
        if let Ok(message) = &mut message {
            self.proxy.pass_on(message);
            if self.proxy.lying() == Some(Lie::Rules) {
                message.entries.iter_mut().for_each(with_other_rules);
            }
        }
        Some((message, self))
    }
}

async fn is_true(state: &mut watch::Receiver<bool>) -> bool {
    state.wait_for(|state| *state).await.is_ok()
}

async fn is_lying(state: &mut watch::Receiver<State>) -> bool {
    state.wait_for(|state| *state == State::Lying).await.is_ok()
}

/// The entry with other rules in it, if it creates an experiment.
fn with_other_rules(entry: &mut Bytes) {
    let mut read = v1::Entry::decode(entry.clone()).unwrap();
    let Some(Payload::Transaction(signed)) = &mut read.payload else { return };
    let mut body = v1::Transaction::decode(signed.body.clone()).unwrap();
    let Some(Action::CreateExperiment(create)) = &mut body.action else { return };
    create.parameters.as_mut().unwrap().ballot = v1::BallotKind::Open.into();
    signed.body = body.encode_to_vec().into();
    *entry = read.encode_to_vec().into();
}

#[tonic::async_trait]
impl CoordinatorService for Proxy {
    type SubmitStreamStream = BoxStream<'static, Result<v1::SubmitStreamResponse, Status>>;
    type WatchExperimentStream = BoxStream<'static, Result<v1::WatchExperimentResponse, Status>>;

    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let request = request.into_inner();
        let signed = request.transaction.clone().unwrap();
        let action = v1::Transaction::decode(signed.body.clone()).unwrap().action.unwrap();
        let swallows = self.0.swallows.load(Ordering::SeqCst);
        {
            let mut seen = self.0.seen.lock().unwrap();
            seen.sent.push(signed.clone());
            if swallows {
                seen.swallowed.push(signed);
            }
            seen.signed.push(action.clone());
            if self.lying().is_some() {
                seen.signed_while_lying.push(action.clone());
            }
        }
        if swallows {
            std::future::pending::<()>().await;
        }
        // Before it can be recorded: what comes of it is not passed on.
        if matches!(action, Action::Commit(_)) && self.0.lie.is_some() {
            let begins = |state: &mut State| {
                let begins = *state == State::NotYet;
                *state = if begins { State::Lying } else { *state };
                begins
            };
            self.0.state.send_if_modified(begins);
        }
        self.perhaps_stall().await;
        let lie = self.lying().filter(|_| matches!(action, Action::Commit(_)));
        match lie {
            Some(Lie::Refusal) => {
                let mut status = Status::failed_precondition("R6: this learner is not invited");
                status.metadata_mut().insert(RULE_METADATA, 6.into());
                return Err(status);
            }
            Some(Lie::Denial) => return Err(Status::permission_denied("no")),
            Some(Lie::Late) => {
                let mut state = self.0.state.subscribe();
                let _ = state.wait_for(|state| *state == State::Honest).await;
            }
            _ => {}
        }
        let mut client = CoordinatorServiceClient::new(self.channel());
        let answer = client.submit(request).await?;
        let mut seen = self.0.seen.lock().unwrap();
        match lie {
            Some(Lie::OldReceipt) => Ok(Response::new(seen.first_receipt.clone().unwrap())),
            Some(Lie::Receipt) => {
                let mut answer = answer;
                let receipt = answer.get_mut().receipt.as_mut().unwrap();
                let note = receipt.checkpoint.clone();
                let read = SignedNote::parse(&note).unwrap();
                let Checkpoint { origin, .. } = Checkpoint::parse(read.text()).unwrap();
                let root = Hash::leaf(&receipt.entry);
                let text = Checkpoint { origin, size: 1, root }.text();
                receipt.checkpoint = text + note.strip_prefix(read.text()).unwrap();
                receipt.inclusion_proof.clear();
                Ok(answer)
            }
            _ => {
                seen.first_receipt.get_or_insert(answer.get_ref().clone());
                Ok(answer)
            }
        }
    }

    async fn submit_stream(
        &self,
        _: Request<Streaming<v1::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        Err(Status::unimplemented("no learner asks this"))
    }

    async fn get_experiment(
        &self,
        _: Request<v1::GetExperimentRequest>,
    ) -> Result<Response<v1::GetExperimentResponse>, Status> {
        Err(Status::unimplemented("no learner asks this"))
    }

    async fn list_experiments(
        &self,
        _: Request<v1::ListExperimentsRequest>,
    ) -> Result<Response<v1::ListExperimentsResponse>, Status> {
        Err(Status::unimplemented("no learner asks this"))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Err(Status::unimplemented("no learner asks this"))
    }

    async fn watch_experiment(
        &self,
        _: Request<v1::WatchExperimentRequest>,
    ) -> Result<Response<Self::WatchExperimentStream>, Status> {
        Err(Status::unimplemented("no learner asks this"))
    }
}

#[tonic::async_trait]
impl ArtifactService for Proxy {
    type DownloadArtifactStream = BoxStream<'static, Result<v1::DownloadArtifactResponse, Status>>;
    type ListArtifactsStream = BoxStream<'static, Result<v1::ListArtifactsResponse, Status>>;

    async fn list_artifacts(
        &self,
        _: Request<v1::ListArtifactsRequest>,
    ) -> Result<Response<Self::ListArtifactsStream>, Status> {
        Err(Status::unimplemented("no learner asks this"))
    }

    async fn stat_artifact(
        &self,
        request: Request<v1::StatArtifactRequest>,
    ) -> Result<Response<v1::StatArtifactResponse>, Status> {
        self.perhaps_stall().await;
        let lacked = self.lacks(&request.get_ref().digest);
        let mut client = ArtifactServiceClient::new(self.channel());
        let mut answer = client.stat_artifact(request.into_inner()).await?;
        answer.get_mut().stored &= !lacked;
        if let Some(address) = self.0.points_to.lock().unwrap().clone() {
            answer.get_mut().address = address;
        }
        Ok(answer)
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<v1::UploadArtifactRequest>>,
    ) -> Result<Response<v1::UploadArtifactResponse>, Status> {
        self.perhaps_stall().await;
        // Whoever uploads may be killed in the middle of it.
        let proxy = self.clone();
        let parts = request.into_inner().filter_map(move |part| {
            if let Ok(v1::UploadArtifactRequest { part: Some(Part::Header(header)) }) = &part {
                let digest = Digest(header.digest[..].try_into().unwrap());
                proxy.0.lacked.lock().unwrap().remove(&digest);
                proxy.0.brought.lock().unwrap().push(digest);
            }
            std::future::ready(part.ok())
        });
        ArtifactServiceClient::new(self.channel()).upload_artifact(parts).await
    }

    async fn download_artifact(
        &self,
        request: Request<v1::DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        self.perhaps_stall().await;
        if self.0.withheld.lock().unwrap().iter().any(|it| it.0 == request.get_ref().digest[..]) {
            return Err(Status::not_found("withheld"));
        }
        if self.lacks(&request.get_ref().digest) {
            return Err(Status::not_found("lacked"));
        }
        let chunk = |bytes: Vec<u8>| Ok(v1::DownloadArtifactResponse { chunk: bytes.into() });
        let other = Counter::weights(FALSE_VALUE).bytes().to_vec();
        Ok(Response::new(match self.lying() {
            Some(Lie::OtherModel) => stream::iter([chunk(other)]).boxed(),
            Some(Lie::EndlessModel) => stream::repeat_with(move || chunk(vec![0; 1 << 16])).boxed(),
            Some(Lie::StalledModel) => {
                stream::iter([chunk(vec![0; 4])]).chain(stream::pending()).boxed()
            }
            _ => {
                let mut client = ArtifactServiceClient::new(self.channel());
                client.download_artifact(request.into_inner()).await?.into_inner().boxed()
            }
        }))
    }
}
