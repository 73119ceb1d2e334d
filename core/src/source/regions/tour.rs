//! One fetch on its way through the regions: which to ask next, for how long, and what an answer means. Pure:
//! time comes in as milliseconds.

use std::{collections::VecDeque, time::Duration};

use super::health::{Health, order};
use crate::{
    credential::CredentialSet,
    error::{Error, ErrorKind},
    moment::millis,
    policy::Policy,
    source::Fetched,
};

/// Whoever asks again within this time of an answer without news is in need: five seconds, the floor
/// between two fetches that nothing forces.
const AGAIN: u64 = 5_000;

/// The generation that is held, and its lineage.
type Newest = (u64, Option<Box<str>>);

/// How the regions stand, between fetches.
pub struct Standing {
    regions: Vec<Health>,
    /// What was held when a fetch last said so: a fetch that wants the full state does not.
    newest: Option<Newest>,
    /// When a fetch last learnt that there is nothing newer.
    unchanged_at: Option<u64>,
    /// The time that one fetch has.
    budget: Duration,
    retry_after_max: Duration,
}

/// One fetch.
pub struct Tour {
    ahead: VecDeque<usize>,
    began: u64,
    newest: Option<Newest>,
    is_conditional: bool,
    in_need: bool,
    unchanged: Option<Fetched>,
    spare: Option<CredentialSet>,
    errors: Vec<(usize, Error)>,
}

/// A region to ask.
#[derive(Debug)]
pub struct Ask {
    /// Which.
    pub region: usize,
    /// How long it may take.
    pub patience: Duration,
    /// What the region itself calls what is held.
    pub validator: Option<Box<str>>,
}

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

impl Standing {
    /// So many regions, of which nothing is known yet.
    pub fn new(count: usize) -> Self {
        let mut new = Self {
            regions: vec![Health::default(); count],
            newest: None,
            unchanged_at: None,
            budget: Duration::ZERO,
            retry_after_max: Duration::ZERO,
        };
        new.begin(&Policy::default());
        new
    }

    /// Works by these numbers.
    pub fn begin(&mut self, policy: &Policy) {
        // A little is kept, so that a fetch ends before whoever bounds it from outside loses patience.
        self.budget = policy.fetch_timeout.mul_f64(0.9);
        self.retry_after_max = policy.retry_after_max;
    }

    /// This is held now.
    pub fn holds(&mut self, held: &CredentialSet) {
        self.newest = Some((held.generation(), held.lineage.clone()));
    }

    /// One fetch: on the condition that there is something else than what is held, or without one.
    pub fn tour(&self, now: u64, is_conditional: bool) -> Tour {
        let since = self.unchanged_at.map(|at| now.saturating_sub(at));
        Tour {
            ahead: order(&self.regions, now).into(),
            began: now,
            newest: self.newest.clone(),
            is_conditional,
            in_need: since.is_some_and(|since| (1..AGAIN).contains(&since)),
            unchanged: None,
            spare: None,
            errors: Vec::new(),
        }
    }

    /// Whom to ask now. None if nobody is left: [`end`](Tour::end) it.
    pub fn next(&self, now: u64, tour: &mut Tour) -> Option<Ask> {
        let waiting = u32::try_from(tour.ahead.len()).unwrap_or(u32::MAX);
        let region = tour.ahead.pop_front()?;
        let health = &self.regions[region];
        // What hangs must not hold up who asks again and again: another answer may be there by then.
        if tour.unchanged.is_some() && health.rests(tour.began) {
            return None;
        }
        let elapsed = Duration::from_millis(now.saturating_sub(tour.began));
        let share = self.budget.saturating_sub(elapsed) / waiting;
        let held = tour.newest.as_ref().filter(|_| tour.is_conditional);
        let validator =
            held.and_then(|(generation, lineage)| health.validator_of(*generation, lineage));
        Some(Ask {
            region,
            patience: Duration::from_millis(millis(share)),
            validator: validator.map(Into::into),
        })
    }

    /// Judges what a region of this origin answered. What comes back ends the fetch.
    pub fn judge(
        &mut self,
        now: u64,
        tour: &mut Tour,
        region: usize,
        origin: &str,
        outcome: Result<Fetched, Error>,
    ) -> Option<Result<Fetched, Error>> {
        match self.judged(now, tour, region, origin, outcome) {
            Judged::Final(outcome) => return Some(outcome),
            Judged::Unchanged(answer) => {
                self.unchanged_at = Some(now);
                if !tour.in_need {
                    return Some(Ok(answer));
                }
                tour.unchanged.get_or_insert(answer);
            }
            Judged::Failed(error) => tour.errors.push((region, error)),
            // One that began anew says more than one that is only behind.
            Judged::Spare(set) => {
                let is_new = |set: &CredentialSet| is_other_lineage(set, tour.newest.as_ref());
                if tour.spare.as_ref().is_none_or(|spare| is_new(&set) && !is_new(spare)) {
                    tour.spare = Some(set);
                }
            }
        }
        None
    }

    fn judged(
        &mut self,
        now: u64,
        tour: &Tour,
        region: usize,
        origin: &str,
        outcome: Result<Fetched, Error>,
    ) -> Judged {
        let health = &mut self.regions[region];
        match outcome {
            Ok(Fetched::Set(set)) if tour.passes_over(&set) => {
                let generation = set.generation();
                let what = format!("{origin} shows generation {generation}, and not what is held");
                health.is_behind(&set, Error::new(ErrorKind::OlderGeneration, what));
                Judged::Spare(set)
            }
            Ok(Fetched::Set(set)) => {
                health.answered(&set);
                let newest = tour.newest.as_ref().map(|(newest, _)| *newest);
                match newest.is_some() && set.generation == newest {
                    true => Judged::Unchanged(Fetched::Set(set)),
                    false => Judged::Final(Ok(Fetched::Set(set))),
                }
            }
            Ok(Fetched::NotModified) => {
                // It was asked by what it had confirmed, and has that still.
                health.works();
                Judged::Unchanged(Fetched::NotModified)
            }
            Err(error) if error.kind() == ErrorKind::SetRevoked => {
                health.works();
                Judged::Final(Err(error))
            }
            Err(error) => {
                health.failed(now, error.clone(), self.retry_after_max);
                Judged::Failed(error)
            }
        }
    }

    /// The fetch was given up while this region was being asked.
    pub fn given_up(&mut self, now: u64, region: usize, origin: &str) {
        let what = format!("{origin} had not answered when the fetch was given up");
        self.regions[region].failed(
            now,
            Error::new(ErrorKind::Timeout, what),
            self.retry_after_max,
        );
    }

    pub(super) fn regions(&self) -> &[Health] {
        &self.regions
    }

    pub(super) fn is_silent(&mut self, now: u64, region: usize) {
        self.regions[region].is_silent(now);
    }

    /// Something was heard of it. Whether that is news.
    pub(super) fn is_heard(&mut self, region: usize) -> bool {
        self.regions[region].is_heard()
    }
}

impl Tour {
    /// Whether nobody is left to ask after whom was asked last.
    pub fn is_last(&self) -> bool {
        self.ahead.is_empty()
    }

    /// What the fetch comes to when nobody is left to ask.
    ///
    /// # Errors
    /// What the regions failed with.
    pub fn end(self) -> Result<Fetched, Error> {
        match (self.unchanged, self.spare) {
            (Some(answer), _) => Ok(answer),
            (None, Some(set)) => Ok(Fetched::Set(set)),
            (None, None) => Err(combined(self.errors)),
        }
    }

    /// Whether this is not what a fetch looks for: it is older than what is held, or another beginning.
    pub(super) fn passes_over(&self, set: &CredentialSet) -> bool {
        // What its source does not number is numbered later, and is behind nothing.
        let is_behind = set
            .generation
            .is_some_and(|shown| self.newest.as_ref().is_some_and(|(newest, _)| shown < *newest));
        is_behind || is_other_lineage(set, self.newest.as_ref())
    }
}

/// A region that did not answer within its share of the time.
pub(super) fn late(origin: &str, patience: Duration) -> Error {
    let what = format!("{origin} did not answer within {patience:?}, its share");
    Error::new(ErrorKind::Timeout, what)
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
