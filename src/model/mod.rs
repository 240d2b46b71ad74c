//! The model out: what is in a file, getting it from where a ledger is, and what a ledger says of it.

mod fetch;
mod get;
mod json;
mod show;
mod verify;

pub use fetch::FetchError;
pub use get::{Beside, Bytes, GetError, Got, Progress, beside, get};
pub use show::{Kind, Shown, show};
pub use verify::{Use, Verified, VerifyError, verify};
