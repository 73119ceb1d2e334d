//! Fail-over: one fetch asks the regions in order, until one gives an answer that is good.

use std::collections::VecDeque;

use keyswap::{CredentialSet, Error, ErrorKind};

/// How long a region that failed is not asked while another one works, in milliseconds.
const REST: u64 = 30_000;

pub(super) type Outcome = Result<Option<CredentialSet>, Error>;

/// By region, when it failed last.
pub(super) struct Regions(Vec<Option<u64>>);

/// One fetch on its way through the regions.
pub(super) struct Tour {
    pub(super) ticket: u64,
    ahead: VecDeque<usize>,
    /// The best that there was so far: an older set is better than an error.
    spare: Option<Outcome>,
}

impl Regions {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![None; count])
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Those that work, in order, and then the others: they are asked when nothing else is left.
    pub(super) fn tour(&self, now: u64, ticket: u64) -> Tour {
        let rests = |region: &usize| self.0[*region].is_some_and(|failed| now < failed + REST);
        let (resting, working): (Vec<_>, Vec<_>) = (0..self.count()).partition(rests);
        let ahead = working.into_iter().chain(resting).collect();
        Tour { ticket, ahead, spare: None }
    }

    /// Judges an answer. What comes back ends the fetch.
    pub(super) fn judge(
        &mut self,
        now: u64,
        tour: &mut Tour,
        region: usize,
        held: Option<u64>,
        outcome: Outcome,
    ) -> Option<Outcome> {
        let is_older = |set: &CredentialSet| held.is_some_and(|held| set.generation() < held);
        let spare = match &outcome {
            Ok(Some(set)) if is_older(set) => tour.spare.take_if(|spare| spare.is_ok()),
            Ok(_) => {
                self.0[region] = None;
                return Some(outcome);
            }
            // It is the set that is gone, whichever region says so.
            Err(error) if error.kind() == ErrorKind::SetRevoked => return Some(outcome),
            Err(_) => {
                self.0[region] = Some(now);
                tour.spare.take()
            }
        };
        let spare = spare.unwrap_or(outcome);
        if tour.is_last() {
            return Some(spare);
        }
        tour.spare = Some(spare);
        None
    }
}

impl Tour {
    pub(super) fn next(&mut self) -> Option<usize> {
        self.ahead.pop_front()
    }

    pub(super) fn is_last(&self) -> bool {
        self.ahead.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Outcome {
        Err(Error::new(ErrorKind::Unavailable, "broken"))
    }

    fn set(generation: u64) -> Outcome {
        let body = format!(
            r#"{{"generation": {generation}, "current": {{"id": "k", "material": {{"key": "x"}}}}}}"#
        );
        keyswap::source::parse(body.as_bytes()).map(Some)
    }

    #[test]
    fn a_region_that_failed_rests_while_another_one_works() {
        let mut regions = Regions::new(2);
        let mut tour = regions.tour(0, 1);
        assert_eq!(tour.next(), Some(0));
        assert!(regions.judge(0, &mut tour, 0, None, broken()).is_none());
        assert_eq!(tour.next(), Some(1));
        assert!(regions.judge(5, &mut tour, 1, None, Ok(None)).is_some_and(|end| end.is_ok()));
        assert_eq!(regions.tour(29_999, 2).next(), Some(1));
        assert_eq!(regions.tour(30_000, 2).next(), Some(0));
    }

    #[test]
    fn an_older_set_is_only_better_than_an_error() {
        let generation = |end: Option<Outcome>| match end {
            Some(Ok(Some(set))) => Some(set.generation()),
            _ => None,
        };
        let mut regions = Regions::new(3);
        let mut tour = regions.tour(0, 1);
        let held = Some(5);
        tour.next();
        assert!(regions.judge(0, &mut tour, 0, held, set(4)).is_none());
        tour.next();
        assert!(regions.judge(0, &mut tour, 1, held, broken()).is_none());
        tour.next();
        assert_eq!(generation(regions.judge(0, &mut tour, 2, held, broken())), Some(4));
        let mut tour = regions.tour(0, 2);
        assert_eq!(tour.next(), Some(0), "to be behind is no failure");
        assert!(regions.judge(0, &mut tour, 0, held, set(4)).is_none());
        tour.next();
        assert_eq!(generation(regions.judge(0, &mut tour, 1, held, set(5))), Some(5));
    }
}
