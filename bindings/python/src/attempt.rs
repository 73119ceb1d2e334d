//! One request of another HTTP library, on its way through a rotation.

use std::sync::Arc;

use keyswap_host::{Error, Step, failure_named, header_map};
use pyo3::prelude::*;

use crate::{
    authorizer::{Authority, Patch},
    bridge::Work,
    credential::no_pickle,
    errors::{OrRaise, shown},
    process::{Here, PerProcess},
};

/// One request on its way through a rotation. In a forked child it begins anew.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Attempt {
    authority: Arc<Authority>,
    hop: Hop,
    live: PerProcess<keyswap_host::Attempt>,
}

/// The request that it is for.
pub(crate) struct Hop {
    pub(crate) url: String,
    pub(crate) replayable: bool,
    pub(crate) deadline: Option<f64>,
    pub(crate) scopes: Vec<String>,
}

impl Hop {
    pub(crate) fn begin(
        &self,
        on: &keyswap_host::Authorizer,
    ) -> Result<keyswap_host::Attempt, Error> {
        on.begin_requiring(&self.scopes, &self.url, self.replayable, self.deadline)
    }
}

impl Attempt {
    pub(crate) fn new(authority: Arc<Authority>, hop: Hop, begun: keyswap_host::Attempt) -> Self {
        Self { authority, hop, live: PerProcess::of(begun) }
    }

    fn live(&self, py: Python<'_>) -> PyResult<Here<keyswap_host::Attempt>> {
        let anew = || self.hop.begin(&self.authority.live(py)?.inner).or_raise(py);
        self.live.get(py, |_| anew())
    }
}

#[pymethods]
impl Attempt {
    /// Send the request with what `apply` adds, and report with `response` or `failed`.
    #[classattr]
    const SEND: u8 = Step::Send as u8;
    /// Call `wait`; keep the last response meanwhile.
    #[classattr]
    const WAIT: u8 = Step::Wait as u8;
    /// Call `response` again, with the first bytes of the body, at most `body_limit`.
    #[classattr]
    const NEED_BODY: u8 = Step::NeedBody as u8;
    /// The last response, or the library's own exception, is the answer.
    #[classattr]
    const RETURN: u8 = Step::Return as u8;
    /// There is no response to return: raise `error`.
    #[classattr]
    const FAIL: u8 = Step::Fail as u8;

    /// What to do next.
    #[getter]
    fn step(&self, py: Python<'_>) -> PyResult<u8> {
        self.live(py)?.step().map(number).or_raise(py)
    }

    /// The exception of FAIL.
    #[getter]
    fn error(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(shown(py, self.live(py)?.error().or_raise(py)?.as_ref()))
    }

    /// How many bytes NEED_BODY asks for.
    #[getter]
    fn body_limit(&self, py: Python<'_>) -> PyResult<usize> {
        self.live(py)?.body_limit().or_raise(py)
    }

    /// The id of the credential of the send under way.
    #[getter]
    fn credential_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.live(py)?.credential_id().or_raise(py)
    }

    /// How often the request was sent so far, with the send under way.
    #[getter]
    fn sends(&self, py: Python<'_>) -> PyResult<u32> {
        self.live(py)?.sends().or_raise(py)
    }

    /// What to add to the request for this hop. For an origin that is not allowed, nothing. `body` is
    /// None for a stream.
    ///
    /// Raises SchemeFailedError.
    #[pyo3(signature = (method, url, headers = Vec::new(), body = None))]
    fn apply(
        &self,
        py: Python<'_>,
        method: &str,
        url: &str,
        headers: Vec<(String, String)>,
        body: Option<&[u8]>,
    ) -> PyResult<Patch> {
        let patch = self.live(py)?.apply(method, url, &header_map(headers), body);
        patch.map(|patch| Patch::new(patch, None)).or_raise(py)
    }

    /// The response of this hop has come. `body` is what NEED_BODY asked for. Returns the next step.
    #[pyo3(signature = (status, headers = Vec::new(), body = None))]
    fn response(
        &self,
        py: Python<'_>,
        status: u32,
        headers: Vec<(String, String)>,
        body: Option<&[u8]>,
    ) -> PyResult<u8> {
        let step = self.live(py)?.response(status, &header_map(headers), body, None);
        step.map(number).or_raise(py)
    }

    /// No response came: "connect", "timeout", or "other". Returns the next step.
    #[pyo3(signature = (failure = "other"))]
    fn failed(&self, py: Python<'_>, failure: &str) -> PyResult<u8> {
        self.live(py)?.failed(failure_named(failure)).map(number).or_raise(py)
    }

    /// Waits as WAIT says; at once, if the step is another. Returns the next step.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self._wait(py)?.wait(py)
    }

    fn _wait(&self, py: Python<'_>) -> PyResult<Work> {
        Ok(Work::new(self.live(py)?.wait(), |_, step| Ok(number(step))))
    }

    /// Whether the last response was a rejection. If the first one was, too, it is the one to return when all is
    /// in vain.
    #[getter]
    fn is_rejected(&self, py: Python<'_>) -> PyResult<bool> {
        self.live(py)?.is_rejected().or_raise(py)
    }

    /// Why a wait for a fresh credential brought nothing.
    #[getter]
    fn cause(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(shown(py, self.live(py)?.cause().or_raise(py)?.as_ref()))
    }

    /// Begins again for a reason that is not the credential: after a 503, say. False if the request was
    /// sent as often as it may be.
    fn repeat(&self, py: Python<'_>) -> PyResult<bool> {
        self.live(py)?.repeat().or_raise(py)
    }

    /// Gives back what it holds. It may be called at any time, and again.
    fn close(&self) {
        if let Some(attempt) = self.live.get_if_made() {
            attempt.close();
        }
    }

    fn __repr__(&self) -> String {
        let id = self.live.get_if_made().and_then(|attempt| attempt.credential_id().ok().flatten());
        format!("<keyswap.Attempt with {}>", id.as_deref().unwrap_or("nothing"))
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("request under way")
    }
}

fn number(step: Step) -> u8 {
    step as u8
}
