use serde_json::Value;

use super::super::tests::{step, world};
use super::*;

const ASK: FetchRequest<'_> = FetchRequest {
    bearer: Some("bootstrap"),
    if_none_match: None,
    set: Some("trading"),
    region: 0,
    no_cache: false,
    wait: None,
};

fn reply(world: &mut World, now: u64, request: &FetchRequest<'_>) -> FetchReply {
    match world.fetch(now, request) {
        Planned::Answer { reply, .. } => reply,
        other => panic!("{other:?}"),
    }
}

fn json(reply: &FetchReply) -> Value {
    serde_json::from_slice(&reply.body).expect("JSON")
}

fn problem(reply: &FetchReply) -> (u16, String) {
    assert_eq!(reply.content_type, PROBLEM_JSON);
    let body = json(reply);
    assert_eq!(body["status"], reply.status);
    let kind = body["type"].as_str().expect("a type");
    (reply.status, kind.trim_start_matches("urn:keyswap:error:").to_owned())
}

/// The answer to a fetch in a world of one rotation with this fault.
fn faulty(fault: &str) -> (World, FetchReply) {
    let mut world = world(r#"{"ttl_ms": 60000}"#);
    world.apply(5, &step(r#"{"do": "rotate", "grace_ms": 30000}"#)).expect("a step");
    world.apply(10, &step(&format!(r#"{{"do": "endpoint", {fault}}}"#))).expect("a step");
    let reply = reply(&mut world, 10, &ASK);
    (world, reply)
}

#[test]
fn a_set_is_written_by_the_protocol() {
    let mut world = world(
        r#"{"ttl_ms": 60000, "refresh_after_ms": 500, "splay_seconds": 3, "scopes": ["a"],
                "scheme": {"scheme": "api_key", "params": {"header": "x-api-key"}}}"#,
    );
    world.apply(1_000, &step(r#"{"do": "rotate", "grace_ms": 5000}"#)).expect("a step");
    let reply = reply(&mut world, 2_000, &ASK);
    assert_eq!((reply.status, reply.generation), (200, Some(2)));
    assert_eq!(reply.etag.as_deref(), Some("\"g2\""));
    let mut body = json(&reply);
    let secret = body["current"]["material"]["key"].take();
    assert_eq!(world.credential_of(secret.as_str().expect("a key")), Some("k2"));
    body["previous"][0]["material"]["key"].take();
    let credential = |version: &str, made: &str, ends: &str| {
        serde_json::json!({
            "id": format!("k{version}"), "version": version, "material": {"key": null},
            "scheme": "api_key", "params": {"header": "x-api-key"},
            "created_at": made, "not_before": made, "expires_at": ends,
        })
    };
    let mut previous = credential("1", "2026-11-23T18:00:00Z", "2026-11-23T18:01:00Z");
    previous["grace_expires_at"] = "2026-11-23T18:00:06Z".into();
    let expected = serde_json::json!({
        "protocol": "keyswap/1", "set": "trading", "generation": 2,
        "server_time": "2026-11-23T18:00:02Z", "refresh_after": "2026-11-23T18:00:01.5Z",
        "splay_seconds": 3, "lineage": "a1", "levels": [], "scopes": ["a"],
        "current": credential("2", "2026-11-23T18:00:01Z", "2026-11-23T18:01:01Z"),
        "previous": [previous], "revoked": [],
    });
    assert_eq!(body, expected);
}

#[test]
fn a_validator_is_honoured_and_counted() {
    let mut world = world(r#"{"endpoint_latency_ms": 7}"#);
    let known = FetchRequest { if_none_match: Some("\"g9\", W/\"g1\""), ..ASK };
    let planned = world.fetch(0, &known);
    let Planned::Answer { after_ms: 7, reply: same } = planned else { panic!("{planned:?}") };
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(same.etag.as_deref(), Some("\"g1\""));
    reply(&mut world, 0, &ASK);
    world.apply(5, &step(r#"{"do": "rotate"}"#)).expect("a step");
    assert_eq!(reply(&mut world, 5, &known).status, 200);
    reply(&mut world, 5, &FetchRequest::default());
    let counters = world.counters();
    let counts = ["started", "changed", "not_modified", "failed"]
        .map(|key| counters[&format!("fetch.{key}")]);
    assert_eq!(counts, [4, 2, 1, 1]);
}

#[test]
fn only_the_bootstrap_token_opens_the_set() {
    let mut world = world("{}");
    let wrong = reply(&mut world, 0, &FetchRequest { bearer: Some("operator"), ..ASK });
    assert_eq!(problem(&wrong), (401, "bootstrap-invalid".to_owned()));
    let other = reply(&mut world, 0, &FetchRequest { set: Some("other"), ..ASK });
    assert_eq!(problem(&other), (404, "unknown-set".to_owned()));
}

#[test]
fn revocations_are_told() {
    let mut world = world("{}");
    world.apply(5, &step(r#"{"do": "revoke"}"#)).expect("a step");
    let body = json(&reply(&mut world, 5, &ASK));
    assert_eq!((&body["current"]["id"], &body["revoked"][0]), (&"k2".into(), &"k1".into()));
    assert_eq!(body["previous"].as_array().map(Vec::len), Some(0));
    world.apply(6, &step(r#"{"do": "revoke_set"}"#)).expect("a step");
    let known = FetchRequest { if_none_match: Some("\"g2\""), ..ASK };
    assert_eq!(problem(&reply(&mut world, 6, &known)), (410, "set-revoked".to_owned()));
    world.apply(7, &step(r#"{"do": "restore_set"}"#)).expect("a step");
    let body = json(&reply(&mut world, 7, &ASK));
    assert_eq!((&body["current"]["id"], &body["generation"]), (&"k3".into(), &3.into()));
}

#[test]
fn a_staged_credential_is_shown_with_its_time() {
    let mut world = world("{}");
    let staged = r#"{"do": "rotate", "next": {"activate_in_ms": 2000}}"#;
    world.apply(0, &step(staged)).expect("a step");
    let next = &json(&reply(&mut world, 0, &ASK))["next"];
    assert_eq!((&next["id"], &next["activate"]), (&"k2".into(), &"at".into()));
    assert_eq!(next["activate_at"], "2026-11-23T18:00:02Z");
    let body = json(&reply(&mut world, 2_000, &ASK));
    assert_eq!((&body["current"]["id"], body.get("next")), (&"k2".into(), None));
    assert_eq!(body["current"].get("activate_at"), None);
    let mut world = self::world("{}");
    world.apply(0, &step(r#"{"do": "rotate", "next": "staged"}"#)).expect("a step");
    let next = json(&reply(&mut world, 0, &ASK))["next"].take();
    assert_eq!((&next["id"], next.get("activate_at")), (&"k2".into(), None));
}

#[test]
fn a_grace_that_ended_takes_its_credential_off_the_list() {
    let mut world = world(r#"{"no_expiry": true, "ttl_ms": 60000}"#);
    world.apply(0, &step(r#"{"do": "rotate", "grace_ms": 100}"#)).expect("a step");
    let before = json(&reply(&mut world, 99, &ASK));
    assert_eq!(before["previous"][0]["id"], "k1");
    assert_eq!(before["previous"][0].get("grace_expires_at"), None);
    assert_eq!(before["current"].get("expires_at"), None);
    assert_eq!(json(&reply(&mut world, 100, &ASK))["previous"].as_array().map(Vec::len), Some(0));
}

#[test]
fn content_is_decided_when_a_fetch_arrives() {
    let mut world = world("{}");
    world.apply(0, &step(r#"{"do":"endpoint","fault":"slow","ms":100}"#)).expect("a step");
    let planned = world.fetch(10, &ASK);
    world.apply(50, &step(r#"{"do": "cut"}"#)).expect("a step");
    let Planned::Answer { after_ms: 100, reply } = planned else { panic!("{planned:?}") };
    assert_eq!(reply.generation, Some(1));
}

#[test]
fn connections_can_fail() {
    let mut world = world("{}");
    world.apply(0, &step(r#"{"do":"endpoint","fault":"outage","for_ms":10}"#)).expect("a step");
    assert_eq!(world.fetch(9, &ASK), Planned::Dropped);
    assert!(world.fetch(10, &ASK).reply().is_some());
    world.apply(20, &step(r#"{"do":"endpoint","fault":"hang"}"#)).expect("a step");
    assert_eq!(world.fetch(20, &ASK), Planned::Hang);
    world.apply(30, &step(r#"{"do":"endpoint","fault":"torn"}"#)).expect("a step");
    let known = FetchRequest { if_none_match: Some("\"g1\""), ..ASK };
    assert!(matches!(world.fetch(30, &known), Planned::Torn { .. }));
    let stranger = FetchRequest { bearer: None, ..ASK };
    assert_eq!(reply(&mut world, 30, &stranger).status, 401);
    assert_eq!(world.counters()["fetch.failed"], 4);
    assert_eq!(world.counters()["fetch.started"], 5);
}

#[test]
fn answers_can_be_errors() {
    let problems = [
        (r#""fault": "bootstrap_invalid""#, 401, "bootstrap-invalid"),
        (r#""fault": "unknown_set""#, 404, "unknown-set"),
        (r#""fault": "server_error""#, 503, "unavailable"),
        (r#""fault": "server_error", "status": 500"#, 500, "unavailable"),
        (r#""fault": "server_error", "status": 403"#, 403, "forbidden"),
        (r#""fault": "server_error", "status": 410"#, 410, "bad-request"),
    ];
    for (fault, status, kind) in problems {
        let (world, reply) = faulty(fault);
        assert_eq!(problem(&reply), (status, kind.to_owned()));
        assert_eq!(world.counters()["fetch.failed"], 1);
    }
    let (_, limited) = faulty(r#""fault": "rate_limited", "retry_after": 4"#);
    assert_eq!((problem(&limited).1.as_str(), limited.retry_after), ("rate-limited", Some(4)));
    let (_, redirect) = faulty(r#""fault": "redirect""#);
    assert_eq!(redirect.status, 307);
    assert_eq!(redirect.location.as_deref(), Some("http://other.test/landed"));
}

#[test]
fn answers_can_lie() {
    let (world, garbage) = faulty(r#""fault": "garbage""#);
    assert!(garbage.status == 200 && serde_json::from_slice::<Value>(&garbage.body).is_err());
    assert_eq!(world.counters()["fetch.failed"], 1);
    let (_, oversized) = faulty(r#""fault": "oversized""#);
    assert!(oversized.body.len() > 64 * 1024 && json(&oversized)["generation"] == 2);
    let (_, older) = faulty(r#""fault": "older_generation""#);
    assert_eq!((&json(&older)["generation"], older.generation), (&1.into(), Some(1)));
    assert_eq!(json(&older)["current"]["id"], "k1");
    let (world, other) = faulty(r#""fault": "other_material""#);
    let other = json(&other);
    assert_eq!((&other["generation"], &other["current"]["id"]), (&3.into(), &"k2".into()));
    assert_ne!(other["current"]["material"]["key"], world.material("k2").expect("k2").reveal());
    let (_, expired) = faulty(r#""fault": "expired""#);
    let expired = json(&expired);
    assert_eq!(expired["server_time"], "2026-11-23T18:00:00.01Z");
    assert_eq!(expired["current"]["expires_at"], "2026-11-23T17:59:59.01Z");
    let (world, many) = faulty(r#""fault": "too_many""#);
    assert_eq!(json(&many)["previous"].as_array().map(Vec::len), Some(5));
    assert_eq!(world.counters()["fetch.failed"], 1);
}

#[test]
fn the_first_generation_has_an_older_one_too() {
    let mut world = world("{}");
    world.apply(0, &step(r#"{"do":"endpoint","fault":"older_generation"}"#)).expect("a step");
    assert_eq!(json(&reply(&mut world, 0, &ASK))["generation"], 0);
}

#[test]
fn a_wrong_clock_is_wrong_everywhere() {
    let (world, wrong) = faulty(r#""fault": "wrong_clock", "ms": -3600000"#);
    let body = json(&wrong);
    assert_eq!(body["server_time"], "2026-11-23T17:00:00.01Z");
    assert_eq!(body["current"]["expires_at"], "2026-11-23T17:01:00.005Z");
    assert_eq!(wrong.date_ms, world.setting().wall_ms + 10 - 3_600_000);
    assert_eq!(world.counters()["fetch.changed"], 1, "it is a sound answer all the same");
}
