//! A real etcd, whose keys change, are forgotten and are deleted, and which is down, restarted and closed to strangers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

#[path = "../../../core/src/guide/examples/etcd.rs"]
#[allow(unreachable_pub, reason = "it is a page's")]
mod example;

use std::time::{Duration, Instant};

use keyswap::{ErrorKind, Event, KeySwap, Policy, source::etcd};
use keyswap_source_tests::{
    api::Api,
    etcd::Etcd,
    gate::{Does, Gate},
    load::{Load, until},
    process::free_port,
};

const NAME: &str = "/keys/trading";
const SOON: Duration = Duration::from_secs(10);

/// Nothing is polled: what is heard is heard by the watch. What fails is tried again at once.
fn quick() -> Policy {
    let millis = Duration::from_millis;
    Policy::default()
        .fetch_floor(millis(20))
        .fetch_floor_min(millis(20))
        .fetch_timeout(millis(600))
        .poll(millis(300_000))
        .backoff_min(millis(100))
        .backoff_max(millis(300))
        .backoff_max_urgent(millis(300))
        .slow_retry_min(millis(100))
        .slow_retry_max(millis(300))
        .retry_after_min(millis(100))
}

/// A log-in takes etcd 70 ms of a processor, which may have other work.
fn patient() -> Policy {
    quick().fetch_timeout(SOON)
}

fn key(url: impl AsRef<str>) -> etcd::Key {
    etcd::Key::new([url], NAME).expect("a key")
}

async fn follow(key: etcd::Key) -> KeySwap {
    KeySwap::follow(key).policy(quick()).await.expect("a set")
}

/// The newest key, and those before.
fn held(keys: &KeySwap) -> (String, Vec<String>) {
    let set = keys.set().expect("a set");
    let reveal = |it: &keyswap::Credential| it.reveal("key").expect("a key").to_owned();
    (reveal(set.primary().expect("a key")), set.previous().map(reveal).collect())
}

/// Why the next fetch fails. One that runs already, and would be joined, may not.
async fn refused(keys: &KeySwap) -> keyswap::Error {
    let end = Instant::now() + SOON;
    loop {
        match keys.refresh().await {
            Err(error) => return error,
            Ok(()) => assert!(Instant::now() < end, "it is not refused"),
        }
    }
}

async fn until_newest(keys: &KeySwap, wanted: &str) {
    until(&format!("{wanted} is the newest"), SOON, || held(keys).0 == wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_use_in_milliseconds_and_no_caller_notices() {
    let (etcd, api) = (Etcd::start().await, Api::start().await);
    api.accept(["k0"]);
    etcd.put(NAME, "k0").await;
    let keys = follow(key(etcd.url())).await;
    let load = Load::start(&keys, api.url(), 16);
    let mut took = Vec::new();
    for rotation in 1..=15 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let (old, new) = (format!("k{}", rotation - 1), format!("k{rotation}"));
        // Two in three overlap; the third cuts the old key off at once.
        if rotation % 3 > 0 {
            api.accept([&old, &new]);
        }
        let mut events = keys.events();
        etcd.put(NAME, &new).await;
        // It stands there now; the watch may have told before the writer heard.
        let began = Instant::now();
        api.accept([&new]);
        loop {
            match events.next().await.expect("an event") {
                Event::Promoted { .. } | Event::Swapped { .. } => break,
                _ => {}
            }
        }
        took.push(began.elapsed());
        assert_eq!(held(&keys), (new, vec![old]), "the value before is the fallback");
    }
    load.end().await;
    took.sort();
    println!("from the put to the swap: p50 {:?}, most {:?}", took[7], took[14]);
    assert!(took[7] < Duration::from_millis(50), "p50 {:?}", took[7]);
    let accepted = api.accepted();
    assert!((0..=15).all(|it| accepted.contains_key(&format!("k{it}"))), "{accepted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_is_the_revision_and_pieces_change_together() {
    let etcd = Etcd::start().await;
    etcd.put(NAME, r#"{"key": "k1", "secret": "s1"}"#).await;
    let second = etcd.put(NAME, r#"{"key": "k2", "secret": "s2"}"#).await;
    let keys = follow(key(etcd.url())).await;
    let set = keys.set().expect("a set");
    let newest = set.primary().expect("a key");
    assert_eq!((newest.id(), newest.version()), (&*second.to_string(), Some(newest.id())));
    assert_eq!(newest.reveal("secret"), Some("s2"));
    let before = set.previous().next().expect("one before");
    assert_eq!((before.id(), before.reveal("secret")), (&*(second - 1).to_string(), Some("s1")));
    // The same once more is no rotation.
    etcd.put(NAME, r#"{"secret": "s2", "key": "k2"}"#).await;
    until("it is seen", SOON, || keys.set().expect("a set").previous().len() == 0).await;
    etcd.put(NAME, r#"{"key": "k3", "secret": "s3"}"#).await;
    until_newest(&keys, "k3").await;
    // Nothing torn is taken.
    etcd.put(NAME, "{").await;
    until("what is no key is told", SOON, || keys.last_failure().is_some()).await;
    let failure = keys.last_failure().expect("a failure");
    assert_eq!(failure.kind(), ErrorKind::Malformed);
    assert!(failure.to_string().contains(NAME), "{failure}");
    assert_eq!(held(&keys).0, "k3");
}

#[tokio::test(flavor = "multi_thread")]
async fn pointers_lead_into_the_value() {
    let etcd = Etcd::start().await;
    etcd.put(NAME, "{").await;
    etcd.put(NAME, r#"{"api": {"token": "k1"}, "note": "x"}"#).await;
    let keys = follow(key(etcd.url()).key("/api/token")).await;
    assert_eq!(held(&keys), ("k1".into(), vec![]), "what was no key then is none now");
    let error = KeySwap::follow(key(etcd.url()).key("api")).await.expect_err("no pointer");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let error = KeySwap::follow(key(etcd.url()).user("bot")).await.expect_err("no password");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_takes_only_what_nobody_holds() {
    let etcd = Etcd::start().await;
    let gate = Gate::before(etcd.port()).await;
    etcd.put(NAME, "k1").await;
    let second = etcd.put(NAME, "k2").await;
    etcd.compact(second).await;
    let keys = follow(key(gate.url())).await;
    assert_eq!(held(&keys), ("k2".into(), vec![]), "etcd forgot the one before");
    gate.asked();
    keys.refresh().await.expect("it answers");
    let ranges = gate.asked().iter().filter(|it| it.contains("range")).count();
    assert_eq!(ranges, 1, "what etcd forgot is not asked for again");
    // The watch is cut off, and what it would have told is forgotten before it is back.
    gate.now(Does::Ends);
    for other in ["k3", "k4"] {
        etcd.put(NAME, other).await;
    }
    let fifth = etcd.put(NAME, "k5").await;
    etcd.compact(fifth).await;
    assert_eq!(held(&keys).0, "k2");
    gate.now(Does::Passes);
    until_newest(&keys, "k5").await;
    assert_eq!(held(&keys).1, Vec::<String>::new());
}

/// No fetch fails meanwhile, so nothing but the watch can tell.
#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_the_watch_was_cut_off_is_heard() {
    let etcd = Etcd::start().await;
    let gate = Gate::before(etcd.port()).await;
    etcd.put(NAME, "k1").await;
    let keys = follow(key(gate.url())).await;
    until("it is watched", SOON, || gate.asked().iter().any(|it| it.contains("watch"))).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.now(Does::Ends);
    etcd.put(NAME, "k2").await;
    gate.now(Does::Passes);
    until_newest(&keys, "k2").await;
    assert_eq!(keys.stats().counts.failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_survived_and_what_was_missed_is_heard() {
    let (mut etcd, api) = (Etcd::start().await, Api::start().await);
    api.accept(["k1"]);
    etcd.put(NAME, "k1").await;
    let keys = follow(key(etcd.url())).await;
    let load = Load::start(&keys, api.url(), 16);
    etcd.stop();
    let error = refused(&keys).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&etcd.url()), "{error}");
    etcd.go_on().await;
    api.accept(["k1", "k2"]);
    etcd.put(NAME, "k2").await;
    until_newest(&keys, "k2").await;
    api.accept(["k2"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    load.end().await;
    assert_eq!(held(&keys), ("k2".into(), vec!["k1".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_is_told_and_what_is_held_stays() {
    let (etcd, api) = (Etcd::start().await, Api::start().await);
    api.accept(["k1"]);
    etcd.put(NAME, "k1").await;
    let keys = follow(key(etcd.url())).await;
    let load = Load::start(&keys, api.url(), 16);
    etcd.delete(NAME).await;
    until("the deletion is told", SOON, || keys.last_failure().is_some()).await;
    let failure = keys.last_failure().expect("a failure");
    assert_eq!(failure.kind(), ErrorKind::UnknownSet);
    assert!(failure.to_string().contains(NAME), "{failure}");
    assert_eq!(held(&keys).0, "k1");
    api.accept(["k1", "k2"]);
    etcd.put(NAME, "k2").await;
    until_newest(&keys, "k2").await;
    api.accept(["k2"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    load.end().await;
}

/// The first of them is down from the beginning, and the second fails later.
#[tokio::test(flavor = "multi_thread")]
async fn members_that_do_not_answer_are_passed_over() {
    let etcd = Etcd::start().await;
    etcd.put(NAME, "k1").await;
    let gates = [Gate::before(etcd.port()).await, Gate::before(etcd.port()).await];
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let endpoints = [&nobody, gates[0].url(), gates[1].url()];
    let keys = follow(etcd::Key::new(endpoints, NAME).expect("a key")).await;
    assert_eq!(held(&keys).0, "k1");
    for (fault, wanted) in
        [(Does::IsSilent, "k2"), (Does::Answers(503), "k3"), (Does::Throttles(1), "k4")]
    {
        gates[0].now(fault);
        etcd.put(NAME, wanted).await;
        until_newest(&keys, wanted).await;
        gates[0].now(Does::Passes);
        gates[1].now(Does::Ends);
        etcd.put(NAME, &format!("{wanted}b")).await;
        until_newest(&keys, &format!("{wanted}b")).await;
        gates[1].now(Does::Passes);
    }
    gates.iter().for_each(|gate| gate.now(Does::Ends));
    let error = refused(&keys).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("none of the 3 endpoints"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_the_key_stays_and_the_next_one_comes() {
    let (etcd, api) = (Etcd::start().await, Api::start().await);
    let gate = Gate::before(etcd.port()).await;
    api.accept(["k0"]);
    etcd.put(NAME, "k0").await;
    let keys = follow(key(gate.url())).await;
    let load = Load::start(&keys, api.url(), 16);
    let faults = [
        (Does::Ends, ErrorKind::Unavailable, "broke"),
        (Does::IsSilent, ErrorKind::Timeout, "did not answer"),
        (Does::AnswersGarbage, ErrorKind::Malformed, "the JSON ends too early"),
        (Does::Throttles(1), ErrorKind::Throttled, "asked again later"),
        (Does::Answers(503), ErrorKind::Unavailable, "cannot answer now"),
        (Does::Answers(404), ErrorKind::Malformed, "has no JSON gateway"),
        (Does::Answers(302), ErrorKind::Malformed, "redirect"),
    ];
    for (number, (fault, kind, words)) in faults.into_iter().enumerate() {
        gate.now(fault);
        // A fetch that the watch asked for may have been cut off by the fault itself.
        let error = match refused(&keys).await {
            cut if cut.kind() != kind => refused(&keys).await,
            error => error,
        };
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        let shown = error.to_string();
        assert!(shown.contains(words) || kind == ErrorKind::Timeout, "{fault:?}: {shown}");
        assert!(!shown.contains("\"a\""), "{shown}");
        if let Does::Throttles(seconds) = fault {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds.into())));
        }
        let new = format!("k{}", number + 1);
        api.accept([held(&keys).0, new.clone()]);
        etcd.put(NAME, &new).await;
        gate.now(Does::Passes);
        // One backoff, or the second that the server asked for, doubled by its spread.
        let within =
            Duration::from_millis(if matches!(fault, Does::Throttles(_)) { 2500 } else { 900 });
        until(&format!("{new} after {fault:?}"), within, || held(&keys).0 == new).await;
        assert!(keys.last_failure().is_none());
        api.accept([new]);
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_is_told_so_and_logs_in_once() {
    let (mut etcd, api) = (Etcd::start().await, Api::start().await);
    let gate = Gate::before(etcd.port()).await;
    api.accept(["k1"]);
    etcd.put(NAME, "k1").await;
    etcd.want_log_ins("p1", NAME).await;

    let error = KeySwap::follow(key(etcd.url())).await.expect_err("a stranger");
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
    assert!(error.to_string().contains("`user`"), "{error}");
    let wrong = key(etcd.url()).user("bot").password("s3cr3t");
    assert!(!format!("{wrong:?}").contains("s3cr3t"));
    let error = KeySwap::follow(wrong).await.expect_err("another password");
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
    assert!(error.to_string().contains("user bot"), "{error}");
    assert!(!error.to_string().contains("s3cr3t"), "{error}");

    let password = std::env::temp_dir().join(format!("keyswap-etcd-{}", etcd.port()));
    std::fs::write(&password, "p1\n").expect("a file");
    let source = key(gate.url()).user("bot").password_file(&password);
    // Eight that share a log-in.
    let mut all = Vec::new();
    for keys in (0..8).map(|_| KeySwap::follow(source.clone()).policy(patient()).start()) {
        all.push(keys.expect("a handle"));
    }
    for keys in &all {
        keys.ready().await.expect("a key");
    }
    let log_ins =
        |gate: &Gate| gate.asked().iter().filter(|it| it.contains("authenticate")).count();
    assert_eq!(log_ins(&gate), 1);
    let keys = &all[0];
    let load = Load::start(keys, api.url(), 16);

    etcd.forbid().await;
    let error = refused(keys).await;
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.to_string().contains("user bot") && error.to_string().contains(NAME), "{error}");
    assert_eq!(held(keys).0, "k1");
    etcd.allow().await;
    api.accept(["k1", "k2"]);
    etcd.put(NAME, "k2").await;
    until_newest(keys, "k2").await;

    // Its tokens end, and the password in the file is the new one.
    log_ins(&gate);
    etcd.change_password("p2").await;
    let error = refused(keys).await;
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
    assert!(error.to_string().contains(&*password.to_string_lossy()), "{error}");
    std::fs::write(&password, "p2").expect("a file");
    until("it is let in", SOON, || keys.last_failure().is_none()).await;
    api.accept(["k2", "k3"]);
    etcd.put(NAME, "k3").await;
    for keys in &all {
        until_newest(keys, "k3").await;
    }

    // A restart forgets all tokens.
    etcd.stop();
    etcd.go_on().await;
    etcd.log_in().await;
    api.accept(["k3", "k4"]);
    etcd.put(NAME, "k4").await;
    for keys in &all {
        until_newest(keys, "k4").await;
    }
    api.accept(["k4"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    load.end().await;
    // Nobody has to log in any more, and a token is no reason to be refused.
    etcd.ask("auth/disable", serde_json::json!({})).await;
    keys.refresh().await.expect("it answers all");
    std::fs::remove_file(password).expect("the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_that_of_the_lease_if_the_program_says_so() {
    let etcd = Etcd::start().await;
    let lease = etcd.lease(30).await;
    etcd.put_with(NAME, "k1", &lease).await;
    let (plain, ending) =
        (follow(key(etcd.url())).await, follow(key(etcd.url()).expires_with_lease()).await);
    let end = |keys: &KeySwap| keys.set().expect("a set").primary().expect("a key").expires_at();
    assert_eq!(end(&plain), None);
    let first = end(&ending).expect("an end");
    tokio::time::sleep(Duration::from_millis(3500)).await;
    ending.refresh().await.expect("it answers");
    let unchanged = end(&ending).expect("an end");
    assert!(unchanged.duration_since(first).abs().as_secs() <= 2, "{first} {unchanged}");
    etcd.ask("lease/keepalive", serde_json::json!({"ID": lease})).await;
    ending.refresh().await.expect("it answers");
    let renewed = end(&ending).expect("an end");
    assert!(renewed.duration_since(first).as_secs() >= 3, "{first} {renewed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_program_runs() {
    let (mut etcd, api) = (Etcd::start().await, Api::start().await);
    api.accept(["k1"]);
    etcd.put(NAME, "k1").await;
    etcd.want_log_ins("p1", NAME).await;
    let password = std::env::temp_dir().join(format!("keyswap-etcd-guide-{}", etcd.port()));
    std::fs::write(&password, "p1").expect("a file");
    let client = example::example(&[&etcd.url()], &password.to_string_lossy(), api.url()).await;
    let answer = client.expect("a client").get("/").send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    std::fs::remove_file(password).expect("the file");
}
