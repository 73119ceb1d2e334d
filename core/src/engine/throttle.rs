//! An API that asks for fewer requests is left alone by all requests, not only by the one that it told.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{moment::millis, policy::Policy};

/// Until when the sends of one origin are held back. Times are boot-clock milliseconds.
///
/// A request whose caller's time would be over before that is not held: it is sent, and gets the API's own
/// answer, which says more than an error of this crate could. Relaxed is enough: it is one number that
/// guards no other memory, and a request that reads it a moment too early is one request more.
#[derive(Debug, Default)]
pub struct Throttle(AtomicU64);

impl Throttle {
    /// The origin asked for a pause that begins now. It counts up to the policy's `retry_after_max`.
    pub fn hold(&self, now: u64, asked: Duration, policy: &Policy) {
        let until = now.saturating_add(millis(asked.min(policy.retry_after_max)));
        self.0.fetch_max(until, Relaxed);
    }

    /// Whether the origin ever asked, as far as nobody found that to be over: one load, and no clock, for
    /// the many that never do.
    pub fn was_told(&self) -> bool {
        self.0.load(Relaxed) > 0
    }

    /// Whether sends are held back at this time.
    pub fn holds(&self, now: u64) -> bool {
        now < self.0.load(Relaxed)
    }

    /// How long a request that is about to be sent has to wait, if it has to and can. Up to a tenth more
    /// than was asked, by `jitter` from 0 to 1, so that those who waited do not come all at once.
    pub fn pause(&self, now: u64, deadline: Option<u64>, jitter: f64) -> Option<Duration> {
        let until = self.0.load(Relaxed);
        let left = until.saturating_sub(now);
        if left == 0 {
            // Over: the next request need not read a clock for it.
            let _ = self.0.compare_exchange(until, 0, Relaxed, Relaxed);
            return None;
        }
        let wait = left.saturating_add((left as f64 * 0.1 * jitter.clamp(0.0, 1.0)) as u64);
        let is_in_time = deadline.is_none_or(|deadline| now.saturating_add(wait) < deadline);
        is_in_time.then_some(Duration::from_millis(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn all_wait_until_the_time_that_was_asked_for() {
        let (throttle, policy) = (Throttle::default(), Policy::default());
        assert_eq!((throttle.was_told(), throttle.pause(1_000, None, 0.0)), (false, None));
        throttle.hold(1_000, secs(5), &policy);
        throttle.hold(1_500, secs(1), &policy);
        assert_eq!(throttle.pause(2_000, None, 0.0), Some(secs(4)), "the longer wish stands");
        assert_eq!(throttle.pause(2_000, None, 1.0), Some(Duration::from_millis(4_400)));
        assert!(throttle.holds(5_999) && !throttle.holds(6_000));
        assert_eq!(throttle.pause(6_000, None, 1.0), None);
        assert!(!throttle.was_told());
    }

    #[test]
    fn no_wish_holds_for_longer_than_the_policy_and_the_caller_allow() {
        let (throttle, policy) = (Throttle::default(), Policy::default());
        throttle.hold(0, secs(u64::MAX), &policy);
        assert_eq!(throttle.pause(0, None, 0.0), Some(policy.retry_after_max));
        assert_eq!(throttle.pause(0, Some(300_000), 0.0), None, "sent: the API answers for itself");
        assert_eq!(throttle.pause(0, Some(300_001), 0.0), Some(policy.retry_after_max));
    }
}
