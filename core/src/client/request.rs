//! A request to be sent.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_core::Stream;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_TYPE, HeaderMap as Headers},
};
use serde::Serialize;
use url::Url;

use super::{Client, Response};
use crate::error::{Error, ErrorKind};

/// A request, with everything that a resend needs.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Arc<Url>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) timeout: Option<Duration>,
    pub(crate) keys: Option<Box<str>>,
    pub(crate) scopes: Vec<Box<str>>,
    /// Whether it may be sent again.
    pub(crate) resend: bool,
}

pub(crate) enum Body {
    None,
    Bytes(Bytes),
    /// A stream, which can be sent once.
    OneShot(Option<reqwest::Body>),
}

impl Body {
    pub(crate) fn is_replayable(&self) -> bool {
        !matches!(self, Self::OneShot(_))
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// What to put on the next send; none if there is nothing (left) to put.
    pub(crate) fn take(&mut self) -> Option<reqwest::Body> {
        match self {
            Self::None => None,
            Self::Bytes(bytes) => Some(bytes.clone().into()),
            Self::OneShot(body) => body.take(),
        }
    }
}

/// Builds one request of a [`Client`]. Mistakes are reported when it is sent.
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    client: Client,
    /// Boxed: each method of the builder moves it, and the future of a send holds it.
    request: Result<Box<Request>, Error>,
}

impl RequestBuilder {
    pub(crate) fn new(client: Client, method: Method, url: Result<Url, Error>) -> Self {
        let request = url.map(|url| {
            Box::new(Request {
                method,
                url: Arc::new(url),
                headers: Headers::new(),
                body: Body::None,
                timeout: client.timeout(),
                keys: None,
                scopes: Vec::new(),
                resend: true,
            })
        });
        Self { client, request }
    }

    /// Sets a header.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.change(|request| {
            let bad = |what| Error::new(ErrorKind::InvalidConfig, format!("{what} of {name:?}"));
            let header: HeaderName = name.parse().map_err(|_| bad("not a header name: that"))?;
            let value =
                HeaderValue::from_str(value).map_err(|_| bad("not a header value: that"))?;
            request.headers.insert(header, value);
            Ok(())
        })
    }

    /// Adds query parameters.
    pub fn query<K: AsRef<str>, V: AsRef<str>>(
        self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.change(|request| {
            Arc::make_mut(&mut request.url).query_pairs_mut().extend_pairs(pairs);
            Ok(())
        })
    }

    /// A body of bytes, which can be sent again.
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        self.change(|request| {
            request.body = Body::Bytes(body.into());
            Ok(())
        })
    }

    /// A body of JSON, which can be sent again.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        self.change(|request| {
            let body = serde_json::to_vec(value).map_err(|error| {
                Error::new(ErrorKind::InvalidConfig, format!("the body is not JSON: {error}"))
            })?;
            request.body = Body::Bytes(body.into());
            let json = HeaderValue::from_static("application/json");
            request.headers.entry(CONTENT_TYPE).or_insert(json);
            Ok(())
        })
    }

    /// A body that can be sent only once. If its credential is rejected, the API's response is
    /// returned: there is nothing to send again.
    pub fn body_stream<S, E>(self, stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        self.change(|request| {
            request.body = Body::OneShot(Some(reqwest::Body::wrap_stream(stream)));
            Ok(())
        })
    }

    /// How long the request may take until the head of its response is there, with all resends.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.change(|request| {
            request.timeout = Some(timeout);
            Ok(())
        })
    }

    /// No such limit, whatever the client's is.
    pub fn no_timeout(self) -> Self {
        self.change(|request| {
            request.timeout = None;
            Ok(())
        })
    }

    /// Sends it once, whatever happens: neither with another credential nor for a failure of the API's own.
    /// If its credential is rejected, the API's response is returned. A redirect is followed all the same,
    /// and each of its hops is sent once.
    pub fn no_resend(self) -> Self {
        self.change(|request| {
            request.resend = false;
            Ok(())
        })
    }

    /// Sends it with the credentials of the set of this name, instead of the client's own.
    pub fn keys(self, name: &str) -> Self {
        self.change(|request| {
            request.keys = Some(name.into());
            Ok(())
        })
    }

    /// Sends it only if the set has these scopes.
    pub fn scopes<S: AsRef<str>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.change(|request| {
            request.scopes.extend(scopes.into_iter().map(|scope| Box::from(scope.as_ref())));
            Ok(())
        })
    }

    /// Sends it, through any rotation.
    ///
    /// # Errors
    /// What is wrong with the request; why no credential is usable; that no response came. A response
    /// of any status is not an error: see [`Response::error_for_status`].
    pub async fn send(self) -> Result<Response, Error> {
        let Self { client, request } = self;
        let mut request = request?;
        client.execute(&mut request).await
    }

    fn change(mut self, edit: impl FnOnce(&mut Request) -> Result<(), Error>) -> Self {
        if let Ok(request) = &mut self.request
            && let Err(error) = edit(request)
        {
            self.request = Err(error);
        }
        self
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RequestBuilder");
        match &self.request {
            Ok(request) => shown
                .field("method", &request.method)
                .field("url", &super::origin::shown(&request.url))
                .finish_non_exhaustive(),
            Err(error) => shown.field("error", error).finish(),
        }
    }
}
