//! The program's own access key, which rotates too.

use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use keyswap::{Credential, ErrorKind, Event, source::aws::SecretsManager};
use keyswap_source_tests::{
    api::Api,
    aws::{AccessKey, Moto, Stub},
    fake::Response,
    load::{Load, until},
};
use serde_json::json;

use crate::{REGION, follow, in_use, next_failure, secrets::Rotation, until_in_use};

/// A source that logs in with whatever is in the cell.
fn with(cell: &Arc<Mutex<AccessKey>>, name: &str, url: &str) -> SecretsManager {
    let cell = cell.clone();
    SecretsManager::new(name).region(REGION).endpoint_url(url).key("/api_key").credentials_fn(
        move || {
            let key = cell.lock().unwrap().clone();
            ready(Ok(Credential::new(&key.id, key.id.as_str()).with_material("secret", key.secret)))
        },
    )
}

#[tokio::test]
async fn its_own_key_rotates_and_nobody_notices() {
    let moto = Moto::shared().await;
    let may = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"];
    let first = moto.user_who_may("bot", &may).await;
    let cell = Arc::new(Mutex::new(first.clone()));
    let api = Api::start().await;
    api.accept(["b0"]);
    let mut rotation = Rotation::new(&moto, "prod/bot", "b0").await;
    let keys = follow(with(&cell, "prod/bot", moto.url())).await;
    let mut events = keys.events();
    let load = Load::start(&keys, api.url(), 16);

    let second = moto.access_key("bot").await;
    *cell.lock().unwrap() = second.clone();
    moto.delete_access_key("bot", &first).await;
    rotation.put("b1").await;
    api.accept(["b0", "b1"]);
    until_in_use(&keys, "b1").await;
    api.accept(["b1"]);
    while let Some(event) = events.try_next() {
        assert!(!matches!(event, Event::FetchFailed { .. }), "{event:?}");
    }

    // The new key is deleted before the program has another one: it is told, and goes on.
    moto.delete_access_key("bot", &second).await;
    let (kind, text) = next_failure(&mut events).await;
    assert_eq!(kind, ErrorKind::BootstrapRejected, "{text}");
    assert!(text.contains("give this program another one"), "{text}");
    assert_eq!(in_use(&keys), "b1");
    *cell.lock().unwrap() = moto.access_key("bot").await;
    rotation.put("b2").await;
    api.accept(["b1", "b2"]);
    until_in_use(&keys, "b2").await;
    load.end().await;
}

#[tokio::test]
async fn one_log_in_serves_all_handles_of_a_source() {
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let describe = json!({ "VersionIdsToStages": { "v1": ["AWSCURRENT"] } });
    let value = json!({ "VersionId": "v1", "SecretString": "k1" });
    let fake = Stub::start(move |it| match &*it.action {
        "DescribeSecret" => Response::new(200, &describe),
        _ => Response::new(200, &value),
    });
    let fake = fake.await;
    let source = SecretsManager::new("x").region(REGION).endpoint_url(fake.url());
    let source = source.credentials_fn(move || {
        *count.lock().unwrap() += 1;
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(Credential::new("a", "AKID").with_material("secret", "x"))
        }
    });
    let mut handles = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let source = source.clone();
        handles.spawn(async move { follow(source).await });
    }
    let handles = handles.join_all().await;
    assert!(handles.iter().all(|keys| in_use(keys) == "k1"));
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_function_that_gives_nothing_of_use_says_so() {
    let source = || SecretsManager::new("x").region(REGION).endpoint_url("http://127.0.0.1:9");
    let bare = source().credentials_fn(|| ready(Ok(Credential::new("a", "AKID"))));
    let (kind, text) = crate::refused(bare).await;
    assert_eq!(kind, ErrorKind::InvalidConfig);
    assert!(text.contains("and `secret`"), "{text}");
    let slow = source().credentials_fn(std::future::pending);
    let started = keyswap::KeySwap::follow(slow).policy(crate::policy()).start().unwrap();
    until("it is told", Duration::from_secs(5), || started.last_failure().is_some()).await;
    assert_eq!(started.last_failure().unwrap().kind(), ErrorKind::Timeout);
}
