//! What becomes of an answer: generations, lineages, revocations.

use super::*;

#[test]
fn bad_answers_are_failures() {
    let mut life = Life::holding(set(4, "k4", &["k1"]));
    life.refresh(set(5, "k5", &["k4"]).with_revoked("k1"));
    life.accepted("k5");
    let ended = living(&life, 6, "k6", -1);
    let bad = [
        (CredentialSet::default().with_generation(6), ErrorKind::Malformed),
        (set(4, "k4", &[]), ErrorKind::OlderGeneration),
        (set(6, "k1", &["k5"]), ErrorKind::Malformed),
        (set(6, "k6", &["k1"]), ErrorKind::Malformed),
        (
            CredentialSet::new(Credential::new("k5", "other")).with_generation(6),
            ErrorKind::Malformed,
        ),
        (ended, ErrorKind::Malformed),
        (set(5, "k9", &[]), ErrorKind::Malformed),
        (set(5, "k5", &[]), ErrorKind::Malformed),
        (
            CredentialSet::new(key("k6").with_not_before(life.at(60))).with_generation(6),
            ErrorKind::Malformed,
        ),
    ];
    for (answer, kind) in bad {
        life.refresh(answer);
        let failure = life.settled.last().and_then(|last| last.clone().err());
        assert_eq!(failure.map(|failure| failure.kind()), Some(kind));
        assert_eq!((life.in_use(), life.usable()), (Some("k5"), vec!["k5", "k4"]));
        assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(5));
    }
}

#[test]
fn an_answer_is_judged_by_the_sources_clock() {
    let mut life = Life::begin();
    // Here it is an hour later than at the source.
    let there = life.at(-3600);
    let ends = life.at(-3000);
    life.fetched(
        CredentialSet::new(key("k1").with_expires_at(ends)).with_generation(1).with_as_of(there),
    );
    assert_eq!(life.in_use(), Some("k1"), "it has ten minutes to live");
}

#[test]
fn the_same_generation_only_renews() {
    let mut life = Life::holding(set(1, "k1", &[]));
    let epoch = life.rotation.snapshot().epoch();
    life.refresh(set(1, "k1", &[]));
    assert_eq!((life.in_use(), life.rotation.snapshot().epoch()), (Some("k1"), epoch));
    assert_eq!(life.rotation.counts().changed, 1);
    assert_eq!(life.rotation.counts().not_modified, 1);
}

#[test]
fn an_unchanged_key_is_no_change() {
    let mut life = Life::holding(set(1, "k1", &[]));
    let before = life.rotation.snapshot().in_use.clone().expect("in use");
    life.refresh(set(2, "k1", &[]));
    let after = life.rotation.snapshot().in_use.clone().expect("in use");
    assert!(Arc::ptr_eq(&before, &after));
    assert_eq!(life.told(), ["fetched"]);
}

#[test]
fn a_source_without_generations_gets_local_ones() {
    let plain = |id: &str, material: &str| CredentialSet::new(Credential::new(id, material));
    let mut life = Life::begin();
    life.fetched(plain("k", "one"));
    life.refresh(plain("k", "one"));
    let counts = life.rotation.counts();
    assert_eq!((counts.changed, counts.not_modified), (1, 1));
    life.told();
    life.refresh(plain("k", "two"));
    assert_eq!(life.rotation.snapshot().in_use().and_then(|k| k.reveal("key")), Some("two"));
    assert_eq!(life.told(), ["fetched", "swapped"], "other material under the same id is a swap");
    life.refresh(plain("k3", "three").with_previous(Credential::new("k", "two")));
    assert_eq!((life.in_use(), life.candidate()), (Some("k"), Some("k3")));
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(3));
}

/// A wrong key that the source had for a while is no fallback; the one that worked is.
#[test]
fn a_source_without_generations_has_the_last_accepted_key_as_its_fallback() {
    let plain = |id: &str| CredentialSet::new(key(id));
    let held = |life: &Life| -> Vec<String> {
        let snapshot = life.rotation.snapshot();
        snapshot.set().expect("a set").members().map(|member| member.id().to_owned()).collect()
    };
    let mut life = Life::begin();
    life.fetched(plain("k1"));
    life.refresh(plain("k2"));
    assert_eq!(held(&life), ["k2"], "nobody says that the API accepts k1");
    assert_eq!(life.in_use(), Some("k2"));
    life.accepted("k2");
    life.refresh(plain("k3"));
    assert_eq!(held(&life), ["k3", "k2"]);
    life.refresh(plain("k3"));
    assert_eq!(held(&life), ["k3", "k2"], "the same again");
    life.refresh(plain("k4"));
    assert_eq!(held(&life), ["k4", "k2"], "k3 was never accepted");
    life.refresh(plain("k2"));
    assert_eq!(held(&life), ["k2"], "the one that worked is put back");
}

#[test]
fn a_renewed_lease_lives_longer_under_the_same_generation() {
    let mut life = Life::begin();
    let lease = |life: &Life| CredentialSet::new(key("k1").with_expires_at(life.at(100)));
    life.fetched(lease(&life));
    for _ in 0..10 {
        life.pass(60.0);
        life.step(Input::RefreshRequested);
        let lease = lease(&life);
        life.fetched(lease);
    }
    assert_eq!(life.in_use(), Some("k1"));
    assert_eq!(life.rotation.counts().changed, 1);
    assert_eq!(
        life.rotation.snapshot().in_use().and_then(Credential::expires_at),
        Some(life.at(100))
    );
}

#[test]
fn a_rollback_is_a_new_generation() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.accepted("k2");
    life.told();
    life.refresh(set(3, "k1", &["k2"]));
    assert_eq!(life.candidate(), Some("k1"));
    life.accepted("k1");
    assert_eq!(life.told(), ["fetched", "candidate", "rolled_back"]);
    assert_eq!(life.rotation.counts().rollbacks, 1);
    life.refresh(set(4, "k2", &[]));
    assert_eq!(life.told(), ["fetched", "rolled_back"], "at once, when the other is gone");
}

#[test]
fn a_revoked_id_is_out_at_once_and_for_good() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &[]).with_revoked("k1"));
    assert_eq!((life.in_use(), life.usable()), (Some("k2"), vec!["k2"]));
    assert_eq!(life.told(), ["fetched", "revoked", "swapped"]);
    life.refresh(set(3, "k3", &["k1"]));
    life.refresh(set(4, "k4", &[]).with_next(key("k1").with_activate_at(life.at(0))));
    assert_eq!(life.usable(), ["k2"]);
}

#[test]
fn a_revoked_set_is_empty_until_a_higher_generation() {
    let mut life = Life::holding(set(4, "k4", &["k3"]));
    life.pass(5.0);
    life.step(Input::RefreshRequested);
    life.failed(Error::new(ErrorKind::SetRevoked, "gone"));
    assert_eq!((life.in_use(), life.cause()), (None, Some(ErrorKind::SetRevoked)));
    assert!(life.rotation.snapshot().set().is_none());
    assert_eq!(life.told(), ["revoked", "fetch_failed"]);
    life.refresh(set(4, "k4", &["k3"]));
    assert_eq!(life.cause(), Some(ErrorKind::SetRevoked), "the same generation restores nothing");
    life.pass(120.0);
    assert!(life.live.is_some(), "it keeps asking, slowly");
    life.failed(outage());
    assert_eq!(life.cause(), Some(ErrorKind::SetRevoked), "an outage is not the reason");
    life.refresh(set(5, "k5", &[]));
    assert_eq!((life.in_use(), life.cause()), (Some("k5"), None));
}

fn born(set: CredentialSet, lineage: &str) -> CredentialSet {
    CredentialSet { lineage: Some(lineage.into()), ..set }
}

#[test]
fn a_lost_history_locks_nobody_out() {
    let mut life = Life::begin();
    let first = living(&life, 40, "k1", 60);
    life.fetched(born(CredentialSet { stale_ok_until: Some(life.at(60)), ..first }, "a"));
    let reset = born(CredentialSet::new(Credential::new("k1", "other")).with_generation(2), "b");
    for generation in [2, 40, 41] {
        life.told();
        life.refresh(CredentialSet { generation: Some(generation), ..reset.clone() });
        assert_eq!(life.told(), ["fetch_failed"], "generation {generation}");
        assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(40));
        let failure = life.rotation.failure.as_ref().expect("a failure");
        assert_eq!(failure.kind(), ErrorKind::OlderGeneration);
        assert!(failure.to_string().contains("began a new lineage"), "{failure}");
    }
    life.pass(60.0);
    assert_eq!(life.in_use(), None);
    while life.live.is_none() {
        life.pass(1.0);
    }
    life.fetched(reset);
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(2));
    assert_eq!(life.rotation.snapshot().in_use().and_then(|k| k.reveal("key")), Some("other"));
}

#[test]
fn numbers_of_two_sources_are_not_compared() {
    let from = |place, set: CredentialSet| CredentialSet { place: Some(place), ..set };
    let mut life = Life::begin();
    life.fetched(from(0, set(40, "k2", &[])));
    life.refresh(from(1, set(7, "k1", &[])));
    assert_eq!(
        (life.in_use(), life.rotation.snapshot().set().map(CredentialSet::generation)),
        (Some("k1"), Some(7))
    );
    life.refresh(from(1, set(6, "k0", &[])));
    assert_eq!(life.in_use(), Some("k1"), "those of one are");
    life.refresh(from(0, set(40, "k2", &[])));
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn a_signed_answer_may_begin_a_new_lineage_at_once() {
    let mut life = Life::begin();
    life.fetched(born(set(40, "k1", &[]), "a"));
    let signed = |set: CredentialSet| CredentialSet { signed: true, ..set };
    life.refresh(signed(set(39, "k0", &[])));
    assert_eq!(life.in_use(), Some("k1"), "a signature alone does not lower a generation");
    life.refresh(signed(born(set(2, "k2", &[]), "b")));
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(2));
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn a_set_that_names_no_lineage_is_of_the_one_that_is_held() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(born(set(2, "k1", &[]), "a"));
    life.refresh(set(3, "k1", &[]));
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(3));
    life.refresh(born(set(4, "k1", &[]), "b"));
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(3));
    life.refresh(set(2, "k1", &[]));
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(3));
}

// ---- lives and their ends ----
