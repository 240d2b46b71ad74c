//! Where the world comes in.

pub(crate) mod serve;
