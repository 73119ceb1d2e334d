//! A slot for what is not proven, while one request holds it.

use std::{sync::Arc, time::Duration};

use super::later;
use crate::{engine::snapshot::ProbeSlot, policy::Policy};

/// A slot that this request holds. It opens again at `again_at` if the request is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) slot: Arc<ProbeSlot>,
    pub(super) until: u64,
    pub(super) again_at: u64,
}

impl Claim {
    pub(super) fn of(
        slot: &Arc<ProbeSlot>,
        now: u64,
        again: Duration,
        policy: &Policy,
    ) -> Option<Self> {
        let until = later(now, policy.probe_timeout);
        let claim = || Self { slot: slot.clone(), until, again_at: later(now, again) };
        slot.claim(now, until).then(claim)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.slot.release(self.until, self.again_at);
    }
}
