//! The merge against its specification.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod files;
mod hostile;
mod properties;
mod reference;
mod threads;
mod vectors;
