//! What a source of each kind may live through: what is held stays, what is told is right, and it recovers.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use keyswap::{
    Client, ErrorKind, Event, Events, KeySwap, Policy, Scheme, Source,
    source::{Command, Json},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use crate::sources::{folder::Folder, server::answer};

/// A JSON endpoint at `/key` and an API at any other path, which can be changed while they run.
#[derive(Default)]
struct World {
    /// What the endpoint says, or nothing at all.
    says: Option<String>,
    /// The keys that the API accepts.
    accepted: Vec<String>,
}

async fn serve(world: Arc<Mutex<World>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let world = world.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let says = {
                    let world = world.lock().unwrap();
                    let shown = head.lines().find_map(|line| line.strip_prefix("x-api-key: "));
                    match head.starts_with("GET /key ") {
                        true => world.says.clone(),
                        false => {
                            let is_good =
                                shown.is_some_and(|it| world.accepted.contains(&it.into()));
                            let status = if is_good { 200 } else { 401 };
                            Some(answer(status, "connection: close\r\n", ""))
                        }
                    }
                };
                match says {
                    Some(says) => drop(stream.write_all(says.as_bytes()).await),
                    None => std::future::pending().await,
                }
            });
        }
    });
    url
}

fn policy() -> Policy {
    let (least, little) = (Duration::from_millis(1), Duration::from_millis(50));
    Policy::default()
        .poll(little)
        .fetch_floor(least)
        .fetch_floor_min(least)
        .backoff_min(little)
        .backoff_max(little)
        .slow_retry_min(little)
        .slow_retry_max(little)
        .retry_after_min(little)
        .retry_after_max(Duration::from_millis(200))
        .fetch_timeout(Duration::from_millis(300))
}

async fn next(events: &mut Events, is: impl Fn(&Event) -> bool) -> Event {
    let limit = Duration::from_secs(20);
    let wanted = async {
        loop {
            let event = events.next().await.unwrap();
            if is(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(limit, wanted).await.expect("it is told")
}

/// Breaks a source in one way, sees that the key stays and what is told, and mends it.
async fn lives_through(
    keys: &KeySwap,
    break_it: impl FnOnce(),
    kind: ErrorKind,
    words: &str,
    mend_it: impl FnOnce(),
) {
    let held = keys.current().unwrap().id().to_owned();
    let mut events = keys.events();
    break_it();
    let failure = next(&mut events, |event| matches!(event, Event::FetchFailed { .. })).await;
    let Event::FetchFailed { error, retry_in, .. } = failure else { panic!() };
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{words}: {error}");
    assert_eq!(keys.current().unwrap().id(), held);
    mend_it();
    let mended = Instant::now();
    next(&mut events, |event| matches!(event, Event::Recovered { .. })).await;
    // One wait, and one fetch that had begun before: the rest is for slow machines.
    let most = retry_in.max(Duration::from_millis(200)) + Duration::from_secs(5);
    assert!(mended.elapsed() < most, "{:?}", mended.elapsed());
    assert_eq!(keys.current().unwrap().id(), held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_endpoint_may_fail_in_every_way() {
    let good = answer(200, "connection: close\r\n", r#"{"api_key": "k1"}"#);
    let world = Arc::new(Mutex::new(World { says: Some(good.clone()), ..World::default() }));
    let url = serve(world.clone()).await;
    let json = Json::new(format!("{url}/key")).unwrap().key("/api_key");
    let keys = KeySwap::follow(json).policy(policy()).await.unwrap();
    let says = |says: Option<String>| {
        let world = world.clone();
        move || world.lock().unwrap().says = says
    };
    use ErrorKind::*;
    for (fault, kind, words) in [
        (Some(String::new()), Unavailable, "broke before the answer was complete"),
        (Some(answer(503, "", "")), Unavailable, "cannot answer now (503)"),
        (None, Timeout, "did not answer within"),
        (Some(answer(200, "", "<html>")), Malformed, "it is not JSON"),
        (Some(answer(429, "retry-after: 1\r\n", "")), Throttled, "wants fewer requests"),
        (Some(answer(403, "", "")), Forbidden, "have the provider allow it"),
        (Some(answer(401, "", "")), BootstrapRejected, "pass one as the option `bootstrap`"),
        (Some(answer(404, "", "")), UnknownSet, "is not known (404)"),
    ] {
        lives_through(&keys, says(fault), kind, words, says(Some(good.clone()))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_may_fail_in_every_way() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let folder = Folder::new();
    let program = folder.path("program");
    let write = |script: &str, mode: u32| {
        let new = folder.write("program", &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
    };
    write("echo k1", 0o755);
    let keys = KeySwap::follow(Command::new([&program])).policy(policy()).await.unwrap();
    use ErrorKind::*;
    for (script, mode, kind, words) in [
        ("exit 3", 0o755, SourceFailed, "ended with code 3"),
        ("sleep 60", 0o755, Timeout, "and was killed: see what it waits for"),
        ("echo '{'", 0o755, Malformed, "printed what is no key"),
        ("echo k1", 0o644, InvalidConfig, "may not be executed"),
    ] {
        let mend = || write("echo k1", 0o755);
        lives_through(&keys, || write(script, mode), kind, words, mend).await;
    }
    let remove = || fs::remove_file(&program).unwrap();
    lives_through(&keys, remove, InvalidConfig, "was not found", || write("echo k1", 0o755)).await;
}

/// Keys rotate without an overlap, under callers that do not notice.
async fn rotates(source: impl Source, api: &str, rotate: impl Fn(&str)) {
    let policy = policy().forced_burst(50).fetch_timeout(Duration::from_secs(5));
    let keys = KeySwap::follow(source).policy(policy).await.unwrap();
    let client = Client::builder(&keys)
        .base_url(api)
        .unwrap()
        .scheme(Scheme::header("x-api-key"))
        .build()
        .unwrap();
    let mut callers = JoinSet::new();
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for _ in 0..8 {
        let (client, is_over) = (client.clone(), is_over.clone());
        callers.spawn(async move {
            let mut count = 0;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let status = client.get("/price").send().await.unwrap().status();
                assert_eq!(status, 200, "no caller sees a rotation");
                count += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            count
        });
    }
    for key in ["k2", "k3", "k4"] {
        tokio::time::sleep(Duration::from_millis(400)).await;
        rotate(key);
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    let counts = callers.join_all().await;
    assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
    assert_eq!(keys.current().unwrap().reveal("key"), Some("k4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_notices_that_the_key_of_a_json_endpoint_rotates() {
    let says = |key: &str| {
        let body = format!(r#"{{"api_key": "{key}", "expires_in": 3600}}"#);
        Some(answer(200, "connection: close\r\n", &body))
    };
    let world = World { says: says("k1"), accepted: vec!["k1".into()] };
    let world = Arc::new(Mutex::new(world));
    let url = serve(world.clone()).await;
    let json = Json::new(format!("{url}/key")).unwrap().key("/api_key");
    rotates(json, &url, |key| {
        let mut world = world.lock().unwrap();
        *world = World { says: says(key), accepted: vec![key.into()] };
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_notices_that_the_key_of_a_command_rotates() {
    let folder = Folder::new();
    let file = folder.write("key", "k1");
    let world = World { says: None, accepted: vec!["k1".into()] };
    let world = Arc::new(Mutex::new(world));
    let url = serve(world.clone()).await;
    rotates(Command::new(["cat".as_ref(), file.as_os_str()]), &url, |key| {
        folder.write("key", key);
        world.lock().unwrap().accepted = vec![key.into()];
    })
    .await;
}
