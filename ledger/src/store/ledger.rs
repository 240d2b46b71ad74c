//! The writing end of a ledger: opening and recovery, appending, committing.

use std::path::Path;
use std::sync::Arc;

use colearn_files::Lock;

use crate::log::entry::{Entry, Head, MAX_ENTRY_BYTES, TooLarge};
use crate::log::hash::Hash;
use crate::log::note::{Checkpoint, SignedCheckpoint, Signer};
use crate::log::tile::TILE_WIDTH;
use crate::log::tree;
use crate::store::anchor::{self, Anchor, Anchored};
use crate::store::error::Error;
use crate::store::folder;
use crate::store::journal::{Frames, Journal, JournalReader};
use crate::store::options::{KeysOf, Options};
use crate::store::reader::Reader;
use crate::store::recovery::{self, IndexUse, Recovery};
use crate::store::shared::Shared;
use crate::store::syncer::{self, Job, Sealed, Syncer};

/// How many entries are moved to the index at once. sled syncs what it writes, on the disk that the
/// journal waits for; and what is in memory only is read from the journal when a killed ledger opens.
const INDEX_STEP: u64 = 16 * TILE_WIDTH;

/// What opening found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The number of entries.
    pub size: u64,
    /// Bytes of an interrupted write that were cut off, or of entries with [`Options::drop_unanchored`]. No
    /// acknowledged entry was in them.
    pub torn_bytes: u64,
    /// Whether the index could be used.
    pub index: IndexUse,
    /// Which of the two anchor files held no checkpoint, and why; it was written anew. A crash may do
    /// that, and then nothing acknowledged is missing; damage may too, and then nobody can tell.
    pub lost_anchor: Option<String>,
}

/// What became of an appended entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The entry's index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Hash,
    /// The entry, encoded.
    pub bytes: Vec<u8>,
}

/// A ledger, open for appending. One process at a time.
pub struct Ledger {
    shared: Arc<Shared>,
    frames: Frames,
    syncer: Syncer,
    signer: Signer,
    cosigners: Vec<Signer>,
    segment_bytes: u64,
    keys_of: KeysOf,
    /// The head after everything appended, committed or not.
    head: Head,
    /// The last sealed checkpoint, durable or on its way.
    sealed: Option<Arc<SignedCheckpoint>>,
    /// Whether the signers are others than those of the last seal.
    resign: bool,
    /// Held, not read: dropping it lets the next process in. Last, so that it is given up only when
    /// the syncer's thread has ended.
    _lock: Lock,
}

impl Ledger {
    /// Opens the ledger in a folder, or begins an empty one, and recovers from whatever stopped
    /// it: cuts off an unfinished write, brings the index up to date or rebuilds it.
    ///
    /// # Errors
    /// If another process has it open, if the journal is damaged, shorter than or different from
    /// what the ledger has vouched for, or belongs to another key.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Opened), Error> {
        folder::create(dir)?;
        folder::create(&folder::journal(dir))?;
        let lock = folder::lock(dir)?;
        let anchored = match anchor::read(dir, options.signer.verifier()) {
            // Power may have failed while the very first anchor was written. Without entries there
            // is nothing that it could have vouched for.
            Err(Error::Foreign { .. }) if !JournalReader::from_start(dir).has_entry() => {
                Anchored::default()
            }
            read => read?,
        };
        let Anchored { newest: anchored, lost } = anchored;
        let checkpoint = anchored.as_ref().map(|signed| &signed.checkpoint);
        let recovery = recovery::recover(dir, &options, checkpoint)?;
        // Nothing is changed in the journal or the anchor before recovery has found them right: a
        // ledger that is refused stays as it was found, as evidence.
        let Recovery { index, state, head, end, torn_bytes, index_use } = recovery;
        let disk = options.disk;
        let journal = Journal::open(&folder::journal(dir), end, head.size, disk.clone())?;
        let anchor = Anchor::open(dir, anchored.as_ref(), disk)?;
        let shared = Arc::new(Shared::new(index, journal.segments(), state));
        let syncer = Syncer::start(journal, anchor, shared.clone());
        let mut ledger = Self {
            shared,
            frames: Frames::new(end),
            syncer,
            signer: options.signer,
            cosigners: options.cosigners,
            segment_bytes: options.segment_bytes,
            keys_of: options.keys_of,
            head,
            sealed: None,
            resign: false,
            _lock: lock,
        };
        // Entries that were written but never acknowledged count from here on. An empty ledger is
        // anchored too, so that there is never an entry without an anchor.
        ledger.commit()?;
        ledger.update_index()?;
        // Before the first entry one of the two was never written.
        let lost_anchor = lost.filter(|_| head.size > 0);
        Ok((ledger, Opened { size: head.size, torn_bytes, index: index_use, lost_anchor }))
    }

    /// A handle for reading.
    pub fn reader(&self) -> Reader {
        Reader(self.shared.clone())
    }

    /// What the next entry will follow.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The root over everything appended, durable or not: what the next seal will sign.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn root(&self) -> Result<Hash, Error> {
        tree::root(&*self.shared, self.head.size)
    }

    /// Appends an entry. It is neither durable nor visible to readers before it is committed.
    /// A time before the last entry's is raised to that. `keys` are what [`Options::keys_of`] gives
    /// for the payload; the caller knows them without decoding it.
    ///
    /// # Errors
    /// If it is too large.
    pub fn append(
        &mut self,
        time_ms: u64,
        payload: Vec<u8>,
        keys: Vec<Vec<u8>>,
    ) -> Result<Appended, Error> {
        // Only in debug builds, because decoding every payload once more is what the caller is to
        // be spared.
        debug_assert_eq!(keys, (self.keys_of)(&payload), "a rebuilt index would differ");
        let entry = Entry {
            index: self.head.size,
            parent: self.head.leaf,
            time_ms: time_ms.max(self.head.time_ms),
            payload,
        };
        let bytes = entry.encode();
        // The last thing that can fail: from here on the head, the frames and the tree change
        // together or not at all.
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(TooLarge { size: bytes.len() }.into());
        }
        let leaf = Hash::leaf(&bytes);
        let at = self.frames.push(&bytes);
        self.head = Head { size: entry.index + 1, leaf, time_ms: entry.time_ms };
        self.shared.state_mut().push(self.head, &keys, at, self.frames.end());
        Ok(Appended { index: entry.index, leaf, bytes })
    }

    /// Signs the checkpoint over everything appended and sends both on their way to the disk. The
    /// next batch can be appended meanwhile; acknowledge nothing before [`Sealed::wait`] returns.
    ///
    /// # Errors
    /// If a write or sync failed before: nothing more is taken then.
    pub fn seal(&mut self) -> Result<Sealed, Error> {
        self.seal_with(Syncer::seal)
    }

    /// The same, but it is durable when this returns, and sooner so than by [`Sealed::wait`] unless
    /// another batch is on its way. For who has nothing else to do meanwhile.
    ///
    /// # Errors
    /// If a write or sync failed, now or before. Nothing may be acknowledged then.
    pub fn seal_here(&mut self) -> Result<Sealed, Error> {
        let none_on_its_way =
            self.sealed.as_ref().is_none_or(|sealed| syncer::is_published(&self.shared, sealed));
        self.seal_with(if none_on_its_way { Syncer::seal_here } else { Syncer::seal })
    }

    fn seal_with(
        &mut self,
        sync: impl FnOnce(&Syncer, Job) -> Result<Sealed, Error>,
    ) -> Result<Sealed, Error> {
        let size = self.head.size;
        // Nothing new: no second signature and no second sync. After a change of signers there is, so
        // that the new key signs at once.
        if let Some(sealed) = &self.sealed
            && sealed.checkpoint.size == size
            && !self.resign
        {
            return self.syncer.seal_again(sealed.clone(), &self.shared);
        }
        let root = self.root()?;
        let origin = self.signer.verifier().name().to_owned();
        let checkpoint = Checkpoint { origin, size, root };
        let text = checkpoint.text();
        let cosignatures = self.cosigners.iter().map(|cosigner| cosigner.sign(&text, 0));
        let note = checkpoint.sign(&self.signer) + &cosignatures.collect::<String>();
        let signed = Arc::new(SignedCheckpoint { checkpoint, note });
        // Segments end between batches only, so that a batch is one write to one file.
        let full = u64::from(self.frames.end().offset) >= self.segment_bytes;
        let job = Job {
            frames: self.frames.take(full),
            roll: full.then_some(size),
            signed: signed.clone(),
        };
        (self.sealed, self.resign) = (Some(signed), false);
        sync(&self.syncer, job)
    }

    /// Has the checkpoints signed by another key from the next seal on, which signs even where
    /// nothing was appended.
    pub fn set_signers(&mut self, signer: Signer, cosigners: Vec<Signer>) {
        (self.signer, self.cosigners, self.resign) = (signer, cosigners, true);
    }

    /// The first entry that was appended under `key`, committed or not.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn find(&self, key: &[u8]) -> Result<Option<u64>, Error> {
        self.shared.find(key, 0)
    }

    /// Makes everything appended durable, signs the new checkpoint and makes that durable too.
    ///
    /// # Errors
    /// If a write or sync failed, now or before. Nothing may be acknowledged then.
    pub fn commit(&mut self) -> Result<Arc<SignedCheckpoint>, Error> {
        self.seal_here()?.wait()
    }

    /// Moves what is durable from memory to the index, once it is enough to be worth the writing. Not
    /// needed for durability itself, so it can wait until the acknowledgements are out.
    ///
    /// # Errors
    /// If sled fails; nothing is lost, the next open rebuilds the index.
    pub fn update_index(&mut self) -> Result<(), Error> {
        // Only what is durable: an index that is ahead of the anchor is thrown away when the ledger is
        // next opened.
        self.shared.move_to_index(self.reader().size(), INDEX_STEP)
    }

    /// Keeps bytes that describe the caller's state after the entries of `head`, which must be
    /// committed, so that the next open need not replay them. Derived, like the rest of the index.
    ///
    /// # Errors
    /// If sled fails.
    pub fn save_snapshot(&self, head: Head, bytes: &[u8]) -> Result<(), Error> {
        debug_assert!(head.size <= self.reader().size());
        self.shared.index.save_snapshot(head.size, head.leaf, bytes)
    }

    /// The last kept snapshot and the number of entries it covers, if it is whole and of this
    /// history.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let reader = self.reader();
        match self.shared.index.snapshot()? {
            // The leaf chains to all entries before it, so the same leaf means the same history.
            Some((size, leaf, bytes))
                if size > 0 && size <= reader.size() && reader.leaf(size - 1)? == leaf =>
            {
                Ok(Some((size, bytes)))
            }
            _ => Ok(None),
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // The index is only a convenience; what fails here is rebuilt.
        if self.shared.move_to_index(self.reader().size(), TILE_WIDTH).is_ok() {
            let _ = self.shared.index.flush();
        }
    }
}
