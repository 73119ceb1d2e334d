//! A program's own function as a signature.
//!
//! It is called for each send, with the credential and the request as it will be sent. What it raises
//! counts against the credential; the message is not shown, since it may hold the key.

use std::{fmt, sync::Arc};

use http::HeaderName;
use keyswap::{Credential as CoreCredential, Error, ErrorKind, Patch, Unsigned as CoreUnsigned};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyMapping, PyTuple},
};

use crate::{
    credential::{Credential, datetime},
    errors::describe,
    scheme::Scheme,
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
        Scheme::new(keyswap::Scheme::signing(Function(function)), "Sign(...)").add_subclass(Self)
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

impl keyswap::Sign for Function {
    fn sign(
        &self,
        credential: &CoreCredential,
        request: &CoreUnsigned<'_>,
        patch: &mut Patch,
    ) -> Result<(), Error> {
        let mut ask = || Python::try_attach(|py| self.ask(py, credential, request, patch));
        // A thread of the runtime must not be held up by a program's function.
        let signed = match tokio::runtime::Handle::try_current() {
            Ok(_) => tokio::task::block_in_place(&mut ask),
            Err(_) => ask(),
        };
        signed.unwrap_or_else(|| Err(failed("the interpreter is ending".into())))
    }
}

impl Function {
    fn ask(
        &self,
        py: Python<'_>,
        credential: &CoreCredential,
        request: &CoreUnsigned<'_>,
        patch: &mut Patch,
    ) -> Result<(), Error> {
        let raised = |error| failed(format!("it raised {}", describe(py, &error)));
        let shown = show(py, request).map_err(raised)?;
        let credential_shown = Credential::new(Arc::new(credential.clone()));
        let answer = self.0.bind(py).call1((credential_shown, shown)).map_err(raised)?;
        let (headers, query) = match answer.cast::<PyTuple>() {
            Ok(pair) => {
                pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().map_err(|_| odd())?
            }
            Err(_) => (answer, PyDict::new(py).into_any()),
        };
        for (name, value) in pairs(&headers)? {
            let name: HeaderName =
                name.parse().map_err(|_| failed("it named no valid header".into()))?;
            patch.add_header(name, &value, credential)?;
        }
        for (name, value) in pairs(&query)? {
            patch.add_query(&name, &value);
        }
        Ok(())
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function(..)")
    }
}

fn show(py: Python<'_>, request: &CoreUnsigned<'_>) -> PyResult<Unsigned> {
    let headers = PyDict::new(py);
    for (name, value) in request.headers {
        headers.set_item(name.as_str(), String::from_utf8_lossy(value.as_bytes()))?;
    }
    Ok(Unsigned {
        method: request.method.as_str().to_owned(),
        url: request.url.as_str().to_owned(),
        headers: headers.unbind(),
        body: request.body.map(|body| PyBytes::new(py, body).unbind()),
        now: datetime(py, Some(request.now))?,
    })
}

fn pairs(mapping: &Bound<'_, PyAny>) -> Result<Vec<(String, String)>, Error> {
    let mapping = mapping.cast::<PyMapping>().map_err(|_| odd())?;
    let items = mapping.items().map_err(|_| odd())?;
    items.iter().map(|item| item.extract().map_err(|_| odd())).collect()
}

fn odd() -> Error {
    let what = "it must return a mapping of headers, or a pair of mappings: headers, and parameters of the query; all of them strings";
    failed(what.into())
}

fn failed(what: String) -> Error {
    Error::new(ErrorKind::SchemeFailed, format!("the signature of the program failed: {what}"))
}
