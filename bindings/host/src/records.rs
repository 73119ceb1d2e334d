//! What programs are shown: facts without material. Points in time are milliseconds since 1970.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use keyswap::{Credential, CredentialSet, Event, Stats};
use serde::{Deserialize, Serialize};

/// What is known of a credential, without its material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CredentialRecord {
    /// Its id.
    pub id: String,
    /// Its version, if the source gave one.
    pub version: Option<String>,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at_ms: Option<i64>,
    /// When it begins to be valid.
    pub not_before_ms: Option<i64>,
    /// When a staged one is to be used.
    pub activate_at_ms: Option<i64>,
    /// When it ends.
    pub expires_at_ms: Option<i64>,
    /// When its use as a fallback ends.
    pub grace_expires_at_ms: Option<i64>,
}

impl From<&Credential> for CredentialRecord {
    fn from(it: &Credential) -> Self {
        Self {
            id: it.id().to_owned(),
            version: it.version().map(str::to_owned),
            scopes: words(it.scopes()),
            created_at_ms: at(it.created_at()),
            not_before_ms: at(it.not_before()),
            activate_at_ms: at(it.activate_at()),
            expires_at_ms: at(it.expires_at()),
            grace_expires_at_ms: at(it.grace_expires_at()),
        }
    }
}

/// The set that is held.
#[derive(Clone, Debug)]
pub struct SetRecord {
    /// The provider's number of this state.
    pub generation: u64,
    /// The newest credential; none in a revoked set.
    pub primary: Option<Arc<Credential>>,
    /// The older ones that are still valid, newest first.
    pub previous: Vec<Arc<Credential>>,
    /// The staged one.
    pub next: Option<Arc<Credential>>,
    /// Ids that must never be used again.
    pub revoked: Vec<String>,
    /// What the whole set may be used for.
    pub scopes: Vec<String>,
    /// The origins that the provider narrows its use to; empty means no narrowing.
    pub audience: Vec<String>,
}

impl From<&CredentialSet> for SetRecord {
    fn from(set: &CredentialSet) -> Self {
        let shared = |one: &Credential| Arc::new(one.clone());
        Self {
            generation: set.generation(),
            primary: set.primary().map(shared),
            previous: set.previous().map(shared).collect(),
            next: set.next().map(shared),
            revoked: words(set.revoked()),
            scopes: words(set.scopes()),
            audience: words(set.audience()),
        }
    }
}

/// What was counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatsRecord {
    /// The generation that is held.
    pub generation: Option<u64>,
    /// The local number of what requests see.
    pub epoch: u64,
    /// The id of the credential in use.
    pub in_use: Option<String>,
    /// When that ends.
    pub expires_at_ms: Option<i64>,
    /// When a fetch last worked.
    pub last_success_ms: Option<i64>,
    /// How long ago that was, in milliseconds.
    pub age_ms: Option<u64>,
    /// Fetches that brought a new generation.
    pub fetches_changed: u64,
    /// Fetches that learnt that nothing changed.
    pub fetches_not_modified: u64,
    /// Fetches that failed.
    pub fetches_failed: u64,
    /// Fetches that a rejection forced.
    pub fetches_forced: u64,
    /// Rejections that counted as evidence.
    pub rejections: u64,
    /// Times an older credential was taken into use because the newer one was rejected.
    pub fallbacks: u64,
    /// Times the provider went back to an older credential.
    pub rollbacks: u64,
    /// Sends of all requests.
    pub sends: u64,
    /// Sends beyond the first of a request.
    pub extra_sends: u64,
    /// Callers that wait for a fetch.
    pub waiting: u64,
}

impl From<&Stats> for StatsRecord {
    fn from(stats: &Stats) -> Self {
        let counts = &stats.counts;
        Self {
            generation: stats.generation,
            epoch: stats.epoch,
            in_use: stats.in_use.as_ref().map(|id| id.to_string()),
            expires_at_ms: at(stats.expires_at),
            last_success_ms: at(stats.last_success),
            age_ms: stats.age.map(millis),
            fetches_changed: counts.changed,
            fetches_not_modified: counts.not_modified,
            fetches_failed: counts.failed,
            fetches_forced: counts.forced,
            rejections: counts.rejections,
            fallbacks: counts.fallbacks,
            rollbacks: counts.rollbacks,
            sends: stats.sends,
            extra_sends: stats.extra_sends,
            waiting: stats.waiting as u64,
        }
    }
}

/// Something that happened to the credentials: a name, and fields that are ids and numbers, as the core writes them. A
/// field that this kind of event does not have is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventRecord {
    /// Its stable name, the same in every language.
    #[serde(rename = "event")]
    pub name: String,
    /// The same in a sentence.
    #[serde(skip)]
    pub text: String,
    // generated: event (by keyswap-generate: do not edit)
    /// The number of the generation.
    pub generation: Option<u64>,
    /// The id of the newest credential.
    pub primary: Option<String>,
    /// What went wrong; as data, its code.
    pub error: Option<String>,
    /// When the next fetch is due, in milliseconds.
    pub retry_in_ms: Option<u64>,
    /// The id that was in use before.
    pub from: Option<String>,
    /// The id that is in use now.
    pub to: Option<String>,
    /// The id of the credential that this is about.
    pub credential: Option<String>,
    /// The id that stays in use.
    pub in_use: Option<String>,
    /// Whether the API was seen to accept it.
    pub proven: Option<bool>,
    /// Whether it is the candidate, which nobody depends on yet.
    pub candidate: Option<bool>,
    /// When the candidate is tried again, in milliseconds.
    pub probe_in_ms: Option<u64>,
    /// Why the credential could not be put on a request; none if it was sent, and the API rejected it.
    pub reason: Option<String>,
    /// The ids of the credentials that this is about.
    pub credentials: Option<Vec<String>>,
    /// Whether the whole set was revoked.
    pub set: Option<bool>,
    /// How long requests fail fast, in milliseconds.
    pub for_ms: Option<u64>,
    /// Whether the API never accepted anything of this handle. Then look at the key, at the set that the source was
    /// asked for, and at the scheme and the header that the API wants.
    pub never_accepted: Option<bool>,
    /// The generation that was held before an older answer was believed.
    pub from_generation: Option<u64>,
    /// The older generation that is held now.
    pub to_generation: Option<u64>,
    /// For how long this is so, in seconds.
    pub seconds: Option<u64>,
    /// How far the wall clock moved against the boot clock, in milliseconds.
    pub by_ms: Option<i64>,
    /// How many events were missed.
    pub missed: Option<u64>,
    // end of event
}

impl From<&Event> for EventRecord {
    fn from(event: &Event) -> Self {
        let written = serde_json::to_string(event);
        let record = written.and_then(|it| serde_json::from_str(&it));
        let record: Self = record.expect("it has the fields of every event");
        Self { text: event.to_string(), ..record }
    }
}

/// Every name that an event may have.
pub fn event_names() -> Vec<&'static str> {
    Event::NAMES.to_vec()
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn at(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_millisecond)
}

fn words<T: AsRef<str>>(all: &[T]) -> Vec<String> {
    all.iter().map(|one| one.as_ref().to_owned()).collect()
}

#[cfg(test)]
mod tests;
