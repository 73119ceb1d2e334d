//! Who is in use: what is tried, promoted and given up, and by what evidence.

use super::*;

#[test]
fn the_first_set_is_used_at_once() {
    let mut life = Life::begin();
    assert_eq!(life.cause(), Some(ErrorKind::NotReady));
    assert_eq!(life.starts.len(), 1, "it fetches at once");
    life.fetched(set(1, "k1", &[]));
    assert_eq!(life.in_use(), Some("k1"));
    assert_eq!(life.told(), ["fetched", "swapped"]);
    assert!(matches!(life.settled[..], [Ok(())]));
}

#[test]
fn a_newcomer_is_tried_while_the_old_one_stays() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    assert_eq!((life.in_use(), life.candidate()), (Some("k1"), Some("k2")));
    assert_eq!(life.usable(), ["k1", "k2"]);
    assert_eq!(life.probe_opens_in(), 0);
    assert!(life.rotation.snapshot().wants_evidence());
    life.accepted("k2");
    assert_eq!((life.in_use(), life.candidate()), (Some("k2"), None));
    assert_eq!(life.usable(), ["k2", "k1"]);
    assert_eq!(life.told(), ["fetched", "candidate", "promoted"]);
}

#[test]
fn a_newcomer_replaces_at_once_what_is_gone_or_ends_soon() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &[]));
    assert_eq!(life.in_use(), Some("k2"));
    for (left, in_use) in [(29, "k3"), (30, "k2")] {
        let mut life = Life::holding(set(1, "k2", &[]));
        life.pass(5.0);
        let old = key("k2").with_grace_expires_at(life.at(left));
        life.step(Input::RefreshRequested);
        life.fetched(set(2, "k3", &[]).with_previous(old));
        assert_eq!(life.in_use(), Some(in_use), "{left} s left");
    }
}

#[test]
fn probes_back_off() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    let starts = life.starts.len();
    for seconds in [1, 2, 4, 8, 15, 30, 30] {
        life.rejected("k2");
        assert_eq!(life.probe_opens_in(), seconds * 1000);
        assert_eq!(life.in_use(), Some("k1"));
        life.pass(seconds as f64);
    }
    assert_eq!(life.starts.len(), starts, "a rejected candidate forces no fetch");
    life.accepted("k2");
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn a_candidate_nobody_reports_on_is_promoted_after_a_minute() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.pass(59.9);
    assert_eq!(life.in_use(), Some("k1"));
    life.pass(0.2);
    assert_eq!(life.in_use(), Some("k2"));
    assert!(matches!(
        life.events[..],
        [.., Event::Promoted { proven: false, .. }, Event::Lagging { .. }]
            | [.., Event::Promoted { proven: false, .. }]
    ));
}

#[test]
fn a_candidate_without_a_verdict_is_promoted_at_half_life() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.accepted("k1");
    life.pass(299.0);
    assert_eq!(life.in_use(), Some("k1"), "ten minutes of grace, so five");
    life.pass(2.0);
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn a_rejected_candidate_is_promoted_shortly_before_the_end() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.rejected("k2");
    life.pass(589.0);
    assert_eq!(life.in_use(), Some("k1"));
    life.pass(2.0);
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn a_lagging_candidate_is_told_of() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.rejected("k2");
    life.told();
    life.pass(61.0);
    assert!(life.told().contains(&"lagging"));
    life.pass(30.0);
    assert!(!life.told().contains(&"lagging"), "the next one is told when the time has doubled");
}

// ---- rejections ----

#[test]
fn one_rejection_flips_nothing_and_two_do() {
    let mut life = Life::holding(set(2, "k2", &["k1"]));
    life.rejected("k2");
    life.accepted("k1");
    assert_eq!(life.in_use(), Some("k2"));
    life.rejected("k2");
    assert_eq!((life.in_use(), life.candidate()), (Some("k1"), Some("k2")));
    assert_eq!(life.probe_opens_in(), 1000);
    assert_eq!(life.rotation.counts().fallbacks, 1);
    assert_eq!(life.told(), ["rejected", "fell_back", "candidate", "rejected"]);
    life.accepted("k2");
    assert_eq!(life.in_use(), Some("k2"));
    assert_eq!(life.told(), ["promoted"], "what fell back comes back without a rollback");
}

#[test]
fn nothing_falls_back_to_what_is_about_to_end() {
    for (left, in_use) in [(10, "k2"), (11, "k1")] {
        let mut life = Life::begin();
        let old = key("k1").with_grace_expires_at(life.at(left));
        life.fetched(set(2, "k2", &[]).with_previous(old));
        life.rejected("k2");
        life.rejected("k2");
        life.accepted("k1");
        assert_eq!(life.in_use(), Some(in_use), "{left} s left");
    }
}

#[test]
fn an_acceptance_between_rejections_starts_the_count_again() {
    let mut life = Life::holding(set(2, "k2", &["k1"]));
    life.rejected("k2");
    life.accepted("k2");
    life.rejected("k2");
    life.accepted("k1");
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn nothing_is_used_that_was_not_accepted_after_the_rejection() {
    let mut life = Life::holding(set(2, "k2", &["k1"]));
    life.accepted("k1");
    for _ in 0..5 {
        life.rejected("k2");
        life.rejected("k1");
    }
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn evidence_from_before_a_change_changes_nothing() {
    let mut life = Life::holding(set(1, "k1", &[]));
    let early = life.send();
    life.refresh(set(2, "k2", &[]));
    for _ in 0..3 {
        life.step(Input::Rejected(Evidence { credential: "k2".into(), sent: early }));
        life.step(Input::Rejected(Evidence { credential: "k1".into(), sent: early + 100 }));
    }
    assert_eq!(life.rotation.counts().rejections, 0);
    life.refresh(set(3, "k3", &["k2"]));
    life.step(Input::Accepted(Evidence { credential: "k3".into(), sent: early }));
    assert_eq!(life.in_use(), Some("k2"));
    // A probe's rejection makes what was on its way with it old.
    let (probe, other) = (life.send(), life.send());
    life.step(Input::Rejected(Evidence { credential: "k3".into(), sent: probe }));
    life.step(Input::Rejected(Evidence { credential: "k3".into(), sent: other }));
    assert_eq!(life.probe_opens_in(), 1000, "one rejection, not two");
    // After a fallback, what was sent before says nothing of either.
    let early = life.send();
    life.rejected("k2");
    life.accepted("k3");
    assert_eq!(life.in_use(), Some("k3"));
    life.step(Input::Rejected(Evidence { credential: "k3".into(), sent: early }));
    assert!(!life.rotation.snapshot().suspect);
}

#[test]
fn a_rejection_older_than_an_acceptance_says_nothing() {
    let mut life = Life::holding(set(1, "k1", &[]));
    let early = life.send();
    life.accepted("k1");
    life.step(Input::Rejected(Evidence { credential: "k1".into(), sent: early }));
    assert_eq!(life.rotation.counts().rejections, 0);
}

// ---- episodes ----
