//! The running handle, and what observers are told.

use std::sync::Arc;

use keyswap_host::{
    Keys, Place,
    options::{KeySwapOptions, policy_from_json},
};
use tokio::sync::Mutex;

use crate::{
    foreign::NativeWatcher,
    job::{NativeJob, runtime},
    opaque::NativeCredential,
    records::{NativeError, NativeEvent, NativeStats},
    source::NativeSource,
};

#[derive(Debug, uniffi::Object)]
pub struct NativeKeySwap(Keys);

/// The set that is held, without material.
#[derive(Debug, uniffi::Record)]
pub struct NativeSet {
    pub generation: u64,
    pub primary: Option<Arc<NativeCredential>>,
    pub previous: Vec<Arc<NativeCredential>>,
    pub next: Option<Arc<NativeCredential>>,
    pub revoked: Vec<String>,
    pub scopes: Vec<String>,
    pub audience: Vec<String>,
}

#[uniffi::export]
impl NativeKeySwap {
    /// Begins to follow, and does not wait. `policy` is JSON with times in seconds.
    #[uniffi::constructor]
    pub fn start(
        source: &NativeSource,
        policy: Option<String>,
        name: Option<String>,
        watcher: Option<Arc<dyn NativeWatcher>>,
    ) -> Result<Arc<Self>, NativeError> {
        let (source, mints) = source.followed()?;
        let policy = policy.as_deref().map(policy_from_json).transpose()?.unwrap_or_default();
        let options = KeySwapOptions { policy, name, mints };
        let mut place = Place::on(runtime()?);
        if let Some(watcher) = watcher {
            // A watcher that fails has missed nothing that it cannot look up.
            place.on_publish = Some(Box::new(move |epoch| drop(watcher.published(epoch))));
        }
        Ok(Arc::new(Self(Keys::follow(&source, &options, place)?)))
    }

    pub fn current(&self) -> Result<Arc<NativeCredential>, NativeError> {
        Ok(Arc::new(NativeCredential(self.0.current()?)))
    }

    pub fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    pub fn credentials(&self) -> Option<NativeSet> {
        let set = self.0.set()?;
        let shown = |one| Arc::new(NativeCredential(one));
        Some(NativeSet {
            generation: set.generation,
            primary: set.primary.map(shown),
            previous: set.previous.into_iter().map(shown).collect(),
            next: set.next.map(shown),
            revoked: set.revoked,
            scopes: set.scopes,
            audience: set.audience,
        })
    }

    pub fn stats(&self) -> NativeStats {
        self.0.stats()
    }

    pub async fn ready(
        self: Arc<Self>,
        timeout: Option<f64>,
        job: Arc<NativeJob>,
    ) -> Result<(), NativeError> {
        Ok(job.run(self.0.ready(timeout)).await?)
    }

    pub async fn refresh(
        self: Arc<Self>,
        timeout: Option<f64>,
        job: Arc<NativeJob>,
    ) -> Result<(), NativeError> {
        Ok(job.run(self.0.refresh(timeout)).await?)
    }

    pub fn hint(&self, generation: Option<u64>, immediate: bool) {
        self.0.hint(generation, immediate);
    }

    /// The application comes or goes: the clocks are looked at, and what is due is done.
    pub fn wake(&self) {
        self.0.wake();
    }

    pub fn events(&self) -> Arc<NativeEvents> {
        Arc::new(NativeEvents(Arc::new(Mutex::new(self.0.events()))))
    }

    pub fn end(&self) {
        self.0.close();
    }

    pub async fn shutdown(self: Arc<Self>) {
        let ending = self.0.shutdown();
        let _ = NativeJob::new()
            .run(async move {
                ending.await;
                Ok(())
            })
            .await;
    }
}

impl NativeKeySwap {
    pub(crate) fn host(&self) -> &Keys {
        &self.0
    }
}

/// The events of one handle, from the time that this was made. It does not keep the handle alive.
#[derive(uniffi::Object)]
pub struct NativeEvents(Arc<Mutex<keyswap::Events>>);

#[uniffi::export]
impl NativeEvents {
    /// Waits for the next event. None once the handle is closed or gone. A wait that is given up loses no event.
    pub async fn next(
        self: Arc<Self>,
        job: Arc<NativeJob>,
    ) -> Result<Option<NativeEvent>, NativeError> {
        let events = self.0.clone();
        let next = async move { Ok(events.lock().await.next().await) };
        Ok(job.run(next).await?.as_ref().map(NativeEvent::from))
    }
}
