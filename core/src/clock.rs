//! The only reader of the system's clocks.
#![allow(clippy::disallowed_methods, reason = "this is the module that may")]

use std::{fmt, sync::Arc, time::SystemTime};

use crate::moment::Moment;

/// Where the time comes from.
#[derive(Clone)]
pub struct Clock(Option<Arc<dyn Fn() -> Moment + Send + Sync>>);

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self(None)
    }

    /// tokio's clock, which tests can pause and advance; the wall clock starts at the real time and
    /// goes along with it.
    pub fn tokio() -> Self {
        let wall = wall();
        let start = tokio::time::Instant::now();
        Self::from_fn(move || {
            let gone = crate::moment::millis(start.elapsed());
            Moment { wall: wall.saturating_add_unsigned(gone), boot: 1 + gone }
        })
    }

    /// A clock of the program's own, for tests and simulations.
    pub fn from_fn(now: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// Both clocks, now.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Some(now) => now(),
            None => Moment { wall: wall(), boot: boot() },
        }
    }

    /// The boot clock alone, for requests: one read instead of two.
    pub(crate) fn boot(&self) -> u64 {
        match &self.0 {
            Some(now) => now().boot,
            None => boot(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock(..)")
    }
}

/// Milliseconds since 1970. jiff's own clock may panic, and so brings along all of its sentences.
fn wall() -> i64 {
    let millis = |gone: std::time::Duration| i64::try_from(gone.as_millis()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

/// Milliseconds on a clock that goes on while the machine sleeps.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn boot() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000
        + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Milliseconds on a clock that may stand still while the machine sleeps; there the wall clock tells.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn boot() -> u64 {
    static START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    crate::moment::millis(START.elapsed())
}
