//! How a ledger is opened.

use std::sync::Arc;

use crate::log::note::Signer;
use crate::store::disk::{Disk, RealDisk};

/// Gives the keys an entry is to be found under, each at most 255 bytes, from its payload.
pub type KeysOf = fn(&[u8]) -> Vec<Vec<u8>>;

/// How a ledger is opened.
pub struct Options {
    /// Signs the checkpoints; its name is the ledger's origin.
    pub signer: Signer,
    /// Sign the checkpoints too, for readers that do not know `signer` yet.
    pub cosigners: Vec<Signer>,
    /// What the index can look entries up by.
    pub keys_of: KeysOf,
    /// A segment that has reached this size is followed by a new one. With a batch on top it must
    /// stay below 4 GiB, which is what a position can say.
    pub segment_bytes: u64,
    /// Whether entries behind the last signed checkpoint are cut off, though they are whole. They were never
    /// acknowledged. Alone a ledger keeps them, since nobody else could bring them again; where
    /// several agree on what comes next, whoever decides that brings them, and would bring them twice.
    pub drop_unanchored: bool,
    /// What durability rests on.
    pub disk: Arc<dyn Disk>,
    /// Told how many bytes of the journal are read, and of how many, while the index is rebuilt.
    pub progress: Option<Box<dyn Fn(u64, u64)>>,
}

impl Options {
    /// The defaults with this signer: no keys, segments of 64 MiB.
    pub fn new(signer: Signer) -> Self {
        Self {
            signer,
            cosigners: Vec::new(),
            keys_of: |_| Vec::new(),
            segment_bytes: 64 << 20,
            drop_unanchored: false,
            disk: Arc::new(RealDisk),
            progress: None,
        }
    }
}
