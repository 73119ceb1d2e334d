//! Keys in OpenBao, which speaks as Vault does, while they rotate under load.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "vault/accounts.rs"]
mod accounts;
#[path = "vault/faults.rs"]
mod faults;
#[path = "vault/kv.rs"]
mod kv;
#[path = "vault/logins.rs"]
mod logins;

#[path = "../../../core/src/guide/examples/vault.rs"]
#[allow(unreachable_pub, reason = "as a program has it")]
mod example;

use std::time::Duration;

use keyswap::{ErrorKind, Event, KeySwap, Policy, Source, source::vault::Vault};
use keyswap_source_tests::bao::{Bao, ROOT};

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
        .fetch_timeout(millis(1_500))
}

async fn follow(source: impl Source) -> KeySwap {
    KeySwap::follow(source).policy(policy()).await.unwrap()
}

/// What does not work, in words and by its kind.
async fn refused(source: impl Source) -> (ErrorKind, String) {
    let error = KeySwap::follow(source).policy(policy()).await.expect_err("it works");
    (error.kind(), error.to_string())
}

fn as_root(bao: &Bao) -> Vault {
    Vault::new(bao.url()).unwrap().token(ROOT)
}

fn in_use(keys: &KeySwap) -> String {
    keys.current().map_or_else(|error| error.code().into(), |current| current.id().to_owned())
}

async fn until_in_use(keys: &KeySwap, id: &str) {
    let what = format!("{id} is in use");
    keyswap_source_tests::load::until(&what, Duration::from_secs(5), || in_use(keys) == id).await;
}

/// Without requests nothing is proven: the newest is there, and may not be in use yet.
fn newest(keys: &KeySwap) -> String {
    let set = keys.set().unwrap();
    set.primary().unwrap().id().to_owned()
}

async fn until_newest(keys: &KeySwap, id: &str) {
    let what = format!("{id} is the newest");
    keyswap_source_tests::load::until(&what, Duration::from_secs(5), || newest(keys) == id).await;
}

/// The next failure of a fetch.
async fn next_failure(keys: &KeySwap) -> (ErrorKind, String) {
    let mut events = keys.events();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(5), events.next());
        match next.await.expect("a failure").expect("an event") {
            Event::FetchFailed { error, .. } => return (error.kind(), error.to_string()),
            _ => {}
        }
    }
}
