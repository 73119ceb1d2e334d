//! Keycloak, the one OAuth2 server here that knows two secrets of a client at once. It has a file of its own because it
//! takes a quarter of a minute to start, and several times that when it is the first time.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use keyswap::{
    ErrorKind, KeySwap, Policy,
    source::{Json, oauth2::ClientCredentials},
};
use keyswap_source_tests::{
    api::Api,
    keycloak::Keycloak,
    load::{Load, until},
    process::client,
};
use serde_json::Value;

/// A chain of three: a client whose secret stands still reads the secret of another client, which rotates; that one
/// asks for tokens; and an API takes those, which it asks Keycloak about.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_rotated_in_its_grace_and_after_it_and_no_call_fails() {
    let keycloak = Keycloak::start(4).await;
    let reader = keycloak.client("reader", "reader-s1").await;
    keycloak.let_read_secrets(&reader).await;
    keycloak.client("api", "api-s1").await;
    let bot = keycloak.client("bot", "bot-s1").await;
    let introspection = keycloak.token_url() + "/introspect";
    let api = Api::start_asking(move |token| {
        let question = client().post(&introspection).basic_auth("api", Some("api-s1"));
        let question = question.header("content-type", "application/x-www-form-urlencoded");
        let question = question.body(format!("token={token}")).send();
        async move {
            let answer: Value = question.await.expect("an answer").json().await.expect("JSON");
            answer["active"] == true
        }
    })
    .await;

    let second = Duration::from_secs(1);
    let policy = || Policy::default().poll(second).fetch_floor(second).backoff_min(second);
    let asking = |id: &str| ClientCredentials::new(keycloak.token_url()).unwrap().client_id(id);
    let admin = KeySwap::follow(asking("reader").client_secret("reader-s1")).policy(policy());
    let admin = admin.await.expect("a token of the reader");
    let secret = Json::new(keycloak.secret_url(&bot)).unwrap().key("/value");
    // Polled so seldom that only a rejection tells that it changed.
    let secrets = KeySwap::follow(secret.bootstrap_keys(&admin)).await;
    let secrets = secrets.expect("the secret of the bot");
    let keys = KeySwap::follow(asking("bot").client_secret_from(&secrets)).policy(policy());
    let keys = keys.await.expect("a token of the bot");

    // Its word for a secret that is wrong is not the one of RFC 6749.
    let error = KeySwap::follow(asking("bot").client_secret("wrong")).await.expect_err("wrong");
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected, "{error}");
    assert!(error.to_string().contains("unauthorized_client"), "{error}");

    let load = Load::start(&keys, api.url(), 10);
    let minted = || keys.stats().counts.changed;
    let two_more = async || {
        let before = minted();
        until("two more tokens", Duration::from_secs(20), || minted() >= before + 2).await;
    };
    two_more().await;
    // In its grace: both secrets work.
    let second = keycloak.rotate(&bot).await;
    assert_eq!(keycloak.try_secret("bot", "bot-s1").await, 200);
    assert_eq!(keycloak.try_secret("bot", &second).await, 200);
    two_more().await;
    // After it: the old one does not.
    keycloak.end_grace(&bot).await;
    assert_eq!(keycloak.try_secret("bot", "bot-s1").await, 401);
    two_more().await;
    // Cut: the one that is in use ends in the moment in which there is another.
    let third = keycloak.rotate(&bot).await;
    keycloak.end_grace(&bot).await;
    assert_eq!(keycloak.try_secret("bot", &second).await, 401);
    two_more().await;
    load.end().await;
    assert_eq!(secrets.current().unwrap().reveal("key"), Some(third.as_str()));
    // One for each secret that ended, and some more where the fallback is quicker to try than the next one to fetch.
    let counts = secrets.stats().counts;
    assert!((2..=6).contains(&counts.rejections), "{counts:?}");
    assert!((2..=4).contains(&counts.forced), "{counts:?}");
    assert_eq!(api.rejected(), 0);
    assert!(api.accepted().len() >= 8, "tokens end, and are made anew");
    assert_eq!(keys.last_failure().map(|error| error.to_string()), None);
}
