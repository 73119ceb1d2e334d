//! How a store is asked: over the HTTP of the endpoints, with a log-in of its own.
//!
//! What holds for an endpoint holds here: no redirects, nothing larger than 64 KiB, plain HTTP to this machine only,
//! and errors that quote nothing of an answer.
#![cfg_attr(
    not(all(
        feature = "aws",
        feature = "azure",
        feature = "etcd",
        feature = "gcp",
        feature = "oauth2",
        feature = "vault"
    )),
    allow(dead_code, unused_imports, unused_macros, reason = "not every store needs all of it")
)]

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use url::Url;
use zeroize::Zeroizing;

use super::{
    Terms,
    bootstrap::Bootstrap,
    endpoint_client::{EndpointClient, EndpointRequest, ResponseHead},
    wire::{Value, read_answer},
};
use crate::error::{Error, ErrorKind};

/// One store. Cheap to clone.
#[derive(Clone)]
pub(super) struct StoreClient {
    client: EndpointClient,
    /// What people call it.
    store: &'static str,
}

/// One question.
pub(super) struct Question<'a> {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<&'a [u8]>,
    fault: Option<Error>,
}

/// What it answered, up to 64 KiB, which is wiped.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) head: ResponseHead,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl<'a> Question<'a> {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None, fault: None }
    }

    /// Adds a header that is no secret.
    pub(super) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Adds a header that may hold a secret: it is never printed.
    pub(super) fn sensitive(mut self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(name, value);
            }
            Err(_) => {
                let what =
                    format!("what should go into the header {name} is not one line of ASCII");
                self.fault = Some(Error::new(ErrorKind::InvalidConfig, what));
            }
        }
        self
    }

    pub(super) fn json(mut self, body: &'a [u8]) -> Self {
        self.body = Some(body);
        self.header(header::CONTENT_TYPE, "application/json")
    }

    /// Adds a body whose kind a header says.
    pub(super) fn body(self, body: &'a [u8]) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(super) fn form(mut self, body: &'a [u8]) -> Self {
        self.body = Some(body);
        self.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
    }
}

impl StoreClient {
    /// The store at this URL, which its questions go beneath. `like` is how such a URL looks.
    pub(super) fn at(store: &'static str, url: &str, like: &str) -> Result<Self, Error> {
        let mut client = EndpointClient::at(url, like)?;
        client.bootstrap = Arc::new(Bootstrap::nowhere());
        Ok(Self { client, store })
    }

    /// The same store, for a source whose handle has numbers of its own.
    #[cfg(feature = "vault")]
    pub(super) fn apart(&self) -> Self {
        Self { client: self.client.apart(), store: self.store }
    }

    /// The metadata service of this machine's cloud at this URL. It is asked over plain HTTP, as they all are, and never
    /// through a proxy.
    pub(super) fn metadata(store: &'static str, url: &str) -> Result<Self, Error> {
        let mut metadata = Self::at(store, url, "http://169.254.169.254")?;
        metadata.client.plain_http = true;
        metadata.client.is_metadata = true;
        Ok(metadata)
    }

    /// Another service at another URL, with the same certificates and timeouts.
    pub(super) fn elsewhere(
        &self,
        store: &'static str,
        url: &str,
        like: &str,
    ) -> Result<Self, Error> {
        let mut there = Self { client: self.client.clone(), store };
        there.move_to(url, like)?;
        Ok(there)
    }

    /// The same store at another URL.
    pub(super) fn move_to(&mut self, url: &str, like: &str) -> Result<(), Error> {
        let there = EndpointClient::at(url, like)?;
        (self.client.url, self.client.origin) = (there.url, there.origin);
        Ok(())
    }

    pub(super) fn base(&self) -> &Url {
        &self.client.url
    }

    /// Where the store is, as errors show it.
    pub(super) fn origin(&self) -> &str {
        &self.client.origin
    }

    /// The URL of a path beneath the store's own. Each part is escaped.
    pub(super) fn url<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Url {
        let mut url = self.client.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    pub(super) fn begin(&self, terms: &Terms) {
        self.client.begin(terms);
    }

    pub(super) fn terms(&self) -> Terms {
        self.client.terms()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.client.timeout()
    }

    /// How far apart the handle's polls are.
    pub(super) fn poll(&self) -> Duration {
        self.client.terms().policy().poll
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.client.timeout = Some(timeout);
    }

    pub(super) fn allow_plain_http(&mut self) {
        self.client.plain_http = true;
    }

    pub(super) fn trust(&mut self, pem: &[u8]) -> Result<(), Error> {
        self.client = self.client.clone().try_with_tls(|tls| tls.trusting(pem))?;
        Ok(())
    }

    pub(super) fn trust_file(&mut self, path: PathBuf) {
        self.client = self.client.clone().with_tls(|tls| tls.trusting_file(path));
    }

    pub(super) fn show(&mut self, pem: &[u8]) -> Result<(), Error> {
        self.client = self.client.clone().try_with_tls(|tls| tls.showing(pem))?;
        Ok(())
    }

    pub(super) fn show_file(&mut self, path: PathBuf) {
        self.client = self.client.clone().with_tls(|tls| tls.showing_file(path));
    }

    pub(super) fn allows_plain_http(&self) -> bool {
        self.client.plain_http
    }

    /// Asks once. Any status is an answer; an error is one of the connection.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Answer, Error> {
        let mut response = self.send(question, Some(self.client.timeout())).await?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let body = self.client.body(response).await?;
        Ok(Answer { status, head: ResponseHead::read(&headers), headers, body })
    }

    /// Asks for what has no end: who reads it watches over its time and its size.
    pub(super) async fn open(&self, question: Question<'_>) -> Result<Response, Error> {
        self.send(question, None).await
    }

    async fn send(
        &self,
        question: Question<'_>,
        timeout: Option<Duration>,
    ) -> Result<Response, Error> {
        if let Some(fault) = question.fault {
            return Err(fault);
        }
        let request = EndpointRequest {
            method: question.method,
            url: &question.url,
            accept: "application/json",
            validator: None,
            is_fresh: false,
            headers: Some(&question.headers),
            body: question.body,
            timeout,
        };
        self.client.send(&request).await
    }

    /// The JSON of an answer.
    pub(super) fn value(&self, answer: &Answer) -> Result<Value, Error> {
        read_answer(&answer.body).map_err(|what| {
            let status = answer.status.as_u16();
            let what = format!("{} at {} answered {status}: {what}", self.store, self.origin());
            Error::new(ErrorKind::Malformed, what).with_status(status)
        })
    }

    /// An error that an answer means, with its status and the time that it asked for. The words say what it means and
    /// what to do, and quote nothing of it.
    pub(super) fn error(&self, kind: ErrorKind, answer: &Answer, what: &str) -> Error {
        let status = answer.status.as_u16();
        let what = format!("{} at {} {what} ({status})", self.store, self.origin());
        let error = Error::new(kind, what).with_status(status);
        match answer.head.retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }

    /// What a status means that this store gives no meaning of its own.
    pub(super) fn refusal(&self, answer: &Answer) -> Error {
        let (kind, what) = match answer.status.as_u16() {
            401 => (ErrorKind::BootstrapRejected, "does not accept what this program logs in with"),
            403 => (ErrorKind::Forbidden, "forbids this to the identity that asks"),
            404 => (ErrorKind::UnknownSet, "does not know what is asked for: check its name"),
            407 => (
                ErrorKind::Unavailable,
                "is behind a proxy that wants to know who asks: check HTTPS_PROXY",
            ),
            429 => (ErrorKind::Throttled, "wants fewer requests: it is asked again later"),
            300..=399 => (
                ErrorKind::Malformed,
                "answered with a redirect, which is never followed: use the URL that it leads to",
            ),
            408 | 425 | 500..=599 => {
                (ErrorKind::Unavailable, "cannot answer now: it is asked again")
            }
            _ => (ErrorKind::Malformed, "gave an answer that is none: check the URL"),
        };
        self.error(kind, answer, what)
    }
}

/// The functions of a source's builder that say how its store is reached. It must have a field `client`.
macro_rules! connection_options {
    () => {
        /// How long one answer of the store may take: unless this says otherwise, as long as the handle's
        /// [`fetch_timeout`](crate::Policy::fetch_timeout), which holds for the whole fetch as well.
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.client.set_timeout(timeout);
            self
        }

        /// Trusts the certificates in this PEM, and no others.
        ///
        /// # Errors
        /// [`InvalidConfig`](crate::error::ErrorKind::InvalidConfig) if there is none in it, or one cannot be read.
        pub fn root_certificates(mut self, pem: &[u8]) -> Result<Self, crate::error::Error> {
            self.client.trust(pem)?;
            Ok(self)
        }

        /// Trusts the certificates in this file, which is read again when it changes.
        pub fn root_certificates_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
            self.client.trust_file(path.into());
            self
        }

        /// Allows plain HTTP to hosts other than this machine: everybody on the way can read the keys.
        pub fn plain_http_allowed(mut self) -> Self {
            self.client.allow_plain_http();
            self
        }
    };
}
pub(super) use connection_options;

/// The functions of a source's builder for stores that may want to see a certificate. It must have a field `client`.
macro_rules! certificate_options {
    () => {
        /// Shows the certificate chain in this PEM, with the private key that stands beside it (mutual TLS).
        ///
        /// # Errors
        /// [`InvalidConfig`](crate::error::ErrorKind::InvalidConfig) if the certificate or the key is missing or cannot be
        /// read, or they do not belong together.
        pub fn client_certificate(mut self, pem: &[u8]) -> Result<Self, crate::error::Error> {
            self.client.show(pem)?;
            Ok(self)
        }

        /// Shows the certificate in this file, which is read again when it changes.
        pub fn client_certificate_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
            self.client.show_file(path.into());
            self
        }
    };
}
pub(super) use certificate_options;
