//! Access tokens by a refresh token, which may be another one after each use.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Mutex;

use super::{
    LIKE, Wanted,
    answer::Rejects,
    asking::{Failure, Minted, Shared, ask},
    identity::{Identity, Kept, Proof, identity_options},
    storage::{TokenFile, TokenStorage},
};
use crate::{
    credential::CredentialSet,
    error::{Error, ErrorKind},
    secret::Secret,
    source::{
        BoxFuture, Fetched, Hints, Source, Terms,
        store_client::{StoreClient, connection_options},
    },
};

/// Access tokens that a person, or another program, once granted (RFC 6749, section 6): each is asked for with a
/// refresh token.
///
/// ```
/// # fn example() -> Result<(), keyswap::Error> {
/// use keyswap::source::oauth2::RefreshToken;
/// // The file holds the refresh token of the last log-in. The server gives another one with each use.
/// let tokens = RefreshToken::new("https://login.example.com/oauth2/token")?
///     .client_id("desktop-app")
///     .token_file("/var/lib/app/refresh-token");
/// # Ok(()) }
/// ```
///
/// Where the server gives another refresh token with an answer, that is stored before anything of the answer is used: a
/// program that ends at any moment then finds one that works. While it cannot be stored, what came with it waits, and
/// the fetch fails; it is stored again at the next one, without asking the server. If the answer to a use is lost on the
/// way, only the server can help: most take the one before once more, for a while.
///
/// One program may use a refresh token at a time: many servers revoke all that was granted when one is used twice. A
/// client without a secret is fine here. All else is as with [`ClientCredentials`](super::ClientCredentials): the
/// material, scopes, ends, costs and errors.
#[derive(Clone)]
#[must_use = "a source does nothing until it is followed"]
pub struct RefreshToken {
    client: StoreClient,
    identity: Identity,
    wanted: Wanted,
    lifetime: Option<Duration>,
    storage: Option<Arc<dyn TokenStorage>>,
    shared: Arc<Shared>,
    /// What came with a refresh token that is not stored yet.
    unstored: Arc<Mutex<Option<(Secret, Minted)>>>,
}

impl RefreshToken {
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
            storage: None,
            shared: Arc::default(),
            unstored: Arc::default(),
        })
    }

    /// The refresh token is in this file, and the next one is put there: see [`TokenFile`].
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        self.storage(TokenFile::new(path))
    }

    /// The refresh token is kept there.
    pub fn storage(mut self, storage: impl TokenStorage) -> Self {
        self.storage = Some(Arc::new(storage));
        self.changed()
    }

    identity_options!();

    /// Asks for these scopes, which may be fewer than were granted.
    pub fn scopes<S: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.wanted.scopes = scopes.into_iter().map(|scope| scope.as_ref().into()).collect();
        self.changed()
    }

    /// Asks for a token for this resource, an absolute URL (RFC 8707). It may be called for each of several.
    pub fn resource(mut self, resource: &str) -> Self {
        self.wanted.parameters.push(("resource".into(), resource.into()));
        self.changed()
    }

    /// How long a token lives of which the server does not say it.
    pub fn default_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self.changed()
    }

    connection_options!();

    fn changed(mut self) -> Self {
        self.shared = Arc::default();
        self.unstored = Arc::default();
        self
    }

    async fn fetch_once(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        let Some(storage) = &self.storage else { return Err(no_storage()) };
        let mut last = self.shared.last.lock().await;
        let mut unstored = self.unstored.lock().await;
        if let Some((token, minted)) = &*unstored {
            storage.store(token.clone()).await.map_err(|error| not_kept(&error))?;
            let minted = minted.clone();
            *unstored = None;
            if minted.is_of_use(known) {
                last.keep(&minted);
                return Ok(Fetched::Set(minted.set_now()));
            }
        }
        if let Some(set) = last.for_another(known) {
            return Ok(Fetched::Set(set));
        }
        let newest = self.identity.lender().map(|keys| keys.newest());
        let mut token = storage.load().await.map_err(|error| not_kept(&error))?;
        let mut outcome = self.ask(&token).await;
        if outcome.as_ref().err().is_some_and(|failure| failure.rejects == Rejects::Grant) {
            // Somebody may have put another one there meanwhile.
            if let Some(other) = storage.load().await.ok().filter(|other| *other != token) {
                token = other;
                outcome = self.ask(&token).await;
            }
        }
        let refused = outcome.as_ref().err().map_or(Rejects::Nothing, |failure| failure.rejects);
        self.shared.tell_refused(newest.filter(|_| refused == Rejects::Client));
        let (granted, answer) = match outcome {
            Ok(granted) => granted,
            Err(failure) => {
                if refused != Rejects::Nothing {
                    last.forget();
                }
                return Err(failure.error);
            }
        };
        let minted = self.shared.minted(&granted, &answer, &self.wanted.scopes, self.lifetime);
        if let Some(next) = granted.refresh.filter(|next| *next != token) {
            // It is held before anything is waited for: who waits may be dropped.
            *unstored = Some((next.clone(), minted.clone()));
            storage.store(next).await.map_err(|error| not_kept(&error))?;
            *unstored = None;
        }
        last.keep(&minted);
        Ok(Fetched::Set(minted.set_now()))
    }

    async fn ask(
        &self,
        token: &Secret,
    ) -> Result<(super::answer::Granted, crate::source::store_client::Answer), Failure> {
        let scope = self.wanted.scopes.join(" ");
        let mut grant = vec![("grant_type", "refresh_token"), ("refresh_token", token.reveal())];
        grant.extend(self.wanted.pairs(&scope));
        ask(&self.client, &self.identity, &grant).await
    }
}

/// Of the kinds of another's error, hardly one is true of this.
fn not_kept(error: &Error) -> Error {
    let kind = match error.is_transient() {
        true => ErrorKind::Unavailable,
        false => ErrorKind::SourceFailed,
    };
    Error::new(kind, format!("the place of the refresh token failed: {error}"))
}

fn no_storage() -> Error {
    let what = "there is no refresh token: pass the option `token_file`, or `storage`";
    Error::new(ErrorKind::InvalidConfig, what)
}

impl Source for RefreshToken {
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
        self.storage.as_ref().map(drop).ok_or_else(no_storage)?;
        self.identity.check(true)
    }

    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        self.shared.watch(&self.identity, hints)
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken")
            .field("at", &self.client.origin())
            .field("client", &self.identity)
            .field("storage", &self.storage)
            .finish_non_exhaustive()
    }
}
