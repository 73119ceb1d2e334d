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
    rejections: usize,
}

impl Probation {
    pub(super) fn new(of: CredentialId, now: Moment, policy: &Policy) -> Self {
        Self {
            of,
            slot: Arc::new(ProbeSlot::open_from(now.boot)),
            reported: false,
            lagging_at: now.boot.saturating_add(millis(policy.lagging)),
            since: now,
            rejections: 0,
        }
    }

    /// The API does not take it yet. Says how long it is left alone.
    pub(super) fn rejected(&mut self, now: Moment, policy: &Policy) -> Duration {
        let delays = &policy.probe_delays;
        let delay = delays[self.rejections.min(delays.len() - 1)];
        self.rejections += 1;
        self.reported = true;
        // A new slot: a probe that is still on its way must not open or close it.
        self.slot = Arc::new(ProbeSlot::open_from(now.boot.saturating_add(millis(delay))));
        delay
    }

    /// When it is used unproven, given the end of the credential in use: shortly before that end if it
    /// was rejected; halfway if nobody could tell; sooner if nobody reports anything.
    pub(super) fn promote_at(&self, ends: Option<Moment>, policy: &Policy) -> Option<Moment> {
        if self.rejections > 0 {
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
