//! What is on its way into the store: brought by others, or made here.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use colearn_contracts::Digest;
use sha2::{Digest as _, Sha256};

use super::{ArtifactError, ArtifactStore, Bringer, Part, PartName, Stored};

impl Part {
    pub(super) fn new(size: u64, touched: SystemTime) -> Self {
        Self { size, touched, writer: None, is_whole: false, hand: Arc::default() }
    }
}

/// An upload in progress. What it has brought is kept when it ends early.
pub(crate) struct Upload {
    store: ArtifactStore,
    number: u64,
    part: PartName,
    size: u64,
    written: u64,
    hasher: Sha256,
    /// What it writes, from the first byte on.
    writing: Option<(File, Arc<Mutex<()>>)>,
}

impl Upload {
    pub(super) fn begin(store: ArtifactStore, part: PartName, size: u64, offset: u64) -> Self {
        let number = store.next_number();
        let hasher = Sha256::new();
        Self { store, number, part, size, written: offset, hasher, writing: None }
    }

    /// Whether it is whole with this chunk, as far as its size goes.
    pub(crate) fn ends_with(&self, chunk: &[u8]) -> bool {
        self.written + chunk.len() as u64 == self.size
    }

    /// Appends a chunk.
    pub(crate) fn write(&mut self, chunk: &[u8]) -> Result<(), ArtifactError> {
        let bytes = chunk.len() as u64;
        if self.written + bytes > self.size {
            return Err(ArtifactError::TooLong(self.size));
        }
        if bytes == 0 {
            return Ok(());
        }
        self.resume()?;
        let Some((file, hand)) = &mut self.writing else { return Ok(()) };
        let _held = hand.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut state = self.store.state();
            let lost = ArtifactError::InProgress(self.part.digest);
            state.part_of(&self.part, self.number).ok_or(lost)?;
            self.store.take(&mut state, Some(self.part.bringer), bytes)?;
            if let Some(part) = state.part_of(&self.part, self.number) {
                part.size += bytes;
                part.touched = SystemTime::now();
            }
        }
        let wrote = file.write_all(chunk);
        self.store.wrote(bytes);
        if let Err(error) = wrote {
            // So that what is kept is as long as is said. Where not even that goes, the digest will tell.
            let _ = file.set_len(self.written);
            let mut state = self.store.state();
            if let Some(part) = state.part_of(&self.part, self.number) {
                part.size -= bytes;
                state.used = state.used.saturating_sub(bytes);
            }
            return Err(error.into());
        }
        self.hasher.update(chunk);
        self.written += bytes;
        if let Bringer::Peer(_) = self.part.bringer {
            self.store.0.moved.uploaded_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes over what is kept, if there is something, up to where this goes on. A silent upload of the same
    /// peer's that has written it so far has lost it.
    fn resume(&mut self) -> Result<(), ArtifactError> {
        if self.writing.is_some() {
            return Ok(());
        }
        let hand = {
            let mut state = self.store.state();
            let part = match self.written {
                0 => {
                    let new = || Part::new(0, SystemTime::now());
                    Some(state.parts.entry(self.part).or_insert_with(new))
                }
                _ => state.parts.get_mut(&self.part),
            };
            // It can have gone since this was begun.
            let part = part.filter(|part| part.size >= self.written);
            let gone = ArtifactError::WrongOffset { found: self.written, expected: 0 };
            let part = part.ok_or(gone)?;
            if !part.is_free_for(Some(self.number)) {
                return Err(ArtifactError::InProgress(self.part.digest));
            }
            part.writer = Some(self.number);
            part.hand.clone()
        };
        let _held = hand.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.store.state();
        let lost = ArtifactError::InProgress(self.part.digest);
        let kept = state.part_of(&self.part, self.number).ok_or(lost)?.size;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.store.part_path(&self.part))?;
        file.set_len(self.written)?;
        state.used = state.used.saturating_sub(kept - self.written);
        if let Some(part) = state.part_of(&self.part, self.number) {
            part.size = self.written;
            // One that was being put in its place and is taken over is not whole any more.
            part.is_whole = false;
        }
        drop(state);
        let kept = self.written.min(1 << 18) as usize;
        let mut buffer = vec![0; kept];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            self.hasher.update(&buffer[..read]);
        }
        self.writing = Some((file, hand.clone()));
        Ok(())
    }

    /// Checks the digest and puts the artifact in its place, durably.
    pub(crate) fn finish(self) -> Result<u64, ArtifactError> {
        let (store, bringer) = (self.store.clone(), self.part.bringer);
        let size = self.place()?;
        if let Bringer::Peer(_) = bringer {
            store.0.moved.uploads.fetch_add(1, Ordering::Relaxed);
        }
        Ok(size)
    }

    fn place(mut self) -> Result<u64, ArtifactError> {
        if self.written < self.size {
            return Err(ArtifactError::Incomplete);
        }
        // All may have been kept.
        self.resume()?;
        let Some((file, hand)) = self.writing.take() else { return Err(ArtifactError::Incomplete) };
        let _held = hand.lock().unwrap_or_else(PoisonError::into_inner);
        let (part, expected) = (self.store.part_path(&self.part), self.part.digest);
        let found = Digest(std::mem::take(&mut self.hasher).finalize().into());
        let is_there = self.store.size_of(&expected) == Some(self.size);
        {
            let mut state = self.store.state();
            let lost = ArtifactError::InProgress(expected);
            state.want(expected);
            let kept = state.part_of(&self.part, self.number).ok_or(lost)?;
            if found != expected || is_there {
                // Of no use, or here already: made here or brought by another meanwhile.
                let size = kept.size;
                state.parts.remove(&self.part);
                state.used = state.used.saturating_sub(size);
                std::fs::remove_file(&part)?;
                return match found == expected {
                    true => Ok(self.size),
                    false => Err(ArtifactError::WrongDigest { expected, found }),
                };
            }
            kept.is_whole = true;
            state.begin_placing(expected);
        }
        let placed = self.store.0.storage.place(self.part.bringer, &file, &part, expected);
        let mut state = self.store.state();
        state.end_placing(&expected);
        if let Err(error) = placed {
            if let Some(part) = state.part_of(&self.part, self.number) {
                part.is_whole = false;
            }
            return Err(error);
        }
        state.parts.remove(&self.part);
        state.want(expected);
        let stored = Stored { size: self.size, since: SystemTime::now() };
        if let Some(before) = state.stored.insert(expected, stored) {
            state.used = state.used.saturating_sub(before.size);
        }
        Ok(self.size)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut state = self.store.state();
        if let Some(part) = state.part_of(&self.part, self.number) {
            part.writer = None;
            part.touched = SystemTime::now();
            if part.size == 0 {
                state.parts.remove(&self.part);
                // What cannot be removed now is empty, and is removed at a later start.
                let _ = std::fs::remove_file(self.store.part_path(&self.part));
            }
        }
        drop(state);
        self.store.ended(self.part.bringer);
    }
}

/// An artifact that this process makes. Thrown away unless it is [kept](Made::keep).
pub(crate) struct Made {
    store: ArtifactStore,
    path: PathBuf,
    size: u64,
    /// What of the bytes that were set aside is not written yet.
    promised: u64,
    file: Option<File>,
}

impl Made {
    /// Begins one, for which so many bytes were set aside.
    pub(super) fn create(
        store: ArtifactStore,
        path: PathBuf,
        size: u64,
    ) -> Result<Self, ArtifactError> {
        // From here on dropping it gives the room back.
        let mut made = Self { store, path, size, promised: size, file: None };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        made.file = Some(options.open(&made.path)?);
        Ok(made)
    }

    /// What was written, to be read.
    #[cfg(feature = "object-store")]
    pub(super) fn reopened(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Puts it in its place, durably, under the digest of what was written.
    pub(crate) fn keep(mut self, digest: Digest) -> Result<(), ArtifactError> {
        let Some(file) = &self.file else { return Ok(()) };
        self.store.state().want(digest);
        if self.store.size_of(&digest).is_some() {
            return Ok(());
        }
        self.store.state().begin_placing(digest);
        let placed = self.store.0.storage.place(Bringer::Node, file, &self.path, digest);
        let size = file.metadata().map_or(self.size, |data| data.len());
        let mut state = self.store.state();
        state.end_placing(&digest);
        placed?;
        state.want(digest);
        state.promised = state.promised.saturating_sub(self.promised);
        state.used = state.used.saturating_sub(self.size).saturating_add(size);
        if let Some(before) = state.stored.insert(digest, Stored { size, since: SystemTime::now() })
        {
            state.used = state.used.saturating_sub(before.size);
        }
        drop(state);
        (self.size, self.promised, self.file) = (0, 0, None);
        Ok(())
    }
}

impl io::Write for Made {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Ok(0) };
        let wrote = file.write(bytes)?;
        let kept = self.promised.min(wrote as u64);
        self.promised -= kept;
        self.store.wrote(kept);
        Ok(wrote)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // What cannot be removed now is removed at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
        self.store.wrote(self.promised);
        let mut state = self.store.state();
        state.used = state.used.saturating_sub(self.size);
    }
}
