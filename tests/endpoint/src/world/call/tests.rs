use super::super::tests::{step, world};
use super::*;

/// Status and replica of a request that carries this credential.
fn call(world: &mut World, now: u64, path: &str, id: &str) -> ApiReply {
    let material = world.material(id).map(|material| material.reveal().to_owned());
    let credential = material.as_deref();
    match world.call(now, &ApiRequest { path, credential, ..Default::default() }) {
        Planned::Answer { reply, .. } => reply,
        other => panic!("{other:?}"),
    }
}

fn status(world: &mut World, now: u64, id: &str) -> u16 {
    call(world, now, "/v1/price", id).status
}

fn text(reply: &ApiReply) -> &str {
    std::str::from_utf8(&reply.body).expect("text")
}

#[test]
fn an_answer_names_credential_and_replica_and_is_counted() {
    let mut world = world(r#"{"replicas": 2, "api_latency_ms": 20}"#);
    let one = call(&mut world, 0, "/v1/price", "k1");
    assert_eq!((one.status, text(&one)), (200, r#"{"credential":"k1","replica":0}"#));
    let two = call(&mut world, 0, "/any", "nobody");
    assert_eq!((two.status, two.replica, two.challenge), (401, 1, Some("Bearer realm=\"api\"")));
    let unknown = ApiRequest { credential: Some("stranger"), ..Default::default() };
    let Planned::Answer { after_ms: 20, reply } = world.call(0, &unknown) else { panic!("late") };
    assert_eq!((reply.status, reply.replica, reply.credential), (401, 0, None));
    assert!(reply.challenge.is_some_and(|challenge| challenge.contains("invalid_token")));
    let counters = world.counters();
    let count = |key: &str| counters.get(key).copied();
    assert_eq!(count("api.sends"), Some(3));
    assert_eq!((count("api.accepted"), count("api.rejected")), (Some(1), Some(2)));
    assert_eq!((count("api.with.k1"), count("api.with.k2")), (Some(1), None));
}

#[test]
fn replicas_at_random_follow_from_the_seed() {
    let turns = |json: &str| {
        let mut world = world(json);
        (0..64).map(|_| call(&mut world, 0, "/v1/price", "k1").replica).collect::<Vec<_>>()
    };
    let drawn = turns(r#"{"replicas": 2, "replicas_at_random": true}"#);
    assert_eq!(drawn, turns(r#"{"replicas": 2, "replicas_at_random": true}"#));
    assert_ne!(drawn, turns(r#"{"replicas": 2}"#));
    let second = drawn.iter().sum::<usize>();
    assert!((20..44).contains(&second), "{second} of 64");
}

#[test]
fn a_new_key_is_forbidden_for_a_while() {
    let mut world = world("{}");
    let rotate = r#"{"do": "rotate", "propagation_ms": 5, "forbidden_ms": 20}"#;
    world.apply(10, &step(rotate)).expect("a rotation");
    let statuses = [14, 15, 34, 35].map(|now| status(&mut world, now, "k2"));
    assert_eq!(statuses, [401, 403, 403, 200]);
    assert_eq!(status(&mut world, 20, "k1"), 200);
}

#[test]
fn paths_have_their_own_rules() {
    let mut world = world("{}");
    assert_eq!(call(&mut world, 0, "/always-401/x", "k1").status, 401);
    assert_eq!(call(&mut world, 0, "/always-403", "k1").status, 403);
    let away = call(&mut world, 0, "/redirect", "k1");
    let other = "http://other.test/landed".to_owned();
    assert_eq!((away.status, away.location), (307, Some(other)));
    let here = call(&mut world, 0, "/redirect-here", "k1");
    assert_eq!((here.status, here.location.as_deref()), (307, Some("/v1/landed")));
    assert_eq!(call(&mut world, 0, "/redirect", "none").status, 401);
    let mut led = |path| {
        let reply = call(&mut world, 0, path, "k1");
        (reply.status, reply.location.expect(path))
    };
    assert_eq!(led("/redirect/303/v1/orders/7"), (303, "/v1/orders/7".to_owned()));
    let chain = led("/redirect/308/redirect/302/away");
    assert_eq!(chain, (308, "/redirect/302/away".to_owned()));
    assert_eq!(led("/redirect/302/away").1, "http://other.test/landed");
    assert_eq!(led("/redirect/301/closed/x").1, "http://closed.test/landed");
    let login = led("/redirect/302/login").1;
    assert!(login.starts_with("http://other.test/login?next=%68%74%74%70"), "{login}");
    assert_eq!(led("/redirect/999/x").0, 307, "no status of a redirect");
    let refused = call(&mut world, 0, "/body-code", "none");
    assert_eq!((refused.status, text(&refused)), (200, r#"{"code":"bad_key","replica":0}"#));
    assert!(text(&call(&mut world, 0, "/body-code", "k1")).contains("k1"));
    let flaky = ["/flaky/a", "/flaky/a", "/flaky/b", "/flaky/a"];
    let statuses = flaky.map(|path| call(&mut world, 0, path, "k1").status);
    assert_eq!(statuses, [200, 503, 200, 200]);
    // Refused in a body is refused all the same.
    assert_eq!(world.counters()["api.rejected"], 3);
    assert_eq!(world.counters()["api.accepted"], 4);
    assert_eq!(world.counters()["api.path./flaky/a"], 3);
}

#[test]
fn an_outage_lets_nothing_through() {
    let mut world = world("{}");
    world.apply(10, &step(r#"{"do":"api","fault":"outage","for_ms":5}"#)).expect("a step");
    assert_eq!(world.call(10, &ApiRequest::default()), Planned::Dropped);
    assert_eq!(world.call(14, &ApiRequest::default()), Planned::Dropped);
    assert_eq!(world.counters()["api.sends"], 0);
    assert_eq!(status(&mut world, 15, "k1"), 200);
    world.apply(20, &step(r#"{"do":"api","fault":"outage"}"#)).expect("a step");
    world.apply(21, &step(r#"{"do":"api","fault":"none"}"#)).expect("a step");
    assert_eq!(status(&mut world, 21, "k1"), 200);
}

#[test]
fn slow_and_hanging_answers() {
    let mut world = world(r#"{"api_latency_ms": 5}"#);
    world.apply(0, &step(r#"{"do":"api","fault":"slow","ms":100}"#)).expect("a step");
    let slow = world.call(0, &ApiRequest::default());
    assert!(matches!(slow, Planned::Answer { after_ms: 105, .. }), "{slow:?}");
    world.apply(0, &step(r#"{"do":"api","fault":"hang"}"#)).expect("a step");
    assert_eq!(world.call(0, &ApiRequest::default()), Planned::Hang);
    assert_eq!(world.counters()["api.sends"], 2);
}

#[test]
fn statuses_that_are_no_rejection() {
    let mut world = world("{}");
    let fault = r#"{"do":"api","fault":"rate_limited","retry_after":3}"#;
    world.apply(0, &step(fault)).expect("a step");
    let limited = call(&mut world, 0, "/", "k1");
    assert_eq!((limited.status, limited.retry_after), (429, Some(3)));
    world.apply(0, &step(r#"{"do":"api","fault":"server_error","status":502}"#)).expect("a step");
    assert_eq!(status(&mut world, 0, "k1"), 502);
    world.apply(0, &step(r#"{"do":"api","fault":"server_error"}"#)).expect("a step");
    assert_eq!(status(&mut world, 0, "k1"), 503);
    world.apply(0, &step(r#"{"do":"api","fault":"insufficient_scope"}"#)).expect("a step");
    let scope = call(&mut world, 0, "/", "k1");
    assert_eq!(scope.status, 403);
    assert!(scope.challenge.is_some_and(|challenge| challenge.contains("insufficient_scope")));
    assert_eq!(status(&mut world, 0, "none"), 401);
    assert_eq!(world.counters()["api.rejected"], 1);
    assert_eq!(world.counters()["api.accepted"], 0);
}

#[test]
fn a_refused_key_in_the_body() {
    let mut world = world("{}");
    world.apply(0, &step(r#"{"do":"api","fault":"bad_key_in_body"}"#)).expect("a step");
    let refused = call(&mut world, 0, "/", "none");
    assert_eq!((refused.status, text(&refused)), (200, r#"{"code":"bad_key","replica":0}"#));
    assert!(text(&call(&mut world, 0, "/", "k1")).contains("k1"));
    assert_eq!(world.counters()["api.rejected"], 1);
}

#[test]
fn a_flapping_replica_sees_the_old_list_every_second_time() {
    let mut world = world(r#"{"replicas": 2}"#);
    world.apply(5, &step(r#"{"do":"api","fault":"flapping"}"#)).expect("a step");
    let calm: Vec<u16> = (0..4).map(|_| status(&mut world, 6, "k1")).collect();
    assert_eq!(calm, [200; 4], "nothing has changed yet");
    world.apply(10, &step(r#"{"do":"cut"}"#)).expect("a step");
    world.apply(10, &step(r#"{"do":"api","fault":"flapping"}"#)).expect("a step");
    let new: Vec<u16> = (0..6).map(|_| status(&mut world, 20, "k2")).collect();
    assert_eq!(new, [200, 200, 401, 401, 200, 200], "each replica counts for itself");
    let old: Vec<u16> = (0..4).map(|_| status(&mut world, 20, "k1")).collect();
    assert_eq!(old, [200, 200, 401, 401]);
    world.apply(20, &step(r#"{"do":"api","fault":"flapping"}"#)).expect("a step");
    let again: Vec<u16> = (0..4).map(|_| status(&mut world, 20, "k2")).collect();
    assert_eq!(again, [200, 200, 401, 401], "a new fault counts anew");
}

#[test]
fn split_replicas_know_one_credential_each() {
    let mut world = world(r#"{"replicas": 3}"#);
    world.apply(0, &step(r#"{"do":"api","fault":"split"}"#)).expect("a step");
    let calm: Vec<u16> = (0..3).map(|_| status(&mut world, 1, "k1")).collect();
    assert_eq!(calm, [200; 3], "there is nothing to disagree about yet");
    world.apply(10, &step(r#"{"do":"rotate"}"#)).expect("a step");
    let new: Vec<u16> = (0..3).map(|_| status(&mut world, 20, "k2")).collect();
    let old: Vec<u16> = (0..3).map(|_| status(&mut world, 20, "k1")).collect();
    assert_eq!((new, old), (vec![200, 401, 401], vec![401, 200, 200]));
    world.apply(30, &step(r#"{"do":"api","fault":"none"}"#)).expect("a step");
    assert_eq!(status(&mut world, 30, "k1"), 200);
}
