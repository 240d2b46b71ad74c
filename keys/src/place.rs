//! Where a key is kept, as it is written: a file's path, `agent:WHICH` or `exec:COMMAND`.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ed25519_dalek::SigningKey;

use crate::command::CommandKey;
use crate::key::{Key, SignerError};

/// The environment's variable for [`time_limit`], in seconds.
pub(crate) const TIME_LIMIT: &str = "COLEARN_KEY_TIMEOUT";
/// How long somebody who has to agree may take where nothing else is said.
const USUAL_LIMIT: Duration = Duration::from_secs(60);

/// Longer than anybody waits: a day.
const MOST_SECONDS: u64 = 24 * 60 * 60;

/// How long a key that is kept elsewhere may take for a signature: what `COLEARN_KEY_TIMEOUT` says in seconds, from 1
/// on and a day at most; a minute where it says nothing that can be read.
pub fn time_limit() -> Duration {
    let named = std::env::var(TIME_LIMIT).ok().and_then(|text| text.parse().ok());
    let limit = |seconds: u64| Duration::from_secs(seconds.min(MOST_SECONDS));
    named.filter(|seconds| *seconds > 0).map_or(USUAL_LIMIT, limit)
}

/// Which key of an agent is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The only Ed25519 key that it has.
    Only,
    /// The one with this comment.
    Comment(String),
    /// The one with this fingerprint, `SHA256:...`, as `ssh-add -l` shows it.
    Fingerprint(String),
}

impl From<&str> for Wanted {
    fn from(text: &str) -> Self {
        match text {
            "" => Self::Only,
            print if print.starts_with("SHA256:") => Self::Fingerprint(print.to_owned()),
            comment => Self::Comment(comment.to_owned()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => f.write_str("agent:"),
            Self::Comment(text) | Self::Fingerprint(text) => write!(f, "agent:{text}"),
        }
    }
}

/// Where a key is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A file.
    File(PathBuf),
    /// The ssh-agent that `SSH_AUTH_SOCK` names.
    Agent(Wanted),
    /// A command that signs: [`CommandKey`].
    Command(String),
}

impl Place {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Agent(_) | Self::Command(_) => None,
        }
    }

    /// The key; one in a file is read by `read`.
    ///
    /// # Errors
    /// That of `read`; and if whoever keeps it does not answer, or not for this key.
    pub fn open<E: From<SignerError>>(
        &self,
        read: impl FnOnce(&Path) -> Result<SigningKey, E>,
    ) -> Result<Key, E> {
        match self {
            Self::File(path) => read(path).map(Key::from),
            Self::Agent(wanted) => Ok(in_agent(wanted)?),
            Self::Command(command) => {
                Ok(CommandKey::new(command, time_limit()).and_then(Key::elsewhere)?)
            }
        }
    }

    /// The key; one in an encrypted file with the passphrase that the environment has.
    ///
    /// # Errors
    /// Those of [`load`](crate::load); and if whoever keeps it does not answer, or not for this key.
    #[cfg(feature = "files")]
    pub fn load(&self) -> Result<Key, crate::KeyError> {
        self.open(crate::load)
    }
}

#[cfg(unix)]
fn in_agent(wanted: &Wanted) -> Result<Key, SignerError> {
    let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
    let socket = socket.ok_or_else(|| SignerError::NoAgent { by: wanted.to_string() })?;
    Key::elsewhere(crate::agent::AgentKey::find(socket.into(), wanted.clone(), time_limit())?)
}

#[cfg(not(unix))]
fn in_agent(wanted: &Wanted) -> Result<Key, SignerError> {
    Err(SignerError::NoAgentHere { by: wanted.to_string() })
}

impl From<&OsStr> for Place {
    fn from(text: &OsStr) -> Self {
        // What is no text is a path: the two words are ASCII.
        match text.to_str() {
            Some(known) => match known.split_once(':') {
                Some(("agent", wanted)) => Self::Agent(wanted.into()),
                Some(("exec", command)) => Self::Command(command.to_owned()),
                _ => Self::File(text.into()),
            },
            None => Self::File(text.into()),
        }
    }
}

impl From<std::ffi::OsString> for Place {
    fn from(text: std::ffi::OsString) -> Self {
        text.as_os_str().into()
    }
}

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(OsStr::new(text).into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Agent(wanted) => wanted.fmt(f),
            Self::Command(command) => write!(f, "exec:{command}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let comment = Place::Agent(Wanted::Comment("ann@hospital".to_owned()));
        let print = Place::Agent(Wanted::Fingerprint("SHA256:abc".to_owned()));
        for (text, place) in [
            ("a.pem", Place::File("a.pem".into())),
            ("./agent:x", Place::File("./agent:x".into())),
            ("agent", Place::File("agent".into())),
            ("C:\\keys\\a.pem", Place::File("C:\\keys\\a.pem".into())),
            ("agent:", Place::Agent(Wanted::Only)),
            ("agent:ann@hospital", comment),
            ("agent:SHA256:abc", print),
            ("exec:sign --slot 2", Place::Command("sign --slot 2".to_owned())),
        ] {
            assert_eq!(Place::from(OsStr::new(text)), place);
            assert_eq!(place.to_string(), text);
        }
    }
}
