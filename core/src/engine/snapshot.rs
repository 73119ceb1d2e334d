//! What requests see: one immutable state of a rotation, and the one slot for probing its candidate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    backoff::doubled,
    credential::{Credential, CredentialSet},
    error::Error,
    moment::millis,
};

/// One published state. It changes only by being replaced, except for the probe slot.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) epoch: u64,
    pub(crate) set: Option<Arc<CredentialSet>>,
    pub(crate) in_use: Option<Arc<Credential>>,
    /// The order in which a request tries: in use, candidate, primary, previous newest first.
    pub(crate) usable: Vec<Usable>,
    pub(crate) candidate: Option<Candidate>,
    /// Who may send a request again with a credential that is not proven: one at a time.
    pub(crate) trial: Arc<ProbeSlot>,
    /// The credential in use is about to end: wait a moment for a fetch that runs.
    pub(crate) hard: bool,
    /// The credential in use was rejected, the episode is open, and a fetch may come in time to help.
    pub(crate) suspect: bool,
    /// After a rotation: replicas disagree about the credential in use, or the API has yet to learn it.
    pub(crate) wavers: bool,
    /// After a rotation: the API has accepted a key again that it had rejected, and rejected it anew.
    pub(crate) disagree: bool,
    /// Everything was tried in vain: a rejection is the answer until the cooldown ends.
    pub(crate) exhausted: bool,
    /// How long a request waits for credentials after a rejection, where that is not the whole wait: nothing
    /// was ever accepted, so the key may simply be wrong.
    pub(crate) patience: Option<Duration>,
    /// The rotation wants to hear of acceptances.
    pub(crate) evidence: bool,
    /// Until when, on the boot clock, replicas may still disagree.
    pub(crate) window_until: u64,
    /// The number of sends when it was published; a send of this snapshot has a higher number.
    pub(crate) sends: u64,
    /// Why nothing is usable, when nothing is.
    pub(crate) cause: Option<Error>,
}

/// A credential that a request may try.
#[derive(Clone, Debug)]
pub(crate) struct Usable {
    pub(crate) credential: Arc<Credential>,
    /// The number of the send that proved it, with no rejection since; zero if it was accepted at some
    /// time before.
    pub(crate) proof: Option<u64>,
    /// Whether the API was ever seen to accept it, as far as was known when this was published.
    pub(crate) is_known: bool,
    /// Whether it was accepted so often in a row that replicas do not disagree on it any more.
    pub(crate) is_steady: bool,
}

impl Usable {
    /// That it was accepted before is no news: it is counted without a publication.
    fn shows_same(&self, other: &Self) -> bool {
        let news = |usable: &Self| usable.proof.filter(|sent| *sent > 0);
        Arc::ptr_eq(&self.credential, &other.credential)
            && news(self) == news(other)
            && self.is_steady == other.is_steady
    }
}

/// The newest credential while it is unproven.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) credential: Arc<Credential>,
    pub(crate) slot: Arc<ProbeSlot>,
}

impl Snapshot {
    /// The local number of this state: it rises by one each time anything that requests can see
    /// changes. Cache by it, not by the generation.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The set that is held; none before the first fetch and after the set was revoked.
    pub fn set(&self) -> Option<&CredentialSet> {
        self.set.as_deref()
    }

    /// The credential in use.
    pub fn in_use(&self) -> Option<&Credential> {
        self.in_use.as_deref()
    }

    /// The newest credential, while it is tried by one request at a time.
    pub fn candidate(&self) -> Option<&Credential> {
        self.candidate.as_ref().map(|candidate| &*candidate.credential)
    }

    /// Whether requests are to report what the API said of their credential. A foreign HTTP stack
    /// begins an attempt for each request meanwhile.
    pub fn wants_evidence(&self) -> bool {
        self.evidence
    }

    /// Whether everything was tried in vain: until that changes, a request is sent once, and a rejection
    /// is its answer.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// What there is to see before the first fetch, and after the end.
    pub(crate) fn nothing(cause: Error) -> Self {
        Self {
            epoch: 0,
            set: None,
            in_use: None,
            usable: Vec::new(),
            candidate: None,
            trial: Arc::new(ProbeSlot::open_from(0)),
            hard: false,
            suspect: false,
            wavers: false,
            disagree: false,
            exhausted: false,
            patience: None,
            evidence: false,
            window_until: 0,
            sends: 0,
            cause: Some(cause),
        }
    }

    /// Whether it shows requests anything that `other` does not.
    pub(crate) fn differs(&self, other: &Snapshot) -> bool {
        let slots = |a: &Candidate, b: &Candidate| Arc::ptr_eq(&a.slot, &b.slot);
        !(is_same(&self.set, &other.set, Arc::ptr_eq)
            && is_same(&self.in_use, &other.in_use, Arc::ptr_eq)
            && is_same(&self.candidate, &other.candidate, slots)
            && self.usable.len() == other.usable.len()
            && self.usable.iter().zip(&other.usable).all(|(a, b)| a.shows_same(b))
            && Arc::ptr_eq(&self.trial, &other.trial)
            && self.hard == other.hard
            && self.suspect == other.suspect
            && self.wavers == other.wavers
            && self.disagree == other.disagree
            && self.exhausted == other.exhausted
            && self.patience == other.patience
            && self.evidence == other.evidence
            && self.window_until == other.window_until
            && self.cause.as_ref().map(Error::kind) == other.cause.as_ref().map(Error::kind))
    }
}

fn is_same<T>(a: &Option<T>, b: &Option<T>, same: impl Fn(&T, &T) -> bool) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// Who may try a credential that is not proven: one request at a time, and not before the last rejection
/// has cooled down.
///
/// Relaxed is enough. The slot is one number that guards no other memory, and of several exchanges that
/// expect the same value only one succeeds, in whatever order they are seen. What the winner sends, and
/// the slot itself, it read from the snapshot, whose publication orders them.
#[derive(Debug)]
pub(crate) struct ProbeSlot {
    /// When the slot is open, on the boot clock. A claim moves it into the future, so that a request
    /// that never reports holds it for a bounded time only.
    open_at: AtomicU64,
    /// How often it was given back after a failure. Only its holder counts.
    failures: AtomicU32,
}

impl ProbeSlot {
    pub(crate) fn open_from(boot: u64) -> Self {
        Self { open_at: AtomicU64::new(boot), failures: AtomicU32::new(0) }
    }

    /// When it is open.
    pub(crate) fn open_at(&self) -> u64 {
        self.open_at.load(Ordering::Relaxed)
    }

    /// Takes the slot until `until`, if it is open now.
    pub(crate) fn claim(&self, now: u64, until: u64) -> bool {
        let open_at = self.open_at.load(Ordering::Relaxed);
        open_at <= now
            && self
                .open_at
                .compare_exchange(open_at, until, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Gives back a slot that was claimed until `until`; it opens again at `at`. A claim that has
    /// meanwhile lapsed and gone to somebody else is left alone.
    pub(crate) fn release(&self, until: u64, at: u64) {
        let _ = self.open_at.compare_exchange(until, at, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Gives it back after a failure: it opens again after `pause`, and after twice as long each further
    /// time, up to `longest`.
    pub(crate) fn back_off(&self, until: u64, now: u64, pause: u64, longest: u64) {
        let failures = self.failures.load(Ordering::Relaxed);
        let pause =
            millis(doubled(Duration::from_millis(pause), failures, Duration::from_millis(longest)));
        if self.open_at.load(Ordering::Relaxed) == until {
            self.failures.store(failures.saturating_add(1), Ordering::Relaxed);
        }
        self.release(until, now.saturating_add(pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_at_a_time_probes() {
        let slot = ProbeSlot::open_from(100);
        assert!(!slot.claim(99, 5_099), "too early");
        assert!(slot.claim(100, 5_100));
        assert!(!slot.claim(101, 5_101), "taken");
        slot.release(5_100, 1_101);
        assert!(!slot.claim(1_100, 6_100));
        assert!(slot.claim(1_101, 6_101));
        assert!(slot.claim(6_101, 11_101), "a claim lapses");
        slot.release(6_101, 0);
        assert!(!slot.claim(6_102, 11_102), "a lapsed claim must not free another's");
    }

    #[test]
    fn each_failure_closes_it_for_longer() {
        let slot = ProbeSlot::open_from(0);
        let mut now = 0;
        let pauses = [(); 5].map(|()| {
            assert!(slot.claim(now, now + 5_000));
            slot.back_off(now + 5_000, now, 200, 800);
            let pause = slot.open_at() - now;
            now += pause;
            pause
        });
        assert_eq!(pauses, [200, 400, 800, 800, 800]);
        slot.back_off(77, now, 200, 800);
        assert_eq!(slot.open_at(), now, "a claim that has lapsed closes nothing");
    }
}
