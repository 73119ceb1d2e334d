//! Keys behind any JSON endpoint.

mod shape;

use std::{fmt, future::Future, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;

use self::shape::Shape;
pub(super) use self::shape::check_pointer;
use super::{
    BoxFuture, Fetched, Source, Terms,
    bootstrap::{Bootstrap, Form},
    endpoint_client::{EndpointClient, EndpointRequest, ResponseHead},
};
use crate::{
    clock::Clock,
    credential::CredentialSet,
    error::{Error, ErrorKind},
    secret::Secret,
};

/// Any endpoint that answers with JSON, such as `{"api_key": "...", "expires_in": 3600}`: a company's own, or a
/// vendor's.
///
/// JSON pointers (RFC 6901) say where things stand in the answer. It is asked as an
/// [`Endpoint`](super::Endpoint) is: over HTTPS, without following a redirect, within the fetch timeout, for at most
/// 64 KiB; plain HTTP is for this machine only. If the server gives an `ETag`, the next question is conditional.
///
/// ```
/// use keyswap::source::Json;
/// // {"api_key": "s3cr3t", "expires_in": 3600}
/// let keys = Json::new("https://keys.example.com/trading")?.key("/api_key");
///
/// // {"data": {"current": {"kid": 7, "value": "s3cr3t", "until": "2026-11-23T18:00:00Z"}, "old": {"kid": 6, ...}}}
/// let keys = Json::new("https://keys.example.com/trading")?
///     .within("/data/current")
///     .key("/value")
///     .id("/kid")
///     .expires_at("/until")
///     .previous("/data/old")
///     .bootstrap_file("/run/secrets/admin-token");
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// Without an [`id`](Self::id) a credential is named by a digest that says only whether it changed. Where
/// [`previous`](Self::previous) is not there, the last key that the API accepted stays as the fallback. An end that is
/// not there is none.
///
/// # Errors of a fetch
/// As those of an [`Endpoint`](super::Endpoint). What is not where it should be is
/// [`Malformed`](ErrorKind::Malformed), which names the pointer and quotes nothing of the answer; a pointer or a header
/// that is none is [`InvalidConfig`](ErrorKind::InvalidConfig), and the handle does not start.
#[must_use = "a source does nothing until it is followed"]
pub struct Json(Box<Parts>);

/// In a box: what is moved from one builder's function to the next is a pointer, which is less code on phones.
struct Parts {
    client: EndpointClient,
    method: Method,
    headers: HeaderMap,
    body: Option<Secret>,
    shape: Shape,
    mints: bool,
    /// The first thing that was said of it and is not valid.
    fault: Option<Error>,
}

impl Json {
    /// The endpoint at this URL. It is asked by GET, and shown no credential unless one is given.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it is not an `http` or `https` URL, or has user information or a fragment.
    pub fn new(url: impl AsRef<str>) -> Result<Self, Error> {
        let mut client = EndpointClient::at(url.as_ref(), "https://keys.example.com/trading")?;
        client.bootstrap = Arc::new(Bootstrap::nowhere());
        client.advice = "check the URL and the method";
        Ok(Self(Box::new(Parts {
            client,
            method: Method::GET,
            headers: HeaderMap::new(),
            body: None,
            shape: Shape::default(),
            mints: false,
            fault: None,
        })))
    }

    // ---- where things stand ----

    /// Where the key stands: `/key` unless this says otherwise.
    pub fn key(self, pointer: &str) -> Self {
        self.pointing(pointer, |shape| &mut shape.key)
    }

    /// Where the second piece of material stands, named `secret`.
    pub fn secret(self, pointer: &str) -> Self {
        self.pointing(pointer, |shape| shape.secret.get_or_insert_default())
    }

    /// Where the third piece of material stands, named `passphrase`.
    pub fn passphrase(self, pointer: &str) -> Self {
        self.pointing(pointer, |shape| shape.passphrase.get_or_insert_default())
    }

    /// Where the credential's name stands: a text or a number that changes whenever the key does.
    pub fn id(self, pointer: &str) -> Self {
        self.pointing(pointer, |shape| shape.id.get_or_insert_default())
    }

    /// Where the provider's version of the credential stands.
    pub fn version(self, pointer: &str) -> Self {
        self.pointing(pointer, |shape| shape.version.get_or_insert_default())
    }

    /// Where the time stands at which the credential ends: as text (RFC 3339) or in seconds since 1970.
    pub fn expires_at(self, pointer: &str) -> Self {
        self.pointing(pointer, |shape| shape.expires_at.get_or_insert_default())
    }

    /// Where the seconds stand that the credential lives from the answer on: `/expires_in` unless this, or
    /// [`expires_at`](Self::expires_at), says otherwise.
    pub fn expires_in(self, pointer: &str) -> Self {
        self.pointing(pointer, |shape| shape.expires_in.get_or_insert_default())
    }

    /// The object that all other pointers begin at, but for [`previous`](Self::previous) and
    /// [`generation`](Self::generation): the whole answer unless this says otherwise.
    pub fn within(self, pointer: &str) -> Self {
        self.pointing(pointer, |shape| &mut shape.within)
    }

    /// Where the credential before stands, as long as it works: an object that looks like the current one, a list of
    /// at most two of them, or the key itself. It may be absent.
    pub fn previous(self, pointer: &str) -> Self {
        self.pointing(pointer, |shape| shape.previous.get_or_insert_default())
    }

    /// Where the number stands that rises with each change. Without it, changes are numbered here.
    pub fn generation(self, pointer: &str) -> Self {
        self.pointing(pointer, |shape| shape.generation.get_or_insert_default())
    }

    /// That each answer is a new key, made for this question: it is then asked by the life of what it made, and not
    /// polled.
    pub fn minting(mut self) -> Self {
        self.0.mints = true;
        self
    }

    // ---- how it is asked ----

    /// The method of the question. GET, or POST if there is a [`body`](Self::body).
    pub fn method(mut self, method: Method) -> Self {
        self.0.method = method;
        self
    }

    /// Adds a header to the question. Its value is never printed.
    pub fn header(mut self, name: &str, value: impl Into<Secret>) -> Self {
        const NOT_OURS: [HeaderName; 4] =
            [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];
        let value = value.into();
        let pair = (name.parse::<HeaderName>(), HeaderValue::from_str(value.reveal()));
        match pair {
            (Ok(name), Ok(mut value)) if !NOT_OURS.contains(&name) => {
                value.set_sensitive(true);
                self.0.headers.append(name, value);
                self
            }
            // The name may be the value, if the two were mixed up.
            _ => self.faulty("a header cannot be sent: it must have a name and one line of ASCII"),
        }
    }

    /// Sends this with the question, by POST unless [`method`](Self::method) says otherwise. It is JSON if it begins
    /// with `{` or `[`, and a form if not, unless a header says otherwise.
    pub fn body(mut self, body: impl Into<Secret>) -> Self {
        if self.0.method == Method::GET {
            self.0.method = Method::POST;
        }
        self.0.body = Some(body.into());
        self
    }

    /// Shows this credential, as a bearer token unless [`bootstrap_header`](Self::bootstrap_header) or
    /// [`bootstrap_basic`](Self::bootstrap_basic) says otherwise.
    pub fn bootstrap(self, secret: impl Into<Secret>) -> Self {
        self.with_bootstrap(Bootstrap::fixed(secret.into()))
    }

    /// Shows the credential in this file, which is read at first use and again after a 401.
    pub fn bootstrap_file(self, path: impl Into<PathBuf>) -> Self {
        self.with_bootstrap(Bootstrap::file(path.into()))
    }

    /// Shows the credential that this function returns. It is called at first use and again after a 401.
    ///
    /// ```
    /// # use keyswap::{Error, source::Json};
    /// # async fn ask_the_vault() -> Result<String, Error> { Ok("t0ken".into()) }
    /// # fn example() -> Result<(), Error> {
    /// let keys = Json::new("https://keys.example.com/trading")?.key("/api_key").bootstrap_fn(ask_the_vault);
    /// # Ok(()) }
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
    /// # use keyswap::{Error, KeySwap, source::Json};
    /// # fn example(admin: KeySwap) -> Result<(), Error> {
    /// let keys = Json::new("https://keys.example.com/trading")?.key("/api_key").bootstrap_keys(&admin);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "lent-keys")]
    pub fn bootstrap_keys(self, keys: impl Into<super::LentKeys>) -> Self {
        self.with_bootstrap(Bootstrap::lent(keys.into()))
    }

    /// Shows the bootstrap credential as the value of this header.
    pub fn bootstrap_header(mut self, name: &str) -> Self {
        match name.parse() {
            Ok(name) => {
                self.0.client.form = Form::Header(name);
                self
            }
            Err(_) => self.faulty("what bootstrap_header was given is not the name of a header"),
        }
    }

    /// Shows the bootstrap credential, `user:password`, as `Authorization: Basic`.
    pub fn bootstrap_basic(mut self) -> Self {
        self.0.client.form = Form::Basic;
        self
    }

    /// Allows plain HTTP to hosts other than this machine: everybody on the way can read the keys.
    pub fn plain_http_allowed(mut self) -> Self {
        self.0.client.plain_http = true;
        self
    }

    /// Trusts the certificates in this PEM. As [`Endpoint`](super::Endpoint::root_certificates).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if there is none in it, or one cannot be read.
    pub fn root_certificates(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.0.client = self.0.client.clone().try_with_tls(|tls| tls.trusting(pem))?;
        Ok(self)
    }

    /// Trusts the certificates in this file, which is read again when it changes. As
    /// [`Endpoint`](super::Endpoint::root_certificates_file).
    pub fn root_certificates_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.client = self.0.client.clone().with_tls(|tls| tls.trusting_file(path.into()));
        self
    }

    /// Shows this certificate, with its private key (mutual TLS). As
    /// [`Endpoint`](super::Endpoint::client_certificate).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if the certificate or the key is missing or cannot be read, or they do not belong
    /// together.
    pub fn client_certificate(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.0.client = self.0.client.clone().try_with_tls(|tls| tls.showing(pem))?;
        Ok(self)
    }

    /// Shows the certificate in this file, which is read again when it changes. As
    /// [`Endpoint`](super::Endpoint::client_certificate_file).
    pub fn client_certificate_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.client = self.0.client.clone().with_tls(|tls| tls.showing_file(path.into()));
        self
    }

    /// How long one answer may take: unless this says otherwise, as long as the handle's
    /// [`fetch_timeout`](crate::Policy::fetch_timeout), which holds as well; the shorter one decides.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.client.timeout = Some(timeout);
        self
    }

    // ---- inside ----

    fn pointing(mut self, pointer: &str, place: fn(&mut Shape) -> &mut Box<str>) -> Self {
        match check_pointer(pointer) {
            Ok(()) => *place(&mut self.0.shape) = pointer.into(),
            Err(error) => _ = self.0.fault.get_or_insert(error),
        }
        self
    }

    fn faulty(mut self, what: &str) -> Self {
        let error = || Error::new(ErrorKind::InvalidConfig, what);
        self.0.fault.get_or_insert_with(error);
        self
    }

    fn with_bootstrap(mut self, bootstrap: Bootstrap) -> Self {
        self.0.client.bootstrap = Arc::new(bootstrap);
        self
    }

    pub(super) fn client(&self) -> &EndpointClient {
        &self.0.client
    }

    /// Names the same keys as this other region does.
    pub(super) fn names_as(&mut self, other: &Self) {
        self.0.shape.digest = other.0.shape.digest.clone();
    }

    /// Whether all that was said of it is valid.
    fn check(&self) -> Result<(), Error> {
        self.0.fault.clone().map_or(Ok(()), Err)
    }

    pub(super) async fn fetch_once(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        self.check()?;
        // A condition is for what reads: who posts, or mints, wants something to be made.
        let is_read = self.0.method == Method::GET && !self.0.mints;
        let validator = known.and_then(CredentialSet::validator).filter(|_| is_read);
        let body = self.0.body.as_ref().map(|body| body.reveal());
        let mut headers = self.0.headers.clone();
        if let Some(body) = body {
            let kind = match body.trim_start().starts_with(['{', '[']) {
                true => "application/json",
                false => "application/x-www-form-urlencoded",
            };
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
        }
        let request = EndpointRequest {
            method: self.0.method.clone(),
            url: &self.0.client.url,
            accept: "application/json",
            validator,
            is_fresh: is_read && known.is_some() && validator.is_none(),
            headers: Some(&headers),
            body: body.map(str::as_bytes),
            timeout: Some(self.0.client.timeout()),
        };
        let mut response = self.0.client.send(&request).await?;
        let status = response.status();
        let head = ResponseHead::read(&std::mem::take(response.headers_mut()));
        match (status, validator) {
            (StatusCode::OK | StatusCode::CREATED, _) => {}
            (StatusCode::NOT_MODIFIED, Some(_)) => return Ok(Fetched::NotModified),
            _ => return Err(self.0.client.refusal(status, &head, false)),
        }
        let body = self.0.client.body(response).await?;
        let now = || Timestamp::from_millisecond(Clock::system().now().wall).unwrap_or_default();
        let set = self.0.shape.set(&body, head.date.unwrap_or_else(now)).map_err(|error| {
            let what =
                format!("{} answered with what is no key: {error}", self.0.client.redacted_url());
            Error::new(error.kind(), what).with_status(status.as_u16())
        })?;
        Ok(Fetched::Set(CredentialSet {
            as_of: head.date,
            validator: head.etag.filter(|_| is_read && !self.0.shape.has_relative_end(&set)),
            ..set
        }))
    }

    #[cfg(feature = "fuzzing")]
    pub(super) fn reads(&self, body: &[u8]) -> bool {
        self.0.shape.set(body, Timestamp::UNIX_EPOCH).is_ok()
    }
}

impl Source for Json {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.fetch_once(known))
    }

    fn mints(&self) -> bool {
        self.0.mints
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.0.client.begin(terms);
        self.check()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Json")
            .field("url", &self.0.client.redacted_url())
            .field("bootstrap", &self.0.client.bootstrap)
            .finish_non_exhaustive()
    }
}
