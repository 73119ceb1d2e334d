//! A program's own function as a signature.

use std::sync::Arc;

use jiff::Timestamp;
use keyswap_host::{Error, ForeignSign, Signature, UnsignedRequest, signature_failed};
use pyo3::{
    prelude::*,
    types::{IntoPyDict, PyBytes, PyDict, PyMapping, PyTuple},
};

use crate::{
    credential::{Credential, datetime},
    errors::describe,
    scheme::{How, Scheme},
};

/// A signature of the program's own, for APIs that want each request signed: a function of the credential
/// and the request (an `Unsigned`) that returns the headers to add, as a mapping, or a pair of mappings: the
/// headers, and parameters of the query.
///
/// It is called before each send, on any thread, and must not wait. What it raises counts as a rejection of
/// the credential, and the request goes on with the next one; if there is none, it fails as SchemeFailedError,
/// before anything is sent.
#[pyclass(frozen, extends = Scheme, module = "keyswap")]
pub(crate) struct Sign;

#[pymethods]
impl Sign {
    #[new]
    fn new(function: Py<PyAny>) -> PyClassInitializer<Self> {
        Scheme::new(How::Sign(Arc::new(Function(function))), "Sign(...)").add_subclass(Self)
    }
}

/// A request that is about to be sent, as a signature sees it.
#[pyclass(frozen, get_all, module = "keyswap")]
pub(crate) struct Unsigned {
    /// The method.
    method: String,
    /// The whole URL.
    url: String,
    /// The headers, with names in lower case, without those that the signature adds.
    headers: Py<PyDict>,
    /// The bytes of the body: empty if there is none, and None if it is a stream.
    body: Option<Py<PyBytes>>,
    /// The time, with its zone, for signatures that carry one.
    now: Option<Py<PyAny>>,
}

#[pymethods]
impl Unsigned {
    fn __repr__(&self) -> String {
        format!("<keyswap.Unsigned {}>", self.method)
    }
}

struct Function(Py<PyAny>);

impl ForeignSign for Function {
    fn sign(
        &self,
        credential: Arc<keyswap::Credential>,
        request: UnsignedRequest,
    ) -> Result<Signature, Error> {
        let ending = || Err(signature_failed("the interpreter is ending"));
        Python::try_attach(|py| self.ask(py, credential, request)).unwrap_or_else(ending)
    }
}

impl Function {
    fn ask(
        &self,
        py: Python<'_>,
        credential: Arc<keyswap::Credential>,
        request: UnsignedRequest,
    ) -> Result<Signature, Error> {
        let call = || self.0.bind(py).call1((Credential::new(credential), show(py, request)?));
        let raised = |error| signature_failed(&format!("it raised {}", describe(py, &error)));
        let answer = call().map_err(raised)?;
        let Ok(pair) = answer.cast::<PyTuple>() else {
            return Ok(Signature { headers: pairs(&answer)?, query: Vec::new() });
        };
        let (headers, query) = pair.extract().map_err(odd)?;
        Ok(Signature { headers: pairs(&headers)?, query: pairs(&query)? })
    }
}

fn show(py: Python<'_>, request: UnsignedRequest) -> PyResult<Unsigned> {
    Ok(Unsigned {
        method: request.method,
        url: request.url,
        headers: request.headers.into_py_dict(py)?.unbind(),
        body: request.body.map(|body| PyBytes::new(py, &body).unbind()),
        now: datetime(py, Timestamp::from_millisecond(request.now_ms).ok())?,
    })
}

fn pairs(mapping: &Bound<'_, PyAny>) -> Result<Vec<(String, String)>, Error> {
    let items = mapping.cast::<PyMapping>().map_err(odd)?.items().map_err(odd)?;
    items.iter().map(|item| item.extract().map_err(odd)).collect()
}

fn odd<E>(_: E) -> Error {
    signature_failed(
        "it must return a mapping of headers, or a pair of mappings: headers, and parameters of the query; all of them strings",
    )
}
