#![cfg_attr(feature = "store", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "store"),
    doc = "An append-only log that can be checked, without the files that hold it: see the README."
)]

mod log;
#[cfg(feature = "store")]
mod store;

pub use log::builder::{Forgotten, TreeBuilder, TreeHashes};
pub use log::entry::{Broken, Entry, Head, MAX_ENTRY_BYTES, TooLarge};
pub use log::export::Tiler;
pub use log::frontier::Frontier;
pub use log::hash::Hash;
pub use log::note::{Checkpoint, NoteError, SignedCheckpoint, SignedNote, Signer, Verifier};
pub use log::receipt::Receipt;
pub use log::tile::{Resource, TILE_WIDTH};
pub use log::verifiers::Verifiers;
pub use log::{note, tree};

#[cfg(feature = "store")]
pub use store::{
    anchor::{AnchorFile, Held, anchor_files, anchored_checkpoint},
    check::IndexCheck,
    disk::{Disk, RealDisk},
    error::{Damage, Error},
    export::Exporter,
    folder::lock,
    index::INDEX_THREAD,
    journal::{JournalEntry, JournalReader, Mark},
    ledger::{Appended, Ledger, Opened},
    options::{KeysOf, Options},
    published::{publish, published},
    reader::Reader,
    recovery::IndexUse,
    syncer::Sealed,
};
