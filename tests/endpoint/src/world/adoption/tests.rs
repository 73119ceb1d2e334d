use super::super::tests::{step, world};
use super::super::{ApiRequest, OperateRequest, Operation};
use super::*;

const LEVELS: &str = r#"{"levels": ["acks"], "quiet_ms": 1000}"#;

fn apply(world: &mut World, now: u64, json: &str) {
    world.apply(now, &step(json)).expect(json);
}

/// Reports, and says the status and the problem's detail.
fn ack(world: &mut World, now: u64, body: &str) -> (u16, String) {
    let request =
        AckRequest { bearer: Some("bootstrap"), body: body.as_bytes(), ..Default::default() };
    let planned = world.ack(now, &request);
    let reply = planned.reply().expect("an answer");
    let told: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    (reply.status, told["detail"].as_str().unwrap_or_default().to_owned())
}

fn report(world: &mut World, now: u64, instance: &str, lease: f64, observed: &[(&str, &str)]) {
    let observations: Vec<_> =
        observed.iter().map(|(id, status)| json!({"credential": id, "status": status})).collect();
    let body = json!({"instance": instance, "lease_seconds": lease, "generation": 1,
        "observations": observations});
    assert_eq!(ack(world, now, &body.to_string()).0, 202);
}

fn adoption(world: &mut World, now: u64) -> Value {
    let operation = Operation::Adoption;
    let bearer = Some("operator");
    let request = OperateRequest { bearer, idempotency_key: None, set: None, operation };
    let reply = world.operate(now, &request);
    assert_eq!(reply.status, 200);
    serde_json::from_slice(&reply.body).expect("JSON")
}

/// Whether a credential may be retired, and why not.
fn retire(world: &mut World, now: u64, id: &str) -> (bool, String) {
    let told = adoption(world, now)["retire"][id].take();
    let reason = told["reason"].as_str().unwrap_or_default().to_owned();
    (told["safe"].as_bool().expect("safe"), reason)
}

fn no(reason: &str) -> (bool, String) {
    (false, reason.to_owned())
}

fn yes() -> (bool, String) {
    (true, String::new())
}

#[test]
fn a_credential_is_safe_when_nobody_uses_it() {
    let mut world = world(LEVELS);
    report(&mut world, 0, "a", 10.0, &[("k1", "active")]);
    report(&mut world, 0, "b", 10.0, &[("k1", "active")]);
    assert_eq!(adoption(&mut world, 0)["retire"], json!({}), "the current one is not listed");
    apply(&mut world, 5, r#"{"do": "rotate"}"#);
    assert_eq!(retire(&mut world, 5, "k1"), no("in_use"));
    report(&mut world, 10, "a", 10.0, &[("k1", "drained"), ("k2", "active")]);
    let told = adoption(&mut world, 10);
    assert_eq!(told["retire"]["k1"]["blocking"], json!(["b"]));
    let row = |id: &str, in_use: u64| json!({"id": id, "in_use": in_use, "last_client_use": null, "last_server_use": null});
    assert_eq!(told["by_credential"], json!([row("k1", 1), row("k2", 1)]));
    assert_eq!((&told["generation"], &told["instances_live"]), (&2.into(), &2.into()));
    report(&mut world, 20, "b", 10.0, &[("k2", "received")]);
    assert_eq!(retire(&mut world, 20, "k1"), no("in_use"), "of k1 it said nothing new");
    report(&mut world, 20, "b", 10.0, &[("k1", "rejected")]);
    assert_eq!(retire(&mut world, 20, "k1"), yes());
    report(&mut world, 20, "b", 10.0, &[("k1", "received"), ("k2", "active")]);
    assert_eq!(retire(&mut world, 20, "k1"), yes(), "held, and never used");
}

#[test]
fn a_lease_ends_and_a_goodbye_ends_it_at_once() {
    let mut world = world(LEVELS);
    apply(&mut world, 0, r#"{"do": "rotate"}"#);
    report(&mut world, 0, "a", 0.25, &[("k1", "active")]);
    report(&mut world, 0, "b", 60.0, &[("k1", "active")]);
    report(&mut world, 100, "b", 0.0, &[]);
    assert_eq!(retire(&mut world, 249, "k1"), no("in_use"));
    assert_eq!(retire(&mut world, 250, "k1"), yes());
    assert_eq!(adoption(&mut world, 250)["instances_live"], 0);
    report(&mut world, 300, "a", 1.0, &[]);
    assert_eq!(retire(&mut world, 300, "k1"), yes(), "what it said before it was gone is void");
}

#[test]
fn the_server_s_own_eyes_count() {
    let mut world = world(LEVELS);
    let key = world.material("k1").expect("k1").reveal().to_owned();
    apply(&mut world, 0, r#"{"do": "rotate"}"#);
    assert_eq!(retire(&mut world, 0, "k1"), yes());
    world.call(500, &ApiRequest { credential: Some(&key), ..Default::default() });
    let refused = ApiRequest { credential: Some(&key), path: "/always-401", ..Default::default() };
    world.call(900, &refused);
    assert_eq!(retire(&mut world, 1_499, "k1"), no("seen_by_server"));
    assert_eq!(retire(&mut world, 1_500, "k1"), yes());
    let told = adoption(&mut world, 1_500);
    assert_eq!(told["by_credential"][0]["last_server_use"], "2026-11-23T18:00:00.5Z");
}

#[test]
fn what_is_gone_or_to_come_is_not_to_be_retired() {
    let mut world = world(LEVELS);
    apply(&mut world, 0, r#"{"do": "rotate", "publish_after_ms": 50}"#);
    assert_eq!(retire(&mut world, 10, "k1"), no("current"), "the endpoint still shows it");
    assert_eq!(retire(&mut world, 50, "k1"), yes());
    apply(&mut world, 60, r#"{"do": "rotate", "next": "staged"}"#);
    report(&mut world, 60, "a", 10.0, &[("k1", "active"), ("k3", "received")]);
    apply(&mut world, 70, r#"{"do": "revoke", "credential": "k1"}"#);
    let told = adoption(&mut world, 70);
    assert_eq!(told["retire"], json!({}));
    let ids = |told: &Value| {
        let rows = told["by_credential"].as_array().expect("rows").clone();
        rows.iter().map(|row| row["id"].as_str().expect("id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&told), ["k1", "k2", "k3"], "it is gone, but somebody still uses it");
    report(&mut world, 80, "a", 10.0, &[("k1", "drained")]);
    assert_eq!(ids(&adoption(&mut world, 80)), ["k2", "k3"]);
}

#[test]
fn the_last_use_outlives_its_instance() {
    let mut world = world(LEVELS);
    let used = |at: &str| {
        format!(
            r#"{{"instance": "a", "lease_seconds": 1, "generation": 1, "new": true,
                    "observations": [{{"credential": "k1", "status": "active", "ok": 7,
                        "last_used_at": "2026-11-23T17:00:0{at}Z"}}]}}"#
        )
    };
    assert_eq!(ack(&mut world, 0, &used("5")).0, 202);
    assert_eq!(ack(&mut world, 1, &used("3")).0, 202);
    let told = adoption(&mut world, 5_000);
    assert_eq!(told["by_credential"][0]["last_client_use"], "2026-11-23T17:00:05Z");
}

#[test]
fn a_report_is_read_strictly() {
    let mut world = world(LEVELS);
    let sound = json!({"instance": "a", "lease_seconds": 1.5, "generation": 1,
        "observations": [{"credential": "k1", "status": "active"}]});
    assert_eq!(ack(&mut world, 0, &sound.to_string()).0, 202);
    let changes: [&dyn Fn(&mut Value); 12] = [
        &|ack| ack["instance"] = "a b".into(),
        &|ack| ack["instance"] = "".into(),
        &|ack| ack["lease_seconds"] = (-1).into(),
        &|ack| ack["lease_seconds"] = 86_401.into(),
        &|ack| ack["lease_seconds"] = "1".into(),
        &|ack| ack["generation"] = (-1).into(),
        &|ack| ack["app"] = "x".repeat(257).into(),
        &|ack| ack["observations"] = json!({}),
        &|ack| ack["observations"][0]["status"] = "used".into(),
        &|ack| ack["observations"][0]["credential"] = "k/1".into(),
        &|ack| ack["observations"][0]["last_used_at"] = "yesterday".into(),
        &|ack| ack["observations"] = vec![ack["observations"][0].clone(); 2].into(),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut body = sound.clone();
        change(&mut body);
        assert_eq!(ack(&mut world, 0, &body.to_string()).0, 400, "change {n}");
    }
    assert_eq!(ack(&mut world, 0, "no JSON").0, 400);
    assert_eq!(ack(&mut world, 0, &format!("{sound}{}", " ".repeat(BIGGEST))).0, 400);
    let counters = world.counters();
    assert_eq!((counters["acks.accepted"], counters["acks.refused"]), (1, 14));
    assert_eq!(counters["leaks"], 0);
}

#[test]
fn a_secret_in_a_report_is_a_leak_and_is_not_quoted() {
    let mut world = world(LEVELS);
    let key = world.material("k1").expect("k1").reveal().to_owned();
    let body = json!({"instance": "a", "lease_seconds": 1, "generation": 1,
        "observations": [{"credential": key, "status": "active"}]});
    let (status, why) = ack(&mut world, 0, &body.to_string());
    assert!(status == 400 && why.contains("ids alone") && !why.contains(&key), "{why}");
    let (_, why) = ack(&mut world, 0, r#"{"instance": 1, "oops": "other-secret"}"#);
    assert!(!why.contains("other-secret"), "{why}");
    assert_eq!(world.counters()["leaks"], 1);
}

#[test]
fn reports_can_be_refused() {
    let body = br#"{"instance":"a","lease_seconds":1,"generation":1,"observations":[]}"#;
    let ask = AckRequest { bearer: Some("bootstrap"), body, ..Default::default() };
    let status = |world: &mut World, ask: &AckRequest<'_>| {
        world.ack(0, ask).reply().map(|reply| reply.status)
    };
    let mut level_0 = world("{}");
    assert_eq!(status(&mut level_0, &ask), Some(404));
    let mut world = world(LEVELS);
    assert_eq!(status(&mut world, &AckRequest { bearer: Some("operator"), ..ask }), Some(401));
    assert_eq!(status(&mut world, &AckRequest { set: Some("other"), ..ask }), Some(404));
    for (fault, expected) in [
        (r#""fault": "acks_refused""#, Some(503)),
        (r#""fault": "acks_refused", "status": 429"#, Some(429)),
        (r#""fault": "server_error", "status": 500"#, Some(500)),
        (r#""fault": "outage""#, None),
        (r#""fault": "events_dropped""#, Some(202)),
    ] {
        apply(&mut world, 0, &format!(r#"{{"do": "endpoint", {fault}}}"#));
        assert_eq!(status(&mut world, &ask), expected, "{fault}");
    }
    assert!(!format!("{ask:?}").contains("bootstrap"));
    let counters = world.counters();
    assert_eq!((counters["acks.accepted"], counters["acks.refused"]), (1, 6));
}

#[test]
fn only_an_operator_reads_it_and_only_where_it_is_served() {
    let status = |world: &mut World, bearer| {
        let (idempotency_key, set, operation) = (None, None, Operation::Adoption);
        world.operate(0, &OperateRequest { bearer, idempotency_key, set, operation }).status
    };
    let mut level_0 = world("{}");
    let mut world = world(LEVELS);
    assert_eq!(status(&mut world, Some("bootstrap")), 403);
    assert_eq!(status(&mut world, Some("operator")), 200);
    assert_eq!(status(&mut level_0, Some("operator")), 404);
}
