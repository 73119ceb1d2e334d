//! Regions: several endpoints that show one set, in the order in which they are asked.
//!
//! # Theory of operation
//!
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

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use self::health::{Health, changes_in, order, to_hear};
use super::{BoxFuture, Endpoint, Fetched, Hints, Report, Said, Source};
use crate::{
    clock::Clock,
    credential::CredentialSet,
    error::{Error, ErrorKind},
    moment::millis,
    policy::Policy,
};

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
#[derive(Clone)]
pub struct Regions(Arc<Inner>);

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
    regions: Vec<Arc<Endpoint>>,
    health: watch::Sender<Vec<Health>>,
    /// What was held when a fetch last said so: a fetch that wants the full state does not.
    newest: Mutex<Option<Newest>>,
    /// When a fetch last learnt that there is nothing newer.
    unchanged_at: AtomicU64,
    clock: Clock,
}

/// Whoever asks again within this time of an answer without news is in need: five seconds, the floor
/// between two fetches that nothing forces.
const AGAIN: u64 = 5_000;

/// The generation that is held, and its lineage.
type Newest = (u64, Option<Box<str>>);

impl Endpoint {
    /// This endpoint, and another one to be asked when it fails or is behind: they show the same set with
    /// one sequence of generations.
    pub fn or(self, other: Endpoint) -> Regions {
        Regions::of(vec![Arc::new(self)]).or(other)
    }
}

impl Regions {
    fn of(regions: Vec<Arc<Endpoint>>) -> Self {
        Self(Arc::new(Inner {
            health: watch::Sender::new(vec![Health::default(); regions.len()]),
            regions,
            newest: Mutex::new(None),
            unchanged_at: AtomicU64::new(u64::MAX),
            clock: Clock::tokio(),
        }))
    }

    /// One more, to be asked when all before it fail.
    pub fn or(self, mut other: Endpoint) -> Self {
        let mut regions = self.0.regions.clone();
        other.acks.report_as(&regions[0].acks);
        regions.push(Arc::new(other));
        Self::of(regions)
    }

    /// What is known of each region, in their order.
    pub fn health(&self) -> Vec<RegionHealth> {
        let health = self.0.health.borrow();
        let pairs = self.0.regions.iter().zip(health.iter());
        pairs
            .map(|(region, health)| RegionHealth {
                origin: region.line.origin.to_string(),
                is_healthy: health.error.is_none(),
                generation: health.generation(),
                error: health.error.clone(),
            })
            .collect()
    }
}

impl Source for Regions {
    fn fetch<'a>(
        &'a self,
        held: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.0.fetch(held))
    }

    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        self.0.regions.iter().any(|region| region.is_pushed()).then(|| {
            let inner = self.0.clone();
            Box::pin(inner.watch(hints)) as BoxFuture<'static, ()>
        })
    }

    /// The region that is asked first is told, always as the same instance: what one knows of use, all of
    /// them know.
    fn report(&self, report: Report) -> Option<BoxFuture<'static, Result<(), Error>>> {
        let first = order(&self.0.health.borrow(), self.0.now()).into_iter().next()?;
        self.0.regions[first].report(report)
    }
}

impl fmt::Debug for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0.regions).finish()
    }
}

// ---- fetching ----

/// What a region's answer means to the fetch.
enum Judged {
    /// It is the answer.
    Final(Result<Fetched, Error>),
    /// There is nothing newer, as far as this region knows.
    Unchanged(Fetched),
    /// The next is asked. This is better than an error if none has a good answer.
    Spare(CredentialSet),
    Failed(Error),
}

impl Inner {
    async fn fetch(&self, held: Option<&CredentialSet>) -> Result<Fetched, Error> {
        let newest = self.remember(held);
        let order = order(&self.health.borrow(), self.now());
        // A little is kept, so that this ends before whoever bounds it from outside loses patience.
        let budget = Policy::default().fetch_timeout.mul_f64(0.9);
        let began = self.now();
        let since = began.saturating_sub(self.unchanged_at.load(Ordering::Relaxed));
        let in_need = (1..AGAIN).contains(&since);
        let mut unchanged = None;
        let mut spare: Option<CredentialSet> = None;
        let mut errors = Vec::new();
        for (turn, &region) in order.iter().enumerate() {
            // What hangs must not hold up who asks again and again: another answer may be there by then.
            if unchanged.is_some() && self.health.borrow()[region].rests(began) {
                break;
            }
            let gone = Duration::from_millis(self.now().saturating_sub(began));
            let waiting = u32::try_from(order.len() - turn).unwrap_or(u32::MAX);
            let share = Duration::from_millis(millis(budget.saturating_sub(gone) / waiting));
            match self.ask(region, share, held, newest.as_ref()).await {
                Judged::Final(outcome) => return outcome,
                Judged::Unchanged(answer) if in_need => unchanged = unchanged.or(Some(answer)),
                Judged::Unchanged(answer) => return Ok(self.unchanged(answer)),
                Judged::Failed(error) => errors.push((region, error)),
                // One that began anew says more than one that is only behind.
                Judged::Spare(set) => {
                    let is_new = |set: &CredentialSet| is_other_lineage(set, newest.as_ref());
                    if spare.as_ref().is_none_or(|spare| is_new(&set) && !is_new(spare)) {
                        spare = Some(set);
                    }
                }
            }
        }
        match (unchanged, spare) {
            (Some(answer), _) => Ok(self.unchanged(answer)),
            (None, Some(set)) => Ok(Fetched::Set(set)),
            (None, None) => Err(combined(errors)),
        }
    }

    fn unchanged(&self, answer: Fetched) -> Fetched {
        self.unchanged_at.store(self.now(), Ordering::Relaxed);
        answer
    }

    async fn ask(
        &self,
        region: usize,
        share: Duration,
        held: Option<&CredentialSet>,
        newest: Option<&Newest>,
    ) -> Judged {
        let endpoint = &self.regions[region];
        let held = held.map(|held| {
            // Without one, the full state is wanted, of each region.
            let wanted = held.validator().is_some();
            let health = self.health.borrow();
            let validator = health[region].validator_of(held).filter(|_| wanted).map(Into::into);
            CredentialSet { validator, ..held.clone() }
        });
        let mut asking = Asking { inner: self, region, judged: false };
        let outcome = timeout(share, endpoint.fetch_once(held.as_ref())).await;
        let outcome = outcome.unwrap_or_else(|_| {
            let what =
                format!("{} did not answer within {share:?}, its share", endpoint.line.origin);
            Err(Error::new(ErrorKind::Timeout, what))
        });
        asking.judged = true;
        self.judge(region, held.as_ref(), newest, outcome)
    }

    fn judge(
        &self,
        region: usize,
        held: Option<&CredentialSet>,
        newest: Option<&Newest>,
        outcome: Result<Fetched, Error>,
    ) -> Judged {
        let is_passed_over = |set: &CredentialSet| {
            let is_behind = newest.is_some_and(|(newest, _)| set.generation() < *newest);
            is_behind || is_other_lineage(set, newest)
        };
        match outcome {
            Ok(Fetched::Set(set)) if is_passed_over(&set) => {
                let what = format!(
                    "{} shows generation {}, and not what is held",
                    self.regions[region].line.origin,
                    set.generation()
                );
                let error = Error::new(ErrorKind::OlderGeneration, what);
                self.note(region, |health, _| health.is_behind(&set, error));
                Judged::Spare(set)
            }
            Ok(Fetched::Set(set)) => {
                self.note(region, |health, _| health.answered(&set));
                self.teach(region, &set);
                match newest.is_some_and(|(newest, _)| set.generation() == *newest) {
                    true => Judged::Unchanged(Fetched::Set(set)),
                    false => Judged::Final(Ok(Fetched::Set(set))),
                }
            }
            Ok(Fetched::NotModified) => {
                if let Some(held) = held {
                    self.note(region, |health, _| health.answered(held));
                }
                Judged::Unchanged(Fetched::NotModified)
            }
            Err(error) if error.kind() == ErrorKind::SetRevoked => {
                self.note(region, |health, _| health.works());
                Judged::Final(Err(error))
            }
            Err(error) => {
                self.note(region, |health, now| health.failed(now, error.clone()));
                Judged::Failed(error)
            }
        }
    }

    /// Regions that were never asked serve the levels that the others do, as far as anybody knows.
    fn teach(&self, by: usize, set: &CredentialSet) {
        let health = self.health.borrow();
        for (region, endpoint) in self.regions.iter().enumerate() {
            if region != by && health[region].generation().is_none() {
                // A validator is its own region's.
                endpoint.learn(&CredentialSet { validator: None, ..set.clone() });
            }
        }
    }

    fn remember(&self, held: Option<&CredentialSet>) -> Option<Newest> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held {
            *newest = Some((held.generation(), held.lineage.clone()));
        }
        newest.clone()
    }

    fn note(&self, region: usize, change: impl FnOnce(&mut Health, u64)) {
        let now = self.now();
        self.health.send_modify(|health| change(&mut health[region], now));
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
            let origin = &self.inner.regions[self.region].line.origin;
            let what = format!("{origin} had not answered when the fetch was given up");
            let error = Error::new(ErrorKind::Timeout, what);
            self.inner.note(self.region, |health, now| health.failed(now, error));
        }
    }
}

fn is_other_lineage(set: &CredentialSet, newest: Option<&Newest>) -> bool {
    let held = newest.and_then(|(_, lineage)| lineage.as_ref());
    matches!((held, &set.lineage), (Some(held), Some(named)) if held != named)
}

/// The error of a fetch in which every region failed: the first one's, unless it will not go away soon
/// and another may. The shortest wait counts: by then one region can be asked again.
fn combined(mut errors: Vec<(usize, Error)>) -> Error {
    errors.sort_by_key(|(region, _)| *region);
    let count = errors.len();
    let waits: Option<Vec<_>> = errors.iter().map(|(_, error)| error.retry_after()).collect();
    let soon = errors.iter().position(|(_, error)| !error.is_lasting()).unwrap_or(0);
    let Some((_, error)) = errors.into_iter().nth(soon) else {
        return Error::new(ErrorKind::Unavailable, "no region could be asked");
    };
    let remark = format!("; none of {count} regions answers well");
    let mut told = Error::new(error.kind(), error.to_string()).with_remark(&remark);
    if let Some(status) = error.status() {
        told = told.with_status(status);
    }
    match waits.and_then(|waits| waits.into_iter().min()) {
        Some(wait) => told.with_retry_after(wait),
        None => told,
    }
}

// ---- push ----

impl Inner {
    async fn watch(self: Arc<Self>, hints: Hints) {
        let mut health = self.health.subscribe();
        // Told once until something is heard again, whichever region it is from.
        let silent = Arc::new(AtomicBool::new(false));
        loop {
            let chosen = self.to_hear(&health.borrow_and_update());
            let lost = Arc::new(Notify::new());
            let (inner, spoke) = (self.clone(), silent.clone());
            let push = chosen.and_then(|region| {
                self.regions[region].push(move || {
                    spoke.store(false, Ordering::Relaxed);
                    inner.health.send_if_modified(|health| health[region].is_heard());
                })
            });
            let (Some(region), Some(push)) = (chosen, push) else { return };
            let (outer, silent, is_lost) = (hints.clone(), silent.clone(), lost.clone());
            let hints = Hints::new(move |said| match said {
                Said::Hint(hint) => outer.send(hint),
                Said::Lost(gone) => {
                    is_lost.notify_one();
                    if !silent.swap(true, Ordering::Relaxed) {
                        outer.lost(gone);
                    }
                }
            });
            let mut following = std::pin::pin!(push.follow(hints));
            while self.to_hear(&health.borrow_and_update()) == chosen {
                let again = changes_in(&health.borrow(), self.now());
                tokio::select! {
                    () = &mut following => return,
                    () = lost.notified() => self.note(region, Health::is_silent),
                    changed = health.changed() => if changed.is_err() { return },
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
