//! What callers and the client count.

use std::collections::BTreeMap;

use keyswap::Error;
use serde_json::Value;

#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(crate) fn requested(&mut self) {
        self.add("requests");
    }

    pub(crate) fn answered(&mut self, status: u16) {
        self.add(&format!("status.{status}"));
        if status >= 400 {
            self.add("failed");
        }
    }

    pub(crate) fn failed(&mut self, error: &Error) {
        self.failed_with(error.code());
    }

    pub(crate) fn failed_with(&mut self, code: &str) {
        self.add("failed");
        self.add(&format!("error.{code}"));
    }

    pub(crate) fn cancelled(&mut self) {
        self.add("cancelled");
    }

    pub(crate) fn told(&mut self, event: &str) {
        self.add(&format!("event.{event}"));
    }

    /// All counts, with what the client holds in the end.
    pub(crate) fn close(
        self,
        in_use: Option<&str>,
        generation: Option<u64>,
    ) -> BTreeMap<String, Value> {
        let last = [
            ("in_use".to_owned(), Value::from(in_use.unwrap_or("none"))),
            ("generation".to_owned(), Value::from(generation.unwrap_or(0))),
        ];
        self.0.into_iter().map(|(key, count)| (key, Value::from(count))).chain(last).collect()
    }

    fn add(&mut self, key: &str) {
        *self.0.entry(key.to_owned()).or_default() += 1;
    }
}
