//! The ledger backend for collective learning.

mod clock;
pub mod convert;
pub mod keys;
pub mod node;
pub mod record;
pub mod replay;
pub mod transaction;
