//! Google Secret Manager: a fake that Google's own client accepts, and keys that rotate in it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{path::PathBuf, time::Duration};

use keyswap::{
    CredentialSet, Error, ErrorKind, KeySwap, Policy,
    source::{
        Fetched, Source,
        gcp::{Credentials, SecretManager},
    },
};
use keyswap_source_tests::{
    api::Api,
    fake::Fault,
    google::{Google, SECRET},
    load::{Load, until},
    process::command,
};
use serde_json::json;

#[path = "../../../core/src/guide/examples/google.rs"]
#[allow(unreachable_pub, reason = "as programs write it")]
mod example;

/// What is done within a minute otherwise is done within a second.
fn soon() -> Policy {
    let ms = Duration::from_millis;
    Policy::default()
        .poll(ms(100))
        .fetch_floor(ms(20))
        .fetch_floor_min(ms(20))
        .backoff_min(ms(50))
        .backoff_max(ms(200))
        .backoff_max_urgent(ms(200))
        .slow_retry_min(ms(100))
        .slow_retry_max(ms(300))
        .fetch_timeout(ms(1500))
}

fn machine(google: &Google) -> Credentials {
    Credentials::metadata_server().metadata_url(google.fake.url())
}

fn secret(google: &Google) -> SecretManager {
    SecretManager::new(SECRET).endpoint_url(google.fake.url()).credentials(machine(google))
}

async fn fetch(
    source: &impl Source,
    known: Option<&CredentialSet>,
) -> Result<CredentialSet, Error> {
    match source.fetch(known).await? {
        Fetched::Set(set) => Ok(set),
        other => panic!("{other:?}"),
    }
}

async fn refused(source: &impl Source) -> Error {
    let error = source.fetch(None).await.expect_err("no set");
    let shown = format!("{error} {error:?} {source:?}");
    assert!(!shown.contains("s3cr3t") && !shown.contains("ya29"), "{shown}");
    error
}

fn keys(set: &CredentialSet) -> Vec<&str> {
    let all = set.primary().into_iter().chain(set.previous());
    all.map(|it| it.reveal("key").expect("a key")).collect()
}

/// Files of credentials of each kind, for Google's library and for this one.
struct Files(PathBuf);

impl Files {
    fn new(google: &Google) -> Self {
        let folder = std::env::temp_dir().join(format!("keyswap-google-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let url = google.fake.url();
        let key = include_str!("../servers/google_key.pem");
        let token = folder.join("subject");
        std::fs::write(&token, json!({"jwt": "of-the-platform"}).to_string()).unwrap();
        let user = json!({
            "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "of-the-user",
            "token_uri": format!("{url}/token"), "quota_project_id": "p",
        });
        let impersonation = format!(
            "{url}/v1/projects/-/serviceAccounts/app@p.iam.gserviceaccount.com:generateAccessToken"
        );
        let workload = json!({
            "type": "external_account", "audience": "//iam.googleapis.com/projects/1/x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": format!("{url}/token"),
            "credential_source": {
                "file": token, "format": {"type": "json", "subject_token_field_name": "jwt"},
            },
            "service_account_impersonation_url": impersonation,
        });
        let account = json!({
            "type": "service_account", "project_id": "p", "private_key_id": "k1", "private_key": key,
            "client_email": "app@p.iam.gserviceaccount.com", "token_uri": format!("{url}/token"),
        });
        let acting = json!({
            "type": "impersonated_service_account", "source_credentials": user,
            "service_account_impersonation_url": impersonation, "delegates": [],
        });
        let all =
            [("account", account), ("acting", acting), ("user", user), ("workload", workload)];
        for (name, content) in all {
            std::fs::write(folder.join(format!("{name}.json")), content.to_string()).unwrap();
        }
        Self(folder)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_own_client_accepts_the_fake_and_so_does_this_one() {
    let google = Google::start(&["one", "two", "three", "four", "five"]).await;
    google.set(4, "DISABLED");
    google.set(5, "DESTROYED");
    google.state().alias = Some(("prod".into(), 2));
    google.state().page_size = 2;
    let files = Files::new(&google);
    // What is signed here must hold there.
    let account = Credentials::file(files.0.join("account.json"));
    fetch(&secret(&google).credentials(account), None).await.expect("a set");
    let signed = google.state().shown.1.clone();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/google_client.py");
    let folder = files.0.to_str().expect("a path");
    let mut python = command("python", [script, google.fake.url(), folder, &signed]);
    let judged =
        tokio::task::spawn_blocking(move || python.output().expect("it runs")).await.unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));

    for (name, shown) in [
        ("account", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("acting", "refresh_token impersonated"),
        ("user", "refresh_token"),
        ("workload", "urn:ietf:params:oauth:grant-type:token-exchange impersonated"),
    ] {
        let file = Credentials::file(files.0.join(format!("{name}.json")));
        let set = fetch(&secret(&google).credentials(file), None).await.expect(name);
        assert_eq!(keys(&set), ["three", "two"], "{name}");
        assert_eq!(google.state().shown.0, shown);
    }
    let current = fetch(&secret(&google), None).await.expect("a set");
    let current = current.primary().expect("one").clone();
    assert_eq!((current.id(), current.version()), ("3", Some("3")));
    let set = fetch(&secret(&google).version("prod"), None).await.expect("an alias");
    assert_eq!(keys(&set), ["two", "one"]);
    let revoked = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "revoked",
        "token_uri": format!("{}/token", google.fake.url()),
    });
    let error = refused(&secret(&google).credentials(Credentials::json(revoked.to_string()))).await;
    assert_eq!((error.kind(), error.status()), (ErrorKind::BootstrapRejected, Some(400)));
    assert!(error.to_string().contains("gcloud auth"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_under_16_callers_fail_nobody() {
    let google = Google::start(&[r#"{"api_key": "k1"}"#]).await;
    let api = Api::start().await;
    api.accept(["k1"]);
    let answer = example::example(secret(&google), api.url()).await.expect("an answer");
    assert_eq!(answer, "ok");

    // Tokens that end again and again, too.
    google.state().life = 1;
    let keys = KeySwap::follow(secret(&google).key("/api_key")).policy(soon()).await.expect("keys");
    let load = Load::start(&keys, api.url(), 16);
    for number in 2..6 {
        let (before, new) = (format!("k{}", number - 1), format!("k{number}"));
        google.add(&json!({"api_key": new}).to_string());
        match number {
            // The API learns of the key late, as is usual,
            2 | 3 => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                api.accept([before.clone(), new.clone()]);
            }
            // or there is no overlap at all.
            _ => {}
        }
        if number < 4 {
            until("it is used", Duration::from_secs(5), || api.accepted().contains_key(&new)).await;
        }
        google.set(number - 1, if number % 2 == 0 { "DISABLED" } else { "DESTROYED" });
        api.accept([new.clone()]);
        let sent = load.sent();
        until("they go on", Duration::from_secs(5), || load.sent() > sent + 50).await;
        if number == 5 {
            google.revoke_tokens();
        }
    }
    // The newest is disabled, and the one before enabled: that rolls back.
    google.set(4, "ENABLED");
    api.accept(["k4", "k5"]);
    google.set(5, "DISABLED");
    let in_use = || keys.current().is_ok_and(|it| it.reveal("key") == Some("k4"));
    until("it is rolled back", Duration::from_secs(5), in_use).await;
    api.accept(["k4"]);
    let sent = load.sent();
    until("they go on", Duration::from_secs(5), || load.sent() > sent + 50).await;
    load.end().await;
    assert!(google.state().tokens > 1001, "tokens ended, and were renewed");
}

#[tokio::test]
async fn states_decide_which_version_is_current() {
    let google = Google::start(&["one", "two", "three"]).await;
    let source = secret(&google);
    let now = async || fetch(&source, None).await.map(|set| keys(&set).join(" "));
    assert_eq!(now().await.expect("a set"), "three two");
    google.set(3, "DISABLED");
    assert_eq!(now().await.expect("a set"), "two one");
    google.set(2, "DESTROYED");
    assert_eq!(now().await.expect("a set"), "one");
    google.set(1, "DISABLED");
    let error = refused(&source).await;
    assert_eq!(error.kind(), ErrorKind::UnknownSet);
    assert!(error.to_string().contains(SECRET), "{error}");
    google.set(3, "ENABLED");
    assert_eq!(now().await.expect("a set"), "three");

    // One that is disabled between the list and the access.
    google.set(1, "ENABLED");
    google.state().disable_after_list = Some(3);
    assert_eq!(now().await.expect("a set"), "one");

    // Many versions that are not enabled stand before one that is.
    (0..12).for_each(|_| google.add("more"));
    (4..=15).for_each(|number| google.set(number, "DESTROYED"));
    google.state().page_size = 5;
    assert_eq!(now().await.expect("a set"), "one");
    let missing = SecretManager::new("projects/p/secrets/other")
        .endpoint_url(google.fake.url())
        .credentials(machine(&google));
    assert_eq!(refused(&missing).await.kind(), ErrorKind::UnknownSet);
}

#[tokio::test]
async fn values_are_read_only_when_something_changed() {
    let google = Google::start(&["one", "two"]).await;
    let source = secret(&google);
    let held = fetch(&source, None).await.expect("a set");
    for _ in 0..3 {
        let again = source.fetch(Some(&held)).await.expect("an answer");
        assert!(matches!(again, Fetched::NotModified));
    }
    {
        let state = google.state();
        assert_eq!((state.lists, state.accesses, state.tokens), (4, 2, 1));
    }
    // What the API rejected is asked for without a condition.
    let rejected = CredentialSet::new(held.primary().expect("one").clone());
    assert_eq!(keys(&fetch(&source, Some(&rejected)).await.expect("a set")), ["two", "one"]);
    assert_eq!(google.state().accesses, 4);
    google.add("three");
    assert_eq!(keys(&fetch(&source, Some(&held)).await.expect("a set")), ["three", "two"]);
}

#[tokio::test]
async fn without_the_permission_to_list_the_latest_is_all_there_is() {
    let google = Google::start(&["one", "two"]).await;
    google.state().may_list = false;
    let source = secret(&google);
    let set = fetch(&source, None).await.expect("a set");
    assert_eq!(keys(&set), ["two"]);
    google.add("three");
    assert_eq!(keys(&fetch(&source, Some(&set)).await.expect("a set")), ["three"]);
    assert_eq!(
        google.state().lists,
        1,
        "a refusal stands in the audit log: it is not asked for again"
    );
    google.set(3, "DISABLED");
    let error = refused(&source).await;
    assert_eq!(error.kind(), ErrorKind::UnknownSet);
    assert!(error.to_string().contains("secretmanager.versions.list"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_leaves_the_key_and_heals_within_one_backoff() {
    let google = Google::start(&["one"]).await;
    let keys = KeySwap::follow(secret(&google)).policy(soon()).await.expect("keys");
    let expect = async |kind: ErrorKind| {
        let told = || keys.last_failure().is_some_and(|error| error.kind() == kind);
        until(&format!("{kind:?} is told"), Duration::from_secs(5), told).await;
        assert_eq!(keys.current().expect("held").reveal("key"), Some("one"));
        keys.last_failure().expect("one").to_string()
    };
    let healed = async || {
        let is_healed = || keys.last_failure().is_none();
        until("it heals", Duration::from_secs(3), is_healed).await;
    };
    for (fault, kind) in [
        (Fault::Down, ErrorKind::Unavailable),
        (Fault::Broken, ErrorKind::Unavailable),
        (Fault::Garbage, ErrorKind::Malformed),
        (Fault::Throttled, ErrorKind::Throttled),
        (Fault::Slow, ErrorKind::Timeout),
    ] {
        google.fake.fails(fault);
        let told = expect(kind).await;
        assert!(!told.contains("s3cr3t"), "{told}");
        google.fake.fails(None);
        healed().await;
    }

    google.state().may_access = false;
    google.state().may_list = false;
    let told = expect(ErrorKind::Forbidden).await;
    assert!(told.contains("roles/secretmanager.secretAccessor") && told.contains(SECRET), "{told}");
    google.state().may_access = true;
    google.state().may_list = true;
    healed().await;

    // What came is not what is stored.
    google.add("two");
    google.state().is_torn = true;
    let told = expect(ErrorKind::Malformed).await;
    assert!(told.contains("checksum"), "{told}");
    google.state().is_torn = false;
    healed().await;
    assert_eq!(keys.set().expect("a set").primary().expect("one").id(), "2");

    google.add(r#"{"not": ["a key: s3cr3t"]}"#);
    let told = expect(ErrorKind::Malformed).await;
    assert!(told.contains("version 3 of") && !told.contains("s3cr3t"), "{told}");
    google.set(3, "DESTROYED");
    healed().await;
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_asked_for_anew_once() {
    let google = Google::start(&["one"]).await;
    let source = secret(&google);
    fetch(&source, None).await.expect("a set");
    google.revoke_tokens();
    fetch(&source, None).await.expect("a set, with another token");
    assert_eq!(google.state().tokens, 1002);

    // Clones share a log-in, and any number of handles that need one wait for it.
    google.revoke_tokens();
    let shared = machine(&google);
    let all: Vec<_> = (0..8).map(|_| secret(&google).credentials(shared.clone())).collect();
    let [a, b, c, d, e, f, g, h] = all.as_slice() else { panic!("eight") };
    let sets = tokio::join!(
        fetch(a, None),
        fetch(b, None),
        fetch(c, None),
        fetch(d, None),
        fetch(e, None),
        fetch(f, None),
        fetch(g, None),
        fetch(h, None),
    );
    assert!(sets.0.is_ok() && sets.7.is_ok());
    assert_eq!(google.state().tokens, 2003);

    let error = refused(&secret(&google).credentials(Credentials::token("ya29.old"))).await;
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
    let nowhere = Credentials::metadata_server().metadata_url("http://127.0.0.1:1");
    let error = refused(&secret(&google).credentials(nowhere)).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
}

#[tokio::test]
async fn what_is_not_valid_does_not_start() {
    for odd in [
        SecretManager::new("trading"),
        SecretManager::new(SECRET).key("api_key"),
        SecretManager::new(SECRET).version("a/b"),
        SecretManager::new(SECRET).endpoint_url("secretmanager"),
        SecretManager::new(SECRET).credentials(Credentials::default().metadata_url("x")),
    ] {
        let error = KeySwap::follow(odd).start().expect_err("not valid");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
}
