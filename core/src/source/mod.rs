//! Where sets come from.

mod bootstrap;
mod endpoint;
mod env;
mod file;
mod http;
mod wire;

pub(crate) use self::http::{is_loopback, retry_after, tls_config};
pub use self::{endpoint::Endpoint, env::Env, file::File, wire::parse};

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use crate::{credential::CredentialSet, error::Error};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a fetch brought.
#[derive(Clone, Debug)]
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
    /// Fetches the current state. `held` is what the last successful fetch brought: a source that can
    /// ask conditionally uses its [`validator`](CredentialSet::validator).
    ///
    /// # Errors
    /// Any error. Its kind decides how soon the next fetch comes, and its
    /// [`retry_after`](Error::retry_after) is honoured.
    fn fetch<'a>(
        &'a self,
        held: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>>;

    /// Follows a push channel, if there is one, and passes on its hints. It runs beside the fetches for
    /// as long as the handle lives, and is dropped with it. Fetching goes on with or without it.
    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        let _ = hints;
        None
    }
}

impl Source for Arc<dyn Source> {
    fn fetch<'a>(
        &'a self,
        held: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        (**self).fetch(held)
    }

    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        (**self).watch(hints)
    }
}

/// Where a push channel puts what it hears. A hint never carries a credential; it only makes the next
/// fetch come sooner.
#[derive(Clone)]
pub struct Hints(Arc<dyn Fn(Hint) + Send + Sync>);

/// Something newer may be there.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Hint {
    /// The generation that is there, if the channel says.
    pub generation: Option<u64>,
    /// Whether to fetch at once, without spreading the fleet.
    pub immediate: bool,
}

impl Hints {
    pub(crate) fn new(take: impl Fn(Hint) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Something changed: fetch at once.
    pub fn changed(&self) {
        self.send(Hint { generation: None, immediate: true });
    }

    /// Passes on a hint.
    pub fn send(&self, hint: Hint) {
        (self.0)(hint);
    }
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hints(..)")
    }
}

/// A source from an async function that returns the full state each time.
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
    FromFn(fetch)
}

struct FromFn<F>(F);

impl<F, Fut> Source for FromFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<CredentialSet, Error>> + Send + 'static,
{
    fn fetch<'a>(&'a self, _: Option<&'a CredentialSet>) -> BoxFuture<'a, Result<Fetched, Error>> {
        let fetch = (self.0)();
        Box::pin(async move { fetch.await.map(Fetched::Set) })
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn(..)")
    }
}
