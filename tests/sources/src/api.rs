//! An API whose keys rotate.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// For how long what the judge said is taken as true: APIs do that, too.
const JUDGED: Duration = Duration::from_millis(300);

/// Says of a key whether it is valid now.
type Judge = Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

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
    judged: HashMap<String, Instant>,
}

impl Api {
    /// Starts one that accepts no key yet.
    pub async fn start() -> Self {
        Self::start_judged(None).await
    }

    /// Starts one that asks somebody else which keys are valid.
    pub async fn start_asking<F, Fut>(judge: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        Self::start_judged(Some(Box::new(move |key| Box::pin(judge(key))))).await
    }

    async fn start_judged(judge: Option<Judge>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::<Mutex<State>>::default();
        let (shared, judge) = (state.clone(), Arc::new(judge));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone(), judge.clone()));
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

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>, judge: Arc<Option<Judge>>) {
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
        if let (Some(judge), Some(key)) = (&*judge, &key) {
            let is_fresh =
                |state: &State| state.judged.get(key).is_some_and(|at| at.elapsed() < JUDGED);
            let is_known = is_fresh(&state.lock().unwrap());
            if !is_known {
                let is_valid = judge(key.clone()).await;
                let mut state = state.lock().unwrap();
                state.judged.insert(key.clone(), Instant::now());
                match is_valid {
                    true => state.valid.insert(key.clone()),
                    false => state.valid.remove(key),
                };
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
