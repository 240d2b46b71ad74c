//! `CoordinatorService`: submitting transactions, looking at and watching experiments.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use colearn_contracts::ExperimentName;
use colearn_ledger::{Error, Reader};
use colearn_proto::v1;
use colearn_proto::v1::coordinator_service_server::CoordinatorService;
use colearn_records::convert;
use colearn_records::record;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{BoxStream, bad_field};
use crate::admission::Admission;
use crate::limits::PIECE_BYTES;
use crate::reads::Reads;
use crate::refusal::Refusal;
use crate::status::{Programs, version_of};
use crate::view::{ExperimentView, Views};

/// How many submissions of one stream are handled together at most, and how many times that may
/// be on its way.
const STREAM_CHUNK: usize = 64;
const STREAM_CHUNKS_IN_FLIGHT: usize = 4;
/// How many entries are read at once for a watcher.
const WATCH_CHUNK: usize = 64;
/// The most experiments of one list.
const MAX_PAGE: usize = 1_000;

/// The contract and its state, as a service.
pub(crate) struct Coordinator {
    pub(crate) admission: Admission,
    pub(crate) reads: Reads,
    pub(crate) views: Views,
    pub(crate) stopping: CancellationToken,
    pub(crate) programs: Programs,
}

#[tonic::async_trait]
impl CoordinatorService for Coordinator {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let version = version_of(request.metadata());
        let transaction = request.into_inner().transaction;
        let sender = transaction.as_ref().map(|it| it.public_key.clone()).unwrap_or_default();
        let receipt = self.admission.submit(transaction).await?;
        // Only now: its signature is good, so it is who it says.
        self.programs.hear(&sender, version);
        Ok(Response::new(v1::SubmitResponse { receipt: Some(receipt) }))
    }

    type SubmitStreamStream = BoxStream<v1::SubmitStreamResponse>;

    async fn submit_stream(
        &self,
        request: Request<Streaming<v1::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        let version = version_of(request.metadata());
        let programs = self.programs.clone();
        let (sender, mut queued) = mpsc::channel(STREAM_CHUNKS_IN_FLIGHT);
        let admission = self.admission.clone();
        // Whatever has arrived by now is handled together; the channel bounds what is on its way.
        let mut arrived = request.into_inner().ready_chunks(STREAM_CHUNK);
        tokio::spawn(async move {
            while let Some(chunk) = arrived.next().await {
                // A broken stream ends here; what came before the break is still answered.
                let whole = chunk.len();
                let messages: Vec<_> =
                    chunk.into_iter().map_while(Result::ok).map(|one| one.transaction).collect();
                let broken = messages.len() < whole;
                let keys = messages.iter().map(|it| it.as_ref().map(|it| it.public_key.clone()));
                let senders: Vec<Bytes> = keys.map(Option::unwrap_or_default).collect();
                let queued = admission.queue(messages).await;
                if sender.send((senders, queued)).await.is_err() || broken {
                    break;
                }
            }
        });
        let (out, responses) = mpsc::channel(2 * STREAM_CHUNK);
        let admission = self.admission.clone();
        tokio::spawn(async move {
            while let Some((senders, queued)) = queued.recv().await {
                let receipts = admission.receipts(queued).await;
                for (sender, result) in senders.into_iter().zip(receipts) {
                    if result.is_ok() {
                        programs.hear(&sender, version);
                    }
                    let result = Some(streamed(result));
                    if out.send(Ok(v1::SubmitStreamResponse { result })).await.is_err() {
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
        let learner = match &request.learner[..] {
            [] => None,
            key => Some(convert::learner(key, "learner").map_err(bad_field)?),
        };
        let (size, experiment) = self.experiment(&request.name)?;
        let member = learner.and_then(|learner| experiment.member(learner));
        Ok(Response::new(v1::GetExperimentResponse {
            size,
            experiment: Some(experiment.description().message()),
            member: member.map(|member| member.message()),
        }))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Ok(Response::new(self.programs.status(&self.views.latest())))
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
        let view = self.views.latest();
        let experiments = view.experiments_after(&request.after).take(page);
        let experiments = experiments.map(|experiment| experiment.summary().message()).collect();
        Ok(Response::new(v1::ListExperimentsResponse { experiments }))
    }

    type WatchExperimentStream = BoxStream<v1::WatchExperimentResponse>;

    async fn watch_experiment(
        &self,
        request: Request<v1::WatchExperimentRequest>,
    ) -> Result<Response<Self::WatchExperimentStream>, Status> {
        let v1::WatchExperimentRequest { name, start } = request.into_inner();
        let (size, experiment) = self.experiment(&name)?;
        let mut sizes = self.views.size();
        // What was published can be looked up in an instant, and until then it would be missed by whoever asks
        // only for what there is: who has a receipt is to find its entry.
        sizes.wait_for(|there| *there >= size).await.map_err(|_| Refusal::Stopped)?;
        let mut grown = experiment.grown();
        // In this order: what comes after the size was looked at wakes it again.
        grown.mark_unchanged();
        let upto = *sizes.borrow();
        let watcher = Watcher {
            key: record::experiment_key(&name),
            next: start,
            upto,
            said: false,
            read: VecDeque::new(),
            grown,
            reads: self.reads.clone(),
            sizes,
            stopping: self.stopping.clone(),
        };
        // Each message is made when there is room for it.
        Ok(Response::new(Box::pin(stream::try_unfold(watcher, Watcher::next))))
    }
}

impl Coordinator {
    /// An experiment in the latest picture, and how many entries that results from.
    fn experiment(&self, name: &str) -> Result<(u64, Arc<ExperimentView>), Status> {
        let unknown = || {
            Status::not_found(format!(
                "R4: there is no experiment {name:?} on this ledger; see: colearn experiment list"
            ))
        };
        let known: ExperimentName = name.parse().map_err(|_| unknown())?;
        let view = self.views.latest();
        let experiment = view.experiment(&known).ok_or_else(unknown)?;
        Ok((view.size(), experiment.clone()))
    }
}

/// What is answered to one submission of a stream.
fn streamed(result: Result<v1::Receipt, Refusal>) -> v1::submit_stream_response::Result {
    use v1::submit_stream_response::Result as Wire;
    match result {
        Ok(receipt) => Wire::Receipt(receipt),
        Err(refusal) => {
            let rule = match &refusal {
                Refusal::Rejected(rejection) => rejection.rule().into(),
                Refusal::Invalid(_)
                | Refusal::Empty
                | Refusal::UnknownSeen(_)
                | Refusal::NoSuchArtifact(_)
                | Refusal::NoChange(_)
                | Refusal::NoOrder(_)
                | Refusal::Contradicted { .. }
                | Refusal::Behind(_)
                | Refusal::Unsigned
                | Refusal::WhoAsks
                | Refusal::OldSignature
                | Refusal::BadSignature
                | Refusal::Repeated
                | Refusal::TooLong
                | Refusal::TooMuch { .. }
                | Refusal::NoRight { .. }
                | Refusal::NoWeights { .. }
                | Refusal::OtherContent
                | Refusal::Random(_)
                | Refusal::Busy
                | Refusal::DiskFull { .. }
                | Refusal::Stopped
                | Refusal::Ledger(_) => 0,
            };
            let (code, message) = (refusal.code() as u32, refusal.to_string());
            Wire::Refusal(v1::Refusal { code, message, rule })
        }
    }
}

/// Somebody who watches an experiment: sent its entries as they come, and after those that are there a message
/// that says so, until it or the node goes.
struct Watcher {
    /// Under which the experiment's entries are found.
    key: Vec<u8>,
    next: u64,
    /// So far it is looked for entries.
    upto: u64,
    /// Whether it was said that there are no more so far.
    said: bool,
    /// What was read and not sent yet, with the indices.
    read: VecDeque<(u64, Vec<u8>)>,
    /// Not a picture of the experiment: each watcher would keep the one of when it came. Nor the ledger's
    /// growth: a thousand watchers of another experiment would be woken by every entry of this one.
    grown: watch::Receiver<()>,
    reads: Reads,
    sizes: watch::Receiver<u64>,
    stopping: CancellationToken,
}

impl Watcher {
    async fn next(mut self) -> Result<Option<(v1::WatchExperimentResponse, Self)>, Status> {
        loop {
            if let Some((index, entry)) = self.read.pop_front() {
                self.next = index + 1;
                return Ok(Some((self.message(Some(entry)), self)));
            }
            if self.next < self.upto {
                let (key, from, upto) = (self.key.clone(), self.next, self.upto);
                let read = move |reader: &Reader| entries(reader, &key, from, upto);
                self.read = self.reads.read_last(upto - from, read).await?;
                if self.read.is_empty() {
                    self.next = upto;
                }
                continue;
            }
            if !self.said {
                self.said = true;
                return Ok(Some((self.message(None), self)));
            }
            tokio::select! {
                () = self.stopping.cancelled() => return Err(Refusal::Stopped.into()),
                changed = self.grown.changed() => {
                    if changed.is_err() {
                        return Err(Refusal::Stopped.into());
                    }
                }
            }
            (self.upto, self.said) = (*self.sizes.borrow(), false);
        }
    }

    fn message(&self, entry: Option<Vec<u8>>) -> v1::WatchExperimentResponse {
        v1::WatchExperimentResponse { entry: entry.map(Into::into), next: self.next }
    }
}

/// The next entries under a key, from `from` on and before `upto`, with their indices. None only if
/// there are no more.
fn entries(
    reader: &Reader,
    key: &[u8],
    mut from: u64,
    upto: u64,
) -> Result<VecDeque<(u64, Vec<u8>)>, Error> {
    let mut entries = VecDeque::new();
    let mut bytes = 0;
    while entries.len() < WATCH_CHUNK
        && bytes < PIECE_BYTES
        && let Some(index) = reader.find(key, from)?
        && index < upto
    {
        let entry = reader.entry(index)?;
        bytes += entry.len();
        entries.push_back((index, entry));
        from = index + 1;
    }
    Ok(entries)
}
