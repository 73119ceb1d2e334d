//! A program's own function as a source.
//!
//! A function that blocks runs in a thread of its own, and an asynchronous one on an event loop; both
//! are started by Python code that the courier calls, so no thread of the runtime ever runs a program's
//! code. An answer that comes after the engine's deadline is dropped. A call that was given up and still
//! runs is left alone; at most one such runs beside a new one.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use keyswap::{
    CredentialSet, Error, ErrorKind, Source,
    source::{BoxFuture, Fetched},
};
use pyo3::{prelude::*, sync::PyOnceLock};
use tokio::sync::oneshot;

use crate::{bridge::Parcel, document, errors::describe, runtime};

/// Calls of one function that may run at once: a live one, and one that was given up.
const MOST_CALLS: usize = 2;

/// What a program passed, and the event loop that it made the handle on.
#[derive(Clone)]
pub(crate) struct Function {
    function: Arc<Py<PyAny>>,
    home: Arc<Option<Py<PyAny>>>,
    running: Arc<AtomicUsize>,
    mints: bool,
}

impl Function {
    /// It will run on the event loop that runs now, if it is asynchronous.
    pub(crate) fn new(function: &Bound<'_, PyAny>) -> PyResult<Self> {
        static RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = function.py();
        let home = RUNNING_LOOP.import(py, "asyncio", "_get_running_loop")?.call0()?;
        Ok(Self {
            function: Arc::new(function.clone().unbind()),
            home: Arc::new((!home.is_none()).then(|| home.unbind())),
            running: Arc::default(),
            mints: false,
        })
    }

    /// As a source, it makes a new credential with each call.
    pub(crate) fn minting(self, mints: bool) -> Self {
        Self { mints, ..self }
    }

    /// The same function for a forked child: the parent's loop and its calls are not there.
    pub(crate) fn in_child(&self) -> Self {
        Self { home: Arc::new(None), running: Arc::default(), ..self.clone() }
    }

    async fn call<T: Send + 'static>(
        self,
        read: fn(&Bound<'_, PyAny>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.running.load(Ordering::Relaxed) >= MOST_CALLS {
            let what = "two earlier calls of the function have not returned: it is not called again before one does";
            return Err(Error::new(ErrorKind::SourceFailed, what));
        }
        let (tell, told) = oneshot::channel();
        let running = Running::begin(self.running.clone());
        let take: Take = Box::new(move |py, outcome| {
            let _counted = running;
            let outcome = match outcome {
                Ok(value) => read(value),
                Err(error) => Err(failed(py, error)),
            };
            let _ = tell.send(outcome);
        });
        let mut given_up = GivenUp { handle: Arc::default(), answered: false };
        let cancel = given_up.handle.clone();
        let errand = move |py: Python<'_>| {
            let answer = Answer(Mutex::new(Some(take)));
            match begin(py, &self, answer) {
                // The way to cancel it; a thread has none.
                Ok(handle) => *lock(&cancel) = Some(handle),
                Err(error) => {
                    crate::log::write(
                        tracing::Level::ERROR,
                        "source",
                        format!("the source could not be called: {}", describe(py, &error)),
                    );
                }
            }
        };
        match runtime::running() {
            Some(host) => host.courier.send(Parcel::Errand(Box::new(errand))),
            None => return Err(runtime::ending()),
        }
        let outcome = told.await;
        given_up.answered = true;
        outcome.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::SourceFailed, "the source's function gave no answer"))
        })
    }

    /// A bootstrap credential from the function.
    pub(crate) async fn text(self) -> Result<String, Error> {
        self.call(|value| {
            value.extract::<String>().map_err(|_| {
                Error::new(ErrorKind::SourceFailed, "the bootstrap function must return a string")
            })
        })
        .await
    }
}

fn begin(py: Python<'_>, function: &Function, answer: Answer) -> PyResult<Py<PyAny>> {
    static BEGIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let begin = BEGIN.import(py, "keyswap._functions", "begin")?;
    let home = (*function.home).as_ref().map(|home| home.clone_ref(py));
    Ok(begin.call1((function.function.clone_ref(py), answer, home))?.unbind())
}

fn failed(py: Python<'_>, error: PyErr) -> Error {
    let what =
        format!("the source raised {}; the set that is held stays in use", describe(py, &error));
    Error::new(ErrorKind::SourceFailed, what)
}

type Take = Box<dyn FnOnce(Python<'_>, Result<&Bound<'_, PyAny>, PyErr>) + Send>;

/// Where the Python side puts what the function returned, once.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Answer(Mutex<Option<Take>>);

#[pymethods]
impl Answer {
    /// The function returned.
    fn returned(&self, value: &Bound<'_, PyAny>) {
        if let Some(take) = lock(&self.0).take() {
            take(value.py(), Ok(value));
        }
    }

    /// The function raised.
    fn raised(&self, error: &Bound<'_, PyAny>) {
        if let Some(take) = lock(&self.0).take() {
            take(error.py(), Err(PyErr::from_value(error.clone())));
        }
    }
}

/// Counts a call for as long as it may run, given up or not.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn begin(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Cancels a call on an event loop when the fetch is dropped before it ended.
struct GivenUp {
    handle: Arc<Mutex<Option<Py<PyAny>>>>,
    answered: bool,
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        let Some(host) = runtime::running().filter(|_| !self.answered) else { return };
        let handle = self.handle.clone();
        host.courier.send(Parcel::Errand(Box::new(move |py| {
            if let Some(handle) = lock(&handle).take()
                && !handle.is_none(py)
            {
                let _ = handle.call_method0(py, "cancel");
            }
        })));
    }
}

fn lock<T>(slot: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source for Function {
    fn fetch<'a>(&'a self, _: Option<&'a CredentialSet>) -> BoxFuture<'a, Result<Fetched, Error>> {
        let call = self.clone().call(document::read);
        Box::pin(async move { call.await.map(Fetched::Set) })
    }

    fn mints(&self) -> bool {
        self.mints
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function(..)")
    }
}
