//! The running handle.

use std::{future::Future, sync::Arc, time::Duration};

use keyswap::{Error, ErrorKind, KeySwap, Policy, host, source::Hint};

use crate::{
    credential::{NativeCredential, millis},
    errors::{NativeError, invalid},
    events::NativeEvents,
    foreign::NativeWatcher,
    job::{NativeJob, runtime},
    source::NativeSource,
};

/// Follows one source and always holds a fresh credential. The last reference that is dropped ends it.
#[derive(Debug, uniffi::Object)]
pub struct NativeKeySwap(KeySwap);

/// The set that is held, without material.
#[derive(Debug, uniffi::Record)]
pub struct NativeSet {
    /// The number of the generation.
    pub generation: u64,
    /// The newest credential.
    pub primary: Option<Arc<NativeCredential>>,
    /// The fallbacks, newest first.
    pub previous: Vec<Arc<NativeCredential>>,
    /// The staged one.
    pub next: Option<Arc<NativeCredential>>,
    /// The ids that were revoked.
    pub revoked: Vec<String>,
}

/// What was counted so far. Times are milliseconds, points in time since 1970.
#[derive(Debug, uniffi::Record)]
pub struct NativeStats {
    /// The generation that is held.
    pub generation: Option<u64>,
    /// The local number of what requests see.
    pub epoch: u64,
    /// The id of the credential in use.
    pub in_use: Option<String>,
    /// When that ends.
    pub expires_at_ms: Option<i64>,
    /// When a fetch last worked.
    pub last_success_ms: Option<i64>,
    /// How long ago that was.
    pub age_ms: Option<u64>,
    /// Fetches that brought a new generation.
    pub fetches_changed: u64,
    /// Fetches that learnt that nothing changed.
    pub fetches_not_modified: u64,
    /// Fetches that failed.
    pub fetches_failed: u64,
    /// Fetches that a rejection forced.
    pub fetches_forced: u64,
    /// Rejections that counted as evidence.
    pub rejections: u64,
    /// Times an older credential was taken into use because the newer one was rejected.
    pub fallbacks: u64,
    /// Times the provider went back to an older credential.
    pub rollbacks: u64,
    /// Sends of all requests.
    pub sends: u64,
    /// Sends beyond the first of a request.
    pub extra_sends: u64,
    /// Callers that wait for a fetch.
    pub waiting: u64,
}

#[uniffi::export]
impl NativeKeySwap {
    /// Begins to follow, and does not wait. `policy` is JSON with times in seconds.
    ///
    /// # Errors
    /// `invalid_config`.
    #[uniffi::constructor]
    pub fn start(
        source: &NativeSource,
        policy: Option<String>,
        name: Option<String>,
        watcher: Option<Arc<dyn NativeWatcher>>,
    ) -> Result<Arc<Self>, NativeError> {
        let policy: Policy = match policy {
            None => Policy::default(),
            Some(json) => serde_json::from_str(&json)
                .map_err(|error| invalid(format!("invalid policy: {error}")))?,
        };
        let mut follow = KeySwap::follow(source.take()?).policy(policy).runtime(runtime()?);
        if let Some(watcher) = watcher {
            // A watcher that fails has missed nothing that it cannot look up.
            follow = host::on_publish(follow, move |epoch| drop(watcher.published(epoch)));
        }
        if let Some(name) = &name {
            follow = follow.name(name);
        }
        Ok(Arc::new(Self(follow.start()?)))
    }

    /// The credential in use.
    ///
    /// # Errors
    /// Why nothing is usable.
    pub fn current(&self) -> Result<Arc<NativeCredential>, NativeError> {
        Ok(NativeCredential::new(self.0.current()?.to_owned()))
    }

    /// The local number of what requests see. Caches are kept by it.
    pub fn epoch(&self) -> u64 {
        host::epoch(&self.0)
    }

    /// The set that is held; none before the first fetch, and after the provider revoked it.
    pub fn credentials(&self) -> Option<NativeSet> {
        let set = self.0.set()?;
        let shown = |one: &keyswap::Credential| NativeCredential::new(Arc::new(one.clone()));
        Some(NativeSet {
            generation: set.generation(),
            primary: set.primary().map(shown),
            previous: set.previous().map(shown).collect(),
            next: set.next().map(shown),
            revoked: set.revoked().iter().map(|id| id.to_string()).collect(),
        })
    }

    /// What was counted so far.
    pub fn stats(&self) -> NativeStats {
        let stats = self.0.stats();
        let counts = &stats.counts;
        NativeStats {
            generation: stats.generation,
            epoch: stats.epoch,
            in_use: stats.in_use.map(|id| id.to_string()),
            expires_at_ms: millis(stats.expires_at),
            last_success_ms: millis(stats.last_success),
            age_ms: stats.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            fetches_changed: counts.changed,
            fetches_not_modified: counts.not_modified,
            fetches_failed: counts.failed,
            fetches_forced: counts.forced,
            rejections: counts.rejections,
            fallbacks: counts.fallbacks,
            rollbacks: counts.rollbacks,
            sends: stats.sends,
            extra_sends: stats.extra_sends,
            waiting: stats.waiting as u64,
        }
    }

    /// Waits until a credential is usable.
    ///
    /// # Errors
    /// That of the fetch that runs, should it fail; `timeout`; `closed` if the job is cancelled.
    pub async fn ready(
        self: Arc<Self>,
        timeout_ms: Option<u64>,
        job: Arc<NativeJob>,
    ) -> Result<(), NativeError> {
        let keys = self.0.clone();
        let work = async move { within(timeout_ms, keys.ready()).await };
        Ok(job.run(work).await?)
    }

    /// Fetches now, or as soon as the floor between two fetches allows, and waits for the outcome.
    ///
    /// # Errors
    /// That of the fetch: what was held is still held; `timeout`; `closed` if the job is cancelled.
    pub async fn refresh(
        self: Arc<Self>,
        timeout_ms: Option<u64>,
        job: Arc<NativeJob>,
    ) -> Result<(), NativeError> {
        let keys = self.0.clone();
        let work = async move { within(timeout_ms, keys.refresh()).await };
        Ok(job.run(work).await?)
    }

    /// Says that something newer may be there.
    pub fn hint(&self, generation: Option<u64>, immediate: bool) {
        self.0.hint(Hint::new().generation(generation).immediate(immediate));
    }

    /// The application is in the foreground again: the clocks are looked at, and what is due is done.
    pub fn entered_foreground(&self) {
        self.0.wake();
    }

    /// The application leaves the foreground: what is due is done while there is time.
    pub fn entered_background(&self) {
        self.0.wake();
    }

    /// The device changed its network: a fetch that failed is tried again now.
    pub fn network_changed(&self) {
        self.0.wake();
        self.hint(None, true);
    }

    /// What happens from now on.
    pub fn events(&self) -> Arc<NativeEvents> {
        NativeEvents::new(self.0.events())
    }

    /// Ends it, for all that use it. Afterwards nothing is usable.
    pub fn end(&self) {
        self.0.close();
    }

    /// `end`, and waits until the provider was told that nothing is used any more: a second at most.
    pub async fn shutdown(self: Arc<Self>) {
        let keys = self.0.clone();
        let work = async move {
            keys.shutdown().await;
            Ok(())
        };
        let _ = NativeJob::new().run(work).await;
    }
}

impl NativeKeySwap {
    pub(crate) fn core(&self) -> &KeySwap {
        &self.0
    }
}

async fn within<T>(
    timeout_ms: Option<u64>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(timeout) = timeout_ms else { return work.await };
    tokio::time::timeout(Duration::from_millis(timeout), work)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, format!("not within {timeout} ms"))))
}
