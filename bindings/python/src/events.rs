//! What observers are told, and what was counted.

use std::sync::{Arc, Weak};

use pyo3::{prelude::*, types::PyTuple};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::{
    bridge::{self, Job},
    credential::{datetime, no_pickle},
    keys::{Handle, limit, within},
    process::PerProcess,
};

/// Something that happened to the credentials: a name, and fields that are ids and numbers. A field that
/// this kind of event does not have is None.
#[pyclass(frozen, module = "keyswap")]
pub(crate) struct Event {
    name: &'static str,
    text: String,
    fields: Map<String, Value>,
}

impl Event {
    fn new(event: &keyswap::Event) -> Self {
        let fields = match serde_json::to_value(event) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        Self { name: event.name(), text: event.to_string(), fields }
    }

    /// None, if this kind of event does not have it.
    fn field(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        self.fields.get(name).map_or_else(|| Ok(py.None()), |value| to_python(py, value))
    }
}

#[pymethods]
#[allow(clippy::wrong_self_convention, reason = "`from` is a field of the protocol")]
impl Event {
    /// Its stable name, the same in every language.
    #[getter]
    fn name(&self) -> &'static str {
        self.name
    }

    /// The number of the generation.
    #[getter]
    fn generation(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "generation")
    }

    /// The id of the newest credential.
    #[getter]
    fn primary(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "primary")
    }

    /// The code of what went wrong.
    #[getter]
    fn error(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "error")
    }

    /// When the next fetch is due, in milliseconds.
    #[getter]
    fn retry_in_ms(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "retry_in_ms")
    }

    /// The id that was in use before.
    #[getter]
    fn from_(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "from")
    }

    /// The id that is in use now.
    #[getter]
    fn to(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "to")
    }

    /// The id of the credential that this is about.
    #[getter]
    fn credential(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "credential")
    }

    /// The ids of the credentials that this is about.
    #[getter]
    fn credentials(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "credentials")
    }

    /// The id that stays in use.
    #[getter]
    fn in_use(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "in_use")
    }

    /// Whether the API was seen to accept it.
    #[getter]
    fn proven(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "proven")
    }

    /// Whether it is the candidate, which nobody depends on yet.
    #[getter]
    fn candidate(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "candidate")
    }

    /// When the candidate is tried again, in milliseconds.
    #[getter]
    fn probe_in_ms(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "probe_in_ms")
    }

    /// Why the credential could not be put on a request: what went wrong, in words. None if it was sent, and
    /// the API rejected it.
    #[getter]
    fn reason(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "reason")
    }

    /// Whether the whole set was revoked.
    #[getter]
    fn set(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "set")
    }

    /// How long requests fail fast, in milliseconds.
    #[getter]
    fn for_ms(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "for_ms")
    }

    /// Whether the API never accepted anything of this handle. Then look at the key, at the set that the
    /// source was asked for, and at the scheme and the header that the API wants.
    #[getter]
    fn never_accepted(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "never_accepted")
    }

    /// The generation that was held, where an older answer was believed since the API rejected all that was
    /// held.
    #[getter]
    fn from_generation(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "from_generation")
    }

    /// The older generation that is held now.
    #[getter]
    fn to_generation(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "to_generation")
    }

    /// For how long this is so, in seconds.
    #[getter]
    fn seconds(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "seconds")
    }

    /// How far the wall clock moved, in milliseconds.
    #[getter]
    fn by_ms(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "by_ms")
    }

    /// How many events this observer missed.
    #[getter]
    fn missed(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.field(py, "missed")
    }

    fn __str__(&self) -> &str {
        &self.text
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.Event {}: {}>", self.name, self.text)
    }
}

fn to_python(py: Python<'_>, value: &Value) -> PyResult<Py<PyAny>> {
    Ok(match value {
        Value::Bool(truth) => truth.into_pyobject(py)?.to_owned().into_any().unbind(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into_pyobject(py)?.into_any().unbind(),
            None => number.as_f64().into_pyobject(py)?.into_any().unbind(),
        },
        Value::String(text) => text.into_pyobject(py)?.into_any().unbind(),
        Value::Array(items) => {
            let items = items.iter().map(|item| to_python(py, item));
            let items = items.collect::<PyResult<Vec<_>>>()?;
            PyTuple::new(py, items)?.into_any().unbind()
        }
        Value::Null | Value::Object(_) => py.None(),
    })
}

/// Every name that an event may have.
#[pyfunction]
pub(crate) fn event_names() -> Vec<&'static str> {
    keyswap::Event::NAMES.to_vec()
}

/// The events of one handle, from the time it was made; in a forked child, from its first use there. It
/// does not keep the handle alive.
#[pyclass(frozen, subclass, module = "keyswap._native")]
pub(crate) struct Events {
    handle: Weak<Handle>,
    /// Cancelling a wait loses no event: the lock is given back, and nothing was taken.
    stream: PerProcess<Arc<Mutex<keyswap::Events>>>,
}

impl Events {
    pub(crate) fn new(py: Python<'_>, handle: &Arc<Handle>) -> PyResult<Self> {
        let events = Self { handle: Arc::downgrade(handle), stream: PerProcess::new() };
        events.stream(py)?;
        Ok(events)
    }

    fn stream(&self, py: Python<'_>) -> PyResult<Option<Arc<Mutex<keyswap::Events>>>> {
        if let Some(stream) = self.stream.get_if_made() {
            return Ok(Some(stream.clone()));
        }
        let Some(handle) = self.handle.upgrade() else { return Ok(None) };
        let stream =
            self.stream.get(py, |_| Ok(Arc::new(Mutex::new(handle.live(py)?.keys.events()))))?;
        Ok(Some(stream.clone()))
    }
}

#[pymethods]
impl Events {
    /// Waits for the next event, for at most `timeout` seconds. None once the handle is closed or gone.
    ///
    /// Raises TimeoutError.
    #[pyo3(signature = (timeout = None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Event>> {
        let timeout = limit(py, timeout)?;
        let Some(stream) = self.stream(py)? else { return Ok(None) };
        let next = async move { Ok(stream.lock().await.next().await) };
        let event = bridge::block(py, async move { within(timeout, next).await })?;
        Ok(event.as_ref().map(Event::new))
    }

    /// `next`, for an event loop.
    #[pyo3(signature = (future, timeout = None))]
    fn _next(
        &self,
        py: Python<'_>,
        future: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Job> {
        let timeout = limit(py, timeout)?;
        let stream = self.stream(py)?;
        let next = async move {
            match stream {
                Some(stream) => Ok(stream.lock().await.next().await),
                None => Ok(None),
            }
        };
        let work = async move { within(timeout, next).await };
        bridge::spawn(py, future, work, |py, event| match event {
            Some(event) => Ok(Py::new(py, Event::new(&event))?.into_any()),
            None => Ok(py.None()),
        })
    }

    fn __repr__(&self) -> &'static str {
        "<keyswap.Events>"
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("stream of events")
    }
}

/// A look at one handle.
#[pyclass(frozen, module = "keyswap")]
pub(crate) struct Stats(keyswap::Stats);

impl Stats {
    pub(crate) fn new(stats: keyswap::Stats) -> Self {
        Self(stats)
    }
}

#[pymethods]
impl Stats {
    /// The generation that is held.
    #[getter]
    fn generation(&self) -> Option<u64> {
        self.0.generation
    }

    /// The local number of what requests see.
    #[getter]
    fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// The id of the credential in use.
    #[getter]
    fn in_use(&self) -> Option<&str> {
        self.0.in_use.as_deref()
    }

    /// When that ends, in UTC.
    #[getter]
    fn expires_at(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        datetime(py, self.0.expires_at)
    }

    /// When a fetch last worked, in UTC.
    #[getter]
    fn last_success(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        datetime(py, self.0.last_success)
    }

    /// How long ago that was, in seconds.
    #[getter]
    fn age(&self) -> Option<f64> {
        self.0.age.map(|age| age.as_secs_f64())
    }

    /// Fetches that brought a new generation.
    #[getter]
    fn fetches_changed(&self) -> u64 {
        self.0.counts.changed
    }

    /// Fetches that learnt that nothing changed.
    #[getter]
    fn fetches_not_modified(&self) -> u64 {
        self.0.counts.not_modified
    }

    /// Fetches that failed.
    #[getter]
    fn fetches_failed(&self) -> u64 {
        self.0.counts.failed
    }

    /// Fetches that a rejection forced.
    #[getter]
    fn fetches_forced(&self) -> u64 {
        self.0.counts.forced
    }

    /// Rejections that counted as evidence.
    #[getter]
    fn rejections(&self) -> u64 {
        self.0.counts.rejections
    }

    /// Times an older credential was taken into use because the newer one was rejected.
    #[getter]
    fn fallbacks(&self) -> u64 {
        self.0.counts.fallbacks
    }

    /// Times the provider went back to an older credential.
    #[getter]
    fn rollbacks(&self) -> u64 {
        self.0.counts.rollbacks
    }

    /// Sends of all requests.
    #[getter]
    fn sends(&self) -> u64 {
        self.0.sends
    }

    /// Sends beyond the first of a request.
    #[getter]
    fn extra_sends(&self) -> u64 {
        self.0.extra_sends
    }

    /// Callers that wait for a fetch.
    #[getter]
    fn waiting(&self) -> usize {
        self.0.waiting
    }

    fn __repr__(&self) -> String {
        let counts = &self.0.counts;
        format!(
            "<keyswap.Stats generation={:?} in_use={:?} fetches={}/{}/{} rejections={} sends={}>",
            self.0.generation.unwrap_or(0),
            self.0.in_use.as_deref().unwrap_or("none"),
            counts.changed,
            counts.not_modified,
            counts.failed,
            counts.rejections,
            self.0.sends
        )
    }
}
