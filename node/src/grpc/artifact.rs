//! `ArtifactService`: uploading and downloading weights.

use std::fs::File;

use colearn_contracts::Digest;
use colearn_proto::v1;
use colearn_proto::v1::artifact_service_server::ArtifactService;
use colearn_records::convert;
use futures_util::StreamExt as _;
use tokio_util::io::ReaderStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{BoxStream, bad_field};
use crate::artifacts::{ArtifactError, ArtifactStore};
use crate::pulling::Pulling;

/// The size of a downloaded chunk.
const CHUNK_BYTES: usize = 1 << 18;

/// The artifact store, as a service.
pub(crate) struct Artifacts {
    pub(crate) store: ArtifactStore,
    /// Fetches what other nodes have, where several keep the ledger.
    pub(crate) pulling: Option<Pulling>,
}

impl Artifacts {
    /// Opens an artifact; one that is on its way here is waited for.
    async fn open(&self, digest: Digest, offset: u64) -> Result<File, Status> {
        let open = || {
            let store = self.store.clone();
            blocking(move || store.download(&digest, offset))
        };
        match (open().await, &self.pulling) {
            (Err(missing), Some(pulling)) if missing.code() == Code::NotFound => {
                match pulling.wait_for(&digest).await {
                    true => open().await,
                    false => Err(missing),
                }
            }
            (opened, _) => opened,
        }
    }
}

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
        let v1::StatArtifactRequest { digest, room } = request.into_inner();
        let digest = convert::digest(&digest, "digest").map_err(bad_field)?;
        let store = self.store.clone();
        let stat = blocking(move || Ok((store.size_of(&digest), store.partial_size_of(&digest))));
        let (size, partial_size) = stat.await?;
        Ok(Response::new(v1::StatArtifactResponse {
            stored: size.is_some(),
            size: size.unwrap_or(0),
            partial_size,
            room_bytes: room.then(|| self.store.room_bytes()),
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
        let store = self.store.clone();
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
        let file = self.open(digest, request.offset).await?;
        // Read only as fast as the client takes it; a stalled client holds no thread.
        let file = tokio::fs::File::from_std(file);
        let chunks = ReaderStream::with_capacity(file, CHUNK_BYTES).map(|chunk| match chunk {
            Ok(chunk) => Ok(v1::DownloadArtifactResponse { chunk }),
            Err(error) => Err(Status::internal(format!("cannot read it: {error}"))),
        });
        Ok(Response::new(Box::pin(chunks)))
    }
}
