//! What other languages have as text: URLs, methods, statuses, headers.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use keyswap::Error;
use url::Url;

use crate::error::invalid;

/// A whole URL; `invalid_config` if it is none, and so for the others.
pub(crate) fn url_of(url: &str) -> Result<Url, Error> {
    // The text is not repeated: it may hold a user and a password.
    match Url::parse(url) {
        Ok(url) if url.has_host() => Ok(url),
        _ => Err(invalid("not a whole URL")),
    }
}

/// The name of a method.
pub(crate) fn method_of(name: &str) -> Result<Method, Error> {
    Method::from_bytes(name.as_bytes()).map_err(|_| invalid("not the name of an HTTP method"))
}

/// A status.
pub(crate) fn status_of(status: u32) -> Result<StatusCode, Error> {
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    status.ok_or_else(|| invalid("not an HTTP status"))
}

/// Headers as another library has them. What is no header is passed over: it cannot be sent either.
pub fn header_map<N: AsRef<str>, V: AsRef<str>>(
    pairs: impl IntoIterator<Item = (N, V)>,
) -> HeaderMap {
    let read = |name: N, value: V| {
        let name: HeaderName = name.as_ref().parse().ok()?;
        Some((name, HeaderValue::from_str(value.as_ref()).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.into_iter().filter_map(|(name, value)| read(name, value)) {
        headers.append(name, value);
    }
    headers
}

/// The same from Node's raw form: a name, its value, a name, its value.
pub fn header_pairs(raw: &[String]) -> impl Iterator<Item = (&String, &String)> {
    raw.chunks_exact(2).map(|pair| (&pair[0], &pair[1]))
}

/// Headers in the raw form: a name, its value, and so on.
pub(crate) fn raw_headers<'a, N: AsRef<str>>(
    headers: impl IntoIterator<Item = (N, &'a HeaderValue)>,
) -> Vec<String> {
    pairs_of(headers).into_iter().flat_map(|(name, value)| [name, value]).collect()
}

/// The same, owned.
pub fn owned_pairs(raw: &[String]) -> Vec<(String, String)> {
    header_pairs(raw).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Headers as pairs of text.
pub(crate) fn pairs_of<'a, N: AsRef<str>>(
    headers: impl IntoIterator<Item = (N, &'a HeaderValue)>,
) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.into_iter().map(|(name, value)| (name.as_ref().to_owned(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_go_there_and_back() {
        let raw = ["X-A", "1", "x-a", "2", "not a name", "3", "x-b", "a\nb", "left"];
        let raw = raw.map(str::to_owned);
        let headers = header_map(header_pairs(&raw));
        assert_eq!(raw_headers(&headers), ["x-a", "1", "x-a", "2"]);
    }

    #[test]
    fn a_url_that_is_none_is_not_quoted() {
        for odd in ["u:s3cr3t@", "/path", "data:s3cr3t", ""] {
            let error = url_of(odd).expect_err(odd);
            assert!(!error.to_string().contains("s3cr3t"));
        }
        assert!(url_of("https://api.example.com/x?y#z").is_ok());
        assert!(method_of("GET").is_ok() && method_of("G T").is_err());
        assert!(status_of(200).is_ok() && status_of(99).is_err() && status_of(70_000).is_err());
    }
}
