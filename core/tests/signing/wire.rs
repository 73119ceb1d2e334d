//! What is signed is what is sent, byte for byte, whatever the URL and the body are.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use keyswap::{
    Client, Credential, CredentialSet, ErrorKind, KeySwap, Scheme, api,
    signing::{Api, Encoding, Hmac, Part, TimeForm},
    source,
};
use ring::{digest, hmac};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::hmac_hex;

pub(crate) const SECRET: &str = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76s=";

/// A request as it came over the wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }
}

/// A server that answers with what `judge` says of each request.
pub(crate) async fn serve(
    judge: impl Fn(&Wire) -> (u16, String) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let judge = Arc::new(judge);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let judge = judge.clone();
            tokio::spawn(async move {
                let mut read = Vec::new();
                let wire = loop {
                    if let Some(wire) = parse(&read) {
                        break wire;
                    }
                    if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                        return;
                    }
                };
                let (status, body) = judge(&wire);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    url
}

fn parse(read: &[u8]) -> Option<Wire> {
    let end = read.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&read[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let wire = Wire { method, target, headers, body: read[end + 4..].to_vec() };
    let length: usize = wire.header("content-length").parse().unwrap_or(0);
    assert!(wire.body.len() <= length, "no byte beyond what was announced");
    (wire.body.len() == length).then_some(wire)
}

pub(crate) async fn keys() -> KeySwap {
    let vault = source::from_fn(|| async {
        let key = Credential::new("k1", "the-key").with_material("secret", SECRET);
        Ok(CredentialSet::new(key.with_material("passphrase", "pass")))
    });
    let policy = serde_json::from_str(r#"{"fetch_floor": 0.01, "fetch_floor_min": 0.01}"#).unwrap();
    KeySwap::follow(vault).policy(policy).await.unwrap()
}

/// Whether what came is signed, by somebody who knows nothing but the wire.
pub(crate) fn verify(name: &str, wire: &Wire) {
    let secret = BASE64.decode(SECRET).unwrap();
    let sha256 = |key: &[u8], message: &[u8]| {
        BASE64.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message))
    };
    match name {
        "binance" => {
            let (payload, signature) =
                wire.query().rsplit_once("&signature=").unwrap_or_else(|| {
                    panic!("the signature is last: {}", wire.target);
                });
            let message = [payload.as_bytes(), &wire.body].concat();
            assert_eq!(signature, hmac_hex(SECRET, &message), "{}", wire.target);
            let pairs = url::form_urlencoded::parse(wire.query().as_bytes());
            let times = pairs.filter(|(name, _)| name == "timestamp").count();
            assert_eq!(times, 1, "{}", wire.target);
        }
        "kraken" => {
            let body = std::str::from_utf8(&wire.body).unwrap();
            let nonce = body.strip_prefix("nonce=").unwrap().split('&').next().unwrap();
            assert!(!nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_digit()));
            let hashed = [nonce.as_bytes(), &wire.body].concat();
            let hashed = digest::digest(&digest::SHA256, &hashed);
            let message = [wire.path().as_bytes(), hashed.as_ref()].concat();
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, &secret), &message);
            assert_eq!(wire.header("api-sign"), BASE64.encode(tag), "{}", wire.target);
        }
        "okx" => {
            let head = [wire.header("ok-access-timestamp"), &wire.method, &wire.target].concat();
            let message = [head.as_bytes(), &wire.body].concat();
            assert_eq!(wire.header("ok-access-sign"), sha256(SECRET.as_bytes(), &message));
        }
        "coinbase_exchange" => {
            let head = [wire.header("cb-access-timestamp"), &wire.method, &wire.target].concat();
            let message = [head.as_bytes(), &wire.body].concat();
            assert_eq!(wire.header("cb-access-sign"), sha256(&secret, &message));
        }
        "bybit" => {
            let (time, key) = (wire.header("x-bapi-timestamp"), wire.header("x-bapi-api-key"));
            let head = [time, key, wire.header("x-bapi-recv-window")].concat();
            let rest = if wire.method == "GET" { wire.query().as_bytes() } else { &wire.body };
            let message = [head.as_bytes(), rest].concat();
            assert_eq!(wire.header("x-bapi-sign"), hmac_hex(SECRET, &message));
        }
        "described" => {
            let body = digest::digest(&digest::SHA256, &wire.body);
            let body: String = body.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            let time = wire.header("x-nonce");
            let message =
                [wire.header("host"), "|", wire.path(), "|", wire.query(), "|", &body, time]
                    .concat();
            assert_eq!(wire.header("x-sign"), hmac_hex(SECRET, message.as_bytes()), "{message}");
        }
        other => panic!("{other}"),
    }
}

pub(crate) fn built_in(name: &str) -> Api {
    match name {
        "binance" => api::binance(),
        "kraken" => api::kraken(),
        "okx" => api::okx(),
        "coinbase_exchange" => api::coinbase_exchange(),
        "bybit" => api::bybit(),
        "described" => {
            let bar = || Part::Text("|".into());
            let parts = [
                Part::Host,
                bar(),
                Part::Path,
                bar(),
                Part::Query,
                bar(),
                Part::BodyDigest,
                Part::Time,
            ];
            let hmac = Hmac::sha256("x-sign", Encoding::Hex).covers(parts);
            Api::new(
                Scheme::hmac(hmac.time_in("x-nonce", TimeForm::Nonce)),
                keyswap::DefaultClassifier,
            )
        }
        other => panic!("{other}"),
    }
}

const ALL: [&str; 6] = ["binance", "kraken", "okx", "coinbase_exchange", "bybit", "described"];

/// A path and a query of whatever people write, encoded or not.
fn any_target(random: &mut fastrand::Rng) -> String {
    const PIECES: [&str; 28] = [
        "a", "B", "7", "~", "-", "_", ".", "%20", "%2F", "%2f", "%", "%zz", "+", " ", "'", "\"",
        "<", "|", "é", "中", "１", "//", ";", ":", "@", "!", "*", "(",
    ];
    const IN_QUERY: [&str; 12] = [
        "&",
        "=",
        "&&",
        "?",
        "timestamp=1",
        "&timestamp",
        "signature=x",
        "&signature=",
        "nonce=4",
        "/",
        "a=1",
        "&b=2",
    ];
    let piece = |random: &mut fastrand::Rng| PIECES[random.usize(..PIECES.len())];
    let mut target = "/".to_owned();
    (0..random.usize(..6)).for_each(|_| target += piece(random));
    if random.bool() {
        target.push('?');
        for _ in 0..random.usize(..8) {
            target += if random.bool() { piece(random) } else { IN_QUERY[random.usize(..12)] };
        }
    }
    target
}

fn any_body(random: &mut fastrand::Rng, is_text: bool) -> Vec<u8> {
    const PIECES: [&str; 10] =
        ["a=1", "&", "nonce=3", "no%6Ece=4", "%", "=", "+", "é", "{\"a\":1}", "signature=5"];
    let mut body = Vec::new();
    for _ in 0..random.usize(..6) {
        if is_text || random.bool() {
            body.extend_from_slice(PIECES[random.usize(..10)].as_bytes());
        } else {
            body.push(random.u8(..));
        }
    }
    body
}

#[tokio::test]
async fn what_is_signed_is_what_is_on_the_wire() {
    let keys = keys().await;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for name in ALL {
        let seen = Arc::new(Mutex::new(Wire::default()));
        let keep = seen.clone();
        let url = serve(move |wire| {
            *keep.lock().unwrap() = wire.clone();
            (200, r#"{"code":"0"}"#.into())
        })
        .await;
        let client = Client::builder(&keys).base_url(&url).unwrap().api(built_in(name));
        let client = client.build().unwrap();
        for _ in 0..60 {
            let target = any_target(&mut random);
            let Ok(whole) = format!("{url}{target}").parse::<url::Url>() else { continue };
            let gets = name != "kraken" && random.bool();
            let request =
                if gets { client.get(whole.as_str()) } else { client.post(whole.as_str()) };
            let body = any_body(&mut random, name == "kraken");
            let request = if gets { request } else { request.body(body) };
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200, "seed {seed}: {whole}");
            verify(name, &seen.lock().unwrap());
        }
    }
}

#[tokio::test]
async fn a_body_that_is_signed_cannot_be_a_stream() {
    let keys = keys().await;
    let url = serve(|_| (200, r#"{"error":[]}"#.into())).await;
    let client = Client::builder(&keys).base_url(&url).unwrap().api(api::kraken()).build().unwrap();
    let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("a=1"))]);
    let error = client.post("/0/private/AddOrder").body_stream(chunks).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    // A length that the caller gave is that of the body that is sent.
    let request = client.post("/0/private/AddOrder").header("content-length", "3").body("a=1");
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[cfg(all(feature = "reqwest-middleware", feature = "tower"))]
#[tokio::test]
async fn other_clients_send_the_body_that_was_signed() {
    use http_body_util::Full;
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    use keyswap::{
        Authorizer,
        integrations::{reqwest_middleware as keyed, tower::AuthorizeLayer},
    };
    use tower_layer::Layer;
    use tower_service::Service;

    let keys = keys().await;
    let url = serve(|wire| {
        verify("kraken", wire);
        (200, r#"{"error":[]}"#.into())
    })
    .await;
    let order = format!("{url}/0/private/AddOrder");
    let builder = Authorizer::builder(&keys).api(api::kraken());
    let authorizer = builder.allow_origin(&url).unwrap().build().unwrap();
    let client = keyed::client(&authorizer, keyed::http().unwrap()).unwrap().build();
    let response = client.post(&order).body("a=1").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("a=1"))]);
    let request = client.post(&order).body(reqwest::Body::wrap_stream(stream));
    assert!(format!("{:?}", request.send().await.unwrap_err()).contains("a stream here"));

    let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = || http::Request::post(&order).body(Full::from("a=1")).unwrap();
    let layer = AuthorizeLayer::new(&authorizer)
        .signed_bytes(|body: &Full<Bytes>| body.clone().into_inner());
    let error = layer.layer(http.clone()).call(request()).await.unwrap_err();
    assert!(error.to_string().contains("made_of_bytes"), "{error}");
    let mut service = layer_made(layer).layer(http);
    assert_eq!(service.call(request()).await.unwrap().status(), 200);

    fn layer_made(layer: AuthorizeLayer<Full<Bytes>>) -> AuthorizeLayer<Full<Bytes>> {
        layer.made_of_bytes(Full::from)
    }
}
