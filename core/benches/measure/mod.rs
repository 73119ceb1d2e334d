//! What the benchmarks share: clocks, medians, and a line that says whether a goal is met.
#![allow(dead_code)]

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The middle value.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Prints a ratio beside its goal.
pub(crate) fn goal(what: &str, ratio: f64, at_most: f64) {
    let verdict = if ratio <= at_most { "met" } else { "MISSED" };
    println!("{what}: {ratio:.3} (goal: at most {at_most}, {verdict})");
}

/// Memory of this process that is in RAM, in bytes.
pub(crate) fn rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
