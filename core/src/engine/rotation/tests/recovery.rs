//! What leads out of a wrong answer, a wrong clock and a wrong key.

use super::*;

/// The API rejects these, one after the other.
fn lose(life: &mut Life, ids: &[&str]) {
    for id in ids {
        life.rejected(id);
    }
}

/// Answers each fetch of the next seconds with this set.
fn answer(life: &mut Life, seconds: u32, set: &CredentialSet) {
    for _ in 0..seconds * 10 {
        if life.live.is_some() {
            life.fetched(set.clone());
        }
        life.pass(0.1);
    }
}

// ---- the way back ----

#[test]
fn an_older_answer_is_believed_once_all_is_rejected_and_it_was_given_twice() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(u64::MAX, "k9", &["k1"]));
    life.accepted("k9");
    let honest = set(2, "k2", &["k1"]);
    for _ in 0..5 {
        life.refresh(honest.clone());
        life.pass(30.0);
    }
    assert_eq!(
        life.in_use(),
        Some("k9"),
        "while the API accepts what is held, nothing older is taken"
    );
    lose(&mut life, &["k9"]);
    life.fetched(honest.clone());
    assert_eq!(life.in_use(), Some("k9"), "k1 may still be good");
    life.accepted("k1");
    answer(&mut life, 60, &honest);
    assert_eq!(life.in_use(), Some("k9"), "it is");
    lose(&mut life, &["k9", "k1", "k9"]);
    life.told();
    answer(&mut life, 61, &honest);
    assert_eq!(life.in_use(), Some("k2"));
    let told = life.events.iter().find_map(|event| match event {
        Event::Recovered { went_back, .. } => *went_back,
        _ => None,
    });
    assert_eq!(told, Some(WentBack { from: u64::MAX, to: 2 }));
    life.accepted("k2");
    life.refresh(set(3, "k3", &["k2"]));
    assert_eq!(life.candidate(), Some("k3"), "from there on generations rise again");
}

#[test]
fn the_second_answer_comes_ten_seconds_after_the_first() {
    let mut life = Life::holding(set(9, "k9", &[]));
    life.pass(100.0);
    life.rejected("k9");
    life.fetched(set(2, "k2", &[]));
    let began = life.now.boot;
    life.starts.clear();
    life.pass(9.9);
    assert!(life.live.is_none());
    life.pass(0.2);
    assert_eq!(life.starts_from(began), [10_000]);
    life.fetched(set(3, "k3", &[]));
    assert_eq!(life.in_use(), Some("k9"), "that is another answer");
    life.pass(10.1);
    life.fetched(set(3, "k3", &[]));
    assert_eq!(life.in_use(), Some("k3"));
}

#[test]
fn whatever_is_refused_because_of_what_is_held_has_a_way_back() {
    let other = CredentialSet::new(Credential::new("k9", "other")).with_generation(10);
    let restored = CredentialSet { lineage: Some("a2".into()), ..set(1, "k1", &[]) };
    let renumbered = CredentialSet { generation: None, ..set(0, "k7", &[]) };
    let answers = [
        ("a lower generation", set(8, "k7", &[])),
        ("the same generation with other keys", set(9, "k7", &[])),
        ("an id that was revoked", set(10, "k7", &[])),
        ("the same, without a number", renumbered),
        ("other material under an id", other),
        ("another lineage", restored),
    ];
    for (what, honest) in answers {
        let mut life =
            Life::holding(CredentialSet { lineage: Some("a1".into()), ..set(7, "k7", &[]) });
        let wrong = set(9, "k9", &[]).with_revoked("k7");
        life.refresh(CredentialSet { lineage: Some("a1".into()), ..wrong });
        assert_eq!(life.told().last(), Some(&"swapped"), "{what}");
        life.refresh(honest.clone());
        assert_eq!(life.told().last(), Some(&"fetch_failed"), "{what}");
        life.rejected("k9");
        answer(&mut life, 12, &honest);
        let held = life.rotation.snapshot().in_use.clone().expect("in use");
        assert!(held.is_same_key(honest.primary().expect("one")), "{what}");
        assert!(life.told().contains(&"recovered"), "{what}");
    }
}

#[test]
fn what_was_revoked_with_its_set_is_restored_by_a_higher_generation_alone() {
    let mut life = Life::holding(set(7, "k7", &[]));
    life.pass(5.0);
    life.step(Input::RefreshRequested);
    life.failed(Error::new(ErrorKind::SetRevoked, "gone"));
    answer(&mut life, 900, &set(7, "k7", &[]));
    assert_eq!(life.in_use(), None);
    life.refresh(set(8, "k7", &[]));
    assert_eq!(life.in_use(), Some("k7"));
    // Other keys were not revoked with it: no number that was reached before locks them out.
    life.pass(5.0);
    life.step(Input::RefreshRequested);
    life.failed(Error::new(ErrorKind::SetRevoked, "gone"));
    answer(&mut life, 30, &set(3, "k9", &[]));
    life.pass_until_a_fetch();
    answer(&mut life, 30, &set(3, "k9", &[]));
    assert_eq!(life.in_use(), Some("k9"));
}

#[test]
fn a_revocation_counts_for_what_was_held_and_is_kept_within_bounds() {
    let mut life = Life::holding(set(1, "k1", &[]).with_revoked("k2").with_revoked("k3"));
    life.refresh(set(2, "k2", &["k1"]));
    assert_eq!(life.candidate(), Some("k2"), "it was not held when it was called revoked");
    for generation in 3..300_u64 {
        let (id, old) = (format!("k{generation}"), format!("k{}", generation - 1));
        life.refresh(set(generation, &id, &[]).with_revoked(&old));
    }
    assert!(life.rotation.holdings.bounds() <= 128);
    life.refresh(set(300, "k298", &[]));
    assert_eq!(life.in_use(), Some("k299"), "the newest are remembered");
}

// ---- conditions ----

#[test]
fn after_a_rejection_there_is_no_condition() {
    let mut life = Life::holding(set(1, "k1", &[]).with_validator("g1"));
    let validator = |life: &Life| {
        let known = life.rotation.known_to_fetch().expect("a set");
        known.validator().map(str::to_owned)
    };
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    assert_eq!(validator(&life).as_deref(), Some("g1"));
    life.not_modified();
    life.rejected("k1");
    assert!(life.live.is_some());
    assert_eq!(validator(&life), None, "a forced fetch");
    life.not_modified();
    life.pass_until_a_fetch();
    assert_eq!(validator(&life), None, "nor a poll, while what is held is rejected");
    life.not_modified();
    life.accepted("k1");
    life.pass_until_a_fetch();
    assert_eq!(validator(&life).as_deref(), Some("g1"));
    life.not_modified();
    life.hint(None);
    assert_eq!(validator(&life), None, "an emergency");
}

// ---- a key that is wrong ----

#[test]
fn a_key_that_was_never_accepted_is_worth_one_forced_fetch_and_two_seconds() {
    for hangs in [false, true] {
        let mut life = Life::begin();
        life.fetched(set(1, "k1", &[]));
        assert!(
            life.rotation.snapshot().wants_evidence(),
            "it wants to hear of the first acceptance"
        );
        life.pass(30.0);
        life.told();
        let began = life.now.boot;
        life.rejected("k1");
        assert!(life.rotation.snapshot().suspect);
        if hangs {
            life.pass(1.9);
            assert!(!life.rotation.snapshot().is_exhausted());
            life.pass(0.2);
        } else {
            life.step(Input::Waited);
            life.not_modified();
        }
        assert!(life.rotation.snapshot().is_exhausted(), "hangs: {hangs}");
        assert!(matches!(
            life.events.iter().rfind(|event| event.name() == "exhausted"),
            Some(Event::Exhausted { never_accepted: true, .. })
        ));
        assert_eq!(life.starts_from(began).len(), 1);
    }
    // One that was accepted before gets the whole wait, and so does what comes after it.
    for id in ["k1", "k2"] {
        let mut life = Life::begin();
        life.fetched(set(1, "k1", &[]));
        life.accepted("k1");
        assert!(!life.rotation.snapshot().wants_evidence());
        if id == "k2" {
            life.refresh(set(2, "k2", &[]));
        }
        life.rejected(id);
        life.not_modified();
        life.pass(9.8);
        assert!(!life.rotation.snapshot().is_exhausted(), "{id}");
    }
}

#[test]
fn what_requests_counted_shows_that_a_key_was_accepted() {
    let mut life = Life::begin();
    life.fetched(set(1, "k1", &[]));
    let parent = life.rotation.snapshot().in_use.clone().expect("in use");
    parent.accepted().add();
    life.rejected("k1");
    life.not_modified();
    assert!(!life.rotation.snapshot().is_exhausted());
    // The child of a fork knows that, too, and begins a count of its own.
    let held = life.rotation.holdings.set.clone().expect("a set");
    let mut child = Life::begin();
    child.rotation.inherit(START, (*held).clone());
    assert!(child.rotation.fetching.is_proven);
    let own = child.rotation.snapshot().in_use.clone().expect("in use");
    assert_eq!((own.accepted().count(), parent.accepted().count()), (0, 1));
}

// ---- emergencies ----

#[test]
fn an_emergency_is_not_held_up_by_the_floor_and_obeys_the_bucket() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    life.not_modified();
    let began = life.now.boot;
    life.starts.clear();
    for _ in 0..300 {
        life.hint(None);
        if life.live.is_some() {
            life.not_modified();
        }
        life.pass(0.1);
    }
    let starts = life.starts_from(began);
    assert_eq!(starts[..2], [0, 100], "a burst of two");
    assert!(starts.len() <= 13, "then as tokens and the floor allow: {starts:?}");
    // One that names a generation waits for what a running fetch brings.
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    life.hint(Some(3));
    life.fetched(set(2, "k2", &["k1"]));
    assert!(life.live.is_some(), "it brought less");
}

// ---- clocks ----

#[test]
fn what_the_api_accepts_has_not_ended_where_the_source_shows_no_clock() {
    let ended = |life: &Life, id: &str| CredentialSet::new(key(id).with_expires_at(life.at(-3000)));
    let mut life = Life::begin();
    life.fetched(ended(&life, "k1"));
    assert_eq!(life.in_use(), Some("k1"), "only the API knows");
    life.accepted("k1");
    life.refresh(ended(&life, "k2"));
    life.accepted("k2");
    assert_eq!(life.in_use(), Some("k2"), "the clock was wrong before");
    life.pass(3600.0);
    assert_eq!(life.in_use(), Some("k2"));
    life.rejected("k2");
    life.refresh(ended(&life, "k2"));
    assert_eq!(
        life.settled.last().and_then(|last| last.clone().err()).map(|it| it.kind()),
        Some(ErrorKind::Malformed)
    );
    // One that works is not displaced by one that seems to have ended.
    let mut life = Life::holding(CredentialSet::new(key("k1")));
    life.refresh(ended(&life, "k2"));
    assert_eq!(life.in_use(), Some("k1"));
    life.rejected("k1");
    let newer = ended(&life, "k2");
    answer(&mut life, 6, &newer);
    assert_eq!(life.in_use(), Some("k2"));
    // What ends while it is in use serves on if the API accepts it.
    for is_accepted in [true, false] {
        let mut life = Life::begin();
        life.fetched(CredentialSet::new(key("k1").with_expires_at(life.at(100))));
        life.pass(101.0);
        assert!(life.rotation.snapshot().wants_evidence());
        if is_accepted {
            life.accepted("k1");
        }
        life.pass(2000.0);
        assert_eq!(life.in_use().is_some(), is_accepted);
    }
    // A strict program asks no API whether what has ended is still good.
    let mut life = Life::with(Policy { stale_grace: Duration::ZERO, ..Policy::default() });
    life.fetched(ended(&life, "k1"));
    assert_eq!(life.in_use(), None);
}

#[test]
fn a_clock_that_is_slow_locks_nobody_out_where_the_source_shows_none() {
    let mut life = Life::begin();
    life.fetched(CredentialSet::new(key("k1").with_not_before(life.at(3600))));
    assert_eq!(life.in_use(), Some("k1"));
    life.rejected("k1");
    assert_eq!((life.in_use(), life.cause()), (None, Some(ErrorKind::NotReady)));
}

#[test]
fn a_new_generation_that_keeps_a_credential_gives_it_no_new_grace() {
    let mut life = Life::begin();
    let ends = life.at(100);
    let set = |life: &Life, generation| {
        CredentialSet::new(key("k1").with_expires_at(ends))
            .with_generation(generation)
            .with_as_of(life.at(0))
    };
    life.fetched(set(&life, 1));
    life.pass(90.0);
    life.fetched(set(&life, 2));
    life.pass(10.1);
    life.failed(outage());
    life.pass(99.0);
    assert_eq!(life.in_use(), Some("k1"), "as long as it lived");
    life.pass(1.5);
    assert_eq!(life.in_use(), None);
}
