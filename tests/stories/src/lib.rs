//! Plays a story of `tests/scenarios` in two ways, which must come to the same counts.
//!
//! [`engine::play`] drives the two state machines of the core in virtual time: no runtime, no socket,
//! and a whole day in milliseconds. [`sockets::play`] runs the real handle and the real client, or one of
//! the adapters for clients that programs have, against the embedded endpoint over loopback. Both are told what happens by the same file, both leave the
//! endpoint and the API to the same model, and neither knows which counts are expected.

pub mod engine;
pub mod lateness;
pub mod sockets;

mod sender;
mod setup;
mod tally;

use std::{collections::BTreeMap, time::Duration};

use keyswap_endpoint::story::{Mismatch, StoryError};
use serde_json::Value;

/// What came out of a story.
#[derive(Clone, Debug)]
pub struct Report {
    /// Everything that was counted, by the keys of `expect`.
    pub counted: BTreeMap<String, Value>,
    /// What did not come out as it must.
    pub mismatches: Vec<Mismatch>,
    /// Steps that could not happen.
    pub errors: Vec<String>,
    /// By how much the machine was late at most; nothing in virtual time.
    pub late: Duration,
}

impl Report {
    /// Whether everything came out as it must.
    pub fn is_good(&self) -> bool {
        self.mismatches.is_empty() && self.errors.is_empty()
    }

    /// The counts on one line, without those that are zero.
    pub fn line(&self) -> String {
        let some = self.counted.iter().filter(|(_, count)| count.as_i64() != Some(0));
        some.map(|(key, count)| format!("{key}={count}")).collect::<Vec<_>>().join(" ")
    }

    /// What is wrong, one thing a line, with all counts below.
    pub fn complaint(&self) -> String {
        let wrong = self.mismatches.iter().map(ToString::to_string);
        let lines: Vec<_> = wrong.chain(self.errors.iter().cloned()).collect();
        format!("{}\n  counted: {}", lines.join("\n"), self.line())
    }
}

/// Why a story could not be played at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlayError {
    /// The story is not a story.
    #[error(transparent)]
    Story(#[from] StoryError),
    /// Its `policy` or its `client` is not understood.
    #[error("the story's `policy` or `client`: {0}")]
    Setup(#[from] serde_json::Error),
    /// The handle or the client could not be made ready.
    #[error("the client: {0}")]
    Client(#[from] keyswap::Error),
    /// No socket could be had.
    #[error("the sockets: {0}")]
    Sockets(#[from] std::io::Error),
    /// The virtual clock stood still: a rule asks to be woken again and again.
    #[error("the engine asks to be woken without end, at {at} ms")]
    Spinning {
        /// The time of the story.
        at: u64,
    },
}
