//! Answers that must be signed, over real sockets: what is not signed changes nothing.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use keyswap::{
    CredentialSet, Error, ErrorKind, KeySwap, Policy,
    source::{Endpoint, Fetched, Source},
};
use ring::{
    digest,
    signature::{Ed25519KeyPair, KeyPair},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const DOCUMENT: &str = r#"{"set": "eu", "generation": 7, "lineage": "a",
    "current": {"id": "k_7", "material": {"key": "m4terial-9b1c"}}}"#;
const REVOKED: &str = r#"{"type": "urn:keyswap:error:set-revoked", "set": "eu"}"#;
const ETAG: &str = "etag: \"g7\"\r\n";

#[tokio::test]
async fn each_answer_that_changes_something_must_be_signed() {
    use ErrorKind::*;
    let other = DOCUMENT.replace("\"eu\"", "\"us\"");
    let nameless = DOCUMENT.replace("\"set\": \"eu\",", "");
    let elsewhere = REVOKED.replace("\"eu\"", "\"us\"");
    let cases = [
        (plain(200, ETAG, DOCUMENT), SignatureInvalid, "answered with no SHA-256 Content-Digest"),
        (signed(200, 9, ETAG, DOCUMENT), SignatureInvalid, "does not hold for the pinned key"),
        (
            signed(200, 7, ETAG, DOCUMENT).replace("k_7", "k_8"),
            SignatureInvalid,
            "matches the body",
        ),
        (signed(200, 7, ETAG, &other), Malformed, "set must be the one that was asked for"),
        (signed(200, 7, ETAG, &nameless), Malformed, "a signed document must name its set"),
        (plain(410, "", REVOKED), SignatureInvalid, "answered with no SHA-256"),
        (signed(410, 9, "", REVOKED), SignatureInvalid, "does not hold for the pinned key"),
        (signed(410, 7, "", REVOKED), SetRevoked, "was revoked"),
        (signed(410, 7, "", &elsewhere), Unavailable, "cannot answer now (410)"),
        (plain(304, ETAG, ""), SignatureInvalid, "no signature"),
        (signed(304, 9, ETAG, ""), SignatureInvalid, "does not hold for the pinned key"),
        (signed(304, 7, "etag: \"g6\"\r\n", ""), SignatureInvalid, "a 304 whose ETag is not"),
        // What changes nothing needs no signature.
        (plain(401, "", ""), BootstrapRejected, "(401)"),
        (plain(503, "", ""), Unavailable, "(503)"),
    ];
    for (answer, kind, words) in cases {
        let endpoint = endpoint(&[signed(200, 7, ETAG, DOCUMENT), answer]).await;
        let held = fetched(endpoint.fetch(None).await);
        let error = endpoint.fetch(Some(&held)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(words), "{words}: {shown}");
        assert!(!shown.contains("m4terial-9b1c"), "{shown}");
    }
    let endpoint = endpoint(&[signed(200, 7, ETAG, DOCUMENT), signed(304, 7, ETAG, "")]).await;
    let held = fetched(endpoint.fetch(None).await);
    assert!(matches!(endpoint.fetch(Some(&held)).await.unwrap(), Fetched::NotModified));
}

// ---- fresh ----

#[tokio::test]
async fn a_fresh_process_takes_no_old_answer_and_nobody_one_of_the_future() {
    let now = jiff::Timestamp::now().as_second();
    for (created, words) in [
        (now - 10 * 365 * 86_400, "an earlier answer is played again"),
        (now - 3700, "an earlier answer is played again"),
        (now + 400, "one of the two clocks is wrong"),
        (253_402_300_799, "one of the two clocks is wrong"),
    ] {
        let answers = [made(created, 200, ETAG, DOCUMENT), signed(200, 7, ETAG, DOCUMENT)];
        let endpoint = endpoint(&answers).await;
        let error = endpoint.fetch(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SignatureInvalid);
        let shown = error.to_string();
        assert!(shown.contains(words), "{words}: {shown}");
        assert!(shown.contains(&jiff::Timestamp::now().to_string()[..13]), "both clocks: {shown}");
        // It moved nothing: the next answer is as good as ever.
        fetched(endpoint.fetch(None).await);
    }
    fetched(endpoint(&[made(now - 3500, 200, ETAG, DOCUMENT)]).await.fetch(None).await);
}

#[tokio::test]
async fn the_age_of_an_answer_is_the_programs_to_say() {
    let old = jiff::Timestamp::now().as_second() - 30;
    let policy = Policy::default().signature_age(Duration::from_secs(10));
    let endpoint = endpoint(&[made(old, 200, ETAG, DOCUMENT)]).await;
    let error = KeySwap::follow(endpoint).policy(policy).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SignatureInvalid, "{error}");
}

// ---- bound ----

/// Whatever the URL looks like, an answer for another set of the same signer is none.
#[tokio::test]
async fn an_answer_is_of_the_set_that_was_asked_for() {
    let other = DOCUMENT.replace("\"eu\"", "\"us\"");
    for path in ["sets/eu", "sets/eu/", "sets/%65u", "v2/eu", "eu"] {
        let right = endpoint_at(path, &[signed(200, 7, ETAG, DOCUMENT)]).await;
        fetched(right.fetch(None).await);
        let wrong = endpoint_at(path, &[signed(200, 7, ETAG, &other)]).await;
        let error = wrong.fetch(None).await.unwrap_err();
        assert!(error.to_string().contains("set must be the one"), "{path}: {error}");
    }
    let file = || async { endpoint_at("keys.json", &[signed(200, 7, ETAG, DOCUMENT)]).await };
    assert!(file().await.fetch(None).await.is_err(), "it is not called keys.json");
    fetched(file().await.set_name("eu").fetch(None).await);
    let root = || async { endpoint_at("", &[signed(200, 7, ETAG, DOCUMENT)]).await };
    let error = KeySwap::follow(root().await).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("as the option `set_name`"), "{error}");
    fetched(root().await.set_name("eu").fetch(None).await);
}

#[tokio::test]
async fn a_304_and_a_410_say_which_set_they_mean() {
    let others = signed(304, 7, ETAG, "").replace("tag=\"eu\"", "tag=\"us\"");
    let nameless = REVOKED.replace(", \"set\": \"eu\"", "");
    let whole = || signed(200, 7, ETAG, DOCUMENT);
    let forged = endpoint(&[whole(), others]).await;
    let held = fetched(forged.fetch(None).await);
    let error = forged.fetch(Some(&held)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SignatureInvalid, "the tag is signed: {error}");
    let honest = endpoint(&[whole(), tagged("us", 304, ETAG, ""), signed(304, 7, ETAG, "")]).await;
    let held = fetched(honest.fetch(None).await);
    let error = honest.fetch(Some(&held)).await.unwrap_err();
    assert!(error.to_string().contains("does not name this set"), "{error}");
    assert!(matches!(honest.fetch(Some(&held)).await.unwrap(), Fetched::NotModified));
    let gone = endpoint(&[whole(), signed(410, 7, "", &nameless)]).await;
    fetched(gone.fetch(None).await);
    let error = gone.fetch(Some(&held)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

/// A signed reset is taken at once; an unsigned 410 leaves what is held.
#[tokio::test]
async fn a_signature_is_what_lets_an_endpoint_begin_anew() {
    let reset = DOCUMENT
        .replace("\"lineage\": \"a\"", "\"lineage\": \"b\"")
        .replace("\"generation\": 7", "\"generation\": 2")
        .replace("k_7", "k_2");
    let answers = [
        signed(200, 7, ETAG, DOCUMENT),
        plain(410, "", REVOKED),
        signed(200, 7, "etag: \"g2\"\r\n", &reset),
        signed(410, 7, "", REVOKED),
    ];
    let policy = Policy::default()
        .fetch_floor(Duration::from_millis(1))
        .fetch_floor_min(Duration::from_millis(1));
    let keys = KeySwap::follow(endpoint(&answers).await).policy(policy).await.unwrap();
    assert_eq!(keys.current().unwrap().id(), "k_7");
    let error = keys.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SignatureInvalid);
    assert_eq!(keys.current().unwrap().id(), "k_7");
    keys.refresh().await.unwrap();
    assert_eq!(keys.current().unwrap().id(), "k_2");
    keys.refresh().await.unwrap_err();
    assert_eq!(keys.current().unwrap_err().kind(), ErrorKind::SetRevoked);
}

// ---- a server that signs ----

fn plain(status: u16, head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{head}content-length: {length}\r\n\r\n{body}")
}

/// Signed as the protocol says, by the key of this seed.
fn signed(status: u16, seed: u8, head: &str, body: &str) -> String {
    sign(jiff::Timestamp::now().as_second(), "eu", status, seed, head, body)
}

fn made(created: i64, status: u16, head: &str, body: &str) -> String {
    sign(created, "eu", status, 7, head, body)
}

fn tagged(tag: &str, status: u16, head: &str, body: &str) -> String {
    sign(jiff::Timestamp::now().as_second(), tag, status, 7, head, body)
}

fn sign(created: i64, tag: &str, status: u16, seed: u8, head: &str, body: &str) -> String {
    let (name, value) = match status {
        304 => ("etag", head.trim().trim_start_matches("etag: ").to_owned()),
        _ => {
            let digest = digest::digest(&digest::SHA256, body.as_bytes());
            ("content-digest", format!("sha-256=:{}:", STANDARD.encode(digest)))
        }
    };
    let input = format!("(\"@status\" \"{name}\");created={created};keyid=\"k\";tag=\"{tag}\"");
    let base =
        format!("\"@status\": {status}\n\"{name}\": {value}\n\"@signature-params\": {input}");
    let signature = STANDARD.encode(pair(seed).sign(base.as_bytes()));
    let digest = if status == 304 { String::new() } else { format!("{name}: {value}\r\n") };
    let head =
        format!("{head}{digest}signature-input: s={input}\r\nsignature: s=:{signature}:\r\n");
    plain(status, &head, body)
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// An endpoint that gives these answers, one a connection, and the last one again and again.
async fn endpoint(answers: &[String]) -> Endpoint {
    endpoint_at("v1/sets/eu", answers).await
}

async fn endpoint_at(path: &str, answers: &[String]) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/{path}", listener.local_addr().unwrap());
    let answers = Arc::new(Mutex::new(answers.to_vec()));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = {
                let mut answers = answers.lock().unwrap();
                if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let key = STANDARD.encode(pair(7).public_key());
    Endpoint::new(url).unwrap().bootstrap("b00tstrap").signed_by(&key).unwrap()
}

#[track_caller]
fn fetched(outcome: Result<Fetched, Error>) -> CredentialSet {
    match outcome.unwrap() {
        Fetched::Set(set) => set,
        other => panic!("{other:?}"),
    }
}
