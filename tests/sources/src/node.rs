//! Servers that run in Node, each with a script of ours around it in `servers/`.

use std::{path::Path, time::Duration};

use serde_json::Value;

use crate::process::{Process, client, command, folder, free_port, until_answers};

/// One of them. What it does is changed at its `/control`.
pub struct NodeServer {
    url: String,
    http: reqwest::Client,
    _process: Process,
}

impl NodeServer {
    /// Starts the one of this name, with these arguments behind its port.
    pub async fn start(name: &str, more: &[&Path]) -> Self {
        let script = format!("{}/servers/{name}.mjs", env!("CARGO_MANIFEST_DIR"));
        let servers = folder().canonicalize().expect("./tests/run sources installs servers");
        let port = free_port();
        let mut command =
            command("node", [script, servers.display().to_string(), port.to_string()]);
        let process = Process::start(&format!("{name}-{port}"), command.args(more));
        let scheme = if more.is_empty() { "http" } else { "https" };
        let url = format!("{scheme}://127.0.0.1:{port}");
        until_answers(&format!("{url}/api/"), Duration::from_secs(20)).await;
        Self { url, http: client(), _process: process }
    }

    /// Where something of it is.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Changes what it does.
    pub async fn control(&self, change: &Value) -> Value {
        let answer = self.http.post(self.url("/control")).json(change).send().await;
        answer.expect("an answer").json().await.expect("JSON")
    }

    /// What it was asked.
    pub async fn seen(&self) -> Value {
        let answer = self.http.get(self.url("/control")).send().await;
        answer.expect("an answer").json().await.expect("JSON")
    }

    /// Asks it for something with this token.
    pub async fn get(&self, path: &str, token: &str) -> u16 {
        let answer = self.http.get(self.url(path)).bearer_auth(token).send().await;
        answer.expect("an answer").status().as_u16()
    }
}
