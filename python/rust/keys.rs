//! Private keys, and the files that hold them.

use std::path::PathBuf;

use colearn_records::keys::{self, KeyFile, Passphrase};
use colearn_sdk::client::Memory;
use ed25519_dalek::SigningKey;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{self, Failed};

/// A private key. It never shows what it is.
#[pyclass(frozen, module = "colearn_client")]
pub(crate) struct Key {
    pub(crate) inner: SigningKey,
}

impl Key {
    fn of(py: Python<'_>, made: Result<SigningKey, keys::KeyError>) -> PyResult<Self> {
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
        Self::of(py, keys::generate())
    }

    /// Reads a key file; one that is encrypted with the passphrase, or that in `COLEARN_KEY_PASSPHRASE`.
    #[staticmethod]
    #[pyo3(signature = (path, passphrase = None))]
    fn load(py: Python<'_>, path: PathBuf, passphrase: Option<String>) -> PyResult<Self> {
        let passphrase = passphrase.and_then(Passphrase::new);
        let read = match passphrase {
            Some(passphrase) => keys::read(&path).and_then(|file| match file {
                KeyFile::Open(key) => Ok(key),
                KeyFile::Locked(locked) => py.detach(|| locked.unlock(&passphrase)),
            }),
            None => py.detach(|| keys::load(&path)),
        };
        Self::of(py, read)
    }

    /// Reads a key file, or makes one if there is none.
    #[staticmethod]
    fn load_or_create(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Self::of(py, keys::load_or_create(&path))
    }

    /// Writes the key to a new file that nobody else can read.
    fn save_new(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        keys::save_new(&self.inner, &path).map_err(|error| errors::raise(py, "KeyFileError", error))
    }

    /// The folder that a key file has beside it, for what must survive a restart.
    fn memory_beside(&self, py: Python<'_>, path: PathBuf) -> PyResult<PathBuf> {
        let beside = Memory::beside(&path, keys::learner_id(&self.inner));
        beside.map_err(|error| Failed::from(error).raise(py))
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
