//! Talking to a node: a client that verifies what it is told, and the loop that runs a learner.

mod connection;
mod error;
mod memory;
mod run;

pub(crate) use connection::root_cause;
pub use connection::{Client, Submitted};
pub use error::ClientError;
pub use memory::Memory;
pub use run::{Event, Options, Summary, run};
