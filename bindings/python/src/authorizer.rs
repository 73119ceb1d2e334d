//! Credentials for requests that another HTTP library sends.
//!
//! A host asks for what is `prepared` (a few atomic loads, one object an epoch) and patches its request
//! with it. It begins an `Attempt` where there is none, and with `begin_after` when a response matches the filter.

use std::sync::Arc;

use keyswap_host::{
    Error, ErrorKind, Foreign, MOST_ORIGINS, Prepared, header_map, invalid,
    options::AuthorizerOptions,
};
use pyo3::{
    prelude::*,
    sync::PyOnceLock,
    types::{PySet, PyString, PyTuple},
};

use crate::{
    attempt::{Attempt, Hop},
    cache::ByEpoch,
    credential::no_pickle,
    errors::{OrRaise, raise},
    keys::{Handle, KeySwap},
    process::{Here, PerProcess},
    scheme::{Classifier, How, Scheme},
};

/// What an authorizer, or a client, is made of.
pub(crate) struct Recipe {
    pub(crate) keys: Arc<Handle>,
    pub(crate) options: AuthorizerOptions,
    pub(crate) foreign: Foreign,
}

impl Recipe {
    pub(crate) fn new(
        keys: &Bound<'_, KeySwap>,
        mut options: AuthorizerOptions,
        scheme: Option<Bound<'_, Scheme>>,
        classifier: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mut foreign = Foreign::default();
        match scheme.as_ref().map(|scheme| &scheme.get().0) {
            Some(How::BuiltIn(scheme)) => options.scheme = Some(scheme.clone()),
            Some(How::Sign(sign)) => foreign.sign = Some(sign.clone()),
            None => {}
        }
        if let Some(function) = classifier {
            let (classifier, judged) = Classifier::new(&function)?;
            foreign.classifier = Some(Arc::new(classifier));
            options.classifier = Some(judged);
        }
        Ok(Self { keys: keys.get().handle.clone(), options, foreign })
    }
}

pub(crate) struct Live {
    pub(crate) inner: keyswap_host::Authorizer,
    snapshot: ByEpoch<Snapshot>,
}

impl Live {
    /// What requests see now: the same object until that changes.
    #[inline]
    fn snapshot(&self, py: Python<'_>) -> PyResult<Py<Snapshot>> {
        self.snapshot.get(py, self.inner.epoch(), || {
            let prepared = self.inner.prepared();
            let patch = prepared.patch_in_use().cloned();
            let patch = patch.map(|patch| Py::new(py, Patch::new(patch, Some(prepared.clone()))));
            let (patch, admitted) = (patch.transpose()?, PySet::empty(py)?.unbind());
            Ok((prepared.epoch(), Py::new(py, Snapshot { prepared, patch, admitted })?))
        })
    }
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
            let Recipe { keys, options, foreign } = &self.recipe;
            let inner = keyswap_host::Authorizer::new(&keys.live(py)?.keys, options, foreign);
            Ok(Live { inner: inner.or_raise(py)?, snapshot: ByEpoch::new() })
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
        let snapshot = live.snapshot(py)?.into_bound(py);
        let snapshot = snapshot.get();
        let is_plain = snapshot.prepared.patch().is_some() && !live.inner.is_throttled();
        let Some(patch) = snapshot.patch.as_ref().filter(|_| is_plain) else { return Ok(None) };
        let admitted = snapshot.admitted.bind(py);
        if !admitted.contains(origin)? {
            if !live.inner.admits(origin.to_str()?).unwrap_or(false) {
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
        classifier: Option<Bound<'_, PyAny>>,
        own_header_wins: bool,
    ) -> PyResult<Self> {
        let options = AuthorizerOptions {
            allowed_origins,
            plain_http_allowed,
            own_header_wins,
            ..AuthorizerOptions::default()
        };
        let recipe = Recipe::new(keys, options, scheme, classifier)?;
        let authority = Authority { recipe, live: PerProcess::new() };
        authority.live(py)?;
        Ok(Self(Arc::new(authority)))
    }

    /// What requests see now: the same object until that changes.
    #[getter]
    fn snapshot(&self, py: Python<'_>) -> PyResult<Py<Snapshot>> {
        self.0.live(py)?.snapshot(py)
    }

    /// What a request to this origin, such as "https://api.example.com", is sent with, without an attempt.
    /// None where it takes an attempt: the snapshot says so, or the API asked for fewer requests; and for an origin
    /// that credentials may not go to.
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

    /// The responses that an attempt has to be shown.
    #[getter]
    fn response_filter(&self, py: Python<'_>) -> PyResult<ResponseFilter> {
        let filter = self.0.live(py)?.inner.response_filter();
        let keyswap::ResponseFilter { statuses, headers, body_limit, .. } = filter;
        let headers = headers.into_iter().map(String::from).collect();
        Ok(ResponseFilter { statuses, headers, body_limit })
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
        self.0.live(py)?.inner.yields(&patch.get().inner, &header_map(headers)).or_raise(py)
    }

    /// Whether a credential for this URL must not go through a proxy.
    fn goes_direct(&self, py: Python<'_>, url: &str) -> PyResult<bool> {
        self.0.live(py)?.inner.goes_direct(url).or_raise(py)
    }

    /// Whether credentials may go to this URL now.
    fn admits(&self, py: Python<'_>, url: &str) -> PyResult<bool> {
        self.0.live(py)?.inner.admits(url).or_raise(py)
    }

    /// A request is about to be sent. `replayable` says whether its body can be sent again; `deadline`
    /// is how many seconds the caller waits at most. Without all of the `scopes` it fails with
    /// MissingScopeError, and nothing is sent.
    ///
    /// Raises OriginNotAllowedError.
    #[pyo3(signature = (url, *, replayable = true, deadline = None, scopes = Vec::new()))]
    fn begin(
        &self,
        py: Python<'_>,
        url: String,
        replayable: bool,
        deadline: Option<f64>,
        scopes: Vec<String>,
    ) -> PyResult<Attempt> {
        let hop = Hop { url, replayable, deadline, scopes };
        let begun = hop.begin(&self.0.live(py)?.inner).or_raise(py)?;
        Ok(Attempt::new(self.0.clone(), hop, begun))
    }

    /// A request was sent with this patch of a snapshot, and the response matches the filter. Unless its method is
    /// given, it is one that is not repeated.
    ///
    /// Raises OriginNotAllowedError.
    #[pyo3(signature = (patch, url, *, method = "POST", replayable = true, deadline = None))]
    fn begin_after(
        &self,
        py: Python<'_>,
        patch: &Bound<'_, Patch>,
        url: String,
        method: &str,
        replayable: bool,
        deadline: Option<f64>,
    ) -> PyResult<Attempt> {
        let Some(prepared) = &patch.get().prepared else {
            return Err(invalid("not the patch of a snapshot")).or_raise(py);
        };
        let begun = self.0.live(py)?.inner.begin_sent(prepared, method, &url, replayable, deadline);
        let begun = begun.or_raise(py)?;
        let hop = Hop { url, replayable, deadline, scopes: Vec::new() };
        Ok(Attempt::new(self.0.clone(), hop, begun))
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.Authorizer {}>", self.0.recipe.options.allowed_origins.join(", "))
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("Authorizer")
    }
}

/// The responses that an attempt has to be shown: with one of the statuses, or with one of the headers.
#[pyclass(frozen, get_all, module = "keyswap._native")]
pub(crate) struct ResponseFilter {
    statuses: Vec<u16>,
    /// Their names, in lower case.
    headers: Vec<String>,
    /// How many bytes of a body a classifier may ask for.
    body_limit: usize,
}

/// What requests see in one epoch.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Snapshot {
    prepared: Prepared,
    patch: Option<Py<Patch>>,
    /// Origins that were found admitted; gone with the epoch, because a set may change them.
    admitted: Py<PySet>,
}

#[pymethods]
impl Snapshot {
    /// The local number of this state.
    #[getter]
    fn epoch(&self) -> u64 {
        self.prepared.epoch()
    }

    /// Whether each request has to begin an attempt.
    #[getter]
    fn needs_attempt(&self) -> bool {
        self.prepared.patch().is_none()
    }

    /// The id of the credential in use.
    #[getter]
    fn credential_id(&self) -> Option<&str> {
        self.prepared.credential_id()
    }

    /// What the credential in use adds to any request. None if nothing is usable or the scheme signs: a
    /// request then begins an attempt.
    #[getter]
    fn patch(&self, py: Python<'_>) -> Option<Py<Patch>> {
        self.patch.as_ref().map(|patch| patch.clone_ref(py))
    }

    fn __repr__(&self) -> String {
        let in_use = self.credential_id().unwrap_or("nothing");
        format!("<keyswap.Snapshot {}, {in_use} in use>", self.prepared.epoch())
    }
}

/// What a scheme adds to a request. It prints the names of what it adds, never the values.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Patch {
    inner: keyswap_host::Patch,
    /// Where it is from; None if an attempt made it.
    prepared: Option<Prepared>,
    names: PyOnceLock<Py<PyTuple>>,
    /// Its headers as Python has them, made when first put.
    pairs: PyOnceLock<Vec<(Py<PyString>, Py<PyString>)>>,
}

impl Patch {
    pub(crate) fn new(inner: keyswap_host::Patch, prepared: Option<Prepared>) -> Self {
        Self { inner, prepared, names: PyOnceLock::new(), pairs: PyOnceLock::new() }
    }
}

#[pymethods]
impl Patch {
    /// The names of the headers that it sets, in lower case.
    #[getter]
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let made = self.names.get_or_try_init(py, || {
            let names = self.inner.names();
            let names = names.iter().map(|name| PyString::intern(py, name)).collect::<Vec<_>>();
            PyTuple::new(py, names).map(Bound::unbind)
        })?;
        Ok(made.bind(py).clone())
    }

    /// The headers that it sets, in the clear: for the request, and nothing else. Their names are spelled as the
    /// program or the set spells them.
    fn reveal(&self) -> Vec<(String, String)> {
        self.inner.reveal_pairs()
    }

    /// Sets the headers on a mapping of headers.
    fn put(&self, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = headers.py();
        let pairs = self.pairs.get_or_init(py, || {
            let text = |text: &str| PyString::new(py, text).unbind();
            let pairs = self.reveal().into_iter();
            pairs
                .map(|(name, value)| (PyString::intern(py, &name).unbind(), text(&value)))
                .collect()
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
        self.inner.reveal_url(url).or_raise(py)
    }

    /// The `Location` that came back from this URL as it may be followed and shown: without the parameters that
    /// this sets. None if it holds the credential in another way, so that it must not be followed.
    fn location(&self, py: Python<'_>, url: &str, location: &str) -> PyResult<Option<String>> {
        let Some(masked) = self.inner.masked(url, location).or_raise(py)? else {
            return Ok(Some(location.to_owned()));
        };
        let next = self.inner.follow("GET", url, true, 302, location).or_raise(py)?;
        Ok(next.map(|_| masked))
    }

    /// Whether it adds nothing, as for an origin that is not allowed.
    #[getter]
    fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.Patch {}>", self.inner.names().join(", "))
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("Patch")
    }
}
