//! How credentials go onto requests, and what a program's own functions say of requests and responses.

use std::sync::Arc;

use keyswap_host::{
    Error, ForeignClassifier, ForeignSign, Judged, Signature, UnsignedRequest, Verdict,
    options::{ClassifierOptions, SchemeOptions, from_json},
    signature_failed,
};
use pyo3::{
    prelude::*,
    sync::PyOnceLock,
    types::{IntoPyDict, PyBytes},
};

use crate::{
    credential::Credential,
    errors::{OrRaise, describe},
    log,
};

/// How a credential goes onto a request: a Header, Bearer, Basic, Query, or Sign.
#[pyclass(frozen, subclass, module = "keyswap")]
pub(crate) struct Scheme(pub(crate) How);

pub(crate) enum How {
    BuiltIn(SchemeOptions),
    Sign(Arc<dyn ForeignSign>),
}

#[pymethods]
impl Scheme {
    /// Of a function that signs, or the JSON of its options.
    #[new]
    fn new(how: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(match how.is_callable() {
            true => How::Sign(Arc::new(Sign(how.clone().unbind()))),
            false => How::BuiltIn(from_json(how.extract()?).or_raise(how.py())?),
        }))
    }

    fn __repr__(&self) -> String {
        match &self.0 {
            How::Sign(_) => "keyswap.Sign(...)".into(),
            How::BuiltIn(SchemeOptions { kind, name }) => {
                let name = name.as_ref().map(|name| format!("{name:?}")).unwrap_or_default();
                format!("keyswap.{kind:?}({name})")
            }
        }
    }
}

/// A function of the program that signs requests.
struct Sign(Py<PyAny>);

impl Sign {
    fn ask(
        &self,
        py: Python<'_>,
        credential: Arc<keyswap::Credential>,
        request: UnsignedRequest,
    ) -> PyResult<Option<Signature>> {
        static SIGNED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let UnsignedRequest { method, url, headers, body, now_ms, .. } = request;
        let body = body.map(|body| PyBytes::new(py, &body));
        let request = (method, url, headers.into_py_dict(py)?, body, now_ms);
        let answer = SIGNED.import(py, "keyswap._schemes", "signed")?.call1((
            &self.0,
            Credential::new(credential),
            request,
        ))?;
        let pairs = answer.extract::<(Vec<(String, String)>, Vec<(String, String)>)>();
        Ok(pairs.ok().map(|(headers, query)| Signature { headers, query }))
    }
}

impl ForeignSign for Sign {
    fn sign(
        &self,
        credential: Arc<keyswap::Credential>,
        request: UnsignedRequest,
    ) -> Result<Signature, Error> {
        let asked = Python::try_attach(|py| {
            let answer = self.ask(py, credential, request);
            answer.map_err(|error| format!("it raised {}", describe(py, &error)))
        });
        match asked {
            Some(Ok(Some(signature))) => Ok(signature),
            Some(Ok(None)) => Err(signature_failed(
                "it must return a mapping of headers, or a pair of mappings: headers, and parameters of the query; all of them strings",
            )),
            Some(Err(what)) => Err(signature_failed(&what)),
            None => Err(signature_failed("the interpreter is ending")),
        }
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

    fn ask(&self, py: Python<'_>, response: Judged) -> PyResult<String> {
        let headers = response.headers.into_py_dict(py)?;
        let body = response.body.map(|body| PyBytes::new(py, &body));
        self.0.call1(py, (response.status, headers, body))?.extract(py)
    }
}

impl ForeignClassifier for Classifier {
    fn judge(&self, response: Judged) -> Option<Verdict> {
        Python::try_attach(|py| {
            let answer = self.ask(py, response);
            let odd = match answer.as_deref().map(keyswap::host::verdict) {
                Ok(Some(verdict)) => return Some(verdict),
                Ok(None) => "returned a word that it must not".into(),
                Err(error) => format!("raised {}", describe(py, error)),
            };
            let told = format!("the classifier {odd}: the response counts as \"other\"");
            log::error("classifier", told);
            None
        })?
    }
}
