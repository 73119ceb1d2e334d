//! A response as a classifier sees it.

use std::fmt;

use http::{HeaderMap, Method, StatusCode};
use url::Url;

/// A response of the API, with the request that it answers, as a [`Classifier`](crate::Classifier) sees it.
///
/// Printing it shows nothing that may hold a secret: the origin, the status, the names of the headers, and
/// how many bytes of the body there are.
///
/// ```
/// use http::{HeaderMap, Method, StatusCode};
/// use keyswap::{Classifier, DefaultClassifier, ResponseView, Verdict};
///
/// let (url, headers) = ("https://api.example.com/v1/orders".parse().unwrap(), HeaderMap::new());
/// let response = ResponseView::new(&Method::GET, &url, StatusCode::UNAUTHORIZED, &headers);
/// assert_eq!(DefaultClassifier.classify(&response), Verdict::Rejected);
/// ```
#[derive(Clone, Copy)]
pub struct ResponseView<'a> {
    method: &'a Method,
    url: &'a Url,
    status: StatusCode,
    headers: &'a HeaderMap,
    body: Option<&'a [u8]>,
}

impl<'a> ResponseView<'a> {
    /// The head of a response to a request of this method to this URL. For tests of classifiers, and for those
    /// who ask another one.
    pub fn new(
        method: &'a Method,
        url: &'a Url,
        status: StatusCode,
        headers: &'a HeaderMap,
    ) -> Self {
        Self { method, url, status, headers, body: None }
    }

    /// Adds the first bytes of the body.
    pub fn with_body(self, body: &'a [u8]) -> Self {
        Self { body: Some(body), ..self }
    }

    /// The method of the request.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The URL of the request with its query, but for what the scheme added.
    pub fn url(&self) -> &'a Url {
        self.url
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The first bytes of the body, once [`Verdict::NeedBody`](crate::Verdict::NeedBody) has asked for them: as
    /// many as there are, up to [`ResponseFilter::body_limit`](crate::ResponseFilter::body_limit).
    pub fn body(&self) -> Option<&'a [u8]> {
        self.body
    }
}

impl fmt::Debug for ResponseView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("ResponseView")
            .field("method", self.method)
            .field("origin", &self.url.origin().ascii_serialization())
            .field("status", &self.status)
            .field("headers", &names)
            .field("body", &self.body.map(<[u8]>::len))
            .finish()
    }
}
