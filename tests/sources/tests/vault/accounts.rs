//! Accounts of a real database: one that the server rotates, and those that it makes.

use std::{sync::Arc, time::Duration};

use keyswap::{Credential, Current, Error, KeySwap, source::vault::Vault};
use keyswap_source_tests::{
    bao::Bao,
    front::Front,
    load::until,
    postgres::{Postgres, ROOT},
};
use serde_json::json;

use super::{as_root, example, follow, in_use};

/// A server with a database behind it.
async fn with_database() -> (Bao, Postgres) {
    let (bao, postgres) = tokio::join!(Bao::start(), Postgres::start());
    bao.write("sys/mounts/database", json!({ "type": "database" })).await;
    let url = "postgresql://{{username}}:{{password}}@127.0.0.1:";
    let connection = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "*",
        "connection_url": format!("{url}{}/postgres?sslmode=disable", postgres.port()),
        "username": ROOT.0, "password": ROOT.1,
    });
    bao.write("database/config/main", connection).await;
    (bao, postgres)
}

/// What a log-in to the database failed with.
#[derive(Debug)]
enum Failure {
    WrongPassword,
    #[expect(dead_code, reason = "it is shown")]
    Other(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error.to_string())
    }
}

async fn log_in(postgres: &Postgres, user: &str, password: &str) -> Result<String, Failure> {
    let asked = postgres.query(user, password, "SELECT current_user").await;
    asked.map_err(|error| match error.contains("authentication failed") {
        true => Failure::WrongPassword,
        false => Failure::Other(error),
    })
}

async fn log_in_with(postgres: &Postgres, account: &Credential) -> Result<String, Failure> {
    let piece = |name| account.reveal(name).unwrap();
    log_in(postgres, piece("username"), piece("password")).await
}

/// Logs in with what is held, without another try.
async fn log_in_once(postgres: &Postgres, keys: &KeySwap) -> Result<String, Failure> {
    log_in_with(postgres, &*keys.current()?).await
}

/// They wait most of the time, so they share the servers, and run side by side.
#[tokio::test]
async fn accounts_of_a_database() {
    let (bao, postgres) = with_database().await;
    let (bao, postgres) = (Arc::new(bao), Arc::new(postgres));
    let all = [
        tokio::spawn(a_static_role_is_rotated_under_log_ins(bao.clone(), postgres.clone())),
        tokio::spawn(a_static_role_is_read_when_its_time_ends(bao.clone(), postgres.clone())),
        tokio::spawn(a_lease_is_renewed_and_has_a_successor(bao.clone(), postgres.clone())),
        tokio::spawn(an_account_outlives_no_log_in(bao.clone(), postgres.clone())),
        tokio::spawn(what_was_made_is_revoked_on_shutdown_if_asked(bao, postgres)),
    ];
    for one in all {
        one.await.unwrap();
    }
}

async fn a_static_role_is_rotated_under_log_ins(bao: Arc<Bao>, postgres: Arc<Postgres>) {
    let create = "CREATE ROLE app LOGIN PASSWORD 'of-nobody'";
    postgres.query(ROOT.0, ROOT.1, create).await.unwrap();
    let role = json!({ "db_name": "main", "username": "app", "rotation_period": "3600" });
    bao.write("database/static-roles/app", role).await;
    // Polls are rare: a rotation shows itself by a password that is wrong.
    let policy = super::policy().poll(Duration::from_secs(60));
    let keys = as_root(&bao).static_role("database", "app");
    let keys = KeySwap::follow(keys).policy(policy).await.unwrap();
    assert_eq!(keys.current().unwrap().reveal("username"), Some("app"));
    assert!(keys.current().unwrap().reveal("ttl").is_none(), "that is no part of the account");

    let end = tokio::time::Instant::now() + Duration::from_secs(6);
    let callers = (0..4).map(|_| {
        let (keys, postgres) = (keys.clone(), postgres.clone());
        tokio::spawn(async move {
            let mut done = 0;
            while tokio::time::Instant::now() < end {
                let connect = |account: Current| {
                    let postgres = postgres.clone();
                    async move { log_in_with(&postgres, &account).await }
                };
                let is_wrong = |error: &Failure| matches!(error, Failure::WrongPassword);
                let user = example::log_in(&keys, connect, is_wrong).await.unwrap();
                assert_eq!(user, "app");
                done += 1;
            }
            done
        })
    });
    let callers: Vec<_> = callers.collect();
    let first = in_use(&keys);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(900)).await;
        bao.write("database/rotate-role/app", json!({})).await;
    }
    let mut done = 0;
    for caller in callers {
        done += caller.await.expect("no log-in failed");
    }
    assert!(done > 10 && in_use(&keys) != first, "{done} log-ins");
    assert!(keys.stats().counts.changed >= 5, "{:?}", keys.stats());
}

async fn a_static_role_is_read_when_its_time_ends(bao: Arc<Bao>, postgres: Arc<Postgres>) {
    postgres.query(ROOT.0, ROOT.1, "CREATE ROLE timed LOGIN PASSWORD 'x'").await.unwrap();
    // Its shortest period.
    let role = json!({ "db_name": "main", "username": "timed", "rotation_period": "5" });
    bao.write("database/static-roles/timed", role).await;
    let policy = super::policy().poll(Duration::from_secs(600));
    let front = Front::of(bao.url()).await;
    let vault = Vault::new(front.url()).unwrap().token("root");
    let keys = KeySwap::follow(vault.static_role("database", "timed")).policy(policy);
    let keys = keys.await.unwrap();
    let first = in_use(&keys);
    let changed = || keys.set().is_some_and(|set| set.primary().unwrap().id() != first);
    until("the next password", Duration::from_secs(15), changed).await;
    let set = keys.set().unwrap();
    log_in_with(&postgres, set.primary().unwrap()).await.expect("it is the right one");
    assert!(front.asked("GET /v1/database/static-creds/") <= 20, "and not in a hurry");
}

/// Makes a role whose accounts live for so many seconds, and can be renewed to so many.
async fn dynamic_role(bao: &Bao, name: &str, ttl: u32, max: u32) {
    let role = json!({
        "db_name": "main", "default_ttl": ttl, "max_ttl": max,
        "creation_statements":
            "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'",
    });
    bao.write(&format!("database/roles/{name}"), role).await;
}

async fn a_lease_is_renewed_and_has_a_successor(bao: Arc<Bao>, postgres: Arc<Postgres>) {
    dynamic_role(&bao, "renewed", 6, 10).await;
    let front = Front::of(bao.url()).await;
    let vault = Vault::new(front.url()).unwrap().token("root");
    let keys = follow(vault.dynamic("database/creds/renewed")).await;
    let (first, first_end) = (in_use(&keys), keys.current().unwrap().expires_at().unwrap());
    let began = tokio::time::Instant::now();
    let (mut was_renewed, mut had_fallback, mut done) = (false, false, 0);
    while began.elapsed() < Duration::from_secs(20) {
        log_in_once(&postgres, &keys).await.expect("what is in use works");
        done += 1;
        let set = keys.set().unwrap();
        let newest = set.primary().unwrap();
        was_renewed |= newest.id() == first && newest.expires_at().unwrap() > first_end;
        if let Some(before) = set.previous().next() {
            let left = before.expires_at().unwrap().duration_since(jiff_now());
            if left.as_millis() > 700 {
                let user = log_in_with(&postgres, before).await;
                user.expect("the one before works until its end");
                had_fallback = true;
            }
        }
    }
    let made = front.asked("GET /v1/database/creds/renewed");
    let renewed = front.asked("POST /v1/sys/leases/renew");
    assert!(was_renewed && had_fallback, "{was_renewed} {had_fallback}");
    assert!((2..=4).contains(&made) && renewed >= 3, "{made} made, {renewed} renewed");
    assert!(done > 50 && keys.stats().counts.failed == 0, "{done} log-ins");

    // An operator revokes what is in use: the next look makes a new one.
    bao.write("sys/leases/revoke-prefix/database/creds/renewed", json!({})).await;
    keys.refresh().await.unwrap();
    let newest = |keys: &KeySwap| {
        keys.set().unwrap().primary().unwrap().reveal("username").map(str::to_owned)
    };
    let user = newest(&keys).unwrap();
    let there = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{user}'");
    let there = async || postgres.query(ROOT.0, ROOT.1, &there).await.unwrap();
    assert_eq!(there().await, "1");
}

/// A lease ends with the token that made it.
async fn an_account_outlives_no_log_in(bao: Arc<Bao>, postgres: Arc<Postgres>) {
    dynamic_role(&bao, "long", 60, 600).await;
    bao.policy("maker", &[("database/creds/long", "read")]).await;
    let life = json!({ "token_ttl": "3s", "token_max_ttl": "8s" });
    let (role_id, secret_id) = bao.app_role("maker", life).await;
    let vault = Vault::new(bao.url()).unwrap().app_role(role_id, secret_id);
    let keys = follow(vault.dynamic("database/creds/long")).await;
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_secs(14) {
        log_in_once(&postgres, &keys).await.expect("what is in use works");
        let left = keys.current().unwrap().expires_at().unwrap().duration_since(jiff_now());
        assert!(left.as_millis() < 4_500, "{left:?}");
    }
    let counts = keys.stats().counts;
    assert!((2..=6).contains(&counts.changed) && counts.failed == 0, "{counts:?}");
}

async fn what_was_made_is_revoked_on_shutdown_if_asked(bao: Arc<Bao>, postgres: Arc<Postgres>) {
    dynamic_role(&bao, "left", 600, 6000).await;
    for (asked, left) in [(true, "0"), (false, "1")] {
        let source = as_root(&bao).dynamic("database/creds/left");
        let source = if asked { source.revoke_on_shutdown() } else { source };
        let keys = follow(source).await;
        let user = keys.current().unwrap().reveal("username").unwrap().to_owned();
        log_in_once(&postgres, &keys).await.expect("it works");
        keys.shutdown().await;
        let there = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{user}'");
        let end = tokio::time::Instant::now() + Duration::from_secs(2);
        let mut counted = String::new();
        while tokio::time::Instant::now() < end && counted != "0" {
            counted = postgres.query(ROOT.0, ROOT.1, &there).await.unwrap();
        }
        assert_eq!(counted, left, "revoke_on_shutdown: {asked}");
    }
}

fn jiff_now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
