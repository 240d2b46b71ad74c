//! To whom an operator gives which right.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The file in a node's folder that lists who may create experiments, where nothing else is said.
pub const CREATORS: &str = "creators.txt";

/// To whom a right is given: `public`, or `members` and those listed in files (`keys:FILE`), with commas between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    pub(crate) public: bool,
    /// To whom an experiment has admitted, or would.
    pub(crate) members: bool,
    /// The files that list who has it.
    pub(crate) keys: Vec<PathBuf>,
}

/// What says none of the ways to give a right.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not public, or members and keys:FILE with commas between")]
pub struct BadGrant(String);

impl Grant {
    /// To everybody, who need not even say who it is.
    pub fn public() -> Self {
        Self { public: true, members: false, keys: Vec::new() }
    }

    /// To whom an experiment has admitted, or would.
    pub fn to_members() -> Self {
        Self { public: false, members: true, keys: Vec::new() }
    }

    /// To those whose keys a file lists.
    pub fn to_keys(file: impl Into<PathBuf>) -> Self {
        Self { public: false, members: false, keys: vec![file.into()] }
    }

    /// Whether everybody has it.
    pub fn is_public(&self) -> bool {
        self.public
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { public, members, keys } = self;
        if *public {
            return f.write_str("public");
        }
        let keys = keys.iter().map(|path| format!("keys:{}", path.display()));
        let all: Vec<String> =
            members.then(|| "members".to_owned()).into_iter().chain(keys).collect();
        f.write_str(&all.join(","))
    }
}

impl FromStr for Grant {
    type Err = BadGrant;

    fn from_str(text: &str) -> Result<Self, BadGrant> {
        let bad = || BadGrant(text.to_owned());
        if text == "public" {
            return Ok(Self::public());
        }
        let (mut members, mut keys) = (false, Vec::new());
        for word in text.split(',').map(str::trim) {
            match word.strip_prefix("keys:") {
                Some(file) if !file.is_empty() => keys.push(PathBuf::from(file)),
                None if word == "members" => members = true,
                _ => return Err(bad()),
            }
        }
        Ok(Self { public: false, members, keys })
    }
}

/// Who may do what at a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// Read the ledger; weights are for the members of their experiment, for the ledger's nodes, and for those whom a
    /// file lists here.
    pub read: Grant,
    /// Submit what the contract then decides on, and upload weights.
    pub write: Grant,
    /// Create experiments.
    pub create: Grant,
    /// A file of keys that need not be there; nobody is in it then.
    pub may_lack: Option<PathBuf>,
}

impl Access {
    /// What is given by default by a node with this data folder: on this machine everything to everybody; elsewhere
    /// members read and write, and those create whose keys are in the file `creators.txt` of the folder.
    pub fn by_default(listen: IpAddr, data: &Path) -> Self {
        if listen.is_loopback() {
            let public = Grant::public;
            return Self { read: public(), write: public(), create: public(), may_lack: None };
        }
        let creators = data.join(CREATORS);
        Self {
            read: Grant::to_members(),
            write: Grant::to_members(),
            create: Grant::to_keys(creators.clone()),
            may_lack: Some(creators),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_as_they_are_shown() {
        for text in ["public", "members", "keys:a b.txt", "members,keys:a.txt,keys:/b"] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        assert_eq!("keys:a, members".parse::<Grant>().unwrap().to_string(), "members,keys:a");
        for bad in ["", "Public", "keys:", "public,members", "members,", "everybody"] {
            assert!(bad.parse::<Grant>().is_err(), "{bad}");
        }
    }
}
