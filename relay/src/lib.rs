#![doc = include_str!("../README.md")]

mod account;
mod clock;
mod deliverer;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fake;
mod proving;
mod rpc;
mod settings;
mod spending;
mod transaction;
mod wire;

pub use self::account::{Account, BadAccount};
pub use self::deliverer::{
    Delivered, Deliverer, HEADROOM, NOT_DELIVERED, NotDelivered, code_checksum,
};
pub use self::proving::{NotProven, Shown};
pub use self::rpc::{AccountState, BadServer, Done, Refusal, Rpc, RpcError, Status};
pub use self::settings::{Amount, BadSettings, GasPrice, Settings};
