//! What fails: the set that is held stays in use, it is said why, and the next fetch that can work does.

use std::time::{Duration, Instant};

use keyswap::{ErrorKind, source::vault::Vault};
use keyswap_source_tests::{
    api::Api,
    bao::Bao,
    front::{Fault, Front},
    load::{Load, until},
};

use super::{follow, in_use, next_failure, refused, until_in_use};

#[tokio::test]
async fn a_server_that_is_down_slow_or_odd_costs_no_request_anything() {
    let (bao, api) = (Bao::start().await, Api::start().await);
    let front = Front::of(bao.url()).await;
    bao.store("k1").await;
    api.accept(["k1"]);
    let vault = Vault::new(front.url()).unwrap().token("root");
    let keys = follow(vault.kv("secret", "trading").key("/api_key")).await;
    let load = Load::start(&keys, api.url(), 8);
    let faults = [
        (Fault::Down, ErrorKind::Unavailable, "broke before the answer"),
        (Fault::Slow, ErrorKind::Timeout, "did not answer"),
        (Fault::Answer("200 OK", "<html>s3cr3t</html>"), ErrorKind::Malformed, "it is not JSON"),
        (Fault::Answer("200 OK", r#"{"data": "s3cr3t"}"#), ErrorKind::Malformed, "secret/trading"),
        (
            Fault::Answer("429 Too Many Requests\r\nretry-after: 1", r#"{"errors": ["s3cr3t"]}"#),
            ErrorKind::Throttled,
            "wants fewer requests",
        ),
        (
            Fault::Answer("503 Service Unavailable", r#"{"errors": ["Vault is sealed"]}"#),
            ErrorKind::Unavailable,
            "is sealed",
        ),
        (Fault::Answer("500 Oh", "s3cr3t"), ErrorKind::Unavailable, "cannot answer now"),
        (
            Fault::Answer("307 There\r\nlocation: http://localhost:1/", ""),
            ErrorKind::Malformed,
            "redirect",
        ),
    ];
    for (number, (fault, kind, words)) in (2..).zip(faults) {
        front.fail(fault.clone());
        let error = next_failure(&keys).await;
        assert!(error.0 == kind && error.1.contains(words), "{fault:?}: {error:?}");
        assert!(!error.1.contains("s3cr3t"), "{error:?}");
        let key = format!("k{number}");
        bao.store(&key).await;
        api.accept([format!("k{}", number - 1), key]);
        front.fail(Fault::None);
        let (again, limit) = (Instant::now(), Duration::from_millis(2_600));
        until_in_use(&keys, &format!("v{number}")).await;
        assert!(again.elapsed() < limit, "{fault:?}: {:?}", again.elapsed());
    }
    load.end().await;
}

const STATIC: &str = r#"{"lease_duration": 0, "data": {"username": "app", "password": "p1", "ttl": 600,
    "last_vault_rotation": "2026-11-23T18:00:00Z"}}"#;
const DYNAMIC: &str = r#"{"lease_id": "database/creds/app/1", "lease_duration": 600, "renewable": true,
    "data": {"username": "app", "password": "p1"}}"#;

/// What accounts are answered with is not ours to rotate here; that is in `accounts`.
#[tokio::test]
async fn accounts_stay_in_use_whatever_the_server_does() {
    let front = Front::of("http://127.0.0.1:9").await;
    let vault = Vault::new(front.url()).unwrap().token("root");
    front.fail(Fault::Answer("200 OK", STATIC));
    let fixed = follow(vault.static_role("database", "app")).await;
    front.fail(Fault::Answer("200 OK", DYNAMIC));
    let made = follow(vault.dynamic("database/creds/app")).await;
    let faults = [
        (Fault::Down, ErrorKind::Unavailable, "broke before the answer"),
        (Fault::Slow, ErrorKind::Timeout, "did not answer"),
        (Fault::Answer("200 OK", "<html>s3cr3t</html>"), ErrorKind::Malformed, "it is not JSON"),
        (
            Fault::Answer("429 Too Many Requests\r\nretry-after: 1", r#"{"errors": ["s3cr3t"]}"#),
            ErrorKind::Throttled,
            "wants fewer requests",
        ),
        (
            Fault::Answer("503 Service Unavailable", r#"{"errors": ["Vault is sealed"]}"#),
            ErrorKind::Unavailable,
            "is sealed",
        ),
        (
            Fault::Answer("403 Forbidden", r#"{"errors": ["s3cr3t"]}"#),
            ErrorKind::BootstrapRejected,
            "token",
        ),
    ];
    for (keys, healthy) in [(&fixed, STATIC), (&made, DYNAMIC)] {
        let id = in_use(keys);
        for (fault, kind, words) in faults.clone() {
            front.fail(fault.clone());
            let error = keys.refresh().await.expect_err("it fails");
            let said = error.to_string();
            assert!(error.kind() == kind && said.contains(words), "{fault:?}: {error:?}");
            assert!(!said.contains("s3cr3t"), "{said}");
            let now = keys.current().unwrap();
            assert_eq!((now.id(), now.reveal("password")), (&*id, Some("p1")), "{fault:?}");
            front.fail(Fault::Answer("200 OK", healthy));
            let recovered = || keys.last_failure().is_none();
            until("it works again", Duration::from_secs(3), recovered).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_is_sealed_for_five_seconds_costs_no_request_anything() {
    let (bao, api) = (Bao::start().await, Api::start().await);
    bao.policy("reader", &[("secret/data/trading", "read")]).await;
    let (role_id, secret_id) =
        bao.app_role("reader", serde_json::json!({ "token_ttl": "2s" })).await;
    bao.store("k1").await;
    api.accept(["k1"]);
    let vault = Vault::new(bao.url()).unwrap().app_role(role_id, secret_id);
    let keys = follow(vault.kv("secret", "trading").key("/api_key")).await;
    let load = Load::start(&keys, api.url(), 8);
    bao.seal().await;
    let error = next_failure(&keys).await;
    assert_eq!(error.0, ErrorKind::Unavailable, "{error:?}");
    assert!(error.1.contains("is sealed"), "{error:?}");
    // A program that begins now is told so.
    let other = Vault::new(bao.url()).unwrap().token("root");
    assert!(refused(other.kv("secret", "trading")).await.1.contains("is sealed"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(in_use(&keys), "v1");
    bao.unseal().await;
    bao.store("k2").await;
    api.accept(["k2"]);
    until_in_use(&keys, "v2").await;
    load.end().await;
}
