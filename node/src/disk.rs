//! The disk space that must stay free, so that what was taken can always be completed.

use std::path::{Path, PathBuf};
#[cfg(test)]
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};

/// The space that is kept free on the disk of a folder.
#[derive(Clone, Debug)]
pub(crate) struct DiskReserve {
    dir: PathBuf,
    bytes: u64,
    /// What tests say is free.
    #[cfg(test)]
    pretended: Option<Arc<AtomicU64>>,
}

impl DiskReserve {
    pub(crate) fn new(dir: &Path, bytes: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            bytes,
            #[cfg(test)]
            pretended: None,
        }
    }

    /// As much of the disk of another folder.
    pub(crate) fn on(&self, dir: &Path) -> Self {
        Self { dir: dir.to_owned(), ..self.clone() }
    }

    /// A disk of which the test says how much is free.
    #[cfg(test)]
    pub(crate) fn pretended(bytes: u64, free: Arc<AtomicU64>) -> Self {
        Self { dir: PathBuf::new(), bytes, pretended: Some(free) }
    }

    /// The free and the reserved bytes, if there are fewer free than reserved: then the ledger does not grow.
    pub(crate) fn lacking(&self) -> Option<(u64, u64)> {
        // A disk that does not say how full it is will say so when it is written.
        let free = self.free()?;
        (free < self.bytes).then_some((free, self.bytes))
    }

    /// How many bytes weights may take: they leave twice the reserve, so that the ledger has room to grow in
    /// when they have taken all that they may. Any number where the disk does not say.
    pub(crate) fn for_weights(&self) -> u64 {
        match self.free() {
            Some(free) => free.saturating_sub(self.bytes.saturating_mul(2)),
            None => u64::MAX,
        }
    }

    /// How many bytes stay free.
    pub(crate) fn reserved(&self) -> u64 {
        self.bytes
    }

    /// How many bytes are free; `None` where the disk does not say.
    pub(crate) fn free(&self) -> Option<u64> {
        #[cfg(test)]
        if let Some(free) = &self.pretended {
            return Some(free.load(Ordering::Relaxed));
        }
        free_bytes(&self.dir)
    }
}

#[cfg(unix)]
fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}
