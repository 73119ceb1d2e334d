//! etcd.

use std::{path::PathBuf, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};

use crate::process::{self, Process, client, command, free_port, until_answers};

/// An etcd of one member.
pub struct Etcd {
    process: Option<Process>,
    port: u16,
    peers: u16,
    data: PathBuf,
    /// What is shown, once users have to log in.
    token: Option<String>,
    client: reqwest::Client,
}

impl Etcd {
    /// Starts one that is empty.
    pub async fn start() -> Self {
        let (port, peers) = (free_port(), free_port());
        let data = process::folder().join(format!("etcd-{port}"));
        let mut etcd = Self { process: None, port, peers, data, token: None, client: client() };
        etcd.go_on().await;
        etcd
    }

    /// Ends it; what it keeps stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again, with what it kept.
    pub async fn go_on(&mut self) {
        let peers = format!("http://127.0.0.1:{}", self.peers);
        let data = self.data.to_string_lossy().into_owned();
        let options = [
            ("--data-dir", &data),
            ("--listen-client-urls", &self.url()),
            ("--advertise-client-urls", &self.url()),
            ("--listen-peer-urls", &peers),
            ("--initial-advertise-peer-urls", &peers),
            ("--initial-cluster", &format!("default={peers}")),
        ]
        .map(|(name, value)| format!("{name}={value}"));
        let name = format!("etcd-{}", self.port);
        self.process = Some(Process::start(&name, &mut command("etcd", options)));
        until_answers(&format!("{}/health", self.url()), Duration::from_secs(20)).await;
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks its JSON gateway. It must answer with success.
    pub async fn ask(&self, path: &str, body: Value) -> Value {
        let mut request = self.client.post(format!("{}/v3/{path}", self.url())).json(&body);
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let answer = response.json().await.expect("JSON");
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// Writes a key, and says at which revision.
    pub async fn put(&self, key: &str, value: &str) -> u64 {
        revision(&self.ask("kv/put", json!({"key": base64(key), "value": base64(value)})).await)
    }

    /// Writes one that ends with a lease.
    pub async fn put_with(&self, key: &str, value: &str, lease: &str) -> u64 {
        let body = json!({"key": base64(key), "value": base64(value), "lease": lease});
        revision(&self.ask("kv/put", body).await)
    }

    /// Deletes a key.
    pub async fn delete(&self, key: &str) {
        self.ask("kv/deleterange", json!({"key": base64(key)})).await;
    }

    /// Forgets what was before this revision.
    pub async fn compact(&self, revision: u64) {
        self.ask("kv/compaction", json!({"revision": revision.to_string(), "physical": true}))
            .await;
    }

    /// A lease of so many seconds.
    pub async fn lease(&self, seconds: u32) -> String {
        let answer = self.ask("lease/grant", json!({"TTL": seconds})).await;
        answer["ID"].as_str().expect("an id").to_owned()
    }

    /// Has a user `bot`, who may read this key, and lets nobody in without a password.
    pub async fn want_log_ins(&mut self, password: &str, key: &str) {
        self.ask("auth/user/add", json!({"name": "root", "password": "r"})).await;
        self.ask("auth/user/grant", json!({"user": "root", "role": "root"})).await;
        self.ask("auth/role/add", json!({"name": "reader"})).await;
        let may = json!({"permType": "READ", "key": base64(key)});
        self.ask("auth/role/grant", json!({"name": "reader", "perm": may})).await;
        self.ask("auth/user/add", json!({"name": "bot", "password": password})).await;
        self.allow().await;
        self.ask("auth/enable", json!({})).await;
        self.log_in().await;
    }

    /// Logs in as its administrator: a restart forgets who did.
    pub async fn log_in(&mut self) {
        self.token = None;
        let answer = self.ask("auth/authenticate", json!({"name": "root", "password": "r"})).await;
        self.token = Some(answer["token"].as_str().expect("a token").to_owned());
    }

    /// Lets `bot` read.
    pub async fn allow(&self) {
        self.ask("auth/user/grant", json!({"user": "bot", "role": "reader"})).await;
    }

    /// Does not let `bot` read any more.
    pub async fn forbid(&self) {
        self.ask("auth/user/revoke", json!({"name": "bot", "role": "reader"})).await;
    }

    /// Gives `bot` another password, which ends its tokens.
    pub async fn change_password(&self, password: &str) {
        self.ask("auth/user/changepw", json!({"name": "bot", "password": password})).await;
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.process = None;
        let _ = std::fs::remove_dir_all(&self.data);
        let log = process::folder().join(format!("etcd-{}.log", self.port));
        if !std::thread::panicking() {
            let _ = std::fs::remove_file(log);
        }
    }
}

fn revision(answer: &Value) -> u64 {
    answer["header"]["revision"].as_str().and_then(|it| it.parse().ok()).expect("a revision")
}

/// As the gateway wants keys and values.
fn base64(text: &str) -> String {
    BASE64.encode(text)
}
