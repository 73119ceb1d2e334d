//! The requests, counted by time and key.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Width of a count, in milliseconds.
pub(crate) const BUCKET_MS: u64 = 100;

/// What the workers and the API saw. Its size grows with time and keys, not with requests.
#[derive(Default)]
pub(crate) struct Load(Mutex<Counted>);

#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Why the last one failed.
    pub(crate) failure: Option<String>,
    /// Sends that the API accepted, by key and bucket.
    pub(crate) accepted: BTreeMap<String, Vec<u32>>,
    /// The last request of each bucket that began with a key, in milliseconds, by key and bucket.
    began: BTreeMap<String, BTreeMap<u64, u64>>,
}

impl Load {
    pub(crate) fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins, with this key in use.
    pub(crate) fn begins(&self, at_ms: u64, key: &str) {
        let mut counted = self.counted();
        if !counted.began.contains_key(key) {
            counted.began.insert(key.to_owned(), BTreeMap::new());
        }
        if let Some(began) = counted.began.get_mut(key) {
            let last = began.entry(at_ms / BUCKET_MS).or_default();
            *last = at_ms.max(*last);
        }
    }

    /// A request ended; `failure` says why it failed, if it did.
    pub(crate) fn ended(&self, failure: Option<String>) {
        let mut counted = self.counted();
        counted.requests += 1;
        if failure.is_some() {
            counted.failed += 1;
            counted.failure = failure;
        }
    }

    /// The API answered a send.
    pub(crate) fn answered(&self, at_ms: u64, key: Option<&str>, status: Option<u16>) {
        let (Some(key), Some(200..=299)) = (key, status) else { return };
        let mut counted = self.counted();
        if !counted.accepted.contains_key(key) {
            counted.accepted.insert(key.to_owned(), Vec::new());
        }
        if let Some(buckets) = counted.accepted.get_mut(key) {
            let bucket = (at_ms / BUCKET_MS) as usize;
            if buckets.len() <= bucket {
                buckets.resize(bucket + 1, 0);
            }
            buckets[bucket] += 1;
        }
    }
}

impl Counted {
    /// When the last request began with this key, between two times.
    pub(crate) fn last_begun(&self, key: &str, from_ms: u64, until_ms: u64) -> Option<u64> {
        let began = self.began.get(key)?;
        began.values().rev().copied().find(|at| (from_ms..until_ms).contains(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_request_with_a_key_is_found() {
        let load = Load::default();
        for at in [10, 250, 240, 900] {
            load.begins(at, "k1");
        }
        let counted = load.counted();
        assert_eq!(counted.last_begun("k1", 100, 800), Some(250));
        assert_eq!(counted.last_begun("k1", 300, 800), None);
        assert_eq!(counted.last_begun("k2", 0, 800), None);
    }
}
