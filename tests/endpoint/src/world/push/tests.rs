use super::super::tests::{step, world};
use super::*;

const ASK: EventsRequest<'_> =
    EventsRequest { bearer: Some("bootstrap"), set: Some("trading"), region: 0 };

fn apply(world: &mut World, now: u64, json: &str) {
    world.apply(now, &step(json)).expect(json);
}

fn open(world: &mut World, now: u64) -> Stream {
    match world.events(now, &ASK) {
        Planned::Answer { reply: Opened::Stream(stream), .. } => stream,
        other => panic!("{other:?}"),
    }
}

/// What is heard, in short, and when to listen again.
fn heard(world: &mut World, now: u64, stream: &mut Stream) -> (Vec<String>, u64) {
    let Pushed::Frames { frames, next_at } = world.pushed(now, stream) else {
        return (vec!["broken".to_owned()], 0);
    };
    let short = |frame: Frame| match frame.said {
        Said::Ping => "ping".to_owned(),
        Said::State { generation, immediate, revocation, .. } => {
            let event = if revocation { "revoked" } else { "changed" };
            format!("{event} {generation}{}", if immediate { "!" } else { "" })
        }
    };
    (frames.into_iter().map(short).collect(), next_at)
}

fn said(world: &mut World, now: u64, stream: &mut Stream) -> Vec<String> {
    heard(world, now, stream).0
}

#[test]
fn a_stream_says_what_there_is_then_what_comes() {
    let mut world = world(r#"{"levels": ["events"], "ping_ms": 100}"#);
    let mut stream = open(&mut world, 0);
    assert_eq!(heard(&mut world, 0, &mut stream), (vec!["changed 1".to_owned()], 100));
    apply(&mut world, 10, r#"{"do": "rotate", "publish_after_ms": 50}"#);
    assert_eq!(heard(&mut world, 10, &mut stream), (vec![], 60), "it is not visible yet");
    assert_eq!(said(&mut world, 60, &mut stream), ["changed 2"]);
    apply(&mut world, 70, r#"{"do": "cut"}"#);
    apply(&mut world, 71, r#"{"do": "revoke"}"#);
    apply(&mut world, 72, r#"{"do": "rollback"}"#);
    let all = said(&mut world, 80, &mut stream);
    assert_eq!(all, ["changed 3!", "revoked 4!", "changed 5!"], "late, and nothing is lost");
    assert_eq!(heard(&mut world, 179, &mut stream), (vec![], 180));
    assert_eq!(said(&mut world, 180, &mut stream), ["ping"]);
    apply(&mut world, 190, r#"{"do": "revoke_set"}"#);
    apply(&mut world, 191, r#"{"do": "restore_set"}"#);
    assert_eq!(said(&mut world, 200, &mut stream), ["revoked 5!", "changed 6"]);
    let counters = world.counters();
    assert_eq!((counters["push.connects"], counters["push.events"]), (1, 7));
}

#[test]
fn an_event_is_written_without_secrets() {
    let mut world = world(r#"{"levels": ["events"]}"#);
    let mut stream = open(&mut world, 0);
    said(&mut world, 0, &mut stream);
    apply(&mut world, 5, r#"{"do": "revoke"}"#);
    let Pushed::Frames { frames, .. } = world.pushed(5, &mut stream) else { panic!("broken") };
    let text: String = frames.iter().map(Frame::text).collect();
    let expected = "event: revoked\nid: g2\n\
         data: {\"generation\":2,\"revoked\":[\"k1\"],\"urgency\":\"immediate\"}\n\n";
    assert_eq!(text, expected);
    assert!(!world.holds_material(&text) && !format!("{ASK:?}").contains("bootstrap"));
}

#[test]
fn a_generation_that_nobody_could_see_is_not_told() {
    let mut world = world(r#"{"levels": ["events"]}"#);
    let mut stream = open(&mut world, 0);
    said(&mut world, 0, &mut stream);
    apply(&mut world, 10, r#"{"do": "rotate", "publish_after_ms": 50}"#);
    apply(&mut world, 20, r#"{"do": "rotate"}"#);
    assert_eq!(said(&mut world, 100, &mut stream), ["changed 3"]);
}

#[test]
fn a_timed_activation_is_told_at_its_time() {
    let mut world = world(r#"{"levels": ["events"]}"#);
    let mut stream = open(&mut world, 0);
    apply(&mut world, 0, r#"{"do": "rotate", "next": {"activate_in_ms": 70}}"#);
    assert_eq!(heard(&mut world, 0, &mut stream), (vec!["changed 2".to_owned()], 70));
    assert_eq!(said(&mut world, 70, &mut stream), ["changed 3"]);
}

#[test]
fn streams_can_be_dropped_and_are_refused_then() {
    let mut world = world(r#"{"levels": ["events"]}"#);
    let mut stream = open(&mut world, 0);
    apply(&mut world, 10, r#"{"do":"endpoint","fault":"events_dropped","for_ms":50}"#);
    assert_eq!(said(&mut world, 10, &mut stream), ["broken"]);
    assert_eq!(world.events(59, &ASK), Planned::Dropped);
    apply(&mut world, 20, r#"{"do": "rotate"}"#);
    let mut stream = open(&mut world, 60);
    assert_eq!(said(&mut world, 60, &mut stream), ["changed 2"]);
    assert_eq!(world.fetch(60, &FetchRequest::default()).reply().map(|one| one.status), Some(401));
}

#[test]
fn a_silence_is_made_up_for_when_it_ends() {
    let mut world = world(r#"{"levels": ["events"], "ping_ms": 20}"#);
    let mut stream = open(&mut world, 0);
    said(&mut world, 0, &mut stream);
    apply(&mut world, 10, r#"{"do":"endpoint","fault":"events_silent","for_ms":100}"#);
    let mut late = open(&mut world, 15);
    apply(&mut world, 20, r#"{"do": "cut"}"#);
    assert_eq!(heard(&mut world, 60, &mut stream), (vec![], 110), "not even a ping");
    assert_eq!(heard(&mut world, 60, &mut late), (vec![], 110));
    assert_eq!(said(&mut world, 110, &mut stream), ["changed 2"]);
    assert_eq!(said(&mut world, 110, &mut late), ["changed 2"]);
    // One that began and ended while nobody asked.
    apply(&mut world, 120, r#"{"do":"endpoint","fault":"events_silent","for_ms":5}"#);
    assert_eq!(said(&mut world, 128, &mut stream), ["changed 2"]);
}

#[test]
fn events_can_be_slow() {
    let mut world = world(r#"{"levels": ["events"]}"#);
    apply(&mut world, 0, r#"{"do":"endpoint","fault":"events_slow","ms":30}"#);
    let mut stream = open(&mut world, 0);
    assert_eq!(heard(&mut world, 0, &mut stream), (vec![], 30));
    assert_eq!(said(&mut world, 30, &mut stream), ["changed 1"]);
    apply(&mut world, 40, r#"{"do": "rotate"}"#);
    apply(&mut world, 41, r#"{"do":"endpoint","fault":"none"}"#);
    assert_eq!(heard(&mut world, 69, &mut stream), (vec![], 70), "slow when it happened");
    assert_eq!(said(&mut world, 70, &mut stream), ["changed 2"]);
}

#[test]
fn a_restart_breaks_streams_off_and_its_generation_is_another() {
    let mut world = world(r#"{"levels": ["events"]}"#);
    let mut stream = open(&mut world, 0);
    apply(&mut world, 10, r#"{"do": "lose_history"}"#);
    assert_eq!(said(&mut world, 10, &mut stream), ["broken"]);
    let mut stream = open(&mut world, 10);
    let Pushed::Frames { frames, .. } = world.pushed(10, &mut stream) else { panic!("broken") };
    assert!(frames[0].text().contains("id: g1.a2\ndata: {\"generation\":1,"), "{frames:?}");
}

#[test]
fn only_who_may_fetch_may_listen_and_only_where_it_is_served() {
    let status = |world: &mut World, request: EventsRequest<'_>| match world.events(0, &request) {
        Planned::Answer { reply: Opened::Refused(reply), .. } => reply.status,
        other => panic!("{other:?}"),
    };
    let mut level_0 = world(r#"{"levels": ["wait", "acks"]}"#);
    assert_eq!(status(&mut level_0, ASK), 404);
    let mut world = world(r#"{"levels": ["events"]}"#);
    assert_eq!(status(&mut world, EventsRequest { bearer: Some("operator"), ..ASK }), 401);
    assert_eq!(status(&mut world, EventsRequest { set: Some("other"), ..ASK }), 404);
    apply(&mut world, 0, r#"{"do": "endpoint", "fault": "server_error"}"#);
    assert_eq!(status(&mut world, ASK), 503);
}

fn poll<'a>(wait: &'a str) -> FetchRequest<'a> {
    FetchRequest {
        bearer: Some("bootstrap"),
        if_none_match: Some("\"g1\""),
        wait: Some(wait),
        ..Default::default()
    }
}

fn status(asked: &Asked) -> Option<u16> {
    match asked {
        Asked::At(planned) => planned.reply().map(|reply| reply.status),
        Asked::Held(_) => None,
    }
}

#[test]
fn a_long_poll_is_held_until_something_changes_or_its_time_is_over() {
    let mut world = world(r#"{"levels": ["wait"]}"#);
    let Asked::Held(mut hold) = world.ask(0, &poll("2")) else { panic!("not held") };
    assert_eq!(hold.next_at, 2_000);
    apply(&mut world, 500, r#"{"do": "rotate", "publish_after_ms": 100}"#);
    assert_eq!(world.held(500, &poll("2"), &mut hold), None);
    assert_eq!(hold.next_at, 600);
    let changed = world.held(600, &poll("2"), &mut hold).expect("an answer");
    assert_eq!(changed.reply().map(|reply| reply.generation), Some(Some(2)));
    assert_eq!(status(&world.ask(700, &poll("2"))), Some(200), "it has changed already");
    let newer = FetchRequest { if_none_match: Some("\"g2\""), ..poll("2") };
    let Asked::Held(mut hold) = world.ask(700, &newer) else { panic!("not held") };
    assert_eq!(world.held(2_699, &newer, &mut hold), None);
    let same = world.held(2_700, &newer, &mut hold).expect("an answer");
    assert_eq!(same.reply().map(|reply| reply.status), Some(304));
    let counters = world.counters();
    assert_eq!((counters["wait.started"], counters["fetch.started"]), (3, 0));
}

#[test]
fn a_long_poll_that_is_held_meets_the_faults_that_come() {
    let mut world = world(r#"{"levels": ["wait"]}"#);
    let Asked::Held(mut hold) = world.ask(0, &poll("55")) else { panic!("not held") };
    apply(&mut world, 5, r#"{"do": "endpoint", "fault": "outage"}"#);
    assert_eq!(world.held(5, &poll("55"), &mut hold), Some(Planned::Dropped));
}

#[test]
fn a_wait_is_refused_or_ignored() {
    let mut world = world(r#"{"levels": ["wait"]}"#);
    for wait in ["56", "-1", "1.5", "", "x"] {
        assert_eq!(status(&world.ask(0, &poll(wait))), Some(400), "{wait}");
    }
    assert_eq!(status(&world.ask(0, &poll("0"))), Some(304), "a fetch like any other");
    assert_eq!(world.counters()["fetch.started"], 6);
    let mut level_0 = super::super::tests::world("{}");
    for wait in ["5", "x"] {
        assert_eq!(status(&level_0.ask(0, &poll(wait))), Some(304), "{wait}");
    }
    assert_eq!(level_0.counters()["wait.started"], 0);
}
