use base64::prelude::BASE64_STANDARD;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, KeyPair, UnparsedPublicKey, VerificationAlgorithm,
    },
};

use super::*;

fn pem(kind: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

/// Checks the signature, and returns what is signed.
fn opened(
    token: &str,
    by: &'static dyn VerificationAlgorithm,
    public: &[u8],
) -> [serde_json::Value; 2] {
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let signature = BASE64.decode(signature).expect("base64");
    UnparsedPublicKey::new(by, public).verify(signed.as_bytes(), &signature).expect("it is signed");
    let parts: Vec<_> = signed.split('.').collect();
    [parts[0], parts[1]]
        .map(|part| serde_json::from_slice(&BASE64.decode(part).expect("base64")).expect("JSON"))
}

fn assertion(key: &SigningKey) -> Zeroizing<String> {
    let claims =
        Claims { client_id: "bot", audience: "https://login.example.com/token", now: 1_000 };
    key.assertion(Some("k1"), &claims).expect("an assertion")
}

#[test]
fn an_ec_key_signs_in_either_form_that_openssl_writes() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
    let pkcs8 = pkcs8.expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random);
    let public = pair.expect("a key").public_key().as_ref().to_vec();
    // The last member of the outer one, whose own header is two bytes.
    let at = pkcs8.as_ref().windows(2).position(|it| it == b"\x30\x6b").expect("the inner key");
    let forms = [pem("PRIVATE KEY", pkcs8.as_ref()), pem("EC PRIVATE KEY", &pkcs8.as_ref()[at..])];
    for form in forms {
        let key = SigningKey::read(&form, Algorithm::Es256).expect("a key");
        let token = assertion(&key);
        let [header, claims] = opened(&token, &ECDSA_P256_SHA256_FIXED, &public);
        assert_eq!(header, json!({"alg": "ES256", "typ": "JWT", "kid": "k1"}));
        let jti = claims["jti"].clone();
        let said = json!({
            "iss": "bot", "sub": "bot", "aud": "https://login.example.com/token",
            "iat": 1_000, "exp": 1_060, "jti": jti,
        });
        assert_eq!(claims, said);
        let [_, other] = opened(&assertion(&key), &ECDSA_P256_SHA256_FIXED, &public);
        assert_ne!(other["jti"], jti, "each is used once");
    }
}

#[test]
fn an_ed25519_key_signs() {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
    let text = pem("PRIVATE KEY", pkcs8.as_ref());
    let key = SigningKey::read(&text, Algorithm::EdDsa).expect("a key");
    let [header, _] = opened(&assertion(&key), &ED25519, pair.public_key().as_ref());
    assert_eq!(header["alg"], "EdDSA");
    // A key of another kind is not what it is said to be.
    for other in [Algorithm::Es256, Algorithm::Rs256] {
        let error = SigningKey::read(&text, other).map(drop).expect_err("another algorithm");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(other.name()), "{error}");
    }
}

#[test]
fn what_is_no_key_is_told_and_not_quoted() {
    for odd in ["", "s3cr3t", "-----BEGIN PRIVATE KEY-----\ns3cr3t\n-----END PRIVATE KEY-----"] {
        let error = SigningKey::read(odd, Algorithm::Es256).map(drop).expect_err(odd);
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
    }
    assert!(Algorithm::named("HS256").is_err());
}
