//! The trial of a candidate: one request at a time carries it, until it is proven or time runs out.

use std::{sync::Arc, time::Duration};

use super::snapshot::ProbeSlot;
use crate::{
    credential::CredentialId,
    moment::{Moment, millis},
    policy::Policy,
};

pub(super) struct Probation {
    pub(super) of: CredentialId,
    pub(super) slot: Arc<ProbeSlot>,
    /// Whether anybody reports what the API says.
    pub(super) reported: bool,
    /// When to tell that it is still not in use.
    pub(super) lagging_at: u64,
    since: Moment,
    /// Trials that brought no success.
    failures: usize,
    /// Until when it is left alone after the last one.
    rests_until: u64,
}

impl Probation {
    pub(super) fn new(of: CredentialId, now: Moment, policy: &Policy) -> Self {
        Self {
            of,
            slot: Arc::new(ProbeSlot::open_from(now.boot)),
            reported: false,
            lagging_at: now.boot.saturating_add(millis(policy.lagging)),
            since: now,
            failures: 0,
            rests_until: now.boot,
        }
    }

    /// A trial was no success: the API does not take it yet. Says how long it is left alone.
    pub(super) fn failed(&mut self, now: Moment, policy: &Policy) -> Duration {
        let delays = &policy.probe_delays;
        let delay = delays[self.failures.min(delays.len() - 1)];
        self.failures += 1;
        self.reported = true;
        self.rests_until = now.boot.saturating_add(millis(delay));
        // A new slot: a probe that is still on its way must not open or close it.
        self.slot = Arc::new(ProbeSlot::open_from(self.rests_until));
        delay
    }

    /// Whether it is left alone now: what is heard of it meanwhile is what was heard before.
    pub(super) fn rests(&self, now: Moment) -> bool {
        now.boot < self.rests_until
    }

    /// When it is used unproven, given the end of the credential in use: shortly before that end if a
    /// trial failed; halfway if nobody could tell; sooner if nobody reports anything.
    pub(super) fn promote_at(&self, ends: Option<Moment>, policy: &Policy) -> Option<Moment> {
        if self.failures > 0 {
            return ends.map(|ends| ends.before(policy.give_up));
        }
        let half = ends.map(|ends| self.since + ends.remaining(self.since) / 2);
        let unreported = self.since + policy.probe_unreported;
        match half {
            half if self.reported => half,
            Some(half) => Some(half.earlier(unreported)),
            None => Some(unreported),
        }
    }

    /// How long it has been there, if it is time to tell that it is still not in use.
    pub(super) fn lagging(&mut self, now: Moment, policy: &Policy) -> Option<Duration> {
        if self.lagging_at > now.boot {
            return None;
        }
        let since = Duration::from_millis(now.boot.saturating_sub(self.since.boot));
        self.lagging_at = now.boot.saturating_add(millis(since.max(policy.lagging)));
        Some(since)
    }
}
