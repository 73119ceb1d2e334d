//! For programs that send with the crate `reqwest-middleware`.
//!
//! # Theory of operation
//!
//! reqwest follows redirects beneath all middleware, and takes custom headers and query parameters along
//! to other origins. So [`client()`] makes the reqwest client itself, with redirects and the Referer off,
//! and the middleware follows redirects, each hop as a request that asks anew what it may carry. What is
//! attached to the builder after it runs within: once for each hop, with the credential on the request.
//!
//! It never sends a credential to an origin that the authorizer does not allow, and never follows a
//! redirect from such an origin back with one. It repeats no request for any reason but its credential:
//! for transient failures of the API attach `reqwest-retry`.

use std::{pin::Pin, time::Duration};

use http::Extensions;
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{ClientBuilder, Error, Next, Result};
use url::Url;

use super::{Peeked, RequireScopes};
use crate::{
    client::{
        Attempt, Authorizer, Failure, Step,
        hop::{Hop, MAX_HOPS, stay_here},
        response::describe,
    },
    error::{self, ErrorKind},
    moment::millis,
    scheme::Patch,
    source::tls_config,
};

/// A client whose requests live through rotations; further middleware can be attached to it.
///
/// `http` is made to follow no redirects (the middleware does, at most ten) and to send no Referer. If
/// plain HTTP is allowed for any origin, it uses no proxy, since a proxy would read the credentials.
/// Default headers of `http` go with every hop, to other origins too: keep secrets out of them.
///
/// A request's own timeout holds for all its sends together. A body that cannot be cloned is sent once.
/// What fails with an error of this crate is a `reqwest_middleware::Error::Middleware` that can be
/// downcast to [`keyswap::Error`](crate::Error).
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] if reqwest cannot make the client.
///
/// ```no_run
/// # async fn example(keys: keyswap::KeySwap) -> Result<(), Box<dyn std::error::Error>> {
/// use keyswap::{Authorizer, Scheme, integrations::reqwest_middleware as keyed};
/// let authorizer = Authorizer::builder(&keys)
///     .scheme(Scheme::header("x-api-key"))
///     .allow_origin("https://api.example.com")?
///     .build()?;
/// let api = keyed::client(&authorizer, keyed::http()?)?.build();
/// let price = api.get("https://api.example.com/v1/price/BTC").send().await?.text().await?;
/// # Ok(()) }
/// ```
pub fn client(
    authorizer: &Authorizer,
    http: reqwest::ClientBuilder,
) -> std::result::Result<ClientBuilder, error::Error> {
    let http = stay_here(http);
    let http = if authorizer.has_plain_http() { http.no_proxy() } else { http };
    let client = http.build().map_err(|error| {
        let what = format!("the HTTP client could not be made: {}", describe(error));
        error::Error::new(ErrorKind::InvalidConfig, what)
    })?;
    Ok(ClientBuilder::new(client).with(authorizing(authorizer.clone())))
}

/// A reqwest builder with the TLS of this crate: for programs that have chosen none. reqwest panics
/// without a TLS provider, and this crate brings one without installing it for the whole process.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] if TLS cannot be set up.
pub fn http() -> std::result::Result<reqwest::ClientBuilder, error::Error> {
    Ok(reqwest::Client::builder().tls_backend_preconfigured(tls_config()?))
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response>> + Send + 'a>>;

/// The middleware. It is not to be had alone: over a reqwest that follows redirects it would leak.
fn authorizing(
    authorizer: Authorizer,
) -> impl for<'a> Fn(Request, &'a mut Extensions, Next<'a>) -> Answer<'a> {
    move |request, extensions, next| {
        let authorizer = authorizer.clone();
        Box::pin(async move {
            Sending::new(&authorizer, request).send(&authorizer, extensions, next).await
        })
    }
}

/// A request with everything that a resend needs.
struct Sending {
    /// The request without its headers, which are those of the hop.
    request: Request,
    headers: http::HeaderMap,
    replayable: bool,
    /// When the time of the request is over, on the boot clock.
    until: Option<u64>,
}

impl Sending {
    fn new(authorizer: &Authorizer, mut request: Request) -> Self {
        let headers = std::mem::take(request.headers_mut());
        let replayable = request.try_clone().is_some();
        let until =
            request.timeout().map(|timeout| authorizer.now().saturating_add(millis(*timeout)));
        Self { request, headers, replayable, until }
    }

    async fn send(
        mut self,
        authorizer: &Authorizer,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let timeout = self.request.timeout().copied();
        let scopes = RequireScopes::of(extensions);
        let url = self.request.url();
        let mut attempt = match authorizer.begin_requiring(scopes, url, self.replayable, timeout) {
            Ok(attempt) => attempt,
            Err(error) if authorizer.lists(url) => return Err(Error::middleware(error)),
            // To an origin that it does not know a program may send without a credential.
            Err(_) => return self.chain(None, authorizer, extensions, &next).await,
        };
        let mut outcome = None;
        loop {
            match attempt.step().clone() {
                Step::Send => {
                    let answer =
                        self.chain(Some(&mut attempt), authorizer, extensions, &next).await;
                    outcome = Some(answer);
                }
                Step::Wait => drop(attempt.wait().await),
                Step::Fail(error) => return Err(Error::middleware(error)),
                Step::NeedBody { .. } | Step::Return => {
                    let unsent =
                        || error::Error::new(ErrorKind::Transport, "the request was not sent");
                    return outcome.unwrap_or_else(|| Err(Error::middleware(unsent())));
                }
            }
        }
    }

    /// One send: all its hops, and the verdict on the last one.
    async fn chain(
        &mut self,
        mut attempt: Option<&mut Attempt>,
        authorizer: &Authorizer,
        extensions: &mut Extensions,
        next: &Next<'_>,
    ) -> Result<Response> {
        let (method, url) = (self.request.method().clone(), self.request.url().clone());
        let mut hop = Hop::first(method, url, self.headers.clone());
        for hops in 0.. {
            let body = self.request.body().filter(|_| !hop.bare).and_then(reqwest::Body::as_bytes);
            let patch = match &mut attempt {
                None => Patch::default(),
                Some(attempt) => attempt
                    .apply(&hop.method, &hop.url, &hop.headers, body)
                    .map_err(Error::middleware)?,
            };
            let request = self.request(&hop, &patch, authorizer);
            let response = match next.clone().run(request, extensions).await {
                Ok(response) => response,
                Err(error) => {
                    if let Some(attempt) = &mut attempt {
                        attempt.failed(failure(&error));
                    }
                    return Err(without_key(error, hop.url));
                }
            };
            if hops < MAX_HOPS
                && let Some(next) =
                    hop.follow(response.status(), response.headers(), &patch, self.replayable)
            {
                hop = next;
                continue;
            }
            return Ok(judge(attempt, response, hop.url).await);
        }
        unreachable!("the loop ends at the first response that is not followed")
    }

    fn request(&mut self, hop: &Hop, patch: &Patch, authorizer: &Authorizer) -> Request {
        let mut url = hop.url.clone();
        patch.apply_query(&mut url);
        let mut request = match self.replayable {
            true => self.request.try_clone(),
            false => {
                let bare = Request::new(self.request.method().clone(), self.request.url().clone());
                Some(std::mem::replace(&mut self.request, bare))
            }
        }
        .unwrap_or_else(|| Request::new(hop.method.clone(), url.clone()));
        *request.method_mut() = hop.method.clone();
        *request.url_mut() = url;
        *request.headers_mut() = hop.headers.clone();
        patch.apply_headers(request.headers_mut());
        *request.timeout_mut() =
            self.until.map(|until| Duration::from_millis(until.saturating_sub(authorizer.now())));
        if hop.bare {
            *request.body_mut() = None;
        }
        request
    }
}

/// Shows the response to the attempt, and gives it back as it came, with the URL as the program gave it.
async fn judge(attempt: Option<&mut Attempt>, response: Response, url: Url) -> Response {
    let step = attempt.map(|attempt| {
        let step = attempt.response(response.status(), response.headers(), None).clone();
        (attempt, step)
    });
    let needed = match step {
        Some((attempt, Step::NeedBody { max })) => Some((attempt, max)),
        _ if *response.url() == url => return response,
        _ => None,
    };
    let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    let mut body = Peeked::new(body);
    if let Some((attempt, max)) = needed {
        let seen = body.peek(max).await;
        attempt.response(parts.status, &parts.headers, Some(&seen));
    }
    let mut response = http::Response::new(reqwest::Body::wrap(body));
    *response.status_mut() = parts.status;
    *response.version_mut() = parts.version;
    *response.headers_mut() = parts.headers;
    // reqwest takes the URL of such a response from an extension that only its own builder can make.
    let mut extensions = match http::response::Builder::new().url(url).body(()) {
        Ok(carrier) => carrier.into_parts().0.extensions,
        Err(_) => Extensions::new(),
    };
    extensions.extend(parts.extensions);
    *response.extensions_mut() = extensions;
    response.into()
}

fn failure(error: &Error) -> Failure {
    match () {
        () if error.is_connect() => Failure::Connect,
        () if error.is_timeout() => Failure::Timeout,
        () => Failure::Other,
    }
}

/// The URL that was sent may hold the key; an error names the one that the program gave.
fn without_key(error: Error, url: Url) -> Error {
    if error.url().is_some() { error.with_url(url) } else { error }
}
