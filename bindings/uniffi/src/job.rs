//! Work that takes long, on the one runtime of a process. It is never shut down: a process ends without waiting for it.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    thread,
};

use keyswap_host::{Error, ErrorKind, Job};
use tokio::{
    runtime::{Builder, Handle},
    task::JoinHandle,
};

/// The runtime, started if it does not run yet: one thread that waits for sockets and timers. Whatever a program's own
/// code holds up runs elsewhere.
pub(crate) fn runtime() -> Result<Handle, Error> {
    static RUNTIME: OnceLock<Result<Handle, Error>> = OnceLock::new();
    let start = || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().name("keyswap".into()).spawn(move || {
            runtime.block_on(std::future::pending::<()>());
        })?;
        Ok(handle)
    };
    let failed = |error: io::Error| {
        Error::new(ErrorKind::Unavailable, format!("no thread could be started: {error}"))
    };
    RUNTIME.get_or_init(|| start().map_err(failed)).clone()
}

/// Work that goes on, for a caller that may give it up. One serves one call.
#[derive(Debug, uniffi::Object)]
pub struct NativeJob(Job);

#[uniffi::export]
impl NativeJob {
    /// Work to come.
    #[uniffi::constructor]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Job::default()))
    }

    /// Ends the work, which then fails with the code `closed`. Without effect once it has ended.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl NativeJob {
    /// Runs a future on the runtime, whatever thread awaits this. It ends when the job is cancelled, or when
    /// this is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        // What is made for each kind of future is made once for each kind of outcome.
        let work: Pin<Box<dyn Future<Output = Result<T, Error>> + Send>> = Box::pin(work);
        Task(runtime()?.spawn(self.0.clone().run(work))).await
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task<T>(pub(crate) JoinHandle<Result<T, Error>>);

impl<T> Future for Task<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = |_| Err(Error::new(ErrorKind::Closed, "the work was given up"));
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or_else(ended))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
