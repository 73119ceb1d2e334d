//! Access tokens of OAuth2 servers: made anew when they end, with a client's own secret
//! ([`ClientCredentials`]) or with a refresh token ([`RefreshToken`]).

mod answer;
mod asking;
mod assertion;
mod form;
mod identity;
mod refresh;
mod storage;

use std::{fmt, sync::Arc, time::Duration};

use self::{
    answer::Rejects,
    asking::{Shared, ask},
    identity::{Identity, Kept, Proof, identity_options},
};
pub use self::{
    refresh::RefreshToken,
    storage::{TokenFile, TokenStorage},
};
use super::{
    BoxFuture, Fetched, Hints, Source, Terms,
    store_client::{StoreClient, connection_options},
};
use crate::{
    credential::CredentialSet,
    error::{Error, ErrorKind},
};

/// How a token URL looks.
const LIKE: &str = "https://login.example.com/oauth2/token";

/// Access tokens that a client gets for itself (RFC 6749, section 4.4): the *client credentials* grant.
///
/// ```
/// # async fn example() -> Result<(), keyswap::Error> {
/// use keyswap::{Client, KeySwap, source::{File, oauth2::ClientCredentials}};
///
/// // The secret of the client, which is rotated, too.
/// let secrets = KeySwap::follow(File::new("/run/secrets/oauth2")).await?;
/// let tokens = ClientCredentials::new("https://login.example.com/oauth2/token")?
///     .client_id("bot")
///     .client_secret_from(&secrets)
///     .scopes(["orders.read", "orders.write"]);
/// let client = Client::builder(&KeySwap::follow(tokens).await?)
///     .base_url("https://api.example.com")?
///     .build()?;
/// # Ok(()) }
/// ```
///
/// The token is the material `key`, for the scheme `bearer`, with the scopes that the server granted (or, where it does
/// not say, those that were asked for). It ends when the server says so; where it says nothing, or what is no number
/// above zero, as [`default_lifetime`](Self::default_lifetime) says, and else it is asked for anew once a day and when
/// the API rejects it. Its id is a digest that says only whether it is another one.
///
/// # What a rotation does
/// | what is rotated | what happens |
/// | --- | --- |
/// | the token: it ends | a new one is asked for before that, and tried by one request; the old one is the fallback while it lives |
/// | the token: the API rejects it | a new one is asked for at once, and the request is sent again |
/// | the client's secret, with a grace | the next log-in tries the new one, and falls back to the old one if it is rejected |
/// | the client's secret, without one | the next log-in is rejected; the secret's own handle fetches, and the log-in is repeated |
///
/// A token is not thrown away because the secret that it was made with is old, or is rejected by now: it is used until it
/// ends, or until the API rejects it. But it is not handed to another handle any more once that secret was rejected.
///
/// # What it costs
/// One form by POST each time that a token is made, which is after some 70 % of its life, or more often if the API
/// rejects what is held; one more for each secret that is rejected, at most four. Clones share one log-in at a time, and
/// hand each other tokens that have lived less than half their lives.
///
/// # What it needs
/// A client that may use this grant, with the scopes that are asked for, and a secret, a private key or a certificate
/// that the server knows.
///
/// # Errors of a fetch
/// The token that is held stays.
///
/// | the server says | kind |
/// | --- | --- |
/// | `invalid_client`, `unauthorized_client`, `invalid_grant`, or 401, to each secret that there is | [`BootstrapRejected`](ErrorKind::BootstrapRejected) |
/// | `invalid_scope`, `invalid_target`, `access_denied`, `unsupported_grant_type`, or 403 | [`Forbidden`](ErrorKind::Forbidden) |
/// | 404 | [`UnknownSet`](ErrorKind::UnknownSet) |
/// | 429, `slow_down`; `Retry-After` is honoured | [`Throttled`](ErrorKind::Throttled) |
/// | 5xx, `temporarily_unavailable`, or it cannot be reached | [`Unavailable`](ErrorKind::Unavailable) |
/// | nothing in time | [`Timeout`](ErrorKind::Timeout) |
/// | what is no token, or none that a bearer may use (DPoP); `invalid_request` | [`Malformed`](ErrorKind::Malformed) |
///
/// Where the secret is lent and its handle has none, it is [`Unavailable`](ErrorKind::Unavailable) or
/// [`SourceFailed`](ErrorKind::SourceFailed), with what that handle says. Options that are not valid are
/// [`InvalidConfig`](ErrorKind::InvalidConfig), and the handle does not start.
#[derive(Clone)]
#[must_use = "a source does nothing until it is followed"]
pub struct ClientCredentials {
    client: StoreClient,
    identity: Identity,
    wanted: Wanted,
    lifetime: Option<Duration>,
    shared: Arc<Shared>,
}

/// What the token is to be for.
#[derive(Clone, Default)]
struct Wanted {
    scopes: Vec<Box<str>>,
    /// `audience`, `resource` and whatever else the program adds, in its order.
    parameters: Vec<(Box<str>, Box<str>)>,
}

impl Wanted {
    /// The pairs that say so.
    fn pairs<'a>(&'a self, scope: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let scope = (!scope.is_empty()).then_some(("scope", scope));
        let parameters = self.parameters.iter().map(|(name, value)| (&**name, &**value));
        scope.into_iter().chain(parameters)
    }
}

impl ClientCredentials {
    /// Tokens of the server whose token endpoint is at this URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it is not an `http` or `https` URL, or has user information or a fragment.
    pub fn new(token_url: impl AsRef<str>) -> Result<Self, Error> {
        Ok(Self {
            client: StoreClient::at("the OAuth2 server", token_url.as_ref(), LIKE)?,
            identity: Identity::default(),
            wanted: Wanted::default(),
            lifetime: None,
            shared: Arc::default(),
        })
    }

    identity_options!();

    /// Asks for these scopes.
    pub fn scopes<S: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.wanted.scopes = scopes.into_iter().map(|scope| scope.as_ref().into()).collect();
        self.changed()
    }

    /// Asks for a token for this audience, as Auth0 and others want it.
    pub fn audience(self, audience: &str) -> Self {
        self.parameter("audience", audience)
    }

    /// Asks for a token for this resource, an absolute URL (RFC 8707). It may be called for each of several.
    pub fn resource(self, resource: &str) -> Self {
        self.parameter("resource", resource)
    }

    /// Adds a parameter that the server wants beside those that are known here.
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        if matches!(name, "grant_type" | "scope" | "refresh_token") || name.starts_with("client_") {
            let what = format!("the parameter {name} has an option of its own");
            self.identity.fault.get_or_insert(Error::new(ErrorKind::InvalidConfig, what));
        }
        self.wanted.parameters.push((name.into(), value.into()));
        self.changed()
    }

    /// How long a token lives of which the server does not say it.
    pub fn default_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self.changed()
    }

    connection_options!();

    /// From now on it asks for something else than those that it was cloned from.
    fn changed(mut self) -> Self {
        self.shared = Arc::default();
        self
    }

    async fn fetch_once(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        // Who waits for another's log-in takes what it brought, if that is of use.
        let mut last = self.shared.last.lock().await;
        if let Some(set) = last.for_another(known) {
            return Ok(Fetched::Set(set));
        }
        let newest = self.identity.lender().map(|keys| keys.newest());
        let scope = self.wanted.scopes.join(" ");
        let mut grant = vec![("grant_type", "client_credentials")];
        grant.extend(self.wanted.pairs(&scope));
        let outcome = ask(&self.client, &self.identity, &grant).await;
        let is_refused =
            outcome.as_ref().err().is_some_and(|failure| failure.rejects == Rejects::Client);
        self.shared.tell_refused(newest.filter(|_| is_refused));
        match outcome {
            Ok((granted, answer)) => {
                let minted =
                    self.shared.minted(&granted, &answer, &self.wanted.scopes, self.lifetime);
                last.keep(&minted);
                Ok(Fetched::Set(minted.set_now()))
            }
            Err(failure) => {
                if is_refused {
                    last.forget();
                }
                Err(failure.error)
            }
        }
    }
}

impl Source for ClientCredentials {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.fetch_once(known))
    }

    fn mints(&self) -> bool {
        true
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.client.begin(terms);
        self.identity.check(false)
    }

    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        self.shared.watch(&self.identity, hints)
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials")
            .field("at", &self.client.origin())
            .field("client", &self.identity)
            .field("scopes", &self.wanted.scopes)
            .finish_non_exhaustive()
    }
}
