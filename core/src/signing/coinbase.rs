//! Coinbase: Advanced, whose signature is a JSON web token, and Exchange.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use http::header::AUTHORIZATION;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::{
    codes::{Codes, Meaning},
    crypto::{PrivateKey, PrivateKeys, hex, unfit},
    hmac::{Encoding, Hmac, Part, SecretForm, TimeForm, host},
};
use crate::{
    credential::Credential,
    error::Error,
    scheme::{Patch, Scheme, Sign, Unsigned, material},
};

/// For how many seconds a token is good.
const LIFE: i64 = 120;

#[derive(Debug, Default)]
struct Advanced(PrivateKeys);

impl Scheme {
    /// Coinbase Advanced, and what else takes keys of its Developer Platform: a token for each request, as
    /// `Authorization: Bearer`. The key is its name, and the secret its private key: in PEM on P-256, or in base64
    /// for Ed25519.
    pub fn coinbase() -> Self {
        Self::signing(Advanced::default())
    }

    /// Coinbase Exchange: time, method, target and body, in headers `CB-ACCESS-*`, with the passphrase.
    pub fn coinbase_exchange() -> Self {
        Self::hmac(
            Hmac::sha256("CB-ACCESS-SIGN", Encoding::Base64)
                .covers([Part::Time, Part::Method, Part::Target, Part::Body])
                .secret_is(SecretForm::Base64)
                .key_in("CB-ACCESS-KEY")
                .time_in("CB-ACCESS-TIMESTAMP", TimeForm::Seconds)
                .passphrase_in("CB-ACCESS-PASSPHRASE"),
        )
    }
}

impl Sign for Advanced {
    fn sign(
        &self,
        credential: &Credential,
        request: &Unsigned<'_>,
        patch: &mut Patch,
    ) -> Result<(), Error> {
        let name = material(credential, "key")?;
        let key = self.0.of(credential)?;
        let algorithm = match &*key {
            PrivateKey::Ed25519(_) => "EdDSA",
            PrivateKey::P256(_) => "ES256",
            PrivateKey::Rsa(_) => return Err(unfit(credential, "is an RSA key")),
        };
        let mut nonce = [0; 16];
        SystemRandom::new().fill(&mut nonce).map_err(|_| unfit(credential, "cannot sign"))?;
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": name, "nonce": hex(nonce)});
        let from = request.now.as_millisecond().div_euclid(1_000);
        let (method, host, path) = (request.method, host(request), request.url.path());
        let claims = json!({
            "sub": name,
            "iss": "cdp",
            "nbf": from,
            "exp": from + LIFE,
            "uri": format!("{method} {host}{path}"),
        });
        let mut token = BASE64URL.encode(header.to_string());
        token.push('.');
        BASE64URL.encode_string(claims.to_string(), &mut token);
        let signature = key.sign(token.as_bytes());
        let signature = signature.ok_or_else(|| unfit(credential, "cannot sign"))?;
        token.push('.');
        BASE64URL.encode_string(signature, &mut token);
        patch.add_header(AUTHORIZATION, &format!("Bearer {token}"), credential)
    }
}

/// Where it says no more than 401, it is the key. A missing permission says so.
pub(super) fn advanced_codes() -> Codes {
    Codes::in_field("error").bare_401_rejects().means(Meaning::Rejected, ["unauthorized"])
}

/// Coinbase Exchange says it in words.
pub(super) fn exchange_codes() -> Codes {
    Codes::in_field("message")
        .means(
            Meaning::Rejected,
            ["invalid api key", "invalid passphrase", "invalid signature", "invalid_signature"],
        )
        .means(Meaning::Skewed, ["request timestamp expired", "invalid timestamp"])
        .means(Meaning::Throttled, ["slow rate limit exceeded"])
}
