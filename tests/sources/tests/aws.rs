//! Keys in AWS, while they rotate under load.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "aws/agent.rs"]
mod agent;
#[path = "aws/dialects.rs"]
mod dialects;
#[path = "aws/faults.rs"]
mod faults;
#[path = "aws/identity.rs"]
mod identity;
#[path = "aws/logins.rs"]
mod logins;
#[path = "aws/parameters.rs"]
mod parameters;
#[path = "aws/regions.rs"]
mod regions;
#[path = "aws/secrets.rs"]
mod secrets;
#[path = "aws/world.rs"]
mod world;

#[path = "../../../core/src/guide/examples/aws.rs"]
#[allow(unreachable_pub, reason = "as a program has it")]
mod example;

use std::time::Duration;

use keyswap::{ErrorKind, Event, Events, KeySwap, Policy, Source, source::aws::SecretsManager};
use keyswap_source_tests::aws::{AccessKey, Moto};

const REGION: &str = "eu-west-1";

/// Seconds are long for a test.
fn policy() -> Policy {
    let millis = Duration::from_millis;
    Policy::default()
        .poll(millis(300))
        .fetch_floor(millis(50))
        .fetch_floor_min(millis(20))
        .backoff_min(millis(50))
        .backoff_max(millis(200))
        .slow_retry_min(millis(200))
        .slow_retry_max(millis(400))
        .retry_after_min(millis(50))
        .fetch_timeout(millis(4_000))
}

async fn follow(source: impl Source) -> KeySwap {
    KeySwap::follow(source).policy(policy()).await.unwrap()
}

/// What does not work, in words and by its kind.
async fn refused(source: impl Source) -> (ErrorKind, String) {
    let error = KeySwap::follow(source).policy(policy()).await.expect_err("it works");
    (error.kind(), error.to_string())
}

fn in_use(keys: &KeySwap) -> String {
    keys.current().map_or_else(
        |error| error.code().into(),
        |current| current.reveal("key").unwrap_or("?").to_owned(),
    )
}

async fn until_in_use(keys: &KeySwap, key: &str) {
    let what = format!("{key} is in use");
    keyswap_source_tests::load::until(&what, Duration::from_secs(5), || in_use(keys) == key).await;
}

/// What is fallen back on.
fn previous(keys: &KeySwap) -> Vec<String> {
    let set = keys.set().expect("a set");
    set.previous().map(|older| older.reveal("key").unwrap_or("?").to_owned()).collect()
}

/// The next failure of a fetch.
async fn next_failure(events: &mut Events) -> (ErrorKind, String) {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(5), events.next());
        match next.await.expect("a failure").expect("an event") {
            Event::FetchFailed { error, .. } => return (error.kind(), error.to_string()),
            _ => {}
        }
    }
}

fn secret_of(moto: &Moto, name: &str, key: &AccessKey) -> SecretsManager {
    SecretsManager::new(name)
        .region(REGION)
        .endpoint_url(moto.url())
        .credentials(&*key.id, &*key.secret, None)
        .key("/api_key")
}
