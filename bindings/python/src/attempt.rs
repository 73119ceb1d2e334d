//! One request of another HTTP library, on its way through a rotation.
//!
//! The steps are those of the core, as small numbers. An attempt is used by one thread at a time; a second
//! one is told so, and never waits.

use std::{
    sync::{Arc, Mutex, MutexGuard, TryLockError},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use keyswap::{Failure, Step};
use pyo3::{exceptions::PyRuntimeError, prelude::*};
use url::Url;

use crate::{
    authorizer::{Authority, Patch, parse},
    bridge::{self, Job},
    credential::no_pickle,
    errors::{invalid, raise},
    process::Local,
};

const SEND: u8 = 0;
const WAIT: u8 = 1;
const NEED_BODY: u8 = 2;
const RETURN: u8 = 3;
const FAIL: u8 = 4;

/// One request on its way through a rotation. In a forked child it begins anew.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Attempt {
    authority: Arc<Authority>,
    url: Url,
    replayable: bool,
    deadline: Option<Duration>,
    state: Arc<Mutex<State>>,
}

/// None while it is waited for elsewhere, and once closed.
type State = Local<Option<keyswap::Attempt>>;

impl Attempt {
    pub(crate) fn new(
        authority: Arc<Authority>,
        attempt: keyswap::Attempt,
        url: Url,
        replayable: bool,
        deadline: Option<Duration>,
    ) -> Self {
        let state = Arc::new(Mutex::new(Local::new(Some(attempt))));
        Self { authority, url, replayable, deadline, state }
    }

    /// The state, for a moment. It never waits: two threads that share an attempt are a mistake.
    fn state(&self) -> PyResult<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            Err(TryLockError::Poisoned(state)) => Ok(state.into_inner()),
            Err(TryLockError::WouldBlock) => Err(busy()),
        }
    }

    fn with<T>(
        &self,
        py: Python<'_>,
        use_it: impl FnOnce(&mut keyswap::Attempt) -> PyResult<T>,
    ) -> PyResult<T> {
        let mut state = self.state()?;
        if state.get().is_none() {
            let live = self.authority.live(py)?;
            let anew = live.inner.begin(&self.url, self.replayable, self.deadline);
            *state = Local::new(Some(anew.map_err(|error| raise(py, &error))?));
        }
        let attempt = state.get_mut().and_then(Option::as_mut).ok_or_else(busy)?;
        use_it(attempt)
    }

    /// Takes the attempt away for a wait that goes on elsewhere.
    fn take(&self, py: Python<'_>) -> PyResult<keyswap::Attempt> {
        self.with(py, |_| Ok(()))?;
        self.state()?.get_mut().and_then(Option::take).ok_or_else(busy)
    }

    async fn wait_out(state: Arc<Mutex<State>>, mut attempt: keyswap::Attempt) -> u8 {
        let step = number(attempt.wait().await);
        if let Ok(mut state) = state.lock()
            && let Some(place) = state.get_mut()
        {
            *place = Some(attempt);
        }
        step
    }
}

#[pymethods]
impl Attempt {
    /// Send the request with what `apply` adds, and report with `response` or `failed`.
    #[classattr]
    const SEND: u8 = SEND;
    /// Call `wait`; keep the last response meanwhile.
    #[classattr]
    const WAIT: u8 = WAIT;
    /// Call `response` again, with the first bytes of the body, at most `body_limit`.
    #[classattr]
    const NEED_BODY: u8 = NEED_BODY;
    /// The last response, or the library's own exception, is the answer.
    #[classattr]
    const RETURN: u8 = RETURN;
    /// There is no response to return: raise `error`.
    #[classattr]
    const FAIL: u8 = FAIL;

    /// What to do next.
    #[getter]
    fn step(&self, py: Python<'_>) -> PyResult<u8> {
        self.with(py, |attempt| Ok(number(attempt.step())))
    }

    /// The exception of FAIL.
    #[getter]
    fn error(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.with(py, |attempt| match attempt.step() {
            Step::Fail(error) => Ok(Some(raise(py, error).into_value(py).into_any())),
            _ => Ok(None),
        })
    }

    /// How many bytes NEED_BODY asks for.
    #[getter]
    fn body_limit(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |attempt| match attempt.step() {
            Step::NeedBody { max, .. } => Ok(*max),
            _ => Ok(0),
        })
    }

    /// The id of the credential of the send under way.
    #[getter]
    fn credential_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.with(py, |attempt| Ok(attempt.credential_id().map(str::to_owned)))
    }

    /// How often the request was sent so far, with the send under way.
    #[getter]
    fn sends(&self, py: Python<'_>) -> PyResult<u32> {
        self.with(py, |attempt| Ok(attempt.sends()))
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
        let (url, headers) = (parse(py, url)?, header_map(&headers));
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| invalid(py, "not the name of an HTTP method"))?;
        self.with(py, |attempt| {
            let patch = attempt.apply(&method, &url, &headers, body);
            patch.map(|patch| Patch::new(patch, None)).map_err(|error| raise(py, &error))
        })
    }

    /// The response of this hop has come. `body` is what NEED_BODY asked for. Returns the next step.
    #[pyo3(signature = (status, headers = Vec::new(), body = None))]
    fn response(
        &self,
        py: Python<'_>,
        status: u16,
        headers: Vec<(String, String)>,
        body: Option<&[u8]>,
    ) -> PyResult<u8> {
        let status = StatusCode::from_u16(status).map_err(|_| invalid(py, "not an HTTP status"))?;
        let headers = header_map(&headers);
        self.with(py, |attempt| Ok(number(attempt.response(status, &headers, body))))
    }

    /// No response came: "connect", "timeout", or "other". Returns the next step.
    #[pyo3(signature = (failure = "other"))]
    fn failed(&self, py: Python<'_>, failure: &str) -> PyResult<u8> {
        let failure = match failure {
            "connect" => Failure::Connect,
            "timeout" => Failure::Timeout,
            _ => Failure::Other,
        };
        self.with(py, |attempt| Ok(number(attempt.failed(failure))))
    }

    /// Waits as WAIT says; at once, if the step is another. Returns the next step.
    fn wait(&self, py: Python<'_>) -> PyResult<u8> {
        let (state, attempt) = (self.state.clone(), self.take(py)?);
        bridge::block(py, async move { Ok(Self::wait_out(state, attempt).await) })
    }

    /// `wait`, for an event loop.
    fn _wait(&self, py: Python<'_>, future: &Bound<'_, PyAny>) -> PyResult<Job> {
        let (state, attempt) = (self.state.clone(), self.take(py)?);
        let work = async move { Ok(Self::wait_out(state, attempt).await) };
        bridge::spawn(py, future, work, |py, step| Ok(step.into_pyobject(py)?.into_any().unbind()))
    }

    /// Whether the last response was a rejection. If the first one was, too, it is the one to return when all is
    /// in vain.
    #[getter]
    fn is_rejected(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |attempt| Ok(attempt.is_rejected()))
    }

    /// Why a wait for a fresh credential brought nothing.
    #[getter]
    fn cause(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.with(py, |attempt| {
            Ok(attempt.cause().map(|error| raise(py, error).into_value(py).into_any()))
        })
    }

    /// Begins again for a reason that is not the credential: after a 503, say. False if the request was
    /// sent as often as it may be.
    fn repeat(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |attempt| Ok(attempt.repeat()))
    }

    /// Gives back what it holds. It may be called at any time, and again.
    fn close(&self) {
        if let Ok(mut state) = self.state()
            && let Some(attempt) = state.get_mut()
        {
            *attempt = None;
        }
    }

    fn __repr__(&self) -> String {
        let state = self.state().ok();
        let attempt = state.as_ref().and_then(|state| state.get()).and_then(Option::as_ref);
        let id = attempt.and_then(|attempt| attempt.credential_id()).unwrap_or("nothing");
        format!("<keyswap.Attempt with {id}>")
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("request under way")
    }
}

fn number(step: &Step) -> u8 {
    match step {
        Step::Send => SEND,
        Step::Wait => WAIT,
        Step::NeedBody { .. } => NEED_BODY,
        Step::Fail(_) => FAIL,
        _ => RETURN,
    }
}

fn busy() -> PyErr {
    PyRuntimeError::new_err("the attempt is closed, or in use elsewhere")
}

/// Headers as another library has them. What is no header is passed over: it cannot be sent either.
pub(crate) fn header_map(pairs: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    headers
}
