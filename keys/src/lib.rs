#![doc = include_str!("../README.md")]

#[cfg(unix)]
mod agent;
mod command;
#[cfg(feature = "files")]
mod files;
mod key;
#[cfg(feature = "files")]
mod openssh;
#[cfg(feature = "files")]
mod passphrase;
mod place;
#[cfg(any(unix, feature = "files"))]
mod ssh;

#[cfg(unix)]
pub use self::agent::AgentKey;
pub use self::command::CommandKey;
#[cfg(feature = "files")]
pub use self::files::{
    KeyError, KeyFile, LockedKey, generate, load, load_or_create, read, save_new, save_new_locked,
};
pub use self::key::{Key, Signer, SignerError};
#[cfg(feature = "files")]
pub use self::passphrase::Passphrase;
pub use self::place::{Place, Wanted, time_limit};
