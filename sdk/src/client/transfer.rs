//! Weights up and down, going on where a broken transfer ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use colearn_contracts::{Digest, Model};
use colearn_proto::v1;
use tonic::Request;

use super::connection::Client;
use super::signing::Brings;
use super::{BoxFuture, ClientError, Refused};
use crate::weights::Weights;

/// The size of an uploaded chunk.
const CHUNK_BYTES: usize = 1 << 18;
/// What is set aside for a download before any of it has arrived.
const MAX_RESERVE_BYTES: u64 = 64 << 20;
/// How often a transfer goes on after a break before it is given up.
const TRANSFER_TRIES: u32 = 5;

impl Client {
    /// Uploads weights unless the node has them, going on after a break.
    ///
    /// # Errors
    /// If the node does not take them.
    pub fn upload<'a>(&'a self, weights: &'a Weights) -> BoxFuture<'a, Result<(), ClientError>> {
        Box::pin(async move {
            let (mut tries, mut is_signed) = (0, false);
            loop {
                match self.try_upload(weights).await {
                    // It is known only now what has to be signed, and what is sent meanwhile cannot be sent again.
                    Err(ClientError::Refused { refused: Refused::WhoAsks, .. }) if !is_signed => {
                        is_signed = true;
                    }
                    Err(error) if error.is_transient() && tries < self.transfer_tries() => {
                        tries += 1;
                        tokio::time::sleep(Duration::from_millis(50 << tries)).await;
                    }
                    done => return done,
                }
            }
        })
    }

    /// Where there is another node to go on to, there is no use in insisting.
    fn transfer_tries(&self) -> u32 {
        if self.nodes().are_several() { 0 } else { TRANSFER_TRIES }
    }

    async fn try_upload(&self, weights: &Weights) -> Result<(), ClientError> {
        use v1::upload_artifact_request::Part;
        let there = self.stat(weights.digest()).await?;
        let size = weights.bytes().len() as u64;
        if there.stored {
            return Ok(());
        }
        let digest = Bytes::copy_from_slice(&weights.digest().0);
        let offset = if there.partial_size <= size { there.partial_size } else { 0 };
        let header = Part::Header(v1::UploadHeader { digest, size, offset });
        let bytes = weights.bytes().slice(offset as usize..);
        let taken = Arc::new(AtomicU64::new(0));
        let counted = taken.clone();
        let chunks = (0..bytes.len()).step_by(CHUNK_BYTES).map(move |at| {
            counted.fetch_add(1, Ordering::Relaxed);
            // A slice shares the buffer.
            Part::Chunk(bytes.slice(at..bytes.len().min(at + CHUNK_BYTES)))
        });
        let parts = std::iter::once(header)
            .chain(chunks)
            .map(|part| v1::UploadArtifactRequest { part: Some(part) });
        let mut artifacts = self.artifacts();
        let mut request = Request::new(tokio_stream::iter(parts));
        request.extensions_mut().insert(Brings(weights.digest().0));
        let upload = artifacts.upload_artifact(request);
        let mut upload = std::pin::pin!(upload);
        loop {
            let before = taken.load(Ordering::Relaxed);
            match tokio::time::timeout(self.patience(), &mut upload).await {
                Ok(answer) => {
                    answer.map_err(|status| self.refusal(&status))?;
                    return Ok(());
                }
                // However long it takes, as long as it goes on.
                Err(_) if taken.load(Ordering::Relaxed) > before => {}
                Err(_) => return Err(self.stalled()),
            }
        }
    }

    /// What the node has of an artifact, and how much it could still take.
    pub(super) async fn stat(
        &self,
        digest: Digest,
    ) -> Result<v1::StatArtifactResponse, ClientError> {
        let digest = Bytes::copy_from_slice(&digest.0);
        let request = v1::StatArtifactRequest { digest, room: true };
        self.answer(self.artifacts().stat_artifact(request)).await
    }

    /// Downloads weights and verifies their digest, going on after a break. What this node does not give,
    /// another may.
    ///
    /// # Errors
    /// If no node has them, or this one sends other bytes.
    pub fn download<'a>(&'a self, model: &'a Model) -> BoxFuture<'a, Result<Weights, ClientError>> {
        Box::pin(async move {
            let here = self.download_here(model).await;
            if here.is_ok() {
                return here;
            }
            for nodes in self.nodes().others() {
                let there = match self.to(nodes).await {
                    Ok(other) => other.download_here(model).await,
                    Err(error) => Err(error),
                };
                match there {
                    Ok(weights) => return Ok(weights),
                    Err(error) => tracing::debug!(%error, "weights that another node has not got"),
                }
            }
            here
        })
    }

    fn download_here<'a>(
        &'a self,
        model: &'a Model,
    ) -> BoxFuture<'a, Result<Weights, ClientError>> {
        Box::pin(async move {
            let reserve = model.size.min(MAX_RESERVE_BYTES) as usize;
            let mut bytes = BytesMut::with_capacity(reserve);
            let mut tries = 0;
            loop {
                match self.try_download(model, &mut bytes).await {
                    Err(error) if error.is_transient() && tries < self.transfer_tries() => {
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
        })
    }

    async fn try_download(&self, model: &Model, bytes: &mut BytesMut) -> Result<(), ClientError> {
        let digest = Bytes::copy_from_slice(&model.digest.0);
        let request = v1::DownloadArtifactRequest { digest, offset: bytes.len() as u64 };
        let mut chunks = self.answer(self.artifacts().download_artifact(request)).await?;
        while let Some(part) = self.message(&mut chunks).await? {
            if part.chunk.is_empty() {
                // Or it could go on like that for ever.
                return Err(ClientError::Malformed("a chunk without bytes".to_owned()));
            }
            if bytes.len() as u64 + part.chunk.len() as u64 > model.size {
                bytes.clear();
                return Err(ClientError::WrongArtifact(model.digest));
            }
            bytes.extend_from_slice(&part.chunk);
        }
        match bytes.len() as u64 == model.size {
            true => Ok(()),
            false => Err(ClientError::Unreachable {
                url: self.url().to_owned(),
                reason: "the weights ended too early".to_owned(),
            }),
        }
    }
}
