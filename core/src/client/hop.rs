//! Redirects, hop by hop.
//!
//! HTTP libraries forward custom headers and query parameters to wherever a redirect points, so none of
//! them is left to follow one: each hop is a request of its own, which asks anew what it may carry. The
//! caller's own private headers stay with their origin, and a key that a server copied from the query
//! into a `Location` is taken out again.

use http::{
    HeaderMap, Method, StatusCode,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION,
        PROXY_AUTHORIZATION,
    },
};
use url::Url;

use super::origin::is_same_origin;
use crate::scheme::Patch;

/// The most redirects that one send follows, as in reqwest.
pub(crate) const MAX_HOPS: u32 = 10;

/// One request of a chain of redirects.
pub(crate) struct Hop {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// Whether the body was left behind, as a redirect to GET does.
    pub(crate) bare: bool,
}

impl Hop {
    /// The request as its caller made it.
    pub(crate) fn first(method: Method, url: Url, headers: HeaderMap) -> Self {
        Self { method, url, headers, bare: false }
    }

    /// The next hop, if the response asks for one that can be made. `patch` is what this hop carried;
    /// `replayable` says whether the body can be sent again.
    pub(crate) fn follow(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        patch: &Patch,
        replayable: bool,
    ) -> Option<Self> {
        let keeps = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method != Method::POST,
            StatusCode::SEE_OTHER => self.method == Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            _ => return None,
        };
        let location = headers.get(LOCATION)?.to_str().ok()?;
        let mut url = self.url.join(location).ok()?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return None;
        }
        let to_get = !keeps && self.method != Method::GET;
        if !to_get && !self.bare && !replayable {
            return None;
        }
        patch.remove_query(&mut url);
        let mut headers = self.headers.clone();
        if !is_same_origin(&url, &self.url) {
            for private in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
                headers.remove(private);
            }
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        if to_get {
            for about_the_body in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                headers.remove(about_the_body);
            }
        }
        let method = if to_get { Method::GET } else { self.method.clone() };
        Some(Self { method, url, headers, bare: self.bare || to_get })
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
    use http::HeaderValue;

    fn hop(method: Method) -> Hop {
        let headers = [(AUTHORIZATION, "mine"), (COOKIE, "a=b"), (CONTENT_TYPE, "text/plain")];
        let headers =
            headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value)));
        let url = "https://u:p@api.example.com/v1?api_key=s".parse().expect("url");
        Hop::first(method, url, headers.collect())
    }

    fn follow(hop: &Hop, status: u16, location: &str, replayable: bool) -> Option<Hop> {
        let status = StatusCode::from_u16(status).expect("status");
        let mut patch = Patch::default();
        patch.add_query("api_key", "s");
        let location = HeaderValue::from_str(location).expect("location");
        hop.follow(status, &HeaderMap::from_iter([(LOCATION, location)]), &patch, replayable)
    }

    #[test]
    fn what_is_private_stays_with_its_origin() {
        let get = hop(Method::GET);
        let away = follow(&get, 302, "https://u:p@other.example.com/?a=1&api_key=s", true);
        let away = away.expect("followed");
        assert_eq!(away.url.as_str(), "https://other.example.com/?a=1");
        assert!(!away.headers.contains_key(AUTHORIZATION) && !away.headers.contains_key(COOKIE));
        let here = follow(&get, 302, "/v2?api_key=s", true).expect("followed");
        assert_eq!(here.url.query(), None);
        assert_eq!(here.headers[AUTHORIZATION], "mine");
        assert!(follow(&get, 302, "file:///etc/passwd", true).is_none());
        assert!(follow(&get, 304, "/v2", true).is_none());
    }

    #[test]
    fn the_method_and_the_body_go_along_as_browsers_do_it() {
        let post = hop(Method::POST);
        for status in [301, 302, 303] {
            let next = follow(&post, status, "/v2", false).expect("followed");
            assert_eq!((next.method, next.bare), (Method::GET, true), "{status}");
            assert!(!next.headers.contains_key(CONTENT_TYPE), "{status}");
        }
        for status in [307, 308] {
            assert!(follow(&post, status, "/v2", false).is_none(), "the body is gone");
            let next = follow(&post, status, "/v2", true).expect("followed");
            assert_eq!((next.method, next.bare), (Method::POST, false), "{status}");
        }
    }
}
