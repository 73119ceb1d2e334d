//! For programs that send with the crate `reqwest-middleware`.
//!
//! # Theory of operation
//!
//! reqwest follows redirects beneath all middleware, and takes custom headers and query parameters along
//! to other origins. So [`client()`] makes the reqwest client itself, with redirects and the Referer off,
//! and the middleware follows redirects, each hop as a request that asks anew what it may carry. What is
//! attached to the builder after it runs within: once for each hop, with the credential on the request.
//!
//! Each hop is an [`Attempt`] of its own, so that what was answered is never sent again, whatever happens
//! behind it. It never sends a credential to an origin that the authorizer does not allow, and never follows
//! a redirect from such an origin back with one. It repeats no request for any reason but its credential:
//! for transient failures of the API attach `reqwest-retry`.

use std::{pin::Pin, time::Duration};

use http::Extensions;
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{ClientBuilder, Error, Next, Result};
use url::Url;

use super::{Once, Peeked, RequireScopes};
use crate::{
    client::{
        Attempt, Authorizer, Step,
        hop::{Hop, MAX_HOPS, stay_here},
        response::describe,
    },
    engine::verdict::Failure,
    error::{self, ErrorKind},
    moment::millis,
    net::{pin_localhost, tls_config},
    scheme::Patch,
};

/// A client whose requests live through rotations; further middleware can be attached to it.
///
/// `http` is made to follow no redirects (the middleware does, at most ten) and to send no Referer. If
/// plain HTTP is allowed for any origin, it uses no proxy, since a proxy would read the credentials. The name
/// `localhost` means this machine, whatever a resolver says.
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
    let http = pin_localhost(stay_here(http));
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

/// What a send brought, and what it carried.
struct Sent {
    outcome: Result<Response>,
    patch: Patch,
    rejected: bool,
    /// Whether the caller's own header took the credential's place.
    yields: bool,
}

/// What a hop was answered, and what it carried.
struct Landed {
    response: Response,
    patch: Patch,
    rejected: bool,
}

impl Sent {
    fn answer(self) -> Result<Landed> {
        let Self { outcome, patch, rejected, .. } = self;
        outcome.map(|response| Landed { response, patch, rejected })
    }
}

impl Sending {
    fn new(authorizer: &Authorizer, mut request: Request) -> Self {
        let headers = std::mem::take(request.headers_mut());
        let replayable = request.try_clone().is_some();
        let until =
            request.timeout().map(|timeout| authorizer.now().saturating_add(millis(*timeout)));
        Self { request, headers, replayable, until }
    }

    /// The chain of hops. What a hop was answered is not sent again, whatever happens behind it; and once
    /// the chain has left the allowed origins, no hop carries a credential any more.
    async fn send(
        mut self,
        authorizer: &Authorizer,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let scopes = RequireScopes::of(extensions).to_vec();
        let (method, url) = (self.request.method().clone(), self.request.url().clone());
        let mut hop = Hop::first(method, url.into(), std::mem::take(&mut self.headers));
        let once = extensions.get::<Once>().is_some();
        let mut is_keyed = true;
        for hops in 0.. {
            let replayable = (hop.bare || self.replayable) && !once;
            let left = self.left(authorizer);
            let begin = || authorizer.begin_requiring(&scopes, &hop.url, replayable, left);
            let attempt = match is_keyed.then(begin).transpose() {
                // To an origin that it does not know a program may send without a credential; not to one of
                // its own that the set rules out.
                Err(error) if hops == 0 && authorizer.lists(&hop.url) => {
                    return Err(Error::middleware(error));
                }
                attempt => attempt.ok().flatten(),
            };
            is_keyed = attempt.is_some();
            let Landed { mut response, patch, rejected } =
                self.hop(&hop, attempt, authorizer, extensions, &next).await?;
            let private = authorizer.header_name();
            // A redirect that the classifier calls a rejection, to a login page, is the answer.
            if hops < MAX_HOPS
                && !rejected
                && let Some(next) = hop.follow(
                    response.status(),
                    response.headers(),
                    &patch,
                    private.as_ref(),
                    self.replayable,
                )
            {
                hop = next;
                continue;
            }
            hop.mask(response.headers_mut(), &patch);
            return Ok(response);
        }
        unreachable!("the loop ends at the first response that is not followed")
    }

    /// All sends of one hop.
    async fn hop(
        &mut self,
        hop: &Hop,
        attempt: Option<Attempt>,
        authorizer: &Authorizer,
        extensions: &mut Extensions,
        next: &Next<'_>,
    ) -> Result<Landed> {
        let Some(mut attempt) = attempt else {
            let sent = self.send_once(hop, None, authorizer, extensions, next).await?;
            return sent.answer();
        };
        let mut first = None;
        let mut last: Option<Sent> = None;
        loop {
            match attempt.step().clone() {
                Step::Send => {
                    let sent =
                        self.send_once(hop, Some(&mut attempt), authorizer, extensions, next);
                    let sent = sent.await?;
                    if sent.yields {
                        return sent.answer();
                    }
                    // The first rejection is about the credential that was in use.
                    let before = last.replace(sent).filter(|before| before.rejected);
                    first = first.or(before);
                }
                Step::Wait => drop(attempt.wait().await),
                Step::Fail(error) => return Err(Error::middleware(error)),
                Step::NeedBody { .. } | Step::Return => break,
            }
        }
        let unsent = || error::Error::new(ErrorKind::Transport, "the request was not sent");
        let last = last.ok_or_else(|| Error::middleware(unsent()))?;
        if last.rejected { first.unwrap_or(last) } else { last }.answer()
    }

    /// One send, and its verdict. The outer error is final; the inner one is a transport's.
    async fn send_once(
        &mut self,
        hop: &Hop,
        mut attempt: Option<&mut Attempt>,
        authorizer: &Authorizer,
        extensions: &mut Extensions,
        next: &Next<'_>,
    ) -> Result<Sent> {
        let body = self.request.body().filter(|_| !hop.bare).and_then(reqwest::Body::as_bytes);
        if attempt.is_some() {
            let is_stream = body.is_none() && !hop.bare && self.request.body().is_some();
            authorizer.check_body(is_stream).map_err(Error::middleware)?;
        }
        let patch = match &mut attempt {
            None => Patch::default(),
            Some(attempt) => attempt
                .apply(&hop.method, &hop.url, &hop.headers, body)
                .map_err(Error::middleware)?,
        };
        let yields = authorizer.yields(&patch, &hop.headers).map_err(Error::middleware)?;
        let request = self.request(hop, if yields { None } else { Some(&patch) }, authorizer);
        let mut attempt = attempt.filter(|_| !yields);
        let outcome = match next.clone().run(request, extensions).await {
            Ok(response) => Ok(judge(attempt.as_deref_mut(), response, Url::clone(&hop.url)).await),
            Err(error) => {
                if let Some(attempt) = &mut attempt {
                    attempt.failed(failure(&error));
                }
                Err(without_key(error, hop))
            }
        };
        let rejected = attempt.is_some_and(|attempt| attempt.is_rejected());
        Ok(Sent { outcome, patch, rejected, yields })
    }

    fn request(&mut self, hop: &Hop, patch: Option<&Patch>, authorizer: &Authorizer) -> Request {
        let mut url = Url::clone(&hop.url);
        if let Some(patch) = patch {
            patch.apply_query(&mut url);
        }
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
        if let Some(patch) = patch {
            patch.apply_headers(request.headers_mut());
        }
        *request.timeout_mut() = self.left(authorizer);
        if hop.bare {
            *request.body_mut() = None;
        }
        if let Some(body) = patch.and_then(Patch::body) {
            *request.body_mut() = Some(body.clone().into());
        }
        request
    }

    /// How much of the request's time is left, if that is limited.
    fn left(&self, authorizer: &Authorizer) -> Option<Duration> {
        let until = self.until?;
        Some(Duration::from_millis(until.saturating_sub(authorizer.now())))
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

/// The URL that was sent may hold the key; an error names the one that the program gave, and of one that a
/// server gave only the origin.
fn without_key(error: Error, hop: &Hop) -> Error {
    if error.url().is_none() {
        return error;
    }
    let origin = || hop.url.origin().ascii_serialization().parse().ok();
    match if hop.written { Some(Url::clone(&hop.url)) } else { origin() } {
        Some(url) => error.with_url(url),
        None => error.without_url(),
    }
}
