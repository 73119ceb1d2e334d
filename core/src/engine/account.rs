//! What an API says of an account, which counts for all of its requests and not only for the one that it told.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use jiff::Timestamp;

use crate::moment::millis;

/// The longest that one answer locks an account: no mistake of an API or of a classifier is for ever.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// How far the clock of a signature may be from the API's for a rejection to be believed. It is less than the
/// shortest life of a signature in use.
const MOST_OFF: u64 = 60_000;

/// How far an API's clock is from this machine's, and until when it locks the account. Relaxed is enough: each is
/// one number that guards no other memory.
#[derive(Debug, Default)]
pub struct Account {
    /// In milliseconds, what is added to the wall clock.
    offset: AtomicI64,
    /// On the boot clock.
    locked_until: AtomicU64,
}

impl Account {
    /// The API showed this time when the wall clock showed `wall`.
    pub fn correct(&self, wall: i64, server_time: Timestamp) {
        self.offset.store(server_time.as_millisecond().saturating_sub(wall), Relaxed);
    }

    /// The time that signatures carry.
    pub fn time(&self, wall: i64) -> Timestamp {
        let corrected = wall.saturating_add(self.offset.load(Relaxed));
        Timestamp::from_millisecond(corrected).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Whether what was signed by this clock may have been rejected for its time alone. Many an API says the same
    /// of both.
    pub fn is_off(&self, wall: i64, shown: Timestamp) -> bool {
        self.time(wall).as_millisecond().abs_diff(shown.as_millisecond()) > MOST_OFF
    }

    /// The API takes no request of this account for so long.
    pub fn lock(&self, now: u64, how_long: Duration) {
        let until = now.saturating_add(millis(how_long.min(LONGEST)));
        self.locked_until.fetch_max(until, Relaxed);
    }

    /// How long it is still locked. No clock is read for the many accounts that never are.
    pub fn locked_for(&self, now: impl FnOnce() -> u64) -> Option<Duration> {
        let until = Some(self.locked_until.load(Relaxed)).filter(|until| *until > 0)?;
        let left = until.saturating_sub(now());
        if left == 0 {
            let _ = self.locked_until.compare_exchange(until, 0, Relaxed, Relaxed);
        }
        (left > 0).then(|| Duration::from_millis(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_the_api_s_once_it_has_shown_it() {
        let account = Account::default();
        let at = |millis| Timestamp::from_millisecond(millis).expect("a time");
        assert_eq!(account.time(5_000), at(5_000));
        account.correct(5_000, at(605_000));
        assert_eq!(account.time(6_000), at(606_000));
        account.correct(700_000, at(100_000));
        assert_eq!(account.time(700_001), at(100_001), "the last one counts");
        assert!(!account.is_off(700_000, at(160_000)) && !account.is_off(700_000, at(40_000)));
        assert!(account.is_off(700_000, at(160_001)) && account.is_off(700_000, at(39_999)));
        account.correct(i64::MIN, Timestamp::MAX);
        assert_eq!(account.time(i64::MAX), Timestamp::UNIX_EPOCH, "no time at all");
    }

    #[test]
    fn a_lock_ends_and_no_later_answer_shortens_it() {
        let account = Account::default();
        assert_eq!(account.locked_for(|| unreachable!("no clock is read")), None);
        account.lock(1_000, Duration::from_secs(900));
        account.lock(2_000, Duration::from_secs(1));
        assert_eq!(account.locked_for(|| 2_000), Some(Duration::from_secs(899)));
        assert_eq!(account.locked_for(|| 901_000), None);
        assert_eq!(account.locked_for(|| unreachable!("it is over")), None);
        account.lock(0, Duration::MAX);
        assert_eq!(account.locked_for(|| 0), Some(LONGEST));
    }
}
