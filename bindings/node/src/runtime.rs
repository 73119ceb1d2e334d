//! The one runtime of a process: a thread that waits for sockets and timers, made at first use. It is never
//! shut down: Node ends a process without waiting for threads, and another worker may still use it.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
};

use keyswap::{Error, ErrorKind};
use napi::{Env, bindgen_prelude::*};
use napi_derive::napi;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::Notify,
};

use crate::errors::{raise, thrown};

/// The runtime, started if it does not run yet.
pub(crate) fn handle() -> Result<Handle> {
    static RUNTIME: OnceLock<std::result::Result<Runtime, Error>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(1).thread_name("keyswap").enable_all();
        runtime.build().map_err(|error| {
            let what = format!("no thread could be started: {error}");
            Error::new(ErrorKind::Unavailable, what)
        })
    });
    made.as_ref().map(|runtime| runtime.handle().clone()).map_err(raise)
}

/// Runs a future on the runtime. The promise keeps the process alive until it is settled, as promises of
/// Node's own work do; `convert` runs on the thread of JavaScript.
pub(crate) fn promise<'env, T, V>(
    env: &'env Env,
    job: Option<&Job>,
    work: impl Future<Output = std::result::Result<T, Error>> + Send + 'static,
    convert: impl FnOnce(Env, T) -> Result<V> + Send + 'static,
) -> Result<Object<'env>>
where
    T: Send + 'static,
    V: ToNapiValue + 'static,
{
    let runtime = handle()?;
    let (deferred, promise) = env.create_deferred()?;
    let given_up = job.map(|job| job.given_up.clone());
    runtime.spawn(async move {
        let outcome = match given_up {
            None => work.await,
            Some(given_up) => tokio::select! {
                outcome = work => outcome,
                () = given_up.notified() => {
                    Err(Error::new(ErrorKind::Closed, "the caller gave it up"))
                }
            },
        };
        // A rejection carries its error to the thread of JavaScript, which makes it one of its own.
        deferred.resolve(move |env: Env| match outcome {
            Ok(value) => convert(env, value).map(Either::A),
            Err(error) => Ok(Either::B(thrown(&error))),
        });
    });
    Ok(promise)
}

/// Work that goes on, for a caller that may give it up.
#[napi]
pub struct Job {
    given_up: Arc<Notify>,
}

#[napi]
impl Job {
    /// Work to come.
    #[napi(constructor)]
    #[allow(clippy::new_without_default, reason = "it is made by JavaScript")]
    pub fn new() -> Self {
        Self { given_up: Arc::new(Notify::new()) }
    }

    /// Ends the work, if it has not ended.
    #[napi]
    pub fn abort(&self) {
        self.given_up.notify_one();
    }
}
