//! `LedgerService`: checkpoints, entries, proofs.

use std::sync::Arc;

use bytes::Bytes;
use colearn_ledger::{Hash, Reader, Verifiers};
use colearn_light::RawBlock;
use colearn_proto::v1;
use colearn_proto::v1::ledger_service_server::LedgerService;
use colearn_records::log_keys::LogKeys;
use futures_util::stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::BoxStream;
use crate::admission::hash_bytes;
use crate::limits::PIECE_BYTES;
use crate::order::chain::Shows;
use crate::reads::Reads;
use crate::refusal::Refusal;
use crate::view::Views;
use crate::witness::Cosignatures;

/// How many entries one message holds at most.
const ENTRIES_PER_MESSAGE: u64 = 4096;

/// The ledger, as a service.
pub(crate) struct Ledger {
    pub(crate) keys: watch::Receiver<Arc<LogKeys>>,
    /// This node's own, where no other vouches for what it shows.
    pub(crate) verifiers: Verifiers,
    pub(crate) reads: Reads,
    pub(crate) views: Views,
    pub(crate) cosignatures: Cosignatures,
    pub(crate) stopping: CancellationToken,
    /// The largest artifact, in bytes.
    pub(crate) max_artifact_bytes: u64,
    /// What a public chain proves of it, where a contract there keeps it.
    pub(crate) chain: Option<Shows>,
}

#[tonic::async_trait]
impl LedgerService for Ledger {
    async fn get_ledger(
        &self,
        _: Request<v1::GetLedgerRequest>,
    ) -> Result<Response<v1::GetLedgerResponse>, Status> {
        let keys = self.keys.borrow().clone();
        // Only what is under the checkpoint that is shown: the rest cannot be proven yet.
        let shown = self.reads.checkpoint().map_or(0, |signed| signed.checkpoint.size);
        let changes = keys.changes().into_iter().filter(|index| *index < shown).collect();
        Ok(Response::new(v1::GetLedgerResponse {
            ledger_id: Bytes::copy_from_slice(&keys.ledger().0),
            origin: keys.current().name().to_owned(),
            verifier_key: match keys.is_on_chain() {
                true => self.verifiers.to_string(),
                false => keys.current().to_string(),
            },
            key_rotations: changes,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            max_artifact_bytes: self.max_artifact_bytes,
            contract_version: self.views.latest().version().number(),
        }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        let v1::GetCheckpointRequest { old_size, cosigned } = request.into_inner();
        let signed = self.reads.checkpoint().ok_or(Refusal::Unsigned)?;
        let size = signed.checkpoint.size;
        if old_size > size {
            return Err(Status::out_of_range(format!(
                "the ledger has {size} entries, fewer than {old_size}; if it once showed you more, \
                 it was rolled back: keep that checkpoint as evidence"
            )));
        }
        let read = move |reader: &Reader| reader.consistency(old_size, size);
        Ok(Response::new(v1::GetCheckpointResponse {
            checkpoint: signed.note.clone(),
            consistency_proof: proof(&self.reads.read_last(size - old_size, read).await?),
            cosigned: if cosigned { self.cosignatures.each() } else { Vec::new() },
        }))
    }

    async fn get_entries(
        &self,
        request: Request<v1::GetEntriesRequest>,
    ) -> Result<Response<v1::GetEntriesResponse>, Status> {
        let v1::GetEntriesRequest { start, count } = request.into_inner();
        let end = start.saturating_add(u64::from(count).clamp(1, ENTRIES_PER_MESSAGE));
        // It lies in memory whole, whether it is read or not.
        let read = self.reads.read(move |reader| reader.entries(start, end, PIECE_BYTES));
        let entries = read.await?;
        let entries = entries.into_iter().map(Bytes::from).collect();
        Ok(Response::new(v1::GetEntriesResponse { entries }))
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<v1::GetInclusionProofRequest>,
    ) -> Result<Response<v1::GetInclusionProofResponse>, Status> {
        let v1::GetInclusionProofRequest { index, size } = request.into_inner();
        let read = self.reads.read(move |reader| {
            let size = if size == 0 { reader.size() } else { size };
            Ok((size, reader.inclusion(index, size)?, reader.leaf(index)?))
        });
        let (size, inclusion, leaf) = read.await?;
        Ok(Response::new(v1::GetInclusionProofResponse {
            size,
            leaf_hash: hash_bytes(&leaf),
            proof: proof(&inclusion),
        }))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<v1::GetConsistencyProofRequest>,
    ) -> Result<Response<v1::GetConsistencyProofResponse>, Status> {
        let v1::GetConsistencyProofRequest { old_size, new_size } = request.into_inner();
        let read = self.reads.read(move |reader| reader.consistency(old_size, new_size));
        Ok(Response::new(v1::GetConsistencyProofResponse { proof: proof(&read.await?) }))
    }

    async fn get_chain_proof(
        &self,
        request: Request<v1::GetChainProofRequest>,
    ) -> Result<Response<v1::GetChainProofResponse>, Status> {
        let chain = self.chain.as_ref().ok_or_else(not_on_chain)?;
        let v1::GetChainProofRequest { size } = request.into_inner();
        let proven = chain.proof(size).ok_or_else(|| {
            Status::not_found(format!(
                "the chain's proof of {size} entries is not here, or not any more: ask for the newest checkpoint"
            ))
        })?;
        Ok(Response::new(v1::GetChainProofResponse {
            block: Some(chain_block(&proven.block)),
            tree: Bytes::copy_from_slice(&proven.value.value),
            contract: Bytes::copy_from_slice(&proven.value.contract),
            code: Bytes::copy_from_slice(&proven.value.code),
        }))
    }

    async fn get_chain_block(
        &self,
        request: Request<v1::GetChainBlockRequest>,
    ) -> Result<Response<v1::GetChainBlockResponse>, Status> {
        let chain = self.chain.as_ref().ok_or_else(not_on_chain)?;
        let block = chain.block(request.into_inner().height).await?;
        Ok(Response::new(v1::GetChainBlockResponse { block: Some(chain_block(&block)) }))
    }

    type SubscribeStream = BoxStream<v1::SubscribeResponse>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let subscriber = Subscriber {
            next: request.into_inner().start,
            said: false,
            reads: self.reads.clone(),
            size: self.views.size(),
            stopping: self.stopping.clone(),
        };
        // Each message is made when there is room for it.
        Ok(Response::new(Box::pin(stream::try_unfold(subscriber, Subscriber::next))))
    }
}

fn chain_block(block: &RawBlock) -> v1::ChainBlock {
    let pages = |pages: &[Vec<u8>]| pages.iter().map(|it| Bytes::copy_from_slice(it)).collect();
    v1::ChainBlock {
        commit: Bytes::copy_from_slice(&block.commit),
        validators: pages(&block.validators),
        next_validators: pages(&block.next_validators),
    }
}

fn not_on_chain() -> Status {
    Status::failed_precondition("nodes keep this ledger, and no contract on a public chain")
}

/// Somebody who is sent entries as they come, each message with a signed checkpoint that counts them and the
/// proof that it does, until it or the node goes.
struct Subscriber {
    next: u64,
    /// Whether it was sent something: the first message comes at once.
    said: bool,
    reads: Reads,
    size: watch::Receiver<u64>,
    stopping: CancellationToken,
}

impl Subscriber {
    async fn next(mut self) -> Result<Option<(v1::SubscribeResponse, Self)>, Status> {
        loop {
            let shown = self.reads.checkpoint().map_or(0, |signed| signed.checkpoint.size);
            let upto = (*self.size.borrow_and_update()).min(shown);
            if self.next < upto || !self.said {
                self.said = true;
                let end = upto.min(self.next.saturating_add(ENTRIES_PER_MESSAGE));
                let (message, sent) = message(&self.reads, self.next, end).await?;
                self.next += sent;
                return Ok(Some((message, self)));
            }
            tokio::select! {
                () = self.stopping.cancelled() => return Err(Refusal::Stopped.into()),
                changed = self.size.changed() => {
                    if changed.is_err() {
                        return Err(Refusal::Stopped.into());
                    }
                }
            }
        }
    }
}

/// Entries from `next` to `end`, or as many as a message holds, with what proves them; and how many. Of what
/// lies beyond the ledger's end nothing is proven: the checkpoint tells.
async fn message(
    reads: &Reads,
    next: u64,
    end: u64,
) -> Result<(v1::SubscribeResponse, u64), Status> {
    let signed = reads.checkpoint().ok_or(Refusal::Unsigned)?;
    let size = signed.checkpoint.size;
    let read = reads.read_last(size.saturating_sub(next), move |reader| {
        let entries = match next < end {
            true => reader.entries(next, end, PIECE_BYTES)?,
            false => Vec::new(),
        };
        let upto = next + entries.len() as u64;
        let consistency = match upto < size {
            true => reader.consistency(upto, size)?,
            false => Vec::new(),
        };
        Ok((entries, consistency))
    });
    let (entries, consistency) = read.await?;
    let sent = entries.len() as u64;
    let message = v1::SubscribeResponse {
        entries: entries.into_iter().map(Bytes::from).collect(),
        checkpoint: signed.note.clone(),
        consistency_proof: proof(&consistency),
    };
    Ok((message, sent))
}

fn proof(hashes: &[Hash]) -> Vec<Bytes> {
    hashes.iter().map(hash_bytes).collect()
}
