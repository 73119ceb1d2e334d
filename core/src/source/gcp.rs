//! Keys in Google Secret Manager.

mod crc32c;
mod credentials;
mod key_file;
mod name;
mod versions;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::{HeaderName, Method, header::AUTHORIZATION};
use jiff::Timestamp;
use url::Url;

pub use self::credentials::Credentials;
use self::{
    name::{SecretName, Which},
    versions::{Accessed, Page, Version, text, validator, wanted},
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

/// The most pages of a list that are looked through. The newest versions come first.
const MAX_PAGES: usize = 4;
const PAGE_SIZE: &str = "50";

/// How often a state is read anew that changed while it was read.
const ROUNDS: usize = 3;

/// How long a list that is forbidden is not asked for, in milliseconds: each refusal stands in the audit log.
const WITHOUT_LIST: u64 = 60 * 60 * 1000;

/// A secret in Google Secret Manager.
///
/// The newest enabled version is the key, and the enabled one before it is the fallback. A version that is disabled or
/// destroyed is passed over, which is more than `latest` does: where that one is disabled, Google answers with an error.
/// So a new version becomes the key, disabling it rolls back, and disabling the old one ends the overlap.
///
/// ```
/// use keyswap::source::gcp::SecretManager;
/// let secret = SecretManager::new("projects/my-project/secrets/trading").key("/api_key");
/// ```
///
/// # What is asked
/// | when | calls |
/// | --- | --- |
/// | each poll (300 s) | one list of versions; none of the secret's values is read |
/// | each change, and after a rejection | one list, and one access for the key and for the fallback |
/// | without the permission to list, or with a named version | one access each poll |
/// | an access token | one log-in, shared by clones of its [`Credentials`], about once an hour |
///
/// # Permissions
/// `roles/secretmanager.secretAccessor` on the secret reads it. `secretmanager.versions.list`, which
/// `roles/secretmanager.viewer` has, lists the versions. Without it the latest version is all there is: no fallback but
/// the last key that the API accepted, and an error where that version is disabled.
///
/// # Errors of a fetch
/// | kind | means |
/// | --- | --- |
/// | [`BootstrapRejected`](ErrorKind::BootstrapRejected) | the log-in, or its token, is not accepted |
/// | [`Forbidden`](ErrorKind::Forbidden) | the identity may not read the secret; Google says so of many that do not exist, too |
/// | [`UnknownSet`](ErrorKind::UnknownSet) | there is no such secret, or no version of it is enabled |
/// | [`Throttled`](ErrorKind::Throttled), [`Unavailable`](ErrorKind::Unavailable), [`Timeout`](ErrorKind::Timeout) | it is asked again by itself |
/// | [`Malformed`](ErrorKind::Malformed) | the answer, or what is stored, is none; or its checksum (CRC-32C) differs |
/// | [`InvalidConfig`](ErrorKind::InvalidConfig) | a name, a URL, a pointer or a file of credentials is none |
#[derive(Clone)]
#[must_use = "a source does nothing until it is followed"]
pub struct SecretManager {
    client: StoreClient,
    name: Option<SecretName>,
    pointers: MaterialPointers,
    credentials: Credentials,
    /// Until when lists are not asked for, by the boot clock.
    without_list: Arc<AtomicU64>,
    /// The first thing that was said of it and is not valid.
    fault: Option<Error>,
}

impl SecretManager {
    /// The secret of this name, such as `projects/my-project/secrets/trading`, or with a location
    /// (`projects/my-project/locations/europe-west3/secrets/trading`), which is asked at its own endpoint. Behind it may
    /// stand `/versions/` and an alias.
    pub fn new(name: impl AsRef<str>) -> Self {
        let (name, fault) = match SecretName::parse(name.as_ref()) {
            Ok(name) => (Some(name), None),
            Err(error) => (None, Some(error)),
        };
        let global = || "https://secretmanager.googleapis.com".to_owned();
        let url = name.as_ref().map_or_else(global, SecretName::endpoint);
        let client =
            StoreClient::at("Secret Manager", &url, &url).expect("made of what was checked");
        Self {
            client,
            name,
            pointers: MaterialPointers::default(),
            credentials: Credentials::default(),
            without_list: Arc::default(),
            fault,
        }
    }

    /// Who asks: application default credentials unless this says otherwise.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// The version that is the key: the one of this alias, or of this number. The fallback is the newest enabled one
    /// below it.
    pub fn version(mut self, version: &str) -> Self {
        match (Which::parse(version), &mut self.name) {
            (Some(version), Some(name)) => name.version = version,
            (Some(_), None) => {}
            (None, _) => {
                let what = "a version must be an alias or a number, such as prod or 7";
                self.fault.get_or_insert(Error::new(ErrorKind::InvalidConfig, what));
            }
        }
        self
    }

    /// Where Secret Manager is: an endpoint of one's own, or an emulator.
    pub fn endpoint_url(mut self, url: &str) -> Self {
        if let Err(error) = self.client.move_to(url, "https://secretmanager.googleapis.com") {
            self.fault.get_or_insert(error);
        }
        self
    }

    material_options!();
    connection_options!();

    // ---- inside ----

    /// Whether all that was said of it is valid.
    fn check(&self) -> Result<&SecretName, Error> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        self.pointers.check()?;
        self.credentials.check()?;
        let unnamed = || Error::new(ErrorKind::InvalidConfig, "the secret has no name");
        self.name.as_ref().ok_or_else(unnamed)
    }

    async fn read(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        let reading = Reading { source: self, name: self.check()? };
        for _ in 0..ROUNDS {
            if let Some(fetched) = reading.read_once(known).await? {
                return Ok(fetched);
            }
        }
        let what = format!(
            "the versions of {} changed again and again while they were read",
            reading.name.secret
        );
        Err(Error::new(ErrorKind::Unavailable, what))
    }

    /// Asks with a token, and once again with another one if that is not accepted.
    async fn ask(&self, url: &Url) -> Result<Answer, Error> {
        let limit = self.client.timeout();
        let token = self.credentials.access_token(limit, None).await?;
        let answer = self.ask_with(url, &token).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let again = self.credentials.access_token(limit, Some(token.secret())).await?;
        match again.secret() == token.secret() {
            true => Ok(answer),
            false => self.ask_with(url, &again).await,
        }
    }

    async fn ask_with(&self, url: &Url, token: &AccessToken) -> Result<Answer, Error> {
        let mut question =
            Question::new(Method::GET, url.clone()).sensitive(AUTHORIZATION, &token.bearer());
        if let Some(project) = &token.quota_project {
            question = question.sensitive(HeaderName::from_static("x-goog-user-project"), project);
        }
        self.client.ask(question).await
    }
}

/// One secret, as it is read.
struct Reading<'a> {
    source: &'a SecretManager,
    name: &'a SecretName,
}

/// What one version holds, and when that was said.
struct Read {
    version: Accessed,
    at: Option<Timestamp>,
}

impl Reading<'_> {
    /// The state, if it did not change while it was read.
    async fn read_once(&self, known: Option<&CredentialSet>) -> Result<Option<Fetched>, Error> {
        let head = match &self.name.version {
            Which::Newest => None,
            Which::Named(version) => Some(self.access(version).await?.ok_or_else(|| self.none())?),
        };
        let Some(enabled) = self.list(head.as_ref().map(|it| it.version.number)).await? else {
            let only = match head {
                Some(head) => head,
                None => self.access("latest").await?.ok_or_else(|| self.unlisted())?,
            };
            // Who may not read it either may be given both back at once.
            let until = Clock::system().now().boot.saturating_add(WITHOUT_LIST);
            self.source.without_list.store(until, Relaxed);
            return self.set(vec![only], None).map(Some);
        };
        let wanted = wanted(enabled, head.as_ref().map(|head| head.version.number));
        if wanted.is_empty() {
            return Err(self.none());
        }
        let validator = validator(&wanted);
        if known.and_then(CredentialSet::validator) == Some(&*validator) {
            return Ok(Some(Fetched::NotModified));
        }
        let mut read: Vec<_> = head.into_iter().collect();
        for version in &wanted[read.len()..] {
            // One that was enabled when it was listed, and is not now: the list is another one, too.
            let Some(found) = self.access(&version.number.to_string()).await? else {
                return Ok(None);
            };
            if found.version.number != version.number {
                return Err(malformed(
                    "Secret Manager answered with another version than was asked for",
                ));
            }
            read.push(found);
        }
        self.set(read, Some(&validator)).map(Some)
    }

    /// The enabled versions, newest first, as far as they are needed. None if they may not be listed.
    async fn list(&self, below: Option<u64>) -> Result<Option<Vec<Version>>, Error> {
        let client = &self.source.client;
        if Clock::system().now().boot < self.source.without_list.load(Relaxed) {
            return Ok(None);
        }
        let mut enabled = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut url = self.url(&["versions"]);
            url.query_pairs_mut()
                .append_pair("filter", "state:ENABLED")
                .append_pair("pageSize", PAGE_SIZE)
                .extend_pairs(next.as_ref().map(|token| ("pageToken", token)));
            let answer = self.source.ask(&url).await?;
            match answer.status.as_u16() {
                200 => {}
                403 => return Ok(None),
                _ => return Err(self.refusal(&answer)),
            }
            let value = client.value(&answer)?;
            let page =
                Page::read(&value).map_err(|what| self.nonsense("the list of versions", what))?;
            enabled.extend(page.enabled);
            if wanted(enabled.clone(), below).len() > 1 {
                break;
            }
            next = page.next.map(Into::into);
            if next.is_none() {
                break;
            }
        }
        Ok(Some(enabled))
    }

    /// What a version holds. None if it is not enabled.
    async fn access(&self, version: &str) -> Result<Option<Read>, Error> {
        let answer =
            self.source.ask(&self.url(&["versions", &format!("{version}:access")])).await?;
        if answer.status != 200 {
            return match is_disabled(&answer, &self.source.client) {
                true => Ok(None),
                false => Err(self.refusal(&answer)),
            };
        }
        let value = self.source.client.value(&answer)?;
        let version = Accessed::read(&value)
            .map_err(|what| self.nonsense(&format!("version {version}"), what))?;
        Ok(Some(Read { version, at: answer.head.date }))
    }

    fn url(&self, parts: &[&str]) -> Url {
        let secret = self.name.secret.split('/');
        self.source.client.url(std::iter::once("v1").chain(secret).chain(parts.iter().copied()))
    }

    fn set(&self, read: Vec<Read>, validator: Option<&str>) -> Result<Fetched, Error> {
        let at = read.iter().filter_map(|it| it.at).max();
        let credentials: Result<Vec<_>, _> = read.iter().map(|it| self.credential(it)).collect();
        let mut set = set_of(credentials?)?;
        set.as_of = at;
        set.validator = validator.map(Into::into);
        Ok(Fetched::Set(set))
    }

    fn credential(&self, read: &Read) -> Result<Credential, Error> {
        let id = read.version.number.to_string();
        let credential = self
            .source
            .pointers
            .in_text(&id, &read.version.text)
            .map_err(|error| self.nonsense(&format!("version {id}"), &error.to_string()))?;
        Ok(credential.with_version(&id))
    }

    fn nonsense(&self, what: &str, why: &str) -> Error {
        malformed(&format!("{what} of {} in Secret Manager: {why}", self.name.secret))
    }

    fn none(&self) -> Error {
        let what = match &self.name.version {
            Which::Newest => "no version".into(),
            Which::Named(version) => format!("version {version} not"),
        };
        let what = format!(
            "{} in Secret Manager has {what} enabled: enable one, or add one",
            self.name.secret
        );
        Error::new(ErrorKind::UnknownSet, what)
    }

    fn unlisted(&self) -> Error {
        let what = format!(
            "the latest version of {} in Secret Manager is not enabled, and this identity may not list the others: enable it, or grant secretmanager.versions.list",
            self.name.secret
        );
        Error::new(ErrorKind::UnknownSet, what)
    }

    fn refusal(&self, answer: &Answer) -> Error {
        let client = &self.source.client;
        let secret = &self.name.secret;
        let (kind, what) = match answer.status.as_u16() {
            401 => (
                ErrorKind::BootstrapRejected,
                format!("does not accept the access token for {secret}: check the credentials"),
            ),
            403 => (
                ErrorKind::Forbidden,
                format!(
                    "forbids {secret} to the identity that asks: grant it roles/secretmanager.secretAccessor, and check the name"
                ),
            ),
            404 => (
                ErrorKind::UnknownSet,
                format!("does not know {secret}: check the project, the name and the version"),
            ),
            _ => return client.refusal(answer),
        };
        client.error(kind, answer, &what)
    }
}

/// Whether a version is there, and disabled or destroyed.
fn is_disabled(answer: &Answer, client: &StoreClient) -> bool {
    answer.status == 400
        && client
            .value(answer)
            .is_ok_and(|value| text(&value, "/error/status") == Some("FAILED_PRECONDITION"))
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Malformed, what)
}

impl Source for SecretManager {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.read(known))
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.client.begin(terms);
        self.check().map(drop)
    }
}

impl fmt::Debug for SecretManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretManager")
            .field("secret", &self.name.as_ref().map(|name| &name.secret))
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}
