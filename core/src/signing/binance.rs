//! Binance: the query and then the body, percent-encoded as they are sent, and the signature at the end of the query.

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use http::HeaderName;
use ring::hmac;

use super::{
    codes::{Codes, Meaning},
    crypto::{PrivateKeys, hex, hmac_of, is_pem, unfit},
};
use crate::{
    credential::Credential,
    error::Error,
    scheme::{Patch, Scheme, Sign, Unsigned, material},
};

const KEY: HeaderName = HeaderName::from_static("x-mbx-apikey");

#[derive(Debug, Default)]
struct Binance(PrivateKeys);

impl Scheme {
    /// Binance, spot and futures: `timestamp` and `signature` go into the query, the key into `X-MBX-APIKEY`.
    /// The secret is that of an HMAC key, or a private key in PEM, Ed25519 or RSA. A request may bring its own
    /// `recvWindow`.
    pub fn binance() -> Self {
        Self::signing(Binance::default())
    }
}

impl Sign for Binance {
    fn sign(
        &self,
        credential: &Credential,
        request: &Unsigned<'_>,
        patch: &mut Patch,
    ) -> Result<(), Error> {
        let secret = material(credential, "secret")?;
        patch.add_header(KEY, material(credential, "key")?, credential)?;
        patch.add_plain_query("timestamp", &request.now.as_millisecond().to_string());
        // What is signed is the query as it will be sent, up to the signature.
        let mut url = request.url.clone();
        let mut own = Patch::default();
        own.add_query("signature", "");
        own.remove_query(&mut url);
        patch.apply_query(&mut url);
        let query = url.query().unwrap_or("").as_bytes();
        let body = request.body.unwrap_or(b"");
        let signature = if is_pem(secret) {
            let signature = self.0.of(credential)?.sign(&[query, body].concat());
            BASE64.encode(signature.ok_or_else(|| unfit(credential, "cannot sign"))?)
        } else {
            hex(hmac_of(hmac::HMAC_SHA256, secret.as_bytes(), &[query, body]))
        };
        patch.add_query("signature", &signature);
        Ok(())
    }

    fn needs_body(&self) -> bool {
        true
    }
}

/// -2015 is a wrong key, a wrong IP or a missing permission: it does not say which. As a rejection it makes the
/// others be asked, and changes nothing where none of them is taken. -1022, a bad signature, is a secret that
/// belongs to another key.
pub(super) fn codes() -> Codes {
    Codes::in_field("code")
        .means(Meaning::Accepted, ["200"])
        .means(Meaning::Rejected, ["-2014", "-2015", "-2008", "-1022"])
        .means(Meaning::Skewed, ["-1021"])
        .means(Meaning::Throttled, ["-1003", "-1015"])
}
