//! Credentials as Python sees them: opaque objects that reveal their material when asked, by name.

use std::sync::Arc;

use jiff::Timestamp;
use pyo3::{
    exceptions::{PyKeyError, PyTypeError},
    prelude::*,
    sync::PyOnceLock,
    types::PyString,
};

/// The refusal to copy what holds secrets, or belongs to one process.
pub(crate) fn no_pickle<T>(what: &str) -> PyResult<T> {
    Err(PyTypeError::new_err(format!(
        "a {what} cannot be pickled or copied: it must not leave its process; make one where it is needed"
    )))
}

/// A time with its zone, UTC.
pub(crate) fn datetime(py: Python<'_>, at: Option<Timestamp>) -> PyResult<Option<Py<PyAny>>> {
    static UTC: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static FROM: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let Some(at) = at else { return Ok(None) };
    let utc = UTC.get_or_try_init(py, || {
        py.import("datetime")?.getattr("timezone")?.getattr("utc").map(Bound::unbind)
    })?;
    let from = FROM.get_or_try_init(py, || {
        py.import("datetime")?.getattr("datetime")?.getattr("fromtimestamp").map(Bound::unbind)
    })?;
    let seconds = at.as_microsecond() as f64 / 1e6;
    from.call1(py, (seconds, utc)).map(Some)
}

/// One usable credential. Printing it never shows its material.
#[pyclass(frozen, weakref, module = "keyswap")]
pub(crate) struct Credential {
    inner: Arc<keyswap::Credential>,
    /// The material named `key`, as most readers ask for it. It lives as long as this object.
    key: PyOnceLock<Py<PyString>>,
}

impl Credential {
    pub(crate) fn new(inner: Arc<keyswap::Credential>) -> Self {
        Self { inner, key: PyOnceLock::new() }
    }

    pub(crate) fn reveal_key(&self, py: Python<'_>) -> PyResult<Py<PyString>> {
        let key = self.key.get_or_try_init(py, || match self.inner.reveal("key") {
            Some(key) => Ok(PyString::new(py, key).unbind()),
            None => Err(self.lacks("key")),
        });
        Ok(key?.clone_ref(py))
    }

    fn lacks(&self, name: &str) -> PyErr {
        PyKeyError::new_err(format!("{} has no material named {name:?}", self.inner.id()))
    }
}

#[pymethods]
impl Credential {
    /// Its name. Not a secret.
    #[getter]
    fn id(&self) -> &str {
        self.inner.id()
    }

    /// The provider's version of it, where it has one.
    #[getter]
    fn version(&self) -> Option<&str> {
        self.inner.version()
    }

    /// When it ends, in UTC.
    #[getter]
    fn expires_at(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        datetime(py, self.inner.expires_at())
    }

    /// When it was made, in UTC.
    #[getter]
    fn created_at(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        datetime(py, self.inner.created_at())
    }

    /// What it may be used for.
    #[getter]
    fn scopes(&self) -> Vec<&str> {
        self.inner.scopes().iter().map(|scope| &**scope).collect()
    }

    /// The piece of material of this name, in the clear.
    ///
    /// Raises KeyError if there is none.
    #[pyo3(signature = (name = "key"))]
    fn reveal(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyString>> {
        if name == "key" {
            return self.reveal_key(py);
        }
        let piece = self.inner.reveal(name).ok_or_else(|| self.lacks(name))?;
        Ok(PyString::new(py, piece).unbind())
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.Credential {}>", self.inner.id())
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("Credential")
    }
}

/// What a source delivered: the credentials that are valid together.
#[pyclass(frozen, module = "keyswap")]
pub(crate) struct CredentialSet(pub(crate) Arc<keyswap::CredentialSet>);

#[pymethods]
impl CredentialSet {
    /// The provider's number of this state; it only rises.
    #[getter]
    fn generation(&self) -> u64 {
        self.0.generation()
    }

    /// The newest credential; None in a revoked set.
    #[getter]
    fn primary(&self) -> Option<Credential> {
        self.0.primary().map(of)
    }

    /// The older ones that are still valid, newest first.
    #[getter]
    fn previous(&self) -> Vec<Credential> {
        self.0.previous().map(of).collect()
    }

    /// The staged one.
    #[getter]
    fn next(&self) -> Option<Credential> {
        self.0.next().map(of)
    }

    /// Ids that must never be used again.
    #[getter]
    fn revoked(&self) -> Vec<&str> {
        self.0.revoked().iter().map(|id| &**id).collect()
    }

    /// The ids of all of them: newest, previous, staged.
    #[getter]
    fn ids(&self) -> Vec<&str> {
        let all = self.0.primary().into_iter().chain(self.0.previous()).chain(self.0.next());
        all.map(keyswap::Credential::id).collect()
    }

    /// What the whole set may be used for.
    #[getter]
    fn scopes(&self) -> Vec<&str> {
        self.0.scopes().iter().map(|scope| &**scope).collect()
    }

    /// The origins that the provider narrows its use to; empty means no narrowing.
    #[getter]
    fn audience(&self) -> Vec<&str> {
        self.0.audience().iter().map(|origin| &**origin).collect()
    }

    fn __repr__(&self) -> String {
        let (generation, ids) = (self.generation(), self.ids().join(", "));
        format!("<keyswap.CredentialSet {generation}: {ids}>")
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("CredentialSet")
    }
}

fn of(credential: &keyswap::Credential) -> Credential {
    Credential::new(Arc::new(credential.clone()))
}
