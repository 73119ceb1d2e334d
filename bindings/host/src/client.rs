//! The HTTP client: requests are sent, through any rotation, by the core.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyswap::Error;

use crate::{
    authorizer::Foreign,
    body::{Body, Reply},
    error::invalid,
    keys::Keys,
    options::{AuthorizerOptions, ClientOptions},
    source::seconds,
    text::method_of,
};

/// Bytes of a rejection that an adapter reads to keep its connection: less costly than to open another.
pub const SMALL: usize = 64 * 1024;
/// How long that may take.
pub const BRIEF: Duration = Duration::from_millis(100);
/// How long a request may take unless the options say otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends requests with credentials. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inner: keyswap::Client,
    timeout: Option<Duration>,
}

/// A request to be sent.
#[derive(Debug, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The URL, or a path below the base.
    pub url: String,
    /// Parameters that are added to the query.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: RequestBody,
    /// How long it may take until the head of its response is there, and then each part of the body, in seconds: the
    /// client's own limit, unless this is given.
    pub timeout: Option<f64>,
    /// That there is no such limit.
    pub no_timeout: bool,
    /// The name of further keys to send it with.
    pub keys: Option<String>,
    /// What the credential must be good for.
    pub scopes: Vec<String>,
    /// That it is sent once.
    pub no_resend: bool,
}

/// The body of a request.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// None.
    #[default]
    None,
    /// Bytes, which can be sent again.
    Whole(Bytes),
    /// A stream, which can be sent once.
    Stream(Body),
}

impl Client {
    /// A client, with further keys for requests that name them. It is made within a runtime.
    ///
    /// # Errors
    /// `invalid_config` and `insecure_url`.
    pub fn new(
        keys: &Keys,
        authorizer: &AuthorizerOptions,
        options: &ClientOptions,
        named: &[(String, Keys)],
        foreign: &Foreign,
    ) -> Result<Self, Error> {
        // Each request is told the limit that holds for it.
        let mut builder = keyswap::Client::builder(keys.core())
            .default_headers(headers(&options.headers)?)
            .no_timeout();
        if let Some(retries) = options.retries {
            builder = builder.retries(retries);
        }
        if let Some(redirects) = options.max_redirects {
            builder = builder.redirects(redirects);
        }
        if authorizer.plain_http_allowed {
            builder = builder.plain_http_allowed();
        }
        if authorizer.own_header_wins {
            builder = builder.own_header_wins();
        }
        if let Some(base) = &options.base_url {
            builder = builder.base_url(base)?;
        }
        for origin in &authorizer.allowed_origins {
            builder = builder.allow_origin(origin)?;
        }
        if let Some(scheme) = foreign.scheme(authorizer)? {
            builder = builder.scheme(scheme);
        }
        if let Some(judge) = foreign.judge(authorizer) {
            builder = builder.classifier(judge);
        }
        for (name, keys) in named {
            builder = builder.named(name, keys.core());
        }
        let timeout = limit(options.timeout, options.no_timeout, Some(TIMEOUT))?;
        Ok(Self { inner: builder.build()?, timeout })
    }

    /// Sends a request; its answer is there once its head is.
    ///
    /// # Errors
    /// What is wrong with the request, at once. Later, why no credential is usable, or that no response came.
    pub fn send(
        &self,
        request: Request,
    ) -> Result<impl Future<Output = Result<Reply, Error>> + Send + 'static + use<>, Error> {
        let timeout = limit(request.timeout, request.no_timeout, self.timeout)?;
        let mut made = self.inner.request(method_of(&request.method)?, &request.url);
        made = made.scopes(request.scopes);
        if !request.query.is_empty() {
            made = made.query(request.query);
        }
        for (name, value) in &request.headers {
            made = made.header(name, value);
        }
        if let Some(timeout) = timeout {
            made = made.timeout(timeout);
        }
        if request.no_resend {
            made = made.no_resend();
        }
        if let Some(keys) = &request.keys {
            made = made.keys(keys);
        }
        made = match request.body {
            RequestBody::None => made,
            RequestBody::Whole(bytes) => made.body(bytes),
            RequestBody::Stream(body) => made.body_stream(body.stream()?),
        };
        Ok(async move { made.send().await.map(|response| Reply::new(response, timeout)) })
    }
}

fn limit(
    timeout: Option<f64>,
    none: bool,
    otherwise: Option<Duration>,
) -> Result<Option<Duration>, Error> {
    Ok(match (seconds(timeout, "the timeout")?, none) {
        (_, true) => None,
        (Some(timeout), false) => Some(timeout),
        (None, false) => otherwise,
    })
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let header: HeaderName =
            name.parse().map_err(|_| invalid(format!("not a header name: {name:?}")))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| invalid(format!("not a header value: that of {name:?}")))?;
        headers.append(header, value);
    }
    Ok(headers)
}
