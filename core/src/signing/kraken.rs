//! Kraken: a nonce in the body, and a signature of the path and of a digest of both.

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use ring::{digest, hmac};

use super::{
    codes::{Codes, Meaning},
    crypto::{base64_secret, hmac_of},
    text::without_field,
};
use crate::{
    credential::Credential,
    error::Error,
    scheme::{Patch, Scheme, Sign, Unsigned, material},
};

const KEY: HeaderName = HeaderName::from_static("api-key");
const SIGNATURE: HeaderName = HeaderName::from_static("api-sign");

#[derive(Debug)]
struct Kraken;

impl Scheme {
    /// Kraken, spot: `nonce` goes into the body, first, in place of any that is there. It rises with each send of a
    /// key, so that key must be used by this handle alone. A request without a body and with the method GET is
    /// for a public endpoint, and left as it is.
    pub fn kraken() -> Self {
        Self::signing(Kraken)
    }
}

impl Sign for Kraken {
    fn sign(
        &self,
        credential: &Credential,
        request: &Unsigned<'_>,
        patch: &mut Patch,
    ) -> Result<(), Error> {
        let own = request.body.unwrap_or(b"");
        if matches!(*request.method, Method::GET | Method::HEAD) && own.is_empty() {
            return Ok(());
        }
        let key = material(credential, "key")?;
        let secret = base64_secret(credential)?;
        let nonce = request.nonce(credential).to_string();
        let is_json = |value: &HeaderValue| value.as_bytes().starts_with(b"application/json");
        let kind = request.headers.get(CONTENT_TYPE);
        let body = match kind.is_some_and(is_json) {
            true => json(own, &nonce),
            false => form(own, &nonce),
        };
        let mut digest = digest::Context::new(&digest::SHA256);
        digest.update(nonce.as_bytes());
        digest.update(&body);
        let path = request.url.path().as_bytes();
        let parts = [path, digest.finish().as_ref()].concat();
        let signature = BASE64.encode(hmac_of(hmac::HMAC_SHA512, &secret, &[&parts]));
        patch.add_header(KEY, key, credential)?;
        patch.add_header(SIGNATURE, &signature, credential)?;
        if kind.is_none() {
            patch.add_plain_header(
                CONTENT_TYPE,
                "application/x-www-form-urlencoded",
                credential,
            )?;
        }
        patch.set_body(body);
        Ok(())
    }

    fn needs_body(&self) -> bool {
        true
    }
}

fn form(own: &[u8], nonce: &str) -> Bytes {
    let rest = without_field(own, "nonce");
    let and: &[u8] = if rest.is_empty() { b"" } else { b"&" };
    [b"nonce=", nonce.as_bytes(), and, &rest].concat().into()
}

/// The same for an object in JSON, whose other bytes stay as they are unless it has a nonce.
fn json(own: &[u8], nonce: &str) -> Bytes {
    let read = || serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(own).ok();
    let has_nonce = own.windows(7).any(|part| part == b"\"nonce\"");
    if let Some(mut object) = has_nonce.then(read).flatten() {
        object.insert("nonce".into(), nonce.into());
        return serde_json::Value::Object(object).to_string().into();
    }
    let trimmed = own.trim_ascii();
    match trimmed.strip_prefix(b"{").map(<[u8]>::trim_ascii_start) {
        None if !trimmed.is_empty() => own.to_vec().into(),
        None | Some(b"}") => format!("{{\"nonce\":\"{nonce}\"}}").into(),
        Some(rest) => [b"{\"nonce\":\"", nonce.as_bytes(), b"\",", rest].concat().into(),
    }
}

/// A nonce that is not higher than the last is no bad key: two threads may have overtaken one another. Bad keys in a
/// row lock the account, and then each request makes it worse.
pub(super) fn codes() -> Codes {
    Codes::in_field("error")
        .means(Meaning::Rejected, ["EAPI:Invalid key", "EAPI:Invalid signature"])
        .means(Meaning::Skewed, ["EAPI:Invalid nonce"])
        .means(
            Meaning::Throttled,
            [
                "EAPI:Rate limit exceeded",
                "EGeneral:Too many requests",
                "EOrder:Rate limit exceeded",
            ],
        )
        .means(Meaning::Locked, ["EGeneral:Temporary lockout"])
}
