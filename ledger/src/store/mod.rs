//! The log on a disk: the files that hold it, writing and recovering them, and reading them while
//! they grow.

pub(crate) mod anchor;
mod at;
pub(crate) mod check;
pub(crate) mod disk;
pub(crate) mod error;
pub(crate) mod export;
pub(crate) mod folder;
pub(crate) mod index;
pub(crate) mod journal;
mod keys;
pub(crate) mod ledger;
pub(crate) mod options;
pub(crate) mod published;
pub(crate) mod reader;
pub(crate) mod recovery;
mod shared;
pub(crate) mod syncer;
