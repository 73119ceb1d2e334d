//! OAuth2 servers that run in Node, of which one can be made to fail in each way and the other is strict. Keycloak, which
//! takes longer to start, has a file of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../../core/src/guide/examples/oauth2.rs"]
#[allow(unreachable_pub, reason = "it is a program's own")]
mod example;
#[path = "oauth2/faults.rs"]
mod faults;
#[path = "oauth2/proofs.rs"]
mod proofs;
#[path = "oauth2/refresh.rs"]
mod refresh;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use keyswap::{
    Credential, CredentialSet, KeySwap, Policy,
    source::{self, oauth2::ClientCredentials},
};
use keyswap_source_tests::{
    load::{Load, until},
    node::NodeServer,
};
use serde_json::json;

/// Numbers with which nothing takes long.
fn short() -> Policy {
    let (least, little) = (Duration::from_millis(10), Duration::from_millis(100));
    Policy::default()
        .poll(little)
        .fetch_floor(little)
        .fetch_floor_min(least)
        .backoff_min(little)
        .backoff_max(little)
        .slow_retry_min(little)
        .slow_retry_max(little)
        .retry_after_min(little)
        .fetch_timeout(Duration::from_millis(1500))
}

/// A place of secrets that the test changes.
#[derive(Clone, Default)]
struct Secrets(Arc<Mutex<Option<CredentialSet>>>);

impl Secrets {
    fn of(ids: &[&str]) -> Self {
        let secrets = Self::default();
        secrets.put(ids);
        secrets
    }

    /// From now on it holds these, the newest first. Each is its own id.
    fn put(&self, ids: &[&str]) {
        let mut keys = ids.iter().map(|id| Credential::new(id, *id));
        let newest = CredentialSet::new(keys.next().expect("a secret"));
        let set = keys.fold(newest, CredentialSet::with_previous);
        *self.0.lock().unwrap() = Some(set);
    }

    async fn follow(&self, policy: Policy) -> KeySwap {
        let place = self.0.clone();
        let read = move || std::future::ready(Ok(place.lock().unwrap().clone().expect("a set")));
        KeySwap::follow(source::from_fn(read)).policy(policy).await.expect("secrets")
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("keyswap-oauth2-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

async fn mock() -> NodeServer {
    NodeServer::start("oauth2_mock", &[]).await
}

fn at(server: &NodeServer) -> ClientCredentials {
    ClientCredentials::new(server.url("/token")).expect("a URL").client_id("bot")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_rotates_under_load_costs_no_request() {
    let server = mock().await;
    server.control(&json!({"answer": {"expires_in": 1}})).await;
    let place = Secrets::of(&["s1"]);
    // Polled so seldom that what is not fetched here is fetched because of a rejection.
    let secrets = place.follow(short().poll(Duration::from_secs(300))).await;
    let tokens = at(&server).client_secret_from(&secrets).scopes(["read"]);
    let keys = KeySwap::follow(tokens).policy(short()).await.expect("a token");
    let load = Load::start(&keys, &server.url("/api"), 20);
    let pause = || tokio::time::sleep(Duration::from_millis(1500));
    pause().await;
    // With a grace, in which both work.
    server.control(&json!({"secrets": ["s2", "s1"]})).await;
    place.put(&["s2", "s1"]);
    secrets.refresh().await.expect("the second");
    pause().await;
    server.control(&json!({"secrets": ["s2"]})).await;
    pause().await;
    // The place knows the new one before the server does.
    place.put(&["s3", "s2"]);
    secrets.refresh().await.expect("the third");
    pause().await;
    let before = server.seen().await;
    server.control(&json!({"secrets": ["s3"]})).await;
    pause().await;
    // Cut: what was valid is not any more, and only the place knows what is.
    server.control(&json!({"secrets": ["s4"], "code": "unauthorized_client", "status": 400})).await;
    place.put(&["s4"]);
    pause().await;
    load.end().await;
    let seen = server.seen().await;
    let accepted = seen["accepted"].as_array().unwrap();
    for secret in ["s1", "s2", "s3", "s4"] {
        assert!(accepted.iter().any(|it| it == secret), "{secret} was used: {accepted:?}");
    }
    assert!(before["rejected"].as_u64() > Some(0), "the new one was tried before it worked");
    assert!(accepted.len() > 8, "tokens end, and are made anew: {accepted:?}");
    let rejected = seen["rejected"].as_u64().unwrap();
    assert!(rejected < 12, "{rejected} log-ins were rejected");
    assert_eq!(keys.current().unwrap().scopes().join(" "), "read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_throws_no_good_token_away() {
    let server = mock().await;
    let place = Secrets::of(&["s1"]);
    let secrets = place.follow(short()).await;
    let keys = KeySwap::follow(at(&server).client_secret_from(&secrets)).policy(short());
    let keys = keys.await.expect("a token");
    let id = keys.current().unwrap().id().to_owned();
    server.control(&json!({"secrets": ["s2"]})).await;
    place.put(&["s2"]);
    let has_it = || secrets.set().unwrap().primary().unwrap().id() == "s2";
    until("the secret's handle has the new one", Duration::from_secs(5), has_it).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.seen().await["asked"], 1);
    assert_eq!(keys.current().unwrap().id(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_api_rejects_is_replaced_at_once() {
    let server = mock().await;
    let keys = KeySwap::follow(at(&server).client_secret("s1")).policy(short());
    let keys = keys.await.expect("a token");
    let load = Load::start(&keys, &server.url("/api"), 20);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.control(&json!({"revoke": true})).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    load.end().await;
    let asked = server.seen().await["asked"].as_u64().unwrap();
    assert!((4..8).contains(&asked), "{asked} tokens for three revocations");
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_share_a_log_in_and_hand_each_other_young_tokens() {
    let server = mock().await;
    let tokens = at(&server).client_secret("s1");
    let others = tokens.clone().scopes(["write"]);
    let mut handles = Vec::new();
    for _ in 0..10 {
        let follow = KeySwap::follow(tokens.clone()).policy(short());
        handles.push(tokio::spawn(async move { follow.await.expect("a token") }));
    }
    let mut ids = Vec::new();
    let mut keys = Vec::new();
    for handle in handles {
        let handle = handle.await.unwrap();
        ids.push(handle.current().unwrap().id().to_owned());
        keys.push(handle);
    }
    ids.dedup();
    assert_eq!((ids.len(), server.seen().await["asked"].as_u64()), (1, Some(1)));
    let other = KeySwap::follow(others).await.expect("a token");
    assert_ne!(
        other.current().unwrap().id(),
        ids[0],
        "what asks for something else shares nothing"
    );
    // One that needs another gets another, and the next takes that.
    keys[0].refresh().await.expect("another one");
    keys[1].refresh().await.expect("another one");
    assert_ne!(keys[0].current().unwrap().id(), ids[0]);
    assert_eq!(server.seen().await["asked"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_ends_a_long_wait_at_once() {
    let server = mock().await;
    server.control(&json!({"secrets": ["s2"]})).await;
    let place = Secrets::of(&["s1"]);
    let secrets = place.follow(short()).await;
    // By these numbers a log-in that was rejected is tried again after a minute.
    let minute = Duration::from_secs(60);
    let slow = Policy::default().slow_retry_min(minute).backoff_max_urgent(minute);
    let tokens = at(&server).client_secret_from(&secrets).timeout(Duration::from_secs(2));
    let keys = KeySwap::follow(tokens).policy(slow).start().expect("a handle");
    let error = keys.ready().await.expect_err("no secret that works");
    assert_eq!(error.kind(), keyswap::ErrorKind::BootstrapRejected, "{error}");
    let asked = server.seen().await["asked"].as_u64().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let again = server.seen().await["asked"].as_u64().unwrap();
    assert!(again <= asked + 4, "it asks again only for a reason: {asked}, {again}");
    place.put(&["s2", "s1"]);
    until("a token", Duration::from_secs(5), || keys.current().is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_guide_runs() {
    let server = mock().await;
    server.control(&json!({"answer": {"expires_in": 1}})).await;
    let folder = folder("example");
    let file = folder.join("secret");
    std::fs::write(&file, "s1").unwrap();
    let file = file.to_str().unwrap();
    let client = example::example(&server.url("/token"), file, &server.url("/api")).await.unwrap();
    assert_eq!(client.get("/").send().await.unwrap().status(), 200);
    // The secret is cut, and the file follows.
    server.control(&json!({"secrets": ["s2"]})).await;
    std::fs::write(file, "s2").unwrap();
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(client.get("/").send().await.unwrap().status(), 200);
    }
    assert!(server.seen().await["accepted"].as_array().unwrap().iter().any(|it| it == "s2"));
    std::fs::remove_dir_all(folder).unwrap();
}
