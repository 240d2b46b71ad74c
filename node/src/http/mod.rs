//! What is answered to plain HTTP.

pub(crate) mod tiles;
