//! Credentials for requests that another HTTP library sends.
//!
//! A host asks for what is `prepared` (a few atomic loads, one object an epoch) and patches its request
//! with it. It begins an `Attempt` where there is none, because the snapshot is probing or the scheme signs,
//! and with `begin_after` when a response matches the attention.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::{HeaderValue, Method, StatusCode};
use keyswap::{
    Error, ErrorKind, host,
    redirect::{self, Asked},
};
use pyo3::{
    prelude::*,
    sync::PyOnceLock,
    types::{PySet, PyString, PyTuple},
};
use url::Url;

use crate::{
    attempt::{Attempt, header_map},
    credential::no_pickle,
    errors::{invalid, raise},
    keys::{Handle, KeySwap, limit},
    process::{Here, PerProcess},
    scheme::{Classifier, Scheme},
};

/// The most origins that are noted, for a host that passes whole URLs.
const MOST_ORIGINS: usize = 64;

/// What an authorizer, or a client, is made of.
pub(crate) struct Recipe {
    pub(crate) keys: Arc<Handle>,
    pub(crate) scheme: Option<keyswap::Scheme>,
    pub(crate) origins: Vec<String>,
    pub(crate) plain_http: bool,
    pub(crate) classifier: Option<Py<PyAny>>,
    pub(crate) own_header_wins: bool,
}

impl Recipe {
    pub(crate) fn new(
        keys: &Bound<'_, KeySwap>,
        scheme: Option<Bound<'_, Scheme>>,
        origins: Vec<String>,
        plain_http: bool,
        classifier: Option<Py<PyAny>>,
        own_header_wins: bool,
    ) -> Self {
        Self {
            keys: keys.get().handle.clone(),
            scheme: scheme.map(|scheme| scheme.get().inner.clone()),
            origins,
            plain_http,
            classifier,
            own_header_wins,
        }
    }
}

pub(crate) struct Live {
    pub(crate) inner: keyswap::Authorizer,
    cached: ArcSwapOption<Cached>,
}

struct Cached {
    epoch: u64,
    snapshot: Py<Snapshot>,
}

/// Puts credentials on requests that another library sends, and learns from the responses.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Authorizer(Arc<Authority>);

pub(crate) struct Authority {
    recipe: Recipe,
    live: PerProcess<Live>,
}

impl Authority {
    pub(crate) fn live(&self, py: Python<'_>) -> PyResult<Here<Live>> {
        self.live.get(py, |_| {
            let recipe = &self.recipe;
            let mut builder = keyswap::Authorizer::builder(&recipe.keys.live(py)?.keys);
            if recipe.plain_http {
                builder = builder.plain_http_allowed();
            }
            if recipe.own_header_wins {
                builder = builder.own_header_wins();
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

impl Authorizer {
    /// Shows the patch of the newest snapshot, if a request to this origin may be sent with it alone.
    #[inline]
    fn with_prepared<T>(
        &self,
        origin: &Bound<'_, PyString>,
        found: impl FnOnce(&Bound<'_, Patch>) -> PyResult<T>,
    ) -> PyResult<Option<T>> {
        let py = origin.py();
        let live = self.0.live(py)?;
        let cached = live.cached.load();
        let held;
        let snapshot = match &*cached {
            Some(cached) if cached.epoch == host::epoch(live.inner.keys()) => cached.snapshot.get(),
            _ => {
                held = self.snapshot(py)?;
                held.get()
            }
        };
        let is_plain = !snapshot.inner.wants_evidence() && !live.inner.is_throttled();
        let Some(patch) = snapshot.patch.as_ref().filter(|_| is_plain) else { return Ok(None) };
        let admitted = snapshot.admitted.bind(py);
        if !admitted.contains(origin)? {
            let url = Url::parse(origin.to_str()?).ok();
            if !url.is_some_and(|url| live.inner.admits(&url)) {
                return Ok(None);
            }
            if admitted.len() < MOST_ORIGINS {
                admitted.add(origin)?;
            }
        }
        found(patch.bind(py)).map(Some)
    }
}

#[pymethods]
impl Authorizer {
    /// Raises InvalidConfigError and InsecureUrlError.
    #[new]
    #[pyo3(signature = (
        keys, *, scheme = None, allowed_origins, plain_http_allowed = false, classifier = None,
        own_header_wins = false
    ))]
    fn new(
        py: Python<'_>,
        keys: &Bound<'_, KeySwap>,
        scheme: Option<Bound<'_, Scheme>>,
        allowed_origins: Vec<String>,
        plain_http_allowed: bool,
        classifier: Option<Py<PyAny>>,
        own_header_wins: bool,
    ) -> PyResult<Self> {
        let recipe = Recipe::new(
            keys,
            scheme,
            allowed_origins,
            plain_http_allowed,
            classifier,
            own_header_wins,
        );
        let authority = Authority { recipe, live: PerProcess::new() };
        authority.live(py)?;
        Ok(Self(Arc::new(authority)))
    }

    /// What requests see now: the same object until that changes.
    #[getter]
    fn snapshot(&self, py: Python<'_>) -> PyResult<Py<Snapshot>> {
        let live = self.0.live(py)?;
        if let Some(cached) = &*live.cached.load()
            && cached.epoch == host::epoch(live.inner.keys())
        {
            return Ok(cached.snapshot.clone_ref(py));
        }
        let inner = live.inner.snapshot();
        let patch = host::prepare(&live.inner, &inner);
        let patch = patch.map(|patch| Patch::new(patch, Some(inner.clone())));
        let patch = patch.map(|patch| Py::new(py, patch)).transpose()?;
        let epoch = inner.epoch();
        let admitted = PySet::empty(py)?.unbind();
        let snapshot = Py::new(py, Snapshot { inner, patch, admitted })?;
        let cached = Cached { epoch, snapshot: snapshot.clone_ref(py) };
        live.cached.store(Some(Arc::new(cached)));
        Ok(snapshot)
    }

    /// What a request to this origin, such as "https://api.example.com", is sent with, without an attempt.
    /// None where it takes an attempt: the snapshot is probing, or has no patch, or the API asked for fewer
    /// requests; and for an origin that credentials may not go to.
    fn prepared(&self, origin: &Bound<'_, PyString>) -> PyResult<Option<Py<Patch>>> {
        self.with_prepared(origin, |patch| Ok(patch.clone().unbind()))
    }

    /// Puts what a request to this origin is sent with on its headers, and returns it. None where `prepared`
    /// has nothing: nothing is put then.
    fn put(
        &self,
        origin: &Bound<'_, PyString>,
        headers: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Py<Patch>>> {
        self.with_prepared(origin, |patch| {
            patch.get().put(headers)?;
            Ok(patch.clone().unbind())
        })
    }

    /// The statuses of the responses that an attempt has to be shown.
    #[getter]
    fn attention(&self, py: Python<'_>) -> PyResult<Vec<u16>> {
        Ok(self.0.live(py)?.inner.response_filter().statuses)
    }

    /// The names, in lower case, of the headers whose responses an attempt has to be shown.
    #[getter]
    fn attention_headers(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let headers = self.0.live(py)?.inner.response_filter().headers;
        Ok(headers.into_iter().map(String::from).collect())
    }

    /// How many bytes of a body a classifier may ask for.
    #[getter]
    fn body_limit(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.0.live(py)?.inner.response_filter().body_limit)
    }

    /// Whether a request goes out as it is, because it has a header that the patch sets and that wins. What
    /// comes back is then no evidence.
    ///
    /// Raises InvalidConfigError if it has such a header and nobody said which one counts.
    fn yields(
        &self,
        py: Python<'_>,
        patch: &Bound<'_, Patch>,
        headers: Vec<(String, String)>,
    ) -> PyResult<bool> {
        let yields = self.0.live(py)?.inner.yields(&patch.get().inner, &header_map(&headers));
        yields.map_err(|error| raise(py, &error))
    }

    /// Whether a credential for this URL must not go through a proxy.
    fn goes_direct(&self, py: Python<'_>, url: &str) -> PyResult<bool> {
        let url = parse(py, url)?;
        Ok(self.0.live(py)?.inner.goes_direct(&url))
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

    /// A request was sent with this patch of a snapshot, and the response matches the attention.
    ///
    /// Raises OriginNotAllowedError.
    #[pyo3(signature = (patch, url, *, replayable = true, deadline = None))]
    fn begin_after(
        &self,
        py: Python<'_>,
        patch: &Bound<'_, Patch>,
        url: &str,
        replayable: bool,
        deadline: Option<f64>,
    ) -> PyResult<Attempt> {
        let (url, deadline) = (parse(py, url)?, limit(py, deadline)?);
        let live = self.0.live(py)?;
        let Some(snapshot) = &patch.get().snapshot else {
            return Err(invalid(py, "not the patch of a snapshot"));
        };
        // The host does not say the method yet: the one that is repeated least.
        let attempt =
            host::begin_after(&live.inner, snapshot, &Method::POST, &url, replayable, deadline);
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
    /// Origins that were found admitted; gone with the epoch, because a set may change them.
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
        self.inner.wants_evidence()
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

    fn __repr__(&self) -> String {
        let in_use = self.credential_id().unwrap_or("nothing");
        format!("<keyswap.Snapshot {}, {in_use} in use>", self.inner.epoch())
    }
}

/// What a scheme adds to a request. It prints the names of what it adds, never the values.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Patch {
    inner: keyswap::Patch,
    /// Where it is from; None if an attempt made it.
    snapshot: Option<Arc<keyswap::Snapshot>>,
    names: PyOnceLock<Py<PyTuple>>,
    /// Its headers as Python has them, made when first put.
    pairs: PyOnceLock<Vec<(Py<PyString>, Py<PyString>)>>,
}

impl Patch {
    pub(crate) fn new(inner: keyswap::Patch, snapshot: Option<Arc<keyswap::Snapshot>>) -> Self {
        Self { inner, snapshot, names: PyOnceLock::new(), pairs: PyOnceLock::new() }
    }
}

#[pymethods]
impl Patch {
    /// The names of the headers that it sets, in lower case.
    #[getter]
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let names = || self.inner.headers().map(|(name, _)| PyString::intern(py, name.as_str()));
        let made = self.names.get_or_try_init(py, || {
            PyTuple::new(py, names().collect::<Vec<_>>()).map(Bound::unbind)
        })?;
        Ok(made.bind(py).clone())
    }

    /// The headers that it sets, in the clear: for the request, and nothing else.
    fn reveal(&self) -> Vec<(&str, String)> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        self.inner.headers().map(|(name, value)| (name.as_str(), text(value))).collect()
    }

    /// Sets the headers on a mapping of headers.
    fn put(&self, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = headers.py();
        let pairs = self.pairs.get_or_init(py, || {
            let text = |text: &str| PyString::new(py, text).unbind();
            let pairs = self.reveal().into_iter();
            pairs.map(|(name, value)| (PyString::intern(py, name).unbind(), text(&value))).collect()
        });
        for (name, value) in pairs {
            let name = name.bind(py);
            // What a mapping raises may quote the value, so it ends here.
            if headers.set_item(name, value.bind(py)).is_err() {
                let what = format!("the header {name} could not be set on these headers");
                return Err(raise(py, &Error::new(ErrorKind::SchemeFailed, what)));
            }
        }
        Ok(())
    }

    /// The URL with the query parameters that it sets.
    fn url(&self, py: Python<'_>, url: &str) -> PyResult<String> {
        let mut url = parse(py, url)?;
        self.inner.apply_query(&mut url);
        Ok(url.into())
    }

    /// The `Location` that came back from this URL as it may be followed and shown: without the parameters that
    /// this sets. None if it holds the credential in another way, so that it must not be followed.
    fn location(&self, py: Python<'_>, url: &str, location: &str) -> PyResult<Option<String>> {
        let url = parse(py, url)?;
        let Some(masked) = redirect::masked(&url, &self.inner, location) else {
            return Ok(Some(location.to_owned()));
        };
        let asked = Asked::new(&Method::GET, &url, &self.inner, true);
        Ok(asked.follow(StatusCode::FOUND, location).map(|_| masked))
    }

    /// Whether it adds nothing, as for an origin that is not allowed.
    #[getter]
    fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    fn __repr__(&self) -> String {
        let names: Vec<_> = self.inner.headers().map(|(name, _)| name.as_str()).collect();
        format!("<keyswap.Patch {}>", names.join(", "))
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("Patch")
    }
}

pub(crate) fn parse(py: Python<'_>, url: &str) -> PyResult<Url> {
    // The text is not repeated: it may hold a user and a password.
    match Url::parse(url) {
        Ok(url) if url.has_host() => Ok(url),
        _ => Err(invalid(py, "not a whole URL")),
    }
}
