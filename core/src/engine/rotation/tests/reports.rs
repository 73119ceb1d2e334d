//! What the provider is told of the credentials in use, and when.

use super::*;
use crate::report::ReportedStatus::{self, Active, Drained, Received, Rejected};

impl Life {
    /// The report that is on its way reached the provider.
    fn arrives(&mut self) {
        self.step(Input::Reported(Ok(())));
    }

    /// The fetch that runs, if one does, brings nothing new.
    fn renew(&mut self) {
        if self.live.is_some() {
            self.not_modified();
        }
    }

    /// Lets time pass; every report reaches the provider at once.
    fn pass_well(&mut self, seconds: u64) {
        for _ in 0..seconds * 4 {
            let known = self.reports.len();
            self.pass(0.25);
            if self.reports.len() > known {
                assert_eq!(self.reports.len(), known + 1, "one report at a time");
                self.arrives();
            }
        }
    }

    /// What the last report said of each credential.
    fn reported(&self) -> Vec<(&str, ReportedStatus)> {
        let report = self.reports.last().expect("a report");
        report.observations.iter().map(|it| (&*it.credential, it.status)).collect()
    }

    fn observed(&self, id: &str) -> &crate::source::Observation {
        let report = self.reports.last().expect("a report");
        report.observations.iter().find(|it| &*it.credential == id).expect("it is told of")
    }
}

/// A life that told the provider of its first set.
fn told(set: CredentialSet) -> Life {
    let mut life = Life::holding(set);
    life.pass_well(2);
    assert_eq!(life.reports.len(), 1);
    life
}

#[test]
fn nothing_is_told_before_the_first_set_and_the_first_soon_after() {
    let mut life = Life::begin();
    life.failed(outage());
    life.pass(4_000.0);
    assert!(life.reports.is_empty());
    let mut life = Life::holding(set(3, "k3", &["k2"]).with_levels(["acks"]));
    life.pass(0.9);
    assert!(life.reports.is_empty(), "changes of a second go together");
    life.pass(0.2);
    assert_eq!(life.reported(), [("k3", Active), ("k2", Received)]);
    let report = &life.reports[0];
    assert_eq!((report.generation, report.lease), (3, Duration::from_secs(900)));
    assert!(report.announced);
    assert!(life.observed("k3").last_used_at.is_some());
    assert_eq!(life.observed("k2").last_used_at, None);
}

#[test]
fn a_rotation_is_told_twice_and_what_is_gone_is_forgotten() {
    let mut life = told(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.pass_well(2);
    assert_eq!(life.reported(), [("k1", Active), ("k2", Active)], "the candidate is tried");
    life.accepted("k2");
    life.pass_well(29);
    assert_eq!(life.reports.len(), 2, "the old one may still be carried: nothing has changed");
    life.pass_well(3);
    assert_eq!(life.reported(), [("k1", Drained), ("k2", Active)]);
    assert_eq!(life.reports.len(), 3);
    life.refresh(set(3, "k2", &[]));
    life.pass_well(2);
    assert_eq!(life.reported(), [("k2", Active)], "what is gone was told as drained once");
    assert_eq!(life.reports.len(), 4, "the new generation is told");
}

#[test]
fn what_is_gone_at_once_is_active_until_it_is_drained() {
    let mut life = told(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &[]).with_revoked("k1"));
    life.pass_well(2);
    assert_eq!(life.reported(), [("k1", Active), ("k2", Active)]);
    life.pass_well(31);
    assert_eq!(life.reported(), [("k1", Drained), ("k2", Active)]);
    life.pass_well(301);
    assert_eq!(life.reported(), [("k2", Active)]);
    assert_eq!(life.reports.len(), 4);
}

#[test]
fn one_that_was_never_handed_out_leaves_without_a_word() {
    let mut life = told(set(2, "k2", &["k1"]));
    life.refresh(set(3, "k2", &[]));
    life.pass_well(2);
    assert_eq!(life.reported(), [("k2", Active)]);
}

#[test]
fn a_steady_program_tells_each_third_of_its_lease() {
    let mut life = told(set(1, "k1", &[]));
    life.pass_well(1_500);
    assert_eq!(life.reports.len(), 1 + 5);
}

#[test]
fn a_rejected_one_is_told_as_rejected_unless_it_is_in_use() {
    let mut life = told(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.rejected("k2");
    life.rejected("k1");
    life.pass_well(2);
    assert_eq!(life.reported(), [("k1", Active), ("k2", Rejected)]);
    assert_eq!((life.observed("k1").rejected, life.observed("k2").rejected), (1, 1));
}

#[test]
fn a_fallback_that_requests_carry_is_active_for_as_long() {
    let mut life = told(set(2, "k2", &["k1"]));
    life.accepted("k1");
    life.pass_well(2);
    assert_eq!(life.reported(), [("k2", Active), ("k1", Active)]);
    // A count that rises shows the same, though the engine was told of no acceptance.
    for _ in 0..3 {
        life.pass_well(20);
        let previous = life.rotation.snapshot().usable[1].credential.clone();
        previous.accepted().add();
    }
    assert_eq!(life.reports.len(), 2);
    life.pass_well(40);
    assert_eq!(life.reported(), [("k2", Active), ("k1", Drained)]);
    assert_eq!(life.observed("k1").ok, 3);
}

#[test]
fn a_fallback_that_is_on_its_way_is_active_before_the_api_has_said_anything() {
    let mut life = told(set(2, "k2", &["k1"]));
    let previous = life.rotation.snapshot().usable[1].credential.clone();
    previous.accepted().resend();
    life.refresh(set(3, "k2", &[]).with_revoked("k1"));
    life.pass_well(2);
    assert_eq!(life.reported(), [("k2", Active), ("k1", Active)]);
    life.pass_well(31);
    assert_eq!(life.reported(), [("k2", Active), ("k1", Drained)]);
    assert_eq!(life.observed("k1").ok, 0);
}

#[test]
fn counts_go_on_when_the_same_key_is_fetched_again() {
    let mut life = told(set(1, "k1", &[]));
    let carried = life.rotation.snapshot().in_use.clone().expect("in use");
    carried.accepted().add();
    // Its end is new, and with it the object.
    let renewed = living(&life, 2, "k1", 7_200);
    life.refresh(renewed);
    let now = life.rotation.snapshot().in_use.clone().expect("in use");
    assert!(!Arc::ptr_eq(&carried, &now));
    carried.accepted().add();
    now.accepted().add();
    life.pass_well(2);
    assert_eq!(life.observed("k1").ok, 3);
}

#[test]
fn other_material_under_the_same_id_adds_to_the_count() {
    let mut life = told(CredentialSet::new(key("k1")));
    life.rotation.snapshot().in_use.clone().expect("in use").accepted().add();
    life.refresh(CredentialSet::new(Credential::new("k1", "other material")));
    life.rotation.snapshot().in_use.clone().expect("in use").accepted().add();
    life.pass_well(2);
    assert_eq!((life.reported().len(), life.observed("k1").ok), (1, 2));
}

#[test]
fn a_failed_report_is_tried_again_ever_later_with_the_newest_state() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(1.0);
    let mut waits = Vec::new();
    for _ in 0..11 {
        let before = life.now.boot;
        let known = life.reports.len();
        life.step(Input::Reported(Err(outage())));
        while life.reports.len() == known {
            life.pass(0.25);
            life.renew();
        }
        waits.push((life.now.boot - before) / 1_000);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    life.step(Input::Reported(Err(outage().with_retry_after(Duration::from_secs(100_000)))));
    let known = life.reports.len();
    life.pass(310.0);
    assert_eq!(life.reports.len(), known + 1, "what it asks for is clamped");
    let actions = life.step(Input::Reported(Err(outage())));
    assert!(actions.is_empty(), "nothing else comes of it: {actions:?}");
}

#[test]
fn what_changes_while_a_report_is_on_its_way_is_told_after_it() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(1.0);
    life.refresh(set(2, "k2", &["k1"]));
    life.pass(60.0);
    assert_eq!(life.reports.len(), 1, "one at a time");
    life.arrives();
    life.pass(1.0);
    assert_eq!(life.reports[1].generation, 2);
}

#[test]
fn a_source_that_declines_is_asked_again_only_when_its_levels_change() {
    for level_is_missing in [false, true] {
        let mut life = Life::holding(set(1, "k1", &[]));
        life.pass(1.0);
        life.step(if level_is_missing {
            Input::Reported(Err(outage().with_status(404)))
        } else {
            Input::ReportDeclined
        });
        life.refresh(set(2, "k2", &["k1"]));
        life.accepted("k2");
        life.pass(2_000.0);
        assert_eq!(life.reports.len(), 1);
        assert!(final_report(&mut life).is_none());
    }
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(1.0);
    life.step(Input::ReportDeclined);
    life.refresh(set(2, "k1", &[]).with_levels(["acks"]));
    life.pass(1.0);
    assert_eq!(life.reports.len(), 2);
}

#[test]
fn a_lease_of_zero_tells_nothing() {
    let mut life = Life::with(Policy { lease: Duration::ZERO, ..Policy::default() });
    life.fetched(set(1, "k1", &[]));
    life.pass(2_000.0);
    assert!(life.reports.is_empty() && final_report(&mut life).is_none());
}

#[test]
fn a_fleet_spreads_over_the_splay_that_its_provider_names() {
    let mut life = Life::holding(set(1, "k1", &[]).with_splay(Duration::from_secs(200)));
    let share = life.rotation.holdings.jitter * 200.0;
    assert!(share > 2.0, "the seed of these tests is not at the head of its fleet");
    life.pass(share);
    assert!(life.reports.is_empty());
    life.pass(1.1);
    assert_eq!(life.reports.len(), 1);
}

#[test]
fn the_last_word_is_that_nothing_is_used_any_more() {
    let mut life = told(set(2, "k2", &["k1"]));
    let final_report = final_report(&mut life).expect("a last report");
    assert_eq!((final_report.lease, final_report.generation), (Duration::ZERO, 2));
    assert!(final_report.observations.iter().all(|it| it.status == Drained));
    assert_eq!(final_report.observations.len(), 2);
}

#[test]
fn who_was_told_nothing_gets_no_final_report() {
    assert!(final_report(&mut Life::begin()).is_none());
    assert!(final_report(&mut Life::holding(set(1, "k1", &[]))).is_none());
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(1.0);
    assert!(final_report(&mut life).is_some(), "the first report may have arrived");
}

#[test]
fn what_cannot_be_told_is_not_kept_for_ever() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(1.0);
    for generation in 2..60 {
        life.refresh(set(generation, &format!("k{generation}"), &[]));
        life.pass(40.0);
    }
    life.step(Input::Reported(Err(outage())));
    life.pass(2.0);
    assert_eq!(life.reported().len(), 17, "the one in use, and the last sixteen");
}

/// The last report of a life that ends.
fn final_report(life: &mut Life) -> Option<Report> {
    let known = life.reports.len();
    life.step(Input::Closed);
    life.reports.drain(known..).next()
}
