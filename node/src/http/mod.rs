//! What is answered to plain HTTP.

pub(crate) mod artifact;
pub(crate) mod health;
#[cfg(unix)]
pub(crate) mod network;
pub(crate) mod tiles;
