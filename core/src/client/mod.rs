//! An HTTP client whose requests live through rotations.
//!
//! # Theory of operation
//!
//! A request is a chain of hops, because redirects are followed here and not by reqwest. Each hop asks an
//! [`Attempt`] of its own what to do and does it: send, wait, return. A hop to an origin that is not allowed
//! carries nothing, and what a hop was answered is never sent again. The API's own passing failures are
//! retried within a hop, with a budget that all requests share.
//!
//! It never decides about credentials, never sends one anywhere else, and returns the API's own
//! response, untouched, when all is in vain.

mod attempt;
mod authorizer;
mod chain;
pub(crate) mod hop;
pub(crate) mod origin;
mod request;
pub(crate) mod response;
mod spilled;
pub(crate) mod status;

/// What a library that follows redirects itself has to ask at each of them.
///
/// ```
/// use http::{Method, StatusCode};
/// use keyswap::{Patch, redirect::Asked};
/// let url = "https://api.example.com/v1/orders".parse().unwrap();
/// let patch = Patch::default();
/// let asked = Asked::new(&Method::POST, &url, &patch, true);
/// let next = asked.follow(StatusCode::SEE_OTHER, "/v1/orders/7").unwrap();
/// assert_eq!((next.method, next.url.path(), next.drops_body), (Method::GET, "/v1/orders/7", true));
/// ```
pub mod redirect {
    pub use super::hop::{Asked, MAX_HOPS, Next, masked};
}

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Method};
use url::Url;

pub use attempt::{Attempt, Step};
pub use authorizer::{Authorizer, AuthorizerBuilder};
pub use request::RequestBuilder;
pub use response::Response;

use self::{chain::Chain, hop::MAX_HOPS, origin::shown, request::Request, response::describe};
use crate::{
    engine::{retry::RetryRule, verdict::Classifier},
    error::{Error, ErrorKind},
    keyswap::KeySwap,
    net::{on_this_machine, tls_config},
    scheme::Scheme,
};

/// An HTTP client around a [`KeySwap`]. Cheap to clone; clones share connections.
///
/// ```no_run
/// # async fn example(keys: keyswap::KeySwap) -> Result<(), keyswap::Error> {
/// use keyswap::{Client, Scheme};
/// let api = Client::builder(&keys)
///     .base_url("https://api.example.com")?
///     .scheme(Scheme::header("x-api-key"))
///     .build()?;
/// let price = api.get("/v1/price/BTC").send().await?.error_for_status()?.text().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    base: Option<Url>,
    authorizer: Authorizer,
    named: BTreeMap<Box<str>, Authorizer>,
    /// For this machine: on loopback addresses, and never through a proxy.
    direct: reqwest::Client,
    outer: reqwest::Client,
    headers: HeaderMap,
    timeout: Option<Duration>,
    redirects: u32,
    retry: RetryRule,
}

impl Client {
    /// A client for these keys.
    pub fn builder(keys: &KeySwap) -> ClientBuilder {
        ClientBuilder {
            authorizer: Authorizer::builder(keys),
            named: Vec::new(),
            base: None,
            http: None,
            headers: HeaderMap::new(),
            timeout: Some(Duration::from_secs(30)),
            redirects: MAX_HOPS,
            retries: 2,
        }
    }

    /// A GET request. The path is added to the base URL; a whole URL stands for itself.
    pub fn get(&self, url: &str) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A POST request.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A PUT request.
    pub fn put(&self, url: &str) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A PATCH request.
    pub fn patch(&self, url: &str) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: &str) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A HEAD request.
    pub fn head(&self, url: &str) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A request of any method.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, self.resolve(url))
    }

    /// What puts the credentials on, for requests that another library is to send.
    pub fn authorizer(&self) -> &Authorizer {
        &self.0.authorizer
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.0.timeout
    }

    pub(crate) async fn execute(&self, request: &mut Request) -> Result<Response, Error> {
        let authorizer = match &request.keys {
            None => &self.0.authorizer,
            Some(name) => self.0.named.get(name).ok_or_else(|| {
                let what = format!(
                    "the client has no keys named {name:?}: add them with the option `named`"
                );
                Error::new(ErrorKind::InvalidConfig, what)
            })?,
        };
        Chain::run(&self.0, authorizer, request).await
    }

    fn resolve(&self, url: &str) -> Result<Url, Error> {
        let bad = |what: String| Error::new(ErrorKind::InvalidConfig, what);
        if let Some(base) = self.0.base.as_ref().filter(|_| !url.contains("://")) {
            return add_path(base, url)
                .map_err(|error| bad(format!("not a path to add to the base URL: {error}")));
        }
        match Url::parse(url) {
            Ok(url) if url.has_host() => Ok(url),
            _ => Err(bad("not a whole URL, nor a path with a base_url to add it to".into())),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base_url", &self.0.base.as_ref().map(shown))
            .field("keys", self.0.authorizer.keys())
            .finish_non_exhaustive()
    }
}

/// The base URL with a path added to its own.
fn add_path(base: &Url, path: &str) -> Result<Url, url::ParseError> {
    // An ordinary path is read beside the base, whose host then is not parsed again. What could be taken
    // for another host, also after a parser has dropped or turned around some letters, is no such path.
    let is_plain = || path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if base[url::Position::BeforePath..] == *"/"
        && path.starts_with('/')
        && !path.starts_with("//")
        && is_plain()
    {
        return base.join(path);
    }
    let mut whole = base.as_str().trim_end_matches('/').to_owned();
    if !path.starts_with(['/', '?']) {
        whole.push('/');
    }
    whole.push_str(path);
    Url::parse(&whole)
}

/// Configures a [`Client`].
#[must_use = "it does nothing until it is built"]
pub struct ClientBuilder {
    authorizer: AuthorizerBuilder,
    named: Vec<(Box<str>, KeySwap)>,
    base: Option<Url>,
    http: Option<Box<dyn Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder>>,
    headers: HeaderMap,
    timeout: Option<Duration>,
    redirects: u32,
    retries: u32,
}

impl ClientBuilder {
    /// The URL that paths are added to, and the first allowed origin.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it is not a URL, [`ErrorKind::InsecureUrl`] if it is plain HTTP
    /// to another machine.
    pub fn base_url(mut self, url: &str) -> Result<Self, Error> {
        self.base = Some(self.authorizer.add_origin(url)?);
        Ok(self)
    }

    /// One more origin that these keys may be sent to.
    ///
    /// # Errors
    /// As [`base_url`](Self::base_url).
    pub fn allow_origin(mut self, url: &str) -> Result<Self, Error> {
        self.authorizer.add_origin(url)?;
        Ok(self)
    }

    /// Allows plain HTTP to other machines, for URLs that are added after this. Credentials will be
    /// readable on the way.
    pub fn plain_http_allowed(mut self) -> Self {
        self.authorizer = self.authorizer.plain_http_allowed();
        self
    }

    /// How credentials go onto requests; without one, as the set says.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.authorizer = self.authorizer.scheme(scheme);
        self
    }

    /// What responses say of the credential; without one, 401 is a rejection.
    pub fn classifier(mut self, classifier: impl Classifier) -> Self {
        self.authorizer = self.authorizer.classifier(classifier);
        self
    }

    /// The scheme and the classifier of an API that is built in.
    #[cfg(feature = "signing")]
    pub fn api(mut self, api: crate::signing::Api) -> Self {
        self.authorizer = self.authorizer.api(api);
        self
    }

    /// A request that brings the header in which keys are sent, its own `Authorization` for one, goes out
    /// as its caller made it: with no key of these, and as no evidence about them. Without this, such a
    /// request is an error.
    pub fn own_header_wins(mut self) -> Self {
        self.authorizer = self.authorizer.own_header_wins();
        self
    }

    /// Further keys, for requests that name them with [`RequestBuilder::keys`].
    pub fn named(mut self, name: &str, keys: &KeySwap) -> Self {
        self.named.push((name.into(), keys.clone()));
        self
    }

    /// A header that every request carries unless it sets its own.
    pub fn default_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// How long a request may take until the head of its response is there, with all resends: 30 s
    /// unless changed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// No such limit.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// How many redirects a request follows: 10 unless changed.
    pub fn redirects(mut self, limit: u32) -> Self {
        self.redirects = limit;
        self
    }

    /// Redirects are returned, not followed.
    pub fn no_redirects(self) -> Self {
        self.redirects(0)
    }

    /// How often 429, 502, 503, 504 and failed connections are retried, within a budget: twice unless
    /// changed. A wait that would outlast the policy's `retry_after_max` or the request's timeout is not
    /// begun: the API's answer is returned. Each hop of a request is sent four times at most in all.
    pub fn retries(mut self, limit: u32) -> Self {
        self.retries = limit;
        self
    }

    /// Such failures are returned, not retried.
    pub fn no_retries(self) -> Self {
        self.retries(0)
    }

    /// Changes the settings of the connections: proxies, timeouts, certificates. Redirects and the
    /// Referer header stay with this client. It is called once for this machine and once for all
    /// others.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn example(keys: &keyswap::KeySwap) {
    /// keyswap::Client::builder(keys).http(|http| http.connect_timeout(Duration::from_secs(3)));
    /// # }
    /// ```
    pub fn http(
        mut self,
        change: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + 'static,
    ) -> Self {
        self.http = Some(Box::new(change));
        self
    }

    /// Checks everything together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`], saying what is missing or not valid.
    pub fn build(self) -> Result<Client, Error> {
        let tls = tls_config()?;
        let build = |direct: bool| {
            let builder = reqwest::Client::builder().tls_backend_preconfigured(tls.clone());
            let builder = match &self.http {
                Some(change) => change(builder),
                None => builder,
            };
            let builder = if direct { on_this_machine(builder) } else { builder };
            hop::stay_here(builder).build().map_err(|error| {
                let what = format!("the HTTP client could not be made: {}", describe(error));
                Error::new(ErrorKind::InvalidConfig, what)
            })
        };
        let authorizer = self.authorizer.build()?;
        let retry = RetryRule::new(self.retries, authorizer.policy());
        let named = self.named.into_iter().map(|(name, keys)| (name, authorizer.with_keys(keys)));
        Ok(Client(Arc::new(Inner {
            base: self.base,
            named: named.collect(),
            authorizer,
            direct: build(true)?,
            outer: build(false)?,
            headers: self.headers,
            timeout: self.timeout,
            redirects: self.redirects,
            retry,
        })))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("authorizer", &self.authorizer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{origin::is_same_origin, *};

    #[test]
    fn a_path_never_leaves_the_base() {
        let plain = ["/v1/price?x=1#a", "/", "/a/../b", "/a%2fb", "/v1//x", "?q=1", "v1", ""];
        let odd =
            ["//evil.example.com/x", "/\t/evil.example.com", "/\\evil.example.com", "\\\\e", "/é"];
        for base in ["https://api.example.com", "https://api.example.com/v1/", "http://[::1]:8080"]
        {
            let base = Url::parse(base).expect("a URL");
            for path in plain.iter().chain(&odd) {
                let url = add_path(&base, path).expect(path);
                assert!(is_same_origin(&url, &base), "{path}: {url}");
                let slash = if path.starts_with(['/', '?']) { "" } else { "/" };
                let whole = format!("{}{slash}{path}", base.as_str().trim_end_matches('/'));
                assert_eq!(url, Url::parse(&whole).expect("a URL"), "{path}");
            }
        }
    }
}
