//! What is answered to plain HTTP.

pub(crate) mod artifact;
pub(crate) mod tiles;
