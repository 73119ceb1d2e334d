//! Regions: several endpoints that show one set, in the order in which they are asked.
//!
//! # Theory of operation
//!
//! What is asked next, and what an answer means, is decided in `tour`, which is pure; this performs it.
//! Regions share one sequence of generations, so whichever answers says the truth, or an older truth.
//! One fetch asks them in order until one gives a good answer. The engine sees one source: one fetch, one
//! outcome; all its rules hold as for a single endpoint.
//!
//! - A region that fails is asked last, for 30 s at first, then for longer; the time that a fetch has is
//!   shared out, so that one that hangs leaves time for the others. A fetch that is given up from outside
//!   counts against the region that it hung in.
//! - A region that is behind what is held is passed over; if no other answers, its answer goes to the
//!   engine, which refuses it. So does the answer of one that began a new lineage: the engine decides.
//! - A region that has nothing newer is believed, unless the same was answered a moment ago: whoever asks
//!   again so soon needs something newer, and another region may have it.
//! - A region that says that the set is revoked is believed at once, whatever the others say. A
//!   revocation that waits for the last region to learn of it is none.
//! - Each region is asked with the validator that it gave itself: another one's is not its own.
//! - The push channel of one region is followed, and of another one when that is silent.

mod health;
pub(super) mod tour;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use self::{
    health::{Health, changes_in, order, to_hear},
    tour::{Ask, Standing, Tour},
};
use super::{
    BoxFuture, Endpoint, Fetched, Hints, Json, PushSignal, Report, Source, Terms,
    endpoint_client::EndpointClient, push::Push,
};
use crate::{clock::Clock, credential::CredentialSet, error::Error};

/// Endpoints in several regions that show one set, in the order in which they are asked: the preferred one
/// first, and each [`or`](Endpoint::or) one more.
///
/// Each has its own URL, bootstrap credential, certificates and timeout. They share one sequence of
/// generations: an answer that is behind what is held is passed over. One fetch asks the first that
/// works, and on any failure the next; a region that failed is asked last for 30 s, doubling to 5 min,
/// until it works again. A region that says that the set is revoked is believed at once.
///
/// Cheap to clone: a clone shows the [`health`](Self::health) of what is followed. Follow it with one
/// [`KeySwap`](crate::KeySwap).
///
/// ```
/// use keyswap::source::Endpoint;
/// let regions = Endpoint::new("https://eu.keys.example.com/v1/sets/trading")?
///     // The environment's bootstrap credential serves one origin, so a further region needs its own.
///     .or(Endpoint::new("https://us.keys.example.com/v1/sets/trading")?
///         .bootstrap_file("/run/secrets/keyswap-us"));
/// assert!(regions.health().iter().all(|region| region.is_healthy));
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// # Errors of a fetch
/// If no region answers well, the error of the first in order; or, if that one will not go away soon (a
/// 403, say), of the first that may. Its text names the region's origin, and says how many were tried.
#[must_use = "a source does nothing until it is followed"]
pub struct Regions<S = Endpoint> {
    first: Arc<S>,
    inner: Arc<Inner>,
}

/// What is known of one region.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegionHealth {
    /// Its origin.
    pub origin: String,
    /// Whether its last answer was good, or it was not asked yet.
    pub is_healthy: bool,
    /// The generation that it showed last.
    pub generation: Option<u64>,
    /// Why its last answer was not good. Its [`code`](Error::code) is the stable name of that.
    pub error: Option<Error>,
}

struct Inner {
    // As objects: the code stands once, which counts on phones.
    regions: Vec<Arc<dyn Regional>>,
    standing: watch::Sender<Standing>,
    clock: Clock,
}

impl Endpoint {
    /// This endpoint, and another one to be asked when it fails or is behind: they show the same set with
    /// one sequence of generations.
    pub fn or(self, other: Endpoint) -> Regions {
        Regions::of(self).or(other)
    }
}

impl Json {
    /// This endpoint, and another one to be asked when it fails: they show the same keys, each in its own shape.
    ///
    /// ```
    /// use keyswap::source::Json;
    /// let regions = Json::new("https://eu.keys.example.com/trading")?
    ///     .key("/api_key")
    ///     .or(Json::new("https://us.keys.example.com/trading")?.key("/api_key"));
    /// # Ok::<(), keyswap::Error>(())
    /// ```
    pub fn or(self, other: Json) -> Regions<Json> {
        Regions::of(self).or(other)
    }
}

impl<S> Clone for Regions<S> {
    fn clone(&self) -> Self {
        Self { first: self.first.clone(), inner: self.inner.clone() }
    }
}

/// What can be one of several regions.
pub(super) trait Regional: Source {
    fn client(&self) -> &EndpointClient;
    /// Becomes a further region beside the first.
    fn join(&mut self, first: &Self)
    where
        Self: Sized;
    /// Whether its push channel is to be followed.
    fn is_pushed(&self) -> bool;
    /// What it takes to follow its push channel, unless it is not to be followed.
    fn push(&self, heard: Box<dyn Fn() + Send>) -> Option<Push>;
    /// Tells its push channel what another region says.
    fn learn(&self, set: &CredentialSet);
}

impl Regional for Endpoint {
    fn client(&self) -> &EndpointClient {
        &self.client
    }

    fn join(&mut self, first: &Self) {
        self.reports.report_as(&first.reports);
    }

    fn is_pushed(&self) -> bool {
        self.is_pushed()
    }

    fn push(&self, heard: Box<dyn Fn() + Send>) -> Option<Push> {
        self.push(heard)
    }

    fn learn(&self, set: &CredentialSet) {
        self.learn(set);
    }
}

impl Regional for Json {
    fn client(&self) -> &EndpointClient {
        self.client()
    }

    fn join(&mut self, first: &Self) {
        self.names_as(first);
    }

    fn is_pushed(&self) -> bool {
        false
    }

    fn push(&self, _: Box<dyn Fn() + Send>) -> Option<Push> {
        None
    }

    fn learn(&self, _: &CredentialSet) {}
}

#[expect(private_bounds, reason = "only what is built in can be a region")]
impl<S: Regional> Regions<S> {
    fn of(first: S) -> Self {
        let first = Arc::new(first);
        Self { inner: Inner::of(vec![first.clone()]), first }
    }

    /// One more, to be asked when all before it fail.
    pub fn or(self, mut other: S) -> Self {
        other.join(&self.first);
        let mut regions = self.inner.regions.clone();
        regions.push(Arc::new(other));
        Self { inner: Inner::of(regions), first: self.first }
    }

    /// What is known of each region, in their order.
    pub fn health(&self) -> Vec<RegionHealth> {
        let standing = self.inner.standing.borrow();
        let pairs = self.inner.regions.iter().zip(standing.regions());
        pairs
            .map(|(region, health)| RegionHealth {
                origin: region.client().origin.to_string(),
                is_healthy: health.error.is_none(),
                generation: health.generation(),
                error: health.error.clone(),
            })
            .collect()
    }
}

impl<S: Regional> Source for Regions<S> {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.inner.fetch(known))
    }

    fn mints(&self) -> bool {
        self.inner.regions.iter().any(|region| region.mints())
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.inner.change(|standing, _| standing.begin(terms.policy()));
        self.inner.regions.iter().try_for_each(|region| region.begin(terms))
    }

    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        self.inner.regions.iter().any(|region| region.is_pushed()).then(|| {
            let inner = self.inner.clone();
            Box::pin(inner.watch(hints)) as BoxFuture<'static, ()>
        })
    }

    /// The region that is asked first is told, always as the same instance: what one knows of use, all of
    /// them know.
    fn report(&self, report: Report) -> Option<BoxFuture<'static, Result<(), Error>>> {
        let first =
            order(self.inner.standing.borrow().regions(), self.inner.now()).into_iter().next()?;
        self.inner.regions[first].report(report)
    }
}

impl<S> fmt::Debug for Regions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.inner.regions).finish()
    }
}

// ---- fetching ----

impl Inner {
    fn of(regions: Vec<Arc<dyn Regional>>) -> Arc<Self> {
        Arc::new(Self {
            standing: watch::Sender::new(Standing::new(regions.len())),
            regions,
            clock: Clock::tokio(),
        })
    }

    async fn fetch(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        self.standing.send_if_modified(|standing| {
            known.into_iter().for_each(|known| standing.holds(known));
            false
        });
        let mut tour = self
            .standing
            .borrow()
            .tour(self.now(), known.is_some_and(|known| known.validator().is_some()));
        loop {
            let ask = self.standing.borrow().next(self.now(), &mut tour);
            let Some(ask) = ask else { return tour.end() };
            if let Some(end) = self.ask(&mut tour, ask, known).await {
                return end;
            }
        }
    }

    async fn ask(
        &self,
        tour: &mut Tour,
        Ask { region, patience, validator }: Ask,
        known: Option<&CredentialSet>,
    ) -> Option<Result<Fetched, Error>> {
        let endpoint = &self.regions[region];
        let known = known.map(|known| CredentialSet { validator, ..known.clone() });
        let mut asking = Asking { inner: self, region, judged: false };
        let outcome = timeout(patience, endpoint.fetch(known.as_ref())).await;
        let origin = &endpoint.client().origin;
        let outcome = outcome.unwrap_or_else(|_| Err(tour::late(origin, patience)));
        asking.judged = true;
        if let Ok(Fetched::Set(set)) = &outcome
            && !tour.passes_over(set)
        {
            self.teach(region, set);
        }
        let mut end = None;
        self.change(|standing, now| {
            end = standing.judge(now, tour, region, origin, outcome);
        });
        end
    }

    /// Tells the push channels of regions that have never been asked what this one says: they are taken to
    /// serve the same.
    fn teach(&self, by: usize, set: &CredentialSet) {
        let standing = self.standing.borrow();
        for (region, endpoint) in self.regions.iter().enumerate() {
            if region != by && standing.regions()[region].generation().is_none() {
                // A validator is its own region's.
                endpoint.learn(&CredentialSet { validator: None, ..set.clone() });
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Standing, u64)) {
        let now = self.now();
        self.standing.send_modify(|standing| change(standing, now));
    }

    fn now(&self) -> u64 {
        self.clock.now().boot
    }
}

/// A region that is being asked. Dropped before it has been judged, it hung until the fetch was given up.
struct Asking<'a> {
    inner: &'a Inner,
    region: usize,
    judged: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.judged {
            let origin = &self.inner.regions[self.region].client().origin;
            self.inner.change(|standing, now| standing.given_up(now, self.region, origin));
        }
    }
}

// ---- push ----

impl Inner {
    async fn watch(self: Arc<Self>, hints: Hints) {
        let mut standing = self.standing.subscribe();
        // Told once until something is heard again, whichever region it is from.
        let silent = Arc::new(AtomicBool::new(false));
        loop {
            let chosen = self.to_hear(standing.borrow_and_update().regions());
            let lost = Arc::new(Notify::new());
            let (inner, spoke) = (self.clone(), silent.clone());
            let push = chosen.and_then(|region| {
                self.regions[region].push(Box::new(move || {
                    spoke.store(false, Ordering::Relaxed);
                    inner.standing.send_if_modified(|standing| standing.is_heard(region));
                }))
            });
            let (Some(region), Some(push)) = (chosen, push) else { return };
            let (outer, silent, is_lost) = (hints.clone(), silent.clone(), lost.clone());
            let hints = Hints::new(move |said| match said {
                PushSignal::Hint(hint) => outer.send(hint),
                PushSignal::Lost(elapsed) => {
                    is_lost.notify_one();
                    if !silent.swap(true, Ordering::Relaxed) {
                        outer.lost(elapsed);
                    }
                }
            });
            let mut following = push.follow(hints);
            while self.to_hear(standing.borrow_and_update().regions()) == chosen {
                let again = changes_in(standing.borrow().regions(), self.now());
                tokio::select! {
                    () = &mut following => return,
                    () = lost.notified() => self.change(|standing, now| standing.is_silent(now, region)),
                    changed = standing.changed() => if changed.is_err() { return },
                    () = sleep(again.unwrap_or_default()), if again.is_some() => {}
                }
            }
        }
    }

    fn to_hear(&self, health: &[Health]) -> Option<usize> {
        let followed = |region: &usize| self.regions[*region].is_pushed();
        to_hear((0..self.regions.len()).filter(followed), health, self.now())
    }
}

#[cfg(test)]
mod tests;
