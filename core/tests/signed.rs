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
    let held = fetched(endpoint(&[signed(200, 7, ETAG, DOCUMENT)]).await.fetch(None).await);
    for (answer, kind, words) in cases {
        let error = endpoint(&[answer]).await.fetch(Some(&held)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(words), "{words}: {shown}");
        assert!(!shown.contains("m4terial-9b1c"), "{shown}");
    }
    let unchanged = endpoint(&[signed(304, 7, ETAG, "")]).await.fetch(Some(&held)).await;
    assert!(matches!(unchanged.unwrap(), Fetched::NotModified));
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
    let mut policy = Policy::default();
    policy.fetch_floor = Duration::from_millis(1);
    policy.fetch_floor_min = Duration::from_millis(1);
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
    let created = jiff::Timestamp::now().as_second();
    let (name, value) = match status {
        304 => ("etag", head.trim().trim_start_matches("etag: ").to_owned()),
        _ => {
            let digest = digest::digest(&digest::SHA256, body.as_bytes());
            ("content-digest", format!("sha-256=:{}:", STANDARD.encode(digest)))
        }
    };
    let input = format!("(\"@status\" \"{name}\");created={created};keyid=\"k\"");
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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/sets/eu", listener.local_addr().unwrap());
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
        Fetched::NotModified => panic!("not modified"),
    }
}
