//! A malicious endpoint and a malicious API: whatever they say, a client ends in time and in bounded
//! memory with a typed error, prints no secret, and goes on with what it has.
//!
//! All attacks of a list run at once, so that a list takes as long as its slowest one: the timeout. One
//! list runs at a time: what costs the processor in one must not look slow in another.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "hostile/attacks.rs"]
mod attacks;
#[cfg(feature = "http2")]
#[path = "hostile/http2.rs"]
mod http2;
#[path = "hostile/server.rs"]
mod server;

use std::time::Duration;

use futures_util::{StreamExt, future::join_all, stream};
use keyswap::{
    Client, Credential, CredentialSet, Endpoint, Error, ErrorKind, KeySwap, Policy, Scheme, source,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use self::{
    attacks::{Attack, attacks, gzip_bomb},
    server::{Script, Server},
};

const BOOTSTRAP: &str = "b00tstrap-7f3a";
const KEY: &str = "m4terial-9b1c";
const DOCUMENT: &str = r#"{"set": "eu", "generation": 7, "current": {"id": "k_7", "material": {"key": "m4terial-9b1c"}}}"#;

/// How long a fetch, or a request until its response, may take.
const LIMIT: Duration = Duration::from_secs(4);
/// What the system and the client may take in of an answer that is refused. The system's buffers alone
/// are some megabytes.
const TAKEN: u64 = 16 * 1024 * 1024;
/// How long it may take at most, on a machine that is busy with other tests.
const AT_MOST: Duration = Duration::from_secs(20);

/// Held by the list that runs.
static ALONE: Mutex<()> = Mutex::const_new(());

// ---- an endpoint ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_endpoint_does_to_the_transport_a_fetch_ends_and_changes_nothing() {
    let _alone = ALONE.lock().await;
    let fetches = attacks("200 OK", DOCUMENT)
        .into_iter()
        .map(|attack| async move { (attack.name, attack.waits, fetch(attack.script).await) });
    for (name, waits, (outcome, taken)) in join_all(fetches).await {
        assert!(waits || taken < TAKEN, "{name}: {taken}");
        assert_refused(name, waits, outcome);
    }
    assert_small();
}

#[cfg(feature = "http2")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_endpoint_does_over_http2_a_fetch_ends_and_changes_nothing() {
    let _alone = ALONE.lock().await;
    let fetches = http2::attacks().into_iter().map(|attack| async move {
        let (url, authority) = http2::serve(http2::good(DOCUMENT), attack.script).await;
        let endpoint = Endpoint::new(url).unwrap().root_certificates(authority.as_bytes()).unwrap();
        (attack.name, attack.waits, refresh(endpoint).await)
    });
    for (name, waits, outcome) in join_all(fetches).await {
        assert_refused(name, waits, outcome);
    }
    assert_small();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_endpoint_writes_a_document_is_refused_at_once() {
    let _alone = ALONE.lock().await;
    let around = |inside: &str| DOCUMENT.replacen('{', &format!("{{{inside}, "), 1);
    let many = |one: &str, count| vec![one; count].join(",");
    let credential = r#"{"id": "k_6", "material": {"key": "m4terial-9b1c"}}"#;
    let documents = [
        ("arrays in arrays", "[".repeat(60_000)),
        ("objects in objects", r#"{"a":"#.repeat(12_000)),
        (
            "nesting that nobody reads",
            around(&format!(r#""x": {}{}"#, "[".repeat(20_000), "]".repeat(20_000))),
        ),
        ("a number of 60,000 digits", DOCUMENT.replace('7', &"7".repeat(60_000))),
        ("a number beyond every number", DOCUMENT.replace('7', "1e999999999")),
        ("a generation below zero", DOCUMENT.replace(": 7", ": -7")),
        ("a generation of halves", DOCUMENT.replace(": 7", ": 7.5")),
        (
            "a thousand previous credentials",
            around(&format!(r#""previous": [{}]"#, many(credential, 1_000))),
        ),
        ("a field a thousand times", format!("{{{}}}", many(r#""generation": 8"#, 1_000))),
        ("half a letter", DOCUMENT.replace("eu", r"\ud800")),
        ("a key that is a list", DOCUMENT.replace(r#""m4terial-9b1c""#, r#"["m4terial-9b1c"]"#)),
        ("nothing", String::new()),
        ("null", "null".into()),
        ("a list", "[]".into()),
        ("zeros", "\0".repeat(60_000)),
        ("two documents", DOCUMENT.repeat(2)),
    ];
    let answers = documents.map(|(name, document)| (name, Script::says(ok("", &document))));
    let bombs = [("a bomb", bomb(64 * 1024 * 1024)), ("a small bomb", bomb(8 * 1024 * 1024))];
    let answers = answers.into_iter().chain(bombs);
    let fetches = answers.map(|(name, script)| async move { (name, fetch(script).await) });
    for (name, (outcome, _)) in join_all(fetches).await {
        let error = outcome.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Malformed, "{name}: {error}");
    }
    assert_small();
}

#[track_caller]
fn assert_refused(name: &str, waits: bool, outcome: Result<(), Error>) {
    let error = outcome.expect_err(name);
    let expected: &[ErrorKind] = match waits {
        true => &[ErrorKind::Timeout],
        false => &[ErrorKind::Malformed, ErrorKind::Unavailable],
    };
    assert!(expected.contains(&error.kind()), "{name}: {error}");
}

/// So many zeros, compressed a hundredfold and more, that nobody asked for.
fn bomb(zeros: usize) -> Script {
    let bomb = gzip_bomb(zeros);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    );
    Script::says([head.into_bytes(), bomb].concat())
}

/// What a fetch comes to if it is answered so, and how much of the answer was taken. What the handle held
/// before, it holds after it.
async fn fetch(script: Script) -> (Result<(), Error>, u64) {
    let good = Script::says(ok("", DOCUMENT));
    let server = Server::start(move |nth, _| if nth == 0 { good.clone() } else { script.clone() });
    let server = server.await;
    let endpoint = Endpoint::new(format!("{}/v1/sets/eu", server.origin)).unwrap();
    (refresh(endpoint).await, server.taken())
}

async fn refresh(endpoint: Endpoint) -> Result<(), Error> {
    let endpoint = endpoint.bootstrap(BOOTSTRAP).timeout(LIMIT);
    let keys = KeySwap::follow(endpoint).policy(policy()).await.unwrap();
    let outcome = timeout(AT_MOST, keys.refresh()).await.expect("it ends in time");
    assert_eq!(keys.current().unwrap().reveal("key"), Some(KEY));
    outcome.map(drop).inspect_err(assert_hidden)
}

/// Hints may make it ask, as often as its floor lets it, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_stream_of_events_says_fetches_go_on_at_their_pace() {
    let _alone = ALONE.lock().await;
    let says = || Script::says("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
    let event = |generation: u64, urgency: &str| {
        format!(
            "event: changed\ndata: {{\"generation\":{generation},\"urgency\":\"{urgency}\"}}\n\n"
        )
    };
    let tick = Duration::from_millis(20);
    let streams = [
        ("events without end", says().endless(event(8, "normal"))),
        ("urgent events without end", says().endless(event(8, "immediate"))),
        ("revocations without end", says().endless("event: revoked\ndata: {}\n\n")),
        ("generations beyond every number", says().endless(event(u64::MAX, "immediate"))),
        ("events of one letter", says().endless("data:x\n\n")),
        ("lines without end", says().endless("\n")),
        ("comments without end", says().endless(": x\n")),
        ("one line without end", says().endless("x")),
        ("one event without end", says().endless("data: x\n")),
        ("an event by drips", says().endless("data: x").each(tick)),
        ("waits without end", says().endless("retry: 0\n")),
        ("no stream, without end", Script::says("").endless("HTTP/1.1 103 X\r\n\r\n")),
    ];
    let follows = streams.map(|(name, script)| async move {
        let document = DOCUMENT.replacen('{', r#"{"levels": ["events"], "#, 1);
        let good = Script::says(ok("", &document));
        let server = Server::start(move |_, head| match head.contains("/events") {
            true => script.clone(),
            false => good.clone(),
        });
        let server = server.await;
        let endpoint = Endpoint::new(format!("{}/v1/sets/eu", server.origin)).unwrap();
        let paced = r#"{"fetch_floor": 0.5, "fetch_floor_min": 0.5}"#;
        let keys = KeySwap::follow(endpoint.bootstrap(BOOTSTRAP));
        let keys = keys.policy(serde_json::from_str(paced).unwrap()).await.unwrap();
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            let asked = Instant::now();
            timeout(AT_MOST, keys.refresh()).await.expect(name).expect(name);
            // Several floods at once are much for a machine; without their bounds it is never.
            assert!(asked.elapsed() < AT_MOST / 2, "{name}: {:?}", asked.elapsed());
            tokio::time::sleep(tick).await;
        }
        let fetches = server.requests().iter().filter(|head| !head.contains("/events")).count();
        let most = 3 + began.elapsed().as_millis() / 500;
        assert!(fetches as u128 <= most, "{name}: {fetches} fetches");
        assert_eq!(keys.current().unwrap().reveal("key"), Some(KEY), "{name}");
    });
    // A few at a time: those who write without end leave a machine little else to do.
    stream::iter(follows).buffer_unordered(4).collect::<Vec<_>>().await;
    assert_small();
}

// ---- an API ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_api_does_to_the_transport_a_request_ends() {
    let _alone = ALONE.lock().await;
    let requests = attacks("200 OK", "{}").into_iter().map(|attack| async move {
        let Attack { name, script, waits } = attack;
        let server = Server::start(move |_, _| script.clone()).await;
        let (client, keys) = client(&server.origin).await;
        let began = Instant::now();
        let outcome = timeout(AT_MOST, client.get("/v1/price").send()).await.expect(name);
        match outcome {
            // A body without end is the caller's to read, and nobody reads ahead of it.
            Ok(mut response) => {
                assert!(response.status() == 200 || response.status() == 101, "{name}");
                let read = timeout(LIMIT, async {
                    let mut length = 0;
                    while let Some(chunk) = response.chunk().await? {
                        length += chunk.len();
                        if length > 1024 * 1024 {
                            break;
                        }
                    }
                    Ok::<_, Error>(())
                });
                if let Ok(Err(error)) = read.await {
                    assert_eq!(error.kind(), ErrorKind::Body, "{name}");
                    assert_hidden(&error);
                }
            }
            Err(error) => {
                let expected = if waits { ErrorKind::Timeout } else { ErrorKind::Transport };
                assert_eq!(error.kind(), expected, "{name}: {error}");
                assert!(waits || began.elapsed() < LIMIT, "{name}");
                assert_hidden(&error);
            }
        }
        assert_eq!(server.requests().len(), 1, "{name} is not asked again");
        assert_eq!(keys.stats().counts.rejections, 0, "{name} says nothing about the key");
    });
    join_all(requests).await;
    assert_small();
}

/// The body of a rejection is nobody's to wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_whose_body_never_ends_holds_nobody_up() {
    let _alone = ALONE.lock().await;
    let good = Script::says(ok("", "{}"));
    let requests = attacks("401 Unauthorized", "{}").into_iter().map(|attack| {
        let good = good.clone();
        async move {
            let Attack { name, script, waits } = attack;
            let server = Server::start(move |_, head| match head.contains("older-") {
                true => good.clone(),
                false => script.clone(),
            });
            let (client, _keys) = client(&server.await.origin).await;
            match timeout(AT_MOST, client.get("/v1/price").send()).await.expect(name) {
                Ok(response) => assert!(matches!(response.status().as_u16(), 101 | 200), "{name}"),
                Err(error) => {
                    let expected = if waits { ErrorKind::Timeout } else { ErrorKind::Transport };
                    assert_eq!(error.kind(), expected, "{name}: {error}");
                    assert_hidden(&error);
                }
            }
        }
    });
    join_all(requests).await;
    assert_small();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_redirects_without_end_or_to_nowhere_gets_a_bounded_answer() {
    let _alone = ALONE.lock().await;
    let endless = Server::start(|_, _| Script::says(redirect("/v1/price"))).await;
    let (client, _keys) = client(&endless.origin).await;
    let response = client.get("/v1/price").send().await.unwrap();
    assert_eq!(response.status(), 307, "the last redirect is the answer");
    assert_eq!(endless.requests().len(), 11, "ten are followed");
    let long = format!("/{}", "x".repeat(60_000));
    for location in [
        "http://[::1",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:,x",
        "//",
        "\\\\x",
        &long,
    ] {
        let to = redirect(location);
        let server = Server::start(move |_, _| Script::says(&*to)).await;
        let (client, _keys) = self::client(&server.origin).await;
        let outcome = timeout(AT_MOST, client.get("/v1/price").send()).await.expect(location);
        match outcome {
            Ok(response) => assert_eq!(response.status(), 307, "{location}"),
            Err(error) => assert_hidden(&error),
        }
        assert!(server.requests().len() <= 11);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_always_rejects_is_sent_at_most_four_requests() {
    let _alone = ALONE.lock().await;
    let rejects = "HTTP/1.1 401 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let server = Server::start(move |_, _| Script::says(rejects)).await;
    let (client, _keys) = client(&server.origin).await;
    let response = timeout(AT_MOST, client.get("/v1/price").send()).await.unwrap().unwrap();
    assert_eq!(response.status(), 401);
    assert!(server.requests().len() <= 4, "{}", server.requests().len());
}

fn redirect(location: &str) -> String {
    format!(
        "HTTP/1.1 307 X\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

/// A client of this API whose keys are `newer-` and `older-` and the material.
async fn client(origin: &str) -> (Client, KeySwap) {
    let key = |id: &str| Credential::new(id, format!("{id}-{KEY}"));
    let set = CredentialSet::new(key("newer")).with_previous(key("older")).with_generation(2);
    let keys = KeySwap::follow(source::from_fn(move || std::future::ready(Ok(set.clone()))));
    let keys = keys.policy(policy()).await.unwrap();
    let client =
        Client::builder(&keys).base_url(origin).unwrap().scheme(Scheme::header("x-api-key"));
    (client.timeout(LIMIT).no_retries().build().unwrap(), keys)
}

fn policy() -> Policy {
    serde_json::from_str(
        r#"{"fetch_floor": 0.01, "fetch_floor_min": 0.01, "fetch_timeout": 10, "forced_every": 0.05,
            "wait": 1, "rotation_pause": 0.02, "backoff_min": 30, "backoff_max": 60}"#,
    )
    .unwrap()
}

fn ok(fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[track_caller]
fn assert_hidden(error: &Error) {
    let shown = format!("{error} {error:?}");
    for secret in [BOOTSTRAP, KEY] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// The most memory that this process ever held, where the system says. All attacks share it.
fn assert_small() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 128 * 1024, "{peak} kB");
}
