//! The updates of a merged round, as far as they are here: in files where there is a folder for them, so that
//! not all of them are in memory at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use colearn_contracts::Digest;
use colearn_merge::Source;

use super::{ClientError, Destination};
use crate::weights::Weights;

/// Updates by their digests.
#[derive(Debug, Default)]
pub(super) struct Updates {
    dir: Option<PathBuf>,
    held: BTreeMap<Digest, Held>,
}

/// An update that is here.
#[derive(Clone, Debug)]
pub(super) enum Held {
    File(Arc<File>),
    Memory(Weights),
}

impl Source for Held {
    fn size(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => file.size(),
            Self::Memory(weights) => (&weights.bytes()[..]).size(),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_at(offset, buffer),
            Self::Memory(weights) => (&weights.bytes()[..]).read_at(offset, buffer),
        }
    }
}

impl Updates {
    /// Where they come to.
    pub(super) fn destination(&self) -> Destination {
        self.dir.clone().map_or(Destination::Memory, Destination::Folder)
    }

    /// In a folder, or in memory.
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, held: BTreeMap::new() }
    }

    /// An update, if it is here; perhaps from before a restart.
    pub(super) fn get(&mut self, digest: Digest) -> Option<Held> {
        if let Some(held) = self.held.get(&digest) {
            return Some(held.clone());
        }
        let path = self.path(digest)?;
        let file = File::open(&path).ok()?;
        // Nobody vouches for what lies there.
        colearn_merge::digest(&file).ok().filter(|found| *found == digest.0)?;
        let held = Held::File(Arc::new(file));
        self.held.insert(digest, held.clone());
        Some(held)
    }

    /// All of an update, if it is here.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn weights(&mut self, digest: Digest) -> Result<Option<Weights>, ClientError> {
        let file = match self.get(digest) {
            None => return Ok(None),
            Some(Held::Memory(weights)) => return Ok(Some(weights)),
            Some(Held::File(file)) => file,
        };
        let read = file.try_clone().and_then(Weights::in_file);
        let path = self.path(digest).unwrap_or_default();
        read.map(Some).map_err(|source| ClientError::Data { path, source })
    }

    /// Keeps an update.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn keep(&mut self, weights: Weights) -> Result<Held, ClientError> {
        let digest = weights.digest();
        let held = match (&self.dir, self.path(digest)) {
            // It came to where it is to be.
            (_, Some(path)) if weights.file().is_some() && path.exists() => {
                weights.file().map_or(Held::Memory(weights.clone()), |it| Held::File(it.clone()))
            }
            (Some(dir), Some(path)) => {
                let failed = |source| ClientError::Data { path: path.clone(), source };
                colearn_files::create_folder(dir)
                    .and_then(|()| colearn_files::replace_secret(&path, weights.bytes()))
                    .map_err(|error| failed(error.into()))?;
                Held::File(Arc::new(File::open(&path).map_err(failed)?))
            }
            (_, _) => Held::Memory(weights),
        };
        self.held.insert(digest, held.clone());
        Ok(held)
    }

    /// The round is over.
    pub(super) fn forget(&mut self) {
        self.held.clear();
        if let Some(dir) = &self.dir {
            // What stays takes room, and is looked at before it is used.
            let _ = std::fs::remove_dir_all(dir);
        }
    }

    fn path(&self, digest: Digest) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(digest.to_string()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_held_until_the_round_is_over_also_across_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Some(dir.path().join("updates"));
        let weights = Weights::new("some weights");
        for folder in [None, folder.clone()] {
            let mut updates = Updates::new(folder);
            assert!(updates.get(weights.digest()).is_none());
            updates.keep(weights.clone()).unwrap();
            let held = updates.weights(weights.digest()).unwrap().unwrap();
            assert_eq!(&held.bytes()[..], b"some weights");
        }
        let mut again = Updates::new(folder.clone());
        let held = again.weights(weights.digest()).unwrap().unwrap();
        assert_eq!(&held.bytes()[..], b"some weights");
        again.forget();
        assert!(again.get(weights.digest()).is_none());
        assert!(Updates::new(folder).get(weights.digest()).is_none());
    }

    /// One's own lies where it was trained, which is not for long.
    #[test]
    fn an_update_that_lies_elsewhere_is_kept_too() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, own) = (dir.path().join("updates"), dir.path().join("trained.weights"));
        std::fs::write(&own, "some weights").unwrap();
        let weights = Weights::open(&own).unwrap();
        Updates::new(Some(folder.clone())).keep(weights.clone()).unwrap();
        std::fs::remove_file(own).unwrap();
        let held = Updates::new(Some(folder)).weights(weights.digest()).unwrap().unwrap();
        assert_eq!(&held.bytes()[..], b"some weights");
    }

    #[test]
    fn a_file_that_holds_something_else_is_no_update() {
        let dir = tempfile::tempdir().unwrap();
        let weights = Weights::new("some weights");
        std::fs::write(dir.path().join(weights.digest().to_string()), "others").unwrap();
        assert!(Updates::new(Some(dir.path().to_owned())).get(weights.digest()).is_none());
    }
}
