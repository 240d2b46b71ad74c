//! Where a server is, and by which certificate it is known.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use sha2::{Digest as _, Sha256};

use crate::NetError;

/// The SHA-256 of a certificate (DER), as `openssl x509 -fingerprint -sha256` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = NetError;

    /// Reads `sha256:` and 64 hex digits, in either case and with colons between them or not.
    fn from_str(text: &str) -> Result<Self, NetError> {
        let bad = || NetError::Fingerprint(text.to_owned());
        let digits = text.strip_prefix("sha256:").ok_or_else(bad)?.replace(':', "");
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
        Ok(Self(bytes))
    }
}

/// Where a server is: `http://host:port` or `https://host:port`, with a path before everything that it serves
/// where there is one. `#sha256:...` behind an https address is the certificate that it shows: with it nobody
/// else has to vouch for the server.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    /// Without a slash at the end.
    url: String,
    uri: Uri,
    pin: Option<Fingerprint>,
}

impl Address {
    /// The address, without the fingerprint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same for programs.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The certificate that it has to show.
    pub fn pin(&self) -> Option<Fingerprint> {
        self.pin
    }

    /// Whether it is spoken to with TLS.
    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether it is on this machine: its name or address alone says so.
    pub fn is_loopback(&self) -> bool {
        let host = self.uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = bare.trim_end_matches('.');
        name.eq_ignore_ascii_case("localhost")
            || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    }
}

impl FromStr for Address {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let bad = || NetError::Address(text.to_owned());
        let (base, pin) = match text.trim().split_once('#') {
            None => (text.trim(), None),
            Some((base, pin)) => (base, Some(pin.parse()?)),
        };
        let url = match base.split_once("://") {
            None => format!("http://{base}"),
            Some(("http" | "https", _)) => base.to_owned(),
            Some(_) => return Err(bad()),
        };
        let url = url.trim_end_matches('/').to_owned();
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') {
            return Err(NetError::UserInAddress);
        }
        // What stands behind the host and is no port would be passed over in silence.
        let port = authority.as_str().rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let is_port = port.is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
        if uri.host().is_none_or(str::is_empty) || !is_port || uri.query().is_some() {
            return Err(bad());
        }
        if pin.is_some() && uri.scheme_str() != Some("https") {
            return Err(NetError::PinWithoutTls(text.to_owned()));
        }
        Ok(Self { url, uri, pin })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pin {
            None => f.write_str(&self.url),
            Some(pin) => write!(f, "{}#{pin}", self.url),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        let hex = "0a".repeat(32);
        let colons = vec!["0A"; 32].join(":");
        for (text, shown) in [
            ("host:7400", "http://host:7400".to_owned()),
            (" http://[::1]:7400/ ", "http://[::1]:7400".to_owned()),
            ("https://host", "https://host".to_owned()),
            ("https://host/exported/", "https://host/exported".to_owned()),
            (&format!("https://host:1#sha256:{colons}"), format!("https://host:1#sha256:{hex}")),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse::<Address>().unwrap(), address);
        }
        for bad in [
            "",
            "ftp://host",
            "http://",
            "http://a b",
            "http://:1",
            "a:74000",
            "a:0",
            "http://a/?b",
        ] {
            assert!(matches!(bad.parse::<Address>(), Err(NetError::Address(_))), "{bad}");
        }
        let named = "https://ann:secret@host".parse::<Address>().unwrap_err();
        assert!(named == NetError::UserInAddress && !named.to_string().contains("secret"));
        let pinned = format!("http://host:1#sha256:{hex}").parse::<Address>();
        assert!(matches!(pinned, Err(NetError::PinWithoutTls(_))));
        for bad in ["https://h#", "https://h#sha256:00", "https://h#md5:00"] {
            assert!(matches!(bad.parse::<Address>(), Err(NetError::Fingerprint(_))), "{bad}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        let is = |text: &str| text.parse::<Address>().unwrap().is_loopback();
        assert!(is("localhost:1") && is("127.9.9.9") && is("https://[::1]:7400"));
        assert!(is("LOCALHOST.:1") && is("[::ffff:127.0.0.1]:1"));
        assert!(!is("10.0.0.1") && !is("localhost.example.org") && !is("[::2]:1"));
    }
}
