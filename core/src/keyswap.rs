//! The running handle.

mod events;

use std::{
    fmt,
    future::{Future, IntoFuture},
    hash::{BuildHasher, Hasher, RandomState},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    runtime::Handle,
    sync::{broadcast, oneshot, watch},
};

pub use self::events::Events;
use crate::{
    clock::Clock,
    credential::{CredentialId, CredentialSet},
    driver::{self, Driver, FINAL_REPORT_TIMEOUT, Message, Outbox, Waiter, Woken},
    engine::{
        rotation::{self, Backoff, Counts, Input, Rotation},
        snapshot::Snapshot,
    },
    error::{Error, ErrorKind},
    event::Event,
    policy::Policy,
    source::{Hint, Source, Terms},
    store::{Current, Store, Watcher},
};

/// Events that a slow observer may be behind before it loses the oldest.
const EVENT_BUFFER: usize = 64;

/// Follows one [`Source`] and always holds a fresh set. Cheap to clone; the last clone that is dropped
/// ends the background task.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), keyswap::Error> {
/// use keyswap::{Credential, CredentialSet, KeySwap, source};
/// let vault = source::from_fn(|| async { Ok(CredentialSet::new(Credential::new("k2", "material"))) });
/// let keys = KeySwap::follow(vault).await?;
/// assert_eq!(keys.current()?.id(), "k2");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct KeySwap {
    /// Beside the rest and not within it: one step less for whoever reads.
    store: Arc<Store>,
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) policy: Arc<Policy>,
    pub(crate) clock: Clock,
    outbox: Outbox,
    events: broadcast::WeakSender<Event>,
    counts: Arc<Mutex<Counts>>,
    /// Ends when the background task does.
    alive: watch::Receiver<()>,
}

impl KeySwap {
    /// Prepares to follow a source. Await it to wait for the first set, or
    /// [`start`](Follow::start) it.
    ///
    /// # Errors
    /// Awaiting it fails if the first fetch does, with that error.
    pub fn follow(source: impl Source) -> Follow {
        Follow {
            source: Arc::new(source),
            policy: Policy::default(),
            backoff: None,
            clock: Clock::system(),
            schemes: Vec::new(),
            runtime: None,
            seed: None,
            inherited: None,
            watcher: None,
            name: "default".into(),
        }
    }

    /// The credential in use: a wait-free load, without a lock, a clock or a task switch.
    ///
    /// # Errors
    /// Why nothing is usable: not yet, not any more, or revoked.
    #[inline]
    pub fn current(&self) -> Result<Current, Error> {
        self.store.current()
    }

    /// What was published last.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.store.snapshot())
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.store.epoch()
    }

    /// The set that is held: none before the first fetch, and after the provider revoked it.
    pub fn set(&self) -> Option<Arc<CredentialSet>> {
        self.store.snapshot().set.clone()
    }

    /// Waits until a credential is usable, or the fetch that runs has failed.
    ///
    /// # Errors
    /// The error of that fetch, or why nothing is usable.
    pub async fn ready(&self) -> Result<(), Error> {
        if self.current().is_ok() {
            return Ok(());
        }
        self.ask(Message::Wait).await?;
        self.current().map(drop)
    }

    /// Fetches now, or as soon as the floor between two fetches allows, and waits for the outcome. A
    /// fetch that runs already is joined.
    ///
    /// # Errors
    /// The error of that fetch. What was held is still held.
    pub async fn refresh(&self) -> Result<(), Error> {
        self.ask(Message::Refresh).await
    }

    /// Says that something newer may be there, for programs with a push channel of their own.
    pub fn hint(&self, hint: Hint) {
        self.shared.outbox.hint(hint);
    }

    /// Looks at the clocks at once: for applications that come back from the background.
    pub fn wake(&self) {
        self.shared.outbox.wake();
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        Events::new(self.shared.events.upgrade().map(|sender| sender.subscribe()))
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let snapshot = self.store.snapshot();
        let counts = *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let in_use = snapshot.in_use.as_deref();
        Stats {
            generation: snapshot.set().map(CredentialSet::generation),
            epoch: snapshot.epoch(),
            in_use: in_use.map(|credential| credential.shared_id()),
            expires_at: in_use.and_then(|credential| credential.expires_at()),
            last_success: counts.last_success.and_then(|at| Timestamp::from_millisecond(at).ok()),
            age: counts.last_success.map(|at| {
                let age = self.shared.clock.now().wall.saturating_sub(at);
                Duration::from_millis(u64::try_from(age).unwrap_or(0))
            }),
            counts,
            sends: self.store.sends(),
            extra_sends: self.store.extra_sends(),
            waiting: self.store.waiting(),
        }
    }

    /// Why the last fetch failed; none if it worked, or none has ended yet.
    pub fn last_failure(&self) -> Option<Error> {
        self.store.failure()
    }

    /// Ends the background task now, for all clones. Afterwards nothing is usable.
    pub fn close(&self) {
        self.send(Message::Close);
    }

    /// Closes, and waits until the background task has ended: until the provider has heard that this
    /// program uses none of its credentials any more, if it was ever told which it does. That takes a
    /// second at most; a program that ends without it is taken for gone when its lease has run out.
    pub async fn shutdown(&self) {
        self.close();
        let mut alive = self.shared.alive.clone();
        // In a forked child the task is gone, and will never say so.
        let _ = tokio::time::timeout(FINAL_REPORT_TIMEOUT * 2, alive.changed()).await;
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    fn send(&self, message: Message) {
        self.shared.outbox.send(message);
    }

    /// What a request learnt of a credential.
    pub(crate) fn send_input(&self, input: Input) {
        self.send(Message::Input(Box::new(input)));
    }

    /// Sends a question and waits for a fetch to settle.
    pub(crate) async fn ask(&self, question: impl FnOnce(Waiter) -> Message) -> Result<(), Error> {
        let (waiter, settled) = oneshot::channel();
        self.send(question(waiter));
        let _counted = self.store.wait();
        settled.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Waits until a fetch settles or something newer than the epoch that was seen is published. None if
    /// nobody is there to say so.
    pub(crate) async fn rest(&self, seen: u64, asks: bool) -> Option<Woken> {
        let (waker, woken) = oneshot::channel();
        self.send(Message::Rest { seen, asks, waker });
        let _counted = self.store.wait();
        woken.await.ok()
    }
}

impl fmt::Debug for KeySwap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.store.snapshot();
        f.debug_struct("KeySwap")
            .field("epoch", &snapshot.epoch())
            .field("generation", &snapshot.set().map(CredentialSet::generation))
            .field("in_use", &snapshot.in_use().map(|credential| credential.id()))
            .finish_non_exhaustive()
    }
}

/// A source about to be followed. Await it, or [`start`](Self::start) it.
#[must_use = "nothing is followed until it is awaited or started"]
pub struct Follow {
    source: Arc<dyn Source>,
    policy: Policy,
    backoff: Option<Backoff>,
    clock: Clock,
    schemes: Vec<Box<str>>,
    runtime: Option<Handle>,
    seed: Option<u64>,
    inherited: Option<CredentialSet>,
    watcher: Option<Watcher>,
    name: Box<str>,
}

impl Follow {
    /// Other numbers than the defaults.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Another retry schedule for failed fetches: made anew after each success, and any iterator of
    /// delays will do. The floor between fetches and `Retry-After` hold all the same.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use keyswap::{KeySwap, source, CredentialSet, Credential};
    /// # let vault = source::from_fn(|| async { Ok(CredentialSet::new(Credential::new("k2", "m"))) });
    /// let steady = KeySwap::follow(vault).backoff(|| std::iter::repeat(Duration::from_secs(3)));
    /// ```
    pub fn backoff<I>(mut self, schedule: impl Fn() -> I + Send + Sync + 'static) -> Self
    where
        I: Iterator<Item = Duration> + Send + 'static,
    {
        self.backoff = Some(Arc::new(move |_| Box::new(schedule())));
        self
    }

    /// What logs and metrics call the set, in a program that follows several: `default` unless it is
    /// named.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Names of schemes that this program applies in code, so that credentials that name them count as
    /// usable. `api_key`, `bearer` and `basic` always do.
    pub fn know_schemes<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.schemes.extend(names.into_iter().map(|name| Box::from(name.as_ref())));
        self
    }

    /// The runtime that the background task runs on: it must live as long as the handle. By default it is the
    /// current one, and if that ends first, as those of tests do, the task goes on on a thread of its own.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Another clock, for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    #[cfg(feature = "host")]
    pub(crate) fn inherit(mut self, set: CredentialSet) -> Self {
        self.inherited = Some(set);
        self
    }

    #[cfg(feature = "host")]
    pub(crate) fn on_publish(mut self, watcher: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.watcher = Some(Watcher(Box::new(watcher)));
        self
    }

    /// Makes all jitter reproducible, for tests.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Begins to follow, without waiting for the first set.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for an invalid policy, or outside a tokio runtime; what the source
    /// says if it cannot be followed at all.
    pub fn start(self) -> Result<KeySwap, Error> {
        self.policy.validate()?;
        // A runtime that somebody passed is theirs to end.
        let may_outlive = self.runtime.is_none();
        let runtime = self.runtime.map_or_else(Handle::try_current, Ok).map_err(|_| {
            let what =
                "no tokio runtime here: start inside one, or pass a handle as the option `runtime`";
            Error::new(ErrorKind::InvalidConfig, what)
        })?;
        let policy = Arc::new(self.policy);
        let backoff = self.backoff.unwrap_or_else(|| rotation::default_backoff(&policy));
        self.source.begin(&Terms::new(policy.clone(), backoff.clone()))?;
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let mut rotation = Rotation::new(self.clock.now(), seed, policy.clone(), backoff);
        rotation.know_schemes(self.schemes);
        if self.source.mints() {
            rotation.source_mints();
        }
        if let Some(mut set) = self.inherited {
            // It tells what the source's clock showed then, which is not now.
            set.as_of = None;
            rotation.inherit(self.clock.now(), set);
        }
        let store = Arc::new(Store::new(rotation.snapshot().clone(), self.watcher));
        let counts = Arc::new(Mutex::new(Counts::default()));
        let (outbox, inbox) = driver::post();
        let (events, _) = broadcast::channel(EVENT_BUFFER);
        let (alive, ends) = watch::channel(());
        let shared = Shared {
            policy: policy.clone(),
            clock: self.clock.clone(),
            outbox,
            events: events.downgrade(),
            counts: counts.clone(),
            alive: ends,
        };
        let driver = Driver {
            name: self.name,
            policy,
            rotation,
            source: self.source,
            clock: self.clock,
            store: store.clone(),
            counts,
            events,
            inbox,
            _alive: alive,
        };
        driver.run_on(&runtime, may_outlive);
        Ok(KeySwap { store, shared: Arc::new(shared) })
    }
}

impl IntoFuture for Follow {
    type Output = Result<KeySwap, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let keys = self.start()?;
            keys.ready().await?;
            Ok(keys)
        })
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("source", &self.source).finish_non_exhaustive()
    }
}

/// A look at one handle.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The generation that is held.
    pub generation: Option<u64>,
    /// The local number of the state.
    pub epoch: u64,
    /// The id of the credential in use.
    pub in_use: Option<CredentialId>,
    /// When that ends.
    pub expires_at: Option<Timestamp>,
    /// When a fetch last worked.
    pub last_success: Option<Timestamp>,
    /// How long ago that was.
    pub age: Option<Duration>,
    /// Fetches, rejections, fallbacks, rollbacks.
    pub counts: Counts,
    /// Sends of all requests.
    pub sends: u64,
    /// Sends beyond the first of a request.
    pub extra_sends: u64,
    /// Callers that wait for a fetch.
    pub waiting: usize,
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the handle was closed")
}
