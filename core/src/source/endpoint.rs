//! A rotation endpoint that speaks `keyswap/1`.

use std::{fmt, future::Future, io, path::PathBuf, time::Duration};

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use reqwest::Response;
use url::Url;
use zeroize::Zeroizing;

use super::{
    BoxFuture, Fetched, Report, Source,
    acks::Acks,
    bootstrap::{self, Bootstrap},
    http::{client_for, date, is_loopback, retry_after},
    wire,
};
use crate::{
    credential::CredentialSet,
    error::{Error, ErrorKind},
    policy::Policy,
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
/// | 403 | [`ErrorKind::Forbidden`] |
/// | 404 | [`ErrorKind::UnknownSet`] |
/// | 410 with the problem type `urn:keyswap:error:set-revoked` | [`ErrorKind::SetRevoked`] |
/// | 429 | [`ErrorKind::Throttled`], with its `Retry-After` |
/// | 408, 409, another 410, 425, 5xx, no answer, half an answer | [`ErrorKind::Unavailable`] |
/// | no end of an answer within the timeout | [`ErrorKind::Timeout`] |
/// | a redirect, another status, more than 64 KiB, no well-formed set | [`ErrorKind::Malformed`] |
///
/// A missing bootstrap credential is [`ErrorKind::InvalidConfig`].
pub struct Endpoint {
    pub(super) url: Url,
    pub(super) origin: String,
    /// The name at the end of `.../sets/NAME`, as it stands in the URL.
    asked: Option<String>,
    pub(super) bootstrap: Bootstrap,
    plain_http: bool,
    pub(super) timeout: Duration,
    pub(super) acks: Acks,
}

impl Endpoint {
    /// The endpoint at this URL, which is the set's own: `https://keys.example.com/v1/sets/trading-eu`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it is not an `http` or `https` URL, or has user information or a
    /// fragment. That plain HTTP is not allowed shows at the first fetch, as [`ErrorKind::InsecureUrl`].
    pub fn new(url: impl AsRef<str>) -> Result<Self, Error> {
        // The URL is not quoted: what is wrong with it may be the very password in it.
        let invalid = |what: &str| {
            let what = format!(
                "the endpoint's URL {what}: it must look like https://keys.example.com/v1/sets/NAME"
            );
            Err(Error::new(ErrorKind::InvalidConfig, what))
        };
        let Ok(url) = Url::parse(url.as_ref().trim()) else {
            return invalid("cannot be read");
        };
        if !matches!(url.scheme(), "http" | "https") {
            return invalid("is neither https nor http");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return invalid("has a user name or a password in it, where .bootstrap(...) belongs");
        }
        if url.fragment().is_some() {
            return invalid("has a fragment (#), which is never sent");
        }
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            asked: asked(&url),
            url,
            bootstrap: Bootstrap::environment(),
            plain_http: false,
            timeout: Policy::default().fetch_timeout,
            acks: Acks::default(),
        })
    }

    /// Shows this bootstrap credential, as a bearer token.
    pub fn bootstrap(self, secret: impl Into<Secret>) -> Self {
        Self { bootstrap: Bootstrap::fixed(secret.into()), ..self }
    }

    /// Shows the bootstrap credential in this file, which is read at first use and again after a 401.
    pub fn bootstrap_file(self, path: impl Into<PathBuf>) -> Self {
        Self { bootstrap: Bootstrap::file(path.into()), ..self }
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
        Self { bootstrap: Bootstrap::callback(callback), ..self }
    }

    /// Shows no bootstrap credential: the endpoint knows its clients by other means, such as the network
    /// or a sidecar that speaks TLS for them.
    pub fn no_bootstrap(self) -> Self {
        Self { bootstrap: Bootstrap::nowhere(), ..self }
    }

    /// Allows plain HTTP to hosts other than this machine: everybody on the way can read the keys.
    pub fn plain_http_allowed(self) -> Self {
        Self { plain_http: true, ..self }
    }

    /// How long one answer may take. 10 s. The handle's
    /// [`fetch_timeout`](Policy::fetch_timeout) holds as well; the shorter one decides.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Whether anything may be sent there at all.
    pub(super) fn check_transport(&self) -> Result<(), Error> {
        if self.url.scheme() == "http" && !self.plain_http && !is_loopback(&self.url) {
            return Err(Error::new(
                ErrorKind::InsecureUrl,
                format!(
                    "{} is plain http: use https://, or .plain_http_allowed() in a network where nobody listens",
                    self.shown()
                ),
            ));
        }
        Ok(())
    }

    async fn fetch_once(&self, held: Option<&CredentialSet>) -> Result<Fetched, Error> {
        self.check_transport()?;
        let validator = held.and_then(CredentialSet::validator);
        let shown = self.bootstrap.get(&self.origin).await?;
        let mut response = self.send(shown.as_ref(), validator).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(rejected) = shown
            && let Some(again) = self.bootstrap.reload(&rejected, &self.origin).await
        {
            response = self.send(Some(&again), validator).await?;
        }
        let conditional = validator.is_some();
        match response.status() {
            StatusCode::OK => self.accept(response).await,
            StatusCode::NOT_MODIFIED if conditional => Ok(Fetched::NotModified),
            _ => Err(self.refuse(response).await),
        }
    }

    async fn send(
        &self,
        secret: Option<&Secret>,
        validator: Option<&str>,
    ) -> Result<Response, Error> {
        let mut request = client_for(&self.url)?.get(self.url.clone()).timeout(self.timeout);
        if let Some(secret) = secret {
            request = request.header(header::AUTHORIZATION, bootstrap::bearer(secret)?);
        }
        if let Some(validator) = validator {
            request = request.header(header::IF_NONE_MATCH, validator);
        }
        request.send().await.map_err(|error| self.broken(&error))
    }

    async fn accept(&self, response: Response) -> Result<Fetched, Error> {
        let head = Head::read(response.headers());
        let body = self.body(response).await?;
        let mut set = wire::parse_answer(&body, self.asked.as_deref()).map_err(|error| {
            let what = format!("{} answered with {error}", self.shown());
            Error::new(error.kind(), what).with_status(200)
        })?;
        set.as_of = set.as_of.or(head.date);
        set.validator = head.etag;
        Ok(Fetched::Set(set))
    }

    /// What a status that brings no set means.
    async fn refuse(&self, response: Response) -> Error {
        let status = response.status();
        let head = Head::read(response.headers());
        let revoked = status == StatusCode::GONE
            && self.body(response).await.is_ok_and(|body| wire::is_problem(&body, SET_REVOKED));
        let origin = &self.origin;
        let number = status.as_u16();
        let (kind, what) = match number {
            401 => {
                self.bootstrap.forget();
                let advice = self.bootstrap.advice();
                (
                    ErrorKind::BootstrapRejected,
                    format!("bootstrap credential rejected (401) by {origin}: {advice}"),
                )
            }
            403 => (
                ErrorKind::Forbidden,
                format!(
                    "{} is forbidden (403) to this bootstrap credential: have the provider allow it to read the set",
                    self.shown()
                ),
            ),
            404 => (
                ErrorKind::UnknownSet,
                format!("{} is not known (404): check the last part of the URL", self.shown()),
            ),
            410 if revoked => (
                ErrorKind::SetRevoked,
                format!("{} was revoked by the provider: ask them for a new set", self.shown()),
            ),
            429 => (
                ErrorKind::Throttled,
                format!("{origin} wants fewer requests (429): it is asked again later"),
            ),
            300..=399 if number != 304 => (
                ErrorKind::Malformed,
                format!(
                    "{} answered with a redirect ({number}): redirects are refused while carrying the bootstrap credential, so use the URL it leads to",
                    self.shown()
                ),
            ),
            407 => (
                ErrorKind::Unavailable,
                "the proxy wants to know who asks (407): check HTTPS_PROXY".to_owned(),
            ),
            408 | 409 | 410 | 425 | 500..=599 => (
                ErrorKind::Unavailable,
                format!("{origin} cannot answer now ({number}): it is asked again"),
            ),
            _ => (
                ErrorKind::Malformed,
                format!(
                    "{} answered {number}, which is no answer to a fetch: check that the URL is a keyswap/1 endpoint's",
                    self.shown()
                ),
            ),
        };
        let error = Error::new(kind, what).with_status(number);
        match head.retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }

    async fn body(&self, mut response: Response) -> Result<Zeroizing<Vec<u8>>, Error> {
        // One buffer of the full size: one that grows leaves copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(wire::MAX_DOCUMENT));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if body.len() + chunk.len() > wire::MAX_DOCUMENT {
                return Err(Error::new(
                    ErrorKind::Malformed,
                    format!("{} answered with more than 64 KiB", self.shown()),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// A request or an answer that broke on the way. reqwest's own words are not passed on: they hold
    /// the URL with its query.
    fn broken(&self, error: &reqwest::Error) -> Error {
        let origin = &self.origin;
        if error.is_connect() {
            let what = format!("{origin} cannot be reached{}", cause(error));
            return Error::new(ErrorKind::Unavailable, what);
        }
        if error.is_timeout() {
            let what = format!("{origin} did not answer within {:?}", self.timeout);
            return Error::new(ErrorKind::Timeout, what);
        }
        let what = format!("the connection to {origin} broke before the answer was complete");
        Error::new(ErrorKind::Unavailable, what)
    }

    /// The URL as errors show it. A query may hold a key.
    fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.into()
    }
}

impl Source for Endpoint {
    fn fetch<'a>(
        &'a self,
        held: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.fetch_once(held))
    }

    fn report(&self, report: Report) -> Option<BoxFuture<'static, Result<(), Error>>> {
        self.acknowledge(&report)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.shown())
            .field("bootstrap", &self.bootstrap)
            .finish_non_exhaustive()
    }
}

/// The set that a URL of the form `.../sets/NAME` asks for. Other URLs, such as a static file's, ask for
/// none by name.
fn asked(url: &Url) -> Option<String> {
    let mut segments = url.path_segments()?.rev();
    let name = segments.next()?;
    // Names of sets are of the same letters as ids; one that needs escaping is the provider's own.
    let plain = !name.is_empty() && !name.contains('%');
    (plain && segments.next() == Some("sets")).then(|| name.to_owned())
}

/// Why a connection failed, in words of the system's or of this crate's, which hold no part of a URL.
fn cause(error: &reqwest::Error) -> String {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        if let Some(mut io) = error.downcast_ref::<io::Error>() {
            // TLS errors come wrapped twice, and `source` of an I/O error passes over what it wraps.
            while let Some(inner) = io.get_ref().and_then(|inner| inner.downcast_ref()) {
                io = inner;
            }
            return match io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                true => ": its TLS certificate or handshake is not acceptable".to_owned(),
                false => format!(": {}", io.kind()),
            };
        }
        next = error.source();
    }
    String::new()
}

/// What the headers of an answer say.
struct Head {
    etag: Option<Box<str>>,
    date: Option<Timestamp>,
    retry_after: Option<Duration>,
}

impl Head {
    fn read(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let date = text(header::DATE).and_then(date);
        let retry_after = retry_after(headers);
        Self { etag: text(header::ETAG).map(Into::into), date, retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&'static str, &'static str)]) -> Head {
        let field = |(name, value): &(&'static str, &'static str)| {
            (name.parse().expect("a name"), value.parse().expect("a value"))
        };
        Head::read(&fields.iter().map(field).collect())
    }

    #[test]
    fn retry_after_is_seconds_or_counted_from_the_answers_date() {
        let date = ("date", "Mon, 23 Nov 2026 18:00:00 GMT");
        let wait = |value| head(&[date, ("retry-after", value)]).retry_after;
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Mon, 23 Nov 2026 18:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(wait("Mon, 23 Nov 2026 17:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
        assert_eq!(head(&[("retry-after", "Mon, 23 Nov 2026 18:01:30 GMT")]).retry_after, None);
        assert_eq!(head(&[date]).date, "2026-11-23T18:00:00Z".parse().ok());
    }

    #[test]
    fn the_set_asked_for_is_named_by_the_path() {
        let name = |url: &str| Endpoint::new(url).expect("a URL").asked;
        assert_eq!(name("https://k.example.com/v1/sets/eu-1?x=1").as_deref(), Some("eu-1"));
        assert_eq!(name("https://k.example.com/keys.json"), None);
        assert_eq!(name("https://k.example.com/sets/"), None);
        assert_eq!(name("https://k.example.com/sets/a%20b"), None);
    }

    #[test]
    fn a_url_that_cannot_be_an_endpoint_is_refused_and_not_quoted() {
        let cases = [
            ("keys.example.com/s3cr3t", "cannot be read"),
            ("ftp://keys.example.com/s3cr3t", "neither https nor http"),
            ("https://me:s3cr3t@keys.example.com/", "password"),
            ("https://s3cr3t@keys.example.com/", "user name"),
            ("https://keys.example.com/#s3cr3t", "fragment"),
        ];
        for (url, words) in cases {
            let error = Endpoint::new(url).expect_err(words);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(words), "{shown}");
            assert!(!shown.contains("s3cr3t"), "{shown}");
        }
    }

    #[test]
    fn printing_shows_neither_query_nor_bootstrap() {
        let url = "https://keys.example.com/sets/eu?code=s3cr3t";
        let endpoint = Endpoint::new(url).expect("a URL").bootstrap("s3cr3t-boot");
        let shown = format!("{endpoint:?}");
        assert!(shown.contains("https://keys.example.com/sets/eu"), "{shown}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
