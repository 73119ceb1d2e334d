//! What is stored: versions that rotate, are deleted, and come back.

use std::time::Duration;

use keyswap::{ErrorKind, KeySwap};
use keyswap_source_tests::{
    api::Api,
    bao::Bao,
    front::Front,
    load::{Load, until},
};
use reqwest::Method;
use serde_json::json;

use super::{as_root, example, follow, in_use, policy, refused, until_in_use, until_newest};

/// The guide's example, under load, with a key that is cut off: nobody notices.
#[tokio::test]
async fn the_example_of_the_guide() {
    let (bao, api) = (Bao::start().await, Api::start().await);
    let rules = [("secret/data/trading", "read"), ("secret/metadata/trading", "read")];
    bao.policy("trading", &rules).await;
    let (role_id, secret_id) = bao.app_role("trading", json!({})).await;
    let file = std::env::temp_dir().join(format!("keyswap-secret-id-{}", std::process::id()));
    std::fs::write(&file, format!("{secret_id}\n")).unwrap();
    bao.store("k1").await;
    api.accept(["k1"]);
    let keys = example::example(bao.url(), &role_id, file.to_str().unwrap()).await.unwrap();
    let load = Load::start(&keys, api.url(), 16);
    for number in 2..5 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let key = format!("k{number}");
        bao.store(&key).await;
        api.accept([key]);
        until_in_use(&keys, &format!("v{number}")).await;
    }
    load.end().await;
    std::fs::remove_file(&file).unwrap();
    assert!(keys.stats().counts.forced <= 3, "one fetch a rotation");
}

#[tokio::test]
async fn the_newest_version_that_lives_is_the_key_and_the_one_before_its_fallback() {
    let (bao, api) = (Bao::start().await, Api::start().await);
    bao.policy("unlisted", &[("secret/data/trading", "read")]).await;
    let (role_id, secret_id) = bao.app_role("unlisted", json!({})).await;
    let front = Front::of(bao.url()).await;
    let root = keyswap::source::vault::Vault::new(front.url()).unwrap();
    let unlisted = root.clone().app_role(role_id, secret_id);
    for (vault, may_list) in [(root.token("root"), true), (unlisted, false)] {
        _ = bao.call(Method::DELETE, "secret/metadata/trading", None).await;
        bao.store("k1").await;
        bao.store("k2").await;
        api.accept(["k1", "k2"]);
        let keys = follow(vault.kv("secret", "trading").key("/api_key")).await;
        let set = keys.set().unwrap();
        assert_eq!(set.primary().map(|it| (it.id(), it.version())), Some(("v2", Some("2"))));
        assert_eq!(set.previous().map(|it| it.id()).collect::<Vec<_>>(), ["v1"]);
        assert!(set.primary().unwrap().created_at().is_some());
        let load = Load::start(&keys, api.url(), 8);

        // Twice the same is one key, and the fallback is the one before.
        bao.store("k2").await;
        until_newest(&keys, "v3").await;
        assert_eq!(keys.set().unwrap().previous().next().map(|it| it.id()), Some("v1"));
        // Back to the first key, by a new version.
        bao.store("k1").await;
        until_in_use(&keys, "v4").await;
        assert_eq!(keys.current().unwrap().reveal("key"), Some("k1"));
        assert_eq!(keys.set().unwrap().previous().next().map(|it| it.id()), Some("v3"));
        // The current version is deleted, and the one before that destroyed.
        bao.call(Method::DELETE, "secret/data/trading", None).await;
        until_in_use(&keys, "v3").await;
        api.accept(["k1", "k2"]);
        bao.write("secret/destroy/trading", json!({ "versions": [3, 2] })).await;
        until_in_use(&keys, "v1").await;
        bao.write("secret/undelete/trading", json!({ "versions": [4] })).await;
        until_newest(&keys, "v4").await;
        // Removed, and made anew: version 1 is another one.
        bao.call(Method::DELETE, "secret/metadata/trading", None).await;
        api.accept(["k1", "k9"]);
        bao.store("k9").await;
        let is_new = || keys.current().is_ok_and(|it| it.reveal("key") == Some("k9"));
        until("the new one", Duration::from_secs(5), is_new).await;
        load.end().await;

        // Polls of a list cost one request, which holds no secret.
        let (lists, reads) = ("GET /v1/secret/metadata/", "GET /v1/secret/data/");
        let before = (front.asked(lists), front.asked(reads));
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let polls = (front.asked(lists) - before.0, front.asked(reads) - before.1);
        match may_list {
            true => assert!(polls.0 >= 2 && polls.1 == 0, "{polls:?}"),
            false => assert!(polls.0 == 0 && polls.1 >= 2, "{polls:?}"),
        }

        bao.call(Method::DELETE, "secret/data/trading", None).await;
        let gone = super::next_failure(&keys).await;
        assert_eq!(gone.0, ErrorKind::UnknownSet, "{gone:?}");
        assert!(gone.1.contains("secret/trading with no version that lives"), "{gone:?}");
        assert_eq!(in_use(&keys), "v1", "what is held is held");
    }
}

#[tokio::test]
async fn an_engine_without_versions_is_read_too() {
    let (bao, api) = (Bao::start().await, Api::start().await);
    bao.write("sys/mounts/old", json!({ "type": "kv", "options": { "version": "1" } })).await;
    // Who may read this alone is refused where versions would be.
    bao.policy("old", &[("old/team/trading", "read")]).await;
    let (role_id, secret_id) = bao.app_role("old", json!({})).await;
    bao.write("old/team/trading", json!({ "key": "k1", "ttl": "1h" })).await;
    let vault = keyswap::source::vault::Vault::new(bao.url()).unwrap();
    let vault = vault.app_role(role_id, secret_id);
    let keys = follow(vault.kv("old", "team/trading")).await;
    assert_eq!(keys.current().unwrap().reveal("ttl"), Some("1h"));
    api.accept(["k1"]);
    let load = Load::start(&keys, api.url(), 8);
    let held = in_use(&keys);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(in_use(&keys), held, "the same is named the same");
    bao.write("old/team/trading", json!({ "key": "k2" })).await;
    api.accept(["k2"]);
    let is_new = || keys.current().is_ok_and(|it| it.reveal("key") == Some("k2"));
    until("the new one", Duration::from_secs(5), is_new).await;
    load.end().await;
    let unknown = refused(vault.kv("old", "team/nothing")).await;
    assert_eq!(unknown.0, ErrorKind::Forbidden, "{unknown:?}");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let bao = Bao::start().await;
    let vault = as_root(&bao);
    bao.write("secret/data/empty", json!({ "data": { "api_key": "" } })).await;
    for (source, kind, words) in [
        (vault.kv("secret", "nothing"), ErrorKind::UnknownSet, "knows no secret/nothing"),
        (vault.kv("nowhere", "trading"), ErrorKind::UnknownSet, "knows no nowhere/trading"),
        (vault.kv("secret", "empty"), ErrorKind::Malformed, "secret/empty"),
        (vault.kv("secret", ""), ErrorKind::InvalidConfig, "no mount and path"),
        (vault.kv("secret", "a").key("b"), ErrorKind::InvalidConfig, "no JSON pointer"),
    ] {
        let error = refused(source).await;
        assert!(error.0 == kind && error.1.contains(words), "{error:?}");
    }
    let started = KeySwap::follow(vault.kv("secret", "a/../b")).policy(policy()).start();
    assert!(started.is_err(), "it does not even start");
}

/// `bao agent` logs in, renders a template into a file, and `source::File` follows that.
#[tokio::test]
async fn a_file_that_an_agent_writes() {
    use keyswap_source_tests::process::{Process, command};

    let (bao, api) = (Bao::start().await, Api::start().await);
    let folder = std::env::temp_dir().join(format!("keyswap-agent-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let rules = [("secret/data/trading", "read"), ("secret/metadata/trading", "read")];
    bao.policy("agent", &rules).await;
    let (role_id, secret_id) = bao.app_role("agent", json!({})).await;
    std::fs::write(path("role"), role_id).unwrap();
    std::fs::write(path("secret"), secret_id).unwrap();
    let template = r#"{{ with secret "secret/data/trading" }}{"current": {"id": "v{{ .Data.metadata.version }}", "material": {"key": "{{ .Data.data.api_key }}"}}}{{ end }}"#;
    std::fs::write(path("template"), template).unwrap();
    let configuration = format!(
        r#"
        vault {{ address = "{}" }}
        auto_auth {{
          method "approle" {{
            config = {{
              role_id_file_path = "{}"
              secret_id_file_path = "{}"
              remove_secret_id_file_after_reading = false
            }}
          }}
        }}
        template_config {{ static_secret_render_interval = "1s" }}
        template {{
          source = "{}"
          destination = "{}"
        }}
        "#,
        bao.url(),
        path("role"),
        path("secret"),
        path("template"),
        path("keys.json"),
    );
    std::fs::write(path("agent.hcl"), configuration).unwrap();
    bao.store("k1").await;
    let mut agent = command("bao", ["agent", "-config"]);
    agent.arg(path("agent.hcl"));
    let agent = Process::start("bao-agent", &mut agent);
    until("the file", Duration::from_secs(15), || folder.join("keys.json").is_file()).await;

    api.accept(["k1"]);
    let keys = follow(keyswap::source::File::new(path("keys.json"))).await;
    let load = Load::start(&keys, api.url(), 8);
    for number in 2..4 {
        let key = format!("k{number}");
        bao.store(&key).await;
        api.accept([format!("k{}", number - 1), key.clone()]);
        let id = format!("v{number}");
        until(&id, Duration::from_secs(10), || in_use(&keys) == id).await;
        api.accept([key]);
    }
    load.end().await;
    drop(agent);
    std::fs::remove_dir_all(&folder).unwrap();
}
