//! Who sends a request.

use std::net::IpAddr;

/// Who sends a request, as far as the connection tells. The door puts it among a request's extensions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Peer {
    /// The address at the other end; behind a proxy that is the proxy's.
    pub(crate) address: Option<IpAddr>,
}
