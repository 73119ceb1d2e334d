//! Retries for the API's own passing failures. They have nothing to do with credentials.
//!
//! A rule is shared by all requests of a client, because the API has to bear them together: each retry
//! costs ten, each success earns one back, and a full budget is ten retries. Delays without a wish of the
//! API's double from 100 ms with full jitter, which the caller draws.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use http::{Method, StatusCode};

use super::verdict::Failure;
use crate::{backoff::doubled, policy::Policy};

/// What one retry costs, in the unit of the budget.
const COST: u32 = 10;
/// What one success earns: one retry for ten successes.
const EARNED: u32 = 1;
/// A full budget: ten retries.
const FULL: u32 = 10 * COST;
/// Delay before the first retry, and the longest one: it doubles.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_millis(6_400);

/// How often and when a request is sent again for a reason that is not its credential.
#[derive(Debug)]
pub struct RetryRule {
    limit: u32,
    /// The longest that the API is waited for; when it asks for more, its answer is returned instead.
    longest: Duration,
    budget: AtomicU32,
}

/// What a request is and how far it came, as far as a retry depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Tried<'a> {
    /// The method: only an idempotent one is repeated once the API may have seen it.
    pub method: &'a Method,
    /// How often this request was retried.
    pub retried: u32,
    /// How much of its caller's time is left, if that is limited.
    pub left: Option<Duration>,
    /// A number from 0 to 1, drawn at random.
    pub jitter: f64,
}

impl RetryRule {
    /// At most so many retries a request, and no wait that is longer than the policy's for `Retry-After`.
    pub fn new(limit: u32, policy: &Policy) -> Self {
        Self { limit, longest: policy.retry_after_max, budget: AtomicU32::new(FULL) }
    }

    /// The API did what it was asked: a part of a retry is earned back. Whether the budget still lacks some:
    /// until the next retry, a full one need not be told.
    pub fn succeeded(&self) -> bool {
        self.budget.load(Relaxed) < FULL && self.budget.fetch_add(EARNED, Relaxed) + EARNED < FULL
    }

    /// How long to wait before sending again after this response; none if it is the answer. `asked` is
    /// its `Retry-After`.
    pub fn answered(
        &self,
        tried: Tried<'_>,
        status: StatusCode,
        asked: impl FnOnce() -> Option<Duration>,
    ) -> Option<Duration> {
        let is_passing = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        if !is_passing || !tried.method.is_idempotent() {
            return None;
        }
        let wait = asked().unwrap_or_else(|| delay(tried));
        (wait <= self.longest && self.afford(tried, wait)).then_some(wait)
    }

    /// How long to wait before sending again after this failure; none if it is the answer. Where no
    /// connection could be made nothing was sent, so any method may be repeated; after all else, the
    /// API may have done what it was asked.
    pub fn failed(&self, tried: Tried<'_>, failure: Failure) -> Option<Duration> {
        let wait = delay(tried);
        (failure == Failure::Connect && self.afford(tried, wait)).then_some(wait)
    }

    /// A wait that leaves no time for a send is not begun: what is in hand is the answer.
    fn afford(&self, tried: Tried<'_>, wait: Duration) -> bool {
        tried.retried < self.limit
            && tried.left.is_none_or(|left| wait < left)
            && self.budget.fetch_update(Relaxed, Relaxed, |budget| budget.checked_sub(COST)).is_ok()
    }
}

/// Full jitter over a delay that doubles.
fn delay(tried: Tried<'_>) -> Duration {
    doubled(FIRST, tried.retried, LONGEST).mul_f64(tried.jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(limit: u32) -> RetryRule {
        RetryRule::new(limit, &Policy::default())
    }

    fn tried(method: &Method) -> Tried<'_> {
        Tried { method, retried: 0, left: None, jitter: 0.5 }
    }

    fn ask(rule: &RetryRule, method: &Method, status: u16) -> Option<Duration> {
        let status = StatusCode::from_u16(status).expect("status");
        rule.answered(tried(method), status, || None)
    }

    #[test]
    fn only_passing_failures_of_idempotent_methods_are_retried() {
        let rule_of_two = rule(2);
        assert_eq!(ask(&rule_of_two, &Method::GET, 503), Some(Duration::from_millis(50)));
        assert!(ask(&rule_of_two, &Method::PUT, 429).is_some());
        assert!(ask(&rule_of_two, &Method::POST, 503).is_none());
        assert!(ask(&rule_of_two, &Method::GET, 500).is_none());
        assert!(ask(&rule_of_two, &Method::GET, 401).is_none());
        assert!(ask(&rule(0), &Method::GET, 503).is_none());
    }

    #[test]
    fn what_was_not_sent_is_sent_again_whatever_it_is() {
        let rule = rule(2);
        assert!(rule.failed(tried(&Method::POST), Failure::Connect).is_some());
        for failure in [Failure::Timeout, Failure::Other] {
            assert!(rule.failed(tried(&Method::GET), failure).is_none(), "{failure:?}");
        }
    }

    #[test]
    fn the_budget_ends_and_is_earned_back() {
        let rule = rule(2);
        let granted = (0..50).filter(|_| ask(&rule, &Method::GET, 503).is_some()).count();
        assert_eq!(granted, 10);
        for _ in 0..9 {
            rule.succeeded();
        }
        assert!(ask(&rule, &Method::GET, 503).is_none());
        rule.succeeded();
        assert!(ask(&rule, &Method::GET, 503).is_some());
    }

    #[test]
    fn a_success_says_whether_the_budget_is_still_not_full() {
        let rule = rule(2);
        assert!(!rule.succeeded());
        assert!(ask(&rule, &Method::GET, 503).is_some());
        let lacking = (0..COST).filter(|_| rule.succeeded()).count();
        assert_eq!(lacking, 9, "the tenth success fills it");
        assert!(!rule.succeeded());
    }

    #[test]
    fn the_server_says_when_and_is_not_waited_for_too_long() {
        let rule = rule(2);
        let wait = |asked: u64, left: Option<u64>| {
            let left = left.map(Duration::from_secs);
            let tried = Tried { left, ..tried(&Method::GET) };
            let asked = Some(Duration::from_secs(asked));
            rule.answered(tried, StatusCode::SERVICE_UNAVAILABLE, || asked)
        };
        assert_eq!(wait(3, None), Some(Duration::from_secs(3)));
        assert_eq!(wait(300, None), Some(Duration::from_secs(300)));
        assert_eq!(wait(301, None), None, "longer than the policy's retry_after_max");
        assert_eq!(wait(3, Some(4)), Some(Duration::from_secs(3)));
        assert_eq!(wait(3, Some(3)), None, "no time for a send would be left");
    }
}
