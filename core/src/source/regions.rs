//! Several endpoints that serve one sequence of generations.
//!
//! # Theory of operation
//!
//! Regions stand in an order. Inside one fetch they are asked one after the other, those that work first,
//! until one answers well; to the engine it is one fetch, with one outcome. A region that fails, or that
//! answers with a lower generation than is held, is *resting*: it is asked last for a while, which doubles
//! up to five minutes and ends with its next good answer. So a region that hangs costs its share of one
//! fetch's time, and then nothing.
//!
//! It never accepts what one endpoint alone would not: what a set means is for the engine to say, and a
//! region only chooses who is asked. That a set was revoked is believed of any region at once.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{BoxFuture, Endpoint, Fetched, Hint, Hints, Report, Said, Source};
use crate::{
    clock::Clock,
    credential::CredentialSet,
    error::{Error, ErrorKind},
    moment::millis,
    policy::Policy,
};

/// How long a region that failed is asked last, at first; it doubles.
const REST: Duration = Duration::from_secs(30);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(5 * 60);

/// Endpoints that serve one sequence of generations, in the order in which they are asked. Cheap to clone:
/// a clone shows the health of what is followed.
///
/// Each has a bootstrap credential of its own, because the one of the environment serves one origin a
/// process.
///
/// ```
/// use keyswap::source::Endpoint;
/// let regions = Endpoint::new("https://eu.keys.example.com/v1/sets/trading")?
///     .or(Endpoint::new("https://us.keys.example.com/v1/sets/trading")?.bootstrap("for us"));
/// assert!(regions.health().iter().all(|region| region.is_healthy));
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// # Errors of a fetch
/// If no region answers well, the error of the first of them that may soon be over, else of the first; its
/// text says how many were asked.
#[derive(Clone)]
pub struct Regions(Arc<Inner>);

struct Inner {
    regions: Vec<Region>,
    /// Of the runtime that fetches, as all its waiting is.
    clock: OnceLock<Clock>,
}

struct Region {
    endpoint: Arc<Endpoint>,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    /// Until when it is asked last, on the clock of the regions.
    rests_until: u64,
    /// How long it rested last.
    rest: Duration,
    generation: Option<u64>,
    error: Option<Error>,
}

/// What is known of one region.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegionHealth {
    /// Its origin.
    pub origin: String,
    /// Whether its last answer was good, or it was not asked yet.
    pub is_healthy: bool,
    /// The highest generation that it was seen to serve.
    pub generation: Option<u64>,
    /// Why its last answer was not good.
    pub error: Option<Error>,
}

impl Endpoint {
    /// This endpoint, and another one to be asked when it fails or is behind: they serve the same set with
    /// one sequence of generations.
    pub fn or(self, other: Endpoint) -> Regions {
        Regions::new([self]).or(other)
    }
}

impl Regions {
    fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let region = |endpoint| Region { endpoint: Arc::new(endpoint), state: Arc::default() };
        Self(Arc::new(Inner {
            regions: endpoints.into_iter().map(region).collect(),
            clock: OnceLock::new(),
        }))
    }

    /// One more, to be asked when all before it fail.
    pub fn or(self, mut other: Endpoint) -> Self {
        let first = &self.0.regions[0].endpoint;
        other.acks.report_as(&first.acks);
        let known = self.0.regions.iter();
        let known = known.map(|region| Region {
            endpoint: region.endpoint.clone(),
            state: region.state.clone(),
        });
        let more = Region { endpoint: Arc::new(other), state: Arc::default() };
        let regions = known.chain([more]).collect();
        Self(Arc::new(Inner { regions, clock: OnceLock::new() }))
    }

    /// What is known of each region, in their order.
    pub fn health(&self) -> Vec<RegionHealth> {
        let health = |region: &Region| {
            let state = region.state().clone();
            RegionHealth {
                origin: region.endpoint.line.origin.to_string(),
                is_healthy: state.error.is_none(),
                generation: state.generation,
                error: state.error,
            }
        };
        self.0.regions.iter().map(health).collect()
    }
}

impl Inner {
    fn now(&self) -> u64 {
        self.clock.get_or_init(Clock::tokio).now().boot
    }

    /// Those that work first, then those that rest, each in their order.
    fn order(&self) -> Vec<&Region> {
        let now = self.now();
        let mut order: Vec<_> = self.regions.iter().collect();
        order.sort_by_key(|region| region.state().rests_until > now);
        order
    }

    async fn fetch(&self, held: Option<&CredentialSet>) -> Result<Fetched, Error> {
        let began = self.now();
        let order = self.order();
        let mut errors = Vec::new();
        for (asked, region) in order.iter().enumerate() {
            // Each gets an equal share of what the whole fetch has left: the last ones must have theirs.
            let gone = Duration::from_millis(self.now().saturating_sub(began));
            let left = Policy::default().fetch_timeout.saturating_sub(gone);
            let share = left / u32::try_from(order.len() - asked).unwrap_or(u32::MAX);
            match self.ask(region, held, share).await {
                Ok(Fetched::Set(set)) => {
                    // What one has shown, the push channels of all are to know.
                    self.regions.iter().for_each(|region| region.endpoint.learn(&set));
                    return Ok(Fetched::Set(set));
                }
                Err(error) if error.kind() != ErrorKind::SetRevoked => errors.push(error),
                last => return last,
            }
        }
        let tried = errors.len();
        let soon_over = errors.iter().position(|error| !error.is_lasting()).unwrap_or(0);
        Err(errors
            .swap_remove(soon_over)
            .with_remark(&format!("; none of {tried} regions answers well")))
    }

    async fn ask(
        &self,
        region: &Region,
        held: Option<&CredentialSet>,
        share: Duration,
    ) -> Result<Fetched, Error> {
        // A fetch that is given up from outside has failed here, too.
        let mut judging = Judging { region, now: self.now(), outcome: None };
        let answer = timeout(share, region.endpoint.fetch_once(held)).await.unwrap_or_else(|_| {
            let origin = &region.endpoint.line.origin;
            let what = format!("{origin} did not answer within its share of a fetch, {share:?}");
            Err(Error::new(ErrorKind::Timeout, what))
        });
        judging.now = self.now();
        let answer = match (answer, held) {
            (Ok(Fetched::Set(set)), Some(held)) if is_behind(&set, held) => {
                let (origin, theirs) = (&region.endpoint.line.origin, set.generation());
                let what = format!(
                    "{origin} is behind: it serves generation {theirs}, {} is held",
                    held.generation()
                );
                Err(Error::new(ErrorKind::OlderGeneration, what))
            }
            (answer, _) => answer,
        };
        judging.outcome = Some(match &answer {
            Ok(Fetched::Set(set)) => Ok(set.generation),
            Ok(Fetched::NotModified) => Ok(held.and_then(|held| held.generation)),
            // The region works; it is the set that is gone.
            Err(error) if error.kind() == ErrorKind::SetRevoked => Ok(None),
            Err(error) => Err(error.clone()),
        });
        answer
    }

    /// Follows the push channel of the first region that works, and that of another when it is lost.
    async fn follow(&self, hints: Hints) {
        let mut at = 0;
        loop {
            let order = self.order();
            let region = order[at % order.len()];
            let lost = Arc::new(Notify::new());
            let relay = {
                let (hints, lost) = (hints.clone(), lost.clone());
                Hints::new(move |said| match said {
                    Said::Hint(hint) => hints.send(hint),
                    Said::Lost(silent) => {
                        hints.lost(silent);
                        lost.notify_one();
                    }
                })
            };
            let Some(push) = region.endpoint.push(|| {}) else { return };
            tokio::select! {
                () = push.follow(relay) => return,
                () = lost.notified() => {
                    at += 1;
                    // Something may have been missed meanwhile.
                    hints.send(Hint { generation: None, immediate: false });
                }
            }
        }
    }
}

impl Region {
    /// Nothing here can be left half-changed by a panic, so a poisoned lock is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a set of the same lineage is older than the one that is held.
fn is_behind(set: &CredentialSet, held: &CredentialSet) -> bool {
    let is_other = matches!((&set.lineage, &held.lineage), (Some(a), Some(b)) if a != b);
    !is_other && set.generation() < held.generation()
}

/// One question on its way. If it is dropped before it has an outcome, the region has failed.
struct Judging<'a> {
    region: &'a Region,
    now: u64,
    outcome: Option<Result<Option<u64>, Error>>,
}

impl Drop for Judging<'_> {
    fn drop(&mut self) {
        let mut state = self.region.state();
        match self.outcome.take() {
            Some(Ok(generation)) => {
                let generation = generation.max(state.generation);
                *state = State { generation, ..State::default() };
            }
            failed => {
                let error = failed.and_then(Result::err).unwrap_or_else(|| {
                    let origin = &self.region.endpoint.line.origin;
                    let what = format!("{origin} had not answered when the fetch was given up");
                    Error::new(ErrorKind::Timeout, what)
                });
                state.rest = (state.rest * 2).clamp(REST, LONGEST_REST);
                state.rests_until = self.now.saturating_add(millis(state.rest));
                state.error = Some(error);
            }
        }
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
        let inner = self.0.clone();
        Some(Box::pin(async move { inner.follow(hints).await }))
    }

    fn report(&self, report: Report) -> Option<BoxFuture<'static, Result<(), Error>>> {
        self.0.order().first()?.endpoint.acknowledge(&report)
    }
}

impl fmt::Debug for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.regions.iter().map(|region| &region.endpoint)).finish()
    }
}
