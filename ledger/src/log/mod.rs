//! The log as a structure: entries, the tree over them, proofs, notes and tiles. Nothing here knows
//! of files, threads or clocks, so that whoever verifies can run it anywhere.

pub(crate) mod builder;
pub(crate) mod edge;
pub(crate) mod entry;
pub(crate) mod export;
pub(crate) mod frontier;
pub(crate) mod hash;
pub mod note;
pub(crate) mod receipt;
pub(crate) mod tile;
pub mod tree;
pub(crate) mod verifiers;
