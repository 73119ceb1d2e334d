//! What observers are told. By type it cannot hold a secret: ids, numbers, and errors that hold none.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

#[cfg(feature = "host")]
use crate::error::ErrorKind;
use crate::{credential::CredentialId, error::Error};

/// Something that happened to the credentials. Variants, and what they hold, may be added: end each pattern
/// with `..`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A new generation arrived.
    #[non_exhaustive]
    Fetched {
        /// The number of the generation.
        generation: u64,
        /// The id of the newest credential.
        primary: CredentialId,
    },
    /// The source has nothing newer.
    #[non_exhaustive]
    NotModified {
        /// The number of the generation.
        generation: u64,
    },
    /// A fetch failed. What is held stays in use; it is tried again by itself.
    #[non_exhaustive]
    FetchFailed {
        /// What went wrong; as data, its code.
        #[serde(serialize_with = "as_code")]
        error: Error,
        /// When the next fetch is due.
        #[serde(serialize_with = "as_millis", rename = "retry_in_ms")]
        retry_in: Duration,
    },
    /// A newer credential was taken into use at once, because the one before is gone or about to end.
    #[non_exhaustive]
    Swapped {
        /// The id that was in use before; none at the start.
        from: Option<CredentialId>,
        /// The id that is in use now.
        to: CredentialId,
        /// The number of the generation.
        generation: u64,
    },
    /// A newer credential is there and is tried by one request at a time.
    #[non_exhaustive]
    Candidate {
        /// The id of the credential that this is about.
        credential: CredentialId,
        /// The id that stays in use.
        in_use: CredentialId,
    },
    /// The candidate is now in use.
    #[non_exhaustive]
    Promoted {
        /// The id that was in use before.
        from: CredentialId,
        /// The id that is in use now.
        to: CredentialId,
        /// Whether the API was seen to accept it.
        proven: bool,
    },
    /// The API rejected a credential of the set, or it could not be put on a request.
    #[non_exhaustive]
    Rejected {
        /// The id of the credential that this is about.
        credential: CredentialId,
        /// Whether it is the candidate, which nobody depends on yet.
        candidate: bool,
        /// When the candidate is tried again.
        #[serde(serialize_with = "as_optional_millis", rename = "probe_in_ms")]
        probe_in: Option<Duration>,
        /// Why the credential could not be put on a request; none if it was sent, and the API rejected it.
        #[serde(serialize_with = "as_reason", skip_serializing_if = "Option::is_none")]
        reason: Option<Error>,
    },
    /// The credential in use was rejected again and again while an older one was accepted, or no request
    /// could carry it.
    #[non_exhaustive]
    FellBack {
        /// The id that was in use before.
        from: CredentialId,
        /// The id that is in use now.
        to: CredentialId,
    },
    /// The provider went back to a credential that was in use before.
    #[non_exhaustive]
    RolledBack {
        /// The id that was in use before.
        from: CredentialId,
        /// The id that is in use now.
        to: CredentialId,
    },
    /// The credential in use ended and nothing else is usable.
    #[non_exhaustive]
    Expired {
        /// The id of the credential that this is about.
        credential: CredentialId,
    },
    /// The provider revoked credentials; they are never used again.
    #[non_exhaustive]
    Revoked {
        /// The ids of the credentials that this is about.
        credentials: Vec<CredentialId>,
        /// Whether the whole set was revoked.
        set: bool,
    },
    /// Every credential was rejected and nothing newer could be had: requests fail fast for a while.
    #[non_exhaustive]
    Exhausted {
        /// The id of the credential that this is about.
        credential: CredentialId,
        /// How long requests fail fast.
        #[serde(serialize_with = "as_millis", rename = "for_ms")]
        cooldown: Duration,
        /// Whether the API never accepted anything of this handle. Then look at the key, at the set that the
        /// source was asked for, and at the scheme and the header that the API wants.
        never_accepted: bool,
    },
    /// Fetching works again, or the API accepts a credential again, or an older answer was believed.
    #[non_exhaustive]
    Recovered {
        /// The id of the credential that this is about.
        credential: Option<CredentialId>,
        /// The generations between which the way back led: the API rejected all that was held, and the
        /// source gave the same older answer twice.
        #[serde(flatten)]
        went_back: Option<WentBack>,
    },
    /// The newest credential has been there for this long, and is still not in use.
    #[non_exhaustive]
    Lagging {
        /// The id of the credential that this is about.
        credential: CredentialId,
        /// For how long this is so.
        #[serde(serialize_with = "as_secs", rename = "seconds")]
        since: Duration,
    },
    /// The push channel was silent for longer than its heartbeat, or was closed because it sent far more
    /// than there can be to tell. Polling goes on.
    #[non_exhaustive]
    PushLost {
        /// For how long this is so: zero if it sent too much.
        #[serde(serialize_with = "as_secs", rename = "seconds")]
        silent: Duration,
    },
    /// The machine slept, or its wall clock was set. Everything was looked at again.
    #[non_exhaustive]
    ClockJumped {
        /// How far the wall clock moved against the boot clock.
        by_ms: i64,
    },
    /// This observer was too slow and missed so many events.
    #[non_exhaustive]
    Lagged {
        /// How many events were missed.
        missed: u64,
    },
}

/// A way back to an older generation, which begins a lineage of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WentBack {
    /// The generation that was held before an older answer was believed.
    #[serde(rename = "from_generation")]
    pub from: u64,
    /// The older generation that is held now.
    #[serde(rename = "to_generation")]
    pub to: u64,
}

impl Event {
    /// Every name that [`name`](Self::name) returns.
    pub const NAMES: &'static [&'static str] = &[
        "fetched",
        "not_modified",
        "fetch_failed",
        "swapped",
        "candidate",
        "promoted",
        "rejected",
        "fell_back",
        "rolled_back",
        "expired",
        "revoked",
        "exhausted",
        "recovered",
        "lagging",
        "push_lost",
        "clock_jumped",
        "lagged",
    ];

    /// The stable name of this event, the same in every language.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fetched { .. } => "fetched",
            Self::NotModified { .. } => "not_modified",
            Self::FetchFailed { .. } => "fetch_failed",
            Self::Swapped { .. } => "swapped",
            Self::Candidate { .. } => "candidate",
            Self::Promoted { .. } => "promoted",
            Self::Rejected { .. } => "rejected",
            Self::FellBack { .. } => "fell_back",
            Self::RolledBack { .. } => "rolled_back",
            Self::Expired { .. } => "expired",
            Self::Revoked { .. } => "revoked",
            Self::Exhausted { .. } => "exhausted",
            Self::Recovered { .. } => "recovered",
            Self::Lagging { .. } => "lagging",
            Self::PushLost { .. } => "push_lost",
            Self::ClockJumped { .. } => "clock_jumped",
            Self::Lagged { .. } => "lagged",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = |duration: &Duration| duration.as_secs_f64();
        match self {
            Self::Fetched { generation, primary } => {
                write!(f, "generation {generation} fetched, current is {primary}")
            }
            Self::NotModified { generation } => {
                write!(f, "generation {generation} is still current")
            }
            Self::FetchFailed { error, retry_in } => {
                write!(f, "fetch failed, next in {:.1} s: {error}", secs(retry_in))
            }
            Self::Swapped { from: Some(from), to, .. } => write!(f, "{to} replaces {from} at once"),
            Self::Swapped { from: None, to, .. } => write!(f, "{to} is in use"),
            Self::Candidate { credential, in_use } => {
                write!(f, "{credential} is tried, {in_use} stays in use")
            }
            Self::Promoted { from, to, proven: true } => {
                write!(f, "{to} accepted, replaces {from}")
            }
            Self::Promoted { from, to, proven: false } => {
                write!(f, "{to} replaces {from} unproven")
            }
            Self::Rejected { credential, probe_in, reason, .. } => {
                write!(f, "{credential} rejected")?;
                if let Some(wait) = probe_in {
                    write!(f, ", probe in {:.1} s", secs(wait))?;
                }
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Self::FellBack { from, to } => write!(f, "{from} rejected again, {to} used"),
            Self::RolledBack { from, to } => write!(f, "rolled back from {from} to {to}"),
            Self::Expired { credential } => {
                write!(f, "{credential} ended and nothing else is usable")
            }
            Self::Revoked { set: true, .. } => write!(f, "the whole set was revoked"),
            Self::Revoked { credentials, .. } => write!(f, "revoked: {}", credentials.join(", ")),
            Self::Exhausted { credential, cooldown, never_accepted: true } => {
                write!(
                    f,
                    "{credential} rejected, and nothing was ever accepted: check the key, the set that is asked for, and the scheme and header that the API wants; failing fast for {:.0} s",
                    secs(cooldown)
                )
            }
            Self::Exhausted { credential, cooldown, .. } => {
                write!(
                    f,
                    "{credential} rejected and nothing newer, failing fast for {:.0} s",
                    secs(cooldown)
                )
            }
            Self::Recovered { went_back: Some(WentBack { from, to }), .. } => {
                write!(f, "recovered: the source went back from generation {from} to {to}")
            }
            Self::Recovered { .. } => write!(f, "recovered"),
            Self::Lagging { credential, since } => {
                write!(f, "{credential} is still not in use after {:.0} s", secs(since))
            }
            Self::PushLost { silent } if silent.is_zero() => {
                write!(f, "push sent too much and was closed, polling goes on")
            }
            Self::PushLost { silent } => {
                write!(f, "no push for {:.0} s, polling goes on", secs(silent))
            }
            Self::ClockJumped { by_ms } => write!(f, "the wall clock moved by {by_ms} ms"),
            Self::Lagged { missed } => write!(f, "{missed} events missed"),
        }
    }
}

/// One of each, with all of its fields.
#[cfg(feature = "host")]
pub(crate) fn each() -> Vec<Event> {
    let id = |name: &str| CredentialId::from(name);
    let second = Duration::from_millis(1500);
    let error = Error::new(ErrorKind::Timeout, "too late");
    vec![
        Event::Fetched { generation: 7, primary: id("k2") },
        Event::NotModified { generation: 7 },
        Event::FetchFailed { error: error.clone(), retry_in: second },
        Event::Swapped { from: Some(id("k1")), to: id("k2"), generation: 7 },
        Event::Candidate { credential: id("k2"), in_use: id("k1") },
        Event::Promoted { from: id("k1"), to: id("k2"), proven: true },
        Event::Rejected {
            credential: id("k2"),
            candidate: true,
            probe_in: Some(second),
            reason: Some(error),
        },
        Event::FellBack { from: id("k2"), to: id("k1") },
        Event::RolledBack { from: id("k2"), to: id("k1") },
        Event::Expired { credential: id("k1") },
        Event::Revoked { credentials: vec![id("k1")], set: false },
        Event::Exhausted { credential: id("k1"), cooldown: second, never_accepted: true },
        Event::Recovered {
            credential: Some(id("k1")),
            went_back: Some(WentBack { from: 9, to: 7 }),
        },
        Event::Lagging { credential: id("k2"), since: second },
        Event::PushLost { silent: second },
        Event::ClockJumped { by_ms: -5 },
        Event::Lagged { missed: 3 },
    ]
}

fn as_code<S: Serializer>(error: &Error, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(error.code())
}

fn as_reason<S: Serializer>(error: &Option<Error>, to: S) -> Result<S::Ok, S::Error> {
    error.as_ref().map(Error::to_string).serialize(to)
}

fn as_millis<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(crate::moment::millis(*duration))
}

fn as_optional_millis<S: Serializer>(
    duration: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    duration.map(crate::moment::millis).serialize(to)
}

fn as_secs<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(duration.as_secs())
}
