//! The Secrets Manager Agent, by a server that answers exactly as it does.

use std::time::Duration;

use keyswap::{ErrorKind, source::aws::SecretsAgent};
use keyswap_source_tests::{
    api::Api,
    aws::Asked,
    load::{Load, until},
};

use crate::{
    follow, previous, refused, until_in_use,
    world::{TOKEN, World},
};

/// It has a copy of each stage apart, so a rejection has to refresh both.
#[tokio::test]
async fn both_stages_are_refreshed_after_a_rejection() {
    let world = World::new(&["k1", "k2"]);
    let fake = world.serve().await;
    let api = Api::start().await;
    api.accept(["k2"]);
    let keys =
        follow(SecretsAgent::new("prod/trading").endpoint_url(fake.url()).token(TOKEN)).await;
    assert_eq!(previous(&keys), ["k1"]);
    let load = Load::start(&keys, api.url(), 16);
    for (old, new) in [("k2", "k3"), ("k3", "k4"), ("k4", "k5")] {
        fake.asked();
        world.rotate(new);
        api.accept([new]);
        until_in_use(&keys, new).await;
        assert_eq!(previous(&keys), [old], "not the copy of what was previous before");
        let asked = fake.asked();
        for stage in ["AWSCURRENT", "AWSPREVIOUS"] {
            let is_fresh = |it: &Asked| it.query.get("refreshNow").is_some_and(|it| it == "true");
            assert!(asked.iter().any(|it| it.stage() == stage && is_fresh(it)), "{stage}");
        }
    }
    load.end().await;
    // While nothing changes, only its copy is looked at.
    fake.asked();
    tokio::time::sleep(Duration::from_millis(900)).await;
    let asked = fake.asked();
    assert!(!asked.is_empty() && asked.iter().all(|it| !it.query.contains_key("refreshNow")));
    assert!(asked.iter().all(|it| it.stage() == "AWSCURRENT"));
}

#[tokio::test]
async fn a_token_is_read_again_when_the_agent_has_another_one() {
    let folder = std::env::temp_dir().join(format!("keyswap-agent-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let world = World::new(&["k1"]);
    let fake = world.serve().await;
    let source = SecretsAgent::new("prod/trading").endpoint_url(fake.url()).token_file(&file);
    let keys = follow(source.path_prefix("/v1/")).await;
    until_in_use(&keys, "k1").await;
    world.restart("an0ther-token");
    until("it is told", Duration::from_secs(5), || keys.last_failure().is_some()).await;
    let error = keys.last_failure().unwrap();
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected, "{error}");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    assert!(!error.to_string().contains(TOKEN), "{error}");
    std::fs::write(&file, "an0ther-token").unwrap();
    until("it works", Duration::from_secs(5), || keys.last_failure().is_none()).await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn what_the_agent_refuses_says_what_to_do() {
    let world = World::new(&["k1"]);
    let fake = world.serve().await;
    let of = |name: &str| SecretsAgent::new(name).endpoint_url(fake.url()).token(TOKEN);
    let cases = [
        (
            of("prod/trading").token("wr0ng"),
            ErrorKind::BootstrapRejected,
            "the token from the program",
        ),
        (of("prod/nothing"), ErrorKind::UnknownSet, "the secret prod/nothing"),
        (of("prod/trading").key("/a"), ErrorKind::Malformed, "the secret prod/trading"),
        (
            of("prod/trading").endpoint_url("http://127.0.0.1:9"),
            ErrorKind::Unavailable,
            "cannot be reached",
        ),
        (of("prod/trading").token_file("/nowhere/token"), ErrorKind::Unavailable, "/nowhere/token"),
        (
            of("prod/trading").endpoint_url("http://agent:2773"),
            ErrorKind::InsecureUrl,
            "plain http",
        ),
        (
            of("prod/trading").endpoint_url("agent"),
            ErrorKind::InvalidConfig,
            "http://localhost:2773",
        ),
    ];
    for (source, kind, words) in cases {
        let (found, text) = refused(source).await;
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(words), "{text}");
        assert!(!text.contains("wr0ng") && !text.contains(TOKEN), "{text}");
    }
}
