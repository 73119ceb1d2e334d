//! The one runtime of a process: one thread that waits for sockets and timers. It is made at first use and
//! ended with the interpreter.
//!
//! A forked child makes its own and leaks its parent's. When the interpreter ends, what still runs is
//! dropped within half a second, and nothing touches Python afterwards: a thread that did would be killed
//! in the middle of Rust code, which aborts the process.

use std::{
    cell::Cell,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use keyswap_host::{Courier as Journal, Error, ErrorKind};
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    bridge::{self, Courier},
    errors::OrRaise,
    log,
    process::{Here, PerProcess, generation},
};

/// Threads of the runtime. The work is in Python; a second one would mostly wake the first.
const WORKERS: usize = 1;
/// How long the end of the interpreter waits for what runs.
const SHUTDOWN: Duration = Duration::from_millis(500);
/// How long it waits for each thread that talks to Python.
const FAREWELL: Duration = Duration::from_millis(200);

/// What runs in this process.
pub(crate) struct Host {
    pub(crate) handle: Handle,
    pub(crate) courier: Courier,
    pub(crate) journal: Journal,
    /// Taken once, by the end of the interpreter; nobody else waits for this lock.
    rest: Mutex<Option<Rest>>,
}

struct Rest {
    runtime: Runtime,
    threads: Vec<JoinHandle<()>>,
}

static HOST: PerProcess<Host> = PerProcess::new();
/// The generation whose interpreter has begun to end.
static ENDED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this is the thread that ends the interpreter.
    static ENDS_IT: Cell<bool> = const { Cell::new(false) };
}

/// What runs in this process, started if it does not run yet.
pub(crate) fn host(py: Python<'_>) -> PyResult<Here<Host>> {
    if is_ending() {
        stop_unless_ending_it(py);
        return Err(ending()).or_raise(py);
    }
    HOST.get(py, |_| start().or_raise(py))
}

/// What runs in this process, if anything does.
pub(crate) fn running() -> Option<Here<Host>> {
    HOST.get_if_made()
}

/// Whether the interpreter has begun to end.
pub(crate) fn is_ending() -> bool {
    ENDED.load(Ordering::Relaxed) == generation()
}

/// Once the interpreter has begun to end, only daemon threads are left beside the one that ends it. They
/// stop where they stand, as they do whenever they want the interpreter back: an exception would have them
/// print it.
pub(crate) fn stop_unless_ending_it(py: Python<'_>) {
    if !ENDS_IT.get() {
        py.detach(|| {
            loop {
                std::thread::park();
            }
        })
    }
}

pub(crate) fn ending() -> Error {
    Error::new(ErrorKind::Closed, "the interpreter is ending: nothing new is started")
}

fn start() -> Result<Host, Error> {
    let failed = |error: std::io::Error| {
        let what = format!("no thread could be started: {error}");
        Error::new(ErrorKind::Unavailable, what)
    };
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("keyswap")
        .enable_all()
        .build()
        .map_err(failed)?;
    let (courier, first) = bridge::start().map_err(failed)?;
    let (journal, second) = log::start().map_err(failed)?;
    let handle = runtime.handle().clone();
    let rest = Rest { runtime, threads: vec![first, second] };
    Ok(Host { handle, courier, journal, rest: Mutex::new(Some(rest)) })
}

/// Ends everything; called once, when the interpreter begins to end. Waits at most about a second.
#[pyfunction(name = "_exit")]
pub(crate) fn exit(py: Python<'_>) {
    ENDS_IT.set(true);
    ENDED.store(generation(), Ordering::Relaxed);
    let Some(host) = running() else { return };
    let rest = host.rest.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Rest { runtime, threads }) = rest else { return };
    host.courier.stop();
    host.journal.stop();
    // Detached, because what is to end may be waiting for the interpreter.
    py.detach(|| {
        runtime.shutdown_timeout(SHUTDOWN);
        for thread in threads {
            let until = Instant::now() + FAREWELL;
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
}
