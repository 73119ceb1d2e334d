//! What the `metrics` facade is told, and that it holds no material.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, Method, StatusCode};
use keyswap::{
    Authorizer, Clock, Credential, CredentialSet, Error, ErrorKind, KeySwap, Scheme, source,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

const KEY: &str = "MATERIAL-KEY-7f3a";

/// What a recorder holds now, by name and labels. Reading it takes the counters away.
fn recorded(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let taken = snapshotter.snapshot().into_vec();
    let value = |value| match value {
        DebugValue::Counter(count) => count as f64,
        DebugValue::Gauge(value) => value.into_inner(),
        DebugValue::Histogram(_) => unreachable!("none is kept"),
    };
    let named = taken.into_iter().map(|(key, _, description, number)| {
        assert!(description.is_some(), "{key:?} is described");
        (key.key().to_string(), value(number))
    });
    named.collect()
}

#[test]
fn a_rotation_is_counted_and_nothing_shows_material() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (first, second) = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let fetches = AtomicU64::new(0);
            let vault = source::from_fn(move || {
                let fetch = fetches.fetch_add(1, Relaxed);
                async move {
                    let key = |id: &str| Credential::new(id, format!("{KEY}-{id}"));
                    match fetch {
                        0 => Ok(CredentialSet::new(key("k1")).with_generation(41)),
                        1 => Err(Error::new(ErrorKind::Unavailable, "down on purpose")),
                        _ => Ok(CredentialSet::new(key("k2")).with_generation(42)),
                    }
                }
            });
            let keys = KeySwap::follow(vault).name("trading").clock(Clock::tokio()).seed(7);
            let keys = keys.await.unwrap();
            rejected(&keys).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let first = recorded(&snapshotter);
            tokio::time::sleep(Duration::from_secs(30)).await;
            (first, recorded(&snapshotter))
        })
    });
    let of = |recorded: &BTreeMap<String, f64>, name: &str, labels: &str| {
        let key = format!("Key({name}, [set = trading{labels}])");
        *recorded.get(&key).unwrap_or_else(|| panic!("{key} is not in {recorded:?}"))
    };
    let failed = ", outcome = failed";
    assert_eq!(of(&first, "keyswap_fetches_total", ", outcome = changed"), 1.0);
    assert_eq!(of(&first, "keyswap_fetches_total", failed), 1.0);
    assert_eq!(of(&first, "keyswap_forced_fetches_total", ""), 1.0);
    assert_eq!(of(&first, "keyswap_rejections_total", ""), 1.0);
    assert_eq!(of(&first, "keyswap_sends_total", ""), 1.0);
    assert_eq!(of(&first, "keyswap_in_use_changes_total", ""), 1.0);
    assert_eq!(of(&first, "keyswap_generation", ""), 41.0);
    assert_eq!(of(&first, "keyswap_expires_in_seconds", ""), f64::INFINITY);
    assert_eq!(of(&first, "keyswap_waiting_callers", ""), 0.0);
    // Counters are raised by what is new.
    assert_eq!(of(&second, "keyswap_fetches_total", ", outcome = changed"), 1.0);
    assert_eq!(of(&second, "keyswap_in_use_changes_total", ""), 1.0);
    assert_eq!(of(&second, "keyswap_generation", ""), 42.0);
    assert!((1.0..31.0).contains(&of(&second, "keyswap_last_success_age_seconds", "")));
    for name in first.keys().chain(second.keys()) {
        assert!(name.starts_with("Key(keyswap_"), "{name}");
        assert!(!name.contains("MATERIAL"), "{name}");
    }
}

/// A request that the API rejects.
async fn rejected(keys: &KeySwap) {
    let home = "https://api.example.com/".parse().unwrap();
    let authorizer = Authorizer::builder(keys).scheme(Scheme::bearer());
    let authorizer = authorizer.allow_origin("https://api.example.com").unwrap().build().unwrap();
    let mut attempt = authorizer.begin(&home, false, None).unwrap();
    attempt.apply(&Method::GET, &home, &HeaderMap::new(), None).unwrap();
    attempt.response(StatusCode::UNAUTHORIZED, &HeaderMap::new(), None);
}

#[test]
fn handles_of_one_name_add_up() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let set = || async { Ok(CredentialSet::new(Credential::new("k1", KEY))) };
            let handles = Arc::new([
                KeySwap::follow(source::from_fn(set)).await.unwrap(),
                KeySwap::follow(source::from_fn(set)).await.unwrap(),
            ]);
            assert!(handles.iter().all(|keys| keys.current().is_ok()));
        });
    });
    let key = "Key(keyswap_fetches_total, [set = default, outcome = changed])";
    assert_eq!(recorded(&snapshotter).get(key), Some(&2.0));
}
