//! Retries for the API's own transient failures. They have nothing to do with credentials.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use http::{HeaderMap, Method, StatusCode};

use crate::source::retry_after;

/// What one retry costs, in the unit of the budget.
const COST: u32 = 10;
/// What one success earns: one retry for ten successes.
const EARNED: u32 = 1;
/// A full budget: ten retries.
const FULL: u32 = 10 * COST;
/// Delay before the first retry; it doubles.
const FIRST: Duration = Duration::from_millis(100);
/// The longest delay, also when the server asks for more: then the answer is returned instead.
const LONGEST: Duration = Duration::from_secs(10);

/// How often and when a request is retried, and how much retrying the API can be asked to bear.
#[derive(Debug)]
pub(crate) struct Retry {
    limit: u32,
    budget: AtomicU32,
}

impl Retry {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, budget: AtomicU32::new(FULL) }
    }

    /// How long to wait before sending again after this response; none if it is the answer.
    pub(crate) fn after_response(
        &self,
        tried: u32,
        method: &Method,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Duration> {
        if !matches!(status.as_u16(), 429 | 502 | 503 | 504) {
            if status.is_success() && self.budget.load(Relaxed) < FULL {
                self.budget.fetch_add(EARNED, Relaxed);
            }
            return None;
        }
        let asked = retry_after(headers);
        let bearable = asked.is_none_or(|asked| asked <= LONGEST);
        (method.is_idempotent() && bearable && self.afford(tried))
            .then(|| asked.unwrap_or_else(|| delay(tried)))
    }

    /// How long to wait before sending again after no connection could be made. Nothing was sent, so
    /// any method may be repeated.
    pub(crate) fn after_connect(&self, tried: u32) -> Option<Duration> {
        self.afford(tried).then(|| delay(tried))
    }

    fn afford(&self, tried: u32) -> bool {
        tried < self.limit
            && self.budget.fetch_update(Relaxed, Relaxed, |budget| budget.checked_sub(COST)).is_ok()
    }
}

/// Full jitter over a delay that doubles.
fn delay(tried: u32) -> Duration {
    (FIRST * (1 << tried.min(6))).mul_f64(fastrand::f64()).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header::RETRY_AFTER};

    fn ask(retry: &Retry, method: &Method, status: u16) -> Option<Duration> {
        let status = StatusCode::from_u16(status).expect("status");
        retry.after_response(0, method, status, &HeaderMap::new())
    }

    #[test]
    fn only_transient_failures_of_idempotent_methods_are_retried() {
        let retry = Retry::new(2);
        assert!(ask(&retry, &Method::GET, 503).is_some());
        assert!(ask(&retry, &Method::PUT, 429).is_some());
        assert!(ask(&retry, &Method::POST, 503).is_none());
        assert!(ask(&retry, &Method::GET, 500).is_none());
        assert!(ask(&retry, &Method::GET, 401).is_none());
        assert!(ask(&Retry::new(0), &Method::GET, 503).is_none());
    }

    #[test]
    fn the_budget_ends_and_is_earned_back() {
        let retry = Retry::new(2);
        let granted = (0..50).filter(|_| ask(&retry, &Method::GET, 503).is_some()).count();
        assert_eq!(granted, 10);
        for _ in 0..9 {
            assert!(ask(&retry, &Method::GET, 200).is_none());
        }
        assert!(ask(&retry, &Method::GET, 503).is_none());
        ask(&retry, &Method::GET, 200);
        assert!(ask(&retry, &Method::GET, 503).is_some());
    }

    #[test]
    fn the_server_says_when_and_is_not_waited_for_too_long() {
        let retry = Retry::new(2);
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("3"));
        let wait = retry.after_response(0, &Method::GET, StatusCode::SERVICE_UNAVAILABLE, &headers);
        assert_eq!(wait, Some(Duration::from_secs(3)));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("3600"));
        let wait = retry.after_response(0, &Method::GET, StatusCode::SERVICE_UNAVAILABLE, &headers);
        assert_eq!(wait, None);
    }
}
