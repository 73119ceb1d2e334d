//! A rotation endpoint that speaks `keyswap/1`.

mod name;

use std::{fmt, future::Future, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use reqwest::Response;
use tokio::sync::watch;

use self::name::Name;
use super::{
    BoxFuture, Fetched, Hints, Report, Source, Terms,
    bootstrap::Bootstrap,
    endpoint_client::{EndpointClient, EndpointRequest, ResponseHead},
    push::{HEARTBEAT, Known, Push},
    reports::ReportSender,
    signature::{About, Pin},
    wire,
};
use crate::{
    clock::Clock,
    credential::CredentialSet,
    error::{Error, ErrorKind},
    secret::Secret,
};

/// The one problem type that empties a set.
const SET_REVOKED: &str = "urn:keyswap:error:set-revoked";

/// A rotation endpoint: one URL that answers with the set as a `keyswap/1` document.
///
/// It is asked conditionally, over HTTPS, and never follows a redirect, which could carry the bootstrap
/// credential elsewhere. Plain HTTP is for this machine only (`127.0.0.0/8`, `::1`, `localhost`), and
/// then never goes through a proxy.
///
/// ```
/// use keyswap::source::Endpoint;
/// // The bootstrap credential comes from the environment variable KEYSWAP_BOOTSTRAP.
/// let endpoint = Endpoint::new("https://keys.example.com/v1/sets/trading-eu")?;
/// // Or from where you say.
/// let endpoint = endpoint.bootstrap_file("/run/secrets/keyswap");
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// # Errors of a fetch
/// | the endpoint | the error |
/// | --- | --- |
/// | 401, also after the bootstrap credential was read again | [`ErrorKind::BootstrapRejected`] |
/// | 403, or a client certificate that is missing or not accepted | [`ErrorKind::Forbidden`] |
/// | 404 | [`ErrorKind::UnknownSet`] |
/// | 410 with the problem type `urn:keyswap:error:set-revoked` | [`ErrorKind::SetRevoked`] |
/// | 429 | [`ErrorKind::Throttled`], with its `Retry-After` |
/// | 408, 409, another 410, 425, 5xx, no answer, half an answer | [`ErrorKind::Unavailable`] |
/// | no signature by the key that [`signed_by`](Self::signed_by) names | [`ErrorKind::SignatureInvalid`] |
/// | no end of an answer within the timeout | [`ErrorKind::Timeout`] |
/// | a redirect, another status, more than 64 KiB, no well-formed set | [`ErrorKind::Malformed`] |
///
/// A missing bootstrap credential is [`ErrorKind::InvalidConfig`].
#[must_use = "a source does nothing until it is followed"]
pub struct Endpoint {
    pub(super) client: EndpointClient,
    /// Which set is asked for.
    name: Name,
    /// The key that must have signed what is believed.
    pin: Option<Pin>,
    /// How long the push channel may be silent. None if it is not followed.
    heartbeat: Option<Duration>,
    /// What the push channel needs to know of the sets.
    known: watch::Sender<Known>,
    pub(super) reports: ReportSender,
}

impl Endpoint {
    /// The endpoint at this URL, which is the set's own: `https://keys.example.com/v1/sets/trading-eu`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it is not an `http` or `https` URL, or has user information or a
    /// fragment. That plain HTTP is not allowed shows at the first fetch, as [`ErrorKind::InsecureUrl`].
    pub fn new(url: impl AsRef<str>) -> Result<Self, Error> {
        let like = "https://keys.example.com/v1/sets/NAME";
        let client = EndpointClient::at(url.as_ref(), like)?;
        Ok(Self {
            name: Name::of(&client.url),
            client,
            pin: None,
            heartbeat: Some(HEARTBEAT),
            known: watch::Sender::default(),
            reports: ReportSender::default(),
        })
    }

    /// Shows this bootstrap credential, as a bearer token.
    pub fn bootstrap(self, secret: impl Into<Secret>) -> Self {
        self.with_bootstrap(Bootstrap::fixed(secret.into()))
    }

    /// Shows the bootstrap credential in this file, which is read at first use and again after a 401.
    pub fn bootstrap_file(self, path: impl Into<PathBuf>) -> Self {
        self.with_bootstrap(Bootstrap::file(path.into()))
    }

    /// Shows the bootstrap credential that this function returns. It is called at first use and again
    /// after a 401; its error becomes an [`ErrorKind::SourceFailed`] with the same message.
    ///
    /// ```
    /// # use keyswap::{Error, source::Endpoint};
    /// # async fn ask_the_vault() -> Result<String, Error> { Ok(String::new()) }
    /// # fn read_it() -> Result<String, Error> { Ok(String::new()) }
    /// let endpoint = Endpoint::new("https://keys.example.com/v1/sets/trading-eu")?
    ///     .bootstrap_fn(ask_the_vault);
    /// // A function that does not wait.
    /// let endpoint = endpoint.bootstrap_fn(|| std::future::ready(read_it()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn bootstrap_fn<F, Fut, S>(self, callback: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Secret>,
    {
        self.with_bootstrap(Bootstrap::callback(callback))
    }

    /// Shows the key that another [`KeySwap`](crate::KeySwap) holds. Each fetch goes through a rotation of it as a
    /// request does: after a 401 that handle is told, and the next of its keys is shown.
    ///
    /// ```
    /// # use keyswap::{Error, KeySwap, Endpoint};
    /// # fn example(admin: KeySwap) -> Result<(), Error> {
    /// let keys = Endpoint::new("https://keys.example.com/v1/sets/trading")?.bootstrap_keys(&admin);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "lent-keys")]
    pub fn bootstrap_keys(self, keys: impl Into<super::LentKeys>) -> Self {
        self.with_bootstrap(Bootstrap::lent(keys.into()))
    }

    /// Shows no bootstrap credential: the endpoint knows its clients by other means, such as the network
    /// or a sidecar that speaks TLS for them.
    pub fn no_bootstrap(self) -> Self {
        self.with_bootstrap(Bootstrap::nowhere())
    }

    /// Allows plain HTTP to hosts other than this machine: everybody on the way can read the keys.
    pub fn plain_http_allowed(mut self) -> Self {
        self.client.plain_http = true;
        self
    }

    /// Trusts the certificates in this PEM, instead of those that the platform trusts: for an endpoint
    /// with a certificate authority of its own. One PEM may hold several.
    ///
    /// ```no_run
    /// # use keyswap::source::Endpoint;
    /// let roots = std::fs::read("/etc/keyswap/roots.pem").expect("the roots");
    /// let endpoint = Endpoint::new("https://keys.example.internal/v1/sets/trading-eu")?
    ///     .root_certificates(&roots)?;
    /// # Ok::<(), keyswap::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if there is none in it, or one cannot be read. Certificates end: those
    /// that are renewed while the program runs belong into a
    /// [file](Self::root_certificates_file).
    pub fn root_certificates(self, pem: &[u8]) -> Result<Self, Error> {
        Ok(Self { client: self.client.try_with_tls(|tls| tls.trusting(pem))?, ..self })
    }

    /// As [`root_certificates`](Self::root_certificates), from the PEM in this file, which is read again
    /// before each request: when it changes, no restart is needed. A file that cannot be read, or is half
    /// written, changes nothing; at the first fetch it is [`ErrorKind::InvalidConfig`] or
    /// [`ErrorKind::Unavailable`].
    pub fn root_certificates_file(self, path: impl Into<PathBuf>) -> Self {
        Self { client: self.client.with_tls(|tls| tls.trusting_file(path.into())), ..self }
    }

    /// As [`client_certificate`](Self::client_certificate), from the PEM in this file, which is read again
    /// before each request: for certificates that live for hours, and are renewed by an agent. Have it
    /// rename a new file over the old one, so that the certificate and its key change together. A file that
    /// cannot be read, or is half written, changes nothing; at the first fetch it is
    /// [`ErrorKind::InvalidConfig`] or [`ErrorKind::Unavailable`].
    ///
    /// ```
    /// # use keyswap::source::Endpoint;
    /// let endpoint = Endpoint::new("https://keys.example.com/v1/sets/trading-eu")?
    ///     .client_certificate_file("/run/spiffe/client.pem")
    ///     .no_bootstrap();
    /// # Ok::<(), keyswap::Error>(())
    /// ```
    pub fn client_certificate_file(self, path: impl Into<PathBuf>) -> Self {
        Self { client: self.client.with_tls(|tls| tls.showing_file(path.into())), ..self }
    }

    /// Shows the certificate in this PEM when the endpoint asks for one (mutual TLS): the chain, this
    /// program's own certificate first, and its unencrypted private key, in any order of the two. Where the
    /// certificate alone says who asks, add [`no_bootstrap`](Self::no_bootstrap).
    ///
    /// ```no_run
    /// # use keyswap::source::Endpoint;
    /// let identity = std::fs::read("/etc/keyswap/client.pem").expect("the certificate");
    /// let endpoint = Endpoint::new("https://keys.example.com/v1/sets/trading-eu")?
    ///     .client_certificate(&identity)?
    ///     .no_bootstrap();
    /// # Ok::<(), keyswap::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if the certificate or the key is missing or cannot be read, or they do
    /// not belong together. That the endpoint does not accept it shows at a fetch, as
    /// [`ErrorKind::Forbidden`].
    pub fn client_certificate(self, pem: &[u8]) -> Result<Self, Error> {
        Ok(Self { client: self.client.try_with_tls(|tls| tls.showing(pem))?, ..self })
    }

    /// Believes only answers that are signed by this key: the base64 of an Ed25519 public key's 32 bytes.
    /// It guards against whatever stands between the provider's signer and this program, such as a cache
    /// or a server that was broken into.
    ///
    /// Each answer with a body must have an HTTP message signature (RFC 9421) over `@status` and a SHA-256
    /// `content-digest` (RFC 9530), each 304 one over `@status` and `etag`, with the time of its
    /// `created`; the document must name its `set`, and the signature of a 304 must do so as its `tag`. What
    /// is not so signed is [`ErrorKind::SignatureInvalid`], and changes nothing: a 410 without a signature
    /// revokes nothing. A signed set may begin a new lineage at once.
    ///
    /// The set's name is the last part of the URL, or [`set_name`](Self::set_name); without either, the
    /// handle does not start. An answer that was signed more than five minutes ahead of this machine's clock
    /// is refused, and one that is older than an hour
    /// ([`Policy::signature_age`](crate::Policy::signature_age)).
    ///
    /// ```
    /// # use keyswap::source::Endpoint;
    /// let endpoint = Endpoint::new("https://keys.example.com/v1/sets/trading-eu")?
    ///     .signed_by("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=")?;
    /// # Ok::<(), keyswap::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if that is not such a key.
    pub fn signed_by(self, public_key: &str) -> Result<Self, Error> {
        Ok(Self { pin: Some(Pin::new(public_key)?), ..self })
    }

    /// Says which set this is, where the last part of the URL is not its name. An answer for another set is
    /// refused; one that does not say which it is for, if answers must be [signed](Self::signed_by).
    ///
    /// ```
    /// # use keyswap::source::Endpoint;
    /// let endpoint = Endpoint::new("https://cdn.example.com/keys.json")?.set_name("trading-eu");
    /// # Ok::<(), keyswap::Error>(())
    /// ```
    pub fn set_name(mut self, name: &str) -> Self {
        self.name.told = Some(name.into());
        self
    }

    /// How long one answer may take: unless this says otherwise, as long as the handle's
    /// [`fetch_timeout`](crate::Policy::fetch_timeout), which holds as well; the shorter one decides.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.client.timeout = Some(timeout);
        self
    }

    /// How long the push channel may be silent before observers are told
    /// ([`Event::PushLost`](crate::Event::PushLost)) and it is connected anew. 45 s: three of the pings
    /// that the protocol sends each 15 s.
    ///
    /// Push is followed unless [`no_push`](Self::no_push) says otherwise, if a set names it in its
    /// `levels`: server-sent events, or else long polls. It makes a fetch come sooner, and never replaces
    /// polling.
    pub fn heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat: Some(heartbeat), ..self }
    }

    /// Follows no push channel: a change is found by polling alone, some minutes late.
    pub fn no_push(self) -> Self {
        Self { heartbeat: None, ..self }
    }

    /// Whether its push channel is to be followed.
    pub(super) fn is_pushed(&self) -> bool {
        self.heartbeat.is_some()
    }

    /// What it takes to follow its push channel, unless it is not to be followed.
    pub(super) fn push(&self, heard: impl Fn() + Send + 'static) -> Option<Push> {
        Some(Push {
            client: self.client.clone(),
            heartbeat: self.heartbeat?,
            known: self.known.subscribe(),
            heard: Box::new(heard),
        })
    }

    /// Tells the push channel what a set says, whether or not the set is then taken: an answer that is
    /// refused is no reason to hear of it again and again.
    pub(super) fn learn(&self, set: &CredentialSet) {
        let known = Known::of(set);
        self.known.send_if_modified(|before| std::mem::replace(before, known.clone()) != known);
    }

    pub(super) fn with_bootstrap(mut self, bootstrap: Bootstrap) -> Self {
        self.client.bootstrap = Arc::new(bootstrap);
        self
    }

    pub(super) async fn fetch_once(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        self.check_name()?;
        let validator = known.and_then(CredentialSet::validator);
        let now = Clock::system().now();
        let validator =
            validator.filter(|_| self.pin.as_ref().is_none_or(|pin| !pin.wants_whole(now)));
        let response = self
            .client
            .send(&EndpointRequest {
                method: Method::GET,
                url: &self.client.url,
                accept: "application/json",
                validator,
                // What is held is not to be confirmed: the API rejected it.
                is_fresh: known.is_some() && validator.is_none(),
                headers: None,
                body: None,
                timeout: Some(self.client.timeout()),
            })
            .await?;
        let status = response.status();
        match (status, validator) {
            (StatusCode::OK, _) => self.accept(response).await,
            (StatusCode::NOT_MODIFIED, Some(validator)) => {
                let set = self.name().unwrap_or_default();
                self.verify(status, response.headers(), About::Unchanged { validator, set })?;
                known.into_iter().for_each(|known| self.learn(known));
                Ok(Fetched::NotModified)
            }
            (StatusCode::GONE, _) => Err(self.on_gone(response).await),
            _ => Err(self.client.refusal(status, &ResponseHead::read(response.headers()), false)),
        }
    }

    async fn accept(&self, mut response: Response) -> Result<Fetched, Error> {
        let headers = std::mem::take(response.headers_mut());
        let head = ResponseHead::read(&headers);
        let body = self.client.body(response).await?;
        self.verify(StatusCode::OK, &headers, About::Body(&body))?;
        let signed = self.pin.is_some();
        let parsed = wire::parse_answer(&body, self.name(), signed);
        let mut set = parsed.map_err(|error| {
            let what = format!("{} answered with {error}", self.client.redacted_url());
            Error::new(error.kind(), what).with_status(200)
        })?;
        set.as_of = set.as_of.or(head.date);
        set.validator = head.etag;
        set.signed = signed;
        self.learn(&set);
        Ok(Fetched::Set(set))
    }

    /// A 410 empties the set if it is of the one type that may, and signed where answers must be.
    async fn on_gone(&self, mut response: Response) -> Error {
        let headers = std::mem::take(response.headers_mut());
        let head = ResponseHead::read(&headers);
        let refusal = |revoked| self.client.refusal(StatusCode::GONE, &head, revoked);
        let Ok(body) = self.client.body(response).await else { return refusal(false) };
        if !wire::is_problem(&body, SET_REVOKED, self.name()) {
            return refusal(false);
        }
        match self.verify(StatusCode::GONE, &headers, About::Body(&body)) {
            Ok(()) => refusal(true),
            Err(error) => error,
        }
    }

    /// The set that is asked for, as far as that is known. What is signed must say for which set it is.
    fn name(&self) -> Option<&str> {
        self.name.get(self.pin.is_some())
    }

    fn check_name(&self) -> Result<(), Error> {
        if self.pin.is_none() || self.name().is_some() {
            return Ok(());
        }
        let what = format!(
            "{} does not end in the name of a set, without which an answer for any set of that signer would be believed: pass it as the option `set_name`",
            self.client.redacted_url()
        );
        Err(Error::new(ErrorKind::InvalidConfig, what))
    }

    fn verify(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        about: About<'_>,
    ) -> Result<(), Error> {
        let Some(pin) = &self.pin else { return Ok(()) };
        let age = self.client.terms().policy().signature_age;
        pin.check(Clock::system().now(), age, status, headers, about)
            .map_err(|fault| fault.error(&self.client.redacted_url()).with_status(status.as_u16()))
    }
}

impl Source for Endpoint {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.fetch_once(known))
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.client.begin(terms);
        self.check_name()
    }

    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        let push = self.push(|| {})?;
        Some(push.follow(hints))
    }

    fn report(&self, report: Report) -> Option<BoxFuture<'static, Result<(), Error>>> {
        self.send_report(&report)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.client.redacted_url())
            .field("bootstrap", &self.client.bootstrap)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
