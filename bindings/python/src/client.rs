//! The HTTP client: requests are sent, through any rotation, by the core.

use std::sync::Arc;

use bytes::Bytes;
use keyswap_host::{
    Request, RequestBody,
    options::{ClientOptions, from_json},
};
use pyo3::{prelude::*, types::PyBytes};

use crate::{
    authorizer::Recipe,
    bridge::Work,
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
}

#[pymethods]
impl Client {
    /// The options are JSON. Raises InvalidConfigError and InsecureUrlError.
    #[new]
    fn new(
        py: Python<'_>,
        keys: &Bound<'_, KeySwap>,
        scheme: Option<Bound<'_, Scheme>>,
        classifier: Option<Bound<'_, PyAny>>,
        named: Vec<(String, Bound<'_, KeySwap>)>,
        authorizer: &str,
        options: &str,
    ) -> PyResult<Self> {
        let recipe = Recipe::new(keys, from_json(authorizer).or_raise(py)?, scheme, classifier)?;
        let options = from_json(options).or_raise(py)?;
        let named = named.into_iter().map(|(name, keys)| (name, keys.get().handle.clone()));
        let client = Self { recipe, options, named: named.collect(), live: PerProcess::new() };
        client.live(py)?;
        Ok(client)
    }

    /// Sends a request; its response is there with its body, unless that is streamed.
    #[pyo3(signature = (order, body = None))]
    fn _send(
        &self,
        py: Python<'_>,
        order: Order,
        body: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Work> {
        let (method, url, query, headers, timeout, keys, scopes, stream, resend) = order;
        let body = match body.map(|body| (body, body.cast::<Body>())) {
            None => RequestBody::None,
            Some((_, Ok(stream))) => RequestBody::Stream(stream.get().0.clone()),
            Some((body, Err(_))) => RequestBody::Whole(Bytes::copy_from_slice(body.extract()?)),
        };
        let (no_timeout, no_resend) = (timeout.is_none(), !resend);
        let request = Request {
            method,
            url,
            query,
            headers,
            body,
            timeout,
            no_timeout,
            keys,
            scopes,
            no_resend,
        };
        let sent = self.live(py)?.send(request).or_raise(py)?;
        let work = async move {
            let reply = sent.await?;
            let content = if stream { None } else { Some(reply.rest().await?) };
            Ok(Reply { reply: Local::new(reply), content })
        };
        Ok(Work::new(work, |_, reply| Ok(reply)))
    }

    fn __repr__(&self) -> String {
        match self.live.get_if_made() {
            Some(client) => format!("{:?}", *client),
            None => "Client".into(),
        }
    }
}

/// What the API answered.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Reply {
    reply: Local<keyswap_host::Reply>,
    /// None if it is streamed.
    content: Option<Bytes>,
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

    /// The next part of a streamed body; None at its end. In a child it is at its end: the connection is the
    /// parent's.
    fn _next(&self) -> Work {
        let next = self.reply.get().map(keyswap_host::Reply::next);
        let work = async move {
            match next {
                Some(next) => next.await,
                None => Ok(None),
            }
        };
        Work::new(work, |py, part| Ok(part.map(|part| PyBytes::new(py, &part).unbind())))
    }

    /// Leaves the rest of a streamed body unread.
    fn close(&self) {
        if let Some(reply) = self.reply.get() {
            reply.close();
        }
    }
}

/// A body that is sent as it comes, once. Unless it is closed as whole it breaks the request: half a body
/// must not be taken for a whole one.
#[pyclass(frozen, module = "keyswap._native")]
pub(crate) struct Body(keyswap_host::Body);

#[pymethods]
impl Body {
    #[new]
    fn new() -> Self {
        Self(keyswap_host::Body::new())
    }

    /// Hands over one part, once there is room. False if nobody wants more.
    fn send(&self, py: Python<'_>, part: &[u8]) -> PyResult<Py<PyAny>> {
        self._send(part).wait(py)
    }

    fn _send(&self, part: &[u8]) -> Work {
        let sent = self.0.send(Bytes::copy_from_slice(part));
        Work::new(async move { Ok(sent.await) }, |_, is_wanted| Ok(is_wanted))
    }

    /// The body ends here: whole, or broken off. Only the first call counts.
    fn close(&self, is_whole: bool) {
        self.0.close(is_whole);
    }
}
