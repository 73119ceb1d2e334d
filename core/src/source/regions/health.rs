//! How regions fare, and so the order in which they are asked. Pure: time comes in as milliseconds.

use std::time::Duration;

use crate::{
    backoff::doubled,
    credential::CredentialSet,
    error::{Error, ErrorKind},
    moment::millis,
};

/// For how long a region that failed is asked last: at first, and at most.
const REST: Duration = Duration::from_secs(30);
const REST_MAX: Duration = Duration::from_secs(5 * 60);
/// For how long a region whose push channel was silent is not listened to: at first, and at most. To try
/// it again is to be deaf for a heartbeat, and another region's channel tells the same.
const DEAF: Duration = Duration::from_secs(5 * 60);
const DEAF_MAX: Duration = Duration::from_secs(60 * 60);

/// A failure in a row, and how long it is held against a region.
#[derive(Clone, Default)]
struct Rest {
    failures: u32,
    until: u64,
}

impl Rest {
    fn fails(&mut self, now: u64, first: Duration, most: Duration) {
        self.until = now.saturating_add(millis(doubled(first, self.failures, most)));
        self.failures += 1;
    }

    fn is_over(&self, now: u64) -> bool {
        self.until <= now
    }
}

/// Which state of the set a validator stands for, and which it is. Each region has validators of its own.
#[derive(Clone)]
struct Confirmed {
    generation: u64,
    lineage: Option<Box<str>>,
    validator: Option<Box<str>>,
}

/// How one region fares.
#[derive(Clone, Default)]
pub(super) struct Health {
    confirmed: Option<Confirmed>,
    /// Why its last answer was not good.
    pub(super) error: Option<Error>,
    asked: Rest,
    /// It wants to be left alone until then.
    not_before: u64,
    heard: Rest,
}

impl Health {
    /// It brought a set, or confirmed the one that is held.
    pub(super) fn answered(&mut self, set: &CredentialSet) {
        self.confirmed = Some(Confirmed {
            generation: set.generation(),
            lineage: set.lineage.clone(),
            validator: set.validator.clone(),
        });
        self.works();
    }

    /// It answered, if only that the set is gone.
    pub(super) fn works(&mut self) {
        self.asked = Rest::default();
        self.not_before = 0;
        // What made its fetches fail may have made it silent, too.
        if self.error.take().is_some_and(|error| error.kind() != ErrorKind::OlderGeneration) {
            self.heard = Rest::default();
        }
    }

    /// It is behind the others. That is no failure, and nothing is held against it: it will catch up.
    pub(super) fn is_behind(&mut self, set: &CredentialSet, error: Error) {
        self.answered(set);
        self.error = Some(error);
    }

    pub(super) fn failed(&mut self, now: u64, error: Error, retry_after_max: Duration) {
        let retry_after = error.retry_after();
        self.asked.fails(now, REST, REST_MAX);
        self.error = Some(error);
        let wait = retry_after.map_or(Duration::ZERO, |wait| wait.min(retry_after_max));
        self.not_before = now.saturating_add(millis(wait));
    }

    /// Its push channel is silent.
    pub(super) fn is_silent(&mut self, now: u64) {
        self.heard.fails(now, DEAF, DEAF_MAX);
    }

    /// Something was heard. Whether that is news.
    pub(super) fn is_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard).failures > 0
    }

    /// Whether it failed not long ago, and is asked only when nothing else is left.
    pub(super) fn rests(&self, now: u64) -> bool {
        !self.asked.is_over(now)
    }

    pub(super) fn generation(&self) -> Option<u64> {
        self.confirmed.as_ref().map(|it| it.generation)
    }

    /// What the region itself calls the state that is held, if it has shown that one.
    pub(super) fn validator_of(&self, generation: u64, lineage: &Option<Box<str>>) -> Option<&str> {
        let confirmed = self.confirmed.as_ref()?;
        let is_held = confirmed.generation == generation && confirmed.lineage == *lineage;
        confirmed.validator.as_deref().filter(|_| is_held)
    }
}

/// The regions to ask, in order: those that failed lately come last, and those that want to be left alone
/// not at all, unless all do.
pub(super) fn order(regions: &[Health], now: u64) -> Vec<usize> {
    let mut order: Vec<_> = (0..regions.len()).collect();
    order.sort_by_key(|at| regions[*at].rests(now));
    if regions.iter().any(|region| region.not_before <= now) {
        order.retain(|at| regions[*at].not_before <= now);
    }
    order
}

/// Of these regions, the one whose push channel to follow: one that is heard before one that is not, then
/// one that works before one that does not, then the first.
pub(super) fn to_hear(
    of: impl Iterator<Item = usize>,
    regions: &[Health],
    now: u64,
) -> Option<usize> {
    let is_worse = |at: &usize| {
        let region = &regions[*at];
        (!region.heard.is_over(now), region.error.is_some())
    };
    of.min_by_key(is_worse)
}

/// How long until [`to_hear`] may say something else by itself.
pub(super) fn changes_in(regions: &[Health], now: u64) -> Option<Duration> {
    let ends = regions.iter().map(|region| region.heard.until).filter(|until| *until > now);
    ends.min().map(|until| Duration::from_millis(until - now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Credential;

    fn set(generation: u64, lineage: &str, validator: &str) -> CredentialSet {
        let set = CredentialSet::new(Credential::new("k", "material"));
        let set = set.with_generation(generation).with_validator(validator);
        CredentialSet { lineage: Some(lineage.into()), ..set }
    }

    const MAX: Duration = Duration::from_secs(300);

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "broken")
    }

    #[test]
    fn a_region_that_failed_is_asked_last_for_longer_each_time() {
        let mut regions = vec![Health::default(); 3];
        assert_eq!(order(&regions, 0), [0, 1, 2]);
        let mut now = 0;
        for seconds in [30, 60, 120, 240, 300, 300] {
            regions[0].failed(now, error(ErrorKind::Unavailable), MAX);
            now += seconds * 1000;
            assert_eq!(order(&regions, now - 1), [1, 2, 0], "{seconds} s");
            assert_eq!(order(&regions, now), [0, 1, 2], "{seconds} s");
        }
        regions[0].answered(&set(1, "a", "v"));
        regions[0].failed(now, error(ErrorKind::Unavailable), MAX);
        assert_eq!(order(&regions, now + 30_000), [0, 1, 2], "a success makes it the first time");
        regions[1].failed(now, error(ErrorKind::Unavailable), MAX);
        regions[2].failed(now, error(ErrorKind::Unavailable), MAX);
        assert_eq!(order(&regions, now), [0, 1, 2], "all are asked, in their order");
    }

    #[test]
    fn a_region_that_is_behind_is_asked_in_its_order() {
        let mut regions = vec![Health::default(); 2];
        regions[0].is_behind(&set(4, "a", "v"), error(ErrorKind::OlderGeneration));
        assert_eq!(order(&regions, 0), [0, 1]);
        assert_eq!(to_hear(0..2, &regions, 0), Some(1), "but it hears of changes late");
    }

    #[test]
    fn a_region_is_left_alone_as_long_as_it_wants_unless_all_do() {
        let throttled =
            |wait| error(ErrorKind::Throttled).with_retry_after(Duration::from_secs(wait));
        let mut regions = vec![Health::default(); 2];
        regions[0].failed(0, throttled(100), MAX);
        assert_eq!(order(&regions, 99_999), [1]);
        assert_eq!(order(&regions, 100_000), [0, 1]);
        regions[1].failed(0, throttled(100), MAX);
        assert_eq!(order(&regions, 50_000), [0, 1]);
        regions[0].failed(0, throttled(9999), MAX);
        assert_eq!(order(&regions, 300_000), [0, 1], "five minutes at most");
    }

    #[test]
    fn a_validator_is_shown_to_the_region_it_is_from_for_what_is_held() {
        let mut region = Health::default();
        let held = set(7, "a", "ours");
        let of = |set: &CredentialSet| (set.generation(), set.lineage.clone());
        let validator_of = |region: &Health, set: &CredentialSet| {
            let (generation, lineage) = of(set);
            region.validator_of(generation, &lineage).map(str::to_owned)
        };
        assert_eq!(validator_of(&region, &held), None);
        region.answered(&set(7, "a", "theirs"));
        assert_eq!(validator_of(&region, &held).as_deref(), Some("theirs"));
        assert_eq!(validator_of(&region, &set(8, "a", "ours")), None);
        assert_eq!(validator_of(&region, &set(7, "b", "ours")), None);
        assert_eq!(region.generation(), Some(7));
    }

    #[test]
    fn the_first_that_is_heard_and_works_is_listened_to() {
        let mut regions = vec![Health::default(); 3];
        let to_hear = |regions: &[Health], now| to_hear(0..3, regions, now).expect("one");
        assert_eq!((to_hear(&regions, 0), changes_in(&regions, 0)), (0, None));
        regions[0].is_silent(0);
        assert_eq!(to_hear(&regions, 299_999), 1);
        assert_eq!(changes_in(&regions, 0), Some(Duration::from_secs(300)));
        assert_eq!(to_hear(&regions, 300_000), 0);
        regions[1].failed(0, error(ErrorKind::Unavailable), MAX);
        assert_eq!(to_hear(&regions, 0), 2);
        regions[2].is_silent(0);
        assert_eq!(to_hear(&regions, 0), 1, "a region that is heard, whatever its fetches do");
        regions[1].is_silent(0);
        assert_eq!(to_hear(&regions, 0), 0);
        assert!(regions[0].is_heard());
        assert!(!regions[0].is_heard(), "no news");
        for seconds in [300, 600, 1200, 2400, 3600, 3600] {
            regions[0].is_silent(0);
            assert_eq!(regions[0].heard.until, seconds * 1000);
        }
        regions[2].is_heard();
        regions[0].answered(&set(1, "a", "v"));
        assert_eq!(to_hear(&regions, 0), 2, "the first was silent while its fetches worked");
        regions[0].failed(0, error(ErrorKind::Unavailable), MAX);
        regions[0].answered(&set(1, "a", "v"));
        assert_eq!(to_hear(&regions, 0), 0, "it is back");
        assert_eq!(super::to_hear(1..2, &regions, 0), Some(1));
        assert_eq!(super::to_hear(0..0, &regions, 0), None);
    }
}
