//! The client on real sockets, against the embedded endpoint and API with their faults.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod client {
    pub(crate) mod answers;
    pub(crate) mod hops;
}

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use keyswap::{
    Classifier, Client, ClientBuilder, Endpoint, ErrorKind, KeySwap, Policy, ResponseFilter,
    ResponseView, Scheme, Verdict,
};
use keyswap_endpoint::server::{Endpoint as Embedded, Running};

/// An endpoint, an API, and a handle that follows it at the pace of a test.
struct Rig {
    running: Running,
    keys: KeySwap,
}

impl Rig {
    async fn new(world: &str) -> Self {
        let running = Embedded::start(serde_json::from_str(world).unwrap()).await.unwrap();
        let endpoint =
            Endpoint::new(running.set_url()).unwrap().bootstrap(running.bootstrap().as_str());
        let keys = KeySwap::follow(endpoint).policy(brisk()).await.unwrap();
        Self { running, keys }
    }

    fn client(&self) -> ClientBuilder {
        Client::builder(&self.keys)
            .base_url(self.running.api_url())
            .unwrap()
            .scheme(Scheme::header("x-api-key"))
    }

    fn step(&self, step: &str) {
        self.running.apply(&serde_json::from_str(step).unwrap()).unwrap();
    }

    fn count(&self, name: &str) -> u64 {
        self.running.counters().get(name).copied().unwrap_or(0)
    }
}

/// The defaults, at a pace at which a test need not wait.
fn brisk() -> Policy {
    serde_json::from_str(
        r#"{"fetch_floor": 0.02, "fetch_floor_min": 0.02, "forced_every": 0.05, "wait": 1.5,
            "rotation_pause": 0.02, "episode": 3, "episode_max": 6, "fetch_timeout": 2, "probe_delays": [30],
            "backoff_min": 0.02, "backoff_max": 0.1, "retry_after_min": 0.02}"#,
    )
    .unwrap()
}

async fn status(client: &Client, path: &str) -> u16 {
    client.get(path).send().await.unwrap().status().as_u16()
}

/// Asks until it is so, and not without end.
async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("it comes to be so");
}

/// A server that answers every connection with these bytes, and says how many there were.
async fn raw(
    answer: String,
    after: usize,
) -> (String, std::sync::Arc<std::sync::atomic::AtomicU64>) {
    use std::sync::{Arc, atomic::AtomicU64};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut seen = vec![0; after.max(1)];
                let mut read = 0;
                while read < after.max(1) {
                    match stream.read(&mut seen[read..]).await {
                        Ok(0) | Err(_) => return,
                        Ok(some) => read += some,
                    }
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (url, count)
}

#[tokio::test]
async fn a_cut_is_one_fetch_for_all_and_nobody_fails() {
    let rig = Rig::new(r#"{"endpoint_latency_ms": 60, "api_latency_ms": 5}"#).await;
    let client = rig.client().build().unwrap();
    assert_eq!(status(&client, "/v1/price").await, 200);
    rig.step(r#"{"do": "cut"}"#);
    let all = (0..128).map(|_| status(&client, "/v1/price"));
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(rig.count("fetch.changed"), 2, "the first one, and one for the cut");
    assert_eq!(rig.keys.stats().counts.forced, 1);
}

#[tokio::test]
async fn with_a_fallback_nobody_waits_and_one_at_a_time_probes() {
    let rig = Rig::new(r#"{"no_expiry": true}"#).await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "rotate", "grace_ms": 60000, "propagation_ms": 60000}"#);
    rig.keys.refresh().await.unwrap();
    for _ in 0..40 {
        assert_eq!(status(&client, "/v1/price").await, 200);
    }
    assert_eq!(rig.keys.current().unwrap().id(), "k1");
    assert_eq!(rig.count("api.rejected"), 1, "the one probe; the next is a second away");
}

#[tokio::test]
async fn each_fault_of_the_endpoint_leaves_the_last_good_set_in_use() {
    let faults = [
        (r#""fault": "outage""#, ErrorKind::Unavailable),
        (r#""fault": "hang""#, ErrorKind::Timeout),
        (r#""fault": "torn""#, ErrorKind::Unavailable),
        (r#""fault": "garbage""#, ErrorKind::Malformed),
        (r#""fault": "oversized""#, ErrorKind::Malformed),
        (r#""fault": "older_generation""#, ErrorKind::OlderGeneration),
        (r#""fault": "other_material""#, ErrorKind::Malformed),
        (r#""fault": "expired""#, ErrorKind::Malformed),
        (r#""fault": "too_many""#, ErrorKind::Malformed),
        (r#""fault": "rate_limited", "retry_after": 0"#, ErrorKind::Throttled),
        (r#""fault": "server_error", "status": 503"#, ErrorKind::Unavailable),
        (r#""fault": "redirect""#, ErrorKind::Malformed),
        (r#""fault": "bootstrap_invalid""#, ErrorKind::BootstrapRejected),
        (r#""fault": "unknown_set""#, ErrorKind::UnknownSet),
    ];
    let rig = Rig::new(r#"{"ttl_ms": 3600000}"#).await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "rotate", "grace_ms": 600000}"#);
    rig.keys.refresh().await.unwrap();
    let generation = rig.keys.set().unwrap().generation();
    for (fault, kind) in faults {
        rig.step(&format!(r#"{{"do": "endpoint", {fault}}}"#));
        let error = rig.keys.refresh().await.expect_err(fault);
        assert_eq!(error.kind(), kind, "{fault}: {error}");
        assert!(error.to_string().len() > 20, "{fault} says what happened: {error}");
        assert_eq!(rig.keys.set().unwrap().generation(), generation, "{fault}");
        assert_eq!(status(&client, "/v1/price").await, 200, "{fault}");
        rig.step(r#"{"do": "endpoint", "fault": "none"}"#);
        // The driver's own retry may have run into the fault; let that end before the next one.
        until(|| async { rig.keys.refresh().await.is_ok() }).await;
    }
}

#[tokio::test]
async fn a_revoked_set_fails_closed_and_a_new_generation_restores() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "revoke_set"}"#);
    assert_eq!(rig.keys.refresh().await.unwrap_err().kind(), ErrorKind::SetRevoked);
    let error = client.get("/v1/price").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SetRevoked);
    rig.step(r#"{"do": "restore_set"}"#);
    rig.keys.refresh().await.unwrap();
    assert_eq!(status(&client, "/v1/price").await, 200);
}

#[tokio::test]
async fn a_redirect_to_another_origin_carries_nothing() {
    for scheme in [Scheme::header("x-api-key"), Scheme::bearer(), Scheme::query("api_key")] {
        let rig = Rig::new("{}").await;
        let client = rig.client().scheme(scheme).build().unwrap();
        let elsewhere = client.get("/redirect").header("cookie", "a=b").send().await.unwrap();
        assert_eq!(elsewhere.url().as_str().trim_end_matches('/').find("api_key"), None);
        assert_eq!(rig.count("leaks"), 0);
        assert_eq!(status(&client, "/redirect-here").await, 200, "the key goes along here");
    }
}

#[tokio::test]
async fn a_private_default_header_stays_with_its_origin() {
    let rig = Rig::new("{}").await;
    let bearer = format!("Bearer {}", rig.keys.current().unwrap().reveal("key").unwrap());
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, bearer.parse().unwrap())]);
    let client = rig.client().default_headers(headers).build().unwrap();
    client.get("/redirect").send().await.unwrap();
    assert_eq!(rig.count("leaks"), 0);
}

#[tokio::test]
async fn bad_input_is_a_typed_error_before_anything_is_sent() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    let refused = [
        (client.get(rig.running.other_url()), ErrorKind::OriginNotAllowed),
        (client.get("https://api.example.com/"), ErrorKind::OriginNotAllowed),
        (client.get("/x").header("no such name", "x"), ErrorKind::InvalidConfig),
        (client.get("/x").keys("unknown"), ErrorKind::InvalidConfig),
        (client.get("/x").scopes(["trade:write"]), ErrorKind::MissingScope),
    ];
    for (request, kind) in refused {
        let error = request.send().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    let insecure = Client::builder(&rig.keys).base_url("http://api.example.com").unwrap_err();
    assert_eq!(insecure.kind(), ErrorKind::InsecureUrl);
    let nowhere = Client::builder(&rig.keys).scheme(Scheme::bearer()).build().unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::InvalidConfig);
    assert_eq!(rig.count("api.sends"), 0);
}

#[tokio::test]
async fn a_one_shot_body_gets_the_apis_own_answer() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "cut"}"#);
    let body = || stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"order"))]);
    let first = client.post("/v1/orders").body_stream(body()).send().await.unwrap();
    assert_eq!(first.status(), StatusCode::UNAUTHORIZED);
    until(|| async { rig.keys.stats().counts.rejections > 0 }).await;
    // That rejection made the driver fetch, and this one waits for it before its only send.
    let second = client.post("/v1/orders").body_stream(body()).send().await.unwrap();
    assert_eq!(second.status(), StatusCode::OK);
    assert_eq!(rig.count("api.sends"), 2);
}

#[tokio::test]
async fn the_apis_own_failures_are_retried_within_bounds() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "api", "fault": "server_error", "status": 503}"#);
    assert_eq!(status(&client, "/v1/price").await, 503);
    assert_eq!(rig.count("api.sends"), 3, "twice more");
    let posted = client.post("/v1/orders").body("order").send().await.unwrap();
    assert_eq!(
        (posted.status().as_u16(), rig.count("api.sends")),
        (503, 4),
        "a POST is not repeated"
    );
    let once = rig.client().no_retries().build().unwrap();
    assert_eq!(status(&once, "/v1/price").await, 503);
    assert_eq!(rig.count("api.sends"), 5);
    assert_eq!(rig.keys.stats().counts.rejections, 0);
}

#[tokio::test]
async fn what_is_not_about_the_key_rotates_nothing() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    assert_eq!(status(&client, "/always-403").await, 403);
    rig.step(r#"{"do": "api", "fault": "insufficient_scope"}"#);
    assert_eq!(status(&client, "/v1/price").await, 403);
    let stats = rig.keys.stats();
    assert_eq!((stats.counts.rejections, stats.counts.forced, stats.extra_sends), (0, 0, 0));
}

#[tokio::test]
async fn a_classifier_reads_the_body_and_the_caller_still_gets_all_of_it() {
    #[derive(Debug)]
    struct CodeInBody;
    impl Classifier for CodeInBody {
        fn classify(&self, response: &ResponseView<'_>) -> Verdict {
            match response.body() {
                None if response.status() == StatusCode::OK => Verdict::NeedBody,
                Some(body) if String::from_utf8_lossy(body).contains("bad_key") => {
                    Verdict::Rejected
                }
                Some(_) => Verdict::Accepted,
                None => Verdict::Other,
            }
        }
        fn response_filter(&self) -> ResponseFilter {
            ResponseFilter::new([200]).with_body_limit(64)
        }
    }
    let rig = Rig::new("{}").await;
    let client = rig.client().classifier(CodeInBody).build().unwrap();
    rig.step(r#"{"do": "api", "fault": "bad_key_in_body"}"#);
    rig.step(r#"{"do": "cut"}"#);
    let body = client.get("/v1/price").send().await.unwrap().text().await.unwrap();
    assert!(body.contains("k2") && body.ends_with('}'), "{body}");
    assert_eq!(rig.keys.current().unwrap().id(), "k2");
}

#[tokio::test]
async fn keys_for_different_purposes_stay_apart() {
    let reading = Rig::new(r#"{"scopes": ["read"]}"#).await;
    let trading = Rig::new(r#"{"scopes": ["read", "trade:write"]}"#).await;
    let client = Client::builder(&reading.keys)
        .base_url(trading.running.api_url())
        .unwrap()
        .scheme(Scheme::header("x-api-key"))
        .named("trading", &trading.keys)
        .no_retries()
        .build()
        .unwrap();
    let order = || client.post("/v1/orders").body("order").scopes(["trade:write"]);
    assert_eq!(order().send().await.unwrap_err().kind(), ErrorKind::MissingScope);
    assert_eq!(order().keys("trading").send().await.unwrap().status(), 200);
    assert_eq!(trading.count("api.sends"), 1);
}

#[tokio::test]
async fn a_cancelled_request_leaves_nothing_behind() {
    let rig = Rig::new(r#"{"api_latency_ms": 200}"#).await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "rotate", "grace_ms": 60000}"#);
    rig.keys.refresh().await.unwrap();
    let probe = tokio::time::timeout(Duration::from_millis(30), client.get("/v1/price").send());
    assert!(probe.await.is_err(), "the probe was cancelled");
    assert_eq!(rig.keys.current().unwrap().id(), "k1");
    // The slot is free again a second after it was taken.
    until(|| async {
        assert_eq!(status(&client, "/v1/price").await, 200);
        rig.keys.current().unwrap().id() == "k2"
    })
    .await;
    let slow = client.get("/v1/price").timeout(Duration::from_millis(20)).send().await;
    assert_eq!(slow.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn the_set_may_name_the_scheme() {
    let world = r#"{"scheme": {"scheme": "api_key", "params": {"header": "x-api-key"}}}"#;
    let rig = Rig::new(world).await;
    let client =
        Client::builder(&rig.keys).base_url(rig.running.api_url()).unwrap().build().unwrap();
    assert_eq!(status(&client, "/v1/price").await, 200);
    let silent = Rig::new("{}").await;
    let client =
        Client::builder(&silent.keys).base_url(silent.running.api_url()).unwrap().build().unwrap();
    let error = client.get("/v1/price").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemeFailed);
    assert!(error.to_string().contains("such as bearer"), "it says what to do: {error}");
}
