//! The gRPC services: unpack, call, map errors.

use std::pin::Pin;

use bytes::Bytes;
use colearn_contracts::{
    Contract, Experiment, ExperimentName, LearnerId, Member, OpenMotion, Phase, Seat, Stage,
};
use colearn_proto::v1;
use colearn_proto::v1::artifact_service_server::ArtifactService;
use colearn_proto::v1::coordinator_service_server::CoordinatorService;
use colearn_proto::v1::ledger_service_server::LedgerService;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming};

use super::artifacts::ArtifactError;
use super::core::{Core, hash_bytes};
use super::refusal::Refusal;
use colearn_records::convert::{self, BadField};
use colearn_records::record;

/// How many entries one message of a stream holds at most, and how many bytes about.
const ENTRIES_PER_MESSAGE: u64 = 4096;
const BYTES_PER_MESSAGE: usize = 1 << 20;
/// How many submissions of one stream are handled together at most, and how many times that may
/// be on its way.
const STREAM_CHUNK: usize = 64;
const STREAM_CHUNKS_IN_FLIGHT: usize = 4;
/// The most members a description lists.
const MAX_LISTED_MEMBERS: usize = 10_000;
const MAX_PAGE: usize = 1_000;
/// The size of a downloaded chunk.
const CHUNK_BYTES: usize = 1 << 18;

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn bad_field(error: BadField) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(super) struct Coordinator(pub(super) Core);

#[tonic::async_trait]
impl CoordinatorService for Coordinator {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let receipt = self.0.submit(request.into_inner().transaction).await?;
        Ok(Response::new(v1::SubmitResponse { receipt: Some(receipt) }))
    }

    type SubmitStreamStream = BoxStream<v1::SubmitStreamResponse>;

    async fn submit_stream(
        &self,
        request: Request<Streaming<v1::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        use v1::submit_stream_response::Result as Wire;
        let core = self.0.clone();
        // Whatever has arrived by now is handled together; the channel bounds what is on its way.
        let mut arrived = request.into_inner().ready_chunks(STREAM_CHUNK);
        let (sender, mut answers) = mpsc::channel(STREAM_CHUNKS_IN_FLIGHT);
        tokio::spawn(async move {
            while let Some(chunk) = arrived.next().await {
                // A broken stream ends here; what came before the break is still answered.
                let whole = chunk.len();
                let messages: Vec<_> =
                    chunk.into_iter().map_while(Result::ok).map(|one| one.transaction).collect();
                let broken = messages.len() < whole;
                if sender.send(core.submit_all(messages)).await.is_err() || broken {
                    break;
                }
            }
        });
        let (out, responses) = mpsc::channel(2 * STREAM_CHUNK);
        tokio::spawn(async move {
            while let Some(answer) = answers.recv().await {
                for result in answer.await {
                    let result = match result {
                        Ok(receipt) => Wire::Receipt(receipt),
                        Err(refusal) => Wire::Refusal(v1::Refusal {
                            code: refusal.code() as u32,
                            message: refusal.to_string(),
                        }),
                    };
                    let response = v1::SubmitStreamResponse { result: Some(result) };
                    if out.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn get_experiment(
        &self,
        request: Request<v1::GetExperimentRequest>,
    ) -> Result<Response<v1::GetExperimentResponse>, Status> {
        let request = request.into_inner();
        let name = known_name(&request.name)?;
        let learner = match &request.learner[..] {
            [] => None,
            key => Some(convert::learner(key, "learner").map_err(bad_field)?),
        };
        let described = self.0.writer.query(move |contract, size| {
            let experiment = contract.experiment(&name)?;
            let member = learner.and_then(|learner| experiment.member(learner));
            Some(v1::GetExperimentResponse {
                size,
                experiment: Some(describe(experiment, MAX_LISTED_MEMBERS)),
                member: member.map(describe_member),
            })
        });
        let unknown = || Status::not_found(unknown_experiment(&request.name));
        Ok(Response::new(described.await?.ok_or_else(unknown)?))
    }

    async fn list_experiments(
        &self,
        request: Request<v1::ListExperimentsRequest>,
    ) -> Result<Response<v1::ListExperimentsResponse>, Status> {
        let request = request.into_inner();
        let page = match request.page_size as usize {
            0 => MAX_PAGE,
            size => size.min(MAX_PAGE),
        };
        let list = move |contract: &Contract, _: u64| {
            let after = |experiment: &&Experiment| *experiment.name().as_str() > *request.after;
            let experiments = contract.experiments().filter(after).take(page);
            experiments.map(|experiment| describe(experiment, 0)).collect()
        };
        let experiments = self.0.writer.query(list).await?;
        Ok(Response::new(v1::ListExperimentsResponse { experiments }))
    }

    type WatchExperimentStream = BoxStream<v1::WatchExperimentResponse>;

    async fn watch_experiment(
        &self,
        request: Request<v1::WatchExperimentRequest>,
    ) -> Result<Response<Self::WatchExperimentStream>, Status> {
        let v1::WatchExperimentRequest { name, start } = request.into_inner();
        let known = known_name(&name)?;
        let exists = self.0.writer.query(move |contract, _| contract.experiment(&known).is_some());
        if !exists.await? {
            return Err(Status::not_found(unknown_experiment(&name)));
        }
        let (sender, responses) = mpsc::channel(64);
        let core = self.0.clone();
        tokio::spawn(async move {
            if let Err(status) = watch(core, &name, start, &sender).await {
                // The watcher has gone if this fails.
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}

/// Sends an experiment's entries as they come, until the watcher or the node goes.
async fn watch(
    core: Core,
    name: &str,
    start: u64,
    sender: &mpsc::Sender<Result<v1::WatchExperimentResponse, Status>>,
) -> Result<(), Status> {
    let key = record::experiment_key(name);
    let mut next = start;
    let mut size = core.writer.size();
    loop {
        let upto = *size.borrow_and_update();
        while let Some(index) = core.reader.find(&key, next).map_err(Refusal::from)? {
            if index >= upto {
                break;
            }
            let entry = core.reader.entry(index).map_err(Refusal::from)?;
            next = index + 1;
            let message = v1::WatchExperimentResponse { entry: Some(entry.into()), next };
            if sender.send(Ok(message)).await.is_err() {
                return Ok(());
            }
        }
        next = next.max(upto);
        let caught_up = v1::WatchExperimentResponse { entry: None, next };
        if sender.send(Ok(caught_up)).await.is_err() {
            return Ok(());
        }
        tokio::select! {
            () = core.stopping.cancelled() => return Err(Refusal::Stopped.into()),
            () = sender.closed() => return Ok(()),
            changed = size.changed() => {
                if changed.is_err() {
                    return Err(Refusal::Stopped.into());
                }
            }
        }
    }
}

fn known_name(text: &str) -> Result<ExperimentName, Status> {
    text.parse().map_err(|_| Status::not_found(unknown_experiment(text)))
}

fn unknown_experiment(name: &str) -> String {
    format!("R4: there is no experiment {name:?} on this ledger; see: colearn experiment list")
}

fn learner_bytes(learner: LearnerId) -> Bytes {
    Bytes::copy_from_slice(&learner.0)
}

fn describe(experiment: &Experiment, max_members: usize) -> v1::Experiment {
    let seated = experiment.seated();
    let member_count = seated.len() as u32;
    let mut described = v1::Experiment {
        name: experiment.name().to_string(),
        creator: learner_bytes(experiment.creator()),
        parameters: Some(v1::Parameters {
            admission: Some(convert::admission_message(&experiment.admission())),
            ..convert::parameters_message(experiment.parameters())
        }),
        model: Some(convert::model_message(experiment.model())),
        round: experiment.round(),
        members: seated.take(max_members).map(learner_bytes).collect(),
        member_count,
        plan: experiment.plan().map_or_else(Bytes::new, |plan| Bytes::copy_from_slice(&plan.0)),
        motions: experiment
            .motions()
            .map(|(number, open)| describe_motion(number, open, experiment))
            .collect(),
        last_motion: experiment.last_motion(),
        ..v1::Experiment::default()
    };
    let phase = match experiment.phase() {
        Phase::Waiting => v1::Phase::Waiting,
        Phase::Paused(reason) => {
            described.set_pause_reason(convert::pause_reason_message(*reason));
            v1::Phase::Paused
        }
        Phase::Proposing { proposer, deadline_ms } => {
            described.proposer = learner_bytes(*proposer);
            described.deadline_ms = *deadline_ms;
            v1::Phase::Proposing
        }
        Phase::Voting { proposer, weights, tally, stage, deadline_ms } => {
            described.proposer = learner_bytes(*proposer);
            described.deadline_ms = *deadline_ms;
            described.weights = Some(convert::model_message(weights));
            described.electorate = tally.electorate;
            described.approvals = tally.approvals;
            described.rejections = tally.rejections;
            let (stage, committed) = match stage {
                Stage::Open => (v1::Stage::Open, 0),
                Stage::Commit { committed } => (v1::Stage::Commit, *committed),
                Stage::Reveal { committed } => (v1::Stage::Reveal, *committed),
            };
            described.committed = committed;
            described.set_stage(stage);
            v1::Phase::Voting
        }
        Phase::Finished(reason) => {
            described.set_finish_reason(convert::finish_reason_message(*reason));
            v1::Phase::Finished
        }
    };
    described.set_phase(phase);
    described
}

fn describe_motion(number: u64, open: &OpenMotion, experiment: &Experiment) -> v1::OpenMotion {
    v1::OpenMotion {
        r#move: Some(convert::move_message(experiment.name(), number, &open.motion)),
        mover: learner_bytes(open.mover),
        electorate: open.tally.electorate,
        approvals: open.tally.approvals,
        rejections: open.tally.rejections,
        deadline_ms: open.deadline_ms,
    }
}

fn describe_member(member: &Member) -> v1::Member {
    let seat = match member.seat {
        Seat::Joining => v1::Seat::Joining,
        Seat::Seated(_) => v1::Seat::Seated,
        Seat::Leaving(_) => v1::Seat::Leaving,
        Seat::Left => v1::Seat::Left,
        Seat::Suspended => v1::Seat::Suspended,
        Seat::Expelled => v1::Seat::Expelled,
        Seat::Replaced => v1::Seat::Replaced,
    };
    v1::Member {
        term: member.term,
        seat: seat.into(),
        last_vote: member.last_vote,
        weight: member.weight,
        missed: member.missed,
        exhausted: member.exhausted,
        privacy: member.privacy.map(convert::privacy_message),
        unrevealed: member.has_unrevealed(),
    }
}

pub(super) struct Ledger(pub(super) Core);

impl Ledger {
    fn proof(hashes: Vec<colearn_ledger::Hash>) -> Vec<Bytes> {
        hashes.iter().map(hash_bytes).collect()
    }
}

#[tonic::async_trait]
impl LedgerService for Ledger {
    async fn get_ledger(
        &self,
        _: Request<v1::GetLedgerRequest>,
    ) -> Result<Response<v1::GetLedgerResponse>, Status> {
        Ok(Response::new(v1::GetLedgerResponse {
            ledger_id: Bytes::copy_from_slice(&self.0.keys.ledger().0),
            origin: self.0.keys.current().name().to_owned(),
            verifier_key: self.0.keys.current().to_string(),
            key_rotations: self.0.keys.changes(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            max_artifact_bytes: self.0.artifacts.max_bytes(),
        }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        let old_size = request.into_inner().old_size;
        let signed = self.0.reader.checkpoint().ok_or(Refusal::Stopped)?;
        let size = signed.checkpoint.size;
        if old_size > size {
            return Err(Status::out_of_range(format!(
                "the ledger has {size} entries, fewer than {old_size}; if it once showed you more, \
                 it was rolled back: keep that checkpoint as evidence"
            )));
        }
        let proof = self.0.reader.consistency(old_size, size).map_err(Refusal::from)?;
        Ok(Response::new(v1::GetCheckpointResponse {
            checkpoint: signed.note.clone(),
            consistency_proof: Self::proof(proof),
        }))
    }

    async fn get_entries(
        &self,
        request: Request<v1::GetEntriesRequest>,
    ) -> Result<Response<v1::GetEntriesResponse>, Status> {
        let v1::GetEntriesRequest { start, count } = request.into_inner();
        let end = start.saturating_add(u64::from(count).clamp(1, ENTRIES_PER_MESSAGE));
        let entries =
            self.0.reader.entries(start, end, BYTES_PER_MESSAGE).map_err(Refusal::from)?;
        let entries = entries.into_iter().map(Bytes::from).collect();
        Ok(Response::new(v1::GetEntriesResponse { entries }))
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<v1::GetInclusionProofRequest>,
    ) -> Result<Response<v1::GetInclusionProofResponse>, Status> {
        let v1::GetInclusionProofRequest { index, size } = request.into_inner();
        let reader = &self.0.reader;
        let size = if size == 0 { reader.size() } else { size };
        let proof = reader.inclusion(index, size).map_err(Refusal::from)?;
        let leaf = reader.leaf(index).map_err(Refusal::from)?;
        Ok(Response::new(v1::GetInclusionProofResponse {
            size,
            leaf_hash: hash_bytes(&leaf),
            proof: Self::proof(proof),
        }))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<v1::GetConsistencyProofRequest>,
    ) -> Result<Response<v1::GetConsistencyProofResponse>, Status> {
        let v1::GetConsistencyProofRequest { old_size, new_size } = request.into_inner();
        let proof = self.0.reader.consistency(old_size, new_size).map_err(Refusal::from)?;
        Ok(Response::new(v1::GetConsistencyProofResponse { proof: Self::proof(proof) }))
    }

    type SubscribeStream = BoxStream<v1::SubscribeResponse>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let start = request.into_inner().start;
        let (sender, responses) = mpsc::channel(4);
        let core = self.0.clone();
        tokio::spawn(async move {
            if let Err(status) = subscribe(core, start, &sender).await {
                // The subscriber has gone if this fails.
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}

/// Sends entries as they come, until the subscriber or the node goes.
async fn subscribe(
    core: Core,
    start: u64,
    sender: &mpsc::Sender<Result<v1::SubscribeResponse, Status>>,
) -> Result<(), Status> {
    let mut next = start;
    let mut size = core.writer.size();
    loop {
        let upto = *size.borrow_and_update();
        while next < upto {
            let end = upto.min(next.saturating_add(ENTRIES_PER_MESSAGE));
            let entries =
                core.reader.entries(next, end, BYTES_PER_MESSAGE).map_err(Refusal::from)?;
            next += entries.len() as u64;
            let entries = entries.into_iter().map(Bytes::from).collect();
            if sender.send(Ok(v1::SubscribeResponse { entries })).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            () = core.stopping.cancelled() => return Err(Refusal::Stopped.into()),
            () = sender.closed() => return Ok(()),
            changed = size.changed() => {
                if changed.is_err() {
                    return Err(Refusal::Stopped.into());
                }
            }
        }
    }
}

pub(super) struct Artifacts(pub(super) Core);

/// Runs something that touches the disk where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| Status::internal("the artifact store panicked"))??)
}

#[tonic::async_trait]
impl ArtifactService for Artifacts {
    async fn stat_artifact(
        &self,
        request: Request<v1::StatArtifactRequest>,
    ) -> Result<Response<v1::StatArtifactResponse>, Status> {
        let digest = convert::digest(&request.into_inner().digest, "digest").map_err(bad_field)?;
        let size = self.0.artifacts.size_of(&digest);
        Ok(Response::new(v1::StatArtifactResponse {
            stored: size.is_some(),
            size: size.unwrap_or(0),
            partial_size: self.0.artifacts.partial_size_of(&digest),
        }))
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<v1::UploadArtifactRequest>>,
    ) -> Result<Response<v1::UploadArtifactResponse>, Status> {
        use v1::upload_artifact_request::Part;
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|message| message.part);
        let Some(Part::Header(header)) = first else {
            return Err(Status::invalid_argument("an upload begins with its header"));
        };
        let digest = convert::digest(&header.digest, "digest").map_err(bad_field)?;
        let store = self.0.artifacts.clone();
        let begun = blocking(move || store.upload(digest, header.size, header.offset)).await?;
        let Some(mut upload) = begun else {
            return Ok(Response::new(v1::UploadArtifactResponse { size: header.size }));
        };
        while let Some(message) = parts.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else {
                return Err(Status::invalid_argument("after the header come chunks"));
            };
            upload = blocking(move || {
                upload.write(&chunk)?;
                Ok(upload)
            })
            .await?;
        }
        let size = blocking(move || upload.finish()).await?;
        Ok(Response::new(v1::UploadArtifactResponse { size }))
    }

    type DownloadArtifactStream = BoxStream<v1::DownloadArtifactResponse>;

    async fn download_artifact(
        &self,
        request: Request<v1::DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        let request = request.into_inner();
        let digest = convert::digest(&request.digest, "digest").map_err(bad_field)?;
        let store = self.0.artifacts.clone();
        let file = blocking(move || store.download(&digest, request.offset)).await?;
        // Read only as fast as the client takes it; a stalled client holds no thread.
        let file = tokio::fs::File::from_std(file);
        let chunks = ReaderStream::with_capacity(file, CHUNK_BYTES).map(|chunk| match chunk {
            Ok(chunk) => Ok(v1::DownloadArtifactResponse { chunk }),
            Err(error) => Err(Status::internal(format!("cannot read it: {error}"))),
        });
        Ok(Response::new(Box::pin(chunks)))
    }
}
