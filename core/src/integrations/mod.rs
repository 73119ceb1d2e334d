//! The same rotation in the HTTP client that a program already has. Each is a feature of that name.
//!
//! - [`reqwest_middleware`]: a client of the crate `reqwest-middleware`.
//! - [`tower`]: a layer around any `tower` service that takes HTTP requests, such as hyper's client.
//!
//! Both drive an [`Attempt`](crate::Attempt) and decide nothing themselves: a request is sent again with
//! another key, waits for a fetch, or fails exactly when one of [`Client`](crate::Client) does. A request
//! to an origin that the [`Authorizer`](crate::Authorizer) does not allow passes through with no credential; one
//! to an allowed origin that the set itself rules out fails.

mod peeked;
#[cfg(feature = "reqwest-middleware")]
pub mod reqwest_middleware;
#[cfg(feature = "tower")]
pub mod tower;

pub use peeked::Peeked;

use http::Extensions;

/// An extension of a request: it is sent only with a credential that has these scopes, and else fails with
/// [`MissingScope`](crate::ErrorKind::MissingScope).
///
/// ```
/// use keyswap::integrations::RequireScopes;
/// let order = http::Request::post("https://api.example.com/v1/orders")
///     .extension(RequireScopes::new(["trade:write"]))
///     .body(());
/// ```
#[derive(Clone, Debug)]
pub struct RequireScopes(Box<[Box<str>]>);

impl RequireScopes {
    /// All of these.
    pub fn new<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Self {
        Self(scopes.into_iter().map(|scope| Box::from(scope.as_ref())).collect())
    }

    fn of(extensions: &Extensions) -> &[Box<str>] {
        extensions.get::<Self>().map_or(&[], |required| &required.0)
    }
}

/// An extension of a request: it is sent once, whatever happens. If its credential is rejected, the API's
/// response is the answer.
#[derive(Clone, Copy, Debug)]
pub struct Once;
