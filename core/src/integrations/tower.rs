//! For programs whose HTTP client is a stack of `tower` services.
//!
//! # Theory of operation
//!
//! Each request that passes the layer is one [`Attempt`](crate::Attempt): it is sent by the service
//! beneath, again if the attempt says so, and waits as the attempt says. One request is one hop. A layer
//! that follows redirects belongs outside of this one, and its requests are judged by where they go; one
//! beneath would take the credential along, and make its own later hops look like the answer to the first.
//!
//! Where names lead is the connector's: one that sends plain HTTP through a proxy would show it the
//! credential, and one that asks a resolver for `localhost` sends it to wherever that says. For an API on
//! this machine write its address, `http://127.0.0.1:8080`, and use a connector without a proxy.
//!
//! It never sends a credential to an origin that the authorizer does not allow, and never repeats a
//! request for any reason but its credential.

use std::{
    fmt,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, request::Parts, uri::PathAndQuery};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;
use url::{Position, Url};

use super::{Once, Peeked, RequireScopes};
use crate::{
    client::{Authorizer, Step, hop::mask},
    engine::verdict::Failure,
    error::{Error, ErrorKind},
    scheme::Patch,
};

/// The error of an [`Authorize`] service: that of the service beneath, or an [`Error`] of
/// this crate, to which it can be downcast.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Puts credentials on the requests that pass, and gets them through rotations. `B` is the body of the
/// requests.
///
/// ```
/// # async fn example(keys: keyswap::KeySwap) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use keyswap::{Authorizer, Scheme, integrations::tower::AuthorizeLayer};
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// let authorizer = Authorizer::builder(&keys)
///     .scheme(Scheme::header("x-api-key"))
///     .allow_origin("https://api.example.com")?
///     .build()?;
/// let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let mut api = AuthorizeLayer::new(&authorizer).layer(http);
/// # let request = http::Request::new(Full::default());
/// let response = api.call(request).await?;
/// # Ok(()) }
/// ```
#[must_use = "a layer does nothing until it is laid around a service"]
pub struct AuthorizeLayer<B>(Arc<Rules<B>>);

struct Rules<B> {
    authorizer: Authorizer,
    base: Option<Url>,
    deadline: Option<Duration>,
    replay: Asked<B, B>,
    signed: Asked<B, Bytes>,
    made: Option<Arc<dyn Fn(Bytes) -> B + Send + Sync>>,
}

/// What a program says of a body.
type Asked<B, T> = Arc<dyn Fn(&B) -> Option<T> + Send + Sync>;

impl<B: Clone + 'static> AuthorizeLayer<B> {
    /// For bodies that can be sent again as clones.
    pub fn new(authorizer: &Authorizer) -> Self {
        Self::replaying(authorizer, |body: &B| Some(body.clone()))
    }
}

impl<B: 'static> AuthorizeLayer<B> {
    /// For bodies of which some, or all, can be sent only once: `replay` makes a second one, or none. A
    /// request that can be sent only once gets the API's own answer if its credential is rejected.
    ///
    /// ```
    /// # fn example(authorizer: &keyswap::Authorizer) {
    /// use keyswap::integrations::tower::AuthorizeLayer;
    /// let layer = AuthorizeLayer::replaying(authorizer, |_: &reqwest::Body| None);
    /// # }
    /// ```
    pub fn replaying(
        authorizer: &Authorizer,
        replay: impl Fn(&B) -> Option<B> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Rules {
            authorizer: authorizer.clone(),
            base: None,
            deadline: None,
            replay: Arc::new(replay),
            signed: Arc::new(|_| None),
            made: None,
        }))
    }

    /// The origin that requests go to whose URI is a path alone. The URI is sent as it is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it is not a URL with a host.
    pub fn base_url(self, url: &str) -> Result<Self, Error> {
        let base = Url::parse(url).ok().filter(Url::has_host).ok_or_else(|| {
            Error::new(ErrorKind::InvalidConfig, "the base URL is not a whole URL")
        })?;
        Ok(self.change(|rules| rules.base = Some(base)))
    }

    /// How long callers wait at most, where something outside ends a request that takes longer. No
    /// request is sent again after that.
    pub fn deadline(self, deadline: Duration) -> Self {
        self.change(|rules| rules.deadline = Some(deadline))
    }

    /// How a scheme that signs sees the bytes of a body. Without this it sees none.
    pub fn signed_bytes(self, bytes: impl Fn(&B) -> Option<Bytes> + Send + Sync + 'static) -> Self {
        self.change(|rules| rules.signed = Arc::new(bytes))
    }

    /// How a body is made of bytes, for a scheme that sends another body than the caller's: one whose nonce
    /// stands in it.
    pub fn made_of_bytes(self, make: impl Fn(Bytes) -> B + Send + Sync + 'static) -> Self {
        self.change(|rules| rules.made = Some(Arc::new(make)))
    }

    fn change(self, edit: impl FnOnce(&mut Rules<B>)) -> Self {
        let old = &self.0;
        let mut rules = Rules {
            authorizer: old.authorizer.clone(),
            base: old.base.clone(),
            deadline: old.deadline,
            replay: old.replay.clone(),
            signed: old.signed.clone(),
            made: old.made.clone(),
        };
        edit(&mut rules);
        Self(Arc::new(rules))
    }
}

impl<B> Clone for AuthorizeLayer<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> fmt::Debug for AuthorizeLayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeLayer")
            .field("authorizer", &self.0.authorizer)
            .finish_non_exhaustive()
    }
}

impl<S, B> Layer<S> for AuthorizeLayer<B> {
    type Service = Authorize<S, B>;

    fn layer(&self, inner: S) -> Authorize<S, B> {
        Authorize { inner, rules: self.0.clone() }
    }
}

/// What an [`AuthorizeLayer`] makes of a service.
pub struct Authorize<S, B> {
    inner: S,
    rules: Arc<Rules<B>>,
}

impl<S: Clone, B> Clone for Authorize<S, B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), rules: self.rules.clone() }
    }
}

impl<S, B> fmt::Debug for Authorize<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorize")
            .field("authorizer", &self.rules.authorizer)
            .finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for Authorize<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Send + 'static,
    R: Body + Send + 'static,
    R::Error: Send,
{
    type Response = Response<Peeked<R>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready goes along; a clone of it stays here.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        Box::pin(send(self.rules.clone(), inner, request))
    }
}

async fn send<S, B, R>(
    rules: Arc<Rules<B>>,
    mut inner: S,
    request: Request<B>,
) -> Result<Response<Peeked<R>>, BoxError>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: Body,
{
    let url = rules.url(request.uri())?;
    let (head, body) = request.into_parts();
    let once = head.extensions.get::<Once>().is_some();
    let scopes = RequireScopes::of(&head.extensions);
    let mut spare = (rules.replay)(&body).filter(|_| !once);
    let authorizer = &rules.authorizer;
    let mut attempt =
        match authorizer.begin_requiring(scopes, &url, spare.is_some(), rules.deadline) {
            Ok(attempt) => attempt,
            Err(error) if authorizer.lists(&url) => return Err(error.into()),
            // To an origin that it does not know a program may send without a credential.
            Err(_) => {
                let request = Request::from_parts(head, body);
                let response = inner.call(request).await.map_err(Into::into)?;
                return Ok(response.map(Peeked::new));
            }
        };
    let mut unsent = Some(body);
    let mut first = None;
    let mut rejected = false;
    let mut outcome = None;
    loop {
        match attempt.step().clone() {
            Step::Send => {
                let body = match unsent.take() {
                    Some(body) => body,
                    None => {
                        let Some(body) = spare.take() else { break };
                        spare = (rules.replay)(&body);
                        // The service was ready for one request, and that was the first.
                        poll_fn(|context| inner.poll_ready(context)).await.map_err(Into::into)?;
                        body
                    }
                };
                let signed = (rules.signed)(&body);
                rules.authorizer.check_body(signed.is_none())?;
                let patch = attempt.apply(&head.method, &url, &head.headers, signed.as_deref())?;
                if rules.authorizer.yields(&patch, &head.headers)? {
                    let sent = inner.call(Request::from_parts(head, body)).await;
                    return Ok(sent.map_err(Into::into)?.map(Peeked::new));
                }
                let body = rules.body(&patch, body)?;
                let request = Request::from_parts(patched(&head, &url, &patch), body);
                let answer = inner.call(request).await.map_err(Into::into);
                // The first rejection is about the credential that was in use.
                if let Some(before) = outcome.take().filter(|_| rejected && first.is_none()) {
                    first = Some(before);
                }
                outcome = Some(match answer {
                    Ok(response) => {
                        let (mut head, body) = response.into_parts();
                        let mut body = Peeked::new(body);
                        let step = attempt.response(head.status, &head.headers, None).clone();
                        if let Step::NeedBody { max } = step {
                            let seen = body.peek(max).await;
                            attempt.response(head.status, &head.headers, Some(&seen));
                        }
                        mask(&mut head.headers, &url, &patch);
                        Ok(Response::from_parts(head, body))
                    }
                    Err(error) => {
                        attempt.failed(Failure::Other);
                        Err(error)
                    }
                });
                rejected = attempt.is_rejected();
            }
            Step::Wait => drop(attempt.wait().await),
            Step::Fail(error) => return Err(error.into()),
            Step::NeedBody { .. } | Step::Return => break,
        }
    }
    let unsent = || Error::new(ErrorKind::Transport, "the request was not sent");
    let last = outcome.ok_or_else(unsent)?;
    if rejected { first.unwrap_or(last) } else { last }
}

impl<B> Rules<B> {
    /// The body that the patch wants to be sent, or the caller's.
    fn body(&self, patch: &Patch, own: B) -> Result<B, Error> {
        let Some(body) = patch.body() else { return Ok(own) };
        let make = self.made.as_ref().ok_or_else(|| {
            let what = "the scheme sends a body of its own: give the layer .made_of_bytes(...)";
            Error::new(ErrorKind::InvalidConfig, what)
        })?;
        Ok(make(body.clone()))
    }

    /// Where a request goes.
    fn url(&self, uri: &Uri) -> Result<Url, Error> {
        let bad = |what| Error::new(ErrorKind::InvalidConfig, what);
        if uri.scheme().is_some() {
            return Url::parse(&uri.to_string()).map_err(|_| bad("the URI is not a URL"));
        }
        let base = self.base.as_ref().ok_or_else(|| {
            bad("the URI names no origin: use a whole one, or give the layer a .base_url(...)")
        })?;
        let mut url = base.clone();
        url.set_path(uri.path());
        url.set_query(uri.query());
        Ok(url)
    }
}

/// The head of a request with what it is to carry. Its path is sent as the URL has it, so that a
/// signature covers what is sent.
fn patched(head: &Parts, url: &Url, patch: &Patch) -> Parts {
    let mut head = head.clone();
    patch.apply_headers(&mut head.headers);
    let mut url = url.clone();
    patch.apply_query(&mut url);
    let target = &url[Position::BeforePath..Position::AfterQuery];
    if head.uri.path_and_query().is_none_or(|own| own.as_str() != target)
        && let Ok(target) = target.parse::<PathAndQuery>()
    {
        let mut parts = mem::take(&mut head.uri).into_parts();
        parts.path_and_query = Some(target);
        head.uri = Uri::from_parts(parts).unwrap_or_default();
    }
    head
}
