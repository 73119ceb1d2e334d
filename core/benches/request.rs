//! A request through the client, beside bare reqwest: `cargo bench --bench request`.
//!
//! 64 keep-alive GETs at a time against the embedded API. The client runs on one thread and only the
//! CPU time of that thread counts; the server has threads of its own. The two take short turns, so that
//! what else the machine does weighs on both alike, and the median of the turns' ratios is what counts.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

mod measure;

use std::{future::Future, time::Duration};

use keyswap::{Client, KeySwap, Scheme, source::Endpoint};
use measure::{median, thread_cpu_ns};

const AT_ONCE: usize = 64;
const EACH: usize = 10;
const ROUNDS: usize = 300;
/// Rounds before those that count: connections are made, and caches are filled.
const WARM_UP: usize = 10;

fn main() {
    // reqwest was built without a provider of its own; keyswap brings one, bare reqwest does not.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running =
        server.block_on(keyswap_endpoint::server::Endpoint::start(Default::default())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::new(running.set_url()).unwrap().bootstrap(running.bootstrap());
        let keys = KeySwap::follow(endpoint).await.unwrap();
        let url = format!("{}/v1/price", running.api_url());
        let scheme = Scheme::header("x-api-key");
        let client = Client::builder(&keys)
            .base_url(running.api_url())
            .unwrap()
            .scheme(scheme)
            .build()
            .unwrap();
        let key = keys.current().unwrap().reveal("key").unwrap().to_owned();
        let bare = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();

        let with_reqwest = || {
            let request = bare.get(&url).header("x-api-key", &key).timeout(Duration::from_secs(30));
            async {
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), 200);
                response.bytes().await.unwrap().len()
            }
        };
        let with_keyswap = || {
            let request = client.get("/v1/price");
            async {
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), 200);
                response.bytes().await.unwrap().len()
            }
        };
        let mut samples = [Vec::new(), Vec::new()];
        let mut ratios = Vec::new();
        for round in 0..WARM_UP + ROUNDS {
            // Each is as often the first as the second.
            let (theirs, ours) = if round % 2 == 0 {
                let theirs = timed(with_reqwest).await;
                (theirs, timed(with_keyswap).await)
            } else {
                let ours = timed(with_keyswap).await;
                (timed(with_reqwest).await, ours)
            };
            if round >= WARM_UP {
                samples[0].push(theirs);
                samples[1].push(ours);
                ratios.push(ours / theirs);
            }
        }
        let [theirs, ours] = samples.map(median);
        println!(
            "{AT_ONCE} keep-alive GETs at once, client CPU us a request (medians of {ROUNDS})"
        );
        println!("{:24}{theirs:>8.2}", "reqwest");
        println!("{:24}{ours:>8.2}", "keyswap::Client");
        measure::goal("Client to bare reqwest", median(ratios), 1.05);
    });
}

async fn timed<F: Future<Output = usize>>(request: impl Fn() -> F) -> f64 {
    let start = thread_cpu_ns();
    let callers = (0..AT_ONCE).map(|_| async {
        for _ in 0..EACH {
            assert!(request().await > 0);
        }
    });
    futures_util::future::join_all(callers).await;
    (thread_cpu_ns() - start) as f64 / 1000.0 / (AT_ONCE * EACH) as f64
}
