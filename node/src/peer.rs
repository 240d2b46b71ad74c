//! Who a request comes from.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use colearn_contracts::LearnerId;
use tonic::Extensions;

use crate::metrics::key_id;

/// Who a request comes from, as far as that is known: what may be had of a node is counted by this. All of whom
/// nothing is known are one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Peer(Known);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
enum Known {
    #[default]
    Nothing,
    Address(IpAddr),
    /// Where it has to say who it is.
    Key([u8; 32]),
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
        Self(Known::Address(address))
    }

    /// The same for all of a site, where it is known where they are and not who.
    pub(crate) fn site(self) -> Self {
        match self.0 {
            Known::Address(address) => Self(Known::Address(site(address))),
            Known::Nothing | Known::Key(_) => self,
        }
    }

    /// Whoever has this key, wherever that is.
    pub(crate) fn with_key(key: LearnerId) -> Self {
        Self(Known::Key(key.0))
    }

    /// Whether it is known who they are, and not only where.
    pub(crate) fn is_key(&self) -> bool {
        matches!(self.0, Known::Key(_))
    }

    /// Whether something is known of them.
    pub(crate) fn is_known(&self) -> bool {
        self.0 != Known::Nothing
    }

    /// Who it is, for people.
    pub(crate) fn described(&self) -> String {
        match self.0 {
            Known::Nothing => "unknown".to_owned(),
            Known::Address(address) => address.to_string(),
            Known::Key(key) => key_id(&LearnerId(key)),
        }
    }

    /// Whoever has this as a part of a file's name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mut v4, mut v6, mut key) = ([0; 4], [0; 16], [0; 32]);
        if text.is_empty() {
            Some(Self::default())
        } else if hex::decode_to_slice(text, &mut v4).is_ok() {
            Some(Self(Known::Address(IpAddr::from(v4))))
        } else if hex::decode_to_slice(text, &mut v6).is_ok() {
            Some(Self(Known::Address(IpAddr::from(v6))))
        } else {
            hex::decode_to_slice(text, &mut key).ok()?;
            Some(Self(Known::Key(key)))
        }
    }

    /// Who the request with these extensions comes from.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().copied().unwrap_or_default()
    }
}

/// Where an address is. Of IPv6 a network of 48 bits is handed out as easily as one of 64.
pub(crate) fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !((1 << (128 - 48)) - 1);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// As a part of a file's name; empty for whoever is not known.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Known::Nothing => Ok(()),
            Known::Address(IpAddr::V4(address)) => f.write_str(&hex::encode(address.octets())),
            Known::Address(IpAddr::V6(address)) => f.write_str(&hex::encode(address.octets())),
            Known::Key(key) => f.write_str(&hex::encode(key)),
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
        let with_key = Peer::with_key(LearnerId([7; 32]));
        for peer in [at("10.0.0.1"), at("2001:db8::1"), with_key, Peer::default()] {
            assert_eq!(Peer::parse(&peer.to_string()), Some(peer));
        }
        assert_eq!(Peer::parse("node"), None);
        let mut extensions = Extensions::new();
        assert_eq!(Peer::of(&extensions), Peer::default());
        extensions.insert(at("10.0.0.1"));
        assert_eq!(Peer::of(&extensions), at("10.0.0.1"));
    }
}
