//! The running handle.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use keyswap::{Credential, CredentialSet, Error, ErrorKind, KeySwap, host, source::Hint};
use tokio::runtime::Handle;

use crate::{
    options::KeySwapOptions,
    records::{SetRecord, StatsRecord},
    source::{Source, seconds},
};

/// Follows one source and always holds a fresh credential. Cheap to clone; the last clone that is dropped ends it.
#[derive(Clone, Debug)]
pub struct Keys(KeySwap);

/// Where a handle lives.
pub struct Place {
    /// The runtime that it works on, which must live as long as it does.
    pub runtime: Handle,
    /// Told of each new epoch, right after it can be read: on a thread of the runtime, and it must not wait.
    pub on_publish: Option<Box<dyn Fn(u64) + Send + Sync>>,
    /// The set to begin with, that the parent of a forked child held.
    pub inherit: Option<Arc<CredentialSet>>,
}

impl Place {
    /// On this runtime, and nothing else to say.
    pub fn on(runtime: Handle) -> Self {
        Self { runtime, on_publish: None, inherit: None }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place(..)")
    }
}

impl Keys {
    /// Begins to follow a source, and does not wait.
    ///
    /// # Errors
    /// `invalid_config`.
    pub fn follow(source: &Source, options: &KeySwapOptions, place: Place) -> Result<Self, Error> {
        let source = source.build(options.mints)?;
        let mut follow =
            KeySwap::follow(source).policy(options.policy.clone()).runtime(place.runtime);
        if let Some(name) = &options.name {
            follow = follow.name(name);
        }
        if let Some(watcher) = place.on_publish {
            follow = host::on_publish(follow, watcher);
        }
        if let Some(set) = place.inherit {
            follow = host::inherit(follow, (*set).clone());
        }
        follow.start().map(Self)
    }

    /// The credential in use.
    ///
    /// # Errors
    /// Why nothing is usable.
    pub fn current(&self) -> Result<Arc<Credential>, Error> {
        self.0.current().map(|current| current.to_owned())
    }

    /// The same, with the epoch that it is of, for caches.
    ///
    /// # Errors
    /// Why nothing is usable.
    pub fn current_of(&self) -> Result<(Arc<Credential>, u64), Error> {
        self.0.current().map(|current| (current.to_owned(), current.snapshot().epoch()))
    }

    /// The local number of what requests see. Caches are kept by it.
    #[inline]
    pub fn epoch(&self) -> u64 {
        host::epoch(&self.0)
    }

    /// The set that is held; none before the first fetch, and after the provider revoked it.
    pub fn set(&self) -> Option<SetRecord> {
        self.0.set().map(|set| SetRecord::from(&*set))
    }

    /// What was counted so far.
    pub fn stats(&self) -> StatsRecord {
        StatsRecord::from(&self.0.stats())
    }

    /// Waits until a credential is usable, for at most so many seconds.
    ///
    /// # Errors
    /// That of the fetch that runs, should it fail; `timeout`.
    pub fn ready(
        &self,
        timeout: Option<f64>,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<> {
        let keys = self.0.clone();
        self.clone().within(timeout, async move { keys.ready().await })
    }

    /// Fetches now, or as soon as the floor between two fetches allows, and waits for the outcome, for at most so many
    /// seconds.
    ///
    /// # Errors
    /// That of the fetch: what was held is still held; `timeout`.
    pub fn refresh(
        &self,
        timeout: Option<f64>,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<> {
        let keys = self.0.clone();
        self.clone().within(timeout, async move { keys.refresh().await })
    }

    async fn within(
        self,
        timeout: Option<f64>,
        work: impl Future<Output = Result<(), Error>> + Send,
    ) -> Result<(), Error> {
        let timeout = seconds(timeout, "the timeout")?;
        within(timeout, work, |limit| {
            let failure = self.0.last_failure();
            let why = failure.map(|error| format!("; the last failure: {error}"));
            format!("no fresh credential within {limit}{}", why.unwrap_or_default())
        })
        .await
    }

    /// Says that something newer may be there.
    pub fn hint(&self, generation: Option<u64>, immediate: bool) {
        let mut hint = Hint::default();
        hint.generation = generation;
        hint.immediate = immediate;
        self.0.hint(hint);
    }

    /// Looks at the clocks at once.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// What happens from now on, until the handle ends.
    pub fn events(&self) -> keyswap::Events {
        self.0.events()
    }

    /// Ends it, for all that use it. Afterwards nothing is usable.
    pub fn close(&self) {
        self.0.close();
    }

    /// `close`, and waits until the provider was told that nothing is used any more: a second at most.
    pub fn shutdown(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let keys = self.0.clone();
        async move { keys.shutdown().await }
    }

    /// The handle of the core.
    pub fn core(&self) -> &KeySwap {
        &self.0
    }
}

/// Waits for at most so long. `what` makes the sentence of the error, and is told the limit in words.
///
/// # Errors
/// That of the work; `timeout`.
pub async fn within<T>(
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, Error>>,
    what: impl FnOnce(String) -> String,
) -> Result<T, Error> {
    let Some(timeout) = timeout else { return work.await };
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
        let limit = format!("{} s", timeout.as_secs_f64());
        Err(Error::new(ErrorKind::Timeout, what(limit)))
    })
}
