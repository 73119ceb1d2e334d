use super::super::tests::{step, world};
use super::super::{CommitKind, StepError, World};

fn apply(world: &mut World, now: u64, json: &str) {
    world.apply(now, &step(json)).expect(json);
}

fn refused(world: &mut World, now: u64, json: &str) -> StepError {
    let before = format!("{:?}", world.committed);
    let error = world.apply(now, &step(json)).expect_err(json);
    assert_eq!(before, format!("{:?}", world.committed), "nothing has changed");
    error
}

/// The credentials that a replica accepts.
fn accepted(world: &mut World, now: u64, replica: usize) -> Vec<String> {
    let ids: Vec<String> = world.credentials.iter().map(|one| one.id.clone()).collect();
    ids.into_iter().filter(|id| world.accepts(now, id, replica)).collect()
}

fn kinds(world: &World) -> Vec<(u64, &str, CommitKind)> {
    let commits = world.commits().iter();
    commits.map(|one| (one.generation, one.credential.as_str(), one.kind)).collect()
}

#[test]
fn an_overlap_lasts_until_the_grace_ends() {
    let mut world = world(r#"{"grace_ms": 50, "ttl_ms": 20}"#);
    apply(&mut world, 10, r#"{"do": "rotate"}"#);
    assert_eq!(accepted(&mut world, 10, 0), ["k1", "k2"]);
    // The grace counts, not that k1 expired at 20.
    assert_eq!(accepted(&mut world, 29, 0), ["k1", "k2"]);
    assert_eq!(accepted(&mut world, 59, 0), ["k1"]);
    assert_eq!(accepted(&mut world, 60, 0).len(), 0);
    apply(&mut world, 100, r#"{"do": "rotate", "ttl_ms": 1000, "grace_ms": 5}"#);
    assert_eq!(
        accepted(&mut world, 1099, 0),
        ["k3"],
        "k2 had expired, and a grace revives nothing"
    );
    assert_eq!(accepted(&mut world, 1100, 0).len(), 0);
}

#[test]
fn without_a_grace_a_credential_lives_while_it_is_listed() {
    let mut world = world("{}");
    for at in [10, 20] {
        apply(&mut world, at, r#"{"do": "rotate"}"#);
    }
    assert_eq!(accepted(&mut world, 29, 0), ["k1", "k2", "k3"]);
    apply(&mut world, 30, r#"{"do": "rotate"}"#);
    assert_eq!(accepted(&mut world, 30, 0), ["k2", "k3", "k4"]);
}

#[test]
fn a_cut_ends_the_old_one_as_the_new_one_starts_on_each_replica() {
    let mut world = world(r#"{"replicas": 2, "grace_ms": 1000}"#);
    apply(&mut world, 10, r#"{"do": "cut", "propagation_ms": [0, 30]}"#);
    assert_eq!(accepted(&mut world, 10, 0), ["k2"]);
    assert_eq!(accepted(&mut world, 39, 1), ["k1"]);
    assert_eq!(accepted(&mut world, 40, 1), ["k2"]);
    assert_eq!(kinds(&world), [(1, "k1", CommitKind::Begin), (2, "k2", CommitKind::Cut)]);
    assert_eq!(world.commits()[1].replaced.as_deref(), Some("k1"));
}

#[test]
fn propagation_delays_the_new_and_the_end_of_the_old() {
    let mut world = world(r#"{"replicas": 2}"#);
    apply(&mut world, 10, r#"{"do":"rotate","grace_ms":20,"propagation_ms":[5,100]}"#);
    assert_eq!(accepted(&mut world, 14, 0), ["k1"]);
    assert_eq!(accepted(&mut world, 15, 0), ["k1", "k2"]);
    assert_eq!(accepted(&mut world, 30, 0), ["k2"]);
    assert_eq!(accepted(&mut world, 109, 1), ["k1"], "it has not heard of anything yet");
    assert_eq!(accepted(&mut world, 110, 1), ["k2"]);
    let error = refused(&mut world, 120, r#"{"do":"rotate","propagation_ms":[1]}"#);
    assert_eq!(error, StepError::Propagation { named: 1, replicas: 2 });
}

#[test]
fn a_bad_rotation_is_never_accepted_and_can_be_rolled_back() {
    let mut world = world("{}");
    apply(&mut world, 10, r#"{"do": "rotate", "accepted": false}"#);
    assert_eq!(accepted(&mut world, 1_000_000, 0), ["k1"]);
    apply(&mut world, 1_000_000, r#"{"do": "rollback"}"#);
    assert_eq!(accepted(&mut world, 1_000_000, 0), ["k1"]);
    assert_eq!(kinds(&world)[2], (3, "k1", CommitKind::Rollback));
    assert!(world.committed.previous.is_empty());
}

#[test]
fn a_rollback_ends_what_it_rolls_back() {
    let mut world = world(r#"{"ttl_ms": 100}"#);
    assert_eq!(refused(&mut world, 0, r#"{"do": "rollback"}"#), StepError::NothingToRollBackTo);
    apply(&mut world, 10, r#"{"do": "cut"}"#);
    assert_eq!(accepted(&mut world, 19, 0), ["k2"]);
    apply(&mut world, 20, r#"{"do": "rollback"}"#);
    assert_eq!(accepted(&mut world, 20, 0), ["k1"]);
    assert_eq!(accepted(&mut world, 119, 0), ["k1"], "it begins a new life");
    assert_eq!(accepted(&mut world, 120, 0).len(), 0);
    apply(&mut world, 130, r#"{"do": "rotate"}"#);
    assert_eq!(kinds(&world).last(), Some(&(4, "k3", CommitKind::Rotate)));
}

#[test]
fn revoking_the_current_one_makes_a_successor() {
    let mut world = world("{}");
    apply(&mut world, 10, r#"{"do": "rotate"}"#);
    apply(&mut world, 20, r#"{"do": "revoke"}"#);
    assert_eq!(accepted(&mut world, 20, 0), ["k1", "k3"]);
    assert_eq!((world.committed.current, world.committed.revoked.as_slice()), (2, &[1][..]));
    assert_eq!(world.committed.previous, [0]);
    apply(&mut world, 30, r#"{"do": "revoke", "credential": "k1"}"#);
    assert_eq!(accepted(&mut world, 30, 0), ["k3"]);
    assert_eq!((world.committed.current, world.committed.revoked.as_slice()), (2, &[1, 0][..]));
    assert_eq!(refused(&mut world, 30, r#"{"do": "rollback"}"#), StepError::NothingToRollBackTo);
    let error = refused(&mut world, 30, r#"{"do": "revoke", "credential": "k9"}"#);
    assert_eq!(error, StepError::UnknownCredential("k9".to_owned()));
}

#[test]
fn a_revoked_set_is_restored_by_a_higher_generation() {
    let mut world = world("{}");
    assert_eq!(refused(&mut world, 0, r#"{"do": "restore_set"}"#), StepError::SetNotRevoked);
    apply(&mut world, 5, r#"{"do": "rotate"}"#);
    apply(&mut world, 10, r#"{"do": "revoke_set"}"#);
    assert_eq!(accepted(&mut world, 10, 0).len(), 0);
    assert_eq!(refused(&mut world, 11, r#"{"do": "rotate"}"#), StepError::SetRevoked);
    assert_eq!(refused(&mut world, 11, r#"{"do": "revoke_set"}"#), StepError::SetRevoked);
    apply(&mut world, 20, r#"{"do": "restore_set"}"#);
    assert_eq!(accepted(&mut world, 20, 0), ["k3"]);
    assert_eq!(world.committed.previous.len(), 0);
    let restored = (3, "k3", CommitKind::RestoreSet);
    assert_eq!(kinds(&world)[2..], [(2, "k2", CommitKind::RevokeSet), restored]);
}

#[test]
fn the_api_alone_forgets() {
    let mut world = world("{}");
    apply(&mut world, 10, r#"{"do": "forget", "credential": "k1"}"#);
    assert_eq!(accepted(&mut world, 10, 0).len(), 0);
    assert_eq!(world.commits().len(), 1);
    apply(&mut world, 20, r#"{"do": "rotate", "grace_ms": 1000}"#);
    assert_eq!(accepted(&mut world, 20, 0), ["k2"], "a grace revives nothing");
}

#[test]
fn a_staged_credential_waits_for_the_next_rotation() {
    let mut world = world("{}");
    apply(&mut world, 10, r#"{"do": "rotate", "next": "staged"}"#);
    assert_eq!(accepted(&mut world, 1_000, 0), ["k1"]);
    let error = refused(&mut world, 1_000, r#"{"do": "rotate", "next": "staged"}"#);
    assert_eq!(error, StepError::AlreadyStaged);
    apply(&mut world, 1_000, r#"{"do": "rotate"}"#);
    assert_eq!(accepted(&mut world, 1_000, 0), ["k1", "k2"]);
    let staged = (2, "k1", CommitKind::Stage);
    assert_eq!(kinds(&world)[1..], [staged, (3, "k2", CommitKind::Rotate)]);
}

#[test]
fn a_timed_credential_is_rotated_in_at_its_time() {
    let mut world = world("{}");
    apply(&mut world, 10, r#"{"do":"rotate","next":{"activate_in_ms":100},"grace_ms":50}"#);
    assert_eq!(accepted(&mut world, 109, 0), ["k1"]);
    // Late, but as if it had been on time.
    assert_eq!(accepted(&mut world, 150, 0), ["k1", "k2"]);
    assert_eq!(accepted(&mut world, 160, 0), ["k2"]);
    assert_eq!((world.commits()[2].at_ms, world.commits()[2].generation), (110, 3));
    assert_eq!(accepted(&mut world, 1_000, 0), ["k2"], "and only once");
    assert_eq!(world.commits().len(), 3);
}

#[test]
fn a_rotation_may_come_before_the_time() {
    let mut world = world("{}");
    apply(&mut world, 10, r#"{"do":"rotate","next":{"activate_in_ms":100}}"#);
    apply(&mut world, 20, r#"{"do": "rotate"}"#);
    assert_eq!(accepted(&mut world, 500, 0), ["k1", "k2"], "and then nothing waits any more");
    assert_eq!(world.commits().len(), 3);
}

#[test]
fn a_condition_that_does_not_hold_does_nothing() {
    let mut world = world("{}");
    apply(&mut world, 10, r#"{"do": "rotate", "swap_only_if": "k2"}"#);
    assert_eq!(world.commits().len(), 1);
    apply(&mut world, 10, r#"{"do": "rotate", "swap_only_if": "k1"}"#);
    assert_eq!(world.commits().len(), 2);
}

#[test]
fn the_endpoint_may_show_a_generation_later() {
    let mut world = world("{}");
    apply(&mut world, 10, r#"{"do": "rotate", "publish_after_ms": 50}"#);
    assert_eq!(accepted(&mut world, 10, 0), ["k1", "k2"]);
    assert_eq!(world.visible(59).1.state.generation, 1);
    assert_eq!(world.visible(60).1.state.generation, 2);
    apply(&mut world, 20, r#"{"do": "revoke"}"#);
    assert_eq!(world.visible(20).1.state.generation, 3, "a newer one does not wait for it");
    assert_eq!(world.visible(60).1.state.generation, 3, "and is not displaced by it");
}

#[test]
fn a_lost_history_begins_again() {
    let mut world = world("{}");
    apply(&mut world, 10, r#"{"do": "rotate"}"#);
    apply(&mut world, 20, r#"{"do": "revoke", "credential": "k1"}"#);
    apply(&mut world, 30, r#"{"do": "lose_history"}"#);
    assert_eq!(kinds(&world)[3], (1, "k3", CommitKind::LoseHistory));
    assert_eq!(world.committed.lineage(), "a2");
    assert!(world.committed.previous.is_empty() && world.committed.revoked.is_empty());
    assert_eq!(accepted(&mut world, 30, 0), ["k2", "k3"]);
    apply(&mut world, 40, r#"{"do": "rotate"}"#);
    assert_eq!(kinds(&world)[4], (2, "k4", CommitKind::Rotate));
    apply(&mut world, 50, r#"{"do": "lose_history", "overlap": false}"#);
    assert_eq!(accepted(&mut world, 50, 0), ["k5"]);
    assert_eq!(refused(&mut world, 50, r#"{"do":"rollback"}"#), StepError::NothingToRollBackTo);
}

#[test]
fn the_validator_of_a_lost_generation_is_not_good_for_the_new_one() {
    let mut world = world("{}");
    apply(&mut world, 10, r#"{"do": "lose_history"}"#);
    let mut ask = super::super::FetchRequest {
        bearer: Some("bootstrap"),
        if_none_match: Some("\"g1\""),
        ..Default::default()
    };
    let reply = world.fetch(10, &ask).reply().expect("an answer").clone();
    assert_eq!((reply.status, reply.etag.as_deref()), (200, Some("\"g1.a2\"")));
    assert!(String::from_utf8_lossy(&reply.body).contains("\"lineage\":\"a2\""));
    ask.if_none_match = reply.etag.as_deref();
    assert_eq!(world.fetch(10, &ask).reply().map(|reply| reply.status), Some(304));
}

#[test]
fn material_of_the_story_is_shown_and_never_accepted() {
    let mut world = world("{}");
    apply(&mut world, 10, r#"{"do": "rotate", "material": "line\nbreak"}"#);
    assert_eq!(accepted(&mut world, 10, 0), ["k1"]);
    assert_eq!(world.material("k2").map(|material| material.reveal()), Some("line\nbreak"));
    assert_eq!(world.credential_of("line\nbreak"), None);
    apply(&mut world, 20, r#"{"do": "rotate"}"#);
    assert_eq!(accepted(&mut world, 20, 0), ["k1", "k3"]);
}
