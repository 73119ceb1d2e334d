//! Redirects, hop by hop.
//!
//! HTTP libraries forward custom headers and query parameters to wherever a redirect points, so none of
//! them is left to follow one: each hop is a request of its own, with an [`Attempt`](crate::Attempt) of
//! its own, that asks anew what it may carry. What was answered is never sent again, whatever happens
//! behind it.
//!
//! The rule is [`Asked::follow`], for every language: where a redirect leads, and what goes along. The
//! caller's own private headers stay with their origin, and so does one of the name that the scheme uses.
//! A key that a server copied from the query into a `Location` under its own name is taken out again. One
//! that comes back in any other way (within another URL, under another name, in a path, encoded twice) is
//! not sent anywhere: the redirect is not followed, and [`masked`] hides it from the caller's logs.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
        CONTENT_TYPE, COOKIE, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
    },
};
use url::Url;

use super::{origin::is_same_origin, spilled::spills};
use crate::scheme::Patch;

/// The most redirects that one request follows, as in reqwest.
pub const MAX_HOPS: u32 = 10;

/// What is sent to no other origin, whoever set it.
const PRIVATE: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];
/// What makes no sense without the body.
const OF_THE_BODY: [HeaderName; 6] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_TYPE,
    TRANSFER_ENCODING,
];

/// A hop that was answered.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its URL, without what the scheme added.
    pub url: &'a Url,
    /// What the scheme added; an empty one if nothing.
    pub patch: &'a Patch,
    /// Whether its body, if it had one, can be sent again.
    pub replayable: bool,
}

/// The hop that a redirect asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Next {
    /// Its method.
    pub method: Method,
    /// Where it goes.
    pub url: Url,
    /// Whether the body stays behind, as it does on the way to a GET.
    pub drops_body: bool,
    /// The headers that stay behind.
    pub drops: Vec<HeaderName>,
}

impl<'a> Asked<'a> {
    /// A hop to this URL, with what the scheme added beside it, and whether its body can be sent again.
    pub fn new(method: &'a Method, url: &'a Url, patch: &'a Patch, replayable: bool) -> Self {
        Self { method, url, patch, replayable }
    }

    /// Where the response leads; none if it asks for no other hop, or for one that cannot or must not be
    /// made, and so is the answer.
    pub fn follow(&self, status: StatusCode, location: &str) -> Option<Next> {
        let keeps = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *self.method != Method::POST,
            StatusCode::SEE_OTHER => *self.method == Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            _ => return None,
        };
        let mut url = self.url.join(location).ok()?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return None;
        }
        let drops_body = !keeps && *self.method != Method::GET;
        if !drops_body && !self.replayable {
            return None;
        }
        self.patch.remove_query(&mut url);
        if spills(self.patch, url.as_str()) {
            return None;
        }
        if url.fragment().is_none() {
            url.set_fragment(self.url.fragment());
        }
        let mut drops = Vec::new();
        if !is_same_origin(&url, self.url) {
            drops.extend(PRIVATE);
            drops.extend(self.patch.headers().map(|(name, _)| name.clone()));
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        if drops_body {
            drops.extend(OF_THE_BODY);
        }
        let method = if drops_body { Method::GET } else { self.method.clone() };
        Some(Next { method, url, drops_body, drops })
    }
}

/// A `Location` that holds what this patch added to a request to this URL, as the caller may see it; none
/// if it may be seen as it is.
pub fn masked(url: &Url, patch: &Patch, location: &str) -> Option<String> {
    let Ok(next) = url.join(location) else {
        return spills(patch, location).then(|| "/***".to_owned());
    };
    let mut clear = next.clone();
    patch.remove_query(&mut clear);
    let shown = (clear != next).then(|| clear.as_str().to_owned());
    // Reading a URL may drop a part of it, such as `key/..`, which stands in the text all the same.
    if spills(patch, clear.as_str()) || shown.is_none() && spills(patch, location) {
        return Some(format!("{}/***", clear.origin().ascii_serialization()));
    }
    shown
}

/// One request of a chain of redirects, as this crate's own adapters send it.
pub(crate) struct Hop {
    pub(crate) method: Method,
    pub(crate) url: Arc<Url>,
    pub(crate) headers: HeaderMap,
    /// Whether the body was left behind.
    pub(crate) bare: bool,
    /// Whether the caller wrote the URL. One that a server wrote may hold anything, and is not shown.
    pub(crate) written: bool,
}

impl Hop {
    /// The request as its caller made it.
    pub(crate) fn first(method: Method, url: Arc<Url>, headers: HeaderMap) -> Self {
        Self { method, url, headers, bare: false, written: true }
    }

    /// The next hop, if the response asks for one that can be made. `patch` is what this hop carried,
    /// `private` the header that the scheme uses, and `replayable` whether the body can be sent again.
    pub(crate) fn follow(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        patch: &Patch,
        private: Option<&HeaderName>,
        replayable: bool,
    ) -> Option<Self> {
        if !status.is_redirection() {
            return None;
        }
        let location = headers.get(LOCATION)?;
        let location = std::str::from_utf8(location.as_bytes()).ok()?;
        let next = self.asked(patch, replayable).follow(status, location)?;
        let mut headers = self.headers.clone();
        for name in &next.drops {
            headers.remove(name);
        }
        if let Some(private) = private.filter(|_| !is_same_origin(&next.url, &self.url)) {
            headers.remove(private);
        }
        Some(Self {
            method: next.method,
            url: next.url.into(),
            headers,
            bare: self.bare || next.drops_body,
            written: false,
        })
    }

    /// Hides a key that the server put into a `Location` that is handed on.
    pub(crate) fn mask(&self, headers: &mut HeaderMap, patch: &Patch) {
        mask(headers, &self.url, patch);
    }

    /// The URL as an error may show it.
    pub(crate) fn shown(&self) -> String {
        super::origin::shown_as(&self.url, self.written)
    }

    fn asked<'a>(&'a self, patch: &'a Patch, replayable: bool) -> Asked<'a> {
        let replayable = self.bare || replayable;
        Asked { method: &self.method, url: &self.url, patch, replayable }
    }
}

/// Hides a key that the server put into a `Location` that is handed on.
pub(crate) fn mask(headers: &mut HeaderMap, url: &Url, patch: &Patch) {
    let clear = headers
        .get_all(LOCATION)
        .iter()
        .find_map(|location| masked(url, patch, &String::from_utf8_lossy(location.as_bytes())));
    if let Some(clear) = clear {
        headers.remove(LOCATION);
        headers.extend(HeaderValue::try_from(clear).ok().map(|clear| (LOCATION, clear)));
    }
}

/// A reqwest that follows no redirect by itself, and tells no server where a request came from: a
/// Referer would hold the query, and a key in it.
pub(crate) fn stay_here(http: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    http.redirect(reqwest::redirect::Policy::none()).referer(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(method: Method) -> Hop {
        let headers = [
            ("authorization", "mine"),
            ("cookie", "a=b"),
            ("content-type", "text/plain"),
            ("x-api-key", "my own"),
            ("accept", "*/*"),
        ];
        let headers = headers
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let url: Url = "https://u:p@api.example.com/v1?api_key=s".parse().expect("url");
        Hop::first(method, Arc::new(url), headers.into_iter().collect())
    }

    fn follow(hop: &Hop, status: u16, location: &str, replayable: bool) -> Option<Hop> {
        let status = StatusCode::from_u16(status).expect("status");
        let mut patch = Patch::default();
        patch.add_query("api_key", "s");
        let location = HeaderValue::from_str(location).expect("location");
        let headers = HeaderMap::from_iter([(LOCATION, location)]);
        let private = HeaderName::from_static("x-api-key");
        hop.follow(status, &headers, &patch, Some(&private), replayable)
    }

    #[test]
    fn what_is_private_stays_with_its_origin() {
        let get = hop(Method::GET);
        let away = follow(&get, 302, "https://u:p@other.example.com/?a=1&api_key=s", true);
        let away = away.expect("followed");
        assert_eq!(away.url.as_str(), "https://other.example.com/?a=1");
        let mut names: Vec<_> = away.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "content-type"], "the rest is for one origin");
        assert!(!away.written);
        let here = follow(&get, 302, "/v2?api_key=s", true).expect("followed");
        assert_eq!(here.url.query(), None);
        assert_eq!(
            (&here.headers[AUTHORIZATION], here.headers.len()),
            (&"mine".parse().expect("value"), 5)
        );
        assert!(follow(&get, 302, "file:///etc/passwd", true).is_none());
        assert!(follow(&get, 304, "/v2", true).is_none());
    }

    #[test]
    fn the_method_and_the_body_go_along_as_browsers_do_it() {
        let post = hop(Method::POST);
        for status in [301, 302, 303] {
            let next = follow(&post, status, "/v2", false).expect("followed");
            assert_eq!((&next.method, next.bare), (&Method::GET, true), "{status}");
            assert!(!next.headers.contains_key(CONTENT_TYPE), "{status}");
            assert!(follow(&next, 307, "/v3", false).is_some(), "there is no body any more");
        }
        for status in [307, 308] {
            assert!(follow(&post, status, "/v2", false).is_none(), "the body is gone");
            let next = follow(&post, status, "/v2", true).expect("followed");
            assert_eq!((next.method, next.bare), (Method::POST, false), "{status}");
        }
        let head = follow(&hop(Method::HEAD), 303, "/v2", true).expect("followed");
        assert_eq!(head.method, Method::HEAD);
        for method in [Method::PUT, Method::PATCH, Method::DELETE] {
            let (kept, got) = (follow(&hop(method.clone()), 302, "/", true), 303);
            assert_eq!(kept.expect("followed").method, method);
            let got = follow(&hop(method), got, "/", true).expect("followed");
            assert_eq!((got.method, got.bare), (Method::GET, true));
        }
    }

    #[test]
    fn a_location_that_holds_the_key_is_not_followed_and_is_masked() {
        let url: Url = "https://api.example.com/v1?a=1".parse().expect("url");
        let mut patch = Patch::default();
        patch.add_query("api_key", "sk_live/+ 42");
        let asked = Asked { method: &Method::GET, url: &url, patch: &patch, replayable: true };
        for location in [
            "https://other.test/login?next=https%3A%2F%2Fapi.example.com%2Fv1%3Fapi_key%3Dsk_live%252F%252B%2B42",
            "https://other.test/?API_KEY=sk_live%2F%2B+42",
            "https://other.test/?a=1;api_key=sk_live%2f%2b%2042",
            "https://other.test/x/sk_live%2F+%2042/y",
            "https://other.test/#api_key=sk_live/%2B+42",
            "https://other.test/?q=sk%255Flive%25252F%25252B%25252042",
            "https://sk_live%2F%2B%2042@other.test/",
            "/v2/sk_live/+ 42",
        ] {
            assert!(asked.follow(StatusCode::FOUND, location).is_none(), "{location}");
            let clear = masked(&url, &patch, location).expect(location);
            assert!(clear.ends_with("/***") && !clear.contains("42"), "{location}: {clear}");
        }
        let own = "https://other.test/?a=1&api_key=sk_live%2F%2B+42";
        let next = asked.follow(StatusCode::FOUND, own).expect("its own name is taken out");
        assert_eq!(next.url.as_str(), "https://other.test/?a=1");
        let dropped = "/sk_live%2F%2B%2042/../v2";
        assert!(asked.follow(StatusCode::FOUND, dropped).is_some(), "it goes nowhere");
        assert_eq!(masked(&url, &patch, dropped).as_deref(), Some("https://api.example.com/***"));
        assert_eq!(masked(&url, &patch, own).as_deref(), Some("https://other.test/?a=1"));
        assert_eq!(masked(&url, &patch, "/v2?a=1"), None);
        assert_eq!(masked(&url, &patch, "https://["), None);
        assert_eq!(masked(&url, &patch, "https://[sk_live/+ 42").as_deref(), Some("/***"));
    }
}
