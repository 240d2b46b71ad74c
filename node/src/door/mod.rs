//! Where the world comes in.

pub(crate) mod connections;
pub(crate) mod serve;
pub(crate) mod tls;
