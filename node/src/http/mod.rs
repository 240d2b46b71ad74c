//! What is answered to plain HTTP.

pub(crate) mod artifact;
#[cfg(unix)]
pub(crate) mod network;
pub(crate) mod tiles;
