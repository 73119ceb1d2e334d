//! From Python's ways of waiting to the runtime's, and back.
//!
//! A blocking call runs its work as a task and waits in slices, detached, so that other threads run and
//! Ctrl-C is heard. An asynchronous call runs its work as a task that completes an `asyncio.Future` by
//! `loop.call_soon_threadsafe`. That call is made by the courier, a thread of its own: a thread of the
//! runtime never waits for the interpreter, and completions that are ready together go in one call.
//!
//! Under gevent a blocking call waits as a greenlet does, and others run. A blocking call on the thread of a running
//! event loop holds that loop up: if it waits for a function of the program that was to run there, that runs elsewhere.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use keyswap_host::Error;
use pyo3::{
    IntoPyObjectExt,
    exceptions::PyRuntimeError,
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyList},
};
use tokio::task::AbortHandle;

use crate::{errors::OrRaise, process::Local, runtime};

/// How often a blocking call looks for signals: what a person at a keyboard does not notice.
const SLICE: Duration = Duration::from_millis(50);
/// The most completions of one delivery, so that a loop is not held up for long.
const BATCH: usize = 256;

/// Work that takes long: a caller waits for it, or an event loop does. It is done once.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Work(Mutex<Option<Doing>>);

type Doing = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// Made only once attached.
type Outcome = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

impl Work {
    pub(crate) fn new<T: Send + 'static, V: for<'py> IntoPyObject<'py>>(
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<V> + Send + 'static,
    ) -> Self {
        Self(Mutex::new(Some(Box::pin(async move {
            let outcome = work.await;
            let made = |py: Python<'_>| convert(py, outcome.or_raise(py)?)?.into_py_any(py);
            Box::new(made) as Outcome
        }))))
    }

    fn take(&self) -> PyResult<Doing> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| PyRuntimeError::new_err("keyswap: this is done, or on its way"))
    }
}

#[pymethods]
impl Work {
    /// Does it, and waits for what comes of it. Ctrl-C ends the wait, and the work with it.
    pub(crate) fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let host = runtime::host(py)?;
        if let Some(future) = greenlet_future(py)? {
            let job = self.start(py, &future)?;
            let outcome = future.call_method0(intern!(py, "wait"));
            return outcome.map(Bound::unbind).inspect_err(|_| job.abort());
        }
        let (work, (tell, mut told)) = (self.take()?, sync_channel(1));
        let task = host.handle.spawn(async move {
            let _ = tell.send(work.await);
        });
        drop(host);
        let _abort = AbortOnDrop(task.abort_handle());
        loop {
            let heard;
            (told, heard) = py.detach(move || {
                let heard = told.recv_timeout(SLICE);
                (told, heard)
            });
            if runtime::is_ending() {
                // What is dropped at the end makes others fail: that is no news for a program.
                runtime::stop_unless_ending_it(py);
            }
            match heard {
                Ok(outcome) => return outcome(py),
                Err(RecvTimeoutError::Timeout) => {
                    py.check_signals()?;
                    free_what_this_holds_up(py)?;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(PyRuntimeError::new_err("keyswap: a task ended without an answer"));
                }
            }
        }
    }

    /// Does it, and then completes the future on its loop.
    fn start(&self, py: Python<'_>, future: &Bound<'_, PyAny>) -> PyResult<Job> {
        let host = runtime::host(py)?;
        let home = future.call_method0(intern!(py, "get_loop"))?.unbind();
        let (future, work) = (future.clone().unbind(), self.take()?);
        let courier = host.courier.clone();
        let task = host.handle.spawn(async move {
            let outcome = work.await;
            courier.send(Parcel::Completion(Completion { home, future, outcome }));
        });
        Ok(Job(Local::new(task.abort_handle())))
    }
}

/// What a greenlet of gevent waits with; None where this thread runs none.
fn greenlet_future(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    static FUTURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let modules = MODULES.get_or_try_init(py, || {
        let modules = py.import("sys")?.getattr("modules")?;
        Ok::<_, PyErr>(modules.cast_into::<PyDict>()?.unbind())
    })?;
    if !modules.bind(py).contains(intern!(py, "gevent"))? {
        return Ok(None);
    }
    let future = FUTURE.import(py, "keyswap._bridge", "greenlet_future")?.call0()?;
    Ok((!future.is_none()).then_some(future))
}

/// Functions of the program that were to run on the event loop of this thread, which waits, run elsewhere.
fn free_what_this_holds_up(py: Python<'_>) -> PyResult<()> {
    static RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static RUN_ELSEWHERE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let home = RUNNING_LOOP.import(py, "asyncio", "_get_running_loop")?.call0()?;
    if !home.is_none() {
        RUN_ELSEWHERE.import(py, "keyswap._functions", "run_elsewhere")?.call1((home,))?;
    }
    Ok(())
}

/// Work that goes on for an asynchronous caller.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Job(Local<AbortHandle>);

#[pymethods]
impl Job {
    /// Ends the work, if it has not ended: for a caller that was cancelled.
    fn abort(&self) {
        if let Some(task) = self.0.get() {
            task.abort();
        }
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes to Python what the runtime has for it.
#[derive(Clone)]
pub(crate) struct Courier(Sender<Parcel>);

pub(crate) enum Parcel {
    Completion(Completion),
    /// Something short to be done while attached.
    Errand(Box<dyn FnOnce(Python<'_>) + Send>),
    Stop,
}

pub(crate) struct Completion {
    home: Py<PyAny>,
    future: Py<PyAny>,
    outcome: Outcome,
}

impl Courier {
    pub(crate) fn send(&self, parcel: Parcel) {
        // After the end nobody takes it, and nobody waits for it.
        let _ = self.0.send(parcel);
    }

    pub(crate) fn stop(&self) {
        self.send(Parcel::Stop);
    }
}

pub(crate) fn start() -> io::Result<(Courier, JoinHandle<()>)> {
    let (courier, parcels) = channel();
    let thread = std::thread::Builder::new().name("keyswap-courier".into()).spawn(move || {
        let _ = Python::try_attach(|py| deliver(py, parcels));
    })?;
    Ok((Courier(courier), thread))
}

fn deliver(py: Python<'_>, mut parcels: Receiver<Parcel>) {
    static COMPLETE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    loop {
        let first;
        (parcels, first) = py.detach(move || {
            let first = parcels.recv();
            (parcels, first)
        });
        let Ok(mut parcel) = first else { return };
        let mut homes: Vec<(Py<PyAny>, Bound<'_, PyList>)> = Vec::new();
        for _ in 0..BATCH {
            match parcel {
                Parcel::Stop => return,
                Parcel::Errand(errand) => errand(py),
                Parcel::Completion(completion) => sort(py, completion, &mut homes),
            }
            match parcels.try_recv() {
                Ok(next) => parcel = next,
                Err(_) => break,
            }
        }
        for (home, completions) in homes {
            let Ok(complete) = COMPLETE.import(py, "keyswap._bridge", "complete") else { continue };
            // A loop that was closed has nobody left who waits.
            let _ =
                home.call_method1(py, intern!(py, "call_soon_threadsafe"), (complete, completions));
        }
    }
}

fn sort<'py>(
    py: Python<'py>,
    completion: Completion,
    homes: &mut Vec<(Py<PyAny>, Bound<'py, PyList>)>,
) {
    let Completion { home, future, outcome } = completion;
    let (is_error, value) = match outcome(py) {
        Ok(value) => (false, value),
        Err(error) => (true, error.into_value(py).into_any()),
    };
    let Ok(entry) = (future, is_error, value).into_pyobject(py) else { return };
    let list = match homes.iter().find(|(known, _)| known.is(&home)) {
        Some((_, list)) => list,
        None => {
            homes.push((home, PyList::empty(py)));
            &homes[homes.len() - 1].1
        }
    };
    let _ = list.append(entry);
}
