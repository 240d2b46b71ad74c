//! The artifact store: one file an artifact, named by its digest, never half written.
//!
//! What is uploaded takes room as it arrives, and not when it is announced. When there is no more, what nobody
//! needs makes room, in the order of [`State::first_to_go`]; and where that is not enough whoever brings more is
//! refused, while everything else goes on.

#[cfg(feature = "object-store")]
mod bucket;
#[cfg(all(test, feature = "object-store"))]
#[allow(clippy::unwrap_used)]
mod clouds;
mod elsewhere;
mod keeping;
mod listing;
mod named;
#[cfg(feature = "object-store")]
mod places;
#[cfg(feature = "object-store")]
mod reaching;
mod shelf;
mod storage;
mod upload;
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use colearn_contracts::{Digest, ExperimentName};
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio_util::either::Either;
use tokio_util::io::InspectReader;
use tonic::{Code, Status};

use crate::disk::DiskReserve;
use crate::error::NodeError;
use crate::limits::{
    FOLLOWED_WITHIN, PART_LIFE, TAKEN_OVER_AFTER, UNNAMED_GRACE, UNNAMED_LIFE, UPLOAD_PACE,
    UPLOADS, UPLOADS_OF_PEER,
};
use crate::peer::Peer;

pub(crate) use self::elsewhere::{Kept, kept_at, note_place};
pub(crate) use self::keeping::keep;
pub(crate) use self::listing::Listing;
pub use self::shelf::{ArtifactKind, Lost, Shelf, Shelved};
use self::storage::Storage;
pub(crate) use self::storage::{Opened, Reading, Whole};
pub(crate) use self::upload::{Made, Upload};
use self::uses::{Naming, Uses};

/// Where unfinished uploads lie, in the store's folder.
const PARTS: &str = "partial";

/// Why an artifact was not stored or found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error("there is no artifact {0}")]
    Missing(Digest),
    #[error("an artifact has 1 to {limit} bytes here, this one {size}")]
    TooLarge { size: u64, limit: u64 },
    #[error(
        "the artifact store is full ({quota} bytes); what arrived is kept, go on when there is room, or ask \
         the node's operator for it"
    )]
    Full { quota: u64 },
    #[error(
        "the node's disk is nearly full; what arrived is kept, go on when there is room, or ask the node's \
         operator for it"
    )]
    DiskFull,
    #[error("artifact {0} is brought by another upload; try again in a second")]
    InProgress(Digest),
    #[error("too many uploads at once; try again in a second")]
    Busy,
    #[error("the upload begins at {found} but the kept part ends at {expected}; ask StatArtifact")]
    WrongOffset { found: u64, expected: u64 },
    #[error("more bytes arrived than the {0} announced")]
    TooLong(u64),
    #[error(
        "the upload ended early; what arrived is kept, go on from the partial_size of StatArtifact"
    )]
    Incomplete,
    #[error(
        "the upload made no progress for {} s; what arrived is kept, go on from the partial_size of \
         StatArtifact",
        UPLOAD_PACE.as_secs()
    )]
    Stalled,
    #[error("the bytes have the digest {found}, not {expected}; the upload is discarded")]
    WrongDigest { expected: Digest, found: Digest },
    #[error("the artifact store cannot be used: {0}")]
    Io(io::Error),
    #[error("the node's artifact store does not answer as it should: {0}; try again in a moment")]
    #[cfg_attr(
        not(feature = "object-store"),
        allow(dead_code, reason = "there is no store that could fail to answer")
    )]
    Store(String),
}

impl From<io::Error> for ArtifactError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Something else has filled the disk meanwhile.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}

impl From<ArtifactError> for Status {
    fn from(error: ArtifactError) -> Self {
        let code = match &error {
            ArtifactError::Missing(_) => Code::NotFound,
            ArtifactError::TooLarge { .. }
            | ArtifactError::TooLong(_)
            | ArtifactError::WrongDigest { .. } => Code::InvalidArgument,
            ArtifactError::Full { .. } | ArtifactError::DiskFull | ArtifactError::Busy => {
                Code::ResourceExhausted
            }
            ArtifactError::InProgress(_) | ArtifactError::Incomplete | ArtifactError::Stalled => {
                Code::Aborted
            }
            ArtifactError::WrongOffset { .. } => Code::OutOfRange,
            ArtifactError::Io(_) => Code::Internal,
            ArtifactError::Store(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// Who brings an artifact, or asks for one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Bringer {
    /// This node: it fetches what the ledger names.
    Node,
    /// Somebody who uploads.
    Peer(Peer),
}

/// What one brings of one artifact. Nobody goes on with what another has begun: so nobody's false bytes, and
/// nobody's silence, keep another from bringing it. The first that is whole is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct PartName {
    digest: Digest,
    bringer: Bringer,
}

impl PartName {
    fn parse(text: &str) -> Option<Self> {
        let (digest, bringer) = text.split_once('.').unwrap_or((text, ""));
        let bringer = match bringer {
            "node" => Bringer::Node,
            peer => Bringer::Peer(Peer::parse(peer)?),
        };
        Some(Self { digest: parse_digest(digest)?, bringer })
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bringer = match self.bringer {
            Bringer::Node => "node".to_owned(),
            Bringer::Peer(peer) => peer.to_string(),
        };
        let between = if bringer.is_empty() { "" } else { "." };
        write!(f, "{}{between}{bringer}", self.digest)
    }
}

/// A digest as it is spelled: 64 small hexadecimal digits.
pub(crate) fn parse_digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    let digest = Digest(digest);
    (digest.to_string() == text).then_some(digest)
}

/// The store of one node.
#[derive(Clone)]
pub(crate) struct ArtifactStore(Arc<Inner>);

struct Inner {
    /// Where what has not come whole lies.
    dir: PathBuf,
    /// Where the rest does.
    storage: Storage,
    max_bytes: u64,
    quota_bytes: u64,
    disk: DiskReserve,
    state: Mutex<State>,
    /// How many uploads, and how many files of its own, this process has begun.
    begun: AtomicU64,
    /// In how many entries it was looked what the ledger names.
    followed: watch::Sender<u64>,
    moved: Moved,
}

/// What was brought by others and read for others since this was opened.
#[derive(Default)]
struct Moved {
    uploads: AtomicU64,
    uploaded_bytes: AtomicU64,
    downloaded_bytes: AtomicU64,
}

/// How full the store is, and what it did since it was opened.
pub(crate) struct Standing {
    /// How many artifacts are stored.
    pub(crate) stored: usize,
    /// What they and unfinished uploads take.
    pub(crate) used_bytes: u64,
    /// What they may take.
    pub(crate) quota_bytes: u64,
    /// How many uploads of others are on their way.
    pub(crate) running: usize,
    /// How many of them came whole.
    pub(crate) uploads: u64,
    /// What was uploaded, whole or not.
    pub(crate) uploaded_bytes: u64,
    /// What was read for others.
    pub(crate) downloaded_bytes: u64,
}

/// What is there, and what it takes.
#[derive(Default)]
struct State {
    /// What is stored or unfinished, and what is promised.
    used: u64,
    /// What of that is not written yet.
    promised: u64,
    stored: BTreeMap<Digest, Stored>,
    parts: BTreeMap<PartName, Part>,
    /// What the ledger has named so far; `None` as long as not all of it was looked at.
    named: Option<Uses>,
    /// What is being put in its place now, and by how many: it is not removed, since the removal could come last.
    placing: BTreeMap<Digest, usize>,
    /// What of all that is stored only experiments name that have ended, and those need not show any more; empty where
    /// everything is to be kept.
    spare: BTreeSet<Digest>,
    /// What was named, held or brought since it was looked what can be let go of, while that is let go of.
    wanted: Option<BTreeSet<Digest>>,
    /// How many uploads each peer has running.
    running: BTreeMap<Peer, usize>,
}

struct Stored {
    size: u64,
    /// When it came, or was last submitted with.
    since: SystemTime,
}

/// An unfinished upload.
struct Part {
    size: u64,
    /// When it last grew.
    touched: SystemTime,
    /// The upload that writes it now.
    writer: Option<u64>,
    /// It is whole, and is being put in its place.
    is_whole: bool,
    /// Held while it is written, and taken before the state is locked: an upload that takes it over begins
    /// when the last write of the one before has ended.
    hand: Arc<Mutex<()>>,
}

/// What goes to make room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Discard {
    Stored(Digest),
    Part(PartName),
}

impl State {
    /// What goes first when `bringer` needs so many bytes:
    ///
    /// 1. what the ledger has not named within hours,
    /// 2. unfinished uploads that nobody goes on with,
    /// 3. what the ledger has not named yet, but for what came just now,
    /// 4. what experiments that have ended have left, where not all of it is to be kept,
    /// 5. what whoever brings most is uploading, if that is more than `bringer` would then have brought,
    ///
    /// and of each the oldest.
    ///
    /// What is stored goes only where that helps. For what nobody brings no upload goes.
    fn first_to_go(
        &self,
        now: SystemTime,
        bringer: Option<Bringer>,
        bytes: u64,
        stored_helps: bool,
    ) -> Option<Discard> {
        let unnamed = self.oldest_unnamed(now).filter(|_| stored_helps);
        if let Some((digest, age)) = unnamed
            && age >= UNNAMED_LIFE
        {
            return Some(Discard::Stored(digest));
        }
        let left = self.parts.iter().filter(|(_, part)| bringer.is_some() && part.is_left());
        if let Some((name, _)) = left.min_by_key(|(_, part)| part.touched) {
            return Some(Discard::Part(*name));
        }
        if let Some((digest, age)) = unnamed
            && age >= UNNAMED_GRACE
        {
            return Some(Discard::Stored(digest));
        }
        let spare = self.spare(now).filter(|_| stored_helps);
        if let Some((digest, _)) = spare.min_by_key(|(_, stored)| stored.since) {
            return Some(Discard::Stored(*digest));
        }
        let bringer = bringer?;
        let mut brought: BTreeMap<Bringer, u64> = BTreeMap::new();
        for (name, part) in &self.parts {
            *brought.entry(name.bringer).or_default() += part.size;
        }
        let own = brought.get(&bringer).copied().unwrap_or_default().saturating_add(bytes);
        let (most, _) =
            brought.into_iter().max_by_key(|(_, bytes)| *bytes).filter(|it| it.1 > own)?;
        let theirs =
            self.parts.iter().filter(|(name, part)| name.bringer == most && !part.is_whole);
        theirs.min_by_key(|(_, part)| part.touched).map(|(name, _)| Discard::Part(*name))
    }

    /// The oldest that the ledger has not named, and its age.
    fn oldest_unnamed(&self, now: SystemTime) -> Option<(Digest, Duration)> {
        let oldest = self.unnamed().min_by_key(|(_, stored)| stored.since);
        oldest.map(|(digest, stored)| (*digest, age(now, stored.since)))
    }

    /// What the ledger has not named: nothing before that is known.
    fn unnamed(&self) -> impl Iterator<Item = (&Digest, &Stored)> {
        let named = self.named.as_ref();
        let is_named = move |digest: &Digest| named.is_none_or(|named| named.has(digest));
        let is_unnamed = move |digest: &Digest| !is_named(digest) && !self.is_placing(digest);
        self.stored.iter().filter(move |(digest, _)| is_unnamed(digest))
    }

    /// What ended experiments have left, but for what came just now or is submitted with.
    fn spare(&self, now: SystemTime) -> impl Iterator<Item = (&Digest, &Stored)> {
        let spare = self.spare.iter().filter(|digest| !self.is_placing(digest));
        let stored = spare.filter_map(|digest| self.stored.get_key_value(digest));
        stored.filter(move |(_, stored)| age(now, stored.since) >= UNNAMED_GRACE)
    }

    /// How many bytes of what is stored can go, at most.
    fn stored_can_go(&self, now: SystemTime) -> u64 {
        let unnamed = self.unnamed().filter(|(_, stored)| age(now, stored.since) >= UNNAMED_GRACE);
        unnamed.chain(self.spare(now)).map(|(_, stored)| stored.size).sum()
    }

    /// The same of what has not come whole, for whoever brings this.
    fn parts_can_go(&self, but: Option<&PartName>) -> u64 {
        let others = self.parts.iter().filter(|(name, part)| Some(*name) != but && !part.is_whole);
        others.map(|(_, part)| part.size).sum()
    }

    /// It is put in its place from now on.
    fn begin_placing(&mut self, digest: Digest) {
        *self.placing.entry(digest).or_default() += 1;
    }

    /// It is there now, or will not be.
    fn end_placing(&mut self, digest: &Digest) {
        if let Some(count) = self.placing.get_mut(digest) {
            *count -= 1;
            if *count == 0 {
                self.placing.remove(digest);
            }
        }
    }

    fn is_placing(&self, digest: &Digest) -> bool {
        self.placing.contains_key(digest)
    }

    /// It was named, held or brought just now: it is not let go of.
    fn want(&mut self, digest: Digest) {
        if let Some(wanted) = &mut self.wanted {
            wanted.insert(digest);
        }
    }

    fn part_of(&mut self, name: &PartName, upload: u64) -> Option<&mut Part> {
        self.parts.get_mut(name).filter(|part| part.writer == Some(upload))
    }
}

impl Part {
    /// Whether this upload may write it, or take it over.
    fn is_free_for(&self, upload: Option<u64>) -> bool {
        let is_silent = || age(SystemTime::now(), self.touched) >= TAKEN_OVER_AFTER;
        self.writer.is_none() || self.writer == upload || is_silent()
    }

    /// Whether nobody goes on with it.
    fn is_left(&self) -> bool {
        self.writer.is_none()
    }
}

fn age(now: SystemTime, then: SystemTime) -> Duration {
    // A clock that was set back makes nothing old.
    now.duration_since(then).unwrap_or_default()
}

impl ArtifactStore {
    /// Opens a store that is a folder.
    #[cfg(test)]
    pub(crate) fn open(
        dir: &Path,
        max_bytes: u64,
        quota_bytes: u64,
        disk: DiskReserve,
    ) -> Result<Self, NodeError> {
        let (dir, storage) = (dir.to_owned(), Storage::Folder(dir.to_owned()));
        Self::open_with(Kept { dir, storage }, max_bytes, quota_bytes, disk)
    }

    /// Opens the store, removing unfinished uploads that are too old, and what this process was making when it
    /// ended.
    pub(crate) fn open_with(
        Kept { dir, storage }: Kept,
        max_bytes: u64,
        quota_bytes: u64,
        disk: DiskReserve,
    ) -> Result<Self, NodeError> {
        let io = |source| NodeError::Io { doing: format!("open {}", dir.display()), source };
        std::fs::create_dir_all(dir.join(PARTS)).map_err(io)?;
        let mut state = State::default();
        let now = SystemTime::now();
        for (digest, size, since) in storage.list().map_err(NodeError::artifacts)? {
            state.used += size;
            if let Some(digest) = digest {
                state.stored.insert(digest, Stored { size, since });
            }
        }
        for (name, size, touched) in files(&dir.join(PARTS)).map_err(io)? {
            match PartName::parse(&name) {
                Some(name) if age(now, touched) <= PART_LIFE => {
                    state.used += size;
                    state.parts.insert(name, Part::new(size, touched));
                }
                // What cannot be removed now is tried again at the next start.
                _ => drop(std::fs::remove_file(dir.join(PARTS).join(name))),
            }
        }
        Ok(Self(Arc::new(Inner {
            dir,
            storage,
            max_bytes,
            quota_bytes,
            disk,
            state: Mutex::new(state),
            begun: AtomicU64::new(0),
            followed: watch::Sender::new(0),
            moved: Moved::default(),
        })))
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.0.max_bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part_path(&self, name: &PartName) -> PathBuf {
        self.0.dir.join(PARTS).join(name.to_string())
    }

    fn next_number(&self) -> u64 {
        self.0.begun.fetch_add(1, Ordering::Relaxed)
    }

    /// How full it is, and what it did.
    pub(crate) fn standing(&self) -> Standing {
        let Moved { uploads, uploaded_bytes, downloaded_bytes } = &self.0.moved;
        let state = self.state();
        Standing {
            stored: state.stored.len(),
            used_bytes: state.used,
            quota_bytes: self.0.quota_bytes,
            running: state.running.values().sum(),
            uploads: uploads.load(Ordering::Relaxed),
            uploaded_bytes: uploaded_bytes.load(Ordering::Relaxed),
            downloaded_bytes: downloaded_bytes.load(Ordering::Relaxed),
        }
    }

    /// The largest artifact that could be stored now.
    pub(crate) fn room_bytes(&self) -> u64 {
        let state = self.state();
        self.room(&state, state.parts_can_go(None)).min(self.0.max_bytes)
    }

    /// How much could be brought of something, if what nobody needs goes, and so many bytes of what has not come whole.
    fn room(&self, state: &State, parts: u64) -> u64 {
        let stored = state.stored_can_go(SystemTime::now());
        let of_disk = if self.0.storage.is_here() { stored } else { 0 };
        let free = |of: u64, go: u64, taken: u64| {
            of.saturating_add(go).saturating_add(parts).saturating_sub(taken)
        };
        let by_quota = free(self.0.quota_bytes, stored, state.used);
        by_quota.min(free(self.0.disk.for_weights(), of_disk, state.promised))
    }

    /// Whether so many bytes more do not fit.
    fn lacks(&self, state: &State, bytes: u64) -> Option<ArtifactError> {
        if state.used.saturating_add(bytes) > self.0.quota_bytes {
            return Some(ArtifactError::Full { quota: self.0.quota_bytes });
        }
        let promised = state.promised.saturating_add(bytes);
        (promised > self.0.disk.for_weights()).then_some(ArtifactError::DiskFull)
    }

    /// Sets so many bytes aside for `bringer`, until they are [written](Self::wrote); for what nobody brings, and this
    /// node makes for its own convenience, no upload is cut off.
    fn take(
        &self,
        state: &mut State,
        bringer: Option<Bringer>,
        bytes: u64,
    ) -> Result<(), ArtifactError> {
        while let Some(full) = self.lacks(state, bytes) {
            // Nothing goes in vain.
            let parts = bringer.map_or(0, |_| state.parts_can_go(None));
            if self.room(state, parts) < bytes {
                return Err(full);
            }
            let helps = self.0.storage.is_here() || matches!(full, ArtifactError::Full { .. });
            let first = state.first_to_go(SystemTime::now(), bringer, bytes, helps);
            let Some(first) = first else { return Err(full) };
            match first {
                Discard::Stored(digest) if state.spare.contains(&digest) => {
                    tracing::info!(%digest, "let go of what an ended experiment has left, to make room");
                }
                Discard::Stored(_) | Discard::Part(_) => {
                    tracing::debug!(what = ?first, "discarded to make room");
                }
            }
            self.discard(state, first);
        }
        state.used += bytes;
        state.promised += bytes;
        Ok(())
    }

    /// So many bytes that were set aside are on the disk now, or never will be.
    fn wrote(&self, bytes: u64) {
        let mut state = self.state();
        state.promised = state.promised.saturating_sub(bytes);
    }

    fn discard(&self, state: &mut State, what: Discard) {
        let (path, size) = match what {
            Discard::Stored(digest) => (
                self.0.storage.file(&digest),
                state.stored.remove(&digest).map(|stored| stored.size),
            ),
            Discard::Part(name) => {
                (Some(self.part_path(&name)), state.parts.remove(&name).map(|part| part.size))
            }
        };
        // Not here, while the state is locked: a store may take its time.
        #[cfg(feature = "object-store")]
        if let (Discard::Stored(digest), Storage::Bucket(bucket)) = (what, &self.0.storage) {
            bucket.remove_later(digest);
        }
        if let Some(path) = path
            && let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot be removed");
        }
        state.used = state.used.saturating_sub(size.unwrap_or_default());
    }

    /// Removes what nobody goes on with and is too old, and more where the disk is so full that the ledger
    /// cannot grow.
    fn tidy(&self) {
        let mut state = self.state();
        let now = SystemTime::now();
        let old = |part: &Part| part.is_left() && age(now, part.touched) > PART_LIFE;
        let old: Vec<PartName> =
            state.parts.iter().filter(|(_, part)| old(part)).map(|(name, _)| *name).collect();
        for name in old {
            self.discard(&mut state, Discard::Part(name));
        }
        while self.0.disk.lacking().is_some()
            && let Some(first) =
                state.first_to_go(now, Some(Bringer::Node), 0, self.0.storage.is_here())
        {
            self.discard(&mut state, first);
        }
    }

    /// Learns what the ledger names besides, by experiment, and that so many entries were looked at.
    fn are_named(&self, new: impl IntoIterator<Item = Naming>, followed: u64) {
        let mut state = self.state();
        state.named.get_or_insert_default();
        for naming in new {
            for (digest, _) in &naming.named {
                state.want(*digest);
                state.spare.remove(digest);
            }
            state.named.get_or_insert_default().add(naming);
        }
        drop(state);
        self.0.followed.send_replace(followed);
    }

    /// Learns what only ended experiments name, and can go where there is no room for others.
    fn are_spare(&self, spare: BTreeSet<Digest>) {
        self.state().spare = spare;
    }

    /// Waits until so many entries were looked at, and a little longer than that can take; whether they were.
    pub(crate) async fn are_followed(&self, size: u64) -> bool {
        let mut followed = self.0.followed.subscribe();
        let there = followed.wait_for(|followed| *followed >= size);
        matches!(tokio::time::timeout(FOLLOWED_WITHIN, there).await, Ok(Ok(_)))
    }

    /// In which experiments the ledger names it; `None` if it does not, as far as that was looked at.
    pub(crate) fn experiments_of(&self, digest: &Digest) -> Option<Vec<ExperimentName>> {
        let state = self.state();
        let uses = state.named.as_ref()?.of(digest)?.iter().filter(|it| it.is_own);
        Some(uses.map(|it| it.experiment.clone()).collect())
    }

    /// The size of a stored artifact.
    pub(crate) fn size_of(&self, digest: &Digest) -> Option<u64> {
        match self.0.storage.file(digest) {
            Some(path) => std::fs::metadata(path).ok().map(|data| data.len()),
            None => {
                for wrong in self.0.storage.take_wrong() {
                    self.forget(&wrong);
                }
                self.state().stored.get(digest).map(|stored| stored.size)
            }
        }
    }

    /// The size of a stored artifact, which is about to be named: it is as if it had come now.
    pub(crate) fn hold(&self, digest: &Digest) -> Option<u64> {
        let mut state = self.state();
        state.want(*digest);
        if let Some(stored) = state.stored.get_mut(digest) {
            stored.since = SystemTime::now();
        }
        drop(state);
        self.size_of(digest)
    }

    /// How much is kept of what somebody has begun to bring.
    pub(crate) fn part_size_of(&self, digest: &Digest, bringer: Bringer) -> u64 {
        let name = PartName { digest: *digest, bringer };
        self.state().parts.get(&name).map_or(0, |part| part.size)
    }

    /// Begins or resumes an upload; `None` if the artifact is there already. It takes no room before it brings
    /// something.
    pub(crate) fn upload(
        &self,
        bringer: Bringer,
        digest: Digest,
        size: u64,
        offset: u64,
    ) -> Result<Option<Upload>, ArtifactError> {
        match self.size_of(&digest) == Some(size) {
            true => Ok(None),
            false => self.upload_all_the_same(bringer, digest, size, offset).map(Some),
        }
    }

    /// The same, be the artifact there or not: whoever brings it whole has it.
    pub(crate) fn upload_all_the_same(
        &self,
        bringer: Bringer,
        digest: Digest,
        size: u64,
        offset: u64,
    ) -> Result<Upload, ArtifactError> {
        if size == 0 || size > self.0.max_bytes {
            return Err(ArtifactError::TooLarge { size, limit: self.0.max_bytes });
        }
        let name = PartName { digest, bringer };
        let mut state = self.state();
        let part = state.parts.get(&name);
        if part.is_some_and(|part| !part.is_free_for(None)) {
            return Err(ArtifactError::InProgress(digest));
        }
        let kept = part.map_or(0, |part| part.size);
        if offset > kept || offset > size {
            return Err(ArtifactError::WrongOffset { found: offset, expected: kept });
        }
        let room = self.room(&state, state.parts_can_go(Some(&name))).saturating_add(kept);
        if size > room {
            return Err(self.lacks(&state, size - offset).unwrap_or(ArtifactError::DiskFull));
        }
        if let Bringer::Peer(peer) = bringer {
            let all: usize = state.running.values().sum();
            let own = state.running.entry(peer).or_default();
            if all >= UPLOADS || *own >= UPLOADS_OF_PEER {
                return Err(ArtifactError::Busy);
            }
            *own += 1;
        }
        drop(state);
        Ok(Upload::begin(self.clone(), name, size, offset))
    }

    /// An upload has ended.
    fn ended(&self, bringer: Bringer) {
        let Bringer::Peer(peer) = bringer else { return };
        let mut state = self.state();
        if let Some(running) = state.running.get_mut(&peer) {
            *running -= 1;
            if *running == 0 {
                state.running.remove(&peer);
            }
        }
    }

    /// Begins an artifact that this process makes, of so many bytes, whose digest is not known yet. Nobody's upload goes
    /// for it: where it fails members bring the same.
    pub(crate) fn make(&self, size: u64) -> Result<Made, ArtifactError> {
        if size == 0 || size > self.0.max_bytes {
            return Err(ArtifactError::TooLarge { size, limit: self.0.max_bytes });
        }
        self.take(&mut self.state(), None, size)?;
        let path = self.0.dir.join(PARTS).join(format!("made-{}", self.next_number()));
        Made::create(self.clone(), path, size)
    }

    /// Removes a stored artifact, if it is there and nobody [wants](Self::begin_letting_go) it or brings it just now; how
    /// many bytes it had.
    fn remove(&self, digest: &Digest) -> Result<Option<u64>, ArtifactError> {
        let mut state = self.state();
        if state.is_placing(digest)
            || state.wanted.as_ref().is_some_and(|wanted| wanted.contains(digest))
        {
            return Ok(None);
        }
        let Some(stored) = state.stored.remove(digest) else { return Ok(None) };
        let size = stored.size;
        // From here on nobody brings it to a store.
        let removal = self.0.storage.removal(*digest);
        // A file goes before anybody is told that it is there; a store may take its time.
        let locked = self.0.storage.is_here().then_some(state);
        let removed = removal();
        let mut state = locked.unwrap_or_else(|| self.state());
        let is_back = state.stored.contains_key(digest);
        if removed.is_err() && !is_back {
            state.stored.insert(*digest, stored);
        } else {
            state.used = state.used.saturating_sub(size);
        }
        removed.map(|()| Some(size))
    }

    /// As long as what this returns lives, what is named, held or brought is not [removed](Self::remove): it was looked
    /// before what can be let go of. One at a time.
    fn begin_letting_go(&self) -> LettingGo {
        self.state().wanted = Some(BTreeSet::new());
        LettingGo(self.clone())
    }

    /// It is not there any more.
    fn forget(&self, digest: &Digest) {
        let mut state = self.state();
        let size = state.stored.remove(digest).map_or(0, |stored| stored.size);
        state.used = state.used.saturating_sub(size);
    }

    /// What came of reading an artifact. One that has gone behind the store's back can be brought again.
    fn looked<T>(
        &self,
        digest: &Digest,
        looked: Result<T, ArtifactError>,
    ) -> Result<T, ArtifactError> {
        if let Err(ArtifactError::Missing(_)) = looked
            && self.size_of(digest).is_some()
        {
            tracing::warn!(%digest, "weights have gone from where they were stored");
            self.forget(digest);
        }
        looked
    }

    /// What is stored.
    fn stored(&self) -> Vec<Digest> {
        self.state().stored.keys().copied().collect()
    }

    /// What was opened, to be read for somebody else: what is read is counted.
    pub(crate) fn for_others(&self, opened: Opened) -> impl AsyncRead + Send + use<> {
        let store = self.clone();
        let opened = match opened {
            Opened::File(file) => Either::Left(tokio::fs::File::from_std(file)),
            Opened::Stream(stream) => Either::Right(stream),
        };
        InspectReader::new(opened, move |bytes: &[u8]| store.read_for_others(bytes))
    }

    /// Counts what is read for somebody else.
    pub(crate) fn read_for_others(&self, bytes: &[u8]) {
        self.0.moved.downloaded_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    /// Opens a stored artifact for somebody who reads it from an offset on.
    pub(crate) fn download(
        &self,
        who: Bringer,
        digest: &Digest,
        offset: u64,
    ) -> Result<Opened, ArtifactError> {
        self.looked(digest, self.0.storage.open(who, *digest, self.size_of(digest), offset))
    }

    /// Where else a stored artifact can be read for so long, by everybody who has that address.
    pub(crate) fn address(
        &self,
        who: Bringer,
        digest: &Digest,
        life: Duration,
    ) -> Result<Option<String>, ArtifactError> {
        self.0.storage.address(who, *digest, life)
    }

    /// A stored artifact as a file: one that is not here is fetched.
    pub(crate) fn whole(&self, digest: &Digest) -> Result<Whole, ArtifactError> {
        match &self.0.storage {
            Storage::Folder(_) => match self.download(Bringer::Node, digest, 0)? {
                Opened::File(file) => Ok(Whole::new(file, None)),
                Opened::Stream(_) => Err(ArtifactError::Missing(*digest)),
            },
            #[cfg(feature = "object-store")]
            Storage::Bucket(bucket) => {
                let size = self.size_of(digest).ok_or(ArtifactError::Missing(*digest))?;
                let mut made = self.make(size)?;
                self.looked(digest, bucket.fetch(*digest, size, &mut made))?;
                let file = made.reopened()?;
                Ok(Whole::new(file, Some(made)))
            }
        }
    }
}

/// What nobody needs is let go of.
struct LettingGo(ArtifactStore);

impl Drop for LettingGo {
    fn drop(&mut self) {
        self.0.state().wanted = None;
    }
}

/// The files of a folder: name, size and when each was last written.
fn files(dir: &Path) -> io::Result<Vec<(String, u64, SystemTime)>> {
    let mut files = Vec::new();
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        // Gone since, or nobody's to read: it takes no room of ours.
        let Ok(data) = file.metadata() else { continue };
        if data.is_file() {
            let name = file.file_name().to_string_lossy().into_owned();
            files.push((name, data.len(), data.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
        }
    }
    Ok(files)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
