//! A key may be retired when the last process has drained it: neither before nor much later.
#![allow(clippy::unwrap_used)]

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use keyswap_endpoint::server::{Endpoint, Running};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

const PROCESSES: usize = 50;
/// A process that is silent for longer is gone.
const LEASE: Duration = Duration::from_secs(3);
/// How long most processes, and one, take to drain a key.
const DRAIN: Duration = Duration::from_secs(1);
const SLOW_DRAIN: Duration = Duration::from_secs(5);
/// Reports of changes within a second go together; the rest is for a busy machine.
const LATE: Duration = Duration::from_millis(2500);

struct Fleet {
    running: Running,
    http: reqwest::Client,
    members: Vec<Child>,
}

impl Fleet {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let world = json!({"levels": ["events", "acks"], "quiet_ms": 200, "grace_ms": 600_000});
        let running = Endpoint::start(serde_json::from_value(world).unwrap()).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut members: Vec<_> = (1..PROCESSES).map(|_| member(&running, DRAIN)).collect();
        members.push(member(&running, SLOW_DRAIN));
        Self { running, http, members }
    }

    fn rotate(&self) -> Instant {
        self.running.apply(&serde_json::from_value(json!({"do": "rotate"})).unwrap()).unwrap();
        Instant::now()
    }

    /// What the endpoint tells an operator.
    async fn adoption(&self) -> Value {
        let url = format!("{}/adoption", self.running.set_url());
        let answer = self.http.get(url).bearer_auth(self.running.operator()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Asks until it is so, and says what was answered last before it was.
    async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Option<Value> {
        let began = Instant::now();
        let mut before = None;
        loop {
            let now = self.adoption().await;
            if is_so(&now) {
                return before;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{what}: {now}");
            before = Some(now);
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

fn member(running: &Running, drain: Duration) -> Child {
    // Rotations follow each other more closely here than the floor between fetches allows for.
    let policy = json!({
        "lease": LEASE.as_secs_f64(), "drain": drain.as_secs_f64(),
        "fetch_floor": 0.1, "fetch_floor_min": 0.1,
    });
    Command::new(env!("CARGO_BIN_EXE_keyswap-member"))
        .args([&running.set_url(), running.api_url(), &policy.to_string()])
        .env("KEYSWAP_BOOTSTRAP", running.bootstrap())
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// How many processes use this credential.
fn in_use(adoption: &Value, id: &str) -> u64 {
    let credentials = adoption["by_credential"].as_array().unwrap();
    credentials.iter().find(|one| one["id"] == id).map_or(0, |one| one["in_use"].as_u64().unwrap())
}

fn is_safe(adoption: &Value, id: &str) -> bool {
    adoption["retire"][id]["safe"] == true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_safe_to_retire_after_the_last_process_has_drained_it() {
    let mut fleet = Fleet::start().await;
    let all = PROCESSES as u64;
    fleet.until("all use k1", |now| in_use(now, "k1") == all).await;

    // One process takes longer than all others: it alone blocks until it is done.
    let rotated = fleet.rotate();
    let before = fleet.until("k1 is safe", |now| is_safe(now, "k1")).await.unwrap();
    let took = rotated.elapsed();
    assert!(took >= SLOW_DRAIN, "safe after {took:?}, before the slow one had drained it");
    assert!(took <= SLOW_DRAIN + LATE, "safe only after {took:?}");
    assert_eq!(before["retire"]["k1"]["reason"], "in_use");
    assert_eq!(before["retire"]["k1"]["blocking"].as_array().unwrap().len(), 1, "{before}");

    // A final report counts at once, and needs no lease to run out.
    let mut slow = fleet.members.pop().unwrap();
    drop(slow.stdin.take());
    assert!(slow.wait().await.unwrap().success(), "a request failed");
    assert_eq!(fleet.adoption().await["instances_live"], all - 1);

    // A process that is killed says none: its lease holds the key up, and no longer than that.
    let mut killed = fleet.members.pop().unwrap();
    killed.kill().await.unwrap();
    let rotated = fleet.rotate();
    let before = fleet.until("k2 is safe", |now| is_safe(now, "k2")).await.unwrap();
    let took = rotated.elapsed();
    // It had renewed its lease a third of it before, at the latest.
    let least = LEASE * 2 / 3 - Duration::from_millis(500);
    assert!(took >= least, "safe after {took:?}: the lease of the killed one was not kept");
    assert!(took <= LEASE + LATE, "safe only after {took:?}");
    assert_eq!(before["retire"]["k2"]["reason"], "in_use");
    assert_eq!(fleet.adoption().await["instances_live"], all - 2);

    for mut member in fleet.members.drain(..) {
        drop(member.stdin.take());
        assert!(member.wait().await.unwrap().success(), "a request failed");
    }
    assert_eq!(fleet.adoption().await["instances_live"], 0);
}
