//! Finding CometBFT.

use std::path::{Path, PathBuf};

/// The line of releases that this crate drives.
const LINE: (u32, u32) = (0, 38);
/// The first release of that line without known holes.
const LEAST: u32 = 21;

/// A CometBFT of the right version.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    version: String,
}

impl Program {
    /// The program at a path; without one, what `COLEARN_COMETBFT` names, or else `cometbft` on the
    /// `PATH`.
    ///
    /// # Errors
    /// If there is none, or it is of another version.
    pub fn find(explicit: Option<&Path>) -> Result<Self, ProgramError> {
        let _ = explicit;
        Err(ProgramError::Missing)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version, as it says it.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// Why there is no CometBFT to run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is none.
    #[error("no cometbft")]
    Missing,
}
