//! The regions of one secret: in which order they are asked, and for how long. Pure: time comes in as milliseconds.

use std::time::Duration;

use crate::{backoff::doubled, moment::millis};

/// For how long a region that failed is asked last: at first, and at most.
const REST: Duration = Duration::from_secs(30);
const REST_MAX: Duration = Duration::from_secs(5 * 60);

/// How the regions fare, between fetches.
#[derive(Clone, Debug, Default)]
pub(super) struct Replicas(Vec<Rest>);

#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    failures: u32,
    until: u64,
}

impl Replicas {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![Rest::default(); count])
    }

    /// The regions in the order in which to ask them: those that failed not long ago last.
    pub(super) fn order(&self, now: u64) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.0.len()).collect();
        order.sort_by_key(|region| self.0[*region].until > now);
        order
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// It is being asked. Until it answers that is a failure: who is given up meanwhile cannot tell.
    pub(super) fn asked(&mut self, region: usize, now: u64) {
        let rest = &mut self.0[region];
        rest.until = now.saturating_add(millis(doubled(REST, rest.failures, REST_MAX)));
        rest.failures = rest.failures.saturating_add(1);
    }

    /// It answered well.
    pub(super) fn answered(&mut self, region: usize) {
        self.0[region] = Rest::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_that_failed_is_asked_last_for_a_while() {
        let mut replicas = Replicas::new(3);
        assert_eq!(replicas.order(0), [0, 1, 2]);
        replicas.asked(0, 0);
        assert_eq!(replicas.order(0), [1, 2, 0]);
        assert_eq!(replicas.order(30_000), [0, 1, 2], "after 30 s it is asked first again");
        replicas.asked(0, 30_000);
        assert_eq!(replicas.order(89_999), [1, 2, 0], "and then rests twice as long");
        replicas.asked(1, 30_000);
        assert_eq!(replicas.order(30_001), [2, 0, 1]);
        replicas.answered(0);
        assert_eq!(replicas.order(30_001), [0, 2, 1]);
    }
}
