//! When a credential may be used: graces, leads, and clocks that are wrong.

use super::*;

#[test]
fn a_previous_one_is_kept_for_its_grace() {
    let cases = [
        (Some(100), Some(50), 100),
        (Some(100), None, 100),
        (None, Some(50), 50),
        (None, Some(5000), 600),
        (None, None, 600),
    ];
    for (grace, expires, kept) in cases {
        let mut life = Life::begin();
        let mut old = key("k1");
        old = grace.map_or(old.clone(), |at| old.with_grace_expires_at(life.at(at)));
        old = expires.map_or(old.clone(), |at| old.with_expires_at(life.at(at)));
        life.fetched(set(2, "k2", &[]).with_previous(old));
        life.pass(kept as f64 - 0.5);
        assert_eq!(life.usable(), ["k2", "k1"], "{grace:?} {expires:?}");
        life.pass(1.0);
        assert_eq!(life.usable(), ["k2"], "{grace:?} {expires:?}");
    }
}

#[test]
fn past_its_end_the_last_one_serves_for_a_grace_that_a_rejection_ends() {
    for refused in [false, true] {
        let mut life = Life::begin();
        life.fetched(living(&life, 1, "k1", 120));
        life.pass(100.0);
        life.failed(outage());
        life.pass(22.0);
        assert_eq!(life.in_use(), Some("k1"), "past its end");
        if refused {
            let early = life.send();
            life.rejected("k1");
            assert_eq!((life.in_use(), life.cause()), (None, Some(ErrorKind::Unavailable)));
            life.accepted("k1");
            life.step(Input::Accepted(Evidence { credential: "k1".into(), sent: early }));
            assert_eq!(life.in_use(), None, "a grace that was refused does not come back");
            continue;
        }
        life.pass(117.0);
        assert_eq!(life.in_use(), Some("k1"), "as long as it lived");
        life.pass(2.0);
        assert_eq!(life.in_use(), None);
        assert!(life.told().contains(&"expired"));
    }
}

#[test]
fn strict_programs_have_no_stale_grace_and_the_server_may_set_its_own() {
    let mut life = Life::with(Policy { stale_grace: Duration::ZERO, ..Policy::default() });
    life.fetched(living(&life, 1, "k1", 60));
    life.pass(61.0);
    assert_eq!((life.in_use(), life.cause()), (None, Some(ErrorKind::Timeout)));
    let mut life = Life::begin();
    life.fetched(living(&life, 1, "k1", 60).with_stale_ok_until(life.at(90)));
    life.pass(89.0);
    assert_eq!(life.in_use(), Some("k1"));
    life.pass(2.0);
    assert_eq!(life.in_use(), None);
}

#[test]
fn requests_are_warned_shortly_before_the_end() {
    let mut life = Life::begin();
    life.fetched(living(&life, 1, "k1", 100));
    life.pass(89.0);
    assert!(!life.rotation.snapshot().hard);
    life.pass(2.0);
    assert!(life.rotation.snapshot().hard, "a tenth of its life");
}

#[test]
fn a_staged_one_is_tried_from_its_time_on_and_never_before() {
    let mut life = Life::begin();
    let staged = key("k2").with_activate_at(life.at(60));
    life.fetched(set(1, "k1", &[]).with_next(staged));
    life.pass(59.0);
    assert_eq!((life.usable(), life.candidate()), (vec!["k1"], None));
    life.pass(1.5);
    assert_eq!((life.in_use(), life.candidate()), (Some("k1"), Some("k2")));
    let mut life = Life::begin();
    life.fetched(set(1, "k1", &[]).with_next(key("k2")));
    life.pass(100_000.0);
    assert_eq!(life.usable(), ["k1"], "without a time it is for information only");
}

#[test]
fn an_unknown_scheme_is_unusable_and_not_an_error() {
    let foreign = || NamedScheme { name: "smoke-signals".into(), header: None };
    let mut life = Life::begin();
    life.fetched(CredentialSet::new(key("k1").with_scheme(foreign())).with_generation(1));
    assert_eq!(life.cause(), Some(ErrorKind::SchemeFailed));
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(
        CredentialSet::new(key("k2").with_scheme(foreign()))
            .with_generation(2)
            .with_previous(key("k1")),
    );
    assert_eq!((life.in_use(), life.candidate(), life.usable()), (Some("k1"), None, vec!["k1"]));
    let mut life = Life::begin();
    life.rotation.know_schemes(["smoke-signals".into()]);
    life.fetched(CredentialSet::new(key("k1").with_scheme(foreign())).with_generation(1));
    assert_eq!(life.in_use(), Some("k1"));
}

#[test]
fn a_credential_is_not_used_before_it_is_valid() {
    let mut life = Life::begin();
    let early = key("k2").with_not_before(life.at(30));
    let now = life.at(0);
    life.fetched(CredentialSet::new(early).with_generation(1).with_as_of(now));
    assert_eq!(life.cause(), Some(ErrorKind::NotReady));
    life.pass(31.0);
    assert_eq!(life.in_use(), Some("k2"));
}

// ---- clocks ----

#[test]
fn a_wall_clock_set_back_lengthens_no_life() {
    let mut life = Life::begin();
    let set = CredentialSet { as_of: None, ..living(&life, 1, "k1", 600) };
    life.fetched(set.clone());
    life.now.wall -= 3_600_000;
    life.step(Input::Woke);
    assert_eq!(life.told().last(), Some(&"clock_jumped"));
    life.pass(5.0);
    life.fetched(set);
    life.pass(590.0);
    assert!(life.rotation.snapshot().hard);
    life.pass(6.0);
    let primary = &life.rotation.holdings.members[0];
    assert!(primary.has_ended(life.now), "a source that shows no clock does not move a known end");
}

#[test]
fn a_sleep_hides_no_end_and_the_sources_clock_mends_a_wrong_one() {
    let mut life = Life::begin();
    let zero = life.at(0);
    let ends = life.at(3600);
    let first = || CredentialSet::new(key("k1").with_expires_at(ends)).with_generation(1);
    life.fetched(first().with_as_of(zero).with_stale_ok_until(zero));
    assert!(life.rotation.confirmable().is_some());
    life.now.wall += 7_200_000;
    life.step(Input::Woke);
    assert_eq!(life.in_use(), None, "by the wall clock it has ended");
    assert!(life.told().contains(&"clock_jumped"));
    life.pass(5.0);
    assert!(life.live.is_some(), "and it asks at once");
    assert!(life.rotation.confirmable().is_none(), "for the full state");
    let later = zero.checked_add(jiff::SignedDuration::from_secs(5)).expect("a time");
    life.fetched(first().with_as_of(later));
    assert_eq!(life.in_use(), Some("k1"), "it was the wall clock that was wrong");
}

#[test]
fn an_unchanged_answer_does_not_keep_an_ended_one_alive() {
    let mut life = Life::begin();
    life.fetched(living(&life, 1, "k1", 60).with_stale_ok_until(life.at(60)));
    life.pass(61.0);
    while life.live.is_none() {
        life.pass(1.0);
    }
    life.not_modified();
    assert_eq!(life.in_use(), None);
    assert!(life.settled.last().is_some_and(Result::is_err));
}
