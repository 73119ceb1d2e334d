//! The running handle.

use keyswap_host::{Keys, Place, options::from_json};
use napi::{
    Env,
    bindgen_prelude::{Function as JsFunction, *},
};
use napi_derive::napi;
use serde_json::Value;

use crate::{
    credential::NativeCredential,
    epochs::Epochs,
    errors::{Thrown, told},
    foreign::Queue,
    runtime::{self, Job, promise},
    source::NativeSource,
};

/// Follows one source and always holds a fresh credential.
#[napi]
pub struct NativeKeySwap {
    pub(crate) keys: Keys,
    epochs: Epochs,
}

/// The set that is held, without material.
#[napi(object, object_from_js = false)]
pub struct NativeSet {
    /// The number of the generation.
    pub generation: f64,
    /// The newest credential.
    pub primary: Option<NativeCredential>,
    /// The fallbacks, newest first.
    pub previous: Vec<NativeCredential>,
    /// The staged one.
    pub next: Option<NativeCredential>,
    /// The ids that were revoked.
    pub revoked: Vec<String>,
    /// What the whole set may be used for.
    pub scopes: Vec<String>,
    /// The origins that the provider narrows its use to.
    pub audience: Vec<String>,
}

#[napi]
impl NativeKeySwap {
    /// Begins to follow, and does not wait. `options` are JSON; the epoch is written to `place`.
    #[napi]
    pub fn follow(
        env: Env,
        source: &NativeSource,
        options: String,
        place: Int32Array,
    ) -> Result<Either<NativeKeySwap, Thrown>> {
        let epochs = Epochs::new(&env, place)?;
        let written = epochs.clone();
        let place = Place {
            on_publish: Some(Box::new(move |epoch| written.write(epoch))),
            ..Place::on(runtime::handle()?)
        };
        let keys = from_json(&options).and_then(|options| Keys::follow(&source.0, &options, place));
        Ok(told(keys.map(|keys| Self { keys, epochs })))
    }

    /// The credential in use.
    #[napi]
    pub fn current(&self) -> Either<NativeCredential, Thrown> {
        told(self.keys.current().map(NativeCredential))
    }

    /// The epoch as the place shows it.
    #[napi]
    pub fn epoch(&self) -> i32 {
        self.keys.epoch() as i32
    }

    /// The set that is held.
    #[napi]
    pub fn set(&self) -> Option<NativeSet> {
        let set = self.keys.set()?;
        Some(NativeSet {
            generation: set.generation as f64,
            primary: set.primary.map(NativeCredential),
            previous: set.previous.into_iter().map(NativeCredential).collect(),
            next: set.next.map(NativeCredential),
            revoked: set.revoked,
            scopes: set.scopes,
            audience: set.audience,
        })
    }

    /// What was counted so far.
    #[napi(ts_return_type = "Record<string, unknown>")]
    pub fn stats(&self) -> Value {
        serde_json::to_value(self.keys.stats()).unwrap_or_default()
    }

    /// Waits until a credential is usable, or the fetch that runs has failed; the limit is in seconds.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn ready<'env>(
        &self,
        env: &'env Env,
        timeout: Option<f64>,
        job: &Job,
    ) -> Result<Object<'env>> {
        promise(env, Some(job), self.keys.ready(timeout), |()| ())
    }

    /// Fetches now, or as soon as the floor between two fetches allows, and waits for the outcome.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn refresh<'env>(
        &self,
        env: &'env Env,
        timeout: Option<f64>,
        job: &Job,
    ) -> Result<Object<'env>> {
        promise(env, Some(job), self.keys.refresh(timeout), |()| ())
    }

    /// Says that something newer may be there.
    #[napi]
    pub fn hint(&self, generation: Option<f64>, immediate: bool) {
        self.keys.hint(generation.map(|generation| generation as u64), immediate);
    }

    /// Looks at the clocks at once.
    #[napi]
    pub fn wake(&self) {
        self.keys.wake();
    }

    /// Calls the function with each event from now on, and with nothing at the end. It does not keep the
    /// process alive.
    #[napi]
    pub fn on_event(&self, listener: JsFunction<'_, Option<Value>, ()>) -> Result<()> {
        let listener = Queue::new(&listener)?;
        let mut events = self.keys.events();
        runtime::handle()?.spawn(async move {
            while let Some(event) = events.next().await {
                let mut told = serde_json::to_value(&event).unwrap_or_default();
                (told["name"], told["text"]) = (event.name().into(), event.to_string().into());
                if !listener.call(Some(told)) {
                    return;
                }
            }
            listener.call(None);
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
        let shutdown = self.keys.shutdown();
        let work = async move {
            shutdown.await;
            Ok(())
        };
        promise(env, None, work, |()| ())
    }
}

impl Drop for NativeKeySwap {
    fn drop(&mut self) {
        self.epochs.release();
    }
}
