//! Signed answers as a client verifies them, from the headers alone.

mod http;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Answer, ask};
use keyswap_endpoint::server::{Endpoint, Running};
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};

async fn fetch(running: &Running, held: &str) -> Answer {
    let headers = [("Authorization", "Bearer bootstrap"), ("If-None-Match", held)];
    ask("GET", &running.set_url(), &headers, "").await.expect("an answer")
}

/// Whether the digest is that of the body, and whether the signature holds.
fn verify(answer: &Answer, public_key: &str) -> (bool, bool) {
    let digest = format!("sha-256=:{}:", STANDARD.encode(digest(&SHA256, &answer.body)));
    let told = answer.header("content-digest");
    let (name, value) = match answer.status {
        304 => ("etag", answer.header("etag")),
        _ => ("content-digest", told),
    };
    let params = answer.header("signature-input").and_then(|one| one.strip_prefix("keyswap="));
    let params = params.unwrap_or_default();
    let base = format!(
        "\"@status\": {}\n\"{name}\": {}\n\"@signature-params\": {params}",
        answer.status,
        value.unwrap_or_default(),
    );
    let signature = answer.header("signature").and_then(|one| one.strip_prefix("keyswap=:"));
    let signature = STANDARD.decode(signature.unwrap_or_default().trim_end_matches(':'));
    let key = STANDARD.decode(public_key).expect("base64");
    let holds = UnparsedPublicKey::new(&ED25519, key)
        .verify(base.as_bytes(), &signature.expect("base64"))
        .is_ok();
    (told.is_none_or(|told| told == digest), holds)
}

#[tokio::test]
async fn answers_are_signed_where_the_world_says_so() {
    let config = serde_json::from_str(r#"{"signed": true}"#).expect("a world");
    let running = Endpoint::start(config).await.expect("loopback sockets");
    let apply = |step: &str| {
        running.apply(&serde_json::from_str(step).expect(step)).expect(step);
    };
    let key = running.public_key();
    let same = fetch(&running, "\"g1\"").await;
    assert_eq!((same.status, same.header("content-digest")), (304, None));
    assert_eq!(verify(&same, &key), (true, true));
    assert_eq!(verify(&fetch(&running, "").await, &key), (true, true));
    apply(r#"{"do": "endpoint", "fault": "bad_signature"}"#);
    let mut wrong =
        [verify(&fetch(&running, "").await, &key), verify(&fetch(&running, "").await, &key)];
    wrong.sort_unstable();
    assert_eq!(wrong, [(false, true), (true, false)]);
    apply(r#"{"do": "endpoint", "fault": "unsigned"}"#);
    let bare = fetch(&running, "").await;
    assert_eq!(
        (bare.status, bare.header("signature"), bare.header("content-digest")),
        (200, None, None)
    );
    apply(r#"{"do": "endpoint", "fault": "none"}"#);
    apply(r#"{"do": "revoke_set"}"#);
    let gone = fetch(&running, "").await;
    assert_eq!(gone.status, 410);
    assert_eq!(verify(&gone, &key), (true, true));
}
