//! Callers that must not notice anything.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use keyswap::{Client, KeySwap, Scheme};
use tokio::task::JoinHandle;

/// Callers that send one request after the other, each some milliseconds apart.
pub struct Load {
    callers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    sent: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Load {
    /// Starts so many callers of this URL.
    pub fn start(keys: &KeySwap, url: &str, callers: usize) -> Self {
        Self::with(&client(keys, url), callers)
    }

    /// Starts so many callers that share this client, which has a base URL.
    pub fn with(client: &Client, callers: usize) -> Self {
        Self::begin(client, callers, Duration::from_millis(5))
    }

    /// Starts so many callers of this URL, each of which rests so long after each answer.
    pub fn paced(keys: &KeySwap, url: &str, callers: usize, rest: Duration) -> Self {
        Self::begin(&client(keys, url), callers, rest)
    }

    fn begin(client: &Client, callers: usize, rest: Duration) -> Self {
        let shared = Arc::<Shared>::default();
        let caller = |_| tokio::spawn(call(client.clone(), shared.clone(), rest));
        Self { callers: (0..callers).map(caller).collect(), shared }
    }

    /// How many requests were answered with success so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Relaxed)
    }

    /// What went wrong so far.
    pub fn failed(&self) -> Vec<String> {
        self.shared.failed.lock().unwrap().clone()
    }

    /// Ends the callers. There must have been some requests, and none that failed.
    pub async fn end(self) {
        self.shared.is_over.store(true, Relaxed);
        for caller in self.callers {
            caller.await.expect("a caller that ends");
        }
        let (sent, failed) = (self.shared.sent.load(Relaxed), self.shared.failed.lock().unwrap());
        assert!(failed.is_empty(), "{} of {sent} failed: {:?}", failed.len(), failed.first());
        assert!(sent > 0, "nobody asked for anything");
    }
}

fn client(keys: &KeySwap, url: &str) -> Client {
    let client = Client::builder(keys).scheme(Scheme::bearer()).base_url(url).expect("a URL");
    client.build().expect("a client")
}

async fn call(client: Client, shared: Arc<Shared>, rest: Duration) {
    while !shared.is_over.load(Relaxed) {
        let failure = match client.get("/").send().await {
            Ok(response) if response.status() == 200 => None,
            Ok(response) => Some(format!("status {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        match failure {
            None => _ = shared.sent.fetch_add(1, Relaxed),
            Some(failure) => shared.failed.lock().unwrap().push(failure),
        }
        tokio::time::sleep(rest).await;
    }
}

/// Waits until something is so.
pub async fn until(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + within;
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
