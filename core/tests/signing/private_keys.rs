//! What private keys sign, their public halves verify.

use std::{fs, path::Path};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD as BASE64, BASE64_URL_SAFE_NO_PAD as BASE64URL},
};
use keyswap::{
    Credential, Scheme,
    signing::{Algorithm, Component, HttpSignature},
};
use ring::{
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA512,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};
use serde_json::Value;

use crate::{Signed, sign};

const NOW: i64 = 1_700_000_000_123;

/// A secret as a set has it, and what verifies.
struct Pair {
    secret: String,
    public: Vec<u8>,
}

impl Pair {
    fn pem(pkcs8: &[u8], public: &[u8]) -> Self {
        let body = BASE64.encode(pkcs8);
        let secret = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        Self { secret, public: public.to_vec() }
    }

    fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        Self::pem(pkcs8.as_ref(), pair.public_key().as_ref())
    }

    fn p256() -> Self {
        let (curve, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref(), &random).unwrap();
        Self::pem(pkcs8.as_ref(), pair.public_key().as_ref())
    }

    /// Made by openssl for this test alone.
    fn rsa() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signing/rsa.pem");
        let secret = fs::read_to_string(path).unwrap();
        let body: String = secret.lines().filter(|line| !line.starts_with('-')).collect();
        let pair = rsa::KeyPair::from_pkcs8(&BASE64.decode(body).unwrap()).unwrap();
        let public = pair.public().as_ref().to_vec();
        Self { secret, public }
    }

    fn credential(&self) -> Credential {
        Credential::new("k1", "organizations/o/apiKeys/k")
            .with_material("secret", self.secret.as_str())
    }

    fn verify(&self, by: &'static dyn VerificationAlgorithm, message: &[u8], signature: &[u8]) {
        let public = UnparsedPublicKey::new(by, &self.public);
        public.verify(message, signature).expect("it verifies");
        let mut other = message.to_vec();
        other[0] ^= 1;
        assert!(public.verify(&other, signature).is_err());
    }
}

#[test]
fn binance_takes_ed25519_and_rsa_keys() {
    let algorithms: [(Pair, &'static dyn VerificationAlgorithm); 2] =
        [(Pair::ed25519(), &ED25519), (Pair::rsa(), &RSA_PKCS1_2048_8192_SHA256)];
    for (pair, by) in algorithms {
        let url = "https://api.binance.com/api/v3/order?symbol=%EF%BC%91&side=BUY";
        let signed =
            sign(&Scheme::binance(), &pair.credential(), "POST", url, Some("price=1"), NOW);
        let query = signed.url.query().unwrap();
        let (payload, signature) = query.split_once("&signature=").unwrap();
        let signature = signature.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
        let message = format!("{payload}price=1");
        pair.verify(by, message.as_bytes(), &BASE64.decode(signature).unwrap());
    }
}

#[test]
fn bybit_takes_rsa_keys() {
    let pair = Pair::rsa();
    let url = "https://api.bybit.com/v5/order/realtime?category=linear";
    let signed = sign(&Scheme::bybit(), &pair.credential(), "GET", url, None, NOW);
    let key = signed.header("x-bapi-api-key");
    let message = format!("{NOW}{key}5000category=linear");
    let signature = BASE64.decode(signed.header("x-bapi-sign")).unwrap();
    pair.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature);
}

fn part(text: &str) -> Value {
    serde_json::from_slice(&BASE64URL.decode(text).unwrap()).unwrap()
}

#[test]
fn coinbase_has_a_token_for_each_request() {
    let algorithms: [(Pair, &str, &'static dyn VerificationAlgorithm); 2] =
        [(Pair::p256(), "ES256", &ECDSA_P256_SHA256_FIXED), (Pair::ed25519(), "EdDSA", &ED25519)];
    for (pair, name, by) in algorithms {
        let url = "https://api.coinbase.com/api/v3/brokerage/orders?limit=1";
        let token = |signed: &Signed| {
            signed.header("authorization").strip_prefix("Bearer ").unwrap().to_owned()
        };
        let scheme = Scheme::coinbase();
        let first = token(&sign(&scheme, &pair.credential(), "GET", url, None, NOW));
        let (message, signature) = first.rsplit_once('.').unwrap();
        pair.verify(by, message.as_bytes(), &BASE64URL.decode(signature).unwrap());
        let (header, claims) = message.split_once('.').unwrap();
        let (header, claims) = (part(header), part(claims));
        assert_eq!((&header["alg"], &header["typ"]), (&name.into(), &"JWT".into()));
        assert_eq!(header["kid"], "organizations/o/apiKeys/k");
        assert_eq!(header["nonce"].as_str().unwrap().len(), 32);
        assert_eq!((&claims["iss"], &claims["sub"]), (&"cdp".into(), &header["kid"]));
        assert_eq!(claims["nbf"], 1_700_000_000);
        assert_eq!(claims["exp"], 1_700_000_120);
        assert_eq!(claims["uri"], "GET api.coinbase.com/api/v3/brokerage/orders");
        assert_ne!(token(&sign(&scheme, &pair.credential(), "GET", url, None, NOW)), first);
    }
}

#[test]
fn http_signatures_verify_with_each_algorithm() {
    let algorithms: [(Algorithm, Pair, &str, &'static dyn VerificationAlgorithm); 4] = [
        (Algorithm::Ed25519, Pair::ed25519(), "ed25519", &ED25519),
        (Algorithm::EcdsaP256Sha256, Pair::p256(), "ecdsa-p256-sha256", &ECDSA_P256_SHA256_FIXED),
        (Algorithm::RsaV15Sha256, Pair::rsa(), "rsa-v1_5-sha256", &RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::RsaPssSha512, Pair::rsa(), "rsa-pss-sha512", &RSA_PSS_2048_8192_SHA512),
    ];
    for (algorithm, pair, name, by) in algorithms {
        let covered = [
            Component::Method,
            Component::TargetUri,
            Component::RequestTarget,
            Component::Query,
            Component::Scheme,
            Component::ContentDigest,
            Component::Header("x-absent".into()),
        ];
        let signature = HttpSignature::new(algorithm, covered)
            .with_algorithm_name()
            .expires_after(60)
            .tag("app");
        let url = "https://api.example.com:8443/a%2Fb?q=%20'";
        let signed = sign(
            &Scheme::http_signature(signature),
            &pair.credential(),
            "PUT",
            url,
            Some("hello"),
            NOW,
        );
        let input = signed.header("signature-input").strip_prefix("sig1=").unwrap();
        let expected = format!(
            "(\"@method\" \"@target-uri\" \"@request-target\" \"@query\" \"@scheme\" \"content-digest\")\
             ;created=1700000000;expires=1700000060;keyid=\"organizations/o/apiKeys/k\";alg=\"{name}\";tag=\"app\""
        );
        assert_eq!(input, expected);
        let digest = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
        assert_eq!(signed.header("content-digest"), digest);
        let base = format!(
            "\"@method\": PUT\n\"@target-uri\": https://api.example.com:8443/a%2Fb?q=%20%27\n\
             \"@request-target\": /a%2Fb?q=%20%27\n\"@query\": ?q=%20%27\n\"@scheme\": https\n\
             \"content-digest\": {digest}\n\"@signature-params\": {input}"
        );
        let signature = signed.header("signature").strip_prefix("sig1=:").unwrap();
        let signature = BASE64.decode(signature.strip_suffix(':').unwrap()).unwrap();
        pair.verify(by, base.as_bytes(), &signature);
    }
}
