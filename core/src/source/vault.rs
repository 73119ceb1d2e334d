//! Keys in HashiCorp Vault and OpenBao.
//!
//! # Theory of operation
//!
//! A [`Vault`] is where the server is and how this program logs in to it; sources are made from it. All of them, and
//! all clones, share one session: the token that the log-in gave, which one of them renews, or gets anew, while the
//! others wait for it. Nothing runs beside the fetches: a token is looked after when something is asked for.
//!
//! The server answers 403 to a token that has ended as it does to one that may not read. So a 403 is never believed at
//! once: the program logs in once more and asks again. Only if that changes nothing is it told.

mod answer;
mod dynamic;
mod environment;
mod kv;
mod login;
mod session;
mod static_role;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use url::Url;

use self::{
    answer::time_of,
    login::{Given, Login, SecretId},
    session::{Session, Token},
};
pub use self::{dynamic::Dynamic, kv::Kv, static_role::StaticRole};
use super::{
    Fetched, Terms,
    reading::Reader,
    store_client::{Answer, Question, StoreClient, connection_options},
};
use crate::{
    credential::CredentialSet,
    error::{Error, ErrorKind},
    secret::Secret,
};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Shows that a program asks, and no browser that was led here: agents can be set to want it.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
/// Where Kubernetes puts the token of a pod.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// A HashiCorp Vault or OpenBao server, and how this program logs in to it.
///
/// It makes sources: [`kv`](Self::kv) for what is stored, [`static_role`](Self::static_role) for the password of an
/// account that the server rotates, [`dynamic`](Self::dynamic) for accounts that it makes. Clones, and all sources that
/// are made from it, share one log-in, however many handles follow them.
///
/// ```
/// use keyswap::source::vault::Vault;
/// let vault = Vault::new("https://vault.example.com:8200")?
///     .app_role_file("5c8f...", "/run/secrets/secret-id")
///     .namespace("team");
/// let trading = vault.kv("secret", "trading");
/// let database = vault.dynamic("database/creds/app");
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// A token is renewed once two thirds of its life have gone, and the program logs in anew where it cannot be renewed
/// any further. Where it was [given](Self::token), there is no log-in: it is renewed as long as the server does that.
///
/// | log-in | what the server must know |
/// | --- | --- |
/// | [`app_role`](Self::app_role), [`app_role_file`](Self::app_role_file), [`app_role_wrapped`](Self::app_role_wrapped) | `auth/approle`, the role's id and a secret_id |
/// | [`kubernetes`](Self::kubernetes) | `auth/kubernetes`, a role bound to the pod's service account |
/// | [`jwt`](Self::jwt), [`jwt_file`](Self::jwt_file) | `auth/jwt`, a role bound to the token's claims |
/// | [`token`](Self::token), [`token_file`](Self::token_file) | the token; of a file that an agent writes, too |
///
/// # Errors of a fetch
///
/// | kind | when |
/// | --- | --- |
/// | [`BootstrapRejected`](ErrorKind::BootstrapRejected) | the log-in, or the token that was given, is not accepted |
/// | [`Forbidden`](ErrorKind::Forbidden) | it is, and no policy allows this; after one more log-in |
/// | [`UnknownSet`](ErrorKind::UnknownSet) | there is no such secret, role or mount, or each of its versions is deleted |
/// | [`Unavailable`](ErrorKind::Unavailable) | the server is sealed, cannot be reached, or answers 5xx |
/// | [`Throttled`](ErrorKind::Throttled) | a rate limit of the server: it is asked again when it said |
/// | [`Timeout`](ErrorKind::Timeout) | it did not answer in time |
/// | [`Malformed`](ErrorKind::Malformed) | what it answered is no secret, or another server's |
/// | [`InvalidConfig`](ErrorKind::InvalidConfig) | a name, pointer or log-in that is none: the handle does not start |
///
/// Whatever fails, the set that is held stays in use.
#[derive(Clone)]
#[must_use = "it makes sources, and does nothing by itself"]
pub struct Vault {
    client: StoreClient,
    session: Arc<Session>,
    /// The first thing that was said of it and is not valid.
    fault: Option<Error>,
}

/// One question to it.
struct Call<'a> {
    method: Method,
    url: Url,
    body: Option<&'a [u8]>,
}

impl Vault {
    /// The server at this URL, such as the one in `VAULT_ADDR`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it is not an `http` or `https` URL, or has user information or a fragment.
    pub fn new(url: impl AsRef<str>) -> Result<Self, Error> {
        let url = url.as_ref().trim().trim_end_matches('/');
        let url = url.strip_suffix("/v1").unwrap_or(url);
        Ok(Self {
            client: StoreClient::at("Vault", url, "https://vault.example.com:8200")?,
            session: Arc::new(Session::new(Login::None)),
            fault: None,
        })
    }

    connection_options!();

    // ---- log-ins ----

    /// Logs in as an AppRole. An empty `secret_id` is for roles that need none.
    pub fn app_role(self, role_id: impl Into<Secret>, secret_id: impl Into<Secret>) -> Self {
        self.by_role(role_id, SecretId::Given(secret_id.into()))
    }

    /// Logs in as an AppRole, with the secret_id in this file, which is read at each log-in.
    pub fn app_role_file(self, role_id: impl Into<Secret>, path: impl Into<PathBuf>) -> Self {
        self.by_role(role_id, SecretId::File(path.into(), Reader::new()))
    }

    /// Logs in as an AppRole, with the secret_id that this wrapping token holds. It is unwrapped at the first log-in
    /// and kept, because it can be unwrapped only once: if somebody else did, the log-in fails and says so.
    pub fn app_role_wrapped(
        self,
        role_id: impl Into<Secret>,
        wrapping_token: impl Into<Secret>,
    ) -> Self {
        self.by_role(role_id, SecretId::wrapped(Given::Secret(wrapping_token.into())))
    }

    /// The same with the wrapping token in this file. What is put there later is unwrapped at the next log-in.
    pub fn app_role_wrapped_file(
        self,
        role_id: impl Into<Secret>,
        path: impl Into<PathBuf>,
    ) -> Self {
        self.by_role(role_id, SecretId::wrapped(Given::File(path.into(), Reader::new())))
    }

    /// Logs in with the token of this pod's service account.
    pub fn kubernetes(self, role: &str) -> Self {
        self.kubernetes_file(role, SERVICE_ACCOUNT)
    }

    /// The same with a token that stands elsewhere, such as a projected one. It is read at each log-in.
    pub fn kubernetes_file(self, role: &str, path: impl Into<PathBuf>) -> Self {
        let token = Given::File(path.into(), Reader::new());
        self.with_login(Login::Kubernetes { role: role.into(), token })
    }

    /// Logs in with this JWT.
    pub fn jwt(self, role: &str, token: impl Into<Secret>) -> Self {
        self.with_login(Login::Jwt { role: role.into(), token: Given::Secret(token.into()) })
    }

    /// Logs in with the JWT in this file, which is read at each log-in.
    pub fn jwt_file(self, role: &str, path: impl Into<PathBuf>) -> Self {
        let token = Given::File(path.into(), Reader::new());
        self.with_login(Login::Jwt { role: role.into(), token })
    }

    /// Shows this token. It is renewed as long as the server does that, and no longer.
    pub fn token(self, token: impl Into<Secret>) -> Self {
        self.with_login(Login::Token(Given::Secret(token.into())))
    }

    /// Shows the token in this file, such as one that an agent writes. It is read again when the one before is not
    /// accepted any more.
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        self.with_login(Login::Token(Given::File(path.into(), Reader::new())))
    }

    /// Where the log-in is mounted, if not at `approle`, `kubernetes` or `jwt`.
    pub fn login_mount(mut self, mount: &str) -> Self {
        match parts(mount) {
            Some(_) => self.session = Arc::new(self.session.mounted(mount)),
            None => self.faulty("what login_mount was given is no path, such as approle"),
        }
        self
    }

    /// The namespace of the log-in and of what is read. A path in another one may also begin with its name, such as
    /// `kv("team/secret", "trading")`.
    pub fn namespace(mut self, namespace: &str) -> Self {
        match namespace.trim_matches('/') {
            "" => self.session = Arc::new(self.session.within("")),
            name if parts(name).is_some() => {
                self.session = Arc::new(self.session.within(name));
            }
            _ => self.faulty("what namespace was given is no namespace, such as team"),
        }
        self
    }

    // ---- sources ----

    /// What is stored under this path of a key-value engine that is mounted there: `secret/data/trading` is
    /// `kv("secret", "trading")`. See [`Kv`].
    pub fn kv(&self, mount: &str, path: &str) -> Kv {
        Kv::new(self.apart(), mount, path)
    }

    /// The account of a static role, such as that of a database: `database/static-creds/app` is
    /// `static_role("database", "app")`. See [`StaticRole`].
    pub fn static_role(&self, mount: &str, role: &str) -> StaticRole {
        StaticRole::new(self.apart(), mount, role)
    }

    /// What the server makes when this path is read, such as `database/creds/app` or `aws/creds/deploy`. See
    /// [`Dynamic`].
    pub fn dynamic(&self, path: &str) -> Dynamic {
        Dynamic::new(self.apart(), path)
    }

    // ---- inside ----

    fn by_role(self, role_id: impl Into<Secret>, secret_id: SecretId) -> Self {
        self.with_login(Login::AppRole { role_id: role_id.into(), secret_id })
    }

    fn with_login(mut self, login: Login) -> Self {
        self.session = Arc::new(self.session.by(login));
        self
    }

    fn faulty(&mut self, what: &str) {
        let error = || Error::new(ErrorKind::InvalidConfig, what);
        self.fault.get_or_insert_with(error);
    }

    /// The same log-in, for a source whose handle has numbers of its own.
    fn apart(&self) -> Self {
        Self { client: self.client.apart(), ..self.clone() }
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.client.begin(terms);
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        self.session.check()
    }

    /// The URL of a path, whose parts were checked.
    fn url(&self, path: &str) -> Url {
        self.client.url(["v1"].into_iter().chain(path.split('/')))
    }

    fn get(&self, path: &str) -> Call<'static> {
        Call { method: Method::GET, url: self.url(path), body: None }
    }

    fn post<'a>(&self, path: &str, body: &'a [u8]) -> Call<'a> {
        Call { method: Method::POST, url: self.url(path), body: Some(body) }
    }

    /// Asks once, with this token.
    async fn send(&self, call: &Call<'_>, token: Option<&Secret>) -> Result<Answer, Error> {
        let mut question =
            Question::new(call.method.clone(), call.url.clone()).header(REQUEST, "true");
        if let Some(token) = token {
            question = question.sensitive(TOKEN, token.reveal());
        }
        if let Some(namespace) = self.session.namespace() {
            question = question.sensitive(NAMESPACE, namespace);
        }
        if let Some(body) = call.body {
            question = question.json(body);
        }
        self.client.ask(question).await
    }

    /// A set that was read, with the time at which it wants to be read again, unless a poll comes sooner.
    fn timed(&self, set: CredentialSet, wait: Option<Duration>, answer: &Answer) -> CredentialSet {
        let waits = [wait, self.session.wants_care_in()];
        let wait = waits.into_iter().flatten().min().filter(|wait| *wait < self.client.poll());
        let wait = wait.and_then(|wait| SignedDuration::try_from(wait).ok());
        let asks_at =
            wait.map(|wait| time_of(answer).saturating_add(wait).unwrap_or(Timestamp::MAX));
        CredentialSet { as_of: answer.head.date, refresh_after: asks_at, ..set }
    }

    /// Nothing changed. That the token has to be renewed before a poll comes can only be said with the whole set.
    fn unchanged(&self, known: &CredentialSet, answer: &Answer) -> Fetched {
        // It is numbered by who holds it, as it was before.
        let set = CredentialSet { generation: None, ..known.clone() };
        let set = self.timed(set, None, answer);
        if set.refresh_after.is_some() { Fetched::Set(set) } else { Fetched::NotModified }
    }

    /// Asks as whoever is logged in. After a 403 it logs in once more; one that is left is a policy's.
    async fn ask(&self, call: &Call<'_>) -> Result<(Answer, Arc<Token>), Error> {
        let token = self.session.token(self).await?;
        let answer = self.send(call, Some(token.secret())).await?;
        match answer.status {
            StatusCode::FORBIDDEN => self.session.again(self, call, answer, token).await,
            _ => Ok((answer, token)),
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("at", &self.client.origin())
            .field("login", &self.session)
            .finish_non_exhaustive()
    }
}

/// The path with single slashes between its parts, and none around it. None if it is empty, or leads elsewhere.
fn parts(path: &str) -> Option<String> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is_plain = |part: &&str| {
        !matches!(*part, "." | "..") && !part.chars().any(|it| it.is_control() || it == '\\')
    };
    (!parts.is_empty() && parts.iter().all(is_plain)).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_beneath_the_server_and_nowhere_else() {
        assert_eq!(parts("/secret//team a/").as_deref(), Some("secret/team a"));
        for odd in ["", "/", "a/../b", ".", "a\\..\\b", "a\nb"] {
            assert_eq!(parts(odd), None, "{odd:?}");
        }
        for (url, whole) in [
            ("https://v.example.com:8200/", "https://v.example.com:8200/v1/secret/team%20a"),
            ("https://v.example.com/vault/v1/", "https://v.example.com/vault/v1/secret/team%20a"),
        ] {
            assert_eq!(Vault::new(url).expect("a URL").url("secret/team a").as_str(), whole);
        }
        let escaped = Vault::new("https://v.example.com").expect("a URL").url("a?b#c/%2e%2e");
        assert_eq!(escaped.as_str(), "https://v.example.com/v1/a%3Fb%23c/%252e%252e");
    }

    #[test]
    fn what_is_not_valid_is_told_before_anything_is_asked() {
        let vault = || Vault::new("https://v.example.com").expect("a URL");
        let begin = |vault: Vault| vault.begin(&Terms::default());
        assert!(begin(vault().token("s3cr3t")).is_ok());
        for (odd, words) in [
            (vault(), "no log-in"),
            (vault().token(" "), "empty"),
            (vault().token("s3cr3t").namespace("a/../b"), "namespace"),
            (vault().token("s3cr3t").login_mount(""), "login_mount"),
        ] {
            let error = begin(odd).expect_err(words);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn nothing_that_is_printed_is_secret() {
        let vault = Vault::new("https://v.example.com").expect("a URL").namespace("team");
        for vault in [
            vault.clone().token("s3cr3t"),
            vault.clone().app_role("s3cr3t", "s3cr3t"),
            vault.clone().app_role_wrapped("s3cr3t", "s3cr3t"),
            vault.jwt("app", "s3cr3t"),
        ] {
            let shown = format!(
                "{vault:?} {:?} {:?} {:?}",
                vault.kv("secret", "trading"),
                vault.static_role("database", "app"),
                vault.dynamic("database/creds/app"),
            );
            assert!(!shown.contains("s3cr3t") && shown.contains("v.example.com"), "{shown}");
        }
    }
}
