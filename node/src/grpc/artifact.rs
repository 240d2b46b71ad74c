//! `ArtifactService`: uploading and downloading weights.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use colearn_contracts::Digest;
use colearn_proto::v1;
use colearn_proto::v1::artifact_service_server::ArtifactService;
use colearn_proto::v1::upload_artifact_request::Part;
use colearn_records::convert;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::io::ReaderStream;
use tonic::{Code, Extensions, Request, Response, Status, Streaming};

use super::{BoxStream, bad_field};
use crate::artifacts::{ArtifactError, ArtifactStore, Bringer, Listing, Reading, Upload};
use crate::door::rights::{Caller, Rights};
use crate::door::who::Stated;
use crate::limits::{LISTS, PIECE_BYTES, UPLOAD_PACE_BYTES};
use crate::metrics::{Class, Counts};
use crate::peer::Peer;
use crate::pulling::Pulling;
use crate::refusal::Refusal;

/// The artifact store, as a service.
pub(crate) struct Artifacts {
    pub(crate) store: ArtifactStore,
    /// Fetches what other nodes have, where several keep the ledger.
    pub(crate) pulling: Option<Pulling>,
    pub(crate) rights: Rights,
    /// For how long others may read at addresses of the store that are handed out; `None` if none are.
    pub(crate) presigned: Option<Duration>,
    /// How long an upload may take to bring [`UPLOAD_PACE_BYTES`].
    pub(crate) pace: Duration,
    pub(crate) counts: Counts,
    /// How many may look through all that is stored at a time: others want the disk, too.
    pub(crate) lists: Arc<Semaphore>,
}

impl Artifacts {
    /// So many lists at a time.
    pub(crate) fn lists() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(LISTS))
    }

    /// Whether whoever asks is told whether something is here: not of the weights of others, unless it has brought
    /// them itself.
    async fn is_told(&self, caller: Caller, digest: &Digest) -> bool {
        let has_brought =
            |Caller(key): Caller| key.is_some_and(|key| self.rights.has_brought(key, *digest));
        has_brought(caller) || self.rights.may_know(caller, digest).await
    }

    /// Where else whoever asks may fetch something that is stored.
    async fn address(&self, who: Bringer, caller: Caller, digest: Digest) -> Option<String> {
        let life = self.presigned?;
        self.rights.check_weights(caller, &digest).ok()?;
        let store = self.store.clone();
        let signed = blocking(move || store.address(who, &digest, life)).await;
        signed.unwrap_or_else(|error| {
            tracing::warn!(error = error.message(), "no address of the store can be handed out");
            None
        })
    }

    /// Opens an artifact; one that is on its way here is waited for.
    async fn open(&self, who: Bringer, digest: Digest, offset: u64) -> Result<Reading, Status> {
        let open = || {
            let store = self.store.clone();
            blocking(move || Ok(store.download(who, &digest, offset)?.read(u64::MAX)?))
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

    /// Counts a refusal. Whoever has gone was refused nothing.
    fn refuse(&self, refusal: &Status) {
        let word = match refusal.code() {
            Code::InvalidArgument => "invalid",
            Code::NotFound => "missing",
            Code::OutOfRange => "wrong_offset",
            Code::Aborted => "aborted",
            Code::ResourceExhausted => "full",
            Code::PermissionDenied => "weights_of_others",
            Code::Unauthenticated => "other_content",
            Code::Internal | Code::Unavailable => "store",
            _ => return,
        };
        self.counts.refuse(Class::Weights(word), &refusal.message());
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadArtifactRequest>>,
    ) -> Result<Response<v1::UploadArtifactResponse>, Status> {
        let peer = Peer::of(request.extensions());
        let bringer = Bringer::Peer(peer);
        let caller = caller(request.extensions());
        let stated = request.extensions().get::<Stated>().copied();
        let mut parts = request.into_inner();
        let mut pace = Pace::begin(self.pace);
        let Some(Part::Header(header)) = pace.next(&mut parts).await? else {
            return Err(Status::invalid_argument("an upload begins with its header"));
        };
        let digest = convert::digest(&header.digest, "digest").map_err(bad_field)?;
        if stated.is_some_and(|Stated(content)| content != digest.0) {
            return Err(Refusal::OtherContent.into());
        }
        let store = self.store.clone();
        let all_the_same = !self.is_told(caller, &digest).await;
        let begun = blocking(move || match all_the_same {
            true => {
                store.upload_all_the_same(bringer, digest, header.size, header.offset).map(Some)
            }
            false => store.upload(bringer, digest, header.size, header.offset),
        });
        let Some(mut upload) = begun.await? else {
            return Ok(Response::new(v1::UploadArtifactResponse { size: header.size }));
        };
        // What may be the last waits for what comes next: at the end both are done by one turn on another thread.
        let mut last = Bytes::new();
        loop {
            let next = pace.next(&mut parts).await;
            if let Ok(None) = next {
                break;
            }
            let before = std::mem::take(&mut last);
            if !before.is_empty() {
                upload = written(upload, before).await?;
            }
            let Some(Part::Chunk(chunk)) = next? else {
                return Err(Status::invalid_argument("after the header come chunks"));
            };
            if upload.ends_with(&chunk) {
                last = chunk;
            } else {
                upload = written(upload, chunk).await?;
            }
        }
        let size = blocking(move || {
            upload.write(&last)?;
            upload.finish()
        });
        let size = size.await?;
        self.rights.note_brought(caller, digest);
        self.counts.uploaded(&digest, size, peer, caller.0);
        Ok(Response::new(v1::UploadArtifactResponse { size }))
    }

    async fn download(
        &self,
        request: Request<v1::DownloadArtifactRequest>,
    ) -> Result<Response<BoxStream<v1::DownloadArtifactResponse>>, Status> {
        let caller = caller(request.extensions());
        let who = Bringer::Peer(Peer::of(request.extensions()));
        let request = request.into_inner();
        let digest = convert::digest(&request.digest, "digest").map_err(bad_field)?;
        self.rights.check_weights(caller, &digest)?;
        let opened = match self.open(who, digest, request.offset).await? {
            Reading::Opened(opened) => opened,
            Reading::Read(chunk) => {
                self.store.read_for_others(&chunk);
                let chunk = (!chunk.is_empty()).then_some(v1::DownloadArtifactResponse { chunk });
                return Ok(Response::new(Box::pin(stream::iter(chunk.map(Ok)))));
            }
        };
        // Read only as fast as the client takes it; a stalled client holds no thread.
        let file = self.store.for_others(opened);
        let chunks = ReaderStream::with_capacity(file, PIECE_BYTES).map(|chunk| match chunk {
            Ok(chunk) => Ok(v1::DownloadArtifactResponse { chunk }),
            Err(error) => Err(match error.downcast::<ArtifactError>() {
                Ok(error) => error.into(),
                Err(error) => Status::internal(format!("cannot read it: {error}")),
            }),
        });
        Ok(Response::new(Box::pin(chunks)))
    }
}

impl Artifacts {
    async fn list(
        &self,
        request: Request<v1::ListArtifactsRequest>,
    ) -> Result<Response<BoxStream<v1::ListArtifactsResponse>>, Status> {
        // Or what is named would be told as if it was not, and what is one's own not at all.
        if !self.rights.are_known().await {
            return Err(Refusal::Busy.into());
        }
        let caller = caller(request.extensions());
        let listing = Listing::new(self.store.clone(), self.rights.clone(), caller);
        // A part is made when the one before is on its way.
        let lists = self.lists.clone();
        let parts = futures_util::stream::try_unfold(listing, move |mut listing| {
            let lists = lists.clone();
            async move {
                // It is never closed.
                let _turn = lists.acquire().await;
                blocking(move || Ok(listing.next().map(|part| (part, listing)))).await
            }
        });
        // Where there are many of others, most parts are empty.
        let told = parts.try_filter(|part| std::future::ready(!part.artifacts.is_empty()));
        Ok(Response::new(Box::pin(told)))
    }
}

/// Who has signed what is asked for.
fn caller(extensions: &Extensions) -> Caller {
    extensions.get().copied().unwrap_or_default()
}

async fn written(mut upload: Upload, chunk: Bytes) -> Result<Upload, Status> {
    blocking(move || upload.write(&chunk).map(|()| upload)).await
}

/// Runs something that touches the disk where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| Status::internal("the artifact store panicked"))??)
}

/// Holds an upload to its pace.
struct Pace {
    pace: Duration,
    until: Instant,
    /// What came since then was moved on.
    bytes: usize,
}

impl Pace {
    fn begin(pace: Duration) -> Self {
        Self { pace, until: Instant::now() + pace, bytes: 0 }
    }

    /// What comes next; `None` at the end.
    async fn next(
        &mut self,
        parts: &mut Streaming<v1::UploadArtifactRequest>,
    ) -> Result<Option<Part>, Status> {
        let message = match tokio::time::timeout_at(self.until, parts.message()).await {
            Ok(message) => message?,
            Err(_) => return Err(ArtifactError::Stalled.into()),
        };
        let Some(message) = message else { return Ok(None) };
        let part =
            message.part.ok_or_else(|| Status::invalid_argument("a message without a part"))?;
        if let Part::Chunk(chunk) = &part {
            self.bytes += chunk.len();
            if self.bytes >= UPLOAD_PACE_BYTES {
                *self = Self::begin(self.pace);
            }
        }
        Ok(Some(part))
    }
}

#[tonic::async_trait]
impl ArtifactService for Artifacts {
    async fn stat_artifact(
        &self,
        request: Request<v1::StatArtifactRequest>,
    ) -> Result<Response<v1::StatArtifactResponse>, Status> {
        let bringer = Bringer::Peer(Peer::of(request.extensions()));
        let caller = caller(request.extensions());
        let v1::StatArtifactRequest { digest, room, address } = request.into_inner();
        let digest = convert::digest(&digest, "digest").map_err(bad_field)?;
        let store = self.store.clone();
        let stat =
            blocking(move || Ok((store.size_of(&digest), store.part_size_of(&digest, bringer))));
        let (size, partial_size) = stat.await?;
        // Whoever may not have it may bring it all the same, and is told of what it brings itself only.
        let size = match size {
            Some(size) if self.is_told(caller, &digest).await => Some(size),
            _ => None,
        };
        let address = match size {
            Some(_) if address => self.address(bringer, caller, digest).await,
            _ => None,
        };
        Ok(Response::new(v1::StatArtifactResponse {
            stored: size.is_some(),
            size: size.unwrap_or(0),
            partial_size,
            room_bytes: room.then(|| self.store.room_bytes()),
            address: address.unwrap_or_default(),
        }))
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<v1::UploadArtifactRequest>>,
    ) -> Result<Response<v1::UploadArtifactResponse>, Status> {
        self.upload(request).await.inspect_err(|refusal| self.refuse(refusal))
    }

    type ListArtifactsStream = BoxStream<v1::ListArtifactsResponse>;

    async fn list_artifacts(
        &self,
        request: Request<v1::ListArtifactsRequest>,
    ) -> Result<Response<Self::ListArtifactsStream>, Status> {
        self.list(request).await.inspect_err(|refusal| self.refuse(refusal))
    }

    type DownloadArtifactStream = BoxStream<v1::DownloadArtifactResponse>;

    async fn download_artifact(
        &self,
        request: Request<v1::DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        self.download(request).await.inspect_err(|refusal| self.refuse(refusal))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
    use colearn_proto::v1::artifact_service_server::ArtifactServiceServer;
    use sha2::{Digest as _, Sha256};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
    use tonic::transport::{Channel, Endpoint};

    use super::*;
    use crate::disk::DiskReserve;
    use crate::limits::UPLOADS_OF_PEER;

    async fn client(dir: &Path, pace: Duration) -> ArtifactServiceClient<Channel> {
        let store = ArtifactStore::open(dir, 1 << 20, 1 << 20, DiskReserve::new(dir, 0)).unwrap();
        let rights = Rights::public(store.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = ArtifactServiceServer::new(Artifacts {
            lists: Artifacts::lists(),
            store,
            pulling: None,
            rights,
            presigned: None,
            pace,
            counts: Counts::default(),
        });
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        ArtifactServiceClient::new(Endpoint::from_shared(url).unwrap().connect().await.unwrap())
    }

    fn header(whole: &[u8], offset: u64) -> Part {
        let digest = Bytes::copy_from_slice(&Sha256::digest(whole));
        Part::Header(v1::UploadHeader { digest, size: whole.len() as u64, offset })
    }

    fn message(part: Part) -> v1::UploadArtifactRequest {
        v1::UploadArtifactRequest { part: Some(part) }
    }

    type Uploading = tokio::task::JoinHandle<Result<Response<v1::UploadArtifactResponse>, Status>>;

    /// Sends this and then nothing more, without an end.
    async fn stall(
        mut client: ArtifactServiceClient<Channel>,
        parts: Vec<Part>,
    ) -> (mpsc::Sender<v1::UploadArtifactRequest>, Uploading) {
        let (sender, sent) = mpsc::channel(4);
        let uploading =
            tokio::spawn(async move { client.upload_artifact(ReceiverStream::new(sent)).await });
        for part in parts {
            sender.send(message(part)).await.unwrap();
        }
        (sender, uploading)
    }

    #[tokio::test]
    async fn who_makes_no_progress_loses_its_place_and_can_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut client = client(dir.path(), Duration::from_millis(300)).await;
        let mut stalled = Vec::new();
        for number in 0..UPLOADS_OF_PEER as u8 {
            let whole = [number; 100];
            let part = Part::Chunk(Bytes::copy_from_slice(&whole[..40]));
            stalled.push(stall(client.clone(), vec![header(&whole, 0), part]).await);
        }
        // Nor do those who have not even sent what they bring, or who send a byte now and then.
        let silent = stall(client.clone(), Vec::new()).await;
        for (sender, uploading) in stalled.into_iter().chain([silent]) {
            let status = uploading.await.unwrap().unwrap_err();
            assert!(matches!(status.code(), Code::Aborted | Code::ResourceExhausted), "{status}");
            drop(sender);
        }
        let whole = [3; 100];
        let digest = Bytes::copy_from_slice(&Sha256::digest(whole));
        let asked = v1::StatArtifactRequest { digest, room: true, address: true };
        let there = client.stat_artifact(asked.clone()).await.unwrap().into_inner();
        assert_eq!(there.partial_size, 40);
        let rest = Part::Chunk(Bytes::copy_from_slice(&whole[40..]));
        let parts = [header(&whole, 40), rest].map(message);
        client.upload_artifact(tokio_stream::iter(parts)).await.unwrap();
        assert!(client.stat_artifact(asked).await.unwrap().into_inner().stored);
    }

    #[tokio::test]
    async fn a_byte_now_and_then_is_no_progress() {
        let dir = tempfile::tempdir().unwrap();
        let client = client(dir.path(), Duration::from_millis(200)).await;
        let whole = vec![1; 1 << 20];
        let (sender, uploading) = stall(client, vec![header(&whole, 0)]).await;
        // Until the node takes no more.
        while sender.send(message(Part::Chunk(Bytes::from_static(&[1])))).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let status = uploading.await.unwrap().unwrap_err();
        assert!(status.message().contains("no progress"), "{status}");
    }
}
