//! The running handle.

use std::time::Duration;

use keyswap::{Error, ErrorKind, Policy, host, source::Hint};
use napi::{
    Env, Status,
    bindgen_prelude::{Function as JsFunction, *},
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode::NonBlocking},
};
use napi_derive::napi;

use crate::{
    credential::{NativeCredential, millis},
    epochs::Epochs,
    errors::{invalid, raise},
    runtime::{self, Job, promise},
    source::{NativeSource, duration},
};

/// Follows one source and always holds a fresh credential.
#[napi]
pub struct NativeKeySwap {
    pub(crate) keys: keyswap::KeySwap,
    epochs: Epochs,
}

/// The set that is held, without material.
#[napi(object, object_from_js = false)]
pub struct SetShown {
    /// The number of the generation.
    pub generation: f64,
    /// The ids that were revoked.
    pub revoked: Vec<String>,
}

#[napi]
impl NativeKeySwap {
    /// Begins to follow, and does not wait. `policy` is JSON; the epoch is written to `place`.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        source: &NativeSource,
        policy: Option<String>,
        name: Option<String>,
        place: Int32Array,
    ) -> Result<Self> {
        let policy: Policy = match policy {
            None => Policy::default(),
            Some(json) => serde_json::from_str(&json)
                .map_err(|error| invalid(format!("invalid policy: {error}")))?,
        };
        let epochs = Epochs::new(&env, place)?;
        let told = epochs.clone();
        let follow =
            keyswap::KeySwap::follow(source.make()?).policy(policy).runtime(runtime::handle()?);
        let mut follow = host::on_publish(follow, move |epoch| told.write(epoch));
        if let Some(name) = &name {
            follow = follow.name(name);
        }
        let keys = follow.start().map_err(|error| raise(&error))?;
        Ok(Self { keys, epochs })
    }

    /// The credential in use.
    #[napi]
    pub fn current(&self) -> Result<NativeCredential> {
        let current = self.keys.current().map_err(|error| raise(&error))?;
        Ok(NativeCredential(current.to_owned()))
    }

    /// The epoch as the place shows it.
    #[napi]
    pub fn epoch(&self) -> i32 {
        host::epoch(&self.keys) as i32
    }

    /// The set that is held.
    #[napi]
    pub fn set(&self) -> Option<SetShown> {
        let set = self.keys.set()?;
        Some(SetShown {
            generation: set.generation() as f64,
            revoked: set.revoked().iter().map(|id| id.to_string()).collect(),
        })
    }

    /// Its credentials: current, previous, newest first, and next last.
    #[napi]
    pub fn credentials(&self) -> Vec<NativeCredential> {
        let Some(set) = self.keys.set() else { return Vec::new() };
        let all = set.primary().into_iter().chain(set.previous()).chain(set.next());
        all.map(|credential| NativeCredential(credential.clone().into())).collect()
    }

    /// How many of them are previous ones.
    #[napi]
    pub fn previous_count(&self) -> u32 {
        self.keys.set().map_or(0, |set| set.previous().count() as u32)
    }

    /// What was counted so far, as JSON.
    #[napi]
    pub fn stats(&self) -> String {
        let stats = self.keys.stats();
        let counts = &stats.counts;
        serde_json::json!({
            "generation": stats.generation,
            "epoch": stats.epoch,
            "inUse": stats.in_use.map(|id| id.to_string()),
            "expiresAt": millis(stats.expires_at),
            "lastSuccess": millis(stats.last_success),
            "ageMs": stats.age.map(|age| age.as_millis() as u64),
            "fetchesChanged": counts.changed,
            "fetchesNotModified": counts.not_modified,
            "fetchesFailed": counts.failed,
            "fetchesForced": counts.forced,
            "rejections": counts.rejections,
            "fallbacks": counts.fallbacks,
            "rollbacks": counts.rollbacks,
            "sends": stats.sends,
            "extraSends": stats.extra_sends,
            "waiting": stats.waiting,
        })
        .to_string()
    }

    /// Waits until a credential is usable, or the fetch that runs has failed.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn ready<'env>(
        &self,
        env: &'env Env,
        timeout: Option<f64>,
        job: &Job,
    ) -> Result<Object<'env>> {
        let (keys, timeout) = (self.keys.clone(), limit(timeout)?);
        let work = async move { within(timeout, keys.ready()).await };
        promise(env, Some(job), work, |_, ()| Ok(()))
    }

    /// Fetches now, or as soon as the floor between two fetches allows, and waits for the outcome.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn refresh<'env>(
        &self,
        env: &'env Env,
        timeout: Option<f64>,
        job: &Job,
    ) -> Result<Object<'env>> {
        let (keys, timeout) = (self.keys.clone(), limit(timeout)?);
        let work = async move { within(timeout, keys.refresh()).await };
        promise(env, Some(job), work, |_, ()| Ok(()))
    }

    /// Says that something newer may be there.
    #[napi]
    pub fn hint(&self, generation: Option<f64>, immediate: bool) {
        let generation = generation.map(|generation| generation as u64);
        self.keys.hint(Hint::new().generation(generation).immediate(immediate));
    }

    /// Looks at the clocks at once.
    #[napi]
    pub fn wake(&self) {
        self.keys.wake();
    }

    /// Calls the function with each event from now on, as JSON, and with nothing at the end. It does not
    /// keep the process alive.
    #[napi]
    pub fn on_event(&self, listener: JsFunction<'_, Option<String>, ()>) -> Result<()> {
        let listener = listener.build_threadsafe_function::<Option<String>>();
        let listener: Listener = listener.callee_handled::<false>().weak::<true>().build()?;
        let mut events = self.keys.events();
        runtime::handle()?.spawn(async move {
            while let Some(event) = events.next().await {
                let mut told = serde_json::to_value(&event).unwrap_or_default();
                told["name"] = event.name().into();
                told["text"] = event.to_string().into();
                if listener.call(Some(told.to_string()), NonBlocking) != Status::Ok {
                    return;
                }
            }
            listener.call(None, NonBlocking);
        });
        Ok(())
    }

    /// Ends it, for all that use it.
    #[napi]
    pub fn close(&self) {
        self.keys.close();
    }

    /// `close`, and waits until the provider was told.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn shutdown<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let keys = self.keys.clone();
        let work = async move {
            keys.shutdown().await;
            Ok(())
        };
        promise(env, None, work, |_, ()| Ok(()))
    }
}

impl Drop for NativeKeySwap {
    fn drop(&mut self) {
        self.epochs.release();
    }
}

type Listener = ThreadsafeFunction<Option<String>, (), Option<String>, Status, false, true>;

/// A limit in milliseconds; none is no limit.
pub(crate) fn limit(timeout: Option<f64>) -> Result<Option<Duration>> {
    timeout.map(|timeout| duration(timeout, "timeout")).transpose()
}

/// Waits for at most so long.
pub(crate) async fn within<T>(
    timeout: Option<Duration>,
    work: impl Future<Output = std::result::Result<T, Error>>,
) -> std::result::Result<T, Error> {
    let Some(timeout) = timeout else { return work.await };
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
        let what = format!("not within {} ms", timeout.as_millis());
        Err(Error::new(ErrorKind::Timeout, what))
    })
}
