//! Azure Key Vault: a fake that Azure's own clients accept, and keys that rotate in it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{path::PathBuf, time::Duration};

use keyswap::{
    CredentialSet, Error, ErrorKind, KeySwap, Policy,
    source::{
        Fetched, Source,
        azure::{Credentials, KeyVault},
    },
};
use keyswap_source_tests::{
    api::Api,
    azure::{Azure, RESOURCE, TENANT, now, version_id},
    fake::Fault,
    load::{Load, until},
    process::command,
};
use serde_json::json;

#[path = "../../../core/src/guide/examples/azure.rs"]
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

fn machine(azure: &Azure) -> Credentials {
    Credentials::managed_identity().metadata_url(azure.login.url())
}

fn named(azure: &Azure, name: &str) -> KeyVault {
    let vault = KeyVault::new(azure.vault.url(), name).expect("a vault");
    let vault = vault.resource(RESOURCE).credentials(machine(azure));
    vault.root_certificates(azure.vault.ca().as_bytes()).expect("a certificate")
}

fn secret(azure: &Azure) -> KeyVault {
    named(azure, "trading")
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
    assert!(!shown.contains("s3cr3t") && !shown.contains("ey."), "{shown}");
    error
}

fn keys(set: &CredentialSet) -> Vec<&str> {
    let all = set.primary().into_iter().chain(set.previous());
    all.map(|it| it.reveal("key").expect("a key")).collect()
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn azures_own_clients_accept_the_fake_and_so_does_this_one() {
    let azure = Azure::start(&["one", "two", "three", "four", "five"]).await;
    azure.change(2, |it| it.expires = Some(now() + 3600));
    azure.change(4, |it| it.is_enabled = false);
    let folder = Folder(std::env::temp_dir().join(format!("keyswap-azure-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let [ca, subject, password] = ["ca.pem", "subject", "password"].map(|it| folder.0.join(it));
    std::fs::write(&ca, azure.vault.ca()).unwrap();
    std::fs::write(&subject, "of-the-platform").unwrap();
    std::fs::write(&password, "right\n").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/azure_client.py");
    let [ca_path, folder_path] = [&ca, &folder.0].map(|it| it.to_str().expect("a path"));
    let (vault, login) = (azure.vault.url(), azure.login.url());
    let arguments = [script, vault, login, ca_path, TENANT, RESOURCE, folder_path];
    let mut python = command("python", arguments);
    let judged =
        tokio::task::spawn_blocking(move || python.output().expect("it runs")).await.unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));

    let entra = |credentials: Credentials| credentials.authority_host(azure.login.url());
    let this_machine = |credentials: Credentials| credentials.metadata_url(azure.login.url());
    for (shown, credentials) in [
        ("secret", entra(Credentials::client_secret(TENANT, "app", "right"))),
        ("secret", entra(Credentials::client_secret_file(TENANT, "app", &password))),
        ("workload", entra(Credentials::workload_identity(TENANT, "app", &subject))),
        ("machine", this_machine(Credentials::managed_identity())),
        ("machine app", this_machine(Credentials::managed_identity_of("app"))),
    ] {
        let set = fetch(&secret(&azure).credentials(credentials), None).await.expect(shown);
        assert_eq!(keys(&set), ["five", "three"], "{shown}");
        assert_eq!(azure.state().shown, shown);
        assert_eq!(set.primary().expect("one").id(), version_id(5));
    }
    let wrong = entra(Credentials::client_secret(TENANT, "app", "s3cr3t"));
    let error = refused(&secret(&azure).credentials(wrong)).await;
    assert_eq!((error.kind(), error.status()), (ErrorKind::BootstrapRejected, Some(401)));
    let other = entra(Credentials::client_secret("contoso.com", "app", "right"));
    let error = refused(&secret(&azure).credentials(other)).await.to_string();
    assert!(error.contains(&format!("the vault belongs to tenant {TENANT}")), "{error}");
    let nobody = this_machine(Credentials::managed_identity_of("nobody"));
    let error = refused(&secret(&azure).credentials(nobody)).await;
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_under_16_callers_fail_nobody() {
    let azure = Azure::start(&[r#"{"api_key": "k1"}"#]).await;
    let api = Api::start().await;
    api.accept(["k1"]);
    let answer = example::example(secret(&azure), api.url()).await.expect("an answer");
    assert_eq!(answer, "ok");

    // Tokens that end again and again, too.
    azure.state().life = 1;
    let keys = KeySwap::follow(secret(&azure).key("/api_key")).policy(soon()).await.expect("keys");
    let load = Load::start(&keys, api.url(), 16);
    for number in 2..6 {
        let (before, new) = (format!("k{}", number - 1), format!("k{number}"));
        azure.add(&json!({"api_key": new}).to_string());
        if number < 4 {
            // The API learns of the key late, as is usual. Then there is no overlap at all.
            tokio::time::sleep(Duration::from_millis(300)).await;
            api.accept([before.clone(), new.clone()]);
            until("it is used", Duration::from_secs(5), || api.accepted().contains_key(&new)).await;
        }
        match number % 2 {
            0 => azure.change(number - 1, |it| it.is_enabled = false),
            _ => azure.change(number - 1, |it| it.expires = Some(now() - 1)),
        }
        api.accept([new.clone()]);
        let sent = load.sent();
        until("they go on", Duration::from_secs(5), || load.sent() > sent + 50).await;
        if number == 5 {
            azure.revoke_tokens();
        }
    }
    // The newest is disabled, and the one before is valid again: that rolls back.
    azure.change(4, |it| it.expires = None);
    api.accept(["k4", "k5"]);
    azure.change(5, |it| it.is_enabled = false);
    let in_use = || keys.current().is_ok_and(|it| it.reveal("key") == Some("k4"));
    until("it is rolled back", Duration::from_secs(5), in_use).await;
    api.accept(["k4"]);
    let sent = load.sent();
    until("they go on", Duration::from_secs(5), || load.sent() > sent + 50).await;
    load.end().await;
    assert!(azure.state().tokens > 1001, "tokens ended, and were renewed");
}

#[tokio::test]
async fn states_and_times_decide_which_version_is_current() {
    let azure = Azure::start(&["one", "two", "three"]).await;
    let source = secret(&azure);
    let now_held = async || fetch(&source, None).await.map(|set| keys(&set).join(" "));
    assert_eq!(now_held().await.expect("a set"), "three two");
    azure.change(3, |it| it.is_enabled = false);
    assert_eq!(now_held().await.expect("a set"), "two one");
    azure.change(2, |it| it.expires = Some(now() - 10));
    assert_eq!(now_held().await.expect("a set"), "one");
    azure.change(1, |it| it.is_enabled = false);
    let error = refused(&source).await;
    assert_eq!(error.kind(), ErrorKind::UnknownSet);
    assert!(error.to_string().contains("trading"), "{error}");

    // One whose time has not come says when to ask again; one that ends says so.
    azure.change(1, |it| it.is_enabled = true);
    let (begin, end) = (now() + 100, now() + 1000);
    azure.change(3, |it| (it.is_enabled, it.not_before) = (true, Some(begin)));
    azure.change(1, |it| it.expires = Some(end));
    let set = fetch(&source, None).await.expect("a set");
    assert_eq!(keys(&set), ["one"]);
    let expires = set.primary().expect("one").expires_at().expect("an end");
    assert_eq!(u64::try_from(expires.as_second()), Ok(end));
    azure.change(3, |it| it.not_before = Some(now() - 1));
    assert_eq!(now_held().await.expect("a set"), "three one");

    // The pages of a list are in no order of time.
    (0..80).for_each(|number| azure.add(&format!("more {number}")));
    azure.state().lists = 0;
    assert_eq!(now_held().await.expect("a set"), "more 79 more 78");
    assert_eq!(azure.state().lists, 4);
    azure.state().leads_away = true;
    let error = refused(&source).await;
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("nextLink"), "{error}");
    azure.state().leads_away = false;
    // There are more than anybody wants to look through.
    (0..440).for_each(|_| azure.add("last"));
    assert_eq!(now_held().await.expect("a set"), "last");
    assert_eq!(refused(&named(&azure, "other")).await.kind(), ErrorKind::UnknownSet);
}

#[tokio::test]
async fn values_are_read_only_when_something_changed() {
    let azure = Azure::start(&["one", "two"]).await;
    let source = secret(&azure);
    let held = fetch(&source, None).await.expect("a set");
    for _ in 0..3 {
        let again = source.fetch(Some(&held)).await.expect("an answer");
        assert!(matches!(again, Fetched::NotModified));
    }
    {
        let state = azure.state();
        assert_eq!((state.lists, state.reads, state.tokens), (4, 2, 1));
    }
    // What the API rejected is asked for without a condition.
    let rejected = CredentialSet::new(held.primary().expect("one").clone());
    assert_eq!(keys(&fetch(&source, Some(&rejected)).await.expect("a set")), ["two", "one"]);
    assert_eq!(azure.state().reads, 4);
    // An end that was set is a change, too.
    azure.change(2, |it| it.expires = Some(now() + 1000));
    let changed = fetch(&source, Some(&held)).await.expect("a set");
    assert!(changed.primary().expect("one").expires_at().is_some());
}

#[tokio::test]
async fn without_the_permission_to_list_the_latest_is_all_there_is() {
    let azure = Azure::start(&["one", "two"]).await;
    azure.state().may_list = false;
    let source = secret(&azure);
    let set = fetch(&source, None).await.expect("a set");
    assert_eq!(keys(&set), ["two"]);
    azure.add("three");
    assert_eq!(keys(&fetch(&source, Some(&set)).await.expect("a set")), ["three"]);
    assert_eq!(
        azure.state().lists,
        1,
        "a refusal stands in the audit log: it is not asked for again"
    );
    azure.change(3, |it| it.is_enabled = false);
    let error = refused(&source).await;
    assert_eq!(error.kind(), ErrorKind::UnknownSet);
    assert!(error.to_string().contains("permission to list"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_leaves_the_key_and_heals_within_one_backoff() {
    let azure = Azure::start(&["one"]).await;
    let keys = KeySwap::follow(secret(&azure)).policy(soon()).await.expect("keys");
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
        azure.vault.fails(fault);
        let told = expect(kind).await;
        assert!(!told.contains("s3cr3t"), "{told}");
        azure.vault.fails(None);
        healed().await;
    }
    // The same of what it logs in to, with a token that is not accepted any more.
    for (fault, kind) in [
        (Fault::Down, ErrorKind::Unavailable),
        (Fault::Garbage, ErrorKind::Malformed),
        (Fault::Throttled, ErrorKind::Throttled),
    ] {
        azure.login.fails(fault);
        azure.revoke_tokens();
        let told = expect(kind).await;
        assert!(told.contains("the metadata service") && !told.contains("s3cr3t"), "{told}");
        azure.login.fails(None);
        healed().await;
    }

    azure.state().may_get = false;
    azure.state().may_list = false;
    let told = expect(ErrorKind::Forbidden).await;
    assert!(told.contains("Key Vault Secrets User") && told.contains("trading"), "{told}");
    azure.state().may_get = true;
    azure.state().may_list = true;
    healed().await;

    azure.add(r#"{"not": ["a key: s3cr3t"]}"#);
    let told = expect(ErrorKind::Malformed).await;
    assert!(told.contains(&version_id(2)) && !told.contains("s3cr3t"), "{told}");
    azure.change(2, |it| it.is_enabled = false);
    healed().await;
}

#[tokio::test]
async fn a_challenge_says_what_a_token_must_be_for() {
    let azure = Azure::start(&["one"]).await;
    // The vault stands in another domain than it asks a token for: it might use that elsewhere.
    let vault =
        KeyVault::new(azure.vault.url(), "trading").expect("a vault").credentials(machine(&azure));
    let vault = vault.root_certificates(azure.vault.ca().as_bytes()).expect("a certificate");
    let error = refused(&vault).await;
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("`resource`"), "{error}");
    assert_eq!(azure.state().unasked, 1);
    assert_eq!(azure.state().tokens, 0, "none was asked for");

    let source = secret(&azure);
    fetch(&source, None).await.expect("a set");
    // A token that is not accepted is asked for anew once, whoever waits for it.
    azure.revoke_tokens();
    let shared = machine(&azure);
    let all: Vec<_> = (0..4).map(|_| secret(&azure).credentials(shared.clone())).collect();
    let [a, b, c, d] = all.as_slice() else { panic!("four") };
    let sets = tokio::join!(fetch(a, None), fetch(b, None), fetch(c, None), fetch(d, None));
    assert!(sets.0.is_ok() && sets.1.is_ok() && sets.2.is_ok() && sets.3.is_ok());
    assert_eq!(azure.state().tokens, 1002);
    azure.revoke_tokens();
    fetch(a, None).await.expect("a set, with another token");
    assert_eq!(azure.state().tokens, 2003);

    let error = refused(&secret(&azure).credentials(Credentials::token("ey.old"))).await;
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
    let nowhere = Credentials::managed_identity().metadata_url("http://127.0.0.1:1");
    let error = refused(&secret(&azure).credentials(nowhere)).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("AZURE_CLIENT_SECRET"), "{error}");
}

#[tokio::test]
async fn what_is_not_valid_does_not_start() {
    for (url, name) in [
        ("vault", "trading"),
        ("https://v.vault.azure.net", "a/b"),
        ("https://v.vault.azure.net", ""),
    ] {
        let error = KeyVault::new(url, name).expect_err("not valid");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
    let vault = || KeyVault::new("https://v.vault.azure.net", "trading").expect("a vault");
    for odd in [
        vault().key("api_key"),
        vault().resource("vault"),
        vault().credentials(Credentials::default().metadata_url("x")),
        vault().credentials(Credentials::client_secret("a b", "c", "d")),
    ] {
        let error = KeySwap::follow(odd).start().expect_err("not valid");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
    let plain = KeyVault::new("http://v.vault.azure.net", "trading").expect("a vault");
    assert_eq!(refused(&plain).await.kind(), ErrorKind::InsecureUrl);
}
