//! How credentials go onto requests, and what responses say of them.

use keyswap::{Classifier as Judge, ResponseFilter, ResponseView, Verdict, host};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};
use tracing::Level;

use crate::{errors::describe, log};

/// How a credential goes onto a request: a Header, Bearer, Basic, Query, or Sign.
#[pyclass(frozen, subclass, module = "keyswap")]
pub(crate) struct Scheme {
    pub(crate) inner: keyswap::Scheme,
    shown: String,
}

impl Scheme {
    pub(crate) fn new(
        inner: keyswap::Scheme,
        shown: impl Into<String>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Self { inner, shown: shown.into() })
    }
}

#[pymethods]
impl Scheme {
    fn __repr__(&self) -> String {
        format!("keyswap.{}", self.shown)
    }
}

/// The material named `key`, as the value of this header.
#[pyclass(frozen, extends = Scheme, module = "keyswap")]
pub(crate) struct Header;

#[pymethods]
impl Header {
    #[new]
    fn new(name: &str) -> PyClassInitializer<Self> {
        Scheme::new(keyswap::Scheme::header(name), format!("Header({name:?})")).add_subclass(Self)
    }
}

/// `Authorization: Bearer`, with the material named `key`.
#[pyclass(frozen, extends = Scheme, module = "keyswap")]
pub(crate) struct Bearer;

#[pymethods]
impl Bearer {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        Scheme::new(keyswap::Scheme::bearer(), "Bearer()").add_subclass(Self)
    }
}

/// `Authorization: Basic`, with the material named `key` as user and `secret` as password.
#[pyclass(frozen, extends = Scheme, module = "keyswap")]
pub(crate) struct Basic;

#[pymethods]
impl Basic {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        Scheme::new(keyswap::Scheme::basic(), "Basic()").add_subclass(Self)
    }
}

/// The material named `key`, as this query parameter. It never shows in an error or a URL that this
/// package returns; servers and proxies may log it all the same.
#[pyclass(frozen, extends = Scheme, module = "keyswap")]
pub(crate) struct Query;

#[pymethods]
impl Query {
    #[new]
    fn new(name: &str) -> PyClassInitializer<Self> {
        Scheme::new(keyswap::Scheme::query(name), format!("Query({name:?})")).add_subclass(Self)
    }
}

/// A function of the program that judges responses.
pub(crate) struct Classifier {
    function: Py<PyAny>,
    attention: ResponseFilter,
}

impl Classifier {
    /// The function's attributes `statuses` and `body_limit` say which responses it is shown; without
    /// them, those with 401, and 4096 bytes of a body that it asks for.
    pub(crate) fn new(function: &Bound<'_, PyAny>) -> PyResult<Self> {
        let statuses = match function.getattr_opt("statuses")? {
            Some(statuses) => statuses
                .try_iter()?
                .map(|status| status?.extract::<u16>())
                .collect::<PyResult<Vec<u16>>>()?,
            None => vec![401],
        };
        let body_limit = match function.getattr_opt("body_limit")? {
            Some(limit) => limit.extract()?,
            None => 4096,
        };
        let attention = ResponseFilter::new(statuses).with_body_limit(body_limit);
        Ok(Self { function: function.clone().unbind(), attention })
    }

    fn ask(&self, py: Python<'_>, response: &ResponseView<'_>) -> Verdict {
        let shown = || -> PyResult<Bound<'_, PyDict>> {
            let shown = PyDict::new(py);
            for (name, value) in response.headers() {
                shown.set_item(name.as_str(), String::from_utf8_lossy(value.as_bytes()))?;
            }
            Ok(shown)
        };
        let answer = shown().and_then(|headers| {
            let body = response.body().map(|body| PyBytes::new(py, body));
            self.function
                .call1(py, (response.status().as_u16(), headers, body))?
                .extract::<String>(py)
        });
        let odd = |what: String| {
            let message = format!("the classifier {what}: the response counts as \"other\"");
            log::write(Level::ERROR, "classifier", message);
            Verdict::Other
        };
        match answer.as_deref().map(host::verdict) {
            Ok(Some(verdict)) => verdict,
            Ok(None) => odd("returned a word that it must not".into()),
            Err(error) => odd(format!("raised {}", describe(py, error))),
        }
    }
}

impl Judge for Classifier {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        if !self.attention.statuses.contains(&response.status().as_u16()) {
            return host::unasked(response);
        }
        // A thread of the runtime must not be held up by a program's function.
        let ask = || Python::try_attach(|py| self.ask(py, response));
        let verdict = match tokio::runtime::Handle::try_current() {
            Ok(_) => tokio::task::block_in_place(ask),
            Err(_) => ask(),
        };
        verdict.unwrap_or(Verdict::Other)
    }

    fn response_filter(&self) -> ResponseFilter {
        self.attention.clone()
    }
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Classifier(..)")
    }
}
