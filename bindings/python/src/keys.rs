//! The running handle.
//!
//! Reading the current credential is a few atomic loads and one new reference: the Python object is made
//! once an epoch, by whoever reads first. A handle made before a fork works in the child: it begins with
//! the set that its parent held, and fetches by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use keyswap::{Error, ErrorKind, Policy, source::Hint};
use pyo3::{exceptions::PyTypeError, prelude::*, types::PyString};

use crate::{
    bridge::{self, Job},
    credential::{Credential, CredentialSet, no_pickle},
    errors::{invalid, raise},
    events::{Events, Stats},
    function::Function,
    process::{Here, PerProcess},
    runtime,
    source::{self, Recipe, duration},
};

/// A handle and all that a child needs to make it anew.
pub(crate) struct Handle {
    recipe: Recipe,
    name: Option<String>,
    policy: Policy,
    closed: AtomicBool,
    live: PerProcess<Live>,
}

pub(crate) struct Live {
    pub(crate) keys: keyswap::KeySwap,
    cached: ArcSwapOption<Cached>,
}

/// The Python object of the credential in use, as of one epoch.
struct Cached {
    epoch: u64,
    credential: Py<Credential>,
}

impl Handle {
    /// The handle of this process. Once it is closed, that is told at once, and not when the core has
    /// heard of it.
    #[inline]
    pub(crate) fn live(&self, py: Python<'_>) -> PyResult<Here<Live>> {
        match self.closed.load(Ordering::Relaxed) {
            false => self.live_or_closed(py),
            true => Err(raise(py, &Error::new(ErrorKind::Closed, "the handle was closed"))),
        }
    }

    /// The same, for a look at what was.
    #[inline]
    fn live_or_closed(&self, py: Python<'_>) -> PyResult<Here<Live>> {
        self.live.get(py, |parent| self.make(py, parent))
    }

    #[cold]
    fn make(&self, py: Python<'_>, parent: Option<&Live>) -> PyResult<Live> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(raise(py, &Error::new(ErrorKind::Closed, "the handle was closed")));
        }
        let host = runtime::host(py)?;
        let source = self.recipe.make(parent.is_some()).map_err(|error| raise(py, &error))?;
        let mut follow = keyswap::KeySwap::follow(source)
            .policy(self.policy.clone())
            .runtime(host.handle.clone());
        if let Some(name) = &self.name {
            follow = follow.name(name);
        }
        if let Some(set) = parent.and_then(|parent| parent.keys.set()) {
            follow = keyswap::host::inherit(follow, (*set).clone());
        }
        let keys = follow.start().map_err(|error| raise(py, &error))?;
        Ok(Live { keys, cached: ArcSwapOption::empty() })
    }
}

impl KeySwap {
    /// Nothing is usable from now on. What is left to close, in this process.
    fn ended(&self) -> Option<keyswap::KeySwap> {
        self.handle.closed.store(true, Ordering::Relaxed);
        let live = self.handle.live.get_if_made()?;
        live.cached.store(None);
        Some(live.keys.clone())
    }
}

/// Follows one source and always holds a fresh credential.
#[pyclass(frozen, subclass, weakref, module = "keyswap._native")]
pub(crate) struct KeySwap {
    pub(crate) handle: Arc<Handle>,
}

#[pymethods]
impl KeySwap {
    /// `policy` is JSON.
    #[new]
    #[pyo3(signature = (source, policy = None, name = None, mints = false))]
    fn new(
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        policy: Option<&str>,
        name: Option<String>,
        mints: bool,
    ) -> PyResult<Self> {
        let recipe = if let Ok(endpoint) = source.cast::<source::Endpoint>() {
            Recipe::Endpoint(endpoint.get().recipe.clone())
        } else if let Ok(file) = source.cast::<source::File>() {
            Recipe::File(file.get().path.clone())
        } else if let Ok(env) = source.cast::<source::Env>() {
            let env = env.get();
            Recipe::Env { variable: env.variable.clone(), id: env.id.clone() }
        } else if source.is_callable() {
            Recipe::Function(Function::new(source)?.minting(mints))
        } else {
            let class = source.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "a source is a URL, an Endpoint, a File, an Env, or a function, not {class}"
            )));
        };
        if mints && !matches!(recipe, Recipe::Function(_)) {
            return Err(invalid(
                py,
                "mints is for a function: the other sources read what stands somewhere",
            ));
        }
        let policy: Policy = match policy {
            None => Policy::default(),
            Some(json) => serde_json::from_str(json)
                .map_err(|error| invalid(py, format!("invalid policy: {error}")))?,
        };
        let handle = Handle {
            recipe,
            name,
            policy,
            closed: AtomicBool::new(false),
            live: PerProcess::new(),
        };
        handle.live(py)?;
        Ok(Self { handle: Arc::new(handle) })
    }

    /// The name that the program gave it.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.handle.name.as_deref()
    }

    /// The credential in use. Reading it never waits.
    ///
    /// Raises why nothing is usable: NotReadyError, ExpiredError, SetRevokedError, ClosedError, or the
    /// error of the first fetch.
    #[getter]
    fn current(&self, py: Python<'_>) -> PyResult<Py<Credential>> {
        let live = self.handle.live(py)?;
        if let Some(cached) = &*live.cached.load()
            && cached.epoch == keyswap::host::epoch(&live.keys)
        {
            return Ok(cached.credential.clone_ref(py));
        }
        let current = live.keys.current().map_err(|error| raise(py, &error))?;
        let epoch = current.snapshot().epoch();
        let credential = Py::new(py, Credential::new(current.to_owned()))?;
        let cached = Cached { epoch, credential: credential.clone_ref(py) };
        live.cached.store(Some(Arc::new(cached)));
        Ok(credential)
    }

    /// The set that is held: None before the first fetch, and after the provider revoked it.
    #[getter]
    fn credentials(&self, py: Python<'_>) -> PyResult<Option<CredentialSet>> {
        Ok(self.handle.live(py)?.keys.set().map(CredentialSet))
    }

    /// The local number of what requests see: it rises whenever that changes. Cache by it.
    #[getter]
    fn epoch(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(keyswap::host::epoch(&self.handle.live_or_closed(py)?.keys))
    }

    /// What was counted so far.
    #[getter]
    fn stats(&self, py: Python<'_>) -> PyResult<Stats> {
        Ok(Stats::new(self.handle.live_or_closed(py)?.keys.stats()))
    }

    /// The material named `key` of the credential in use, for libraries that take a function. Before the
    /// first set it waits, for at most 10 s; afterwards it never does.
    ///
    /// Raises as `current` does.
    fn key(&self, py: Python<'_>) -> PyResult<Py<PyString>> {
        let is_waiting = matches!(
            self.handle.live(py)?.keys.current(),
            Err(error) if error.kind() == ErrorKind::NotReady
        );
        if is_waiting {
            self.ready(py, Some(10.0))?;
        }
        self.current(py)?.get().reveal_key(py)
    }

    /// Waits until a credential is usable, or the fetch that runs has failed. `timeout` is in seconds.
    ///
    /// Raises the error of that fetch, or TimeoutError.
    #[pyo3(signature = (timeout = None))]
    fn ready(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let live = self.handle.live(py)?;
        if live.keys.current().is_ok() {
            return Ok(());
        }
        let timeout = limit(py, timeout)?;
        let keys = live.keys.clone();
        bridge::block(py, async move { within(timeout, keys.ready()).await })
    }

    /// `ready`, for an event loop.
    #[pyo3(signature = (future, timeout = None))]
    fn _ready(
        &self,
        py: Python<'_>,
        future: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Job> {
        let timeout = limit(py, timeout)?;
        let keys = self.handle.live(py)?.keys.clone();
        let work = async move { within(timeout, keys.ready()).await };
        bridge::spawn(py, future, work, |py, ()| Ok(py.None()))
    }

    /// Fetches now, or as soon as the floor between two fetches allows, and waits for the outcome.
    /// `timeout` is in seconds.
    ///
    /// Raises the error of that fetch; what was held is still held.
    #[pyo3(signature = (timeout = None))]
    fn refresh(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let timeout = limit(py, timeout)?;
        let keys = self.handle.live(py)?.keys.clone();
        bridge::block(py, async move { within(timeout, keys.refresh()).await })
    }

    /// `refresh`, for an event loop.
    #[pyo3(signature = (future, timeout = None))]
    fn _refresh(
        &self,
        py: Python<'_>,
        future: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Job> {
        let timeout = limit(py, timeout)?;
        let keys = self.handle.live(py)?.keys.clone();
        let work = async move { within(timeout, keys.refresh()).await };
        bridge::spawn(py, future, work, |py, ()| Ok(py.None()))
    }

    /// Says that something newer may be there, for programs with a push channel of their own. With
    /// `immediate` it is fetched at once, without spreading the fleet.
    #[pyo3(signature = (generation = None, *, immediate = true))]
    fn hint(&self, py: Python<'_>, generation: Option<u64>, immediate: bool) -> PyResult<()> {
        let hint = Hint::new().generation(generation).immediate(immediate);
        self.handle.live(py)?.keys.hint(hint);
        Ok(())
    }

    /// Looks at the clocks at once: for programs that come back from a pause of their own.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.live(py)?.keys.wake();
        Ok(())
    }

    /// What happens from now on.
    fn _events(&self, py: Python<'_>) -> PyResult<Events> {
        Events::new(py, &self.handle)
    }

    /// `close`, and waits until the provider was told that this program uses none of its credentials any
    /// more, if it asks for that: for a second at most.
    fn shutdown(&self, py: Python<'_>) -> PyResult<()> {
        bridge::block(py, goodbye(self.ended()))
    }

    /// `shutdown`, for an event loop.
    fn _shutdown(&self, py: Python<'_>, future: &Bound<'_, PyAny>) -> PyResult<Job> {
        bridge::spawn(py, future, goodbye(self.ended()), |py, ()| Ok(py.None()))
    }

    /// Ends it, for all that use it. Afterwards nothing is usable.
    fn close(&self) {
        if let Some(keys) = self.ended() {
            keys.close();
        }
    }

    fn __repr__(&self) -> String {
        let name = self.handle.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
        let Some(live) = self.handle.live.get_if_made() else {
            return format!("<keyswap.KeySwap{name}>");
        };
        let snapshot = live.keys.snapshot();
        match (snapshot.set(), snapshot.in_use()) {
            (Some(set), Some(in_use)) => format!(
                "<keyswap.KeySwap{name} generation {}, {} in use>",
                set.generation(),
                in_use.id()
            ),
            _ => format!("<keyswap.KeySwap{name}, nothing usable>"),
        }
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("KeySwap")
    }
}

async fn goodbye(keys: Option<keyswap::KeySwap>) -> Result<(), Error> {
    if let Some(keys) = keys {
        keys.shutdown().await;
    }
    Ok(())
}

/// A limit in seconds; none is no limit.
pub(crate) fn limit(py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Duration>> {
    timeout.map(|timeout| duration(py, timeout, "timeout")).transpose()
}

/// Waits for at most so long.
pub(crate) async fn within<T>(
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(timeout) = timeout else { return work.await };
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
        let what = format!("not within {} s", timeout.as_secs_f64());
        Err(Error::new(ErrorKind::Timeout, what))
    })
}
