//! OpenBao, as `bao server -dev` runs it: in memory, unsealed, and with a root token.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{Process, client, command, folder, free_port, until_answers};

/// The token that may do anything.
pub const ROOT: &str = "root";

/// One server.
pub struct Bao {
    url: String,
    name: String,
    client: reqwest::Client,
    _process: Process,
}

impl Bao {
    /// Starts one, and waits until it answers.
    pub async fn start() -> Self {
        let port = free_port();
        let (address, name) = (format!("127.0.0.1:{port}"), format!("bao-{port}"));
        let mut command = command("bao", ["server", "-dev", "-dev-no-store-token"]);
        command.args(["-dev-root-token-id", ROOT, "-dev-listen-address", &address]);
        let process = Process::start(&name, &mut command);
        let url = format!("http://{address}");
        until_answers(&format!("{url}/v1/secret/config"), Duration::from_secs(20)).await;
        let bao = Self { url, name, client: client(), _process: process };
        // It answers before the engine of `secret` is there.
        while bao.call(Method::GET, "secret/config", None).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bao
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks as root, and says what was answered.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.call_in("", method, path, body, None).await
    }

    /// The same in a namespace, or to have the answer wrapped for so many seconds.
    pub async fn call_in(
        &self,
        namespace: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
        wrapped: Option<u32>,
    ) -> (u16, Value) {
        let url = format!("{}/v1/{path}", self.url);
        let mut request = self.client.request(method, url).header("x-vault-token", ROOT);
        if !namespace.is_empty() {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(seconds) = wrapped {
            request = request.header("x-vault-wrap-ttl", seconds.to_string());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    /// Writes there, which must work.
    pub async fn write(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(Method::POST, path, Some(body)).await;
        assert!(matches!(status, 200 | 204), "{path}: {status} {answer}");
        answer
    }

    /// Reads there, which must work.
    pub async fn read(&self, path: &str) -> Value {
        let (status, answer) = self.call(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Stores the next version of `secret/trading`.
    pub async fn store(&self, key: &str) {
        self.write("secret/data/trading", json!({ "data": { "api_key": key } })).await;
    }

    /// Says what a policy allows: paths, and what may be done there.
    pub async fn policy(&self, name: &str, rules: &[(&str, &str)]) {
        let rules: Vec<_> = rules
            .iter()
            .map(|(path, may)| format!("path \"{path}\" {{ capabilities = [\"{may}\"] }}"))
            .collect();
        self.write(&format!("sys/policies/acl/{name}"), json!({ "policy": rules.join("\n") }))
            .await;
    }

    /// Makes an AppRole with the policy of its name: its role_id and a secret_id.
    pub async fn app_role(&self, name: &str, options: Value) -> (String, String) {
        _ = self.call(Method::POST, "sys/auth/approle", Some(json!({ "type": "approle" }))).await;
        let role = format!("auth/approle/role/{name}");
        let mut whole = json!({ "token_policies": name });
        for (option, value) in options.as_object().into_iter().flatten() {
            whole[option] = value.clone();
        }
        self.write(&role, whole).await;
        let role_id = self.read(&format!("{role}/role-id")).await;
        let secret_id = self.write(&format!("{role}/secret-id"), json!({})).await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        (text(&role_id["data"]["role_id"]), text(&secret_id["data"]["secret_id"]))
    }

    /// Seals it: it answers 503 until it is unsealed.
    pub async fn seal(&self) {
        self.write("sys/seal", json!({})).await;
    }

    /// Unseals it with the key that it printed when it began.
    pub async fn unseal(&self) {
        let log = std::fs::read_to_string(folder().join(format!("{}.log", self.name)));
        let log = log.expect("its log");
        let line = log.lines().find_map(|line| line.strip_prefix("Unseal Key: "));
        let key = line.expect("the key to unseal it with").trim();
        self.write("sys/unseal", json!({ "key": key })).await;
    }
}
