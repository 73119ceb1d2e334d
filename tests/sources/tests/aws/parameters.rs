//! The Parameter Store, by moto.

use keyswap::{ErrorKind, source::aws::ParameterStore};
use keyswap_source_tests::{
    api::Api,
    aws::{AccessKey, Moto},
    load::Load,
};
use serde_json::json;

use crate::{REGION, follow, previous, refused, until_in_use};

async fn put(moto: &Moto, name: &str, key: &str) {
    let body = json!({ "Name": name, "Value": key, "Type": "SecureString", "Overwrite": true });
    moto.act(REGION, "AmazonSSM.PutParameter", body).await;
}

fn parameter(moto: &Moto, name: &str, key: &AccessKey) -> ParameterStore {
    ParameterStore::new(name).region(REGION).endpoint_url(moto.url()).credentials(
        &*key.id,
        &*key.secret,
        None,
    )
}

#[tokio::test]
async fn three_versions_under_load() {
    let moto = Moto::shared().await;
    let reader = moto.user_who_may("parameters", &["ssm:GetParameter"]).await;
    let api = Api::start().await;
    api.accept(["v1"]);
    put(&moto, "/prod/key", "v1").await;
    let keys = follow(parameter(&moto, "/prod/key", &reader)).await;
    assert!(previous(&keys).is_empty());
    let load = Load::start(&keys, api.url(), 16);
    for step in 2..=4 {
        let (old, new) = (format!("v{}", step - 1), format!("v{step}"));
        put(&moto, "/prod/key", &new).await;
        // The second of them cuts the old key off at once.
        match step {
            3 => api.accept([&*new]),
            _ => api.accept([&*old, &*new]),
        }
        until_in_use(&keys, &new).await;
        assert_eq!(previous(&keys), [&*old]);
        assert_eq!(keys.current().unwrap().version(), Some(&*step.to_string()));
        api.accept([&*new]);
    }
    // One that was deleted and made again counts from 1, and is another one.
    moto.act(REGION, "AmazonSSM.DeleteParameter", json!({ "Name": "/prod/key" })).await;
    put(&moto, "/prod/key", "again").await;
    api.accept(["v4", "again"]);
    until_in_use(&keys, "again").await;
    load.end().await;
}

#[tokio::test]
async fn labels_say_what_is_live() {
    let moto = Moto::shared().await;
    let reader = moto.user_who_may("labels", &["ssm:GetParameter"]).await;
    for key in ["one", "two", "three"] {
        put(&moto, "/prod/labels", key).await;
    }
    let label = async |version: u64, label: &str| {
        let body =
            json!({ "Name": "/prod/labels", "ParameterVersion": version, "Labels": [label] });
        moto.act(REGION, "AmazonSSM.LabelParameterVersion", body).await;
    };
    label(1, "live").await;
    let live = || parameter(&moto, "/prod/labels", &reader).label("live");
    let (plain, both) = (follow(live()).await, follow(live().previous_label("before")).await);
    for keys in [&plain, &both] {
        until_in_use(keys, "one").await;
        assert!(previous(keys).is_empty());
    }
    label(1, "before").await;
    label(3, "live").await;
    keyswap_source_tests::load::until("both", std::time::Duration::from_secs(5), || {
        let set = both.set().unwrap();
        set.primary().unwrap().reveal("key") == Some("three") && previous(&both) == ["one"]
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_says_what_to_do() {
    let moto = Moto::shared().await;
    let reader = moto.user_who_may("no-parameters", &["ssm:GetParameter"]).await;
    let nobody = moto.user_who_may("no-ssm", &["iam:GetUser"]).await;
    put(&moto, "/prod/refused", "s3cr3t").await;
    let (kind, text) = refused(parameter(&moto, "/prod/nothing", &reader)).await;
    assert_eq!(kind, ErrorKind::UnknownSet, "{text}");
    assert!(text.contains("the parameter /prod/nothing in eu-west-1"), "{text}");
    let (kind, text) = refused(parameter(&moto, "/prod/refused", &nobody)).await;
    assert_eq!(kind, ErrorKind::Forbidden, "{text}");
    assert!(text.contains("ssm:GetParameter"), "{text}");
    let (kind, text) = refused(parameter(&moto, "/prod/refused", &reader).key("/a")).await;
    assert_eq!(kind, ErrorKind::Malformed, "{text}");
    assert!(text.contains("/prod/refused") && !text.contains("s3cr3t"), "{text}");
}
