//! What requests read: the newest snapshot, and a few counters beside it.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use arc_swap::{ArcSwap, Guard};

use crate::{
    credential::Credential,
    engine::snapshot::Snapshot,
    error::{Error, ErrorKind},
};

/// The hand-over point between the driver, which writes, and requests, which read.
#[derive(Debug)]
pub(crate) struct Store {
    /// On cache lines of its own: reading it must not be slowed by the counters that requests write.
    published: Alone<Published>,
    sends: AtomicU64,
    extra_sends: AtomicU64,
    waiting: AtomicUsize,
    /// When the running fetch began, on the boot clock, plus one; zero if none runs.
    fetch_began: AtomicU64,
    /// Why the last fetch failed, if it did.
    failure: Mutex<Option<Error>>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Alone<T>(T);

#[derive(Debug)]
struct Published {
    snapshot: ArcSwap<Snapshot>,
    /// That of the snapshot, told once it can be read.
    epoch: AtomicU64,
    watcher: Option<Watcher>,
}

/// Who is told of each new epoch.
pub(crate) struct Watcher(pub(crate) Box<dyn Fn(u64) + Send + Sync>);

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher(..)")
    }
}

impl Store {
    pub(crate) fn new(snapshot: Arc<Snapshot>, watcher: Option<Watcher>) -> Self {
        let epoch = AtomicU64::new(snapshot.epoch());
        let snapshot = ArcSwap::new(snapshot);
        Self {
            published: Alone(Published { snapshot, epoch, watcher }),
            sends: AtomicU64::new(0),
            extra_sends: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            fetch_began: AtomicU64::new(0),
            failure: Mutex::new(None),
        }
    }

    /// How a fetch settled.
    pub(crate) fn settled(&self, outcome: &Result<(), Error>) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        *failure = outcome.as_ref().err().cloned();
    }

    /// Why the last fetch failed, if it did.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[inline]
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.published.0.snapshot.load()
    }

    /// The epoch of a snapshot that can be read: what is read afterwards is that one or a newer one.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.published.0.epoch.load(Acquire)
    }

    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) {
        let Published { snapshot: place, epoch, watcher } = &self.published.0;
        let told = snapshot.epoch();
        place.store(snapshot);
        epoch.store(told, Release);
        if let Some(Watcher(watcher)) = watcher {
            watcher(told);
        }
    }

    /// The last one: nothing is usable any more, for this reason.
    pub(crate) fn end(&self, cause: Error) {
        let epoch = self.epoch() + 1;
        self.publish(Arc::new(Snapshot { epoch, ..Snapshot::nothing(cause) }));
    }

    #[inline]
    pub(crate) fn current(&self) -> Result<Current, Error> {
        let snapshot = self.snapshot();
        match snapshot.in_use {
            Some(_) => Ok(Current(snapshot)),
            None => Err(why_nothing(snapshot)),
        }
    }

    pub(crate) fn sends(&self) -> u64 {
        self.sends.load(Relaxed)
    }

    /// The number of a send that is about to be made, taken after the snapshot was loaded.
    ///
    /// Relaxed is enough. A request that saw what a step published read it after the driver had counted
    /// for that step, so the order of this one counter gives it a higher number, and its evidence counts.
    /// One that did not see it may be missed by that count; its evidence is then taken as if it had left a
    /// moment later, which costs a fetch or a later probe at most: only an acceptance replaces a credential.
    pub(crate) fn next_send(&self, is_extra: bool) -> u64 {
        if is_extra {
            self.extra_sends.fetch_add(1, Relaxed);
        }
        self.sends.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn extra_sends(&self) -> u64 {
        self.extra_sends.load(Relaxed)
    }

    pub(crate) fn fetch_began(&self) -> Option<u64> {
        self.fetch_began.load(Relaxed).checked_sub(1)
    }

    pub(crate) fn set_fetch_began(&self, at: Option<u64>) {
        self.fetch_began.store(at.map_or(0, |at| at + 1), Relaxed);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Counts a caller as waiting until the guard is dropped.
    pub(crate) fn wait(&self) -> impl Drop + '_ {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        self.waiting.fetch_add(1, Relaxed);
        Waiting(&self.waiting)
    }
}

/// The credential in use, read without a lock, a clock or a shared count.
///
/// It derefs to the [`Credential`]. Hold it for a moment; to keep it, or to carry it across an await,
/// take [`to_owned`](Self::to_owned).
pub struct Current(Guard<Arc<Snapshot>>);

impl Current {
    /// The credential itself, to be kept. It stays what it is while newer ones are taken into use.
    pub fn to_owned(&self) -> Arc<Credential> {
        self.credential().clone()
    }

    /// The snapshot it was read from.
    pub fn snapshot(&self) -> &Snapshot {
        &self.0
    }

    #[inline]
    fn credential(&self) -> &Arc<Credential> {
        self.0.in_use.as_ref().expect("a `Current` is made only of a snapshot that has one")
    }
}

impl Deref for Current {
    type Target = Credential;

    #[inline]
    fn deref(&self) -> &Credential {
        self.credential()
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Takes the guard along: dropping it here keeps the path that is not cold free of stores to the stack,
/// which the locked instruction that ends a read would have to wait for.
#[cold]
#[inline(never)]
fn why_nothing(snapshot: Guard<Arc<Snapshot>>) -> Error {
    snapshot
        .cause
        .clone()
        .unwrap_or_else(|| Error::new(ErrorKind::NotReady, "no credential is usable yet"))
}
