//! What a rejection sets in motion: forced fetches, and when callers wait or fail fast.

use super::*;

#[test]
fn a_rejection_forces_a_fetch_past_the_floor() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.rejected("k1");
    assert_eq!(life.starts, [START.boot, START.boot], "no floor, and no delay");
    assert_eq!(life.rotation.counts().forced, 1);
    assert!(life.rotation.snapshot().suspect);
    life.fetched(set(2, "k2", &[]));
    assert_eq!(life.in_use(), Some("k2"));
    assert!(!life.rotation.snapshot().suspect);
}

#[test]
fn episodes_are_rare_and_get_rarer() {
    let mut life = Life::holding(set(1, "k1", &[]));
    let mut forced = Vec::new();
    let began = life.now.boot;
    for _ in 0..1200 {
        life.rejected("k1");
        if life.live.is_some() {
            forced.push((life.now.boot - began) / 1000);
            life.not_modified();
        }
        life.pass(1.0);
        if life.live.is_some() {
            life.not_modified();
        }
    }
    let forced_by_rejections = life.rotation.counts().forced;
    assert_eq!(forced, [0, 30, 90, 210, 450, 750, 1050]);
    assert_eq!(forced_by_rejections, 7);
    // A new generation begins anew.
    life.refresh(set(2, "k1", &["k0"]));
    life.rejected("k1");
    assert!(life.live.is_some());
}

#[test]
fn a_running_fetch_is_joined() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    life.rejected("k1");
    assert_eq!(life.rotation.counts().forced, 0);
    life.not_modified();
    assert!(life.live.is_none(), "nobody waits");
    life.step(Input::Waited);
    life.pass(0.999);
    assert!(life.live.is_none());
    life.pass(0.002);
    assert!(life.live.is_some());
}

#[test]
fn an_unchanged_answer_is_asked_again_while_callers_wait_as_tokens_allow() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(100.0);
    let began = life.now.boot;
    life.rejected("k1");
    while life.now.boot < began + 30_000 {
        if life.live.is_some() {
            life.not_modified();
        }
        life.step(Input::Waited);
        life.pass(0.1);
    }
    let starts = life.starts_from(began);
    assert_eq!(starts, [0, 1000, 5000]);
    assert_eq!(life.rotation.counts().forced, 3);
}

#[test]
fn a_fetch_that_brings_what_the_api_accepts_costs_no_token() {
    for is_good in [true, false] {
        let mut life = Life::holding(set(1, "k1", &[]));
        let began = life.now.boot;
        for generation in 2..8 {
            let id = format!("k{generation}");
            let held = life.in_use().expect("in use").to_owned();
            life.rejected(&held);
            for _ in 0..100 {
                if life.live.is_none() {
                    life.pass(0.1);
                }
            }
            life.fetched(set(generation, &id, &[]));
            if is_good {
                life.accepted(&id);
            }
        }
        // Two at once, and one more each five seconds.
        let took = if is_good { 0 } else { 20_000 };
        assert_eq!(life.now.boot - began, took, "accepted: {is_good}");
    }
}

#[test]
fn nobody_waits_for_what_will_not_come_in_time() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.step(Input::Waited);
    assert!(matches!(life.settled[..], [Ok(()), Ok(())]), "no fetch runs");
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    life.failed(outage().with_retry_after(Duration::from_secs(60)));
    life.rejected("k1");
    life.settled.clear();
    life.step(Input::Waited);
    assert_eq!(life.settled.len(), 1, "the source asked to be left alone for a minute");
    assert!(!life.rotation.snapshot().suspect, "or a request would wait again at once, and again");
    life.pass(0.5);
    life.step(Input::RefreshRequested);
    life.step(Input::Waited);
    assert!(life.settled[1].is_err(), "a refresh that does not take place does not work");
}

#[test]
fn when_everything_was_tried_in_vain_requests_fail_fast_for_a_while() {
    let mut life = Life::holding(set(2, "k2", &["k1"]));
    life.rejected("k2");
    life.rejected("k1");
    life.not_modified();
    life.pass(9.9);
    assert!(life.rotation.snapshot().suspect && !life.rotation.snapshot().is_exhausted());
    life.pass(0.2);
    assert!(life.rotation.snapshot().is_exhausted());
    assert!(life.told().contains(&"exhausted"));
    life.pass(19.8);
    assert!(life.rotation.snapshot().is_exhausted());
    life.pass(0.2);
    assert!(!life.rotation.snapshot().is_exhausted(), "the cooldown is over");
}

#[test]
fn any_acceptance_and_any_new_generation_end_the_exhaustion() {
    let exhausted = || {
        let mut life = Life::holding(set(2, "k2", &["k1"]));
        life.rejected("k2");
        life.rejected("k1");
        life.not_modified();
        life.pass(11.0);
        assert!(life.rotation.snapshot().is_exhausted());
        life.told();
        life
    };
    for id in ["k1", "k2"] {
        let mut life = exhausted();
        life.accepted(id);
        assert!(!life.rotation.snapshot().is_exhausted(), "{id} was accepted");
        assert_eq!(life.told(), ["recovered"]);
    }
    let mut life = exhausted();
    life.refresh(set(3, "k3", &["k2"]));
    assert!(!life.rotation.snapshot().is_exhausted());
}

#[test]
fn it_is_not_exhausted_while_something_was_not_tried() {
    let mut life = Life::holding(set(2, "k2", &["k1"]));
    for _ in 0..5 {
        life.rejected("k2");
    }
    life.not_modified();
    life.pass(11.0);
    assert!(!life.rotation.snapshot().is_exhausted(), "k1 was not tried");
}

// ---- when to fetch ----
