//! How one endpoint is asked: where it is, what is shown to it, and what its refusals mean.
//!
//! Fetches and the push channel share it. It never follows a redirect, and its errors show neither the
//! URL's query nor anything that an answer said.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use reqwest::Response;
use rustls::AlertDescription;
use url::Url;
use zeroize::Zeroizing;

#[cfg(feature = "lent-keys")]
use super::lent::{LentKeys, LogIn, nothing_lent};
use super::{
    Terms,
    bootstrap::{Bootstrap, Form},
    http::{client_for, metadata_client},
    tls::PrivateTls,
    wire,
};
use crate::{
    error::{Error, ErrorKind},
    net::{http_date, is_loopback, retry_after},
    secret::Secret,
};

/// One endpoint, as it is asked. Cheap to clone: the bootstrap credential that was read is shared.
#[derive(Clone)]
pub(super) struct EndpointClient {
    pub(super) url: Url,
    pub(super) origin: Arc<str>,
    pub(super) bootstrap: Arc<Bootstrap>,
    /// How the bootstrap credential is shown.
    pub(super) form: Form,
    /// What to look at where an answer is none, in words for a person.
    pub(super) advice: &'static str,
    pub(super) plain_http: bool,
    /// Whether it is the metadata service of this machine's cloud, which no proxy may stand before.
    pub(super) is_metadata: bool,
    /// How long an answer may take, if the program says so of this endpoint.
    pub(super) timeout: Option<Duration>,
    terms: Arc<Mutex<Terms>>,
    tls: PrivateTls,
}

/// One request.
pub(super) struct EndpointRequest<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) accept: &'static str,
    pub(super) validator: Option<&'a str>,
    /// Whether a copy from a cache would be no answer.
    pub(super) is_fresh: bool,
    /// What the program adds.
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) body: Option<&'a [u8]>,
    /// How long the whole answer may take. None for one that has no end: the asker watches over it.
    pub(super) timeout: Option<Duration>,
}

impl EndpointClient {
    pub(super) fn new(url: Url) -> Self {
        Self {
            origin: url.origin().ascii_serialization().into(),
            url,
            bootstrap: Arc::new(Bootstrap::environment()),
            form: Form::default(),
            advice: "check that the URL is a keyswap/1 endpoint's",
            plain_http: false,
            is_metadata: false,
            timeout: None,
            terms: Arc::default(),
            tls: PrivateTls::default(),
        }
    }

    /// The same, at a URL that a program wrote.
    pub(super) fn at(url: &str, like: &str) -> Result<Self, Error> {
        // The URL is not quoted: what is wrong with it may be the very password in it.
        let invalid = |what: &str| {
            let what = format!("the endpoint's URL {what}: it must look like {like}");
            Err(Error::new(ErrorKind::InvalidConfig, what))
        };
        let Ok(url) = Url::parse(url.trim()) else {
            return invalid("cannot be read");
        };
        if !matches!(url.scheme(), "http" | "https") {
            return invalid("is neither https nor http");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return invalid(
                "has a user name or a password in it, which belongs into the option `bootstrap`",
            );
        }
        if url.fragment().is_some() {
            return invalid("has a fragment (#), which is never sent");
        }
        Ok(Self::new(url))
    }

    /// The same, with numbers of its own.
    #[cfg(feature = "vault")]
    pub(super) fn apart(&self) -> Self {
        Self { terms: Arc::default(), ..self.clone() }
    }

    /// Works by these numbers from now on, and so do all clones.
    pub(super) fn begin(&self, terms: &Terms) {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = terms.clone();
    }

    pub(super) fn terms(&self) -> Terms {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long one answer may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or_else(|| self.terms().policy().fetch_timeout)
    }

    pub(super) fn with_tls(self, change: impl FnOnce(PrivateTls) -> PrivateTls) -> Self {
        Self { tls: change(self.tls), ..self }
    }

    pub(super) fn try_with_tls(
        self,
        change: impl FnOnce(PrivateTls) -> Result<PrivateTls, Error>,
    ) -> Result<Self, Error> {
        Ok(Self { tls: change(self.tls)?, ..self })
    }

    /// Sends a request. After a 401 the bootstrap credential is read again, and the request repeated once.
    pub(super) async fn send(&self, request: &EndpointRequest<'_>) -> Result<Response, Error> {
        if self.url.scheme() == "http" && !self.plain_http && !is_loopback(&self.url) {
            return Err(Error::new(
                ErrorKind::InsecureUrl,
                format!(
                    "{} is plain http: use https://, or the option `plain_http_allowed` in a network where nobody listens",
                    self.redacted_url()
                ),
            ));
        }
        #[cfg(feature = "lent-keys")]
        if let Some(keys) = self.bootstrap.lender() {
            return self.send_with(keys, request).await;
        }
        let secret = self.bootstrap.get(&self.form, &self.origin).await?;
        let response = self.send_once(request, secret.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(rejected) = secret
            && let Some(again) = self.bootstrap.reload(&rejected, &self.form, &self.origin).await
        {
            return self.send_once(request, Some(&again)).await;
        }
        Ok(response)
    }

    /// Sends a request with the keys of another handle, for as long as they are rejected and it has another.
    #[cfg(feature = "lent-keys")]
    async fn send_with(
        &self,
        keys: &LentKeys,
        request: &EndpointRequest<'_>,
    ) -> Result<Response, Error> {
        let log_in = LogIn {
            url: request.url,
            plain_http: self.plain_http,
            time: self.timeout(),
            pieces: &["key"],
        };
        let mut loan = keys.lend(&log_in).map_err(|error| nothing_lent(&error))?;
        let mut last = None;
        loop {
            let key = match (loan.next().await, &last) {
                (Ok(Some(key)), _) => key,
                // What the endpoint said of the keys that it has is more than that there is no other.
                (Err(error), None) => return Err(nothing_lent(&error)),
                _ => break,
            };
            let shown = self.form.shown(&key);
            if let Some(Err(why)) = shown.as_ref().map(|shown| self.form.header(shown)) {
                loan.unfit(why);
                continue;
            }
            let response = self.send_once(request, shown.as_ref()).await?;
            loan.answered(response.status(), response.headers(), None);
            last = Some(response);
        }
        last.ok_or_else(|| nothing_lent(&Error::new(ErrorKind::NotReady, "it has none")))
    }

    async fn send_once(
        &self,
        request: &EndpointRequest<'_>,
        secret: Option<&Secret>,
    ) -> Result<Response, Error> {
        let client = match self.tls.client(&self.url).await? {
            Some(client) => client,
            None if self.is_metadata => metadata_client()?,
            None => client_for(&self.url)?,
        };
        let mut headers = request.headers.cloned().unwrap_or_default();
        let accept = HeaderValue::from_static(request.accept);
        headers.entry(header::ACCEPT).or_insert(accept);
        if let Some(secret) = secret {
            let (name, value) = self.form.header(secret)?;
            headers.insert(name, value);
        }
        let mut builder =
            client.request(request.method.clone(), request.url.clone()).headers(headers);
        if let Some(body) = request.body {
            builder = builder.body(body.to_vec());
        }
        if let Some(timeout) = request.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(validator) = request.validator {
            builder = builder.header(header::IF_NONE_MATCH, validator);
        }
        if request.is_fresh {
            builder = builder.header(header::CACHE_CONTROL, "no-cache");
        }
        builder.send().await.map_err(|error| self.broken(&error))
    }

    /// The whole body, up to the size of a document.
    pub(super) async fn body(&self, mut response: Response) -> Result<Zeroizing<Vec<u8>>, Error> {
        // One buffer of the full size: one that grows leaves copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(wire::MAX_DOCUMENT));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if body.len() + chunk.len() > wire::MAX_DOCUMENT {
                return Err(Error::new(
                    ErrorKind::Malformed,
                    format!("{} answered with more than 64 KiB", self.redacted_url()),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What a status that brings no set means. `revoked` says that it is a 410 of the one problem type
    /// that empties a set.
    pub(super) fn refusal(&self, status: StatusCode, head: &ResponseHead, revoked: bool) -> Error {
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
                    self.redacted_url()
                ),
            ),
            404 => (
                ErrorKind::UnknownSet,
                format!(
                    "{} is not known (404): check the last part of the URL",
                    self.redacted_url()
                ),
            ),
            410 if revoked => (
                ErrorKind::SetRevoked,
                format!(
                    "{} was revoked by the provider: ask them for a new set",
                    self.redacted_url()
                ),
            ),
            429 => (
                ErrorKind::Throttled,
                format!("{origin} wants fewer requests (429): it is asked again later"),
            ),
            300..=399 if number != 304 => (
                ErrorKind::Malformed,
                format!(
                    "{} answered with a redirect ({number}): redirects are refused while carrying the bootstrap credential, so use the URL it leads to",
                    self.redacted_url()
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
                    "{} answered {number}, which is no answer to a fetch: {}",
                    self.redacted_url(),
                    self.advice
                ),
            ),
        };
        let error = Error::new(kind, what).with_status(number);
        match head.retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }

    /// A request or an answer that broke on the way. reqwest's own words are not passed on: they hold
    /// the URL with its query.
    pub(super) fn broken(&self, error: &reqwest::Error) -> Error {
        let origin = &self.origin;
        let cause = Cause::of(error);
        // With TLS 1.3 a server judges the client's certificate when the client has begun to ask.
        if let Some(Cause::RefusedByServer) = cause {
            let what = format!(
                "{origin} refused this program's TLS certificate: pass one that it accepts as the option `client_certificate`"
            );
            return Error::new(ErrorKind::Forbidden, what);
        }
        if error.is_connect() {
            let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
            return Error::new(
                ErrorKind::Unavailable,
                format!("{origin} cannot be reached{cause}"),
            );
        }
        if error.is_timeout() {
            let what = format!("{origin} did not answer within {:?}", self.timeout());
            return Error::new(ErrorKind::Timeout, what);
        }
        let what = format!("the connection to {origin} broke before the answer was complete");
        Error::new(ErrorKind::Unavailable, what)
    }

    /// The URL as errors show it. A query may hold a key.
    pub(super) fn redacted_url(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.into()
    }
}

/// Where it is, and never what is shown to it.
impl fmt::Debug for EndpointClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted_url())
    }
}

/// Why a connection failed, in words of the system's or of this crate's, which hold no part of a URL.
enum Cause {
    /// What the server sent as its reason to end the handshake is about the client's certificate.
    RefusedByServer,
    Tls,
    Io(io::ErrorKind),
}

impl Cause {
    fn of(error: &reqwest::Error) -> Option<Self> {
        let mut next = std::error::Error::source(error);
        while let Some(error) = next {
            if let Some(mut io) = error.downcast_ref::<io::Error>() {
                // TLS errors come wrapped twice, and `source` of an I/O error passes over what it wraps.
                while let Some(inner) = io.get_ref().and_then(|inner| inner.downcast_ref()) {
                    io = inner;
                }
                let tls = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                return Some(match tls {
                    Some(rustls::Error::AlertReceived(alert)) if is_about_us(*alert) => {
                        Self::RefusedByServer
                    }
                    Some(_) => Self::Tls,
                    None => Self::Io(io.kind()),
                });
            }
            next = error.source();
        }
        None
    }
}

/// Whether a server that sends this alert (RFC 8446, section 6.2) does not accept who asks.
fn is_about_us(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
            // The certificate names a known authority, and is not signed by it.
            | Alert::DecryptError
    )
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RefusedByServer | Self::Tls => {
                f.write_str("its TLS certificate or handshake is not acceptable")
            }
            Self::Io(kind) => kind.fmt(f),
        }
    }
}

/// What the headers of an answer say.
pub(super) struct ResponseHead {
    pub(super) etag: Option<Box<str>>,
    pub(super) date: Option<Timestamp>,
    pub(super) retry_after: Option<Duration>,
}

/// The longest validator that is kept and sent back, in bytes. Usual ones have fewer than 100; servers
/// refuse a request whose headers are long, and then no fetch would work at all.
const MAX_VALIDATOR: usize = 1024;

impl ResponseHead {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let etag = text(header::ETAG).filter(|etag| etag.len() <= MAX_VALIDATOR);
        let date = text(header::DATE).and_then(http_date).filter(|date| !wire::is_end(*date));
        let retry_after = retry_after(headers);
        Self { etag: etag.map(Into::into), date, retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_counted_from_the_answers_date() {
        let head = |fields: &[(&'static str, &'static str)]| {
            let field = |(name, value): &(&'static str, &'static str)| {
                (name.parse().expect("a name"), value.parse().expect("a value"))
            };
            ResponseHead::read(&fields.iter().map(field).collect())
        };
        let date = ("date", "Mon, 23 Nov 2026 18:00:00 GMT");
        let wait = |value| head(&[date, ("retry-after", value)]).retry_after;
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Mon, 23 Nov 2026 18:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(wait("Mon, 23 Nov 2026 17:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
        assert_eq!(head(&[("retry-after", "Mon, 23 Nov 2026 18:01:30 GMT")]).retry_after, None);
        assert_eq!(head(&[date]).date, "2026-11-23T18:00:00Z".parse().ok());
        assert_eq!(head(&[("date", "Mon, 01 Jan 0001 00:00:00 GMT")]).date, None, "no time at all");
    }

    #[test]
    fn a_validator_that_is_too_long_to_be_sent_back_is_none() {
        let head = |length: usize| {
            let value = "x".repeat(length).parse().expect("a value");
            ResponseHead::read(&[(header::ETAG, value)].into_iter().collect())
        };
        assert!(head(MAX_VALIDATOR).etag.is_some());
        assert!(head(MAX_VALIDATOR + 1).etag.is_none());
    }
}
