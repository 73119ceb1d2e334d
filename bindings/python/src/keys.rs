//! The running handle.
//!
//! Reading the current credential is a few atomic loads and one new reference: the Python object is made
//! once an epoch, by whoever reads first. A handle made before a fork works in the child: it begins with
//! the set that its parent held, and fetches by itself.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use keyswap_host::{
    Error, ErrorKind, Keys, Place, Source,
    options::{KeySwapOptions, policy_from_json},
};
use pyo3::{prelude::*, types::PyString};

use crate::{
    bridge::Work,
    cache::ByEpoch,
    credential::{Credential, CredentialSet, no_pickle},
    errors::OrRaise,
    events::{Events, stats_of},
    process::{Here, PerProcess},
    runtime,
    source::source_of,
};

/// A handle and all that a child needs to make it anew.
pub(crate) struct Handle {
    source: Source,
    options: KeySwapOptions,
    closed: AtomicBool,
    live: PerProcess<Live>,
}

pub(crate) struct Live {
    pub(crate) keys: Keys,
    /// The credential in use.
    current: ByEpoch<Credential>,
}

impl Handle {
    /// The handle of this process. Once it is closed, that is told at once, and not when the core has
    /// heard of it.
    #[inline]
    pub(crate) fn live(&self, py: Python<'_>) -> PyResult<Here<Live>> {
        match self.closed.load(Ordering::Relaxed) {
            false => self.live_or_closed(py),
            true => closed().or_raise(py),
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
            return closed().or_raise(py);
        }
        let mut place = Place::on(runtime::host(py)?.handle.clone());
        let keys = match parent {
            None => Keys::follow(&self.source, &self.options, place),
            Some(parent) => {
                place.inherit = parent.keys.core().set();
                Keys::follow(&self.source.in_child(), &self.options, place)
            }
        };
        Ok(Live { keys: keys.or_raise(py)?, current: ByEpoch::new() })
    }
}

type Lent = Arc<dyn Fn() -> Result<keyswap::KeySwap, Error> + Send + Sync>;

fn closed<T>() -> Result<T, Error> {
    Err(Error::new(ErrorKind::Closed, "the handle was closed"))
}

impl KeySwap {
    /// The handle of whatever process a source is made in that logs in with it.
    pub(crate) fn lent(&self) -> Lent {
        let handle = self.handle.clone();
        Arc::new(move || {
            let live =
                Python::attach(|py| handle.live(py).ok().map(|live| live.keys.core().clone()));
            live.map_or_else(closed, Ok)
        })
    }

    /// Nothing is usable from now on. What is left to close, in this process.
    fn ended(&self) -> Option<Keys> {
        self.handle.closed.store(true, Ordering::Relaxed);
        let live = self.handle.live.get_if_made()?;
        live.current.clear();
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
        let source = source_of(source)?;
        let policy = policy.map(policy_from_json).transpose().or_raise(py)?.unwrap_or_default();
        let options = KeySwapOptions { policy, name, mints };
        let (closed, live) = (AtomicBool::new(false), PerProcess::new());
        let handle = Handle { source, options, closed, live };
        handle.live(py)?;
        Ok(Self { handle: Arc::new(handle) })
    }

    /// The name that the program gave it.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.handle.options.name.as_deref()
    }

    /// The credential in use. Reading it never waits.
    ///
    /// Raises why nothing is usable: NotReadyError, ExpiredError, SetRevokedError, ClosedError, or the
    /// error of the first fetch.
    #[getter]
    fn current(&self, py: Python<'_>) -> PyResult<Py<Credential>> {
        let live = self.handle.live(py)?;
        live.current.get(py, live.keys.epoch(), || {
            let (current, epoch) = live.keys.current_of().or_raise(py)?;
            Ok((epoch, Py::new(py, Credential::new(current))?))
        })
    }

    /// The set that is held: None before the first fetch, and after the provider revoked it.
    #[getter]
    fn credentials(&self, py: Python<'_>) -> PyResult<Option<CredentialSet>> {
        let set = self.handle.live(py)?.keys.set();
        set.map(|set| CredentialSet::new(py, set)).transpose()
    }

    /// The local number of what requests see: it rises whenever that changes. Cache by it.
    #[getter]
    fn epoch(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.handle.live_or_closed(py)?.keys.epoch())
    }

    /// What was counted so far.
    #[getter]
    fn stats(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        stats_of(py, &self.handle.live_or_closed(py)?.keys.stats())
    }

    /// The material named `key` of the credential in use, for libraries that take a function. Before the
    /// first set it waits, for at most 10 s; afterwards it never does.
    ///
    /// Raises as `current` does.
    fn key(&self, py: Python<'_>) -> PyResult<Py<PyString>> {
        let current = self.handle.live(py)?.keys.current();
        if current.is_err_and(|error| error.kind() == ErrorKind::NotReady) {
            self._ready(py, Some(10.0))?.wait(py)?;
        }
        self.current(py)?.get().reveal_key(py)
    }

    #[pyo3(signature = (timeout = None))]
    fn _ready(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Work> {
        Ok(Work::new(self.handle.live(py)?.keys.ready(timeout), |_, ()| Ok(())))
    }

    #[pyo3(signature = (timeout = None))]
    fn _refresh(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Work> {
        Ok(Work::new(self.handle.live(py)?.keys.refresh(timeout), |_, ()| Ok(())))
    }

    /// Says that something newer may be there, for programs with a push channel of their own. With
    /// `immediate` it is fetched at once, without spreading the fleet.
    #[pyo3(signature = (generation = None, *, immediate = true))]
    fn hint(&self, py: Python<'_>, generation: Option<u64>, immediate: bool) -> PyResult<()> {
        self.handle.live(py)?.keys.hint(generation, immediate);
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

    fn _shutdown(&self) -> Work {
        let keys = self.ended();
        let goodbye = async move {
            if let Some(keys) = keys {
                keys.shutdown().await;
            }
            Ok(())
        };
        Work::new(goodbye, |_, ()| Ok(()))
    }

    /// Ends it, for all that use it. Afterwards nothing is usable.
    fn close(&self) {
        if let Some(keys) = self.ended() {
            keys.close();
        }
    }

    fn __repr__(&self) -> String {
        let name = self.name().map(|name| format!(" {name:?}")).unwrap_or_default();
        let Some(live) = self.handle.live.get_if_made() else {
            return format!("<keyswap.KeySwap{name}>");
        };
        let snapshot = live.keys.core().snapshot();
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
