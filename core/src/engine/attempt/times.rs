//! Until when a request waits, and how long it pauses.

use std::time::Duration;

use crate::{moment::millis, policy::Policy};

/// What part of the wait is left when the last send is spent without news.
const LAST_PART: u64 = 10;

/// Until when a request that begins now may wait, if its caller waits until `deadline`. What is in hand has
/// to reach the caller before a timer of its own strikes, so a tenth of its time is left, at most 0.1 s.
pub fn waits_until(now: u64, deadline: u64) -> u64 {
    let time = deadline.saturating_sub(now);
    deadline - (time / 10).min(100)
}

/// Until when a request waits that begins to do so now.
pub(super) fn limit(now: u64, deadline: u64, policy: &Policy) -> u64 {
    let latest = if deadline == u64::MAX { deadline } else { waits_until(now, deadline) };
    later(now, policy.wait).min(latest)
}

/// When the last send is spent without news.
pub(super) fn last_call(now: u64, limit: u64) -> u64 {
    limit - limit.saturating_sub(now) / LAST_PART
}

/// A pause of between half and one and a half times the policy's. The time itself is random enough: it
/// keeps requests that were rejected in one moment apart from those of the next.
pub(super) fn pause(now: u64, policy: &Policy) -> u64 {
    let share = 0.5 + f64::from(now as u32 % 101) / 100.0;
    millis(policy.rotation_pause.mul_f64(share))
}

pub(super) fn later(at: u64, by: Duration) -> u64 {
    at.saturating_add(millis(by))
}
