//! How long to leave alone what failed: a schedule with jitter, and delays that double without it.

use std::{sync::Arc, time::Duration};

use crate::policy::Policy;

/// A retry schedule: made anew after each success.
pub type Backoff = Arc<dyn Fn(u64) -> Delays + Send + Sync>;

/// The delays of one run of failures.
pub(crate) type Delays = Box<dyn Iterator<Item = Duration> + Send>;

/// The schedule that is used unless a program brings its own: exponential with full jitter.
pub fn default_backoff(policy: &Policy) -> Backoff {
    use backon::BackoffBuilder;
    let builder = backon::ExponentialBuilder::default()
        .with_min_delay(policy.backoff_min)
        .with_max_delay(policy.backoff_max)
        .without_max_times();
    Arc::new(move |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        Box::new(builder.build().map(move |delay| delay.mul_f64(rng.f64())))
    })
}

/// The delay after so many failures before: it doubles from `first` with each of them, up to `longest`.
pub(crate) fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_doubles_up_to_the_longest_and_never_beyond_what_fits() {
        let [first, longest] = [30, 100].map(Duration::from_secs);
        let delays = [0, 1, 2, 3, 40, u32::MAX].map(|failures| doubled(first, failures, longest));
        assert_eq!(delays, [30, 60, 100, 100, 100, 100].map(Duration::from_secs));
        assert_eq!(doubled(Duration::MAX, 31, Duration::MAX), Duration::MAX);
    }
}
