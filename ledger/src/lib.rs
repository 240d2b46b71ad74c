#![doc = include_str!("../README.md")]

mod anchor;
mod builder;
mod disk;
mod edge;
mod entry;
mod error;
mod export;
mod hash;
mod index;
mod journal;
mod ledger;
pub mod note;
mod reader;
mod receipt;
mod syncer;
mod tile;
pub mod tree;

pub use builder::{Forgotten, TreeBuilder};
pub use disk::{Disk, RealDisk};
pub use entry::{Broken, Entry, Head, MAX_ENTRY_BYTES};
pub use error::{Damage, Error};
pub use export::{Exporter, Tiler};
pub use hash::Hash;
pub use journal::{JournalEntry, JournalReader, Mark};
pub use ledger::{Appended, IndexUse, KeysOf, Ledger, Opened, Options, check_index};
pub use note::{Checkpoint, NoteError, SignedNote, Signer, Verifier};
pub use reader::{Reader, SignedCheckpoint};
pub use receipt::Receipt;
pub use syncer::Sealed;
pub use tile::{Resource, TILE_WIDTH};

/// Reads the last checkpoint a ledger folder vouches for, without opening the ledger.
///
/// # Errors
/// If there is none, or the files cannot be read.
pub fn anchored_checkpoint(
    dir: &std::path::Path,
    verifier: &Verifier,
) -> Result<SignedCheckpoint, Error> {
    anchor::read(dir, verifier)?.ok_or_else(|| Error::AnchorMissing { dir: dir.to_owned() })
}

/// The checkpoints in a folder's anchor files, verbatim and unverified.
///
/// # Errors
/// If a file is there but cannot be read.
pub fn anchored_notes(dir: &std::path::Path) -> Result<Vec<String>, Error> {
    anchor::notes(dir)
}
