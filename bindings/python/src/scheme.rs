//! How credentials go onto requests, and what responses say of them.

use std::sync::Arc;

use keyswap_host::{
    ForeignClassifier, ForeignSign, Judged, Verdict,
    options::{ClassifierOptions, SchemeKind, SchemeOptions},
};
use pyo3::{
    prelude::*,
    types::{IntoPyDict, PyBytes},
};

use crate::{errors::describe, log};

/// How a credential goes onto a request: a Header, Bearer, Basic, Query, or Sign.
#[pyclass(frozen, subclass, module = "keyswap")]
pub(crate) struct Scheme {
    pub(crate) how: How,
    shown: String,
}

pub(crate) enum How {
    BuiltIn(SchemeOptions),
    Sign(Arc<dyn ForeignSign>),
}

impl Scheme {
    pub(crate) fn new(how: How, shown: &str) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Self { how, shown: shown.into() })
    }

    fn built_in(kind: SchemeKind, name: Option<String>) -> PyClassInitializer<Self> {
        let argument = name.as_ref().map(|name| format!("{name:?}")).unwrap_or_default();
        let shown = format!("{kind:?}({argument})");
        Self::new(How::BuiltIn(SchemeOptions { kind, name }), &shown)
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
    fn new(name: String) -> PyClassInitializer<Self> {
        Scheme::built_in(SchemeKind::Header, Some(name)).add_subclass(Self)
    }
}

/// `Authorization: Bearer`, with the material named `key`.
#[pyclass(frozen, extends = Scheme, module = "keyswap")]
pub(crate) struct Bearer;

#[pymethods]
impl Bearer {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        Scheme::built_in(SchemeKind::Bearer, None).add_subclass(Self)
    }
}

/// `Authorization: Basic`, with the material named `key` as user and `secret` as password.
#[pyclass(frozen, extends = Scheme, module = "keyswap")]
pub(crate) struct Basic;

#[pymethods]
impl Basic {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        Scheme::built_in(SchemeKind::Basic, None).add_subclass(Self)
    }
}

/// The material named `key`, as this query parameter. It never shows in an error or a URL that this
/// package returns; servers and proxies may log it all the same.
#[pyclass(frozen, extends = Scheme, module = "keyswap")]
pub(crate) struct Query;

#[pymethods]
impl Query {
    #[new]
    fn new(name: String) -> PyClassInitializer<Self> {
        Scheme::built_in(SchemeKind::Query, Some(name)).add_subclass(Self)
    }
}

/// A function of the program that judges responses.
pub(crate) struct Classifier(Py<PyAny>);

impl Classifier {
    /// With what the function's attributes `statuses` and `body_limit` say.
    pub(crate) fn new(function: &Bound<'_, PyAny>) -> PyResult<(Self, ClassifierOptions)> {
        let mut options = ClassifierOptions::default();
        if let Some(statuses) = function.getattr_opt("statuses")? {
            let statuses = statuses.try_iter()?.map(|status| status?.extract::<u16>());
            options.statuses = statuses.collect::<PyResult<_>>()?;
        }
        if let Some(limit) = function.getattr_opt("body_limit")? {
            options.body_limit = limit.extract()?;
        }
        Ok((Self(function.clone().unbind()), options))
    }

    fn ask(&self, py: Python<'_>, response: &Judged) -> PyResult<String> {
        let headers =
            response.headers.iter().map(|(name, value)| (name, value)).into_py_dict(py)?;
        let body = response.body.as_ref().map(|body| PyBytes::new(py, body));
        self.0.call1(py, (response.status, headers, body))?.extract(py)
    }
}

impl ForeignClassifier for Classifier {
    fn judge(&self, response: Judged) -> Option<Verdict> {
        Python::try_attach(|py| {
            let answer = self.ask(py, &response);
            let odd = match answer.as_deref().map(keyswap::host::verdict) {
                Ok(Some(verdict)) => return Some(verdict),
                Ok(None) => "returned a word that it must not".into(),
                Err(error) => format!("raised {}", describe(py, error)),
            };
            log::error(
                "classifier",
                format!("the classifier {odd}: the response counts as \"other\""),
            );
            None
        })?
    }
}
