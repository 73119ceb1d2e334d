//! What came out: one table, and one line of JSON.

use keyswap::{KeySwap, Stats};
use keyswap_endpoint::server::Running;
use serde_json::{Value, json};

use crate::{args::Args, load::Counted};

/// The numbers of a run.
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    failure: Option<String>,
    rotations: u64,
    stats: Stats,
    wasted_401s: u64,
    adoption_ms: Vec<u64>,
    rss_bytes: u64,
}

impl Report {
    pub(crate) fn new(keys: &KeySwap, running: Option<&Running>, counted: &Counted) -> Self {
        let commits = running.map(Running::commits).unwrap_or_default();
        let mut adoption_ms = Vec::new();
        for (index, commit) in commits.iter().enumerate() {
            let Some(replaced) = &commit.replaced else { continue };
            let until = commits.get(index + 1).map_or(u64::MAX, |next| next.at_ms);
            // A key that is still in use when the next one comes was never replaced: a bad rotation.
            let adopted = counted.last_begun(&commit.credential, commit.at_ms, until).is_some();
            if adopted && counted.last_begun(replaced, 0, until).is_some() {
                // It may be so quick that nothing begins with the old key any more.
                let last = counted.last_begun(replaced, commit.at_ms, until);
                adoption_ms.push(last.map_or(0, |last| last - commit.at_ms));
            }
        }
        adoption_ms.sort_unstable();
        Self {
            requests: counted.requests,
            failed: counted.failed,
            failure: counted.failure.clone(),
            rotations: commits.iter().filter(|commit| commit.generation > 1).count() as u64,
            stats: keys.stats(),
            wasted_401s: running
                .and_then(|running| running.counters().get("api.rejected").copied())
                .unwrap_or(0),
            adoption_ms,
            rss_bytes: rss_bytes(),
        }
    }

    /// Fetches that brought a new generation, without the very first one.
    fn changed(&self) -> u64 {
        self.stats.counts.changed.saturating_sub(1)
    }

    pub(crate) fn json(&self, args: &Args, seconds: f64) -> Value {
        let counts = self.stats.counts;
        let mut value = json!({
            "scenario": args.scenario,
            "workers": args.workers,
            "seconds": (seconds * 10.0).round() / 10.0,
            "requests": self.requests,
            "failed": self.failed,
            "rotations": self.rotations,
            "fetches": {
                "changed": self.changed(),
                "not_modified": counts.not_modified,
                "failed": counts.failed,
                "forced": counts.forced,
            },
            "extra_sends": self.stats.extra_sends,
            "wasted_401s": self.wasted_401s,
            "adoption_ms": { "p50": percentile(&self.adoption_ms, 50), "max": self.adoption_ms.last() },
            "rss_bytes": self.rss_bytes,
        });
        if args.scenario == "storm" {
            let (changed, rotations) = (self.changed(), self.rotations.max(1));
            value["changed_fetches_per_rotation"] = match changed % rotations {
                0 => json!(changed / rotations),
                _ => json!(changed as f64 / rotations as f64),
            };
        }
        value
    }

    pub(crate) fn table(&self) -> String {
        let counts = self.stats.counts;
        let milliseconds = |value: Option<u64>| value.map_or("-".into(), |ms| format!("{ms} ms"));
        let rows = [
            ("requests", self.requests.to_string()),
            ("failed", self.failed.to_string()),
            ("rotations", self.rotations.to_string()),
            ("fetches with news, after the first", self.changed().to_string()),
            ("fetches without", counts.not_modified.to_string()),
            ("fetches failed", counts.failed.to_string()),
            ("fetches forced by a rejection", counts.forced.to_string()),
            ("sends beyond the first of a request", self.stats.extra_sends.to_string()),
            ("401 answers, none seen by a caller", self.wasted_401s.to_string()),
            ("a rotation adopted, median", milliseconds(percentile(&self.adoption_ms, 50))),
            ("a rotation adopted, slowest", milliseconds(self.adoption_ms.last().copied())),
            ("memory", format!("{:.1} MB", self.rss_bytes as f64 / 1e6)),
        ];
        let mut table = String::new();
        for (what, value) in rows {
            table += &format!("  {what:<38}{value:>12}\n");
        }
        if let Some(failure) = &self.failure {
            table += &format!("  the last failure: {failure}\n");
        }
        table
    }
}

fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    sorted.get((sorted.len().checked_sub(1)?) * percent / 100).copied()
}

/// Memory of this process that is in RAM; zero where that cannot be known.
fn rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_of_nothing_is_nothing() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile(&[1, 2, 3, 4, 100], 50), Some(3));
    }
}
