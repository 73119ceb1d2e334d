//! Work that takes long, on the one runtime of a process: two threads that wait for sockets and timers,
//! started at first use. It is never shut down: a process ends without waiting for them.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use keyswap::{Error, ErrorKind};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::Notify,
    task::JoinHandle,
};

/// A fetch that a program's function holds up must not hold up the others.
const THREADS: usize = 2;

/// The runtime, started if it does not run yet.
pub(crate) fn runtime() -> Result<Handle, Error> {
    static RUNTIME: OnceLock<Result<Runtime, Error>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(THREADS).thread_name("keyswap").enable_all();
        runtime.build().map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("no thread could be started: {error}"))
        })
    });
    made.as_ref().map(|runtime| runtime.handle().clone()).map_err(Error::clone)
}

/// Work that goes on, for a caller that may give it up. One serves one call.
#[derive(Debug, Default, uniffi::Object)]
pub struct NativeJob {
    is_cancelled: AtomicBool,
    given_up: Notify,
}

#[uniffi::export]
impl NativeJob {
    /// Work to come.
    #[uniffi::constructor]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Ends the work, which then fails with the code `closed`. Without effect once it has ended.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
        self.given_up.notify_one();
    }
}

impl NativeJob {
    /// Runs a future on the runtime, whatever thread awaits this. It ends when the job is cancelled, or when
    /// this is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        self: Arc<Self>,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let cancelled = || Error::new(ErrorKind::Closed, "the caller gave it up");
        if self.is_cancelled.load(Ordering::Acquire) {
            return Err(cancelled());
        }
        let work = async move {
            tokio::select! {
                outcome = work => outcome,
                () = self.given_up.notified() => Err(cancelled()),
            }
        };
        let outcome = Task(runtime()?.spawn(work)).await;
        outcome.unwrap_or_else(|_| Err(cancelled()))
    }
}

/// A task that ends when this is dropped.
pub(crate) struct Task<T>(pub(crate) JoinHandle<T>);

impl<T> Future for Task<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
