//! Credentials for requests that another HTTP library sends.
//!
//! A host reads `authorizer.snapshot` (a few atomic loads, one object an epoch) and patches its request
//! from it. It begins an `Attempt` while the snapshot is probing, when the scheme signs (the snapshot then
//! has no patch), or with `begin_after` when a response matches the attention. Steps are small numbers.

use std::{
    sync::{Arc, Mutex, MutexGuard, TryLockError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use keyswap::{Failure, Step};
use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PySet};
use url::Url;

use crate::{
    bridge::{self, Job},
    credential::no_pickle,
    errors::{invalid, raise},
    keys::{Handle, KeySwap, limit},
    process::{Here, Local, PerProcess},
    scheme::{Classifier, Scheme},
};

const SEND: u8 = 0;
const WAIT: u8 = 1;
const NEED_BODY: u8 = 2;
const RETURN: u8 = 3;
const FAIL: u8 = 4;

/// What an authorizer, or a client, is made of.
pub(crate) struct Recipe {
    pub(crate) keys: Arc<Handle>,
    pub(crate) scheme: Option<keyswap::Scheme>,
    pub(crate) origins: Vec<String>,
    pub(crate) plain_http: bool,
    pub(crate) classifier: Option<Py<PyAny>>,
}

impl Recipe {
    pub(crate) fn new(
        keys: &Bound<'_, KeySwap>,
        scheme: Option<Bound<'_, Scheme>>,
        origins: Vec<String>,
        plain_http: bool,
        classifier: Option<Py<PyAny>>,
    ) -> Self {
        Self {
            keys: keys.get().handle.clone(),
            scheme: scheme.map(|scheme| scheme.get().inner.clone()),
            origins,
            plain_http,
            classifier,
        }
    }
}

struct Live {
    inner: keyswap::Authorizer,
    cached: ArcSwapOption<Cached>,
}

struct Cached {
    epoch: u64,
    snapshot: Py<Snapshot>,
}

/// Puts credentials on requests that another library sends, and learns from the responses.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Authorizer(Arc<Authority>);

struct Authority {
    recipe: Recipe,
    live: PerProcess<Live>,
}

impl Authority {
    fn live(&self, py: Python<'_>) -> PyResult<Here<Live>> {
        self.live.get(py, |_| {
            let recipe = &self.recipe;
            let mut builder = keyswap::Authorizer::builder(&recipe.keys.live(py)?.keys);
            if recipe.plain_http {
                builder = builder.plain_http_allowed();
            }
            if let Some(scheme) = &recipe.scheme {
                builder = builder.scheme(scheme.clone());
            }
            if let Some(classifier) = &recipe.classifier {
                builder = builder.classifier(Classifier::new(classifier.bind(py))?);
            }
            let raised = |error| raise(py, &error);
            for origin in &recipe.origins {
                builder = builder.allow_origin(origin).map_err(raised)?;
            }
            let inner = builder.build().map_err(raised)?;
            Ok(Live { inner, cached: ArcSwapOption::empty() })
        })
    }
}

#[pymethods]
impl Authorizer {
    /// Raises InvalidConfigError and InsecureUrlError.
    #[new]
    #[pyo3(signature = (keys, *, scheme = None, allowed_origins, plain_http_allowed = false, classifier = None))]
    fn new(
        py: Python<'_>,
        keys: &Bound<'_, KeySwap>,
        scheme: Option<Bound<'_, Scheme>>,
        allowed_origins: Vec<String>,
        plain_http_allowed: bool,
        classifier: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let recipe = Recipe::new(keys, scheme, allowed_origins, plain_http_allowed, classifier);
        let authority = Authority { recipe, live: PerProcess::new() };
        authority.live(py)?;
        Ok(Self(Arc::new(authority)))
    }

    /// What requests see now: the same object until that changes.
    #[getter]
    fn snapshot(&self, py: Python<'_>) -> PyResult<Py<Snapshot>> {
        let live = self.0.live(py)?;
        let inner = live.inner.snapshot();
        if let Some(cached) = &*live.cached.load()
            && cached.epoch == inner.epoch()
        {
            return Ok(cached.snapshot.clone_ref(py));
        }
        let patch = live.inner.prepare(&inner).map_err(|error| raise(py, &error))?;
        let patch = patch.map(|patch| Py::new(py, Patch(patch))).transpose()?;
        let epoch = inner.epoch();
        let admitted = PySet::empty(py)?.unbind();
        let snapshot = Py::new(py, Snapshot { inner, patch, admitted })?;
        let cached = Cached { epoch, snapshot: snapshot.clone_ref(py) };
        live.cached.store(Some(Arc::new(cached)));
        Ok(snapshot)
    }

    /// The statuses of the responses that an attempt has to be shown.
    #[getter]
    fn attention(&self, py: Python<'_>) -> PyResult<Vec<u16>> {
        Ok(self.0.live(py)?.inner.attention().statuses)
    }

    /// The names, in lower case, of the headers whose responses an attempt has to be shown.
    #[getter]
    fn attention_headers(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let headers = self.0.live(py)?.inner.attention().headers;
        Ok(headers.into_iter().map(String::from).collect())
    }

    /// How many bytes of a body a classifier may ask for.
    #[getter]
    fn body_limit(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.0.live(py)?.inner.attention().body_limit)
    }

    /// Whether credentials may go to this URL now.
    fn admits(&self, py: Python<'_>, url: &str) -> PyResult<bool> {
        let url = parse(py, url)?;
        Ok(self.0.live(py)?.inner.admits(&url))
    }

    /// A request is about to be sent. `replayable` says whether its body can be sent again; `deadline`
    /// is how many seconds the caller waits at most.
    ///
    /// Raises OriginNotAllowedError.
    #[pyo3(signature = (url, *, replayable = true, deadline = None))]
    fn begin(
        &self,
        py: Python<'_>,
        url: &str,
        replayable: bool,
        deadline: Option<f64>,
    ) -> PyResult<Attempt> {
        let (url, deadline) = (parse(py, url)?, limit(py, deadline)?);
        let attempt = self.0.live(py)?.inner.begin(&url, replayable, deadline);
        let attempt = attempt.map_err(|error| raise(py, &error))?;
        Ok(Attempt::new(self.0.clone(), attempt, url, replayable, deadline))
    }

    /// A request was sent with the patch of `snapshot`, and the response matches the attention.
    ///
    /// Raises OriginNotAllowedError.
    #[pyo3(signature = (snapshot, url, *, replayable = true, deadline = None))]
    fn begin_after(
        &self,
        py: Python<'_>,
        snapshot: &Bound<'_, Snapshot>,
        url: &str,
        replayable: bool,
        deadline: Option<f64>,
    ) -> PyResult<Attempt> {
        let (url, deadline) = (parse(py, url)?, limit(py, deadline)?);
        let live = self.0.live(py)?;
        let attempt = live.inner.begin_after(&snapshot.get().inner, &url, replayable, deadline);
        let attempt = attempt.map_err(|error| raise(py, &error))?;
        Ok(Attempt::new(self.0.clone(), attempt, url, replayable, deadline))
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.Authorizer {}>", self.0.recipe.origins.join(", "))
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("Authorizer")
    }
}

/// What requests see in one epoch.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Snapshot {
    inner: Arc<keyswap::Snapshot>,
    patch: Option<Py<Patch>>,
    admitted: Py<PySet>,
}

#[pymethods]
impl Snapshot {
    /// The local number of this state.
    #[getter]
    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    /// Whether each request is to begin an attempt.
    #[getter]
    fn probing(&self) -> bool {
        self.inner.is_probing()
    }

    /// The id of the credential in use.
    #[getter]
    fn credential_id(&self) -> Option<&str> {
        self.inner.in_use().map(|credential| credential.id())
    }

    /// What the credential in use adds to any request. None if nothing is usable or the scheme signs: a
    /// request then begins an attempt.
    #[getter]
    fn patch(&self, py: Python<'_>) -> Option<Py<Patch>> {
        self.patch.as_ref().map(|patch| patch.clone_ref(py))
    }

    /// The origins that the host has found admitted; its own notes, gone with the epoch.
    #[getter]
    fn admitted(&self, py: Python<'_>) -> Py<PySet> {
        self.admitted.clone_ref(py)
    }

    fn __repr__(&self) -> String {
        let in_use = self.credential_id().unwrap_or("nothing");
        format!("<keyswap.Snapshot {}, {in_use} in use>", self.inner.epoch())
    }
}

/// What a scheme adds to a request. It prints the names of what it adds, never the values.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Patch(keyswap::Patch);

#[pymethods]
impl Patch {
    /// The names of the headers that it sets, in lower case.
    #[getter]
    fn names(&self) -> Vec<&str> {
        self.0.headers().map(|(name, _)| name.as_str()).collect()
    }

    /// The headers that it sets, in the clear: for the request, and nothing else.
    fn reveal(&self) -> Vec<(&str, String)> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        self.0.headers().map(|(name, value)| (name.as_str(), text(value))).collect()
    }

    /// Sets the headers on a mapping of headers.
    fn put(&self, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        for (name, value) in self.reveal() {
            headers.set_item(name, value)?;
        }
        Ok(())
    }

    /// The URL with the query parameters that it sets.
    fn url(&self, py: Python<'_>, url: &str) -> PyResult<String> {
        let mut url = parse(py, url)?;
        self.0.apply_query(&mut url);
        Ok(url.into())
    }

    /// The URL without them: a server may have copied them into a redirect.
    fn clean(&self, py: Python<'_>, url: &str) -> PyResult<String> {
        let mut url = parse(py, url)?;
        self.0.remove_query(&mut url);
        Ok(url.into())
    }

    /// Whether it adds nothing, as for an origin that is not allowed.
    #[getter]
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.Patch {}>", self.names().join(", "))
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("Patch")
    }
}

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
    fn new(
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
            Step::NeedBody { max } => Ok(*max),
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
            patch.map(Patch).map_err(|error| raise(py, &error))
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

fn parse(py: Python<'_>, url: &str) -> PyResult<Url> {
    // The text is not repeated: it may hold a user and a password.
    match Url::parse(url) {
        Ok(url) if url.has_host() => Ok(url),
        _ => Err(invalid(py, "not a whole URL")),
    }
}

/// Headers as another library has them. What is no header is passed over: it cannot be sent either.
fn header_map(pairs: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    headers
}
