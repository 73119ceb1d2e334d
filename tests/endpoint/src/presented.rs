//! Where a request carries its credential.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

/// The material that a request presents: `x-api-key` (or the header that the set names), then
/// `Authorization: Bearer`, the password of `Authorization: Basic`, and the query's `api_key`.
pub fn presented(headers: &HeaderMap, query: Option<&str>, header: Option<&str>) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    header
        .and_then(text)
        .or_else(|| text("x-api-key"))
        .map(str::to_owned)
        .or_else(|| text("authorization").and_then(authorization))
        .or_else(|| query.and_then(api_key))
}

fn authorization(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        Some(rest.to_owned())
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        decoded.split_once(':').map(|(_, password)| password.to_owned())
    } else {
        None
    }
}

fn api_key(query: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.strip_prefix("api_key=")).map(percent)
}

/// Decodes `%41`; an unfinished escape stays as it is, since such a key matches nothing anyway.
pub(crate) fn percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header value"));
        presented(&headers, None, Some("x-mbx-apikey"))
    }

    #[test]
    fn every_place_is_looked_at() {
        assert_eq!(with("x-api-key", "s").as_deref(), Some("s"));
        assert_eq!(with("x-mbx-apikey", "s").as_deref(), Some("s"));
        assert_eq!(with("authorization", "bearer s").as_deref(), Some("s"));
        assert_eq!(with("authorization", "Basic dXNlcjpwYTpzcw==").as_deref(), Some("pa:ss"));
        assert_eq!(with("authorization", "Digest s"), None);
        assert_eq!(with("authorization", "Basic ?"), None);
        let query = presented(&HeaderMap::new(), Some("a=1&api_key=s%2B1%"), None);
        assert_eq!(query.as_deref(), Some("s+1%"));
        assert_eq!(presented(&HeaderMap::new(), Some("x_api_key=s"), None), None);
    }
}
