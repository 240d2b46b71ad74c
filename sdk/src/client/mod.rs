//! Talking to a node, believing what follows from its ledger, and the loop that runs a learner.

mod arriving;
mod connection;
mod creating;
mod direct;
mod elsewhere;
mod entries;
mod error;
mod followed;
mod in_time;
mod joining;
mod memory;
mod moving;
mod nodes;
#[cfg_attr(not(feature = "chain"), path = "on_chain/without.rs")]
mod on_chain;
mod patience;
mod receipts;
mod run;
mod signing;
mod silent;
mod status;
mod stored;
mod threads;
mod transfer;
mod updates;
mod watching;
mod witnesses;

/// What the client's methods return. Boxed, so that what they do is compiled here once: the state machine
/// of an `async fn` is compiled again in each crate that awaits it.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub use arriving::Destination;
#[cfg(feature = "chain")]
pub use colearn_light::{NoTrust, Trust as ChainTrust};
pub use colearn_net::{Address, Credential, Fingerprint, Identity, NetError, Trust as TlsTrust};
pub use connection::{Client, Described};
pub use creating::{CreateError, Created};
pub use entries::{Entries, Next};
pub use error::{ClientError, Evidence, Refused};
pub use followed::{Followed, Progress, Trust};
pub use memory::Memory;
pub use nodes::{Nodes, Suspicion};
pub use on_chain::ChainError;
#[cfg(feature = "chain")]
pub use on_chain::ProvenEnd;
pub use patience::Patience;
pub use receipts::Submitted;
pub use run::{Options, Prepared, Summary, prepare, run};
pub use status::{MemberProgram, NodeStatus};
pub use stored::{ArtifactRole, StoredArtifact, StoredArtifacts, UsedAs};
pub use watching::Watching;

pub use crate::participant::Event;
