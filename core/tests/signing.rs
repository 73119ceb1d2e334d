//! Signatures that are built in: the vectors of those who publish some, what stands on the wire, and what answers mean.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod signing {
    pub(crate) mod answers;
    pub(crate) mod private_keys;
    pub(crate) mod rotation;
    pub(crate) mod vectors;
    pub(crate) mod wire;
}

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use keyswap::{Credential, Patch, Scheme, Unsigned};
use ring::hmac;
use url::Url;

/// A request, and what a scheme made of it.
struct Signed {
    url: Url,
    headers: HeaderMap,
    patch: Patch,
}

fn sign(
    scheme: &Scheme,
    credential: &Credential,
    method: &str,
    url: &str,
    body: Option<&str>,
    now_ms: i64,
) -> Signed {
    sign_with(scheme, credential, method, url, body, now_ms, &[])
}

fn sign_with(
    scheme: &Scheme,
    credential: &Credential,
    method: &str,
    url: &str,
    body: Option<&str>,
    now_ms: i64,
    own: &[(&str, &str)],
) -> Signed {
    let method: Method = method.parse().unwrap();
    let mut url: Url = url.parse().unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in own {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let now = Timestamp::from_millisecond(now_ms).unwrap();
    let request = Unsigned::new(&method, &url, &headers, body.map(str::as_bytes), now);
    let patch = scheme.apply(credential, &request).unwrap();
    patch.apply_headers(&mut headers);
    patch.apply_query(&mut url);
    Signed { url, headers, patch }
}

impl Signed {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    fn body(&self) -> &str {
        std::str::from_utf8(self.patch.body().unwrap()).unwrap()
    }
}

fn hmac_hex(secret: &str, message: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::sign(&key, message).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
