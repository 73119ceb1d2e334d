//! What programs are shown: facts without material. Points in time are milliseconds since 1970.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use keyswap::{Credential, CredentialSet, Event, Stats, WentBack};
use serde::Serialize;

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

/// Something that happened to the credentials: a name, and fields that are ids and numbers. A field that this kind of
/// event does not have is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EventRecord {
    /// Its stable name, the same in every language.
    #[serde(rename = "event")]
    pub name: String,
    /// The same in a sentence.
    #[serde(skip)]
    pub text: String,
    /// The number of the generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The id of the newest credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// The code of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the next fetch is due, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// The id that was in use before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The id that is in use now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The id of the credential that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The ids of the credentials that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<String>>,
    /// The id that stays in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_use: Option<String>,
    /// Whether the API was seen to accept it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proven: Option<bool>,
    /// Whether it is the candidate, which nobody depends on yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<bool>,
    /// When the candidate is tried again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_in_ms: Option<u64>,
    /// Why the credential could not be put on a request; none if it was sent, and the API rejected it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the whole set was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<bool>,
    /// How long requests fail fast, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Whether the API never accepted anything of this handle. Then look at the key, at the set that the source was
    /// asked for, and at the scheme and the header that the API wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never_accepted: Option<bool>,
    /// The generation that was held, where an older answer was believed since the API rejected all that was held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_generation: Option<u64>,
    /// The older generation that is held now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_generation: Option<u64>,
    /// For how long this is so, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// How far the wall clock moved, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_ms: Option<i64>,
    /// How many events this observer missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
}

impl From<&Event> for EventRecord {
    fn from(event: &Event) -> Self {
        let mut it =
            Self { name: event.name().to_owned(), text: event.to_string(), ..Self::default() };
        let id = |id: &keyswap::CredentialId| Some(id.to_string());
        match event {
            Event::Fetched { generation, primary, .. } => {
                (it.generation, it.primary) = (Some(*generation), id(primary));
            }
            Event::NotModified { generation, .. } => it.generation = Some(*generation),
            Event::FetchFailed { error, retry_in, .. } => {
                it.error = Some(error.code().to_owned());
                it.retry_in_ms = Some(millis(*retry_in));
            }
            Event::Swapped { from, to, generation, .. } => {
                (it.from, it.to) = (from.as_ref().and_then(id), id(to));
                it.generation = Some(*generation);
            }
            Event::Candidate { credential, in_use, .. } => {
                (it.credential, it.in_use) = (id(credential), id(in_use));
            }
            Event::Promoted { from, to, proven, .. } => {
                (it.from, it.to, it.proven) = (id(from), id(to), Some(*proven));
            }
            Event::Rejected { credential, candidate, probe_in, reason, .. } => {
                (it.credential, it.candidate) = (id(credential), Some(*candidate));
                it.probe_in_ms = probe_in.map(millis);
                it.reason = reason.as_ref().map(keyswap::Error::to_string);
            }
            Event::FellBack { from, to, .. } | Event::RolledBack { from, to, .. } => {
                (it.from, it.to) = (id(from), id(to));
            }
            Event::Expired { credential, .. } => it.credential = id(credential),
            Event::Revoked { credentials, set, .. } => {
                (it.credentials, it.set) = (Some(words(credentials)), Some(*set));
            }
            Event::Exhausted { credential, cooldown, never_accepted, .. } => {
                (it.credential, it.for_ms) = (id(credential), Some(millis(*cooldown)));
                it.never_accepted = Some(*never_accepted);
            }
            Event::Recovered { credential, went_back, .. } => {
                it.credential = credential.as_ref().and_then(id);
                if let Some(WentBack { from, to, .. }) = went_back {
                    (it.from_generation, it.to_generation) = (Some(*from), Some(*to));
                }
            }
            Event::Lagging { credential, since, .. } => {
                (it.credential, it.seconds) = (id(credential), Some(since.as_secs()));
            }
            Event::PushLost { silent, .. } => it.seconds = Some(silent.as_secs()),
            Event::ClockJumped { by_ms, .. } => it.by_ms = Some(*by_ms),
            Event::Lagged { missed, .. } => it.missed = Some(*missed),
            _ => {}
        }
        it
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
