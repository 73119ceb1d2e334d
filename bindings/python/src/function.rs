//! A program's own function as a source, or for a bootstrap credential.
//!
//! A function that blocks runs in a thread of its own, and an asynchronous one on an event loop; both
//! are started by Python code that the courier calls, so no thread of the runtime ever runs a program's
//! code.

use std::sync::{Arc, Mutex, PoisonError};

use keyswap_host::{Error, ErrorKind, ForeignFunction, Function, Pending, function_failed};
use pyo3::{prelude::*, sync::PyOnceLock};

use crate::{bridge::Parcel, errors::describe, runtime};

/// What a program passed, and the event loop that it made the handle on.
#[derive(Clone)]
struct Callable {
    function: Arc<Py<PyAny>>,
    home: Arc<Option<Py<PyAny>>>,
    /// Whether it returns a set, and not a bootstrap credential.
    is_source: bool,
}

/// It will run on the event loop that runs now, if it is asynchronous.
pub(crate) fn function(function: &Bound<'_, PyAny>, is_source: bool) -> PyResult<Function> {
    static RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let home = RUNNING_LOOP.import(function.py(), "asyncio", "_get_running_loop")?.call0()?;
    Ok(Function::new(Arc::new(Callable {
        function: Arc::new(function.clone().unbind()),
        home: Arc::new((!home.is_none()).then(|| home.unbind())),
        is_source,
    })))
}

impl ForeignFunction for Callable {
    fn begin(&self, answer: keyswap_host::Answer) -> Result<Pending, Error> {
        let host = runtime::running().ok_or_else(runtime::ending)?;
        let (call, pending) = (self.clone(), Arc::new(Mutex::new(None)));
        let canceller = pending.clone();
        host.courier.send(Parcel::Errand(Box::new(move |py| {
            let answer = Arc::new(answer);
            match call.start(py, Answer(answer.clone())) {
                Ok(handle) => *lock(&canceller) = Some(handle),
                Err(error) => {
                    let what = format!("could not be called: {}", describe(py, &error));
                    answer.settle(Err(function_failed(&what)));
                }
            }
        })));
        Ok(Box::new(GivenUp(pending)))
    }

    /// The parent's loop is not there.
    fn in_child(&self) -> Option<Arc<dyn ForeignFunction>> {
        Some(Arc::new(Self { home: Arc::new(None), ..self.clone() }))
    }
}

impl Callable {
    /// Returns what cancels the call, or None if nothing can.
    fn start(&self, py: Python<'_>, answer: Answer) -> PyResult<Py<PyAny>> {
        static BEGIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let begin = BEGIN.import(py, "keyswap._functions", "begin")?;
        let home = (*self.home).as_ref().map(|home| home.clone_ref(py));
        let arguments = (self.function.clone_ref(py), answer, home, self.is_source);
        begin.call1(arguments).map(Bound::unbind)
    }
}

/// Where the Python side puts what the function returned, once.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Answer(Arc<keyswap_host::Answer>);

#[pymethods]
impl Answer {
    /// The function returned this text: the JSON of a set, or a bootstrap credential.
    fn returned(&self, text: &Bound<'_, PyAny>) {
        let read = |_| function_failed("did not return a string");
        self.0.settle(text.extract::<String>().map(Into::into).map_err(read));
    }

    /// The function returned what is no set, for this reason.
    fn malformed(&self, what: &str) {
        self.0.settle(Err(Error::new(ErrorKind::Malformed, what)));
    }

    /// The function raised.
    fn raised(&self, error: &Bound<'_, PyAny>) {
        let described = describe(error.py(), &PyErr::from_value(error.clone()));
        self.0.settle(Err(function_failed(&format!("raised {described}"))));
    }
}

/// Cancels a call on an event loop when nobody waits for it any more. One that has ended does not notice.
struct GivenUp(Arc<Mutex<Option<Py<PyAny>>>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        let Some(host) = runtime::running() else { return };
        let handle = self.0.clone();
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
