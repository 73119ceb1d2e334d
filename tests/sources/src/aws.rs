//! AWS: moto, which checks signatures, and a server that answers as AWS and its agent do where moto does not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::{Context, SignRequest, hash::hex_sha256};
use serde_json::{Value, json};

use crate::{
    fake::{Fake, Fault, Request, Response},
    process::{Process, client, command, free_port, until_answers},
};

/// moto, with one user who may do anything. It checks the signature of each request, and the policy of who signs.
pub struct Moto {
    url: String,
    admin: AccessKey,
    _process: Process,
}

/// The key of a user.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

/// How many requests are not checked: those that make the first user.
const UNCHECKED: &str = "3";

impl Moto {
    /// The one that the tests of a program share while there are any.
    pub async fn shared() -> Arc<Self> {
        static SHARED: tokio::sync::Mutex<Weak<Moto>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(moto) = shared.upgrade() {
            return moto;
        }
        let moto = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&moto);
        moto
    }

    async fn start() -> Self {
        let port = free_port();
        let mut command = command("moto_server", ["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.env("INITIAL_NO_AUTH_ACTION_COUNT", UNCHECKED);
        let process = Process::start("moto", &mut command);
        let url = format!("http://127.0.0.1:{port}");
        until_answers(&format!("{url}/moto-api/data.json"), Duration::from_secs(30)).await;
        let nobody = AccessKey { id: "AKIANOBODY".into(), secret: "nothing".into() };
        let mut moto = Self { url, admin: nobody, _process: process };
        let all = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] });
        moto.admin = moto.user("admin", &all).await;
        moto
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A user who may do what this policy says.
    pub async fn user(&self, name: &str, policy: &Value) -> AccessKey {
        self.iam(&[("Action", "CreateUser"), ("UserName", name)]).await;
        let key = self.access_key(name).await;
        self.policy(name, policy).await;
        key
    }

    /// One who may do these things to all resources.
    pub async fn user_who_may(&self, name: &str, actions: &[&str]) -> AccessKey {
        self.user(name, &allowing(actions)).await
    }

    /// Changes what a user may do.
    pub async fn allow(&self, name: &str, actions: &[&str]) {
        self.policy(name, &allowing(actions)).await;
    }

    async fn policy(&self, name: &str, policy: &Value) {
        let policy = policy.to_string();
        let form = [
            ("Action", "PutUserPolicy"),
            ("UserName", name),
            ("PolicyName", "it"),
            ("PolicyDocument", &policy),
        ];
        self.iam(&form).await;
    }

    /// One more key of a user.
    pub async fn access_key(&self, user: &str) -> AccessKey {
        let answer = self.iam(&[("Action", "CreateAccessKey"), ("UserName", user)]).await;
        let of = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>")).expect("a key");
            rest.split('<').next().expect("its text").to_owned()
        };
        AccessKey { id: of("AccessKeyId"), secret: of("SecretAccessKey") }
    }

    /// A role that anybody may take on, and that may do these things. Its ARN.
    pub async fn role_that_may(&self, name: &str, actions: &[&str]) -> String {
        let trust = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": "sts:AssumeRole",
        }] });
        let (trust, policy) = (trust.to_string(), allowing(actions).to_string());
        let form =
            [("Action", "CreateRole"), ("RoleName", name), ("AssumeRolePolicyDocument", &trust)];
        let answer = self.iam(&form).await;
        let form = [
            ("Action", "PutRolePolicy"),
            ("RoleName", name),
            ("PolicyName", "it"),
            ("PolicyDocument", &policy),
        ];
        self.iam(&form).await;
        let (_, rest) = answer.split_once("<Arn>").expect("an ARN");
        rest.split('<').next().expect("its text").to_owned()
    }

    /// Deletes a key of a user.
    pub async fn delete_access_key(&self, user: &str, key: &AccessKey) {
        let form = [("Action", "DeleteAccessKey"), ("UserName", user), ("AccessKeyId", &key.id)];
        self.iam(&form).await;
    }

    async fn iam(&self, form: &[(&str, &str)]) -> String {
        let mut url = reqwest::Url::parse("http://x").expect("a URL");
        url.query_pairs_mut().append_pair("Version", "2010-05-08").extend_pairs(form);
        let body = url.query().expect("a form").to_owned();
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        self.send(("iam", "us-east-1"), kind, None, body).await
    }

    /// Does this to the secrets or parameters of a region, as one who may do anything.
    pub async fn act(&self, region: &str, target: &str, body: Value) -> Value {
        let service = if target.starts_with("AmazonSSM") { "ssm" } else { "secretsmanager" };
        let kind = "application/x-amz-json-1.1";
        let answer = self.send((service, region), kind, Some(target), body.to_string()).await;
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    async fn send(
        &self,
        (service, region): (&str, &str),
        kind: &str,
        target: Option<&str>,
        body: String,
    ) -> String {
        let mut request = http::Request::post(format!("{}/", self.url))
            .header("content-type", kind)
            .header("x-amz-content-sha256", hex_sha256(body.as_bytes()));
        if let Some(target) = target {
            request = request.header("x-amz-target", target);
        }
        let mut parts = request.body(()).expect("a request").into_parts().0;
        let key = Credential {
            access_key_id: self.admin.id.clone(),
            secret_access_key: self.admin.secret.clone(),
            ..Credential::default()
        };
        let signer = RequestSigner::new(service, region);
        signer.sign_request(&Context::new(), &mut parts, Some(&key), None).await.expect("signed");
        let request =
            client().post(format!("{}/", self.url)).headers(parts.headers).body(body.clone());
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("text");
        assert!(status.is_success(), "{status} to {target:?} {body}: {text}");
        text
    }
}

fn allowing(actions: &[&str]) -> Value {
    let effect = if actions.is_empty() { "Deny" } else { "Allow" };
    let actions = if actions.is_empty() { &["*"][..] } else { actions };
    json!({ "Version": "2012-10-17", "Statement": [{ "Effect": effect, "Action": actions, "Resource": "*" }] })
}

/// What a [`Stub`] is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The action, of AWS; the agent has none.
    pub action: String,
    /// The path, for the agent.
    pub path: String,
    /// The query, for the agent.
    pub query: BTreeMap<String, String>,
    /// The id of the access key that signed it.
    pub signed_by: String,
    /// Whether it brings a session token.
    pub has_session: bool,
    /// The token that the agent wants to see.
    pub token: String,
    body: Value,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let header = |name: &str| request.header(name).unwrap_or_default();
        let signed = header("authorization").split_once("Credential=");
        Self {
            action: header("x-amz-target").rsplit('.').next().unwrap_or_default().into(),
            path: request.url.path().into(),
            query: request.url.query_pairs().into_owned().collect(),
            signed_by: signed
                .and_then(|(_, rest)| rest.split('/').next())
                .unwrap_or_default()
                .into(),
            has_session: request.header("x-amz-security-token").is_some(),
            token: header("x-aws-parameters-secrets-token").into(),
            body: serde_json::from_str(&request.body).unwrap_or_default(),
        }
    }

    /// A piece of its JSON.
    pub fn json(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }

    /// The stage that is asked for.
    pub fn stage(&self) -> &str {
        match self.query.get("versionStage") {
            Some(stage) => stage,
            None => self.json("VersionStage"),
        }
    }
}

/// A server that answers as AWS or its agent does, and remembers what it was asked.
pub struct Stub {
    fake: Fake,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stub {
    /// Starts one.
    pub async fn start(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let remembered = asked.clone();
        let fake = Fake::plain(move |request| {
            let request = Asked::of(request);
            remembered.lock().unwrap().push(request.clone());
            answer(&request)
        });
        Self { fake: fake.await, asked }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        self.fake.url()
    }

    /// From now on this is wrong with it, or nothing.
    pub fn fails(&self, fault: impl Into<Option<Fault>>) {
        self.fake.fails(fault);
    }

    /// What it was asked since this was called last.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// An error in AWS's own dialect.
pub fn error(status: u16, code: &str) -> Response {
    Response::new(status, json!({ "__type": code, "Message": "s3cr3t-of-the-answer" }))
}
