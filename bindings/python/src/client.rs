//! The HTTP client: requests are sent, through any rotation, by the core.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use keyswap::{Error, ErrorKind};
use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyBytes};
use tokio::sync::mpsc;

use crate::{
    authorizer::Recipe as AuthorizerRecipe,
    bridge::{self, Job},
    credential::no_pickle,
    errors::{invalid, raise},
    keys::{Handle, KeySwap, limit, within},
    process::{Here, Local, PerProcess},
    scheme::{Classifier, Scheme},
};

/// Everything that a child needs to make a client anew, with connections of its own.
struct Recipe {
    authorizer: AuthorizerRecipe,
    base: Option<String>,
    named: Vec<(String, Arc<Handle>)>,
    headers: HeaderMap,
    retries: u32,
    redirects: u32,
}

/// Sends requests with credentials.
#[pyclass(frozen, weakref, module = "keyswap._native")]
pub(crate) struct Client {
    recipe: Recipe,
    live: PerProcess<keyswap::Client>,
}

/// A request as Python hands it over.
#[derive(FromPyObject)]
struct Order {
    #[pyo3(item(0))]
    method: String,
    #[pyo3(item(1))]
    url: String,
    #[pyo3(item(2))]
    params: Vec<(String, String)>,
    #[pyo3(item(3))]
    headers: Vec<(String, String)>,
    #[pyo3(item(4))]
    timeout: Option<f64>,
    #[pyo3(item(5))]
    keys: Option<String>,
    #[pyo3(item(6))]
    scopes: Vec<String>,
    #[pyo3(item(7))]
    stream: bool,
    #[pyo3(item(8))]
    resend: bool,
}

impl Client {
    fn live(&self, py: Python<'_>) -> PyResult<Here<keyswap::Client>> {
        self.live.get(py, |_| {
            let Recipe { authorizer, base, named, headers, retries, redirects } = &self.recipe;
            let raised = |error| raise(py, &error);
            let mut builder = keyswap::Client::builder(&authorizer.keys.live(py)?.keys)
                .default_headers(headers.clone())
                .retries(*retries)
                .redirects(*redirects)
                .no_timeout();
            if authorizer.plain_http {
                builder = builder.plain_http_allowed();
            }
            if authorizer.own_header_wins {
                builder = builder.own_header_wins();
            }
            if let Some(base) = base {
                builder = builder.base_url(base).map_err(raised)?;
            }
            for origin in &authorizer.origins {
                builder = builder.allow_origin(origin).map_err(raised)?;
            }
            if let Some(scheme) = &authorizer.scheme {
                builder = builder.scheme(scheme.clone());
            }
            if let Some(classifier) = &authorizer.classifier {
                builder = builder.classifier(Classifier::new(classifier.bind(py))?);
            }
            for (name, keys) in named {
                builder = builder.named(name, &keys.live(py)?.keys);
            }
            builder.build().map_err(raised)
        })
    }

    fn prepare(
        &self,
        py: Python<'_>,
        order: Order,
        body: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<impl Future<Output = Result<Arrived, Error>> + Send + 'static> {
        let method = Method::from_bytes(order.method.as_bytes())
            .map_err(|_| invalid(py, "not the name of an HTTP method"))?;
        let timeout = limit(py, order.timeout)?;
        let mut request = self.live(py)?.request(method, &order.url);
        if !order.params.is_empty() {
            request = request.query(order.params);
        }
        for (name, value) in &order.headers {
            request = request.header(name, value);
        }
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        if let Some(keys) = &order.keys {
            request = request.keys(keys);
        }
        request = request.scopes(order.scopes);
        if !order.resend {
            request = request.no_resend();
        }
        if let Some(body) = body {
            request = match body.cast::<Body>() {
                Ok(stream) => request.body_stream(stream.get().stream()?),
                Err(_) => request.body(Bytes::copy_from_slice(body.extract::<&[u8]>()?)),
            };
        }
        Ok(async move {
            let response = request.send().await?;
            Arrived::take(response, order.stream, timeout).await
        })
    }
}

#[pymethods]
impl Client {
    /// Raises InvalidConfigError and InsecureUrlError.
    #[new]
    #[pyo3(signature = (keys, base_url, scheme, allowed_origins, plain_http_allowed, classifier, named, headers, retries, redirects, own_header_wins))]
    #[expect(clippy::too_many_arguments, reason = "called by one place, in Python")]
    fn new(
        py: Python<'_>,
        keys: &Bound<'_, KeySwap>,
        base_url: Option<String>,
        scheme: Option<Bound<'_, Scheme>>,
        allowed_origins: Vec<String>,
        plain_http_allowed: bool,
        classifier: Option<Py<PyAny>>,
        named: Vec<(String, Bound<'_, KeySwap>)>,
        headers: Vec<(String, String)>,
        retries: u32,
        redirects: u32,
        own_header_wins: bool,
    ) -> PyResult<Self> {
        let mut defaults = HeaderMap::new();
        for (name, value) in &headers {
            let header: HeaderName =
                name.parse().map_err(|_| invalid(py, format!("not a header name: {name:?}")))?;
            let value = HeaderValue::from_str(value)
                .map_err(|_| invalid(py, format!("not a header value: that of {name:?}")))?;
            defaults.append(header, value);
        }
        let origins = allowed_origins;
        let authorizer = AuthorizerRecipe::new(
            keys,
            scheme,
            origins,
            plain_http_allowed,
            classifier,
            own_header_wins,
        );
        let named = named.into_iter().map(|(name, keys)| (name, keys.get().handle.clone()));
        let recipe = Recipe {
            authorizer,
            base: base_url,
            named: named.collect(),
            headers: defaults,
            retries,
            redirects,
        };
        let client = Self { recipe, live: PerProcess::new() };
        client.live(py)?;
        Ok(client)
    }

    /// Sends a request and waits for its response.
    #[pyo3(signature = (order, body = None))]
    fn send(
        &self,
        py: Python<'_>,
        order: Order,
        body: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Reply> {
        let work = self.prepare(py, order, body)?;
        bridge::block(py, work).map(Reply::new)
    }

    /// `send`, for an event loop.
    #[pyo3(signature = (future, order, body = None))]
    fn _send(
        &self,
        py: Python<'_>,
        future: &Bound<'_, PyAny>,
        order: Order,
        body: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Job> {
        let work = self.prepare(py, order, body)?;
        bridge::spawn(py, future, work, |py, arrived| {
            Ok(Py::new(py, Reply::new(arrived))?.into_any())
        })
    }

    fn __repr__(&self) -> String {
        match self.live.get_if_made() {
            Some(client) => format!("{:?}", *client),
            None => "Client".into(),
        }
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("Client")
    }
}

/// A response, with its body or on its way.
struct Arrived {
    status: u16,
    headers: Vec<(String, String)>,
    url: String,
    error: Option<Error>,
    cause: Option<Error>,
    timeout: Option<Duration>,
    body: Remaining,
}

enum Remaining {
    Whole(Bytes),
    Stream(Local<Shared>),
}

/// The response, while nobody reads from it.
type Shared = Arc<Mutex<Option<keyswap::Response>>>;

impl Arrived {
    async fn take(
        mut response: keyswap::Response,
        stream: bool,
        timeout: Option<Duration>,
    ) -> Result<Self, Error> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str().to_owned(), text(value)));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        let (url, error) = (response.url().to_string(), response.status_error());
        let cause = response.cause().cloned();
        let body = if stream {
            Remaining::Stream(Local::new(Arc::new(Mutex::new(Some(response)))))
        } else {
            let first = next_chunk(&mut response, timeout).await?.unwrap_or_default();
            match next_chunk(&mut response, timeout).await? {
                None => Remaining::Whole(first),
                Some(second) => {
                    let mut whole = Vec::with_capacity(2 * (first.len() + second.len()));
                    whole.extend_from_slice(&first);
                    whole.extend_from_slice(&second);
                    while let Some(chunk) = next_chunk(&mut response, timeout).await? {
                        whole.extend_from_slice(&chunk);
                    }
                    Remaining::Whole(whole.into())
                }
            }
        };
        Ok(Self { status, headers, url, error, cause, timeout, body })
    }
}

/// The next part of a body, which may take as long as a response may.
async fn next_chunk(
    response: &mut keyswap::Response,
    timeout: Option<Duration>,
) -> Result<Option<Bytes>, Error> {
    within(timeout, response.chunk()).await
}

/// What the API answered.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Reply(Arrived);

impl Reply {
    fn new(arrived: Arrived) -> Self {
        Self(arrived)
    }

    /// The work that reads the next part of a streamed body.
    fn reading(&self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send + 'static {
        let shared = match &self.0.body {
            Remaining::Stream(shared) => shared.get().cloned(),
            Remaining::Whole(_) => None,
        };
        let timeout = self.0.timeout;
        async move {
            // Taken out while it is read: a reader that gives up closes the connection.
            let taken = shared.as_ref().and_then(|shared| lock(shared).take());
            let (Some(shared), Some(mut response)) = (shared, taken) else { return Ok(None) };
            let chunk = next_chunk(&mut response, timeout).await?;
            if chunk.is_some() {
                *lock(&shared) = Some(response);
            }
            Ok(chunk)
        }
    }
}

#[pymethods]
impl Reply {
    #[getter]
    fn status(&self) -> u16 {
        self.0.status
    }

    #[getter]
    fn headers(&self) -> Vec<(String, String)> {
        self.0.headers.clone()
    }

    /// After redirects, and without what a scheme added.
    #[getter]
    fn url(&self) -> &str {
        &self.0.url
    }

    /// The body; None if it is streamed.
    #[getter]
    fn content<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        match &self.0.body {
            Remaining::Whole(body) => Some(PyBytes::new(py, body)),
            Remaining::Stream(_) => None,
        }
    }

    /// The exception that a status of 400 or more is.
    #[getter]
    fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let error = self.0.error.as_ref()?;
        Some(raise(py, error).into_value(py).into_any())
    }

    /// The exception that a failed wait for a fresh credential ended with.
    #[getter]
    fn cause(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let error = self.0.cause.as_ref()?;
        Some(raise(py, error).into_value(py).into_any())
    }

    /// The next part of a streamed body; None at its end.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let chunk = bridge::block(py, self.reading())?;
        Ok(chunk.map(|chunk| PyBytes::new(py, &chunk)))
    }

    /// `next`, for an event loop.
    fn _next(&self, py: Python<'_>, future: &Bound<'_, PyAny>) -> PyResult<Job> {
        bridge::spawn(py, future, self.reading(), |py, chunk| {
            Ok(chunk.map_or_else(|| py.None(), |it| PyBytes::new(py, &it).into_any().unbind()))
        })
    }

    /// Leaves the rest of a streamed body unread.
    fn close(&self) {
        if let Remaining::Stream(shared) = &self.0.body
            && let Some(shared) = shared.get()
        {
            lock(shared).take();
        }
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.Reply {}>", self.0.status)
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("response under way")
    }
}

type Part = Result<Bytes, Error>;

/// A body that is sent as it comes, once. Unless it is closed as whole it breaks the request: half a body
/// must not be taken for a whole one.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Body {
    parts: Mutex<Option<mpsc::Sender<Bytes>>>,
    taken: Mutex<Option<mpsc::Receiver<Bytes>>>,
    is_whole: Arc<AtomicBool>,
}

impl Body {
    fn stream(&self) -> PyResult<impl futures_util::Stream<Item = Part> + Send + 'static> {
        let parts = lock(&self.taken).take();
        let parts = parts.ok_or_else(|| PyRuntimeError::new_err("a stream is sent only once"))?;
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

    fn sending(&self, part: &[u8]) -> impl Future<Output = Result<bool, Error>> + Send + 'static {
        let (parts, part) = (lock(&self.parts).clone(), Bytes::copy_from_slice(part));
        async move {
            match parts {
                Some(parts) => Ok(parts.send(part).await.is_ok()),
                None => Ok(false),
            }
        }
    }
}

#[pymethods]
impl Body {
    #[new]
    fn new() -> Self {
        let (parts, taken) = mpsc::channel(1);
        Self {
            parts: Mutex::new(Some(parts)),
            taken: Mutex::new(Some(taken)),
            is_whole: Arc::default(),
        }
    }

    /// Hands over one part, once there is room. False if nobody wants more.
    fn send(&self, py: Python<'_>, part: &[u8]) -> PyResult<bool> {
        bridge::block(py, self.sending(part))
    }

    /// `send`, for an event loop.
    fn _send(&self, py: Python<'_>, future: &Bound<'_, PyAny>, part: &[u8]) -> PyResult<Job> {
        bridge::spawn(py, future, self.sending(part), |py, wanted| {
            Ok(wanted.into_pyobject(py)?.to_owned().into_any().unbind())
        })
    }

    /// The body ends here: whole, or broken off. Only the first call counts.
    fn close(&self, is_whole: bool) {
        let parts = lock(&self.parts).take();
        if parts.is_some() {
            self.is_whole.store(is_whole, Ordering::Release);
        }
    }
}

fn lock<T>(slot: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
