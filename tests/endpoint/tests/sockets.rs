//! The faults as a client sees them, on real connections.

mod http;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Answer, Connection, ask, parts};
use keyswap_endpoint::server::{Endpoint, Running};
use keyswap_endpoint::world::{CommitKind, WorldConfig};

const TOKEN: &str = "Bearer bootstrap";

async fn start(world: &str) -> Running {
    let config: WorldConfig = serde_json::from_str(world).expect(world);
    Endpoint::start(config).await.expect("loopback sockets")
}

fn apply(running: &Running, step: &str) {
    running.apply(&serde_json::from_str(step).expect(step)).expect(step);
}

fn material(running: &Running, id: &str) -> String {
    running.with_world(|world, _| world.material(id).expect(id).reveal().to_owned())
}

async fn fetch(running: &Running) -> Option<Answer> {
    ask("GET", &running.set_url(), &[("Authorization", TOKEN)], "").await
}

async fn call(running: &Running, target: &str, headers: &[(&str, &str)]) -> Option<Answer> {
    ask("GET", &format!("{}{target}", running.api_url()), headers, "").await
}

#[tokio::test]
async fn a_fetch_and_its_validator() {
    let running = start("{}").await;
    let first = fetch(&running).await.expect("an answer");
    assert_eq!((first.status, first.header("etag")), (200, Some("\"g1\"")));
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert!(first.header("date").is_some_and(|date| date.ends_with(" GMT")));
    assert_eq!(first.json()["current"]["material"]["key"], material(&running, "k1"));

    let mut connection = Connection::to(&running.set_url()).await;
    let url = running.set_url();
    let headers = [("Authorization", TOKEN), ("If-None-Match", "\"g1\"")];
    let same = connection.ask("GET", parts(&url).1, &headers, "").await.expect("an answer");
    assert_eq!((same.status, same.body.len()), (304, 0));
    apply(&running, r#"{"do": "rotate"}"#);
    let next = connection.ask("GET", parts(&url).1, &headers, "").await.expect("kept alive");
    assert_eq!((next.status, &next.json()["generation"]), (200, &2.into()));
    let counters = running.counters();
    assert_eq!((counters["fetch.changed"], counters["fetch.not_modified"]), (2, 1));
}

#[tokio::test]
async fn every_place_of_a_credential_is_found() {
    let running = start("{}").await;
    let key = material(&running, "k1");
    let bearer = format!("Bearer {key}");
    let query = format!("/v1/price?api_key={key}");
    assert_eq!(call(&running, "/v1/price", &[]).await.expect("an answer").status, 401);
    assert_eq!(call(&running, "/", &[("x-api-key", &key)]).await.expect("an answer").status, 200);
    let answer = call(&running, "/", &[("Authorization", &bearer)]).await.expect("an answer");
    assert_eq!((answer.status, &answer.json()["credential"]), (200, &"k1".into()));
    assert_eq!(call(&running, &query, &[]).await.expect("an answer").status, 200);
    assert_eq!(running.counters()["api.with.k1"], 3);
}

#[tokio::test]
async fn an_outage_drops_new_and_old_connections() {
    let running = start("{}").await;
    let key = material(&running, "k1");
    let headers = [("x-api-key", key.as_str())];
    let mut kept = Connection::to(running.api_url()).await;
    assert!(kept.ask("GET", "/", &headers, "").await.is_some());
    apply(&running, r#"{"do": "api", "fault": "outage"}"#);
    apply(&running, r#"{"do": "endpoint", "fault": "outage"}"#);
    assert!(kept.ask("GET", "/", &headers, "").await.is_none(), "kept alive, but dropped");
    assert!(call(&running, "/", &headers).await.is_none());
    assert!(fetch(&running).await.is_none());
    apply(&running, r#"{"do": "api", "fault": "none"}"#);
    apply(&running, r#"{"do": "endpoint", "fault": "none"}"#);
    assert!(kept.ask("GET", "/", &headers, "").await.is_none(), "it was closed");
    assert_eq!(call(&running, "/", &headers).await.expect("an answer").status, 200);
    assert_eq!(fetch(&running).await.expect("an answer").status, 200);
    let counters = running.counters();
    assert_eq!((counters["api.sends"], counters["fetch.failed"]), (2, 1));
}

#[tokio::test]
async fn a_torn_answer_promises_more_than_comes() {
    let running = start("{}").await;
    let length = fetch(&running).await.expect("an answer").body.len();
    apply(&running, r#"{"do": "endpoint", "fault": "torn"}"#);
    let torn = fetch(&running).await.expect("the head of an answer");
    let promised = torn.header("content-length").and_then(|length| length.parse::<usize>().ok());
    // `server_time` has a varying number of digits.
    assert!(promised.is_some_and(|promised| promised.abs_diff(length) < 8), "{promised:?}");
    assert!(!torn.whole);
    assert_eq!(Some(torn.body.len()), promised.map(|promised| promised / 2));
}

#[tokio::test]
async fn a_hang_never_answers_and_lets_go_with_its_world() {
    let running = start("{}").await;
    apply(&running, r#"{"do": "endpoint", "fault": "hang"}"#);
    let mut hanging = std::pin::pin!(fetch(&running));
    // There is no event for nothing happening, so a little time must pass.
    let nothing = tokio::time::timeout(Duration::from_millis(50), &mut hanging).await;
    assert!(nothing.is_err(), "{nothing:?}");
    running.reset();
    let answer = tokio::time::timeout(Duration::from_secs(10), hanging).await;
    assert!(matches!(answer, Ok(None)), "{answer:?}");
    assert_eq!(fetch(&running).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_slow_answer_is_of_the_time_when_it_was_asked_for() {
    let running = start("{}").await;
    apply(&running, r#"{"do": "endpoint", "fault": "slow", "ms": 60}"#);
    let begun = Instant::now();
    let slow = fetch(&running);
    let cut = async {
        while running.counters()["fetch.started"] == 0 {
            tokio::task::yield_now().await;
        }
        apply(&running, r#"{"do": "cut"}"#);
    };
    let (answer, ()) = tokio::join!(slow, cut);
    assert!(begun.elapsed() >= Duration::from_millis(60));
    assert_eq!(answer.expect("an answer").json()["generation"], 1);
}

#[tokio::test]
async fn errors_have_their_headers() {
    let running = start("{}").await;
    apply(&running, r#"{"do": "endpoint", "fault": "rate_limited", "retry_after": 7}"#);
    let limited = fetch(&running).await.expect("an answer");
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("7")));
    assert_eq!(limited.header("content-type"), Some("application/problem+json"));
    apply(&running, r#"{"do": "endpoint", "fault": "redirect"}"#);
    let redirect = fetch(&running).await.expect("an answer");
    let elsewhere = format!("{}/landed", running.other_url());
    assert_eq!((redirect.status, redirect.header("location")), (307, Some(elsewhere.as_str())));
    apply(&running, r#"{"do": "endpoint", "fault": "wrong_clock", "ms": -946684800000}"#);
    let date = fetch(&running).await.expect("an answer");
    let past = date.header("date").and_then(|date| date.split(' ').nth(3)?.parse::<u32>().ok());
    assert!(past.is_some_and(|year| (1990..2010).contains(&year)), "{past:?}");
    let refused = call(&running, "/", &[("x-api-key", "?")]).await.expect("an answer");
    assert!(refused.header("www-authenticate").is_some_and(|told| told.starts_with("Bearer")));
    let key = material(&running, "k1");
    let here = call(&running, "/redirect-here", &[("x-api-key", &key)]).await.expect("an answer");
    assert_eq!((here.status, here.header("location")), (307, Some("/v1/landed")));
    let limit = r#"{"do": "api", "fault": "rate_limited", "retry_after": 2}"#;
    apply(&running, limit);
    let limited = call(&running, "/", &[("x-api-key", &key)]).await.expect("an answer");
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("2")));
}

#[tokio::test]
async fn the_other_origin_sees_leaks() {
    let running = start("{}").await;
    let key = material(&running, "k1");
    let landed = format!("{}/landed", running.other_url());
    ask("GET", &landed, &[], "").await.expect("an answer");
    assert_eq!(running.counters()["leaks"], 0);
    ask("GET", &landed, &[("x-api-key", "any")], "").await.expect("an answer");
    ask("GET", &landed, &[("x-forgotten", &key)], "").await.expect("an answer");
    ask("GET", &format!("{landed}?k={key}"), &[], "").await.expect("an answer");
    ask("GET", &landed, &[("Referer", &format!("http://a/?{key}"))], "").await.expect("an answer");
    assert_eq!(running.counters()["leaks"], 4);
}

#[tokio::test]
async fn a_body_is_read_before_the_answer() {
    let running = start("{}").await;
    let body = "x".repeat(300_000);
    let mut connection = Connection::to(running.api_url()).await;
    for _ in 0..2 {
        let answer = connection.ask("POST", "/v1/order", &[], &body).await;
        assert_eq!(answer.expect("an answer on the same connection").status, 401);
    }
}

#[tokio::test]
async fn commits_and_sends_can_be_watched() {
    let running = start("{}").await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    running.on_send(move |sent| {
        let one = (sent.credential.map(str::to_owned), sent.status);
        log.lock().expect("the log").push(one);
    });
    let key = material(&running, "k1");
    call(&running, "/", &[("x-api-key", &key)]).await.expect("an answer");
    apply(&running, r#"{"do": "cut"}"#);
    call(&running, "/", &[("x-api-key", &key)]).await.expect("an answer");
    apply(&running, r#"{"do": "api", "fault": "outage"}"#);
    assert!(call(&running, "/", &[]).await.is_none());
    let k1 = Some("k1".to_owned());
    let expected = [(k1.clone(), Some(200)), (k1, Some(401)), (None, None)];
    assert_eq!(*seen.lock().expect("the log"), expected);

    let commits = running.commits();
    let kinds: Vec<_> = commits.iter().map(|one| (one.generation, one.kind)).collect();
    assert_eq!(kinds, [(1, CommitKind::Begin), (2, CommitKind::Cut)]);
    let (old, new) = (commits[1].replaced.as_deref(), commits[1].credential.as_str());
    assert_eq!((old, new), (Some("k1"), "k2"));
    assert!(commits[1].committed_at <= Instant::now());
    assert!(commits[1].committed_at >= commits[0].committed_at);
}

#[tokio::test]
async fn an_operator_rotates_over_http() {
    let running = start("{}").await;
    let rotations = format!("{}/rotations", running.set_url());
    let operator = format!("Bearer {}", running.operator());
    let headers = [("Authorization", operator.as_str()), ("Idempotency-Key", "a")];
    let done = ask("POST", &rotations, &headers, r#"{"grace_seconds": 60}"#).await;
    assert_eq!(done.expect("an answer").status, 201);
    ask("POST", &rotations, &headers, r#"{"grace_seconds": 60}"#).await.expect("an answer");
    assert_eq!(running.commits().len(), 2);
    let own = [("Authorization", TOKEN), ("Idempotency-Key", "b")];
    assert_eq!(ask("POST", &rotations, &own, "{}").await.expect("an answer").status, 403);
    let revoke = format!("{}/credentials/k1/revoke", running.set_url());
    assert_eq!(ask("POST", &revoke, &headers, "").await.expect("an answer").status, 200);
    let nowhere = format!("{}/nowhere", running.endpoint_url());
    assert_eq!(ask("GET", &nowhere, &headers, "").await.expect("an answer").status, 404);
}

#[tokio::test]
async fn only_loopback_addresses_are_listened_on() {
    let public = "0.0.0.0:0".parse().expect("an address");
    for builder in [
        Endpoint::builder().listen(public),
        Endpoint::builder().api_listen(public),
        Endpoint::builder().other_listen(public),
    ] {
        let error = builder.start().await.expect_err("refused");
        assert!(error.to_string().contains("only on loopback"), "{error}");
    }
}

#[tokio::test]
async fn a_story_is_played_over_the_control_api() {
    let running = start("{}").await;
    let control = |action: &str| format!("{}/control/{action}", running.endpoint_url());
    let story = r#"{"name": "cut", "run_ms": 10000, "world": {"bootstrap": "other"},
        "policy": {"poll": 1}, "callers": [{"count": 2}],
        "timeline": [{"at": 0, "do": "cut"}, {"at": 9000, "do": "cut"}],
        "expect": {"failed": 0, "generation": 2, "fetch.changed": 1, "api.extra": 1}}"#;
    let told = ask("POST", &control("story"), &[], story).await.expect("an answer").json();
    assert_eq!((&told["bootstrap"], &told["run_ms"]), (&"other".into(), &10_000.into()));
    assert_eq!((&told["policy"]["poll"], &told["callers"][0]["count"]), (&1.into(), &2.into()));
    assert_eq!(told["set_url"], running.set_url());
    assert_eq!((running.now_ms(), running.commits().len()), (0, 1), "time stands still");

    assert_eq!(ask("POST", &control("start"), &[], "").await.expect("an answer").status, 200);
    let token = [("Authorization", "Bearer other")];
    let set = ask("GET", &running.set_url(), &token, "").await.expect("an answer").json();
    assert_eq!(set["generation"], 2);
    call(&running, "/", &[]).await.expect("an answer");
    let counted = r#"{"requests": 1, "failed": 1, "generation": 2, "leaks": 9}"#;
    let verdict = ask("POST", &control("finish"), &[], counted).await.expect("an answer").json();
    let mismatches = serde_json::json!([
        {"key": "api.extra", "expected": 1, "actual": 0},
        {"key": "failed", "expected": 0, "actual": 1},
    ]);
    assert_eq!((&verdict["ok"], &verdict["mismatches"]), (&false.into(), &mismatches));
    assert_eq!(verdict["counters"]["leaks"], 0, "only the world counts leaks");

    let step = r#"{"do": "revoke"}"#;
    assert_eq!(ask("POST", &control("step"), &[], step).await.expect("an answer").status, 200);
    assert_eq!(running.commits().len(), 3);
    let impossible = r#"{"do": "restore_set"}"#;
    let refused = ask("POST", &control("step"), &[], impossible).await.expect("an answer");
    assert_eq!((refused.status, &refused.json()["error"]), (409, &"the set is not revoked".into()));
    let unknown = ask("POST", &control("story"), &[], "{}").await.expect("an answer");
    assert_eq!(unknown.status, 400);
    assert!(ask("POST", &control("reset"), &[], "").await.is_some_and(|one| one.status == 200));
    let counters = ask("GET", &control("counters"), &[], "").await.expect("an answer").json();
    assert_eq!(counters["fetch.started"], 0);
    assert_eq!(ask("GET", &control("nothing"), &[], "").await.expect("an answer").status, 404);
}

#[tokio::test]
async fn a_story_comes_out_in_process() {
    let running = start("{}").await;
    let story = keyswap_endpoint::story::Story::parse(
        r#"{"name": "x", "run_ms": 1, "expect": {"in_use": "k1"}}"#,
    );
    running.load(story.expect("a story")).expect("a valid story");
    running.begin();
    assert!(!running.finish(BTreeMap::new()).ok);
    assert!(running.finish(BTreeMap::from([("in_use".to_owned(), "k1".into())])).ok);
}

#[tokio::test]
async fn dropping_it_closes_everything() {
    let running = start("{}").await;
    let mut kept = Connection::to(running.api_url()).await;
    assert!(kept.ask("GET", "/", &[], "").await.is_some());
    drop(running);
    assert!(kept.ask("GET", "/", &[], "").await.is_none());
}
