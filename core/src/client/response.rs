//! What the API answered.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use url::Url;

use super::{hop::Hop, origin::shown_as};
use crate::{
    error::{Error, ErrorKind},
    scheme::Patch,
};

/// An answer of the API. The body is still on its way.
pub struct Response {
    inner: reqwest::Response,
    url: Arc<Url>,
    /// Whether the program wrote the URL, and no redirect did.
    written: bool,
    /// What was read to judge the response, and not yet given to the caller.
    prefix: BytesMut,
    cause: Option<Error>,
}

impl Response {
    pub(crate) fn new(inner: reqwest::Response, hop: &Hop) -> Self {
        let (url, prefix) = (hop.url.clone(), BytesMut::new());
        Self { inner, url, written: hop.written, prefix, cause: None }
    }

    /// Hides a key that the server put into the `Location`.
    pub(crate) fn mask(&mut self, hop: &Hop, patch: &Patch) {
        hop.mask(self.inner.headers_mut(), patch);
    }

    pub(crate) fn set_cause(&mut self, cause: Option<&Error>) {
        self.cause = cause.cloned();
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// The URL that answered, after redirects, as the program gave it: without what a scheme added.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Why no fresh credential was to be had, if the request waited for one and this is the API's rejection
    /// of the one that it had: the failure of the fetch.
    pub fn cause(&self) -> Option<&Error> {
        self.cause.as_ref()
    }

    /// The next part of the body as it arrives; none at its end.
    ///
    /// # Errors
    /// [`ErrorKind::Body`] if the connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.prefix.is_empty() {
            return Ok(Some(self.prefix.split().freeze()));
        }
        let chunk = self.inner.chunk().await;
        chunk.map_err(|error| broken(&self.shown(), &describe(error)))
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`ErrorKind::Body`] if the connection broke.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        let Self { inner, url, written, prefix, .. } = self;
        let read = match prefix.is_empty() {
            true => inner.bytes().await,
            false => join(prefix, inner).await,
        };
        read.map_err(|error| broken(&shown_as(&url, written), &describe(error)))
    }

    /// The whole body as text; what is not UTF-8 is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::Body`] if the connection broke.
    pub async fn text(self) -> Result<String, Error> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The whole body, from JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Body`] if the connection broke or the body is not such JSON.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let shown = self.shown();
        let bytes = self.bytes().await?;
        // The parser's own words quote the body, and an API may echo the key in it.
        serde_json::from_slice(&bytes).map_err(|error| {
            let what = match error.classify() {
                Category::Data => "it is JSON, and not of the type that was asked for",
                Category::Eof => "it is JSON that ends too early",
                Category::Syntax | Category::Io => "it is not JSON",
            };
            let at = format!("{what}: line {}, column {}", error.line(), error.column());
            broken(&shown, &at)
        })
    }

    /// The response itself, or an error if its status is 400 or more.
    ///
    /// # Errors
    /// [`ErrorKind::Status`], with the [status](Error::status).
    pub fn error_for_status(self) -> Result<Self, Error> {
        match self.status_error() {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }

    /// The error that a status of 400 or more is, for programs that want the response as well.
    pub fn status_error(&self) -> Option<Error> {
        let status = self.status();
        if status.as_u16() < 400 {
            return None;
        }
        let why = self.cause.as_ref().map(|cause| format!("; no fresh credential came: {cause}"));
        let what = format!("{} answered {status}{}", self.shown(), why.unwrap_or_default());
        Some(Error::new(ErrorKind::Status, what).with_status(status.as_u16()))
    }

    /// Reads at most `max` bytes of the body ahead, without taking them from the caller, also if it is
    /// given up in between.
    pub(crate) async fn peek(&mut self, max: usize) -> &[u8] {
        while self.prefix.len() < max {
            match self.inner.chunk().await {
                Ok(Some(chunk)) => self.prefix.extend_from_slice(&chunk),
                // A connection that breaks here will tell the caller when it reads on.
                Ok(None) | Err(_) => break,
            }
        }
        &self.prefix[..self.prefix.len().min(max)]
    }

    fn shown(&self) -> String {
        shown_as(&self.url, self.written)
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status())
            .field("url", &self.shown())
            .finish_non_exhaustive()
    }
}

/// The whole body, of which the first part was read before.
async fn join(mut whole: BytesMut, mut rest: reqwest::Response) -> reqwest::Result<Bytes> {
    while let Some(chunk) = rest.chunk().await? {
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

fn broken(shown: &str, what: &str) -> Error {
    Error::new(ErrorKind::Body, format!("the body of {shown} could not be read: {what}"))
}

/// A transport's error in words, with its causes, and without the URL that it would print.
pub(crate) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
