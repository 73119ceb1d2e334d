//! Time as a value: the wall clock and the boot clock, read together.
//!
//! Credentials end at a wall-clock time, which people and time servers move. The boot clock only goes
//! forward, but stands still on some systems while the machine sleeps. Keeping both, and believing the
//! more pessimistic one, means that a clock set back never lengthens a life and a sleep never hides an
//! expiry.

use std::time::Duration;

/// An instant on both clocks, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moment {
    /// Milliseconds since the Unix epoch, as the machine's wall clock shows it.
    pub wall: i64,
    /// Milliseconds since some fixed past instant, on a clock that is never set.
    pub boot: u64,
}

impl Moment {
    /// The instant at which the clocks show this, in milliseconds.
    pub const fn new(wall: i64, boot: u64) -> Self {
        Self { wall, boot }
    }

    /// Whether this instant, taken as a deadline, has come: on either clock.
    pub fn reached(self, now: Moment) -> bool {
        now.wall >= self.wall || now.boot >= self.boot
    }

    /// How long until this instant on the clock that gets there first; zero once it has come.
    pub fn remaining(self, now: Moment) -> Duration {
        let wall = u64::try_from(self.wall.saturating_sub(now.wall)).unwrap_or(0);
        Duration::from_millis(wall.min(self.boot.saturating_sub(now.boot)))
    }

    /// The earlier of the two on each clock.
    pub fn earlier(self, other: Moment) -> Moment {
        Moment { wall: self.wall.min(other.wall), boot: self.boot.min(other.boot) }
    }

    /// This instant, `by` earlier on both clocks.
    pub fn before(self, by: Duration) -> Moment {
        let by = millis(by);
        Moment { wall: self.wall.saturating_sub_unsigned(by), boot: self.boot.saturating_sub(by) }
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, by: Duration) -> Moment {
        let by = millis(by);
        Moment { wall: self.wall.saturating_add_unsigned(by), boot: self.boot.saturating_add(by) }
    }
}

/// A duration in whole milliseconds, the engine's unit.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment { wall: 1_000_000, boot: 500 };

    #[test]
    fn the_pessimistic_clock_decides() {
        let deadline = START + Duration::from_secs(10);
        let set_back = Moment { wall: START.wall - 3_600_000, boot: START.boot + 10_000 };
        assert!(deadline.reached(set_back), "a clock set back must not lengthen a life");
        let slept = Moment { wall: START.wall + 10_000, boot: START.boot + 1 };
        assert!(deadline.reached(slept), "a sleep must not hide an expiry");
        assert!(!deadline.reached(START + Duration::from_millis(9_999)));
    }

    #[test]
    fn remaining_is_that_of_the_nearer_clock() {
        let deadline = START + Duration::from_secs(10);
        let now = Moment { wall: START.wall + 4_000, boot: START.boot + 1_000 };
        assert_eq!(deadline.remaining(now), Duration::from_secs(6));
        assert_eq!(deadline.remaining(deadline + Duration::from_secs(1)), Duration::ZERO);
    }
}
