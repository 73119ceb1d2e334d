//! Keys in Azure Key Vault.

mod challenge;
mod credentials;
mod versions;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::{
    Method,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use jiff::Timestamp;
use url::Url;

pub use self::credentials::Credentials;
use self::{
    challenge::{Challenge, belongs},
    versions::{Bundle, Version, Wanted, page, text},
};
use super::{
    BoxFuture, Fetched, Source, Terms,
    access_token::AccessToken,
    material::{MaterialPointers, material_options, set_of},
    store_client::{Answer, Question, StoreClient, connection_options},
};
use crate::{
    clock::Clock,
    credential::{Credential, CredentialSet},
    error::{Error, ErrorKind},
};

const LIKE: &str = "https://my-vault.vault.azure.net";

/// What is asked for unless the program says otherwise: what every cloud and every emulator understands.
const API_VERSION: &str = "7.4";

/// The most pages of a list that are read, of 25 versions each: they are in no order of time, so all are needed.
const MAX_PAGES: usize = 20;

/// How often a state is read anew that changed while it was read.
const ROUNDS: usize = 3;

/// How long a list that is forbidden is not asked for, in milliseconds: each refusal stands in the audit log.
const WITHOUT_LIST: u64 = 60 * 60 * 1000;

/// A secret in Azure Key Vault.
///
/// The newest version that is enabled, has begun (`nbf`) and has not ended (`exp`) is the key, and the one before it
/// the fallback. So a new version becomes the key, now or at its time; disabling it rolls back; and disabling the old
/// one, or its end, ends the overlap.
///
/// ```
/// use keyswap::source::azure::KeyVault;
/// let secret = KeyVault::new("https://my-vault.vault.azure.net", "trading")?.key("/api_key");
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// # What is asked
/// | when | calls |
/// | --- | --- |
/// | first | one question without a token, which the vault answers with what a token must be for |
/// | each poll (300 s) | one list for each 25 versions; none of the secret's values is read |
/// | each change, and after a rejection | the list, and one read for the key and for the fallback |
/// | without the permission to list, or with more than 500 versions | one read of the latest each poll |
/// | an access token | one log-in, shared by clones of its [`Credentials`], about once an hour to a day |
///
/// # Permissions
/// The role `Key Vault Secrets User` reads a secret and lists its versions; with access policies, these are `Get` and
/// `List` of secrets. Without `List` the latest version is all there is: no fallback but the last key that the API
/// accepted, and an error where that version is disabled.
///
/// # Errors of a fetch
/// | kind | means |
/// | --- | --- |
/// | [`BootstrapRejected`](ErrorKind::BootstrapRejected) | the log-in, or its token, is not accepted |
/// | [`Forbidden`](ErrorKind::Forbidden) | the identity may not read the secret, or not from this network |
/// | [`UnknownSet`](ErrorKind::UnknownSet) | there is no such secret, or no version of it can be used now |
/// | [`Throttled`](ErrorKind::Throttled), [`Unavailable`](ErrorKind::Unavailable), [`Timeout`](ErrorKind::Timeout) | it is asked again by itself |
/// | [`Malformed`](ErrorKind::Malformed) | the answer, or what is stored, is none |
/// | [`InvalidConfig`](ErrorKind::InvalidConfig) | a name, a URL or a pointer is none, or the vault wants a token for something else |
#[derive(Clone)]
#[must_use = "a source does nothing until it is followed"]
pub struct KeyVault {
    client: StoreClient,
    name: Box<str>,
    api_version: Box<str>,
    pointers: MaterialPointers,
    credentials: Credentials,
    /// What the program says that a token must be for.
    resource: Option<Box<str>>,
    /// What the vault said of it last.
    challenge: Arc<Mutex<Option<Challenge>>>,
    /// Until when lists are not asked for, by the boot clock.
    without_list: Arc<AtomicU64>,
}

impl KeyVault {
    /// The secret of this name in the vault at this URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it is not a URL such as `https://my-vault.vault.azure.net`, or not a name such as
    /// `trading`: letters, digits and hyphens.
    pub fn new(vault_url: impl AsRef<str>, name: impl AsRef<str>) -> Result<Self, Error> {
        let client = StoreClient::at("Key Vault", vault_url.as_ref(), LIKE)?;
        let name = name.as_ref().trim();
        let is_name = (1..=127).contains(&name.len())
            && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        if !is_name {
            let what = "the name of a secret must be letters, digits and hyphens, such as trading";
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        Ok(Self {
            client,
            name: name.into(),
            api_version: API_VERSION.into(),
            pointers: MaterialPointers::default(),
            credentials: Credentials::default(),
            resource: None,
            challenge: Arc::default(),
            without_list: Arc::default(),
        })
    }

    /// Who asks: what the environment, or else the machine, says unless this says otherwise.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// The version of the vault's interface: `7.4` unless this says otherwise.
    pub fn api_version(mut self, version: &str) -> Self {
        self.api_version = version.into();
        self
    }

    /// What an access token must be for, such as `https://vault.azure.net`. Without it the vault is asked, and what it
    /// says must be the domain that the vault is in; so this is for a vault behind a name of one's own, or an emulator.
    pub fn resource(mut self, url: &str) -> Self {
        self.resource = Some(url.trim().trim_end_matches('/').into());
        self
    }

    material_options!();
    connection_options!();

    // ---- inside ----

    /// Whether all that was said of it is valid.
    fn check(&self) -> Result<(), Error> {
        self.pointers.check()?;
        self.credentials.check()?;
        match self.resource.as_deref().is_none_or(|resource| Url::parse(resource).is_ok()) {
            true => Ok(()),
            false => {
                let what = "the resource must be a URL such as https://vault.azure.net";
                Err(Error::new(ErrorKind::InvalidConfig, what))
            }
        }
    }

    async fn read(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        self.check()?;
        for _ in 0..ROUNDS {
            if let Some(fetched) = self.read_once(known).await? {
                return Ok(fetched);
            }
        }
        let what = format!(
            "the versions of {} changed again and again while they were read",
            self.place()
        );
        Err(Error::new(ErrorKind::Unavailable, what))
    }

    /// The state, if it did not change while it was read.
    async fn read_once(&self, known: Option<&CredentialSet>) -> Result<Option<Fetched>, Error> {
        let Some((versions, at)) = self.list().await? else {
            let only = self.version("").await?.ok_or_else(|| self.unlisted())?;
            // Who may not read it either may be given both back at once.
            let until = Clock::system().now().boot.saturating_add(WITHOUT_LIST);
            self.without_list.store(until, Relaxed);
            return self.set(&[only], None, None).map(Some);
        };
        let now = || Timestamp::from_millisecond(Clock::system().now().wall).unwrap_or_default();
        let wanted = Wanted::of(versions, at.unwrap_or_else(now));
        if wanted.usable.is_empty() {
            let what = format!(
                "{} has no version that is enabled and in its time: enable one, or add one",
                self.place()
            );
            return Err(Error::new(ErrorKind::UnknownSet, what));
        }
        let validator = wanted.validator();
        if known.and_then(CredentialSet::validator) == Some(&*validator) {
            return Ok(Some(Fetched::NotModified));
        }
        let mut read = Vec::new();
        for version in &wanted.usable {
            // One that was enabled when it was listed, and is not now: the list is another one, too.
            let Some(found) = self.version(&version.id).await? else { return Ok(None) };
            if found.version.id != version.id {
                return Err(
                    self.nonsense("its answer", "it is of another version than was asked for")
                );
            }
            // Its times are those that were listed, which the validator speaks of.
            read.push(Bundle { version: version.clone(), ..found });
        }
        let mut set = self.set(&read, at, Some(&validator))?;
        if let (Fetched::Set(set), Some(next)) = (&mut set, wanted.next) {
            set.refresh_after = Some(next);
        }
        Ok(Some(set))
    }

    /// All versions, and when that was said. None if they may not be listed, or are too many.
    async fn list(&self) -> Result<Option<(Vec<Version>, Option<Timestamp>)>, Error> {
        if Clock::system().now().boot < self.without_list.load(Relaxed) {
            return Ok(None);
        }
        let mut url = self.url(&["versions"]);
        url.query_pairs_mut().append_pair("maxresults", "25");
        let mut versions = Vec::new();
        for _ in 0..MAX_PAGES {
            let answer = self.ask(&url).await?;
            match answer.status.as_u16() {
                200 => {}
                403 => return Ok(None),
                _ => return Err(self.refusal(&answer)),
            }
            let value = self.client.value(&answer)?;
            let (more, next) = page(&value, &self.name)
                .map_err(|what| self.nonsense("the list of versions", what))?;
            versions.extend(more);
            let Some(next) = next else { return Ok(Some((versions, answer.head.date))) };
            url = self.page_at(next)?;
        }
        tracing::warn!(
            target: "keyswap",
            "{} has more than {} versions: the latest alone is read", self.place(), versions.len()
        );
        Ok(None)
    }

    /// The next page. A token is sent there, so it must be the vault's own.
    fn page_at(&self, link: &str) -> Result<Url, Error> {
        let url = Url::parse(link).ok();
        url.filter(|url| url.origin() == self.client.base().origin()).ok_or_else(|| {
            self.nonsense("the list of versions", "its nextLink leads out of the vault")
        })
    }

    /// What this version holds, or the latest. None if it is disabled.
    async fn version(&self, id: &str) -> Result<Option<Bundle>, Error> {
        let parts = [id];
        let parts = if id.is_empty() { &[] } else { parts.as_slice() };
        let answer = self.ask(&self.url(parts)).await?;
        if answer.status != 200 {
            return match self.is_disabled(&answer) {
                true => Ok(None),
                false => Err(self.refusal(&answer)),
            };
        }
        let value = self.client.value(&answer)?;
        let bundle = Bundle::read(&value, &self.name);
        bundle.map(Some).map_err(|what| self.nonsense("what was read", what))
    }

    fn url(&self, parts: &[&str]) -> Url {
        let mut url =
            self.client.url(["secrets", &self.name].into_iter().chain(parts.iter().copied()));
        url.query_pairs_mut().append_pair("api-version", &self.api_version);
        url
    }

    /// Asks with a token, and once again with another one if that is not accepted.
    async fn ask(&self, url: &Url) -> Result<Answer, Error> {
        let limit = self.client.timeout();
        let challenge = match self.challenge() {
            Some(challenge) => challenge,
            None => {
                let answer = self.ask_with(url, None).await?;
                match self.challenged(&answer)? {
                    Some(challenge) => challenge,
                    // One that wants no token, or has no answer at all.
                    None => return Ok(answer),
                }
            }
        };
        let token = self.credentials.access_token(&challenge, limit, None).await?;
        let answer = self.ask_with(url, Some(&token)).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        // A vault may have moved to another tenant.
        let challenge = self.challenged(&answer)?.unwrap_or(challenge);
        let again = self.credentials.access_token(&challenge, limit, Some(token.secret())).await?;
        match again.secret() == token.secret() {
            true => Ok(answer),
            false => self.ask_with(url, Some(&again)).await,
        }
    }

    async fn ask_with(&self, url: &Url, token: Option<&AccessToken>) -> Result<Answer, Error> {
        let mut question = Question::new(Method::GET, url.clone());
        if let Some(token) = token {
            question = question.sensitive(AUTHORIZATION, &token.bearer());
        }
        self.client.ask(question).await
    }

    /// What the vault said last of what a token must be for.
    fn challenge(&self) -> Option<Challenge> {
        self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a 401 says of it, which is kept. What the program says is believed more.
    fn challenged(&self, answer: &Answer) -> Result<Option<Challenge>, Error> {
        if answer.status != 401 {
            return Ok(None);
        }
        let header = answer.headers.get(WWW_AUTHENTICATE).and_then(|it| it.to_str().ok());
        let said = header.and_then(Challenge::parse);
        let challenge = match (&self.resource, said) {
            (Some(own), said) => {
                Challenge { resource: own.clone(), tenant: said.and_then(|it| it.tenant) }
            }
            (None, Some(said)) if belongs(self.client.base(), &said.resource) => said,
            (None, Some(_)) => {
                let what = "asks for a token of another domain than it is in: check the vault's URL, or name what a token must be for by the option `resource`";
                return Err(self.client.error(ErrorKind::InvalidConfig, answer, what));
            }
            (None, None) => return Ok(None),
        };
        *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = Some(challenge.clone());
        Ok(Some(challenge))
    }

    fn set(
        &self,
        read: &[Bundle],
        at: Option<Timestamp>,
        validator: Option<&str>,
    ) -> Result<Fetched, Error> {
        let credentials: Result<Vec<_>, _> = read.iter().map(|it| self.credential(it)).collect();
        let mut set = set_of(credentials?)?;
        set.as_of = at;
        set.validator = validator.map(Into::into);
        Ok(Fetched::Set(set))
    }

    fn credential(&self, read: &Bundle) -> Result<Credential, Error> {
        let version = &read.version;
        let credential = self.pointers.in_text(&version.id, &read.text).map_err(|error| {
            self.nonsense(&format!("version {}", version.id), &error.to_string())
        })?;
        let mut credential = credential.with_version(&version.id);
        type Setter = fn(Credential, Timestamp) -> Credential;
        let times: [(Option<Timestamp>, Setter); 3] = [
            (version.created, Credential::with_created_at),
            (version.not_before, Credential::with_not_before),
            (version.expires, Credential::with_expires_at),
        ];
        for (time, with) in times {
            if let Some(time) = time {
                credential = with(credential, time);
            }
        }
        Ok(credential)
    }

    /// Whether a version is there, and disabled.
    fn is_disabled(&self, answer: &Answer) -> bool {
        let is_so = |value| text(&value, "/error/innererror/code") == Some("SecretDisabled");
        answer.status == 403 && self.client.value(answer).is_ok_and(is_so)
    }

    /// The secret, in words.
    fn place(&self) -> String {
        format!("secret {} in Key Vault {}", self.name, self.client.origin())
    }

    fn nonsense(&self, what: &str, why: &str) -> Error {
        Error::new(ErrorKind::Malformed, format!("{what} of {}: {why}", self.place()))
    }

    fn unlisted(&self) -> Error {
        let what = format!(
            "the latest version of {} is disabled, and this identity may not list the others: enable it, or grant the permission to list secrets",
            self.place()
        );
        Error::new(ErrorKind::UnknownSet, what)
    }

    fn refusal(&self, answer: &Answer) -> Error {
        let name = &self.name;
        let (kind, what) = match answer.status.as_u16() {
            401 => (
                ErrorKind::BootstrapRejected,
                format!(
                    "does not accept the access token for secret {name}: check the identity and its tenant"
                ),
            ),
            403 => (
                ErrorKind::Forbidden,
                format!(
                    "forbids secret {name} to the identity that asks: grant it the role Key Vault Secrets User, and check the vault's firewall"
                ),
            ),
            404 => (
                ErrorKind::UnknownSet,
                format!("has no secret {name}: check the name, and whether it was deleted"),
            ),
            _ => return self.client.refusal(answer),
        };
        self.client.error(kind, answer, &what)
    }
}

impl Source for KeyVault {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.read(known))
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.client.begin(terms);
        self.check()
    }
}

impl fmt::Debug for KeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVault")
            .field("vault", &self.client.origin())
            .field("secret", &self.name)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}
