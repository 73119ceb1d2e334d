//! The HTTP client: requests are sent, through any rotation, by the core.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use keyswap::{Error, ErrorKind};
use napi::{
    Env,
    bindgen_prelude::{Function as JsFunction, *},
};
use napi_derive::napi;
use tokio::sync::mpsc;

use crate::{
    attempt::method_of,
    authorizer::AuthorizerSpec,
    errors::{Thrown, invalid, raise, thrown},
    function::Answer,
    keys::{NativeKeySwap, limit, within},
    runtime::{self, Job, promise},
    scheme::pairs,
};

/// What a client has beside what an authorizer has.
#[napi(object)]
pub struct ClientSpec {
    /// What paths are added to.
    pub base_url: Option<String>,
    /// On every request, by turns.
    pub headers: Vec<String>,
    /// Of the API's own failures.
    pub retries: u32,
    /// The most hops.
    pub redirects: u32,
}

/// A request as JavaScript hands it over.
#[napi(object)]
pub struct Order {
    /// The method.
    pub method: String,
    /// The URL, or a path below the base.
    pub url: String,
    /// By turns.
    pub headers: Vec<String>,
    /// In milliseconds.
    pub timeout: Option<f64>,
    /// The name of further keys.
    pub keys: Option<String>,
    /// What the credential must be good for.
    pub scopes: Vec<String>,
    /// False to be sent once.
    pub resend: bool,
}

/// Sends requests with credentials.
#[napi]
pub struct NativeClient(keyswap::Client);

#[napi]
impl NativeClient {
    /// `classifier` is asked on the thread that it belongs to.
    #[napi(constructor)]
    pub fn new(
        keys: &NativeKeySwap,
        authorizer: AuthorizerSpec,
        spec: ClientSpec,
        names: Vec<String>,
        named: Vec<ClassInstance<'_, NativeKeySwap>>,
        classifier: Option<JsFunction<'_, Answer, ()>>,
    ) -> Result<Self> {
        let raised = |error: Error| raise(&error);
        // The client of HTTP wants to be made where its runtime is.
        let _entered = runtime::handle()?;
        let _entered = _entered.enter();
        let mut builder = keyswap::Client::builder(&keys.keys)
            .retries(spec.retries)
            .redirects(spec.redirects)
            .no_timeout();
        let mut headers = http::HeaderMap::new();
        for turn in spec.headers.chunks_exact(2) {
            let (name, value) = header(turn)?;
            headers.append(name, value);
        }
        builder = builder.default_headers(headers);
        if authorizer.plain_http_allowed == Some(true) {
            builder = builder.plain_http_allowed();
        }
        if authorizer.own_header_wins == Some(true) {
            builder = builder.own_header_wins();
        }
        if let Some(base) = &spec.base_url {
            builder = builder.base_url(base).map_err(raised)?;
        }
        for origin in &authorizer.allowed_origins {
            builder = builder.allow_origin(origin).map_err(raised)?;
        }
        if let Some(scheme) = &authorizer.scheme {
            builder = builder.scheme(scheme.make()?);
        }
        if let Some(judge) = authorizer.judge(classifier.as_ref())? {
            builder = builder.classifier(judge);
        }
        for (name, keys) in names.iter().zip(&named) {
            builder = builder.named(name, &keys.keys);
        }
        builder.build().map(Self).map_err(raised)
    }

    /// Sends a request; settles with its response, once the head is there. A body is whole, or a stream.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn send<'env>(
        &self,
        env: &'env Env,
        order: Order,
        whole: Option<Uint8Array>,
        stream: Option<&Body>,
        job: &Job,
    ) -> Result<Object<'env>> {
        let method = method_of(&order.method)?;
        let timeout = limit(order.timeout)?;
        let mut request = self.0.request(method, &order.url).scopes(order.scopes);
        for turn in order.headers.chunks_exact(2) {
            request = request.header(&turn[0], &turn[1]);
        }
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        if !order.resend {
            request = request.no_resend();
        }
        if let Some(keys) = &order.keys {
            request = request.keys(keys);
        }
        if let Some(body) = whole {
            request = request.body(Bytes::copy_from_slice(&body));
        } else if let Some(body) = stream {
            request = request.body_stream(body.stream()?);
        }
        let work =
            async move { request.send().await.map(|response| Reply::new(response, timeout)) };
        promise(env, Some(job), work, |_, reply| Ok(reply))
    }
}

fn header(turn: &[String]) -> Result<(HeaderName, HeaderValue)> {
    let name = turn[0].parse().map_err(|_| invalid(format!("not a header name: {:?}", turn[0])))?;
    let value = HeaderValue::from_str(&turn[1])
        .map_err(|_| invalid(format!("not a header value: that of {:?}", turn[0])))?;
    Ok((name, value))
}

/// What the API answered; its body is on its way.
#[napi]
pub struct Reply {
    status: u16,
    headers: Vec<String>,
    url: String,
    error: Option<Error>,
    cause: Option<Error>,
    timeout: Option<Duration>,
    /// While nobody reads from it.
    body: Arc<Mutex<Option<keyswap::Response>>>,
}

impl Reply {
    fn new(response: keyswap::Response, timeout: Option<Duration>) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: pairs(response.headers()),
            url: response.url().to_string(),
            error: response.status_error(),
            cause: response.cause().cloned(),
            timeout,
            body: Arc::new(Mutex::new(Some(response))),
        }
    }
}

#[napi]
impl Reply {
    /// The HTTP status.
    #[napi(getter)]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// By turns.
    #[napi(getter)]
    pub fn headers(&self) -> Vec<String> {
        self.headers.clone()
    }

    /// After redirects, and without what a scheme added.
    #[napi(getter)]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The error that a status of 400 or more is.
    #[napi(getter)]
    pub fn error(&self) -> Option<Thrown> {
        self.error.as_ref().map(thrown)
    }

    /// Why a wait for a fresh credential brought nothing.
    #[napi(getter)]
    pub fn cause(&self) -> Option<Thrown> {
        self.cause.as_ref().map(thrown)
    }

    /// The next part of the body; nothing at its end.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn next<'env>(&self, env: &'env Env, job: &Job) -> Result<Object<'env>> {
        let (body, timeout) = (self.body.clone(), self.timeout);
        let work = async move {
            // Taken out while it is read: a reader that gives up closes the connection.
            let taken = lock(&body).take();
            let Some(mut response) = taken else { return Ok(None) };
            let chunk = within(timeout, response.chunk()).await?;
            if chunk.is_some() {
                *lock(&body) = Some(response);
            }
            Ok(chunk)
        };
        promise(
            env,
            Some(job),
            work,
            |_, chunk| Ok(chunk.map(|chunk| Buffer::from(chunk.to_vec()))),
        )
    }

    /// The rest of the body.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn rest<'env>(&self, env: &'env Env, job: &Job) -> Result<Object<'env>> {
        let (body, timeout) = (self.body.clone(), self.timeout);
        let work = async move {
            let mut whole = Vec::new();
            let taken = lock(&body).take();
            if let Some(mut response) = taken {
                while let Some(chunk) = within(timeout, response.chunk()).await? {
                    whole.extend_from_slice(&chunk);
                }
            }
            Ok(whole)
        };
        promise(env, Some(job), work, |_, whole: Vec<u8>| Ok(Buffer::from(whole)))
    }

    /// Leaves the rest of the body unread.
    #[napi]
    pub fn close(&self) {
        lock(&self.body).take();
    }
}

type Part = std::result::Result<Bytes, Error>;

/// A body that is sent as it comes, once. Unless it is closed as whole it breaks the request: half a body
/// must not be taken for a whole one.
#[napi]
pub struct Body {
    parts: Mutex<Option<mpsc::Sender<Bytes>>>,
    taken: Mutex<Option<mpsc::Receiver<Bytes>>>,
    is_whole: Arc<AtomicBool>,
}

impl Body {
    fn stream(&self) -> Result<impl futures_util::Stream<Item = Part> + Send + 'static> {
        let parts = lock(&self.taken).take();
        let parts = parts.ok_or_else(|| invalid("a stream is sent only once"))?;
        let is_whole = self.is_whole.clone();
        Ok(futures_util::stream::unfold(Some(parts), move |parts| {
            let is_whole = is_whole.clone();
            async move {
                let mut parts = parts?;
                match parts.recv().await {
                    Some(part) => Some((Ok(part), Some(parts))),
                    None if is_whole.load(Ordering::Acquire) => None,
                    None => {
                        let what = "the body broke off";
                        Some((Err(Error::new(ErrorKind::Transport, what)), None))
                    }
                }
            }
        }))
    }
}

#[napi]
impl Body {
    /// A body to come.
    #[napi(constructor)]
    #[allow(clippy::new_without_default, reason = "it is made by JavaScript")]
    pub fn new() -> Self {
        let (parts, taken) = mpsc::channel(1);
        Self {
            parts: Mutex::new(Some(parts)),
            taken: Mutex::new(Some(taken)),
            is_whole: Arc::default(),
        }
    }

    /// Hands over one part, once there is room. Settles with false if nobody wants more.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn send<'env>(&self, env: &'env Env, part: Uint8Array) -> Result<Object<'env>> {
        let (parts, part) = (lock(&self.parts).clone(), Bytes::copy_from_slice(&part));
        let work = async move {
            match parts {
                Some(parts) => Ok(parts.send(part).await.is_ok()),
                None => Ok(false),
            }
        };
        promise(env, None, work, |_, wanted| Ok(wanted))
    }

    /// The body ends here: whole, or broken off. Only the first call counts.
    #[napi]
    pub fn close(&self, is_whole: bool) {
        let parts = lock(&self.parts).take();
        if parts.is_some() {
            self.is_whole.store(is_whole, Ordering::Release);
        }
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
