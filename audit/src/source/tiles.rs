//! An exported ledger, or one that is served: bundles of entries, and the tiles of their hashes.

use std::path::PathBuf;

use colearn_ledger::note::from_bytes;
use colearn_ledger::{Checkpoint, Hash, Resource, SignedNote, TILE_WIDTH, Tiler};

#[cfg(feature = "http")]
use super::http::Client;
use super::{Source, SourceError, Stated, Trouble};

const HASH_BYTES: u64 = 32;
const CHECKPOINT: &str = "checkpoint";

/// A place that serves the read API's paths.
pub(super) enum Store {
    Dir(PathBuf),
    #[cfg(feature = "http")]
    Served(Client),
}

impl Store {
    /// The bytes under a path; `None` if there is nothing.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        match self {
            Self::Dir(dir) => {
                let path = dir.join(path);
                match std::fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(SourceError::Io { path, source }),
                }
            }
            #[cfg(feature = "http")]
            Self::Served(client) => client.get(path),
        }
    }
}

/// An exported ledger, or one that is served.
pub(super) struct Tiles {
    store: Store,
    checkpoint: Result<String, String>,
    /// What the checkpoint, not verified yet, says: partial bundles are named by it.
    size: u64,
    next: u64,
    /// What the hash tiles must be; `None` where they are not compared.
    tiler: Option<Tiler>,
    /// The first entry under the first hash tile that is not.
    wrong: Option<(u64, String)>,
}

impl Tiles {
    pub(super) fn new(store: Store) -> Result<Self, SourceError> {
        let checkpoint = match store.get(CHECKPOINT)? {
            Some(bytes) => from_bytes(bytes).map_err(|error| error.to_string()),
            None => Err("it is missing".to_owned()),
        };
        let stated = checkpoint
            .as_ref()
            .ok()
            .and_then(|note| Checkpoint::parse(SignedNote::parse(note).ok()?.text()).ok());
        let size = stated.map_or(0, |checkpoint| checkpoint.size);
        let tiler = Some(Tiler::default());
        Ok(Self { store, checkpoint, size, next: 0, tiler, wrong: None })
    }

    /// How many entries bundle `number` has.
    fn width(&self, number: u64) -> u64 {
        self.size.saturating_sub(number * TILE_WIDTH).min(TILE_WIDTH)
    }

    /// A tile or bundle, with how many it is of: the full one if the ledger has grown since and the
    /// partial one is gone.
    fn fetch(&self, resource: Resource) -> Result<Option<(Vec<u8>, u64)>, SourceError> {
        const FULL: u16 = TILE_WIDTH as u16;
        let (full, width) = match resource {
            Resource::Hashes { level, number, width } => {
                (Resource::Hashes { level, number, width: FULL }, width)
            }
            Resource::Entries { number, width } => {
                (Resource::Entries { number, width: FULL }, width)
            }
        };
        if let Some(bytes) = self.store.get(&resource.path())? {
            return Ok(Some((bytes, u64::from(width))));
        }
        Ok(self.store.get(&full.path())?.map(|bytes| (bytes, TILE_WIDTH)))
    }

    /// Checks that the hash tiles are those of these entries.
    fn check_hashes(&mut self, entries: &[Vec<u8>]) -> Result<(), Trouble> {
        let Some(mut tiler) = self.tiler.take() else { return Ok(()) };
        let mut wrong = None;
        let mut compare = |resource: Resource, bytes: &[u8]| {
            let Resource::Hashes { level, number, .. } = resource else { return Ok(()) };
            if wrong.is_some() {
                return Ok(());
            }
            let what = match self.fetch(resource)? {
                None => "is missing",
                Some((found, width)) if width * HASH_BYTES != found.len() as u64 => {
                    "has another length than its hashes"
                }
                Some((found, _)) if found.starts_with(bytes) => return Ok(()),
                Some(_) => "is not what its entries hash to",
            };
            let what = format!("{} {what}", resource.path());
            wrong = Some(((number * TILE_WIDTH) << (8 * level), what));
            Ok::<(), SourceError>(())
        };
        for entry in entries {
            tiler.push(entry, &mut compare)?;
        }
        if tiler.size() == self.size {
            tiler.finish(&mut compare)?;
        }
        self.tiler = Some(tiler);
        if self.wrong.is_none() {
            self.wrong = wrong;
        }
        Ok(())
    }

    /// The entries of a bundle, of which the tree has `width`; fewer if some are not there.
    fn bundle(&self, number: u64, width: u64) -> Result<Vec<Vec<u8>>, Trouble> {
        let resource = Resource::Entries { number, width: width as u16 };
        let Some((bytes, all)) = self.fetch(resource)? else { return Ok(Vec::new()) };
        let damaged = |at: usize, what: String| Trouble::Damaged {
            index: number * TILE_WIDTH + at as u64,
            what: format!("the bundle {} {what}", resource.path()),
        };
        let mut entries = Vec::new();
        let mut rest = &bytes[..];
        while (entries.len() as u64) < all && !rest.is_empty() {
            let entry = rest.split_first_chunk().and_then(|(length, rest)| {
                rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
            });
            let Some((entry, after)) = entry else {
                return Err(damaged(entries.len(), "is cut off".to_owned()));
            };
            entries.push(entry.to_vec());
            rest = after;
        }
        if !rest.is_empty() {
            let what = format!("has {} bytes behind its last entry", rest.len());
            return Err(damaged(entries.len() - 1, what));
        }
        entries.truncate(width as usize);
        Ok(entries)
    }
}

impl Source for Tiles {
    fn checkpoints(&mut self) -> Result<Vec<Result<Stated, String>>, SourceError> {
        let note = self.checkpoint.clone();
        let stated = note.map(|note| Stated { file: CHECKPOINT.to_owned(), note });
        Ok(vec![stated.map_err(|why| format!("{CHECKPOINT}: {why}"))])
    }

    fn begin(&mut self) -> Result<(), SourceError> {
        (self.next, self.tiler, self.wrong) = (0, Some(Tiler::default()), None);
        Ok(())
    }

    fn skip(&mut self, entries: u64) -> Result<(), Trouble> {
        if entries > 0 {
            // They begin with the first entry.
            (self.next, self.tiler) = (entries, None);
        }
        Ok(())
    }

    fn next_entries(&mut self, size: u64) -> Result<Vec<Vec<u8>>, Trouble> {
        if self.next >= size {
            return Ok(Vec::new());
        }
        let number = self.next / TILE_WIDTH;
        let mut entries = self.bundle(number, self.width(number))?;
        entries.drain(..((self.next % TILE_WIDTH) as usize).min(entries.len()));
        entries.truncate((size - self.next) as usize);
        self.next += entries.len() as u64;
        self.check_hashes(&entries)?;
        Ok(entries)
    }

    fn check_derived(&mut self) -> Result<Option<(u64, String)>, SourceError> {
        Ok(self.wrong.take())
    }

    fn leaves(&mut self, tile: u64) -> Result<Vec<Hash>, Trouble> {
        let entries = self.bundle(tile, TILE_WIDTH)?;
        Ok(entries.iter().map(|entry| Hash::leaf(entry)).collect())
    }
}
