//! Where a ledger is, and its models beside it: at a node, or at one of several, or in a folder.

use std::fmt;
use std::path::Path;

use colearn_audit as audit;
use colearn_sdk::client::Nodes;

/// Where a ledger is.
#[derive(Clone, Debug)]
pub struct Place {
    text: String,
    /// The addresses; none of a folder.
    urls: Vec<String>,
}

/// None of several nodes answers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no node answers at any of {0}")]
pub struct NoNode(String);

impl Place {
    /// A node's data folder, an exported folder, or addresses of nodes, with commas.
    pub fn new(text: &str) -> Self {
        let urls = match text.contains("://") {
            true => Nodes::from(text).urls().to_vec(),
            false => Vec::new(),
        };
        Self { text: text.to_owned(), urls }
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
            several => match several.iter().find(|url| audit::open(url).is_ok()) {
                Some(url) => Ok(url),
                None => Err(NoNode(several.join(", "))),
            },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
