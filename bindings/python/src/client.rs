//! The HTTP client: requests are sent, through any rotation, by the core.

use std::sync::Arc;

use bytes::Bytes;
use keyswap_host::{
    Error, Request, RequestBody,
    options::{AuthorizerOptions, ClientOptions},
};
use pyo3::{prelude::*, types::PyBytes};

use crate::{
    authorizer::Recipe,
    bridge::{self, Job},
    credential::no_pickle,
    errors::{OrRaise, shown},
    keys::{Handle, KeySwap},
    process::{Here, Local, PerProcess},
    runtime,
    scheme::Scheme,
};

/// Sends requests with credentials. A child makes it anew, with connections of its own.
#[pyclass(frozen, weakref, module = "keyswap._native")]
pub(crate) struct Client {
    recipe: Recipe,
    options: ClientOptions,
    named: Vec<(String, Arc<Handle>)>,
    live: PerProcess<keyswap_host::Client>,
}

type Pairs = Vec<(String, String)>;

/// A request as Python hands it over: the method, the URL, parameters of the query, headers, the timeout,
/// the name of keys, scopes, whether its response is streamed, and whether it may be sent again.
type Order = (String, String, Pairs, Pairs, Option<f64>, Option<String>, Vec<String>, bool, bool);

impl Client {
    fn live(&self, py: Python<'_>) -> PyResult<Here<keyswap_host::Client>> {
        self.live.get(py, |_| {
            let Recipe { keys, options, foreign } = &self.recipe;
            let keys = &keys.live(py)?.keys;
            let named = self.named.iter();
            let named = named.map(|(name, keys)| Ok((name.clone(), keys.live(py)?.keys.clone())));
            let named = named.collect::<PyResult<Vec<_>>>()?;
            let handle = runtime::host(py)?.handle.clone();
            let _within = handle.enter();
            keyswap_host::Client::new(keys, options, &self.options, &named, foreign).or_raise(py)
        })
    }

    fn sending(
        &self,
        py: Python<'_>,
        order: Order,
        body: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<impl Future<Output = Result<Reply, Error>> + Send + use<>> {
        let (method, url, query, headers, timeout, keys, scopes, stream, resend) = order;
        let body = match body.map(|body| (body, body.cast::<Body>())) {
            None => RequestBody::None,
            Some((_, Ok(stream))) => RequestBody::Stream(stream.get().0.clone()),
            Some((body, Err(_))) => RequestBody::Whole(Bytes::copy_from_slice(body.extract()?)),
        };
        let (no_timeout, request) = (timeout.is_none(), Request::new(method, url));
        let request =
            Request { query, headers, body, timeout, no_timeout, keys, scopes, resend, ..request };
        let sent = self.live(py)?.send(request).or_raise(py)?;
        Ok(async move {
            let reply = sent.await?;
            let content = if stream { None } else { Some(reply.rest().await?) };
            Ok(Reply { reply: Local::new(reply), content })
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
        classifier: Option<Bound<'_, PyAny>>,
        named: Vec<(String, Bound<'_, KeySwap>)>,
        headers: Pairs,
        retries: u32,
        redirects: u32,
        own_header_wins: bool,
    ) -> PyResult<Self> {
        let options = AuthorizerOptions {
            allowed_origins,
            plain_http_allowed,
            own_header_wins,
            ..AuthorizerOptions::default()
        };
        let recipe = Recipe::new(keys, options, scheme, classifier)?;
        let (retries, max_redirects) = (Some(retries), Some(redirects));
        let options =
            ClientOptions { base_url, headers, retries, max_redirects, ..ClientOptions::default() };
        let named = named.into_iter().map(|(name, keys)| (name, keys.get().handle.clone()));
        let client = Self { recipe, options, named: named.collect(), live: PerProcess::new() };
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
        bridge::block(py, self.sending(py, order, body)?)
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
        bridge::spawn(py, future, self.sending(py, order, body)?, |_, reply| Ok(reply))
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

/// What the API answered.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Reply {
    reply: Local<keyswap_host::Reply>,
    /// None if it is streamed.
    content: Option<Bytes>,
}

impl Reply {
    /// The next part of a streamed body. In a child it is at its end: the connection is the parent's.
    fn reading(&self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send + use<> {
        let next = self.reply.get().map(keyswap_host::Reply::next);
        async move {
            match next {
                Some(next) => next.await,
                None => Ok(None),
            }
        }
    }
}

#[pymethods]
impl Reply {
    #[getter]
    fn status(&self) -> u16 {
        self.reply.look().status()
    }

    #[getter]
    fn headers(&self) -> Pairs {
        self.reply.look().headers().to_vec()
    }

    /// After redirects, and without what a scheme added.
    #[getter]
    fn url(&self) -> &str {
        self.reply.look().url()
    }

    /// The body; None if it is streamed.
    #[getter]
    fn content<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.content.as_ref().map(|content| PyBytes::new(py, content))
    }

    /// The exception that a status of 400 or more is.
    #[getter]
    fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        shown(py, self.reply.look().error())
    }

    /// The exception that a failed wait for a fresh credential ended with.
    #[getter]
    fn cause(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        shown(py, self.reply.look().cause())
    }

    /// The next part of a streamed body; None at its end.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let part = bridge::block(py, self.reading())?;
        Ok(part.map(|part| PyBytes::new(py, &part)))
    }

    /// `next`, for an event loop.
    fn _next(&self, py: Python<'_>, future: &Bound<'_, PyAny>) -> PyResult<Job> {
        bridge::spawn(py, future, self.reading(), |py, part| {
            Ok(part.map(|part| PyBytes::new(py, &part).unbind()))
        })
    }

    /// Leaves the rest of a streamed body unread.
    fn close(&self) {
        if let Some(reply) = self.reply.get() {
            reply.close();
        }
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.Reply {}>", self.status())
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("response under way")
    }
}

/// A body that is sent as it comes, once. Unless it is closed as whole it breaks the request: half a body
/// must not be taken for a whole one.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Body(keyswap_host::Body);

impl Body {
    fn sending(&self, part: &[u8]) -> impl Future<Output = Result<bool, Error>> + Send + use<> {
        let sent = self.0.send(Bytes::copy_from_slice(part));
        async move { Ok(sent.await) }
    }
}

#[pymethods]
impl Body {
    #[new]
    fn new() -> Self {
        Self(keyswap_host::Body::new())
    }

    /// Hands over one part, once there is room. False if nobody wants more.
    fn send(&self, py: Python<'_>, part: &[u8]) -> PyResult<bool> {
        bridge::block(py, self.sending(part))
    }

    /// `send`, for an event loop.
    fn _send(&self, py: Python<'_>, future: &Bound<'_, PyAny>, part: &[u8]) -> PyResult<Job> {
        bridge::spawn(py, future, self.sending(part), |_, is_wanted| Ok(is_wanted))
    }

    /// The body ends here: whole, or broken off. Only the first call counts.
    fn close(&self, is_whole: bool) {
        self.0.close(is_whole);
    }
}
