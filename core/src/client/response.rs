//! What the API answered.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::origin::shown;
use crate::error::{Error, ErrorKind};

/// An answer of the API. The body is still on its way.
pub struct Response {
    inner: reqwest::Response,
    url: Url,
    /// What was read to judge the response, and not yet given to the caller.
    prefix: Bytes,
}

impl Response {
    pub(crate) fn new(inner: reqwest::Response, url: Url) -> Self {
        Self { inner, url, prefix: Bytes::new() }
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

    /// The next part of the body as it arrives; none at its end.
    ///
    /// # Errors
    /// [`ErrorKind::Body`] if the connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.prefix.is_empty() {
            return Ok(Some(std::mem::take(&mut self.prefix)));
        }
        let chunk = self.inner.chunk().await;
        chunk.map_err(|error| self.broken(&describe(error)))
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`ErrorKind::Body`] if the connection broke.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        if self.prefix.is_empty() {
            let url = self.url;
            let read = self.inner.bytes().await;
            return read.map_err(|error| broken(&url, &describe(error)));
        }
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
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
        let url = self.url.clone();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| broken(&url, &format!("not as expected: {error}")))
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
        let what = format!("{} answered {status}", shown(&self.url));
        Some(Error::new(ErrorKind::Status, what).with_status(status.as_u16()))
    }

    /// Reads at most `max` bytes of the body ahead, without taking them from the caller.
    pub(crate) async fn peek(&mut self, max: usize) -> &[u8] {
        let mut seen = BytesMut::from(&*std::mem::take(&mut self.prefix));
        while seen.len() < max {
            match self.inner.chunk().await {
                Ok(Some(chunk)) => seen.extend_from_slice(&chunk),
                // A connection that breaks here will tell the caller when it reads on.
                Ok(None) | Err(_) => break,
            }
        }
        self.prefix = seen.freeze();
        &self.prefix[..self.prefix.len().min(max)]
    }

    fn broken(&self, what: &str) -> Error {
        broken(&self.url, what)
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status())
            .field("url", &shown(&self.url))
            .finish_non_exhaustive()
    }
}

fn broken(url: &Url, what: &str) -> Error {
    Error::new(ErrorKind::Body, format!("the body of {} could not be read: {what}", shown(url)))
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
