//! What was counted, through the [`metrics`](::metrics) facade.
//!
//! The driver publishes after each of its steps: what changed since, and what only time changes. A request
//! never does; it raises plain counters, which are read here. What is published are numbers, and the names
//! of a handle and of outcomes: no id, no URL and no material.
//!
//! | name | kind | unit | of |
//! | --- | --- | --- | --- |
//! | `keyswap_fetches_total` | counter | | fetches, by `outcome`: `changed`, `not_modified`, `failed` |
//! | `keyswap_forced_fetches_total` | counter | | those of them that a rejection or a credential status forced |
//! | `keyswap_rejections_total` | counter | | rejections that counted as evidence |
//! | `keyswap_sends_total` | counter | | sends of all requests |
//! | `keyswap_extra_sends_total` | counter | | sends beyond the first of a request |
//! | `keyswap_fallbacks_total` | counter | | times an older credential replaced a rejected one |
//! | `keyswap_rollbacks_total` | counter | | times the provider went back to an older credential |
//! | `keyswap_in_use_changes_total` | counter | | times another credential, or none, was in use |
//! | `keyswap_generation` | gauge | | the generation that is held; 0 without one |
//! | `keyswap_expires_in_seconds` | gauge | s | until the credential in use ends: +Inf if it does not, 0 without one |
//! | `keyswap_last_success_age_seconds` | gauge | s | since a fetch last worked; absent before the first |
//! | `keyswap_waiting_callers` | gauge | | callers that wait for a fetch |
//!
//! Each has the label `set`, which is the name that [`Follow::name`](crate::Follow::name) gave.

use ::metrics::{SharedString, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::{
    credential::{Credential, CredentialId, CredentialSet},
    engine::{rotation::Counts, snapshot::Snapshot},
    moment::Moment,
    store::Store,
};

/// Publishes for one handle.
pub(crate) struct Meter {
    set: SharedString,
    counts: Counts,
    sends: u64,
    extra_sends: u64,
    in_use: Option<CredentialId>,
}

impl Meter {
    /// Tells the recorder what the numbers mean.
    pub(crate) fn new(name: &str) -> Self {
        describe();
        Self {
            set: name.to_owned().into(),
            counts: Counts::default(),
            sends: 0,
            extra_sends: 0,
            in_use: None,
        }
    }

    /// Publishes what changed. Counters are raised by the difference, so that handles of one name add up.
    pub(crate) fn publish(
        &mut self,
        now: Moment,
        counts: Counts,
        snapshot: &Snapshot,
        store: &Store,
    ) {
        let before = std::mem::replace(&mut self.counts, counts);
        for (outcome, now, before) in [
            ("changed", counts.changed, before.changed),
            ("not_modified", counts.not_modified, before.not_modified),
            ("failed", counts.failed, before.failed),
        ] {
            if now > before {
                counter!("keyswap_fetches_total", "set" => self.set.clone(), "outcome" => outcome)
                    .increment(now - before);
            }
        }
        let (sends, extra_sends) = (store.sends(), store.extra_sends());
        let in_use = snapshot.in_use().map(Credential::shared_id);
        let changes = u64::from(in_use != self.in_use);
        for (name, now, before) in [
            ("keyswap_forced_fetches_total", counts.forced, before.forced),
            ("keyswap_rejections_total", counts.rejections, before.rejections),
            ("keyswap_sends_total", sends, self.sends),
            ("keyswap_extra_sends_total", extra_sends, self.extra_sends),
            ("keyswap_fallbacks_total", counts.fallbacks, before.fallbacks),
            ("keyswap_rollbacks_total", counts.rollbacks, before.rollbacks),
            ("keyswap_in_use_changes_total", changes, 0),
        ] {
            if now > before {
                counter!(name, "set" => self.set.clone()).increment(now - before);
            }
        }
        (self.sends, self.extra_sends, self.in_use) = (sends, extra_sends, in_use);
        self.publish_gauges(now, snapshot, store);
    }

    fn publish_gauges(&self, now: Moment, snapshot: &Snapshot, store: &Store) {
        let set = || self.set.clone();
        let generation = snapshot.set().map_or(0, CredentialSet::generation);
        gauge!("keyswap_generation", "set" => set()).set(generation as f64);
        let expires_in = match snapshot.in_use() {
            None => 0.0,
            Some(in_use) => in_use.expires_at().map_or(f64::INFINITY, |ends| {
                seconds(ends.as_millisecond().saturating_sub(now.wall)).max(0.0)
            }),
        };
        gauge!("keyswap_expires_in_seconds", "set" => set()).set(expires_in);
        if let Some(at) = self.counts.last_success {
            let age = seconds(now.wall.saturating_sub(at)).max(0.0);
            gauge!("keyswap_last_success_age_seconds", "set" => set()).set(age);
        }
        gauge!("keyswap_waiting_callers", "set" => set()).set(store.waiting() as f64);
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

fn describe() {
    for (name, what) in [
        ("keyswap_fetches_total", "Fetches of a credential set, by outcome."),
        ("keyswap_forced_fetches_total", "Fetches that a rejection or a credential status forced."),
        ("keyswap_rejections_total", "Rejections by the API that counted as evidence."),
        ("keyswap_sends_total", "Sends of all requests."),
        ("keyswap_extra_sends_total", "Sends beyond the first of a request."),
        ("keyswap_fallbacks_total", "Times an older credential replaced a rejected one."),
        ("keyswap_rollbacks_total", "Times the provider went back to an older credential."),
        ("keyswap_in_use_changes_total", "Times another credential, or none, was in use."),
    ] {
        describe_counter!(name, Unit::Count, what);
    }
    describe_gauge!("keyswap_generation", Unit::Count, "The generation that is held.");
    describe_gauge!(
        "keyswap_expires_in_seconds",
        Unit::Seconds,
        "Until the credential in use ends; +Inf if it does not, 0 without one."
    );
    describe_gauge!(
        "keyswap_last_success_age_seconds",
        Unit::Seconds,
        "Since a fetch last worked."
    );
    describe_gauge!("keyswap_waiting_callers", Unit::Count, "Callers that wait for a fetch.");
}
