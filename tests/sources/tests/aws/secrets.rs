//! Secrets Manager, by moto, which checks signatures.

use keyswap::ErrorKind;
use keyswap_source_tests::{api::Api, aws::Moto, load::Load};
use serde_json::{Value, json};

use crate::{REGION, follow, in_use, previous, refused, secret_of, until_in_use};

const READ: [&str; 2] = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"];

/// What a rotation function does, of one secret.
pub(crate) struct Rotation<'a> {
    pub(crate) moto: &'a Moto,
    pub(crate) name: String,
    versions: Vec<String>,
}

impl<'a> Rotation<'a> {
    pub(crate) async fn new(moto: &'a Moto, name: &str, key: &str) -> Self {
        let mut this = Self { moto, name: name.into(), versions: Vec::new() };
        let token = this.token(key);
        let body = json!({ "Name": name, "SecretString": text(key), "ClientRequestToken": token });
        this.act("CreateSecret", body).await;
        this
    }

    fn token(&mut self, key: &str) -> String {
        let token = format!("{key:-<36}");
        self.versions.push(token.clone());
        token
    }

    async fn act(&self, action: &str, body: Value) -> Value {
        self.moto.act(REGION, &format!("secretsmanager.{action}"), body).await
    }

    /// As `aws secretsmanager put-secret-value`.
    pub(crate) async fn put(&mut self, key: &str) {
        let token = self.token(key);
        let body = json!({ "SecretId": self.name, "SecretString": text(key), "ClientRequestToken": token });
        self.act("PutSecretValue", body).await;
    }

    /// As the steps createSecret and finishSecret of a rotation function.
    async fn stage(&mut self, key: &str) {
        let token = self.token(key);
        let body = json!({
            "SecretId": self.name, "SecretString": text(key), "ClientRequestToken": token,
            "VersionStages": ["AWSPENDING"],
        });
        self.act("PutSecretValue", body).await;
    }

    async fn promote(&self, to: usize, from: usize) {
        let (to, from) = (&self.versions[to], &self.versions[from]);
        let body = json!({
            "SecretId": self.name, "VersionStage": "AWSCURRENT", "MoveToVersionId": to,
            "RemoveFromVersionId": from,
        });
        self.act("UpdateSecretVersionStage", body).await;
    }

    /// AWSPENDING stays where it was; a rotation function takes it away.
    async fn unstage(&self, from: usize) {
        let body = json!({
            "SecretId": self.name, "VersionStage": "AWSPENDING",
            "RemoveFromVersionId": self.versions[from],
        });
        self.act("UpdateSecretVersionStage", body).await;
    }
}

fn text(key: &str) -> String {
    json!({ "api_key": key, "note": "n" }).to_string()
}

#[tokio::test]
async fn three_promotions_with_an_overlap_and_back() {
    let moto = Moto::shared().await;
    let reader = moto.user_who_may("stages", &READ).await;
    let api = Api::start().await;
    api.accept(["s0"]);
    let mut rotation = Rotation::new(&moto, "prod/stages", "s0").await;
    let keys = follow(secret_of(&moto, "prod/stages", &reader)).await;
    let load = Load::start(&keys, api.url(), 16);
    for step in 1..=3 {
        let (old, new) = (format!("s{}", step - 1), format!("s{step}"));
        rotation.stage(&new).await;
        api.accept([&*old, &*new]);
        rotation.promote(step, step - 1).await;
        rotation.unstage(step).await;
        until_in_use(&keys, &new).await;
        assert_eq!(previous(&keys), [&*old]);
        api.accept([&*new]);
    }
    assert_eq!(keys.current().unwrap().id(), rotation.versions[3], "VersionIds are ids");
    assert!(keys.current().unwrap().created_at().is_some());
    // The operator takes it back.
    api.accept(["s3", "s2"]);
    rotation.promote(2, 3).await;
    until_in_use(&keys, "s2").await;
    api.accept(["s2"]);
    load.end().await;
    assert_eq!(api.rejected(), 0, "with an overlap nobody is ever rejected");
}

#[tokio::test]
async fn three_puts_that_cut_the_old_key() {
    let moto = Moto::shared().await;
    let reader = moto.user_who_may("puts", &READ).await;
    let api = Api::start().await;
    api.accept(["p0"]);
    let mut rotation = Rotation::new(&moto, "prod/puts", "p0").await;
    let keys = follow(secret_of(&moto, "prod/puts", &reader)).await;
    let load = Load::start(&keys, api.url(), 16);
    for step in 1..=3 {
        let key = format!("p{step}");
        rotation.put(&key).await;
        api.accept([&*key]);
        until_in_use(&keys, &key).await;
    }
    load.end().await;
}

#[tokio::test]
async fn without_the_permission_to_describe_it_stages_are_read() {
    let moto = Moto::shared().await;
    let reader = moto.user_who_may("values", &READ[..1]).await;
    let api = Api::start().await;
    api.accept(["d0"]);
    let mut rotation = Rotation::new(&moto, "prod/values", "d0").await;
    let keys = follow(secret_of(&moto, "prod/values", &reader)).await;
    assert!(previous(&keys).is_empty(), "there is no AWSPREVIOUS yet");
    let load = Load::start(&keys, api.url(), 4);
    for step in 1..=2 {
        let (old, new) = (format!("d{}", step - 1), format!("d{step}"));
        rotation.put(&new).await;
        api.accept([&*old, &*new]);
        until_in_use(&keys, &new).await;
        assert_eq!(previous(&keys), [&*old]);
        api.accept([&*new]);
    }
    load.end().await;
    // A permission that comes back, once it was lost, is used.
    moto.allow("values", &[]).await;
    keyswap_source_tests::load::until("a refusal", std::time::Duration::from_secs(5), || {
        keys.last_failure().is_some_and(|error| error.kind() == ErrorKind::Forbidden)
    })
    .await;
    assert_eq!(in_use(&keys), "d2");
    moto.allow("values", &READ).await;
    rotation.put("d3").await;
    api.accept(["d2", "d3"]);
    keyswap_source_tests::load::until("the new one", std::time::Duration::from_secs(5), || {
        keys.set().is_some_and(|set| set.primary().is_some_and(|it| it.reveal("key") == Some("d3")))
    })
    .await;
}

#[tokio::test]
async fn what_aws_refuses_says_what_to_do() {
    let moto = Moto::shared().await;
    let reader = moto.user_who_may("refused", &READ).await;
    let nobody = moto.user_who_may("nobody", &["iam:GetUser"]).await;
    Rotation::new(&moto, "prod/refused", "r0").await;
    let secret = |name: &str| secret_of(&moto, name, &reader);
    let of = |key: &str, secret: &str| {
        secret_of(&moto, "prod/refused", &reader).credentials(key, secret, None)
    };
    let deleted = Rotation::new(&moto, "prod/deleted", "r1").await;
    deleted.act("DeleteSecret", json!({ "SecretId": "prod/deleted" })).await;
    let cases = [
        (of(&reader.id, "wrong-s3cr3t"), ErrorKind::BootstrapRejected, "its secret is whole"),
        (
            of("AKIAUNKNOWN", "wrong-s3cr3t"),
            ErrorKind::BootstrapRejected,
            "give this program another one",
        ),
        (
            of(&reader.id, &reader.secret).credentials(
                &*reader.id,
                &*reader.secret,
                Some("wrong-s3cr3t".into()),
            ),
            ErrorKind::BootstrapRejected,
            "AWS Secrets Manager at http://127.0.0.1",
        ),
        (
            secret_of(&moto, "prod/refused", &nobody),
            ErrorKind::Forbidden,
            "need secretsmanager:GetSecretValue",
        ),
        (secret("prod/nothing"), ErrorKind::UnknownSet, "the secret prod/nothing in eu-west-1"),
        (secret("prod/deleted"), ErrorKind::UnknownSet, "marked for deletion: restore it"),
        (secret("prod/refused").key("/nowhere"), ErrorKind::Malformed, "what stands at /nowhere"),
    ];
    for (source, kind, words) in cases {
        let (found, text) = refused(source).await;
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(words), "{text}");
        assert!(!text.contains("s3cr3t") && !text.contains("r0"), "{text}");
    }
}
