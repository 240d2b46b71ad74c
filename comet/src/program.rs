//! Finding CometBFT.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::clear_environment;

/// The environment variable that names the program.
pub const VARIABLE: &str = "COLEARN_COMETBFT";

/// The line of releases that is driven here, and its first without known holes.
const LINE: &str = "0.38.";
const LEAST: u32 = 21;

/// How long it may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const POLL: Duration = Duration::from_millis(5);

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
        let path = locate(explicit, std::env::var_os(VARIABLE), std::env::var_os("PATH"))
            .ok_or(ProgramError::Missing)?;
        // A child runs in another folder.
        let path = std::path::absolute(&path)
            .map_err(|source| ProgramError::Run { path: path.clone(), source })?;
        let said = version(&path)?;
        let patch = said.strip_prefix(LINE).and_then(|rest| {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            // What follows is how it was built; but a version before the release is not the release.
            let built = rest[digits..].starts_with('+') || digits == rest.len();
            rest[..digits].parse::<u32>().ok().filter(|_| built)
        });
        match patch {
            Some(patch) if patch >= LEAST => Ok(Self { path, version: said }),
            Some(_) | None => Err(ProgramError::Version { path, said }),
        }
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

/// The program that is meant, without a look at what it is.
fn locate(
    explicit: Option<&Path>,
    named: Option<OsString>,
    folders: Option<OsString>,
) -> Option<PathBuf> {
    let named = named.filter(|named| !named.is_empty()).map(PathBuf::from);
    explicit.map(Path::to_owned).or(named).or_else(|| {
        let folders = folders?;
        let mut paths = std::env::split_paths(&folders).map(|folder| folder.join("cometbft"));
        paths.find(|path| path.is_file())
    })
}

/// What `cometbft version` says: one line.
fn version(path: &Path) -> Result<String, ProgramError> {
    let failed = |source| ProgramError::Run { path: path.to_owned(), source };
    let mut command = Command::new(path);
    clear_environment(&mut command);
    command.arg("version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let started = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(None) if started.elapsed() < PATIENCE => std::thread::sleep(POLL),
            ended => break ended,
        }
    };
    if !matches!(ended, Ok(Some(_))) {
        // Something that is no cometbft, and would run on.
        let _ = child.kill();
        let _ = child.wait();
    }
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(200).read_to_end(&mut said).map_err(failed)?;
    }
    match ended.map_err(failed)? {
        Some(status) if status.success() => {
            Ok(String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned())
        }
        Some(status) => Err(failed(io::Error::other(format!("`version` ended with {status}")))),
        None => Err(failed(io::Error::from(io::ErrorKind::TimedOut))),
    }
}

/// Why there is no CometBFT to run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is none.
    #[error("no cometbft on the PATH: {BUILD}")]
    Missing,
    /// It cannot be run.
    #[error("cannot run {}: {source}; {BUILD}", path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is of another version.
    #[error("{} is version {said:?}, not 0.38.21 or a later 0.38: {BUILD}", path.display())]
    Version {
        /// The program.
        path: PathBuf,
        /// What it said.
        said: String,
    },
}

/// How to get the right one.
const BUILD: &str = "build one by \
     `GOBIN=$PWD go install github.com/cometbft/cometbft/cmd/cometbft@v0.38.25` \
     and name it by --cometbft or COLEARN_COMETBFT";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn who_is_named_goes_before_who_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let found = dir.path().join("cometbft");
        let folders = std::env::join_paths([Path::new("/nowhere"), dir.path()]).unwrap();
        let located = |explicit: Option<&str>, named: Option<&str>| {
            locate(explicit.map(Path::new), named.map(OsString::from), Some(folders.clone()))
        };
        assert_eq!(located(None, None), None);
        std::fs::write(&found, "").unwrap();
        assert_eq!(located(None, None), Some(found.clone()));
        assert_eq!(located(None, Some("")), Some(found));
        assert_eq!(located(None, Some("named")), Some("named".into()));
        assert_eq!(located(Some("flag"), Some("named")), Some("flag".into()));
        assert_eq!(locate(None, None, None), None);
    }
}
