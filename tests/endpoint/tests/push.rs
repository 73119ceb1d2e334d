//! Long polls, streams of events and regions on real connections.

mod http;

use std::time::{Duration, Instant};

use http::{Answer, Stream, ask};
use keyswap_endpoint::server::{Endpoint, Running};
use keyswap_endpoint::story::Story;
use keyswap_endpoint::world::WorldConfig;

const TOKEN: (&str, &str) = ("Authorization", "Bearer bootstrap");

/// Longer than anything here takes, and shorter than a ping by default.
const LONG: Duration = Duration::from_secs(10);

async fn start(world: &str) -> Running {
    let config: WorldConfig = serde_json::from_str(world).expect(world);
    Endpoint::start(config).await.expect("loopback sockets")
}

fn apply(running: &Running, step: &str) {
    running.apply(&serde_json::from_str(step).expect(step)).expect(step);
}

async fn listen(running: &Running) -> Option<(Answer, Stream)> {
    Stream::open(&format!("{}/events", running.set_url()), &[TOKEN]).await
}

async fn event(stream: &mut Stream) -> Option<String> {
    tokio::time::timeout(LONG, stream.event()).await.expect("in time")
}

fn says(event: Option<String>, kind: &str, generation: u64) {
    let event = event.expect("an event");
    let head = format!("event: {kind}\nid: g{generation}\ndata: {{");
    assert!(event.starts_with(&head) && event.ends_with("}\n\n"), "{event:?}, not {head:?}");
}

#[tokio::test]
async fn a_stream_tells_what_a_step_changes_at_once() {
    let running = start(r#"{"levels": ["events"]}"#).await;
    let (head, mut stream) = listen(&running).await.expect("an answer");
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    says(event(&mut stream).await, "changed", 1);
    apply(&running, r#"{"do": "rotate"}"#);
    says(event(&mut stream).await, "changed", 2);
    apply(&running, r#"{"do": "rotate", "publish_after_ms": 30}"#);
    let begun = Instant::now();
    says(event(&mut stream).await, "changed", 3);
    assert!(begun.elapsed() >= Duration::from_millis(25), "not before it is visible");
    let revoke = format!("{}/credentials/k1/revoke", running.set_url());
    let operator = [("Authorization", "Bearer operator")];
    ask("POST", &revoke, &operator, "").await.expect("an answer");
    says(event(&mut stream).await, "revoked", 4);
    apply(&running, r#"{"do": "endpoint", "fault": "events_dropped", "for_ms": 40}"#);
    assert_eq!(event(&mut stream).await, None);
    assert!(listen(&running).await.is_none(), "a new one is dropped");
    apply(&running, r#"{"do": "endpoint", "fault": "none"}"#);
    let (_, mut stream) = listen(&running).await.expect("an answer");
    says(event(&mut stream).await, "changed", 4);
    drop(running);
    assert_eq!(event(&mut stream).await, None);
}

#[tokio::test]
async fn a_stream_pings_and_falls_silent() {
    let running = start(r#"{"levels": ["events"], "ping_ms": 20}"#).await;
    let (_, mut stream) = listen(&running).await.expect("an answer");
    says(event(&mut stream).await, "changed", 1);
    assert_eq!(event(&mut stream).await.as_deref(), Some("event: ping\ndata: {}\n\n"));
    apply(&running, r#"{"do": "endpoint", "fault": "events_silent"}"#);
    apply(&running, r#"{"do": "rotate"}"#);
    let last = async { while event(&mut stream).await.is_some_and(|one| !one.contains("g2")) {} };
    // There is no event for nothing happening, so a little time must pass.
    assert!(tokio::time::timeout(Duration::from_millis(80), last).await.is_err());
    apply(&running, r#"{"do": "endpoint", "fault": "none"}"#);
    let mut heard = event(&mut stream).await;
    while heard.as_ref().is_some_and(|one| one.contains("ping")) {
        heard = event(&mut stream).await;
    }
    says(heard, "changed", 2);
}

#[tokio::test]
async fn a_story_is_told_by_its_own_time_and_ends_with_its_world() {
    let running = start("{}").await;
    let story = Story::parse(
        r#"{"name": "x", "run_ms": 100, "world": {"levels": ["events"], "regions": 2},
            "timeline": [{"at": 40, "do": "cut"}, {"at": 80, "do": "revoke_set"}]}"#,
    );
    running.load(story.expect("a story")).expect("a valid story");
    let (_, mut stream) = listen(&running).await.expect("an answer");
    says(event(&mut stream).await, "changed", 1);
    running.begin();
    // Nobody else asks the world anything, so the stream itself has to wake for the steps.
    says(event(&mut stream).await, "changed", 2);
    says(event(&mut stream).await, "revoked", 2);
    running.reset();
    assert_eq!(event(&mut stream).await, None);
    assert_eq!(running.set_urls().len(), 2);
}

#[tokio::test]
async fn a_long_poll_is_answered_when_something_changes() {
    let running = start(r#"{"levels": ["wait"]}"#).await;
    let url = format!("{}?wait=55", running.set_url());
    let held = [TOKEN, ("If-None-Match", "\"g1\"")];
    let poll = ask("GET", &url, &held, "");
    let rotate = async {
        while running.counters()["wait.started"] == 0 {
            tokio::task::yield_now().await;
        }
        apply(&running, r#"{"do": "rotate"}"#);
    };
    let (answer, ()) =
        tokio::time::timeout(LONG, async { tokio::join!(poll, rotate) }).await.expect("in time");
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, &answer.json()["generation"]), (200, &2.into()));
    let begun = Instant::now();
    let held = [TOKEN, ("If-None-Match", "\"g2\"")];
    let url = format!("{}?wait=1", running.set_url());
    assert_eq!(ask("GET", &url, &held, "").await.expect("an answer").status, 304);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let url = format!("{}?wait=56", running.set_url());
    assert_eq!(ask("GET", &url, &held, "").await.expect("an answer").status, 400);
    let counters = running.counters();
    assert_eq!((counters["wait.started"], counters["fetch.started"]), (2, 1));
}

#[tokio::test]
async fn what_is_not_served_is_not_there() {
    let running = start("{}").await;
    let (head, _) = listen(&running).await.expect("an answer");
    assert_eq!(head.status, 404);
    let url = format!("{}?wait=55", running.set_url());
    let held = [TOKEN, ("If-None-Match", "\"g1\"")];
    assert_eq!(ask("GET", &url, &held, "").await.expect("an answer").status, 304, "at once");
}

#[tokio::test]
async fn regions_have_listeners_of_their_own() {
    let running = start(r#"{"regions": 2}"#).await;
    let urls = running.set_urls();
    assert_eq!((urls.len(), &urls[0]), (2, &running.set_url()));
    assert_ne!(urls[0], urls[1]);
    apply(&running, r#"{"do": "endpoint", "fault": "outage", "region": 0}"#);
    assert!(ask("GET", &urls[0], &[TOKEN], "").await.is_none());
    let answer = ask("GET", &urls[1], &[TOKEN], "").await.expect("an answer");
    assert_eq!(answer.json()["lineage"], "a1");
    let counters = running.counters();
    assert_eq!((counters["fetch.region.0"], counters["fetch.region.1"]), (1, 1));
    assert!(
        Endpoint::start(serde_json::from_str(r#"{"regions": 5}"#).expect("a world")).await.is_err()
    );
}
