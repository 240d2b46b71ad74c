//! Weights in an object store: S3, Google Cloud Storage, Azure, and whatever speaks as they do.
//!
//! An object is there whole or not at all, and has its name only when the store has it durably. What has not come whole
//! lies in the node's folder, as everywhere.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use colearn_contracts::Digest;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::ClientConfigKey;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::signer::{Method, Signer};
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, RetryConfig, WriteMultipart,
};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _};
use tokio::runtime::Handle;
use tokio_util::io::StreamReader;

use super::elsewhere::{MARK, MAX_MARK_BYTES};
use super::places::Places;
use super::reaching::Reaching;
use super::{ArtifactError, Bringer, parse_digest};
use crate::config::{BucketAt, StoreKind};
use crate::limits::{STORE_CALLS, STORE_UPLOADS};

/// A store, and what signs addresses there.
pub(super) type Both = (Arc<dyn ObjectStore>, Arc<dyn Signer>);

pub(super) fn both<S: ObjectStore + Signer>(store: S) -> Both {
    let store = Arc::new(store);
    (store.clone(), store)
}

/// Google's builder would go to any address in the clear, and so tell its token to the network; others only where that is
/// said.
pub(super) fn encrypted(builder: GoogleCloudStorageBuilder) -> GoogleCloudStorageBuilder {
    let allowed = std::env::var("GOOGLE_ALLOW_HTTP").unwrap_or_else(|_| "false".to_owned());
    builder.with_config(GoogleConfigKey::Client(ClientConfigKey::AllowHttp), allowed)
}

/// What is brought in one piece; what is larger in parts of at least as much. S3 has no more than 10,000 parts.
pub(super) const PART_BYTES: u64 = 8 << 20;
const MAX_PARTS: u64 = 9_000;
/// How many parts are on their way at a time.
const PARTS_AT_ONCE: usize = 3;
/// How often the store is asked again, and for how long in all: whoever waits for it tries again itself.
const RETRIES: usize = 3;
const RETRY_TIME: Duration = Duration::from_secs(20);
/// How long a store may send nothing of what was asked for.
const SILENCE: Duration = Duration::from_secs(30);
/// How much is told of what a store says.
const MAX_TOLD: usize = 200;

/// The weights of one node in an object store; cheap to clone.
#[derive(Clone)]
pub(crate) struct Bucket(Arc<Inner>);

struct Inner {
    store: Arc<dyn ObjectStore>,
    /// Signs addresses for others.
    signer: Option<Arc<dyn Signer>>,
    prefix: Path,
    /// What drives it, whoever asks.
    runtime: Handle,
    /// So many may wait for it: each holds a thread, of those that also read the ledger.
    places: Places,
    /// The others wait until one of those is brought.
    bringing: Places,
    /// What is being removed, and must not be brought meanwhile: the removal could come last.
    removing: Mutex<BTreeSet<Digest>>,
    /// Under what there were other bytes when it was read: it can be brought again.
    wrong: Arc<Mutex<BTreeSet<Digest>>>,
}

impl Inner {
    fn new(store: Arc<dyn ObjectStore>, signer: Option<Arc<dyn Signer>>, prefix: Path) -> Self {
        Self {
            store,
            signer,
            prefix,
            runtime: Handle::current(),
            places: Places::new(STORE_CALLS),
            bringing: Places::new(STORE_UPLOADS),
            removing: Mutex::default(),
            wrong: Arc::default(),
        }
    }

    fn removing(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.removing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// Knows a store by the variables that its own tools read. Called where a runtime runs.
    ///
    /// # Errors
    /// Why it cannot be used, without what is secret.
    pub(super) fn new(at: &BucketAt) -> Result<Self, String> {
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_TIME,
            ..RetryConfig::default()
        };
        let both = match at.kind {
            StoreKind::S3 => AmazonS3Builder::from_env()
                .with_bucket_name(&at.bucket)
                .with_retry(retry)
                .with_http_connector(Reaching)
                .build()
                .map(both),
            StoreKind::Google => encrypted(GoogleCloudStorageBuilder::from_env())
                .with_bucket_name(&at.bucket)
                .with_retry(retry)
                .with_http_connector(Reaching)
                .build()
                .map(both),
            StoreKind::Azure => MicrosoftAzureBuilder::from_env()
                .with_container_name(&at.bucket)
                .with_retry(retry)
                .with_http_connector(Reaching)
                .build()
                .map(both),
        };
        Self::of(both.map_err(|error| told(&error))?, &at.prefix)
    }

    /// What stands behind a prefix in a store.
    ///
    /// # Errors
    /// If that is none.
    pub(super) fn of((store, signer): Both, prefix: &str) -> Result<Self, String> {
        let prefix = Path::parse(prefix).map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(Inner::new(store, Some(signer), prefix))))
    }

    fn path(&self, digest: &Digest) -> Path {
        self.0.prefix.clone().join(digest.to_string())
    }

    /// Waits for something that is done where the runtime is, for somebody, from any thread that may block.
    pub(super) fn run<T: Send + 'static>(
        &self,
        who: Bringer,
        work: impl Future<Output = Result<T, ArtifactError>> + Send + 'static,
    ) -> Result<T, ArtifactError> {
        let busy = || ArtifactError::Store("too many wait for it".to_owned());
        let _place = self.0.places.try_take(who).ok_or_else(busy)?;
        self.wait(work)
    }

    /// The same without a place: for what does not call the store.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ArtifactError>> + Send + 'static,
    ) -> Result<T, ArtifactError> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        self.0.runtime.spawn(async move { tell.send(work.await) });
        told.recv().unwrap_or_else(|_| Err(ArtifactError::Store("the node stops".to_owned())))
    }

    /// What a node has left there to say that these weights are its own; `None` where none has.
    pub(super) fn mark(&self) -> Result<Option<String>, ArtifactError> {
        let (store, path) = (self.0.store.clone(), self.0.prefix.clone().join(MARK));
        self.run(Bringer::Node, async move {
            let got = match store.get(&path).await {
                Ok(got) => got,
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(failed(&error)),
            };
            let (mut pieces, mut mark) = (got.into_stream(), Vec::new());
            while mark.len() < MAX_MARK_BYTES
                && let Some(piece) = pieces.next().await
            {
                mark.extend(piece.map_err(|error| failed(&error))?.iter().take(MAX_MARK_BYTES));
            }
            Ok(Some(String::from_utf8_lossy(&mark).trim().to_owned()))
        })
    }

    /// Leaves a mark there.
    pub(super) fn leave(&self, mark: &str) -> Result<(), ArtifactError> {
        let (store, path) = (self.0.store.clone(), self.0.prefix.clone().join(MARK));
        let mark = mark.to_owned();
        self.run(Bringer::Node, async move {
            store.put(&path, mark.into()).await.map(drop).map_err(|error| failed(&error))
        })
    }

    /// What is there: each digest, its size, and when it came.
    pub(super) fn list(&self) -> Result<Vec<(Digest, u64, SystemTime)>, ArtifactError> {
        let (store, prefix) = (self.0.store.clone(), self.0.prefix.clone());
        let listed = self.run(Bringer::Node, async move {
            store.list_with_delimiter(Some(&prefix)).await.map_err(|error| failed(&error))
        })?;
        // What somebody else has put there is nobody's artifact.
        let artifact = |object: object_store::ObjectMeta| {
            let digest = parse_digest(object.location.filename()?)?;
            Some((digest, object.size, SystemTime::from(object.last_modified)))
        };
        Ok(listed.objects.into_iter().filter_map(artifact).collect())
    }

    /// Brings a whole file. What is brought is read, and is the artifact or is not there.
    pub(super) fn put(
        &self,
        who: Bringer,
        file: std::fs::File,
        digest: Digest,
    ) -> Result<(), ArtifactError> {
        let inner = self.0.clone();
        let _brings = self.wait(async move { Ok(inner.bringing.take(who).await) })?;
        if self.0.removing().contains(&digest) {
            return Err(ArtifactError::Store("what was there is being removed".to_owned()));
        }
        let (store, path) = (self.0.store.clone(), self.path(&digest));
        self.run(who, async move {
            let mut file = File::from_std(file);
            file.rewind().await?;
            let size = file.metadata().await?.len();
            if size <= PART_BYTES {
                let mut whole = Vec::with_capacity(size as usize);
                file.read_to_end(&mut whole).await?;
                check(digest, Sha256::new_with_prefix(&whole))?;
                let put = store.put(&path, whole.into()).await;
                return put.map(drop).map_err(|error| failed(&error));
            }
            let part_bytes = PART_BYTES.max(size.div_ceil(MAX_PARTS)) as usize;
            let upload = store.put_multipart(&path).await.map_err(|error| failed(&error))?;
            let mut writer = WriteMultipart::new_with_chunk_size(upload, part_bytes);
            match bring(&mut file, digest, &mut writer, part_bytes).await {
                Ok(()) => writer.finish().await.map(drop).map_err(|error| failed(&error)),
                Err(error) => {
                    // What cannot be taken back now takes room there, and has no name.
                    if let Err(error) = writer.abort().await {
                        tracing::warn!(
                            error = told(&error),
                            "parts of an upload stay in the store"
                        );
                    }
                    Err(error)
                }
            }
        })
    }

    /// An address at which everybody who has it can read an artifact for so long; `None` where the store has none.
    pub(super) fn address(
        &self,
        who: Bringer,
        digest: Digest,
        life: Duration,
    ) -> Result<Option<String>, ArtifactError> {
        let Some(signer) = self.0.signer.clone() else { return Ok(None) };
        let path = self.path(&digest);
        self.run(who, async move {
            let signed = signer.signed_url(Method::GET, &path, life).await;
            signed.map(|url| Some(url.into())).map_err(|error| failed(&error))
        })
    }

    /// Reads an artifact of so many bytes from an offset on. It ends with an error, instead of the last piece, where it
    /// is not that long, or is read from its beginning and has another digest.
    pub(super) fn read(
        &self,
        who: Bringer,
        digest: Digest,
        size: u64,
        offset: u64,
    ) -> Result<Pin<Box<dyn AsyncRead + Send>>, ArtifactError> {
        let (store, path, prefix) =
            (self.0.store.clone(), self.path(&digest), self.0.prefix.clone());
        let got = self.run(who, async move {
            let range = (offset > 0).then_some(GetRange::Offset(offset));
            let options = GetOptions { range, ..GetOptions::default() };
            match store.get_opts(&path, options).await {
                Ok(got) => Ok(got),
                // Also a proxy says so, or a store without that bucket. One that lists what it has is there.
                Err(Error::NotFound { .. }) => match store.list(Some(&prefix)).next().await {
                    None | Some(Ok(_)) => Err(ArtifactError::Missing(digest)),
                    Some(Err(error)) => Err(failed(&error)),
                },
                Err(error) => Err(failed(&error)),
            }
        })?;
        let found = self.0.wrong.clone();
        let wrong = move |why: &str| {
            tracing::error!(%digest, why, "the artifact store has other bytes under a digest");
            found.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
        };
        let checked = checked(got.into_stream(), digest, size, offset, wrong);
        Ok(Box::pin(StreamReader::new(checked)))
    }

    /// Takes what has turned out to be other bytes since this was asked last.
    pub(super) fn take_wrong(&self) -> BTreeSet<Digest> {
        std::mem::take(&mut *self.0.wrong.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Copies a whole artifact of so many bytes to somewhere here, for the node itself.
    pub(super) fn fetch(
        &self,
        digest: Digest,
        size: u64,
        mut to: impl io::Write,
    ) -> Result<(), ArtifactError> {
        let mut from = self.read(Bringer::Node, digest, size, 0)?;
        loop {
            let (back, piece) = self.run(Bringer::Node, async move {
                let mut piece = BytesMut::with_capacity(1 << 20);
                let read = from.read_buf(&mut piece).await;
                read.map(|_| (from, piece)).map_err(|error| ArtifactError::Store(error.to_string()))
            })?;
            if piece.is_empty() {
                return Ok(());
            }
            to.write_all(&piece)?;
            from = back;
        }
    }

    /// Removes an artifact, if it is there, when there is time: what stays all the same is found there at the next start.
    pub(super) fn remove_later(&self, digest: Digest) {
        let removal = self.removal(digest);
        self.0.runtime.spawn(async move {
            if let Err(error) = removal.await {
                tracing::warn!(%digest, %error, "cannot be removed");
            }
        });
    }

    /// What removes an artifact, if it is there. As long as this lives nobody brings it.
    pub(super) fn removal(
        &self,
        digest: Digest,
    ) -> impl Future<Output = Result<(), ArtifactError>> + Send + use<> {
        let removing = Removing::begin(self.clone(), digest);
        async move {
            let Removing { bucket, digest } = &removing;
            match bucket.0.store.delete(&bucket.path(digest)).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(failed(&error)),
            }
        }
    }
}

/// As long as this lives, an artifact is being removed.
struct Removing {
    bucket: Bucket,
    digest: Digest,
}

impl Removing {
    fn begin(bucket: Bucket, digest: Digest) -> Self {
        bucket.0.removing().insert(digest);
        Self { bucket, digest }
    }
}

impl Drop for Removing {
    fn drop(&mut self) {
        self.bucket.0.removing().remove(&self.digest);
    }
}

/// Brings a file a part at a time, and sees that it is the artifact before it gets its name.
async fn bring(
    file: &mut File,
    digest: Digest,
    writer: &mut WriteMultipart,
    part_bytes: usize,
) -> Result<(), ArtifactError> {
    let mut hasher = Sha256::new();
    loop {
        let mut part = BytesMut::with_capacity(part_bytes);
        while part.len() < part_bytes && file.read_buf(&mut part).await? > 0 {}
        if part.is_empty() {
            break;
        }
        let part = part.freeze();
        hasher.update(&part);
        writer.wait_for_capacity(PARTS_AT_ONCE).await.map_err(|error| failed(&error))?;
        writer.put(part);
    }
    writer.wait_for_capacity(0).await.map_err(|error| failed(&error))?;
    check(digest, hasher)
}

fn check(expected: Digest, hasher: Sha256) -> Result<(), ArtifactError> {
    let found = Digest(hasher.finalize().into());
    match found == expected {
        true => Ok(()),
        false => Err(ArtifactError::WrongDigest { expected, found }),
    }
}

/// What is still to come, the digest of what came, where all of it is read, and how many bytes are missing.
type Begun = Option<(BoxStream<'static, Result<Bytes, Error>>, Option<Sha256>, u64)>;

/// What a store sends of an artifact of so many bytes, from an offset on: an error where it stalls, or where it is not
/// what it should be. That is told before the last piece, which whoever counts bytes does not read beyond.
fn checked(
    from: BoxStream<'static, Result<Bytes, Error>>,
    digest: Digest,
    size: u64,
    offset: u64,
    tell: impl Fn(&str) + Clone + Send + 'static,
) -> BoxStream<'static, io::Result<Bytes>> {
    let hasher = (offset == 0).then(Sha256::new);
    let begun: Begun = Some((from, hasher, size.saturating_sub(offset)));
    let wrong = move |why: String| {
        tell(&why);
        Some((Err(io::Error::new(io::ErrorKind::InvalidData, why)), None))
    };
    let next = move |begun: Begun| {
        let wrong = wrong.clone();
        async move {
            let (mut from, mut hasher, missing) = begun?;
            let bytes = match tokio::time::timeout(SILENCE, from.next()).await {
                Ok(Some(Ok(bytes))) => bytes,
                Ok(None) if missing == 0 => return None,
                Ok(None) => return wrong(format!("{digest} is shorter there than it is")),
                // As what it is: whoever reads tries again, and is not told that the disk cannot be read.
                Ok(Some(Err(error))) => return Some((Err(io::Error::other(failed(&error))), None)),
                Err(_) => {
                    let silent = ArtifactError::Store("it has stopped sending".to_owned());
                    return Some((Err(io::Error::other(silent)), None));
                }
            };
            let Some(missing) = missing.checked_sub(bytes.len() as u64) else {
                return wrong(format!("{digest} is longer there than it is"));
            };
            if let Some(hasher) = &mut hasher {
                hasher.update(&bytes);
            }
            if missing == 0
                && let Some(hasher) = hasher.take()
                && let Err(error) = check(digest, hasher)
            {
                return wrong(error.to_string());
            }
            Some((Ok(bytes), Some((from, hasher, missing))))
        }
    };
    stream::unfold(begun, next).boxed()
}

fn failed(error: &Error) -> ArtifactError {
    ArtifactError::Store(told(error))
}

/// What went wrong, for people: what stores answer repeats what was signed, and more.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    let mut all = error.to_string();
    while let Some(source) = cause.source() {
        cause = source;
        all = format!("{all} {cause}");
    }
    if let Some((_, rest)) = all.split_once("<Code>")
        && let Some((code, _)) = rest.split_once("</Code>")
        && code.chars().all(|it| it.is_ascii_alphanumeric())
    {
        return clean(code);
    }
    // Behind the status follows what the store says.
    if let Some((_, rest)) = all.split_once("status code: ") {
        return clean(rest.split(':').next().unwrap_or_default());
    }
    if all.contains("Server returned error response") {
        return "it tells of an error".to_owned();
    }
    clean(&cause.to_string())
}

fn clean(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|it| !it.is_control()).take(MAX_TOLD).collect()
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.0.prefix).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use object_store::memory::InMemory;

    use super::*;
    use crate::peer::Peer;

    fn digest(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    fn bucket() -> (Bucket, Arc<InMemory>) {
        let store = Arc::new(InMemory::new());
        (Bucket(Arc::new(Inner::new(store.clone(), None, Path::from("some/where")))), store)
    }

    fn file(bytes: &[u8]) -> std::fs::File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_brought_is_there_whole_or_not_at_all() {
        tokio::task::spawn_blocking(|| {
            let (bucket, _) = bucket();
            // In one piece, and in parts.
            let all = [vec![1; 10], vec![2; PART_BYTES as usize + 3]];
            for whole in &all {
                bucket.put(Bringer::Node, file(whole), digest(whole)).unwrap();
                let mut fetched = Vec::new();
                bucket.fetch(digest(whole), whole.len() as u64, &mut fetched).unwrap();
                assert_eq!(&fetched, whole);
                let cut = bucket.put(Bringer::Node, file(&whole[1..]), digest(whole));
                assert!(matches!(cut, Err(ArtifactError::WrongDigest { .. })), "{cut:?}");
            }
            let mut listed: Vec<_> = bucket.list().unwrap();
            listed.sort_by_key(|it| it.1);
            let listed: Vec<_> = listed.iter().map(|it| (it.0, it.1)).collect();
            assert_eq!(listed, all.each_ref().map(|it| (digest(it), it.len() as u64)));
            bucket.run(Bringer::Node, bucket.removal(digest(&all[0]))).unwrap();
            bucket.run(Bringer::Node, bucket.removal(digest(&all[0]))).unwrap();
            let gone = bucket.fetch(digest(&all[0]), 10, Vec::new());
            assert!(matches!(gone, Err(ArtifactError::Missing(_))), "{gone:?}");
        })
        .await
        .unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn other_bytes_under_a_digest_are_told_from_the_artifact() {
        let (bucket, store) = bucket();
        let expected = digest(b"weights");
        store.put(&bucket.path(&expected), Bytes::from_static(b"others!").into()).await.unwrap();
        let other = bucket.clone();
        let fetched = tokio::task::spawn_blocking(move || {
            (other.fetch(expected, 7, Vec::new()), other.fetch(expected, 6, Vec::new()))
        });
        let (fetched, longer) = fetched.await.unwrap();
        let whole = bucket.clone();
        let whole = tokio::task::spawn_blocking(move || whole.read(Bringer::Node, expected, 7, 0))
            .await
            .unwrap();
        // Who reads as many bytes as there should be is told all the same.
        let told = whole.unwrap().take(7).read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::InvalidData);
        assert!(matches!(&fetched, Err(ArtifactError::Store(why)) if why.contains("digest")));
        assert!(matches!(&longer, Err(ArtifactError::Store(why)) if why.contains("longer")));
        // It can be brought again.
        assert_eq!(bucket.take_wrong(), BTreeSet::from([expected]));
        assert!(bucket.take_wrong().is_empty());
        let tail = tokio::task::spawn_blocking(move || bucket.read(Bringer::Node, expected, 7, 3))
            .await
            .unwrap();
        let mut read = String::new();
        tail.unwrap().read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "ers!");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_is_brought_while_it_is_being_removed() {
        let (bucket, _) = bucket();
        let removal = bucket.removal(digest(b"weights"));
        let again = bucket.clone();
        let put = move || again.put(Bringer::Node, file(b"weights"), digest(b"weights"));
        let meanwhile = tokio::task::spawn_blocking(put.clone()).await.unwrap();
        assert!(matches!(&meanwhile, Err(ArtifactError::Store(why)) if why.contains("removed")));
        removal.await.unwrap();
        tokio::task::spawn_blocking(put).await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_so_many_wait_for_the_store() {
        let (bucket, _) = bucket();
        let all = STORE_CALLS.of_all;
        let held: Vec<_> = (0..all).map(|_| bucket.0.places.try_take(Bringer::Node)).collect();
        assert!(held.iter().all(Option::is_some));
        let other = bucket.clone();
        let busy = tokio::task::spawn_blocking(move || other.list().map(|it| it.len()));
        assert!(matches!(busy.await.unwrap(), Err(ArtifactError::Store(_))));
        drop(held);
        assert_eq!(tokio::task::spawn_blocking(move || bucket.list()).await.unwrap().unwrap(), []);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_so_many_are_brought_at_once_and_the_others_wait_without_a_place() {
        let (bucket, _) = bucket();
        let all = STORE_UPLOADS.of_all;
        let held: Vec<_> = (0..all).map(|_| bucket.0.bringing.try_take(Bringer::Node)).collect();
        assert!(held.iter().all(Option::is_some));
        let other = bucket.clone();
        let brought = tokio::task::spawn_blocking(move || {
            other.put(Bringer::Node, file(b"weights"), digest(b"weights"))
        });
        // Whatever else there is to do goes on.
        let other = bucket.clone();
        let listed = tokio::task::spawn_blocking(move || other.list()).await.unwrap();
        assert_eq!(listed.unwrap(), []);
        let all = STORE_CALLS.of_all;
        let free: Vec<_> = (0..all).map(|_| bucket.0.places.try_take(Bringer::Node)).collect();
        assert!(free.iter().all(Option::is_some));
        drop((held, free));
        brought.await.unwrap().unwrap();
    }

    /// Who brings as much as it may, and more, keeps nobody else from the store.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_member_has_not_all_places() {
        let (bucket, _) = bucket();
        let [one, other] = [1, 2].map(|it| Bringer::Peer(Peer::at([10, 0, 0, it].into())));
        let own = STORE_UPLOADS.of_peer;
        let held: Vec<_> = (0..own).map(|_| bucket.0.bringing.try_take(one)).collect();
        let put = |who, whole: &'static [u8]| {
            let bucket = bucket.clone();
            tokio::task::spawn_blocking(move || bucket.put(who, file(whole), digest(whole)))
        };
        let waits: Vec<_> = [&b"a"[..], b"b", b"c"].map(|whole| put(one, whole)).into();
        put(other, b"weights").await.unwrap().unwrap();
        let there = bucket.clone();
        let there = tokio::task::spawn_blocking(move || there.list()).await.unwrap().unwrap();
        assert_eq!(there.iter().map(|it| it.0).collect::<Vec<_>>(), [digest(b"weights")]);
        drop(held);
        for waits in waits {
            waits.await.unwrap().unwrap();
        }
    }

    #[test]
    fn what_a_store_answers_is_told_without_what_was_signed() {
        let body = "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>";
        let error = io::Error::other(format!("Error performing GET: {body}"));
        assert_eq!(told(&error), "SignatureDoesNotMatch");
        let begun = "Error performing GET: Server returned";
        for said in ["AKIA: signed", "<Code>AKIA signed</Code>"] {
            let error = format!("{begun} non-2xx status code: 403 Forbidden: {said}");
            assert_eq!(told(&io::Error::other(error)), "403 Forbidden");
        }
        let error = format!("{begun} error response: AKIA");
        assert_eq!(told(&io::Error::other(error)), "it tells of an error");
    }
}
