//! Gateways in front of an API, whose keys are changed under load.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use keyswap::{Client, KeySwap, Policy, Scheme, source::File};
use keyswap_source_tests::{
    api::Api,
    folder::Folder,
    gateway::{Envoy, Gateway, Nginx},
    load::{Load, until},
};

const CALLERS: usize = 16;

/// As the defaults, but for what would be waited for: changes of a file are heard of within 5 s of a fetch.
fn quick() -> Policy {
    let millis = Duration::from_millis;
    Policy::default().fetch_floor(millis(100)).fetch_floor_min(millis(100)).probe_again(millis(100))
}

/// The gateway's answer to a key, whoever shows it.
async fn status(url: &str, header: &str, value: &str) -> u16 {
    let request = keyswap_source_tests::process::client().get(url).header(header, value);
    request.send().await.expect("an answer").status().as_u16()
}

/// Until it answers so, and workers and listeners of before are gone as well: with three sets of keys at once, no
/// client can be right.
async fn until_status(gateway: &impl Gateway, key: &str, wanted: u16) {
    let end = tokio::time::Instant::now() + Duration::from_secs(15);
    while status(&gateway.url(), "authorization", &format!("Bearer {key}")).await != wanted {
        assert!(tokio::time::Instant::now() < end, "{key} is not answered with {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Rotations as people do them at a gateway, and as they should not.
async fn rotates(gateway: &impl Gateway) {
    let folder = Folder::new("gateway");
    gateway.accept(&["k1"]);
    until_status(gateway, "k1", 200).await;
    folder.replace("key", "k1");
    let keys = KeySwap::follow(File::new(folder.path().join("key"))).policy(quick());
    let keys = keys.await.expect("a key");
    // A gateway that is told other keys closes connections that wait for a request, in HTTP/1.1 perhaps just as one is
    // sent. That is no matter of keys, so here none waits.
    let client = Client::builder(&keys).scheme(Scheme::bearer()).base_url(&gateway.url());
    let client = client.expect("a URL").http(|it| it.pool_max_idle_per_host(0));
    let load = Load::with(&client.build().expect("a client"), CALLERS);
    let in_use = || keys.current().is_ok_and(|it| it.reveal("key") == Some("k2"));
    let held =
        |key: &str| keys.set().is_some_and(|it| it.primary().unwrap().reveal("key") == Some(key));

    // The gateway first, then the program, then the old key ends.
    gateway.accept(&["k1", "k2"]);
    until_status(gateway, "k2", 200).await;
    folder.replace("key", "k2");
    until("k2 is in use", Duration::from_secs(10), in_use).await;
    gateway.accept(&["k2"]);
    until_status(gateway, "k1", 401).await;

    // The program first: the new key is tried by one at a time, and used once the gateway knows it.
    folder.replace("key", "k3");
    until("k3 is held", Duration::from_secs(10), || held("k3")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    gateway.accept(&["k2", "k3"]);
    until_status(gateway, "k3", 200).await;
    gateway.accept(&["k3"]);
    until_status(gateway, "k2", 401).await;

    // The gateway alone, without an overlap, as after a leak: callers wait until the program hears of it.
    gateway.accept(&["k4"]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    folder.replace("key", "k4");
    until("k4 is held", Duration::from_secs(10), || held("k4")).await;
    until_status(gateway, "k3", 401).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_is_reloaded_with_other_keys() {
    let api = Api::start().await;
    rotates(&Nginx::start(&api, "$http_authorization", "").await).await;
    assert!(api.accepted().values().sum::<u64>() > 0 && api.rejected() == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_reads_other_keys() {
    let api = Api::start().await;
    rotates(&Envoy::start(&api).await).await;
    assert!(api.accepted().values().sum::<u64>() > 0 && api.rejected() == 0);
}

/// Token Metrics and others want one. nginx drops such headers, and then no key is ever right.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_with_an_underscore_needs_an_option_of_nginx() {
    let api = Api::start().await;
    for (options, wanted) in [("", 401), ("underscores_in_headers on;", 200)] {
        let nginx = Nginx::start(&api, "$http_api_key", options).await;
        nginx.accept(&["k1"]);
        if wanted == 200 {
            let end = tokio::time::Instant::now() + Duration::from_secs(10);
            while status(&nginx.url(), "api_key", "k1").await != 200 {
                assert!(tokio::time::Instant::now() < end, "the key is not accepted");
            }
            // The worker before takes connections for a moment longer.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let folder = Folder::new("underscore");
        folder.replace("key", "k1");
        let policy = quick().wait(Duration::from_secs(1)).wait_unproven(Duration::from_secs(1));
        let keys = KeySwap::follow(File::new(folder.path().join("key"))).policy(policy);
        let keys = keys.await.expect("a key");
        let client = Client::builder(&keys).scheme(Scheme::header("api_key"));
        let client = client.base_url(&nginx.url()).expect("a URL").build().expect("a client");
        let answer = client.get("/").send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), wanted, "with {options:?}");
    }
}
