//! Key, secret and passphrase of one request are of one set, and a nonce only rises, whatever is rotated meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use keyswap::{Client, Credential, CredentialSet, KeySwap, Policy, api, source};
use ring::hmac;

use super::wire::{keys, serve, verify};

const CALLERS: usize = 50;
const CUTS: u64 = 5;

fn key(generation: u64) -> Credential {
    Credential::new(format!("k{generation}"), format!("key-{generation}"))
        .with_material("secret", format!("secret-{generation}").as_str())
        .with_material("passphrase", format!("pass-{generation}").as_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_of_key_and_secret_tears_no_pair_and_fails_no_call() {
    let generation = Arc::new(AtomicU64::new(1));
    let (valid, torn) = (generation.clone(), Arc::new(AtomicU64::new(0)));
    let counted = torn.clone();
    let url = serve(move |wire| {
        let of: u64 = wire.header("ok-access-key")["key-".len()..].parse().unwrap();
        let head = [wire.header("ok-access-timestamp"), &wire.method, &wire.target].concat();
        let secret = hmac::Key::new(hmac::HMAC_SHA256, format!("secret-{of}").as_bytes());
        let tag = hmac::sign(&secret, &[head.as_bytes(), &wire.body].concat());
        let fits = wire.header("ok-access-sign") == BASE64.encode(tag)
            && wire.header("ok-access-passphrase") == format!("pass-{of}");
        if !fits {
            counted.fetch_add(1, Relaxed);
        }
        match fits && of == valid.load(Relaxed) {
            true => (200, r#"{"code":"0","data":[]}"#.into()),
            false => (401, r#"{"msg":"Invalid OK-ACCESS-KEY","code":"50111"}"#.into()),
        }
    })
    .await;
    let current = generation.clone();
    let vault = source::from_fn(move || {
        let n = current.load(Relaxed);
        async move { Ok(CredentialSet::new(key(n)).with_generation(n)) }
    });
    let policy: Policy = serde_json::from_str(
        r#"{"fetch_floor": 0.01, "fetch_floor_min": 0.01, "forced_every": 0.05, "rotation_pause": 0.02}"#,
    )
    .unwrap();
    let keys = KeySwap::follow(vault).policy(policy).await.unwrap();
    let client = Client::builder(&keys).base_url(&url).unwrap().api(api::okx()).build().unwrap();
    let stop = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (client, stop) = (client.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut calls, mut failed) = (0, 0);
                while stop.load(Relaxed) == 0 {
                    let order =
                        client.post("/api/v5/trade/order").body(format!("{{\"n\":{caller}}}"));
                    let response = order.send().await.unwrap();
                    calls += 1;
                    failed += u64::from(!response.status().is_success());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                (calls, failed)
            })
        })
        .collect();
    for _ in 0..CUTS {
        tokio::time::sleep(Duration::from_millis(400)).await;
        generation.fetch_add(1, Relaxed);
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    stop.store(1, Relaxed);
    let (mut calls, mut failed) = (0, 0);
    for caller in callers {
        let (made, lost) = caller.await.unwrap();
        (calls, failed) = (calls + made, failed + lost);
    }
    assert_eq!((failed, torn.load(Relaxed)), (0, 0), "of {calls} calls");
    assert!(calls > 100 && keys.stats().counts.rejections > 0);
    assert_eq!(keys.current().unwrap().id(), format!("k{}", CUTS + 1));
}

/// Kraken refuses a nonce that is not higher than the last. Those that overtake each other on their way are sent once
/// more, with a new one, and none is ever used twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_nonce_is_used_twice_by_many_threads_and_through_fetches() {
    let seen: Arc<Mutex<BTreeMap<String, BTreeSet<u64>>>> = Arc::default();
    let (kept, repeated) = (seen.clone(), Arc::new(AtomicU64::new(0)));
    let counted = repeated.clone();
    let url = serve(move |wire| {
        verify("kraken", wire);
        let body = std::str::from_utf8(&wire.body).unwrap();
        let nonce: u64 = body["nonce=".len()..].split('&').next().unwrap().parse().unwrap();
        let mut seen = kept.lock().unwrap();
        let of = seen.entry(wire.header("api-key").to_owned()).or_default();
        let is_high = of.last().is_none_or(|last| *last < nonce);
        if !of.insert(nonce) {
            counted.fetch_add(1, Relaxed);
        }
        match is_high {
            true => (200, r#"{"error":[],"result":{}}"#.into()),
            false => (200, r#"{"error":["EAPI:Invalid nonce"]}"#.into()),
        }
    })
    .await;
    let keys = keys().await;
    let client = Client::builder(&keys).base_url(&url).unwrap().api(api::kraken()).build().unwrap();
    let other = Client::builder(&keys).base_url(&url).unwrap().api(api::kraken()).build().unwrap();
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let client = if caller % 2 == 0 { client.clone() } else { other.clone() };
            tokio::spawn(async move {
                for _ in 0..20 {
                    client.post("/0/private/Balance").send().await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        keys.refresh().await.unwrap();
    }
    for caller in callers {
        caller.await.unwrap();
    }
    let sent: usize = seen.lock().unwrap().values().map(BTreeSet::len).sum();
    assert_eq!(repeated.load(Relaxed), 0);
    assert!(sent >= 160, "{sent}");
    assert_eq!(keys.stats().counts.rejections, 0, "an old nonce is no bad key");
}
