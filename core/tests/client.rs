//! The client on real sockets, against the embedded endpoint and API with their faults.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

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

// ---- hops ----

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
async fn what_was_answered_is_never_sent_again() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    let client = &client;
    let statuses = [301, 302, 303, 307, 308];
    for (to, kind) in [("always-401/x", None), ("closed", Some(ErrorKind::Transport))] {
        let paths = statuses.map(|status| format!("/redirect/{status}/{to}"));
        let orders = paths.iter().map(|path| client.post(path).body("buy").send());
        let outcomes = futures_util::future::join_all(orders).await;
        for (path, outcome) in paths.iter().zip(outcomes) {
            assert_eq!(outcome.as_ref().err().map(|error| error.kind()), kind, "{path}");
            assert_eq!(rig.count(&format!("api.path.{path}")), 1, "{path}");
        }
    }
    // The API's own failures are retried where they happened.
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    for _ in 0..2 {
        assert_eq!(status(&client, "/redirect/302/flaky/x").await, 200);
    }
    let counts =
        ["/redirect/302/flaky/x", "/flaky/x"].map(|path| rig.count(&format!("api.path.{path}")));
    assert_eq!(counts, [2, 3]);
}

#[tokio::test]
async fn a_chain_that_left_the_allowed_origins_carries_nothing_any_more() {
    let rig = Rig::new("{}").await;
    let back = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}/v1/price\r\ncontent-length: 0\r\n\r\n",
        rig.running.api_url()
    );
    let (elsewhere, _) = raw(back, 1).await;
    let away = format!("HTTP/1.1 302 Found\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    let (allowed, _) = raw(away, 1).await;
    let client = rig.client().allow_origin(&allowed).unwrap().build().unwrap();
    let answer = client.get(&allowed).send().await.unwrap();
    assert_eq!(answer.status(), 401, "{answer:?}");
    assert_eq!((rig.count("api.sends"), rig.count("api.with.k1")), (1, 0));
    assert_eq!(rig.keys.stats().counts.rejections, 0, "it carried no credential");
}

#[tokio::test]
async fn a_key_that_comes_back_in_a_redirect_is_neither_sent_nor_shown() {
    let rig = Rig::new("{}").await;
    let client = rig.client().scheme(Scheme::query("api_key")).build().unwrap();
    let answer = client.get("/redirect/302/login?a=1").send().await.unwrap();
    assert_eq!(answer.status(), 302);
    let location = answer.headers()["location"].to_str().unwrap();
    assert_eq!(location, format!("{}/***", rig.running.other_url()));
    assert_eq!((answer.url().query(), rig.count("leaks")), (Some("a=1"), 0));
    let unfollowed = rig.client().no_redirects().scheme(Scheme::query("api_key")).build().unwrap();
    let answer = unfollowed.get("/redirect/302/login").send().await.unwrap();
    assert!(answer.headers()["location"].to_str().unwrap().ends_with("/***"));
}

#[tokio::test]
async fn an_error_shows_only_the_origin_of_a_url_that_the_caller_did_not_write() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    let error = client.get("/redirect/302/closed").send().await.unwrap_err().to_string();
    assert!(error.starts_with("GET http://127.0.0.1:") && !error.contains("landed"), "{error}");
    let answer = client.get("/redirect/302/always-403/token").send().await.unwrap();
    let shown = format!("{answer:?} {}", answer.status_error().unwrap());
    assert!(!shown.contains("token"), "{shown}");
    let own = client.get("/always-403/mine").send().await.unwrap();
    assert!(own.status_error().unwrap().to_string().contains("/always-403/mine"));
}

#[tokio::test]
async fn a_classifier_is_asked_before_a_redirect_is_followed() {
    #[derive(Debug)]
    struct LoginPage;
    impl Classifier for LoginPage {
        fn classify(&self, response: &ResponseView<'_>) -> Verdict {
            match response.status().as_u16() {
                302 => Verdict::Rejected,
                _ => Verdict::Accepted,
            }
        }
        fn response_filter(&self) -> ResponseFilter {
            ResponseFilter::new([302])
        }
    }
    let rig = Rig::new("{}").await;
    rig.step(r#"{"do": "rotate", "grace_ms": 60000}"#);
    rig.keys.refresh().await.unwrap();
    let client = rig.client().classifier(LoginPage).build().unwrap();
    client.get("/redirect/302/v1/landed").send().await.unwrap();
    assert!(rig.count("api.with.k1") > 0 && rig.count("api.with.k2") > 0, "both were tried");
    assert_eq!(rig.count("api.path./v1/landed"), 0, "and none was taken for good");
    assert!(rig.keys.stats().counts.rejections >= 2, "each was told as a rejection");
    assert_eq!(rig.keys.current().unwrap().id(), "k1", "and no trial was won");
}

// ---- this machine ----

#[tokio::test]
async fn what_is_for_this_machine_reaches_no_other_and_no_proxy() {
    let rig = Rig::new("{}").await;
    let (trap, trapped) = raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(), 1).await;
    let trap_at = trap.trim_start_matches("http://").parse().unwrap();
    let by_name = rig.running.api_url().replace("127.0.0.1", "localhost");
    for base in [rig.running.api_url(), &by_name] {
        let trap = trap.clone();
        let client = rig
            .client()
            .base_url(base)
            .unwrap()
            .http(move |http| {
                let proxy = reqwest::Proxy::all(&trap).unwrap();
                http.resolve("localhost", trap_at).proxy(proxy)
            })
            .build()
            .unwrap();
        assert_eq!(status(&client, "/v1/price").await, 200, "{base}");
    }
    assert_eq!(trapped.load(std::sync::atomic::Ordering::Relaxed), 0);
}

// ---- what the caller gets ----

#[tokio::test]
async fn a_body_is_never_quoted_in_an_error() {
    #[derive(Debug, serde::Deserialize)]
    struct Wrong {
        #[expect(dead_code, reason = "it is never read: the body is of another type")]
        credential: u64,
    }
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    let error = client.get("/v1/price").send().await.unwrap().json::<Wrong>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Body);
    let text = format!("{error} {error:?}");
    assert!(!text.contains("k1") && text.contains("line 1, column"), "{text}");
}

#[tokio::test]
async fn a_header_of_the_callers_own_is_an_error_or_wins_and_is_never_replaced() {
    let rig = Rig::new("{}").await;
    let key = rig.keys.current().unwrap().reveal("key").unwrap().to_owned();
    let mixed = rig.client().build().unwrap().get("/v1/price").header("X-Api-Key", "mine");
    let error = mixed.send().await.unwrap_err();
    assert_eq!((error.kind(), rig.count("api.sends")), (ErrorKind::InvalidConfig, 0));
    assert!(error.to_string().contains("x-api-key"), "{error}");
    let defaults = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-api-key"),
        http::HeaderValue::from_static("mine"),
    )]);
    let mixed = rig.client().default_headers(defaults).build().unwrap();
    let error = mixed.get("/v1/price").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);

    let client = rig.client().own_header_wins().build().unwrap();
    let own = |path: &str, key: &str| client.get(path).header("x-api-key", key);
    assert_eq!(own("/v1/price", "mine").send().await.unwrap().status(), 401);
    assert_eq!((rig.count("api.sends"), rig.count("api.with.k1")), (1, 0));
    let counts = rig.keys.stats().counts;
    assert_eq!((counts.rejections, counts.forced), (0, 0), "it is no evidence");
    // It stays with its origin like a key of ours.
    assert_eq!(own("/redirect", &key).send().await.unwrap().status(), 200);
    assert_eq!(rig.count("leaks"), 0);
    assert_eq!(status(&client, "/v1/price").await, 200);
}

#[tokio::test]
async fn a_request_that_is_sent_once_gets_the_apis_own_answer() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "cut"}"#);
    let once = client.get("/v1/price").no_resend().send().await.unwrap();
    assert_eq!((once.status().as_u16(), rig.count("api.sends")), (401, 1));
    rig.step(r#"{"do": "api", "fault": "server_error", "status": 503}"#);
    let once = client.get("/v1/price").no_resend().send().await.unwrap();
    assert_eq!((once.status().as_u16(), rig.count("api.sends")), (503, 2));
}

#[tokio::test]
async fn a_response_in_hand_is_what_the_caller_gets_when_its_time_is_over() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    // The API has rotated, and the endpoint does not say so before long.
    rig.step(r#"{"do": "rotate", "overlap": false, "publish_after_ms": 60000}"#);
    let patience = Duration::from_secs(1);
    let all = (0..50).map(|_| client.get("/v1/price").timeout(patience).send());
    let began = std::time::Instant::now();
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.unwrap().status(), 401);
    }
    assert!(began.elapsed() < patience * 3, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_wait_that_the_api_asks_for_and_the_caller_has_not_is_not_begun() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "api", "fault": "rate_limited", "retry_after": 5}"#);
    let asked = client.get("/v1/price").timeout(Duration::from_secs(1));
    let answer = asked.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), rig.count("api.sends")), (429, 1));
    // What was lost, because the second send did not end in time, is named.
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "api", "fault": "server_error", "status": 503, "for_ms": 200}"#);
    let running = async {
        while rig.count("api.sends") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig.step(r#"{"do": "api", "fault": "hang"}"#);
    };
    let asked = client.get("/v1/price").timeout(Duration::from_millis(600)).send();
    let error = tokio::join!(asked, running).0.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Timeout, Some(503)), "{error}");
}

#[tokio::test]
async fn an_api_that_asks_for_fewer_requests_is_left_alone_by_all() {
    let rig = Rig::new("{}").await;
    let client = rig.client().no_retries().build().unwrap();
    rig.step(r#"{"do": "api", "fault": "rate_limited", "retry_after": 1, "for_ms": 500}"#);
    assert_eq!(status(&client, "/v1/price").await, 429);
    assert!(client.authorizer().is_throttled());
    let began = std::time::Instant::now();
    let hurried = client.get("/v1/price").timeout(Duration::from_millis(300)).send().await;
    assert_eq!(hurried.unwrap().status(), 429, "who cannot wait gets the API's own answer");
    let all = (0..8).map(|_| status(&client, "/v1/price"));
    assert_eq!(futures_util::future::join_all(all).await, [200; 8]);
    assert!(began.elapsed() >= Duration::from_millis(950), "{:?}", began.elapsed());
    assert_eq!(rig.count("api.sends"), 10);
    assert!(!client.authorizer().is_throttled());
}

#[tokio::test]
async fn a_rejection_names_the_fetch_that_failed() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "endpoint", "fault": "server_error", "status": 503}"#);
    rig.step(r#"{"do": "cut"}"#);
    let answer = client.get("/v1/price").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let cause = answer.cause().expect("the failure of the fetch");
    assert_eq!(cause.kind(), ErrorKind::Unavailable);
    let text = answer.status_error().unwrap().to_string();
    assert!(
        text.contains("no fresh credential came") && text.contains(&cause.to_string()),
        "{text}"
    );
    assert!(client.get("/always-403").send().await.unwrap().cause().is_none());
}

#[tokio::test]
async fn when_all_is_in_vain_the_first_rejection_is_the_answer() {
    let rig = Rig::new(r#"{"replicas": 7}"#).await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "rotate", "grace_ms": 60000}"#);
    rig.keys.refresh().await.unwrap();
    let answer = client.get("/always-401").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(rig.count("api.sends") > 1);
    let body = answer.text().await.unwrap();
    assert!(body.contains(r#""replica":0"#), "{body}");
}

#[tokio::test]
async fn a_rejection_that_comes_during_an_upload_is_read() {
    let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!";
    for after in [1, 100_000] {
        let rig = Rig::new("{}").await;
        let (url, _) = raw(answer.into(), after).await;
        let client = rig.client().base_url(&url).unwrap().build().unwrap();
        let whole = Bytes::from(vec![0_u8; 16 * 1024 * 1024]);
        for round in 0..4 {
            let parts =
                stream::iter((0..1024).map(|_| Ok::<_, std::io::Error>(vec![0; 16384].into())));
            let requests = [
                client.post("/upload").body(whole.clone()).no_resend(),
                client.post("/upload").body_stream(parts),
            ];
            for request in requests {
                let sent = request.send().await;
                let answer = sent.unwrap_or_else(|error| panic!("{after} {round}: {error}"));
                assert_eq!(answer.status(), 401);
            }
        }
    }
}
