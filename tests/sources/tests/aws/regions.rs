//! A secret that stands in several regions.

use std::time::Duration;

use keyswap::{ErrorKind, KeySwap, source::aws::SecretsManager};
use keyswap_source_tests::{
    aws::{Moto, Stub},
    fake::Fault,
    load::until,
};
use serde_json::json;

use crate::{follow, in_use, policy, refused, secret_of, until_in_use, world::World};

#[tokio::test]
async fn a_replica_is_asked_when_the_first_region_has_none() {
    let moto = Moto::shared().await;
    let may = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"];
    let reader = moto.user_who_may("regions", &may).await;
    let body = json!({ "Name": "prod/replica", "SecretString": r#"{"api_key": "a"}"# });
    moto.act("us-east-1", "secretsmanager.CreateSecret", body).await;
    let keys = follow(secret_of(&moto, "prod/replica", &reader).or_region("us-east-1")).await;
    assert_eq!(in_use(&keys), "a");
    let nowhere = secret_of(&moto, "prod/replica", &reader).or_region("us-west-2");
    let (kind, text) = refused(nowhere).await;
    assert_eq!(kind, ErrorKind::UnknownSet);
    assert!(text.ends_with("; none of 2 regions answers well"), "{text}");
}

fn at(fake: &Stub, region: &str) -> SecretsManager {
    SecretsManager::new("prod/trading")
        .region(region)
        .endpoint_url(fake.url())
        .credentials("AKID", "x", None)
}

#[tokio::test]
async fn a_region_that_hangs_leaves_time_for_the_next() {
    let world = World::new(&["k1"]);
    let works = world.serve().await;
    let hangs = world.serve().await;
    hangs.fails(Fault::Slow);
    let keys = follow(at(&hangs, "eu-west-1").or(at(&works, "us-east-1"))).await;
    assert_eq!(in_use(&keys), "k1");
    // For a while it is asked last, so what is new is there before anybody would lose patience with it.
    world.rotate("k2");
    until_in_use_or_held(&keys, "k2").await;
    works.asked();
    let mut polled = 0;
    until("it is polled", Duration::from_secs(5), || {
        polled += works.asked().len();
        polled > 2
    })
    .await;
    assert!(keys.last_failure().is_none(), "{:?}", keys.last_failure());
}

#[tokio::test]
async fn a_replica_that_lags_takes_nothing_back() {
    let (first, second) = (World::new(&["k1"]), World::new(&["k1"]));
    first.rotate("k2");
    let (one, two) = (first.serve().await, second.serve().await);
    let source = at(&one, "eu-west-1").or(at(&two, "us-east-1"));
    let keys = KeySwap::follow(source).policy(policy()).await.unwrap();
    until_in_use(&keys, "k2").await;
    one.fails(Fault::Down);
    until("it is told", Duration::from_secs(5), || keys.last_failure().is_some()).await;
    assert_eq!(keys.last_failure().unwrap().kind(), ErrorKind::Unavailable);
    assert_eq!(in_use(&keys), "k2");
    second.rotate("k2");
    second.rotate("k3");
    until_in_use_or_held(&keys, "k3").await;
}

/// Without requests nothing is proven: what is newest in the set is there.
async fn until_in_use_or_held(keys: &KeySwap, key: &str) {
    until(&format!("{key} is there"), Duration::from_secs(5), || {
        keys.set().unwrap().primary().unwrap().reveal("key") == Some(key)
    })
    .await;
}
