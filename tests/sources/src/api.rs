//! An API whose keys rotate.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// It answers 200 to `Authorization: Bearer KEY` while that key is valid, and 401 else.
pub struct Api {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    valid: BTreeSet<String>,
    accepted: BTreeMap<String, u64>,
    rejected: u64,
}

impl Api {
    /// Starts one that accepts no key yet.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { url, state }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on these keys are valid, and no others.
    pub fn accept<S: Into<String>>(&self, keys: impl IntoIterator<Item = S>) {
        self.state.lock().unwrap().valid = keys.into_iter().map(Into::into).collect();
    }

    /// How many requests each key was accepted in.
    pub fn accepted(&self) -> BTreeMap<String, u64> {
        self.state.lock().unwrap().accepted.clone()
    }

    /// How many requests were rejected.
    pub fn rejected(&self) -> u64 {
        self.state.lock().unwrap().rejected
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut lines = BufReader::new(stream);
    loop {
        let (mut key, mut line) = (None, String::new());
        loop {
            line.clear();
            match lines.read_line(&mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("authorization")
            {
                key = value.trim().strip_prefix("Bearer ").map(str::to_owned);
            }
        }
        let is_valid = {
            let mut state = state.lock().unwrap();
            let key = key.filter(|key| state.valid.contains(key));
            match &key {
                Some(key) => *state.accepted.entry(key.clone()).or_default() += 1,
                None => state.rejected += 1,
            }
            key.is_some()
        };
        let status = if is_valid { "200 OK" } else { "401 Unauthorized" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
        if lines.get_mut().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
