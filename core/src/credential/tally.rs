//! What requests count of a credential.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A count that requests raise. It stands on cache lines of its own, away from the credential: those who
/// read the credential in use must not be slowed by those who count. It is no part of what a credential
/// is: two are equal whatever was counted.
#[derive(Clone, Default)]
pub(crate) struct Tally(pub(super) Arc<Apart>);

#[derive(Default)]
#[repr(align(128))]
pub(super) struct Apart {
    pub(super) accepted: AtomicU64,
    resent: AtomicU64,
    nonce: AtomicU64,
}

impl Tally {
    /// A request was accepted.
    pub(crate) fn add(&self) {
        self.0.accepted.fetch_add(1, Relaxed);
    }

    /// How many requests were accepted.
    pub(crate) fn count(&self) -> u64 {
        self.0.accepted.load(Relaxed)
    }

    /// A request that another credential did not get through carries this one.
    pub(crate) fn resend(&self) {
        self.0.resent.fetch_add(1, Relaxed);
    }

    /// A number that is another one whenever a request was seen to carry it since.
    pub(crate) fn trace(&self) -> u64 {
        self.count().wrapping_add(self.0.resent.load(Relaxed))
    }

    /// A number that no call got before: at least this one, and more than the last.
    pub(crate) fn nonce(&self, at_least: u64) -> u64 {
        let next = |last: u64| at_least.max(last.saturating_add(1));
        let taken = self.0.nonce.fetch_update(Relaxed, Relaxed, |last| Some(next(last)));
        taken.map_or(at_least, next)
    }

    /// Whether both are one count.
    pub(crate) fn is(&self, other: &Tally) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl PartialEq for Tally {
    fn eq(&self, _: &Tally) -> bool {
        true
    }
}

impl Eq for Tally {}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.count().fmt(f)
    }
}
