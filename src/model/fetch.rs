//! Fetching weights to a file: what the digest says or nothing, and going on where a transfer was cut off.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use colearn_audit::merges::{EXPORTED, WeightsFolder};
use colearn_contracts::{Digest, Model};
use colearn_net::{Address, Answer, Http, NetError, Trust};
use http_body_util::{BodyExt as _, Limited};

use super::Place;
use super::get::Bytes;

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a transfer goes on without having got further.
const TRIES: u32 = 5;
/// How much is read of a refusal.
const MAX_TOLD_BYTES: usize = 4096;
/// How much is read from a file at once.
const PIECE_BYTES: usize = 1 << 18;

/// Why there are no weights.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// They are not there.
    #[error(
        "{place} has not got the weights {digest}: a node may have let go of them (--keep-artifacts), and an \
         export has what it was made with (--artifacts); another node, or whoever took part, may have them"
    )]
    Missing {
        /// Where.
        place: String,
        /// Which.
        digest: Digest,
    },
    /// There are none at all.
    #[error(
        "{0} has a ledger and no weights; ask a node, or export with: colearn ledger export --artifacts"
    )]
    NoWeights(String),
    /// Others are there in their place.
    #[error("{place} has other bytes than the ledger says under {digest}; nothing was written")]
    WrongBytes {
        /// Where.
        place: String,
        /// Which they should be.
        digest: Digest,
    },
    /// A server is not reached, or the connection breaks.
    #[error(transparent)]
    Net(#[from] NetError),
    /// It answers something else.
    #[error("{url} gives no weights: {told}")]
    Answer {
        /// Where.
        url: String,
        /// What it says.
        told: String,
    },
    /// Another process is at it.
    #[error("another process is getting the same to {}", .0.display())]
    Busy(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl FetchError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// Whether it may work after a while.
    fn is_transient(&self) -> bool {
        matches!(self, Self::Net(NetError::Unreachable { .. }))
    }
}

/// Fetches a model's weights to a file, from whichever of a place's nodes has them. What is there already is
/// left alone if it is them.
pub(super) fn fetch(
    place: &Place,
    model: &Model,
    out: &Path,
    bytes: Bytes<'_>,
) -> Result<(), FetchError> {
    if has(out, model) {
        return Ok(());
    }
    let mut part = Part::open(out, model)?;
    let fetched = match place.folder() {
        Some(folder) => from_folder(folder, place, &mut part, out, bytes),
        None => from_any_node(place, &mut part, out, bytes),
    };
    if fetched.is_err() {
        part.tidy();
    }
    fetched
}

fn from_folder(
    folder: &Path,
    place: &Place,
    part: &mut Part<'_>,
    out: &Path,
    bytes: Bytes<'_>,
) -> Result<(), FetchError> {
    let folder = WeightsFolder::beside(folder);
    let folder = folder.ok_or_else(|| FetchError::NoWeights(place.to_string()))?;
    from_file(&folder.file(part.model.digest), place, part, bytes)?;
    match part.put(out)? {
        true => Ok(()),
        false => Err(part.wrong_bytes(&place.to_string())),
    }
}

fn from_any_node(
    place: &Place,
    part: &mut Part<'_>,
    out: &Path,
    bytes: Bytes<'_>,
) -> Result<(), FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(FetchError::io("fetch", &part.path))?;
    let mut failed = part.missing(&place.to_string());
    for url in place.urls() {
        match from_node(&runtime, url, part, out, bytes) {
            Ok(()) => return Ok(()),
            // That one has not got them says least.
            Err(error) if matches!(failed, FetchError::Missing { .. }) => failed = error,
            Err(_) => {}
        }
    }
    Err(failed)
}

/// Whether a file is these weights.
fn has(path: &Path, model: &Model) -> bool {
    File::open(path).is_ok_and(|file| {
        let sized = file.metadata().is_ok_and(|it| it.is_file() && it.len() == model.size);
        sized && colearn_merge::digest(&file).is_ok_and(|digest| digest == model.digest.0)
    })
}

fn from_file(
    path: &Path,
    place: &Place,
    part: &mut Part<'_>,
    bytes: Bytes<'_>,
) -> Result<(), FetchError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(part.missing(&place.to_string()));
        }
        Err(error) => return Err(FetchError::io("read", path)(error)),
    };
    part.restart()?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece).map_err(FetchError::io("read", path))?;
        if read == 0 {
            return Ok(());
        }
        if !part.take(&piece[..read])? {
            return Err(part.wrong_bytes(&place.to_string()));
        }
        bytes(part.size, part.model.size);
    }
}

fn from_node(
    runtime: &tokio::runtime::Runtime,
    url: &str,
    part: &mut Part<'_>,
    out: &Path,
    bytes: Bytes<'_>,
) -> Result<(), FetchError> {
    let address: Address = url.parse()?;
    let http = Http::new(&address, &Trust::of_process(), PATIENCE)?;
    loop {
        // What an earlier call has kept may be wrong, whatever this node sends.
        let kept = part.size;
        runtime.block_on(transfer(&http, part, bytes))?;
        if part.put(out)? {
            return Ok(());
        }
        if kept == 0 {
            return Err(part.wrong_bytes(url));
        }
    }
}

/// Transfers what is missing, going on after a break.
async fn transfer(http: &Http, part: &mut Part<'_>, bytes: Bytes<'_>) -> Result<(), FetchError> {
    let mut tries = 0;
    while part.size < part.model.size {
        let before = part.size;
        match transfer_once(http, part, bytes).await {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                tries = if part.size > before { 0 } else { tries + 1 };
                if tries == TRIES {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(50 << tries)).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn transfer_once(
    http: &Http,
    part: &mut Part<'_>,
    bytes: Bytes<'_>,
) -> Result<(), FetchError> {
    let Model { digest, size, .. } = *part.model;
    let (first, last) = (part.size, size - 1);
    let answer = http.get_range(&format!("/{EXPORTED}/{digest}"), first, last).await?;
    let range = answer.headers().get("content-range").and_then(|it| it.to_str().ok());
    let url = || http.address().url().to_owned();
    match answer.status().as_u16() {
        206 if range == Some(&format!("bytes {first}-{last}/{size}")) => {}
        // It has as many as it says, and others than these.
        206 | 416 => return Err(part.wrong_bytes(&url())),
        // Web servers may know of no ranges.
        200 => part.restart()?,
        404 => return Err(part.missing(&url())),
        // It may say what it wants: who asks, for one.
        status => {
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_TOLD_BYTES).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let told = Answer { status, headers: head.headers, body }.text();
            return Err(FetchError::Answer { url: url(), told: told.err().unwrap_or_default() });
        }
    }
    let broken = |reason: String| NetError::Unreachable { url: url(), reason };
    let mut body = answer.into_body();
    while part.size < size {
        let next = tokio::time::timeout(PATIENCE, body.frame()).await;
        let frame = match next {
            Err(_) => return Err(broken(format!("nothing for {PATIENCE:?}")).into()),
            Ok(None) => return Err(broken("the weights ended too early".to_owned()).into()),
            Ok(Some(Err(error))) => return Err(broken(error.to_string()).into()),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers are none.
        let Ok(data) = frame.into_data() else { continue };
        if !part.take(&data)? {
            return Err(part.wrong_bytes(&url()));
        }
        bytes(part.size, size);
    }
    Ok(())
}

/// What has come of some weights, in a file of its own beside where they are to be: the next call goes on from it.
struct Part<'a> {
    path: PathBuf,
    file: File,
    size: u64,
    model: &'a Model,
}

impl<'a> Part<'a> {
    fn open(out: &Path, model: &'a Model) -> Result<Self, FetchError> {
        if out.is_dir() {
            let source = io::Error::new(io::ErrorKind::IsADirectory, "it is a folder");
            return Err(FetchError::io("write", out)(source));
        }
        // Of which weights it is a part, its name says.
        let mut name: OsString = out.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:.16}.part", model.digest.to_string()));
        let path = out.with_file_name(name);
        let file = File::options().create(true).read(true).append(true).open(&path);
        let file = file.map_err(FetchError::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FetchError::Busy(out.to_owned())),
            Err(TryLockError::Error(error)) => return Err(FetchError::io("lock", &path)(error)),
        }
        let size = file.metadata().map_err(FetchError::io("read", &path))?.len();
        let mut part = Self { path, file, size, model };
        if size > model.size {
            part.restart()?;
        }
        Ok(part)
    }

    /// Takes what comes next, unless that is more than there is: `false`.
    fn take(&mut self, bytes: &[u8]) -> Result<bool, FetchError> {
        if bytes.len() as u64 > self.model.size - self.size {
            return Ok(false);
        }
        self.file.write_all(bytes).map_err(FetchError::io("write", &self.path))?;
        self.size += bytes.len() as u64;
        Ok(true)
    }

    fn restart(&mut self) -> Result<(), FetchError> {
        self.file.set_len(0).map_err(FetchError::io("write", &self.path))?;
        self.size = 0;
        Ok(())
    }

    /// Puts the file in its place, if these are the weights; else begins anew: `false`.
    fn put(&mut self, out: &Path) -> Result<bool, FetchError> {
        let found = colearn_merge::digest(&self.file);
        if found.map_err(FetchError::io("read", &self.path))? != self.model.digest.0 {
            self.restart()?;
            return Ok(false);
        }
        self.file.sync_all().map_err(FetchError::io("write", &self.path))?;
        let renamed = colearn_files::rename(&self.path, out).map_err(io::Error::from);
        renamed.map_err(FetchError::io("put in place", out))?;
        Ok(true)
    }

    /// Leaves nothing where nothing has come.
    fn tidy(&self) {
        if self.size == 0 {
            // What stays is taken up by the next call.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn missing(&self, place: &str) -> FetchError {
        FetchError::Missing { place: place.to_owned(), digest: self.model.digest }
    }

    /// Nobody goes on from what they began.
    fn wrong_bytes(&mut self, place: &str) -> FetchError {
        // What stays is looked at before it is used.
        let _ = self.restart();
        FetchError::WrongBytes { place: place.to_owned(), digest: self.model.digest }
    }
}
