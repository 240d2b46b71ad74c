//! Weights up and down, going on where a broken transfer ended.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use colearn_contracts::Model;
use colearn_proto::v1;

use super::connection::Client;
use super::{BoxFuture, ClientError};
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
    pub fn upload<'a>(
        &'a mut self,
        weights: &'a Weights,
    ) -> BoxFuture<'a, Result<(), ClientError>> {
        Box::pin(async move {
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
        })
    }

    async fn try_upload(&mut self, weights: &Weights) -> Result<(), ClientError> {
        use v1::upload_artifact_request::Part;
        let digest = Bytes::copy_from_slice(&weights.digest().0);
        let size = weights.bytes().len() as u64;
        let request = v1::StatArtifactRequest { digest: digest.clone() };
        let there =
            self.services.artifacts.stat_artifact(request).await.map_err(|s| self.refusal(&s))?;
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
        let answer = self.services.artifacts.upload_artifact(tokio_stream::iter(parts)).await;
        answer.map_err(|status| self.refusal(&status))?;
        Ok(())
    }

    /// Downloads weights and verifies their digest, going on after a break.
    ///
    /// # Errors
    /// If the node does not have them or sends other bytes.
    pub fn download<'a>(
        &'a mut self,
        model: &'a Model,
    ) -> BoxFuture<'a, Result<Weights, ClientError>> {
        Box::pin(async move {
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
        })
    }

    async fn try_download(
        &mut self,
        model: &Model,
        bytes: &mut BytesMut,
    ) -> Result<(), ClientError> {
        let digest = Bytes::copy_from_slice(&model.digest.0);
        let request = v1::DownloadArtifactRequest { digest, offset: bytes.len() as u64 };
        let answer = self.services.artifacts.download_artifact(request).await;
        let mut chunks = answer.map_err(|status| self.refusal(&status))?.into_inner();
        while let Some(part) = chunks.message().await.map_err(|s| self.refusal(&s))? {
            if bytes.len() as u64 + part.chunk.len() as u64 > model.size {
                return Err(ClientError::WrongArtifact(model.digest));
            }
            bytes.extend_from_slice(&part.chunk);
        }
        Ok(())
    }
}
