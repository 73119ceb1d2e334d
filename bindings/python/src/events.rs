//! What observers are told. Events and what was counted are dataclasses, in Python.

use std::sync::{Arc, Weak};

use keyswap_host::{StatsRecord, seconds, within};
use pyo3::{prelude::*, sync::PyOnceLock};
use tokio::sync::Mutex;

use crate::{bridge::Work, errors::OrRaise, keys::Handle, process::PerProcess};

fn event_of(py: Python<'_>, event: Option<keyswap::Event>) -> PyResult<Option<Py<PyAny>>> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let Some(event) = event else { return Ok(None) };
    let make = MAKE.import(py, "keyswap._records", "event")?;
    make.call1((json(&event), event.to_string())).map(|made| Some(made.unbind()))
}

pub(crate) fn stats_of(py: Python<'_>, stats: &StatsRecord) -> PyResult<Py<PyAny>> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    MAKE.import(py, "keyswap._records", "stats")?.call1((json(stats),)).map(Bound::unbind)
}

fn json(record: &impl serde::Serialize) -> String {
    serde_json::to_string(record).expect("a record is made of words and numbers")
}

/// Every name that an event may have.
#[pyfunction]
pub(crate) fn event_names() -> Vec<&'static str> {
    keyswap_host::event_names()
}

/// The events of one handle, from the time it was made; in a forked child, from its first use there. It
/// does not keep the handle alive.
#[pyclass(frozen, subclass, module = "keyswap._native")]
pub(crate) struct Events {
    handle: Weak<Handle>,
    stream: PerProcess<Stream>,
}

/// Cancelling a wait loses no event: the lock is given back, and nothing was taken.
type Stream = Arc<Mutex<keyswap::Events>>;

impl Events {
    pub(crate) fn new(py: Python<'_>, handle: &Arc<Handle>) -> PyResult<Self> {
        let events = Self { handle: Arc::downgrade(handle), stream: PerProcess::new() };
        events.stream(py)?;
        Ok(events)
    }

    fn stream(&self, py: Python<'_>) -> PyResult<Option<Stream>> {
        if let Some(stream) = self.stream.get_if_made() {
            return Ok(Some(stream.clone()));
        }
        let Some(handle) = self.handle.upgrade() else { return Ok(None) };
        let stream = || Ok(Arc::new(Mutex::new(handle.live(py)?.keys.events())));
        Ok(Some(self.stream.get(py, |_| stream())?.clone()))
    }
}

#[pymethods]
impl Events {
    /// Waits for the next event, for at most `timeout` seconds. None once the handle is closed or gone.
    #[pyo3(signature = (timeout = None))]
    fn _next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Work> {
        let (timeout, stream) = (seconds(timeout, "the timeout").or_raise(py)?, self.stream(py)?);
        let next = async move {
            match stream {
                Some(stream) => Ok(stream.lock().await.next().await),
                None => Ok(None),
            }
        };
        let next = within(timeout, next, |limit| format!("no event within {limit}"));
        Ok(Work::new(next, event_of))
    }
}
