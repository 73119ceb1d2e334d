//! What vendors and RFCs publish, and what ccxt signs.

use std::{collections::BTreeSet, fs, path::Path};

use keyswap::{
    Credential, Scheme,
    signing::{Algorithm, Component, Digest, Encoding, Hmac, HttpSignature, Part, TimeForm},
};
use serde_json::Value;
use url::Url;

use crate::{sign, sign_with};

fn vectors(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signing").join(file);
    let read: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    read["vectors"].as_array().unwrap().clone()
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}

/// The scheme that signs what a vector signs.
fn scheme(exchange: &str) -> Scheme {
    match exchange {
        "binance" => Scheme::binance(),
        "kraken" => Scheme::kraken(),
        "okx" => Scheme::okx(),
        "bybit" => Scheme::bybit(),
        "bitget" => Scheme::bitget(),
        "kucoin" => Scheme::kucoin(),
        "coinbaseexchange" => Scheme::coinbase_exchange(),
        "gate" => gate(),
        other => panic!("{other}"),
    }
}

/// Gate is not built in: the general scheme describes it.
fn gate() -> Scheme {
    let line = || Part::Text("\n".into());
    let parts = [
        Part::Method,
        line(),
        Part::Path,
        line(),
        Part::Query,
        line(),
        Part::BodyDigest,
        line(),
        Part::Time,
    ];
    let hmac = Hmac::new(Digest::Sha512, "SIGN", Encoding::Hex).covers(parts);
    Scheme::hmac(hmac.key_in("KEY").time_in("Timestamp", TimeForm::Seconds))
}

/// What ccxt sends beside what it signs.
const ITS_OWN: [&str; 6] = [
    "Referer",
    "X-CHANNEL-API-CODE",
    "KC-API-PARTNER-SIGN",
    "KC-API-PARTNER",
    "KC-API-PARTNER-VERIFY",
    "Content-Type",
];

#[test]
fn what_ccxt_signs_is_signed_alike() {
    let mut seen = BTreeSet::new();
    for vector in vectors("ccxt.json") {
        let (exchange, case) = (text(&vector, "exchange"), text(&vector, "case"));
        let mut key = Credential::new("k1", text(&vector, "key"))
            .with_material("secret", text(&vector, "secret"));
        if let Some(passphrase) = vector["passphrase"].as_str() {
            key = key.with_material("passphrase", passphrase);
        }
        // ccxt takes its own milliseconds for seconds there.
        let now = vector["now_ms"].as_i64().unwrap();
        let now = if exchange == "gate" { now / 1_000 } else { now };
        let (method, url, body) =
            (text(&vector, "method"), text(&vector, "url"), vector["body"].as_str());
        if exchange == "binance" {
            binance(&key, method, url, body, now);
        } else {
            let own = body.map(|body| match exchange {
                "kraken" => body.split_once('&').map_or("", |(_, rest)| rest),
                _ => body,
            });
            let signed = sign(&scheme(exchange), &key, method, url, own, now);
            assert_eq!(signed.url.as_str(), url, "{exchange} {case}");
            for (name, value) in vector["headers"].as_object().unwrap() {
                if !ITS_OWN.contains(&&**name) {
                    assert_eq!(
                        signed.header(name),
                        value.as_str().unwrap(),
                        "{exchange} {case} {name}"
                    );
                }
            }
            if exchange == "kraken" {
                assert_eq!(signed.body(), body.unwrap());
                assert_eq!(signed.header("content-type"), "application/x-www-form-urlencoded");
            }
        }
        seen.insert((exchange.to_owned(), case.to_owned()));
    }
    assert_eq!(seen.len(), 16);
}

/// ccxt puts the time in front and the signature where the parameters are; here both are at the end of the query.
fn binance(key: &Credential, method: &str, url: &str, body: Option<&str>, now: i64) {
    let mut bare: Url = url.parse().unwrap();
    let whole = body.unwrap_or(bare.query().unwrap_or("")).to_owned();
    bare.set_query(None);
    let (payload, signature) = whole.split_once("&signature=").unwrap();
    // The same bytes, of which the query has none but the time.
    let rest = payload.strip_prefix(&format!("timestamp={now}")).unwrap();
    let signed = sign(&Scheme::binance(), key, method, bare.as_str(), Some(rest), now);
    let expected = format!("timestamp={now}&signature={signature}");
    assert_eq!(signed.url.query(), Some(&*expected));
    assert_eq!(signed.header("x-mbx-apikey"), key.reveal("key").unwrap());
}

#[test]
fn published_vectors_are_signed_as_they_say() {
    let mut seen = 0;
    for vector in vectors("published.json") {
        let (name, scheme) = (text(&vector, "name"), text(&vector, "scheme"));
        let key = |secret: &str| Credential::new("k1", "key").with_material("secret", secret);
        match scheme {
            "binance" => {
                let payload = text(&vector, "payload");
                let (query, now) = payload.split_once("&timestamp=").unwrap();
                let url = format!("https://api.binance.com/api/v3/order?{query}");
                let key = key(text(&vector, "secret"));
                let signed =
                    sign(&Scheme::binance(), &key, "POST", &url, None, now.parse().unwrap());
                let expected = format!("{payload}&signature={}", text(&vector, "signature"));
                assert_eq!(signed.url.query(), Some(&*expected), "{name}");
            }
            "kraken" => {
                let url = format!("https://api.kraken.com{}", text(&vector, "path"));
                let (nonce, body) = (text(&vector, "nonce"), text(&vector, "body"));
                let key = key(text(&vector, "secret"));
                let own = body.replace(nonce, "7");
                let now = nonce.parse().unwrap();
                let signed = sign(&Scheme::kraken(), &key, "POST", &url, Some(&own), now);
                assert_eq!(
                    (signed.body(), signed.header("api-sign")),
                    (body, text(&vector, "signature"))
                );
            }
            "kucoin" => {
                let payload = text(&vector, "payload");
                let (now, rest) = payload.split_once("POST").unwrap();
                let (path, body) = rest.split_once('{').unwrap();
                let (url, body) = (format!("https://api.kucoin.com{path}"), format!("{{{body}"));
                let key = key(text(&vector, "secret")).with_material("passphrase", "pass");
                let scheme = Scheme::kucoin();
                let signed = sign(&scheme, &key, "POST", &url, Some(&body), now.parse().unwrap());
                assert_eq!(signed.header("kc-api-sign"), text(&vector, "signature"), "{name}");
            }
            "aws_sigv4" => {
                let key = Credential::new("k1", text(&vector, "access_key"))
                    .with_material("secret", text(&vector, "secret"));
                let scheme = Scheme::aws_sigv4(text(&vector, "service"), text(&vector, "region"));
                let signed = sign(
                    &scheme,
                    &key,
                    "GET",
                    "https://example.amazonaws.com/",
                    None,
                    1_440_938_160_000,
                );
                assert!(signed.header("authorization").ends_with(text(&vector, "signature")));
            }
            // Beside the keys, in the unit tests.
            "jwt_eddsa" => {}
            other => panic!("{other}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 6);
}

/// RFC 9421, B.2.5 and B.2.6: those of its signatures that are the same each time.
#[test]
fn what_rfc_9421_signs_is_signed_alike() {
    let header = |name: &str| Component::Header(name.into());
    let own = [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    ];
    let url = "https://example.com/foo?param=Value&Pet=dog";
    let now = 1_618_884_473_000;
    let body = Some(r#"{"hello": "world"}"#);

    let covered = [header("date"), Component::Authority, header("content-type")];
    let scheme = HttpSignature::new(Algorithm::HmacSha256, covered).label("sig-b25");
    let key = Credential::new("k1", "test-shared-secret").with_material(
        "secret",
        "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==",
    );
    let signed = sign_with(&Scheme::http_signature(scheme), &key, "POST", url, body, now, &own);
    let input = r#"sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
    assert_eq!(signed.header("signature-input"), input);
    let signature = "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:";
    assert_eq!(signed.header("signature"), signature);

    let covered = [
        header("date"),
        Component::Method,
        Component::Path,
        Component::Authority,
        header("content-type"),
        header("content-length"),
    ];
    let scheme = HttpSignature::new(Algorithm::Ed25519, covered).label("sig-b26");
    let key = Credential::new("k1", "test-key-ed25519").with_material(
        "secret",
        "-----BEGIN PRIVATE KEY-----\n\
         MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n\
         -----END PRIVATE KEY-----",
    );
    let signed = sign_with(&Scheme::http_signature(scheme), &key, "POST", url, body, now, &own);
    let signature = "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:";
    assert_eq!(signed.header("signature"), signature);
}

#[test]
fn kraken_leaves_public_requests_alone_and_signs_json() {
    let secret =
        "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==";
    let key = Credential::new("k1", "key").with_material("secret", secret);
    let url = "https://api.kraken.com/0/public/Ticker?pair=XBTUSD";
    assert!(sign(&Scheme::kraken(), &key, "GET", url, None, 5).patch.is_empty());
    let json = [("content-type", "application/json")];
    let body = |own: &str| {
        let url = "https://api.kraken.com/0/private/AddOrder";
        let key = Credential::new("k1", "key").with_material("secret", secret);
        let signed = sign_with(&Scheme::kraken(), &key, "POST", url, Some(own), 5, &json);
        signed.body().to_owned()
    };
    assert_eq!(body(r#"{ "price": 1.50 }"#), r#"{"nonce":"5","price": 1.50 }"#);
    assert_eq!(body("{ }"), r#"{"nonce":"5"}"#);
    assert_eq!(body(""), r#"{"nonce":"5"}"#);
    assert_eq!(body(r#"{"nonce":7,"a":1}"#), r#"{"a":1,"nonce":"5"}"#);
}

#[test]
fn a_description_that_names_no_header_is_refused_when_a_client_is_built() {
    let key = Credential::new("k1", "key").with_material("secret", "00zz");
    for odd in [
        Hmac::sha256("a b", Encoding::Hex),
        Hmac::sha256("sign", Encoding::Hex).key_in("a\n"),
        Hmac::sha256("sign", Encoding::Hex).time_in("", TimeForm::Millis),
    ] {
        let keys = keyswap::source::from_fn(std::future::pending);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let built = runtime.block_on(async {
            let keys = keyswap::KeySwap::follow(keys).start().unwrap();
            let builder = keyswap::Authorizer::builder(&keys).scheme(Scheme::hmac(odd));
            builder.allow_origin("https://a.example").unwrap().build().map(drop)
        });
        assert_eq!(built.unwrap_err().kind(), keyswap::ErrorKind::InvalidConfig);
    }
    // A secret that is not what it is said to be is the credential's fault.
    let hex = Hmac::sha256("sign", Encoding::Hex).secret_is(keyswap::signing::SecretForm::Hex);
    let (url, headers) = ("https://a.example".parse().unwrap(), http::HeaderMap::new());
    let request = keyswap::Unsigned::new(
        &http::Method::GET,
        &url,
        &headers,
        None,
        jiff::Timestamp::UNIX_EPOCH,
    );
    let error = Scheme::hmac(hex).apply(&key, &request).unwrap_err();
    assert_eq!(error.kind(), keyswap::ErrorKind::SchemeFailed);
    assert!(!error.to_string().contains("00zz"));
}
