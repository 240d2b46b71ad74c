#![doc = include_str!("../README.md")]

mod address;
pub mod blocking;
mod bound;
mod connect;
mod error;
mod http;
mod signed;
#[cfg(feature = "tls")]
mod tls;
mod trust;

pub use self::address::{Address, Fingerprint};
pub use self::connect::{Connector, Protocol, Stream};
pub use self::error::{NetError, TlsFault};
pub use self::http::{Answer, Body, Http};
pub use self::signed::{
    Asked, Authorization, CHANNEL_LABEL, Challenge, Channel, Content, Credential, Malformed,
    Signing, content_of,
};
pub use self::trust::{Identity, Trust};
