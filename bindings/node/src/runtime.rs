//! The one runtime of a process: a thread that waits for sockets and timers, made at first use. It is never
//! shut down: Node ends a process without waiting for threads, and another worker may still use it.

use std::{future::Future, io, sync::OnceLock};

use keyswap_host::Error;
use napi::{Env, bindgen_prelude::*};
use napi_derive::napi;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::errors::thrown;

/// The runtime, started if it does not run yet.
pub(crate) fn handle() -> Result<Handle> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(1).thread_name("keyswap").enable_all().build()
    });
    let failed = |error| format!("no thread could be started: {error}");
    made.as_ref().map(|it| it.handle().clone()).map_err(|it| napi::Error::from_reason(failed(it)))
}

/// Runs a future on the runtime. The promise keeps the process alive until it is settled, as promises of
/// Node's own work do; `convert` runs on the thread of JavaScript.
pub(crate) fn promise<'env, T, V>(
    env: &'env Env,
    job: Option<&Job>,
    work: impl Future<Output = std::result::Result<T, Error>> + Send + 'static,
    convert: impl FnOnce(T) -> V + Send + 'static,
) -> Result<Object<'env>>
where
    T: Send + 'static,
    V: ToNapiValue + 'static,
{
    let runtime = handle()?;
    let (deferred, promise) = env.create_deferred()?;
    let job = job.map(|job| job.0.clone()).unwrap_or_default();
    runtime.spawn(async move {
        let outcome = job.run(work).await;
        // A rejection carries its error to the thread of JavaScript, which makes it one of its own.
        deferred.resolve(move |_: Env| {
            Ok(match outcome {
                Ok(value) => Either::A(convert(value)),
                Err(error) => Either::B(thrown(&error)),
            })
        });
    });
    Ok(promise)
}

/// Work that goes on, for a caller that may give it up.
#[napi]
pub struct Job(keyswap_host::Job);

#[napi]
impl Job {
    /// Work to come.
    #[napi(constructor)]
    #[allow(clippy::new_without_default, reason = "it is made by JavaScript")]
    pub fn new() -> Self {
        Self(keyswap_host::Job::default())
    }

    /// Ends the work, if it has not ended.
    #[napi]
    pub fn abort(&self) {
        self.0.cancel();
    }
}
