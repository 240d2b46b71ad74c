//! Who a request comes from.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use tonic::Extensions;

/// Who a request comes from, as far as that is known: what may be had of a node is counted by this. All of whom
/// nothing is known are one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Peer {
    address: Option<IpAddr>,
}

impl Peer {
    /// Whoever has this address. A network of IPv6 is one peer: its addresses cost nothing.
    pub(crate) fn at(address: IpAddr) -> Self {
        let address = match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            address @ IpAddr::V4(_) => address,
        };
        Self { address: Some(address) }
    }

    /// Whether something is known of them.
    pub(crate) fn is_known(&self) -> bool {
        self.address.is_some()
    }

    /// Whoever has this as a part of a file's name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mut v4, mut v6) = ([0; 4], [0; 16]);
        if text.is_empty() {
            Some(Self::default())
        } else if hex::decode_to_slice(text, &mut v4).is_ok() {
            Some(Self { address: Some(IpAddr::from(v4)) })
        } else {
            hex::decode_to_slice(text, &mut v6).ok()?;
            Some(Self { address: Some(IpAddr::from(v6)) })
        }
    }

    /// Who the request with these extensions comes from.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().copied().unwrap_or_default()
    }
}

/// As a part of a file's name; empty for whoever is not known.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => Ok(()),
            Some(IpAddr::V4(address)) => f.write_str(&hex::encode(address.octets())),
            Some(IpAddr::V6(address)) => f.write_str(&hex::encode(address.octets())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cost_nothing_are_one_peer() {
        let at = |text: &str| Peer::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
        assert_eq!(at("10.0.0.1").to_string(), "0a000001");
        assert_eq!(Peer::default().to_string(), "");
        for peer in [at("10.0.0.1"), at("2001:db8::1"), Peer::default()] {
            assert_eq!(Peer::parse(&peer.to_string()), Some(peer));
        }
        assert_eq!(Peer::parse("node"), None);
        let mut extensions = Extensions::new();
        assert_eq!(Peer::of(&extensions), Peer::default());
        extensions.insert(at("10.0.0.1"));
        assert_eq!(Peer::of(&extensions), at("10.0.0.1"));
    }
}
