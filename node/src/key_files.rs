//! The files of the node's keys.

use std::path::{Path, PathBuf};

use colearn_records::keys;
use ed25519_dalek::SigningKey;

use crate::error::NodeError;

/// The files of the node's keys.
pub(crate) struct KeyFiles {
    /// Signs.
    pub(crate) current: PathBuf,
    /// Signed before, and signs beside the current one while it is there.
    pub(crate) old: PathBuf,
    /// Will sign; there only while the key is being changed.
    pub(crate) next: PathBuf,
}

impl KeyFiles {
    pub(crate) fn of(data: &Path) -> Self {
        let at = |name: &str| data.join(name);
        Self { current: at("node.pem"), old: at("node-old.pem"), next: at("node-next.pem") }
    }

    /// The key in one of the files; `None` if there is no such file.
    pub(crate) fn load(&self, path: &Path) -> Result<Option<SigningKey>, NodeError> {
        match keys::load(path) {
            Ok(key) => Ok(Some(key)),
            Err(keys::KeyError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The next key becomes the current one, and that the old one.
    pub(crate) fn install_next(&self) -> Result<(), NodeError> {
        self.drop_old()?;
        // The current name is never without a key: it is linked, not moved, and then replaced. What
        // an interruption leaves is completed by the next start, which finds the change recorded.
        let done = std::fs::hard_link(&self.current, &self.old)
            .and_then(|()| Ok(colearn_files::rename(&self.next, &self.current)?));
        done.map_err(|source| NodeError::Io {
            doing: format!("put {} in place", self.current.display()),
            source,
        })
    }

    pub(crate) fn drop_old(&self) -> Result<(), NodeError> {
        match std::fs::remove_file(&self.old) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(NodeError::Io { doing: format!("delete {}", self.old.display()), source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
