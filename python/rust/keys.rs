//! Private keys: in files, in an ssh-agent, behind a command.

use std::path::PathBuf;

use colearn_records::keys::{self, KeyFile, Passphrase, Place};
use colearn_sdk::client::Memory;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{self, Failed};

/// A private key. It never shows what it is.
#[pyclass(frozen, module = "colearn_client")]
pub(crate) struct Key {
    pub(crate) inner: keys::Key,
}

impl Key {
    fn of(py: Python<'_>, made: Result<keys::Key, keys::KeyError>) -> PyResult<Self> {
        match made {
            Ok(inner) => Ok(Self { inner }),
            Err(error) => Err(errors::raise(py, "KeyFileError", error)),
        }
    }
}

#[pymethods]
impl Key {
    /// A new key, from the system's random numbers.
    #[staticmethod]
    fn generate(py: Python<'_>) -> PyResult<Self> {
        Self::of(py, keys::generate().map(Into::into))
    }

    /// The key in a place: a file, `agent:COMMENT` or `exec:COMMAND`. An encrypted file opens with the passphrase, or
    /// that in the environment.
    #[staticmethod]
    #[pyo3(signature = (path, passphrase = None))]
    fn load(py: Python<'_>, path: PathBuf, passphrase: Option<String>) -> PyResult<Self> {
        let (place, passphrase) =
            (Place::from(path.into_os_string()), passphrase.and_then(Passphrase::new));
        let read = py.detach(|| match passphrase {
            Some(passphrase) => place.open(|path| match keys::read(path)? {
                KeyFile::Open(key) => Ok(key),
                KeyFile::Locked(locked) => locked.unlock(&passphrase),
            }),
            None => place.load(),
        });
        Self::of(py, read)
    }

    /// The key in a place; in a file that does not exist one is made.
    #[staticmethod]
    fn load_or_create(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let place = Place::from(path.into_os_string());
        Self::of(py, py.detach(|| place.open(keys::load_or_create)))
    }

    /// Writes the key to a new file that nobody else can read.
    fn save_new(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let failed = |error: &dyn std::fmt::Display| errors::raise(py, "KeyFileError", error);
        match self.inner.here() {
            Some(key) => keys::save_new(key, &path).map_err(|error| failed(&error)),
            None => Err(failed(&"this key is kept elsewhere, and cannot be written to a file")),
        }
    }

    /// The folder that a key has by default for what must survive a restart: beside its file, or the user's.
    fn memory_beside(&self, py: Python<'_>, path: PathBuf) -> PyResult<PathBuf> {
        let memory = Memory::of(&Place::from(path.into_os_string()), keys::learner_id(&self.inner));
        memory.map_err(|error| Failed::from(error).raise(py))
    }

    /// The public key, 32 bytes: who the learner is.
    #[getter]
    fn public<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &keys::learner_id(&self.inner).0)
    }

    fn __repr__(&self) -> String {
        format!("Key({})", keys::learner_id(&self.inner))
    }
}
