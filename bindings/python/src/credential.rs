//! Credentials as Python sees them: opaque objects that reveal their material when asked, by name.

use std::{sync::Arc, time::SystemTime};

use keyswap_host::SetRecord;
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

/// As Python has it: with its zone, UTC.
fn time(at: Option<impl TryInto<SystemTime>>) -> Option<SystemTime> {
    at?.try_into().ok()
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

    /// When it was made, in UTC.
    #[getter]
    fn created_at(&self) -> Option<SystemTime> {
        time(self.inner.created_at())
    }

    /// When it begins to be valid, in UTC.
    #[getter]
    fn not_before(&self) -> Option<SystemTime> {
        time(self.inner.not_before())
    }

    /// When a staged one is to be used, in UTC.
    #[getter]
    fn activate_at(&self) -> Option<SystemTime> {
        time(self.inner.activate_at())
    }

    /// When it ends, in UTC.
    #[getter]
    fn expires_at(&self) -> Option<SystemTime> {
        time(self.inner.expires_at())
    }

    /// When its use as a fallback ends, in UTC.
    #[getter]
    fn grace_expires_at(&self) -> Option<SystemTime> {
        time(self.inner.grace_expires_at())
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
#[pyclass(frozen, get_all, module = "keyswap")]
pub(crate) struct CredentialSet {
    /// The provider's number of this state; it only rises.
    generation: u64,
    /// The newest credential; None in a revoked set.
    primary: Option<Py<Credential>>,
    /// The older ones that are still valid, newest first.
    previous: Vec<Py<Credential>>,
    /// The staged one.
    next: Option<Py<Credential>>,
    /// Ids that must never be used again.
    revoked: Vec<String>,
    /// The ids of all of them: newest, previous, staged.
    ids: Vec<String>,
    /// What the whole set may be used for.
    scopes: Vec<String>,
    /// The origins that the provider narrows its use to; empty means no narrowing.
    audience: Vec<String>,
}

impl CredentialSet {
    pub(crate) fn new(py: Python<'_>, set: SetRecord) -> PyResult<Self> {
        let all = set.primary.iter().chain(&set.previous).chain(&set.next);
        let ids = all.map(|one| one.id().to_owned()).collect();
        let of = |one| Py::new(py, Credential::new(one));
        Ok(Self {
            generation: set.generation,
            primary: set.primary.map(of).transpose()?,
            previous: set.previous.into_iter().map(of).collect::<PyResult<_>>()?,
            next: set.next.map(of).transpose()?,
            revoked: set.revoked,
            ids,
            scopes: set.scopes,
            audience: set.audience,
        })
    }
}

#[pymethods]
impl CredentialSet {
    fn __repr__(&self) -> String {
        format!("<keyswap.CredentialSet {}: {}>", self.generation, self.ids.join(", "))
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("CredentialSet")
    }
}
