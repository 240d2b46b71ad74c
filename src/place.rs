//! Where a ledger is, and its models beside it: at a node, or at one of several, or in a folder.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use colearn_audit as audit;
use colearn_audit::AuditReport;
use colearn_net::Trust;
use colearn_sdk::client::Nodes;

/// Where a ledger is.
#[derive(Clone, Debug)]
pub struct Place {
    text: String,
    /// The addresses; none of a folder.
    urls: Vec<String>,
    /// As all of this process where it is `None`.
    trust: Option<Trust>,
}

/// None of several nodes answers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no node answers at any of {0}")]
pub struct NoNode(String);

impl Place {
    /// A node's data folder, an exported folder, or addresses of nodes, with commas: `https://HOST:PORT`, or
    /// `HOST:PORT` for plain http. Whatever has the form of an address is one; a folder of that name is `./NAME`.
    pub fn new(text: &str) -> Self {
        let urls = match text.split(',').all(is_address) {
            true => Nodes::from(text).urls().iter().map(|url| in_full(url)).collect(),
            false => Vec::new(),
        };
        Self { text: text.to_owned(), urls, trust: None }
    }

    /// The same, reached by one who believes other certificates than this process does, or shows another.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust: Some(trust), ..self }
    }

    /// Whose certificates are believed where it is an address, and who asks.
    pub fn trust(&self) -> Trust {
        self.trust.clone().unwrap_or_else(Trust::of_process)
    }

    /// The addresses of nodes, if it is not a folder.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Its folder, if it is one.
    pub fn folder(&self) -> Option<&Path> {
        self.urls.is_empty().then(|| Path::new(&self.text))
    }

    /// Where one ledger can be read: a folder, or of several nodes the first that answers.
    ///
    /// # Errors
    /// If none does.
    pub fn one(&self) -> Result<&str, NoNode> {
        match &self.urls[..] {
            [] => Ok(&self.text),
            [only] => Ok(only),
            several => {
                let trust = self.trust();
                let answers = |url: &&String| audit::open_trusting(url, &trust).is_ok();
                let first = several.iter().find(answers).map(String::as_str);
                first.ok_or_else(|| NoNode(several.join(", ")))
            }
        }
    }
}

fn is_address(text: &str) -> bool {
    let text = text.trim();
    let host_and_port = || {
        let (host, port) = text.rsplit_once(':')?;
        Some(!host.is_empty() && !host.contains(['/', '\\']) && port.parse::<u16>().is_ok())
    };
    text.contains("://") || host_and_port() == Some(true)
}

fn in_full(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// A ledger is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the ledger at {place} is not as it should be: {finding}; run: colearn audit {place}")]
pub struct Unsound {
    place: String,
    /// The first thing that is wrong.
    finding: String,
}

impl Place {
    /// Only what an audit finds nothing in that would matter can be gone by.
    ///
    /// # Errors
    /// If it does.
    pub fn sound(&self, report: &AuditReport) -> Result<(), Unsound> {
        match report.unsound() {
            None => Ok(()),
            Some(finding) => {
                Err(Unsound { place: self.text.clone(), finding: finding.to_string() })
            }
        }
    }
}

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_form_of_an_address_is_one() {
        for (text, urls) in [
            ("https://a.example.org", &["https://a.example.org"][..]),
            ("127.0.0.1:7400, http://b:1", &["http://127.0.0.1:7400", "http://b:1"]),
            ("[::1]:7400", &["http://[::1]:7400"]),
            ("localhost:7400", &["http://localhost:7400"]),
            ("https://a#sha256:00", &["https://a#sha256:00"]),
            ("colearn-data", &[]),
            ("./localhost:7400", &[]),
            ("C:\\colearn", &[]),
            ("data:1x", &[]),
            (":7400", &[]),
            ("/srv/a,b", &[]),
            ("", &[]),
        ] {
            let place = Place::new(text);
            assert_eq!(place.urls(), urls, "{text}");
            assert_eq!(place.folder().is_some(), urls.is_empty(), "{text}");
        }
    }
}
