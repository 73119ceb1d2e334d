//! What a response says about the credential that the request carried.

use std::time::Duration;

use http::{HeaderMap, header::WWW_AUTHENTICATE};
use jiff::Timestamp;

use crate::response_view::ResponseView;

/// What a response says about the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The API took it.
    Accepted,
    /// The API does not take it (any more, or yet).
    Rejected,
    /// The API wants fewer requests. Says nothing of the credential; if the response says for how long
    /// (`Retry-After`), the sends of its origin are held back meanwhile. If the account was locked, see
    /// [`Classifier::lockout`].
    Throttled,
    /// The API does not take the time or the nonce that the request was signed with. Says nothing of the
    /// credential: the request is signed and sent once more, by the API's clock.
    Skewed {
        /// The time that the response shows; without it, its `Date` counts.
        server_time: Option<Timestamp>,
    },
    /// Anything else. Says nothing of the credential.
    Other,
    /// The head does not tell; show the first bytes of the body.
    NeedBody,
}

/// What went wrong with a send that got no response. It says nothing of the credential; it decides
/// whether the request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No connection could be made: nothing was sent.
    Connect,
    /// It took too long.
    Timeout,
    /// Anything else.
    Other,
}

/// Which responses a foreign HTTP stack has to show to the core: those of one of these statuses, and those
/// with one of these headers. All others say nothing that matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct ResponseFilter {
    /// The statuses.
    pub statuses: Vec<u16>,
    /// The names of the headers, in lower case.
    pub headers: Vec<Box<str>>,
    /// How many bytes of the body the classifier may ask for; zero if it judges by the head alone.
    pub body_limit: usize,
}

impl ResponseFilter {
    /// Those of one of these statuses, judged by their heads.
    pub fn new(statuses: impl IntoIterator<Item = u16>) -> Self {
        Self { statuses: statuses.into_iter().collect(), ..Self::default() }
    }

    /// Adds those with one of these headers.
    pub fn with_headers<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.headers
            .extend(names.into_iter().map(|name| name.as_ref().to_ascii_lowercase().into()));
        self
    }

    /// Says how many bytes of the body the classifier may ask for.
    pub fn with_body_limit(mut self, limit: usize) -> Self {
        self.body_limit = limit;
        self
    }
}

/// Judges responses. Implement it for an API that says "bad key" in a way of its own.
///
/// ```
/// use keyswap::{ResponseFilter, Classifier, ResponseView, Verdict};
///
/// /// Says "bad key" with HTTP 200 and a code in the body.
/// #[derive(Debug)]
/// struct CodeInBody;
///
/// impl Classifier for CodeInBody {
///     fn classify(&self, response: &ResponseView<'_>) -> Verdict {
///         match (response.status().as_u16(), response.body()) {
///             (200, None) => Verdict::NeedBody,
///             (200, Some(body)) if body.windows(8).any(|part| part == b"bad_key\"") => Verdict::Rejected,
///             (200, Some(_)) => Verdict::Accepted,
///             _ => Verdict::Other,
///         }
///     }
///     fn response_filter(&self) -> ResponseFilter {
///         ResponseFilter::new([200]).with_body_limit(1024)
///     }
/// }
/// # use http::{HeaderMap, Method, StatusCode};
/// # let (url, headers) = ("https://api.example.com".parse().unwrap(), HeaderMap::new());
/// # let response = ResponseView::new(&Method::GET, &url, StatusCode::OK, &headers);
/// # assert_eq!(CodeInBody.classify(&response.with_body(br#"{"code":"bad_key"}"#)), Verdict::Rejected);
/// ```
pub trait Classifier: std::fmt::Debug + Send + Sync + 'static {
    /// Judges one response. It has no body at first; after [`Verdict::NeedBody`] it is asked again with as
    /// much of the body as there is, up to [`ResponseFilter::body_limit`].
    fn classify(&self, response: &ResponseView<'_>) -> Verdict;

    /// The responses that it could call rejected.
    fn response_filter(&self) -> ResponseFilter;

    /// How long the API has locked the account, for a response that was called [throttled](Verdict::Throttled).
    /// Nothing is sent meanwhile: each request fails with [`ErrorKind::Throttled`](crate::ErrorKind::Throttled).
    /// None if it only wants fewer requests.
    fn lockout(&self, response: &ResponseView<'_>) -> Option<Duration> {
        let _ = response;
        None
    }
}

/// What most APIs do: 401 is a rejection, unless it is about scopes (RFC 6750); 2xx is an acceptance, and
/// so is 101, which begins a WebSocket. 403, 407, 429 and all else say nothing of the credential.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultClassifier;

impl Classifier for DefaultClassifier {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        match response.status().as_u16() {
            101 | 200..=299 | 304 => Verdict::Accepted,
            401 if !lacks_scope(response.headers()) => Verdict::Rejected,
            429 | 503 => Verdict::Throttled,
            _ => Verdict::Other,
        }
    }

    fn response_filter(&self) -> ResponseFilter {
        ResponseFilter::new([401])
    }
}

/// RFC 6750: `insufficient_scope` is about the request, not about the key.
fn lacks_scope(headers: &HeaderMap) -> bool {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .any(|value| value.to_str().is_ok_and(|text| text.contains("insufficient_scope")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, Method, StatusCode};

    fn judge(status: u16, challenge: Option<&'static str>) -> Verdict {
        let mut headers = HeaderMap::new();
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        let url = "https://api.example.com".parse().expect("a URL");
        let status = StatusCode::from_u16(status).expect("a status");
        DefaultClassifier.classify(&ResponseView::new(&Method::GET, &url, status, &headers))
    }

    #[test]
    fn only_a_401_about_the_key_is_a_rejection() {
        assert_eq!(judge(401, None), Verdict::Rejected);
        assert_eq!(judge(401, Some("Bearer error=\"invalid_token\"")), Verdict::Rejected);
        assert_eq!(judge(401, Some("Bearer error=\"insufficient_scope\"")), Verdict::Other);
        for status in [400, 403, 404, 407, 500, 502] {
            assert_eq!(judge(status, None), Verdict::Other, "{status}");
        }
        assert_eq!(judge(429, None), Verdict::Throttled);
        assert_eq!(judge(204, None), Verdict::Accepted);
        assert_eq!(judge(101, None), Verdict::Accepted, "a WebSocket begins");
        assert_eq!(judge(100, None), Verdict::Other);
        assert_eq!(judge(302, None), Verdict::Other, "a login page is a redirect too");
    }
}
