//! Where sets come from.

#[cfg(any(feature = "azure", feature = "gcp"))]
mod access_token;
#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "azure")]
pub mod azure;
mod bootstrap;
#[cfg(feature = "command")]
mod command;
mod endpoint;
mod endpoint_client;
mod env;
#[cfg(feature = "etcd")]
pub mod etcd;
mod file;
mod first_of;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
#[cfg(feature = "gcp")]
pub mod gcp;
mod http;
mod json;
#[cfg(feature = "lent-keys")]
#[cfg_attr(
    not(feature = "oauth2"),
    allow(dead_code, reason = "not all that log in need all of it")
)]
mod lent;
#[cfg(any(
    feature = "aws",
    feature = "azure",
    feature = "etcd",
    feature = "gcp",
    feature = "vault"
))]
mod material;
#[cfg(feature = "oauth2")]
pub mod oauth2;
#[cfg_attr(not(feature = "unstable"), allow(dead_code, unreachable_pub, reason = "for `rules`"))]
mod push;
mod reading;
#[cfg_attr(not(feature = "unstable"), allow(dead_code, unreachable_pub, reason = "for `rules`"))]
mod regions;
mod reports;
mod signature;
#[cfg(any(
    feature = "aws",
    feature = "azure",
    feature = "etcd",
    feature = "gcp",
    feature = "oauth2",
    feature = "vault"
))]
mod store_client;
mod tls;
#[cfg(feature = "vault")]
pub mod vault;
mod wire;

#[cfg(feature = "command")]
pub use self::command::Command;
#[cfg(feature = "lent-keys")]
pub use self::lent::LentKeys;
#[cfg(feature = "lent-keys")]
pub(crate) use self::lent::{Lender, Loan, LogIn, Reply};
#[cfg(feature = "host")]
pub(crate) use self::wire::parse_short;
pub use self::{
    endpoint::Endpoint,
    env::Env,
    file::File,
    first_of::{FirstOf, first_of},
    json::Json,
    regions::{RegionHealth, Regions},
    wire::parse,
};

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    backoff::{Backoff, default_backoff},
    credential::CredentialSet,
    error::Error,
    policy::Policy,
};

pub use crate::report::{Observation, Report, ReportedStatus};

/// What regions and push decide, apart from how it is performed: the stories run it in virtual time.
#[cfg(feature = "unstable")]
#[doc(hidden)]
pub mod rules {
    pub use super::{
        push::{
            HEARTBEAT,
            events::{Events, Heard},
            plan::{Channel, Hearing, Known, Meaning, Plan, hint, meaning},
        },
        regions::tour::{Ask, Standing, Tour},
    };
}

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a fetch brought.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "made once a fetch and moved twice")]
pub enum Fetched {
    /// The full state.
    Set(CredentialSet),
    /// Nothing changed since the set that was passed in.
    NotModified,
}

/// Where sets come from. Implement it for a place that is not built in, or use [`from_fn`].
///
/// A fetch is bounded by the fetch timeout from outside, may be dropped at any await, and may panic:
/// each of these is a failed fetch, and the set that is held stays in use.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Fetches the current state. `known` is what the last successful fetch brought: a source that can
    /// ask conditionally uses its [`validator`](CredentialSet::validator). It has none where a condition
    /// would be wrong: the API rejected what is held, so «not modified», or a copy from a cache, is no help.
    ///
    /// # Errors
    /// Any error. Its kind decides how soon the next fetch comes, and its
    /// [`retry_after`](Error::retry_after) is honoured.
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>>;

    /// Whether each fetch makes a new credential (OAuth2, dynamic secrets). Such a source is asked by the
    /// life of what it made, or sooner if the set [says so](CredentialSet::with_refresh_after), at least once a
    /// day, and never only to look. All others read a state that
    /// stands somewhere, and are polled: nobody else would tell that it changed.
    fn mints(&self) -> bool {
        false
    }

    /// Told once, when a handle begins to follow it and before anything is fetched: the numbers that the
    /// program chose, for sources that wait, repeat or give up by themselves. A source that was not told
    /// works by the defaults.
    ///
    /// # Errors
    /// What makes it impossible to follow the source at all; the handle then does not start.
    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        let _ = terms;
        Ok(())
    }

    /// Follows a push channel, if there is one, and passes on its hints. It runs beside the fetches for
    /// as long as the handle lives, and is dropped with it. Fetching goes on with or without it.
    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        let _ = hints;
        None
    }

    /// Tells the provider which credentials are in use, if it wants to know. None if it does not. It runs
    /// beside everything else, for at most as long as a fetch may take, and its failure never touches
    /// traffic.
    fn report(&self, report: Report) -> Option<BoxFuture<'static, Result<(), Error>>> {
        let _ = report;
        None
    }

    /// Told once, when the handle was closed or its last clone dropped, and nothing is fetched any more: for a source
    /// that gives back what it made. None if there is nothing to do. A second is what it may take, beside the last
    /// report, and [`shutdown`](crate::KeySwap::shutdown) waits for that.
    fn close(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }
}

impl Source for Arc<dyn Source> {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        (**self).fetch(known)
    }

    fn mints(&self) -> bool {
        (**self).mints()
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        (**self).begin(terms)
    }

    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        (**self).watch(hints)
    }

    fn report(&self, report: Report) -> Option<BoxFuture<'static, Result<(), Error>>> {
        (**self).report(report)
    }

    fn close(&self) -> Option<BoxFuture<'static, ()>> {
        (**self).close()
    }
}

/// The numbers that a handle works with, as its source is told them.
#[derive(Clone)]
pub struct Terms {
    policy: Arc<Policy>,
    backoff: Backoff,
}

impl Terms {
    pub(crate) fn new(policy: Arc<Policy>, backoff: Backoff) -> Self {
        Self { policy, backoff }
    }

    /// A policy with the delays that follow from it.
    pub fn of(policy: &Policy) -> Self {
        let policy = Arc::new(policy.clone());
        let backoff = default_backoff(&policy);
        Self { policy, backoff }
    }

    /// The handle's policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The handle's delays between what is tried again, from the first, with jitter from this seed.
    pub fn delays(&self, seed: u64) -> Box<dyn Iterator<Item = Duration> + Send> {
        (self.backoff)(seed)
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self::of(&Policy::default())
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Where a push channel puts what it hears. A hint never carries a credential; it only makes the next
/// fetch come sooner.
#[derive(Clone)]
pub struct Hints(Arc<dyn Fn(PushSignal) + Send + Sync>);

/// What a push channel passes on.
pub(crate) enum PushSignal {
    Hint(Hint),
    Lost(Duration),
}

/// Something newer may be there.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct Hint {
    /// The generation that is there, if the channel says.
    pub generation: Option<u64>,
    /// Whether to fetch at once, without spreading the fleet.
    pub immediate: bool,
}

impl Hint {
    /// Something newer may be there; each program of a fleet may take its time to look.
    ///
    /// ```
    /// # fn example(keys: &keyswap::KeySwap) {
    /// use keyswap::source::Hint;
    /// keys.hint(Hint::new().generation(7).immediate(true));
    /// # }
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Says which generation is there. One that is held already makes the hint no news.
    pub fn generation(self, generation: impl Into<Option<u64>>) -> Self {
        Self { generation: generation.into(), ..self }
    }

    /// Says whether to fetch at once, without spreading the fleet.
    pub fn immediate(self, immediate: bool) -> Self {
        Self { immediate, ..self }
    }
}

impl Hints {
    pub(crate) fn new(take: impl Fn(PushSignal) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Something changed: fetch at once.
    pub fn changed(&self) {
        self.send(Hint::new().immediate(true));
    }

    /// Passes on a hint.
    pub fn send(&self, hint: Hint) {
        (self.0)(PushSignal::Hint(hint));
    }

    /// The channel was silent for longer than its heartbeat, or had to be closed: zero. Observers are told;
    /// polling goes on.
    pub fn lost(&self, silent: Duration) {
        (self.0)(PushSignal::Lost(silent));
    }
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hints(..)")
    }
}

/// A source from an async function that returns the full state each time: it reads what stands somewhere.
/// One that makes a new credential with each call is [`from_minting_fn`].
///
/// ```
/// use keyswap::{Credential, CredentialSet, source};
/// let vault = source::from_fn(|| async {
///     // Read it from wherever it is.
///     Ok(CredentialSet::new(Credential::new("k2", "material")))
/// });
/// ```
pub fn from_fn<F, Fut>(fetch: F) -> impl Source
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<CredentialSet, Error>> + Send + 'static,
{
    FromFn { fetch, mints: false }
}

/// A source from an async function that makes a new credential with each call, such as one that asks an
/// OAuth2 server for a token. It is called by the life of what it made, and not polled.
///
/// ```
/// use keyswap::{Credential, CredentialSet, source};
/// let tokens = source::from_minting_fn(|| async {
///     // Ask for a token.
///     Ok(CredentialSet::new(Credential::new("t1", "material")))
/// });
/// ```
pub fn from_minting_fn<F, Fut>(fetch: F) -> impl Source
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<CredentialSet, Error>> + Send + 'static,
{
    FromFn { fetch, mints: true }
}

struct FromFn<F> {
    fetch: F,
    mints: bool,
}

impl<F, Fut> Source for FromFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<CredentialSet, Error>> + Send + 'static,
{
    fn fetch<'a>(&'a self, _: Option<&'a CredentialSet>) -> BoxFuture<'a, Result<Fetched, Error>> {
        let fetch = (self.fetch)();
        Box::pin(async move { fetch.await.map(Fetched::Set) })
    }

    fn mints(&self) -> bool {
        self.mints
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn(..)")
    }
}
