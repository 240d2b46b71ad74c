//! The bytes of a model, shared with Python without copies.

use bytes::Bytes;
use colearn_sdk::learner::Weights as Inner;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyMemoryView};

/// The bytes of a model, with their digest.
#[pyclass(frozen, eq, hash, from_py_object, module = "colearn_client")]
#[derive(Clone)]
pub(crate) struct Weights {
    pub(crate) inner: Inner,
    /// The object that owns the bytes, where Python made them.
    owner: Option<std::sync::Arc<Py<PyBytes>>>,
}

impl PartialEq for Weights {
    fn eq(&self, other: &Self) -> bool {
        self.inner.digest() == other.inner.digest()
    }
}

impl std::hash::Hash for Weights {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.inner.digest().0.hash(state);
    }
}

impl From<Inner> for Weights {
    fn from(inner: Inner) -> Self {
        Self { inner, owner: None }
    }
}

#[pymethods]
impl Weights {
    #[new]
    fn new(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let Ok(data) = data.cast::<PyBytes>() else {
            // Whatever else holds bytes may change them; a copy does not.
            let view = PyMemoryView::from(data).map_err(|_| {
                let what = data.get_type();
                PyTypeError::new_err(format!("weights are bytes, not of {what}"))
            })?;
            let copy = view.call_method0("tobytes")?.cast_into::<PyBytes>()?;
            return Ok(Self::of(py, copy));
        };
        Ok(Self::of(py, data.clone()))
    }

    /// Those of a file, which stay there.
    #[staticmethod]
    fn open(py: Python<'_>, path: std::path::PathBuf) -> PyResult<Self> {
        Ok(py.detach(|| Inner::open(&path))?.into())
    }

    /// The bytes. Those that came from elsewhere are copied: for large ones use `view`.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        match &self.owner {
            Some(owner) => owner.bind(py).clone(),
            None => PyBytes::new(py, self.inner.bytes()),
        }
    }

    /// SHA-256 of the bytes.
    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.digest().0)
    }

    /// How NumPy reads them without a copy: its array keeps this object, and so the bytes.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let bytes = self.inner.bytes();
        let described = PyDict::new(py);
        described.set_item("version", 3)?;
        described.set_item("typestr", "|u1")?;
        described.set_item("shape", (bytes.len(),))?;
        // Read only: the digest holds as long as the object does.
        described.set_item("data", (bytes.as_ptr() as usize, true))?;
        Ok(described)
    }

    fn __len__(&self) -> usize {
        self.inner.bytes().len()
    }

    fn __repr__(&self) -> String {
        let digest = self.inner.digest().to_string();
        format!("Weights({} bytes, {})", self.inner.bytes().len(), &digest[..16])
    }

    /// How they are pickled, for other processes.
    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyAny>, (Bound<'py, PyBytes>,)) {
        (py.get_type::<Self>().into_any(), (self.data(py),))
    }
}

impl Weights {
    fn of(py: Python<'_>, data: Bound<'_, PyBytes>) -> Self {
        let owner = std::sync::Arc::new(data.clone().unbind());
        let shared = Bytes::from_owner(PyBackedBytes::from(data));
        let inner = py.detach(|| Inner::new(shared));
        Self { inner, owner: Some(owner) }
    }
}

/// A digest in hexadecimal.
pub(crate) fn digest(text: &str) -> PyResult<colearn_contracts::Digest> {
    let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.ok_or_else(|| {
        PyValueError::new_err(format!("{text:?} is not a digest of 64 hex digits"))
    })?;
    Ok(colearn_contracts::Digest(bytes))
}
