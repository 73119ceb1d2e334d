//! A token bucket kept as one number: the time at which it would be full again.

use std::time::Duration;

use crate::moment::millis;

/// Allows `burst` at once and one more each `every`. Times are boot-clock milliseconds.
#[derive(Debug)]
pub(crate) struct Bucket {
    full_at: u64,
    every: u64,
    slack: u64,
}

impl Bucket {
    pub(crate) fn new(burst: u32, every: Duration) -> Self {
        let every = millis(every);
        Self { full_at: 0, every, slack: every.saturating_mul(u64::from(burst.saturating_sub(1))) }
    }

    /// The earliest time at which a token is there.
    pub(crate) fn ready_at(&self) -> u64 {
        self.full_at.saturating_sub(self.slack)
    }

    pub(crate) fn take(&mut self, now: u64) {
        self.full_at = self.full_at.max(now).saturating_add(self.every);
    }

    /// Puts back a token that was taken.
    pub(crate) fn refund(&mut self) {
        self.full_at = self.full_at.saturating_sub(self.every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_each_interval() {
        let mut bucket = Bucket::new(2, Duration::from_secs(5));
        let now = 100_000;
        bucket.take(now);
        assert!(bucket.ready_at() <= now);
        bucket.take(now);
        assert_eq!(bucket.ready_at(), now + 5_000);
        bucket.refund();
        assert!(bucket.ready_at() <= now);
    }
}
