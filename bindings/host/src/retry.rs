//! Retries of the API's own passing failures, for a client that sends by its language's library.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
use keyswap::{
    Error, Failure,
    host::{self, RetryRule, Tried},
};

use crate::{
    authorizer::Authorizer,
    source::seconds,
    text::{method_of, status_of},
};

/// How often and when a request is sent again for a reason that is not its credential. All requests of a client share
/// its budget.
#[derive(Debug)]
pub struct Retries(RetryRule);

impl Retries {
    /// At most so many for a request.
    pub fn new(authorizer: &Authorizer, limit: u32) -> Self {
        Self(host::retry_rule(authorizer.core(), limit))
    }

    /// The API did what it was asked: a part of a retry is earned back. Whether the budget still lacks some: until the
    /// next retry, a full one need not be told.
    pub fn succeeded(&self) -> bool {
        self.0.succeeded()
    }

    /// How many seconds to wait before this request is sent again, which was `retried` so often, and whose caller has
    /// `left` seconds; none if the response is the answer. The response may name a time (`Retry-After`).
    ///
    /// # Errors
    /// `invalid_config` if something is not what its name says.
    pub fn answered(
        &self,
        method: &str,
        retried: u32,
        left: Option<f64>,
        status: u32,
        retry_after: &str,
    ) -> Result<Option<f64>, Error> {
        let (method, left) = (method_of(method)?, seconds(left, "what is left")?);
        let tried = Tried { method: &method, retried, left, jitter: fastrand::f64() };
        let wait = self.0.answered(tried, status_of(status)?, || {
            let said = HeaderValue::from_str(retry_after).ok()?;
            host::retry_after(&HeaderMap::from_iter([(RETRY_AFTER, said)]))
        });
        Ok(wait.as_ref().map(Duration::as_secs_f64))
    }

    /// The same where no response came.
    ///
    /// # Errors
    /// As [`answered`](Self::answered).
    pub fn failed(
        &self,
        method: &str,
        retried: u32,
        left: Option<f64>,
        failure: Failure,
    ) -> Result<Option<f64>, Error> {
        let (method, left) = (method_of(method)?, seconds(left, "what is left")?);
        let tried = Tried { method: &method, retried, left, jitter: fastrand::f64() };
        Ok(self.0.failed(tried, failure).as_ref().map(Duration::as_secs_f64))
    }
}

#[cfg(test)]
mod tests {
    use keyswap::{KeySwap, source};

    use super::*;

    #[tokio::test]
    async fn the_rule_is_that_of_the_core() {
        let keys = KeySwap::follow(source::from_fn(std::future::pending));
        let keys = keys.start().expect("a handle");
        let authorizer = keyswap::Authorizer::builder(&keys);
        let authorizer = authorizer.allow_origin("https://api.example.com").expect("an origin");
        let rule = Retries(host::retry_rule(&authorizer.build().expect("all of it"), 2));
        let asked = |method, retried, left, status| {
            rule.answered(method, retried, left, status, "3").expect("words")
        };
        assert_eq!(asked("GET", 0, None, 503), Some(3.0));
        assert_eq!(asked("GET", 2, None, 503), None, "as often as it may");
        assert_eq!(asked("GET", 0, Some(1.0), 503), None, "there is no time");
        assert_eq!(asked("POST", 0, None, 503), None);
        assert!(rule.failed("POST", 0, None, Failure::Connect).expect("words").is_some());
        assert_eq!(rule.failed("GET", 0, None, Failure::Other).expect("words"), None);
        assert!(rule.answered("G T", 0, None, 503, "").is_err());
        rule.succeeded();
    }
}
