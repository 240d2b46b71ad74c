//! Weights up and down, going on where a broken transfer ended.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use colearn_contracts::{Digest, Model};
use colearn_proto::v1;
use tonic::Request;

use super::arriving::{Arriving, Destination};
use super::connection::Client;
use super::signing::Brings;
use super::{BoxFuture, ClientError, Refused};
use crate::weights::Weights;

/// The size of an uploaded chunk.
const CHUNK_BYTES: usize = 1 << 18;
/// How often a transfer goes on after a break before it is given up.
const TRANSFER_TRIES: u32 = 5;
/// How many patiences a node that has taken all may take to bring it to where it keeps it. One that is gone is noticed
/// by its connection.
const PLACING: u32 = 20;

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
        let size = weights.bytes().len() as u64;
        let mut offset = 0;
        // What is sent at once is there no later than the answer would be.
        if size > CHUNK_BYTES as u64 {
            let there = self.stat(weights.digest()).await?;
            if there.stored {
                return Ok(());
            }
            if there.partial_size <= size {
                offset = there.partial_size;
            }
        }
        let digest = Bytes::copy_from_slice(&weights.digest().0);
        let header = Part::Header(v1::UploadHeader { digest, size, offset });
        let taken = Arc::new(AtomicU64::new(0));
        let (all, mut placing) = ((size - offset).div_ceil(CHUNK_BYTES as u64), PLACING);
        // A file that cannot be read ends the upload early. Nobody else is to blame for that.
        let unread: Arc<Mutex<Option<io::Error>>> = Arc::default();
        let (counted, shared, told) = (taken.clone(), weights.clone(), unread.clone());
        let chunks = (offset..size).step_by(CHUNK_BYTES).map_while(move |at| {
            counted.fetch_add(1, Ordering::Relaxed);
            let length = CHUNK_BYTES.min((size - at) as usize);
            let unread = |error| *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            shared.part(at, length).map_err(unread).ok()
        });
        let parts = std::iter::once(header)
            .chain(chunks.map(Part::Chunk))
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
                    if let Some(error) =
                        unread.lock().unwrap_or_else(PoisonError::into_inner).take()
                    {
                        return Err(ClientError::data(Path::new("the weights"), error));
                    }
                    answer.map_err(|status| self.refusal(&status))?;
                    return Ok(());
                }
                // However long it takes, as long as it goes on.
                Err(_) if taken.load(Ordering::Relaxed) > before => {}
                Err(_) if before == all && placing > 0 => placing -= 1,
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
        let request = v1::StatArtifactRequest { digest, room: true, address: false };
        self.answer(self.artifacts().stat_artifact(request)).await
    }

    /// Where else the node says that an artifact can be fetched from; empty where it says nothing.
    pub(super) async fn address(&self, digest: Digest) -> Result<String, ClientError> {
        let digest = Bytes::copy_from_slice(&digest.0);
        let request = v1::StatArtifactRequest { digest, room: false, address: true };
        Ok(self.answer(self.artifacts().stat_artifact(request)).await?.address)
    }

    /// Downloads weights and verifies their digest, going on after a break. What this node does not give,
    /// another may.
    ///
    /// # Errors
    /// If no node has them, or this one sends other bytes.
    pub fn download<'a>(&'a self, model: &'a Model) -> BoxFuture<'a, Result<Weights, ClientError>> {
        self.download_to(model, Destination::Memory)
    }

    /// The same; large ones to where they had better lie. What is in a folder already of what this node sends, perhaps
    /// from before a restart, does not come again.
    ///
    /// # Errors
    /// Those of [`Client::download`], and if nothing can be written there.
    pub fn download_to<'a>(
        &'a self,
        model: &'a Model,
        to: Destination,
    ) -> BoxFuture<'a, Result<Weights, ClientError>> {
        Box::pin(async move {
            let here = self.download_here(model, &to).await;
            if here.as_ref().err().is_none_or(ClientError::is_ours) {
                return here;
            }
            for nodes in self.nodes().others() {
                let there = match self.to(nodes).await {
                    Ok(other) => other.download_here(model, &to).await,
                    Err(error) => Err(error),
                };
                match there {
                    Ok(weights) => return Ok(weights),
                    Err(error) if error.is_ours() => return Err(error),
                    Err(error) => tracing::debug!(%error, "weights that another node has not got"),
                }
            }
            here
        })
    }

    fn download_here<'a>(
        &'a self,
        model: &'a Model,
        to: &'a Destination,
    ) -> BoxFuture<'a, Result<Weights, ClientError>> {
        Box::pin(async move {
            let mut arriving = Arriving::begin(model, self.url(), to).await?;
            let mut is_from_before = arriving.length() > 0;
            is_from_before |= self.fetch_directly(model, &mut arriving).await?;
            let mut tries = 0;
            loop {
                match self.try_download(model, &mut arriving).await {
                    Err(error) if error.is_transient() && tries < self.transfer_tries() => {
                        tries += 1;
                        tokio::time::sleep(Duration::from_millis(50 << tries)).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                    Ok(()) => {}
                }
                if let Some(weights) = arriving.whole(model).await? {
                    return Ok(weights);
                }
                arriving.clear()?;
                // What there was may be a disk's fault, or a store's: nobody is judged by it.
                if !std::mem::take(&mut is_from_before) {
                    return Err(ClientError::WrongArtifact(model.digest));
                }
            }
        })
    }

    async fn try_download(
        &self,
        model: &Model,
        arriving: &mut Arriving,
    ) -> Result<(), ClientError> {
        if arriving.length() == model.size {
            return Ok(());
        }
        let digest = Bytes::copy_from_slice(&model.digest.0);
        let request = v1::DownloadArtifactRequest { digest, offset: arriving.length() };
        let mut chunks = self.answer(self.artifacts().download_artifact(request)).await?;
        while let Some(part) = self.message(&mut chunks).await? {
            if part.chunk.is_empty() {
                // Or it could go on like that for ever.
                return Err(ClientError::Malformed("a chunk without bytes".to_owned()));
            }
            if arriving.length() + part.chunk.len() as u64 > model.size {
                arriving.clear()?;
                return Err(ClientError::WrongArtifact(model.digest));
            }
            arriving.push(&part.chunk)?;
        }
        match arriving.length() == model.size {
            true => Ok(()),
            false => Err(ClientError::Unreachable {
                url: self.url().to_owned(),
                reason: "the weights ended too early".to_owned(),
            }),
        }
    }
}
