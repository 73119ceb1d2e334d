//! What an API says of a credential beside its answers is a hint, and no more.

use super::*;

impl Life {
    fn credential_status(&mut self, id: &str, status: CredentialStatus) {
        self.step(Input::CredentialStatus { credential: id.into(), status });
    }
}

fn retiring(successor: Option<&str>) -> CredentialStatus {
    CredentialStatus::Retiring { successor: successor.map(Into::into) }
}

/// A life past the floor after its first fetch.
fn quiet(set: CredentialSet) -> Life {
    let mut life = Life::holding(set);
    life.pass(5.0);
    life
}

#[test]
fn one_that_retires_is_looked_after_and_changes_nothing_else() {
    let mut life = quiet(set(1, "k1", &[]));
    let before = life.rotation.snapshot().clone();
    life.credential_status("k1", retiring(Some("k2")));
    assert_eq!(life.starts.len(), 2);
    life.not_modified();
    assert!(Arc::ptr_eq(&before, life.rotation.snapshot()));
    assert_eq!(life.rotation.counts().forced, 0);
}

#[test]
fn nothing_is_fetched_for_a_successor_that_is_held_or_a_key_that_is_not() {
    let mut life = quiet(set(2, "k2", &["k1"]));
    life.credential_status("k1", retiring(Some("k2")));
    life.credential_status("k0", retiring(None));
    life.credential_status("k0", CredentialStatus::Revoked);
    assert_eq!(life.starts.len(), 1);
    life.credential_status("k1", retiring(Some("k3")));
    assert_eq!(life.starts.len(), 2, "what led to nothing does not count");
}

#[test]
fn a_fleet_spreads_its_looks() {
    let mut life = quiet(set(1, "k1", &[]).with_splay(Duration::from_secs(200)));
    life.credential_status("k1", retiring(None));
    assert_eq!(life.starts.len(), 1);
    let now = life.now.boot;
    life.pass(200.0);
    assert!((now + 1_000..=now + 200_000).contains(&life.starts[1]), "{:?}", life.starts);
}

#[test]
fn a_revocation_forces_a_fetch_and_revokes_nothing() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.credential_status("k1", CredentialStatus::Revoked);
    assert_eq!(life.starts.len(), 2, "it bypasses the floor");
    assert_eq!(life.rotation.counts().forced, 1);
    assert_eq!((life.in_use(), life.usable()), (Some("k1"), vec!["k1"]));
    life.fetched(set(2, "k2", &[]).with_revoked("k1"));
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn a_fetch_that_runs_may_have_missed_the_revocation() {
    let mut life = quiet(set(1, "k1", &[]));
    life.step(Input::RefreshRequested);
    life.credential_status("k1", CredentialStatus::Revoked);
    assert_eq!(life.starts.len(), 2);
    life.not_modified();
    life.pass(5.0);
    assert_eq!(life.starts.len(), 3, "one more look, as the floor allows");
}

#[test]
fn forced_by_a_credential_status_or_by_a_rejection_the_tokens_are_the_same() {
    let mut life = Life::holding(set(3, "k3", &["k2", "k1"]));
    for id in ["k3", "k2", "k1"] {
        life.credential_status(id, CredentialStatus::Revoked);
        if life.live.is_some() {
            life.not_modified();
        }
    }
    assert_eq!(life.starts.len(), 1 + 2);
}

#[test]
fn one_status_of_a_credential_is_followed_each_thirty_seconds() {
    let mut life = quiet(set(1, "k1", &[]));
    for _ in 0..1_000 {
        life.credential_status("k1", CredentialStatus::Revoked);
        life.credential_status("k1", retiring(None));
        if life.live.is_some() {
            life.not_modified();
        }
        life.pass(0.02);
    }
    assert_eq!(life.starts.len(), 2, "in 20 s");
    life.pass(10.0);
    life.credential_status("k1", CredentialStatus::Revoked);
    assert_eq!(life.starts.len(), 3);
}
