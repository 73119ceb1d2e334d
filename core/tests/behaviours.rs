//! With keyswap added, everything is as before, but for the key: each behaviour, with each adapter and beside its
//! library alone.
//!
//! `KEYSWAP_BEHAVIOURS=FILE` writes what came of it, a line of JSON for each behaviour and adapter. What a library
//! cannot do is what a test returns, once it has seen the library alone fail in the same way.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "behaviours/adapters.rs"]
mod adapters;
#[path = "behaviours/environment.rs"]
mod environment;
#[path = "behaviours/wire.rs"]
mod wire;

use std::{
    hash::{Hash, Hasher},
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use keyswap::{Credential, CredentialSet, KeySwap, source};
use serde_json::json;
use tokio::sync::Notify;

use adapters::{Adapter, Ask, Body, EVERY, NAME, Settings};
use wire::{Heard, Piece, Wire, answer};

/// Why the library beneath cannot.
type Limit = Option<&'static str>;

/// A row of the page: the test with each adapter.
async fn each<F>(behaviour: &str, test: fn(Adapter) -> F)
where
    F: Future<Output = Limit> + Send + 'static,
{
    let mut failed = Vec::new();
    for adapter in EVERY {
        // In a task of its own, so that one that panics or hangs is noted, and the others are tested.
        let bounded = tokio::time::timeout(Duration::from_secs(60), test(adapter));
        let outcome = tokio::spawn(async { bounded.await.expect("it hangs") }).await;
        note(adapter, behaviour, outcome.as_ref().ok().copied());
        if outcome.is_err() {
            failed.push(adapter);
        }
    }
    assert!(failed.is_empty(), "{behaviour}: {failed:?}");
}

fn note(adapter: Adapter, behaviour: &str, passed: Option<Limit>) {
    let Some(path) = std::env::var_os("KEYSWAP_BEHAVIOURS") else { return };
    let line = json!({
        "adapter": adapter.name(),
        "behaviour": behaviour,
        "outcome": if passed.is_some() { "passed" } else { "failed" },
        "limit": passed.flatten(),
    });
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // In one piece: tests run beside one another.
    file.unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Holds a key that the API refuses, and then one that it takes.
async fn rotating() -> KeySwap {
    followed(&["bad", "good"]).await
}

/// Holds the first of these, then the next with each fetch.
async fn followed(keys: &'static [&'static str]) -> KeySwap {
    waiting(keys, 5.0).await
}

/// And so long, in seconds, a request waits for what a fetch brings.
async fn waiting(keys: &'static [&'static str], wait: f64) -> KeySwap {
    let asked = Arc::new(AtomicUsize::new(0));
    let source = source::from_fn(move || {
        let index = asked.fetch_add(1, Ordering::SeqCst).min(keys.len() - 1);
        let credential = Credential::new(format!("k{index}"), keys[index]);
        let set = CredentialSet::new(credential).with_generation(index as u64 + 1);
        std::future::ready(Ok(set))
    });
    let policy =
        json!({"fetch_floor": 0.02, "fetch_floor_min": 0.02, "rotation_pause": 0.02, "wait": wait});
    KeySwap::follow(source).policy(serde_json::from_value(policy).unwrap()).await.unwrap()
}

/// What refuses the key `bad` in this way.
fn refusing(
    refusal: impl Fn() -> Vec<Piece> + Send + Sync + 'static,
) -> impl Fn(&Heard) -> Vec<Piece> + Send + Sync + 'static {
    move |heard| match heard.header(NAME) {
        Some("bad") => refusal(),
        _ => answer(200, "", b"taken"),
    }
}

fn say(text: &str) -> Piece {
    Piece::Say(text.as_bytes().to_vec())
}

#[tokio::test]
async fn sent_again() {
    each("a body that can be had again is sent again", |adapter| async move {
        for body in [Body::Bytes, Body::Text, Body::Json] {
            let api = Wire::new(refusing(|| answer(401, "", b"no"))).await;
            let http = adapter.keyed(&rotating().await, &api.url, Settings::default());
            let ask = Ask::post(body);
            assert_eq!(http.send(&api.url, &ask).await.unwrap().status(), 200);
            let alone = adapter.alone(Settings::default());
            alone.send(&api.url, &ask.with_key("good")).await.unwrap();
            let [first, second, alone] = &api.heard()[..] else { panic!("{:?}", api.heard()) };
            assert!(first.header(NAME) == Some("bad") && second.header(NAME) == Some("good"));
            assert_eq!(first.but_for(NAME), second.but_for(NAME));
            assert_eq!(sorted(second), sorted(alone), "the library alone");
            assert!(second.body.ends_with(b"text") || second.body.ends_with(b"text\""));
        }
        None
    })
    .await;
}

/// In whatever order its headers were.
fn sorted(heard: &Heard) -> Heard {
    let mut sorted = Heard { connection: 0, ..heard.clone() };
    sorted.headers.sort();
    sorted
}

#[tokio::test]
async fn sent_once() {
    each("a body that can be had once is sent once", |adapter| async move {
        let api = Wire::new(refusing(|| answer(401, "", b"no"))).await;
        let http = adapter.keyed(&rotating().await, &api.url, Settings::default());
        let reply = http.send(&api.url, &Ask::post(Body::Stream)).await.unwrap();
        assert_eq!((reply.status(), reply.whole().await.unwrap()), (401, b"no".to_vec()));
        let alone = adapter.alone(Settings::default());
        let ask = Ask::post(Body::Stream).with_key("bad");
        assert_eq!(alone.send(&api.url, &ask).await.unwrap().status(), 401);
        let [keyed, alone] = &api.heard()[..] else { panic!("{:?}", api.heard()) };
        assert_eq!(sorted(keyed), sorted(alone), "the library alone");
        assert_eq!(keyed.body, b"one part after another");
        None
    })
    .await;
}

#[tokio::test]
async fn given_up() {
    const CHUNKED: &str = "HTTP/1.1 401 No\r\ntransfer-encoding: chunked\r\n\r\n";
    const LONG: &str = "HTTP/1.1 401 No\r\ncontent-length: 1000\r\n\r\n";
    const BLOCK: &[u8] = b"10\r\nxxxxxxxxxxxxxxxx\r\n";
    /// In each of these ways; with `Hang` and `Repeat` the other side has to end it.
    fn refusal(kind: usize) -> Vec<Piece> {
        let short = say("HTTP/1.1 401 No\r\ncontent-length: 100\r\n\r\nshort");
        match kind {
            0 => vec![short, Piece::Hang],
            1 => vec![short, Piece::End],
            2 => vec![say(LONG), Piece::Repeat(b"x", Duration::from_millis(20))],
            3 => vec![say(CHUNKED), Piece::Repeat(b"1\r\nx\r\n", Duration::from_millis(20))],
            4 => vec![say(CHUNKED), Piece::Repeat(BLOCK, Duration::ZERO)],
            _ => vec![say("HTTP/1.1 401 No\r\nconnection: close\r\n\r\nto the"), Piece::Hang],
        }
    }
    each("a rejected response that does not end is given up", |adapter| async move {
        for kind in 0..6 {
            let api = Wire::new(refusing(move || refusal(kind))).await;
            let http = adapter.keyed(&rotating().await, &api.url, Settings::default());
            let began = Instant::now();
            let reply = http.send(&api.url, &Ask::post(Body::Text)).await.unwrap();
            assert_eq!((reply.status(), reply.whole().await.unwrap()), (200, b"taken".to_vec()));
            let took = began.elapsed();
            assert!(api.heard().len() == 2 && took < Duration::from_secs(2), "{took:?}");
            api.ended(1).await;
        }
        None
    })
    .await;
}

#[tokio::test]
async fn kept() {
    each(
        "a small rejection keeps its connection, and is returned if all is in vain",
        |adapter| async move {
            let sends = AtomicUsize::new(0);
            let refusal = move || format!("no {}", sends.fetch_add(1, Ordering::SeqCst));
            let api = Wire::new(move |_| answer(401, "", refusal().as_bytes())).await;
            let keys = waiting(&["bad", "good"], 0.3).await;
            let http = adapter.keyed(&keys, &api.url, Settings::default());
            let reply = http.send(&api.url, &Ask::default()).await.unwrap();
            assert_eq!((reply.status(), reply.whole().await.unwrap()), (401, b"no 0".to_vec()));
            let heard = api.heard();
            assert!(heard.len() > 1 && heard.iter().all(|it| it.connection == 0), "{heard:?}");
            None
        },
    )
    .await;
}

fn gzipped(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Enough of it to tell two apart, and to read.
fn shown(body: &[u8]) -> (usize, u64, String) {
    let mut hasher = std::hash::DefaultHasher::new();
    body.hash(&mut hasher);
    let begin = body.get(..64).unwrap_or(body);
    (body.len(), hasher.finish(), String::from_utf8_lossy(begin).into_owned())
}

#[tokio::test]
async fn decoded() {
    const ROW: &str =
        "a classifier sees the body as the library decodes it, and the program all of it";
    each(ROW, |adapter| async move {
        let tail: Vec<u8> = (0..50_000_u32)
            .flat_map(|number| (number.wrapping_mul(number)).to_le_bytes())
            .collect();
        let whole = [br#"{"code": "ok"}"#, &tail[..]].concat();
        let api = Wire::new(move |heard| {
            let code = if heard.header(NAME) == Some("bad") { "bad_key" } else { "ok" };
            let body = [format!(r#"{{"code": "{code}"}}"#).as_bytes(), &tail].concat();
            // What nobody asks for is not sent.
            match heard.header("accept-encoding") {
                Some(asked) if asked.contains("gzip") => {
                    answer(200, "content-encoding: gzip\r\n", &gzipped(&body))
                }
                _ => answer(200, "", &body),
            }
        })
        .await;
        let settings = Settings { classifies: true, ..Settings::default() };
        let http = adapter.keyed(&rotating().await, &api.url, settings);
        let reply = http.send(&api.url, &Ask::default()).await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(shown(&reply.whole().await.unwrap()), shown(&whole));
        let alone = adapter.alone(settings);
        let reply = alone.send(&api.url, &Ask::default().with_key("good")).await.unwrap();
        assert_eq!(shown(&reply.whole().await.unwrap()), shown(&whole), "the library alone");
        let [_, keyed, alone] = &api.heard()[..] else { panic!("{:?}", api.heard()) };
        assert_eq!(sorted(keyed), sorted(alone), "the library alone");
        assert_eq!(keyed.header("accept-encoding").is_some(), adapter != Adapter::Tower);
        None
    })
    .await;
}

#[tokio::test]
async fn streamed() {
    each("a streamed response arrives as it is sent, looked into or not", |adapter| async move {
        for classifies in [false, true] {
            let seen = Arc::new(Notify::new());
            let told = seen.clone();
            let api = Wire::new(move |_| {
                let begin = format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\n{}\r\n",
                    "x".repeat(64)
                );
                vec![say(&begin), Piece::Await(told.clone()), say("3\r\nend\r\n0\r\n\r\n")]
            })
            .await;
            let settings = Settings { classifies, ..Settings::default() };
            let keys = followed(&["good"]).await;
            for http in [adapter.keyed(&keys, &api.url, settings), adapter.alone(settings)] {
                let mut reply = http.send(&api.url, &Ask::default()).await.unwrap();
                let part = tokio::time::timeout(Duration::from_secs(5), reply.part()).await;
                let part = part.expect("the beginning did not arrive before the end was sent");
                assert_eq!(part.unwrap().unwrap(), "x".repeat(64));
                seen.notify_one();
                assert_eq!(reply.whole().await.unwrap(), b"end");
            }
        }
        None
    })
    .await;
}

#[tokio::test]
async fn case() {
    each("names of headers keep their case on HTTP/1.1", |adapter| async move {
        let api = Wire::new(|_| answer(200, "", b"")).await;
        let keys = followed(&["good"]).await;
        let mut names = Vec::new();
        for title_case in [false, true] {
            let settings = Settings { title_case, ..Settings::default() };
            let ask = Ask { headers: vec![("X-Of-THE-Program", "1")], ..Ask::default() };
            adapter.keyed(&keys, &api.url, settings).send(&api.url, &ask).await.unwrap();
            adapter.alone(settings).send(&api.url, &ask.with_key("good")).await.unwrap();
            let heard = api.heard();
            let [.., keyed, alone] = &heard[..] else { panic!("{heard:?}") };
            assert_eq!(sorted(keyed), sorted(alone), "the library alone");
            names.extend(alone.headers.iter().map(|(name, _)| name.clone()));
        }
        // What a program can choose is one case for all names, and that counts for the key, too.
        for written in ["x-mexc-apikey", "X-Mexc-Apikey", "x-of-the-program", "X-Of-The-Program"] {
            assert!(names.iter().any(|name| name == written), "{names:?}");
        }
        Some("hyper, beneath it, knows no case: it writes all names in lower case, or as titles if it is told to")
    })
    .await;
}

#[tokio::test]
async fn own_headers() {
    each("headers of the program's own are sent as they are", |adapter| async move {
        let api = Wire::new(refusing(|| answer(401, "", b"no"))).await;
        let headers = vec![
            ("user-agent", "own/1"),
            ("accept", "text/own"),
            ("authorization", "Bearer own"),
            ("x-own", "a, b;c=\"d\""),
        ];
        let ask = Ask { headers, ..Ask::post(Body::Text) };
        let http = adapter.keyed(&rotating().await, &api.url, Settings::default());
        http.send(&api.url, &ask).await.unwrap();
        let alone = adapter.alone(Settings::default());
        alone.send(&api.url, &ask.clone().with_key("good")).await.unwrap();
        let [_, keyed, alone] = &api.heard()[..] else { panic!("{:?}", api.heard()) };
        assert_eq!(sorted(keyed), sorted(alone), "the library alone");
        assert!(ask.headers.iter().all(|(name, value)| keyed.header(name) == Some(*value)));
        None
    })
    .await;
}

#[tokio::test]
async fn redirects() {
    each("redirects are followed as the library follows them", |adapter| async move {
        let api = Wire::new(|heard| match heard.path().strip_prefix("/to/") {
            Some(status) => answer(status.parse().unwrap(), "location: /there?a=1\r\n", b""),
            None => answer(200, "", b"there"),
        })
        .await;
        let http = adapter.keyed(&followed(&["good"]).await, &api.url, Settings::default());
        let alone = adapter.alone(Settings::default());
        let mut most = 0;
        for status in [300, 301, 302, 303, 304, 307, 308] {
            for method in [Method::GET, Method::POST, Method::PUT, Method::HEAD] {
                let body = if method == Method::GET { Body::None } else { Body::Text };
                let body = if method == Method::HEAD { Body::None } else { body };
                let ask = Ask { method, body, ..Ask::default() };
                let url = format!("{}/to/{status}", api.url);
                let before = api.heard().len();
                let keyed = http.send(&url, &ask).await.unwrap();
                let between = api.heard().len();
                let reply = alone.send(&url, &ask.with_key("good")).await.unwrap();
                assert_eq!(keyed.status(), reply.status(), "{status}");
                // But for the Referer, which reqwest alone sends, and which could tell a key.
                let hops = |heard: &[Heard]| {
                    heard.iter().map(|hop| sorted(&hop.but_for("referer"))).collect::<Vec<_>>()
                };
                let heard = api.heard();
                assert_eq!(hops(&heard[before..between]), hops(&heard[between..]), "{status}");
                assert!(heard[before..between].iter().all(|hop| hop.header("referer").is_none()));
                most = most.max(between - before);
                keyed.whole().await.unwrap();
                reply.whole().await.unwrap();
            }
        }
        assert_eq!(most, if adapter == Adapter::Tower { 1 } else { 2 });
        (adapter == Adapter::Tower).then_some("hyper follows none: a layer outside does")
    })
    .await;
}

#[tokio::test]
async fn cookies() {
    each("cookies are kept as the library keeps them", |adapter| async move {
        let api = Wire::new(|_| answer(200, "set-cookie: a=1\r\nset-cookie: b=2\r\n", b"")).await;
        let http = adapter.keyed(&followed(&["good"]).await, &api.url, Settings::default());
        let alone = adapter.alone(Settings::default());
        let own = Ask { headers: vec![("cookie", "own=1")], ..Ask::default() };
        for ask in [Ask::default(), own] {
            for (http, ask) in [(&http, ask.clone()), (&alone, ask.with_key("good"))] {
                let reply = http.send(&api.url, &ask).await.unwrap();
                let set: Vec<_> = reply.headers().get_all("set-cookie").iter().collect();
                assert_eq!(set, ["a=1", "b=2"]);
            }
        }
        let heard = api.heard();
        let sent: Vec<_> = heard.iter().map(|heard| heard.header("cookie")).collect();
        assert_eq!(sent, [None, None, Some("own=1"), Some("own=1")], "neither has a jar");
        None
    })
    .await;
}

#[tokio::test]
async fn timeout() {
    each("a timeout ends the request", |adapter| async move {
        let api = Wire::new(|_| vec![Piece::Hang]).await;
        let http = adapter.keyed(&followed(&["good"]).await, &api.url, Settings::default());
        let ask = Ask { timeout: Some(Duration::from_millis(100)), ..Ask::default() };
        for (count, http) in [(1, http), (2, adapter.alone(Settings::default()))] {
            let began = Instant::now();
            let sent = http.send(&api.url, &ask);
            let sent = tokio::time::timeout(Duration::from_millis(900), sent).await;
            if adapter == Adapter::Tower {
                assert!(sent.is_err(), "nothing else ended it");
            } else {
                let error = sent.unwrap().err().unwrap();
                assert!(error.contains("timed out") || error.contains("within 0.1 s"), "{error}");
                assert!(began.elapsed() >= Duration::from_millis(95));
            }
            api.ended(count).await;
        }
        (adapter == Adapter::Tower).then_some("hyper has no timeouts: a layer outside does")
    })
    .await;
}

#[tokio::test]
async fn cancelled() {
    each("a request that is given up ends its connection", |adapter| async move {
        let api = Wire::new(|heard| match heard.path() {
            "/hang" => vec![Piece::Hang],
            "/begin" => vec![say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegin"), Piece::Hang],
            _ => answer(200, "", b"taken"),
        })
        .await;
        let keyed = adapter.keyed(&followed(&["good"]).await, &api.url, Settings::default());
        for (done, http) in [(0, keyed), (2, adapter.alone(Settings::default()))] {
            let url = format!("{}/hang", api.url);
            let ask = Ask::default();
            let sent = tokio::time::timeout(Duration::from_millis(50), http.send(&url, &ask));
            assert!(sent.await.is_err());
            api.ended(done + 1).await;
            drop(http.send(&format!("{}/begin", api.url), &ask).await.unwrap());
            api.ended(done + 2).await;
            assert_eq!(http.send(&api.url, &ask).await.unwrap().status(), 200);
        }
        None
    })
    .await;
}
