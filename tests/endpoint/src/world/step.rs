//! The steps of a timeline, as a story writes them. Strict: what is not known is an error.

use serde::Deserialize;

use super::Secret;

/// One thing that happens to the endpoint and the API.
///
/// ```
/// # use keyswap_endpoint::world::Step;
/// let step: Step = serde_json::from_str(r#"{"do": "rotate", "grace_ms": 5000}"#)?;
/// assert!(serde_json::from_str::<Step>(r#"{"do": "rotate", "grace": 5000}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// A new credential.
    Rotate(Rotate),
    /// A new credential without overlap.
    Cut {
        /// The API learns of it only later.
        #[serde(default)]
        propagation_ms: Propagation,
    },
    /// An emergency: the API refuses this credential at once, and the endpoint says so.
    Revoke {
        /// Its id; the current one if not named.
        #[serde(default)]
        credential: Option<String>,
    },
    /// The endpoint answers 410 and the API refuses everything.
    RevokeSet {},
    /// A new generation with a new credential ends that.
    RestoreSet {},
    /// A new generation whose current credential is the previous one.
    Rollback {},
    /// The API alone stops accepting this credential.
    Forget {
        /// Its id.
        credential: String,
    },
    /// The endpoint restarts without its history: at generation 1 of a new lineage, with a new
    /// credential.
    LoseHistory {
        /// Whether the API goes on accepting what it accepted.
        #[serde(default = "yes")]
        overlap: bool,
    },
    /// A fault of the endpoint.
    Endpoint(EndpointStep),
    /// A fault of the API.
    Api(ApiStep),
}

fn yes() -> bool {
    true
}

/// How a rotation goes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rotate {
    /// How long the old credential stays accepted; else the world's `grace_ms`.
    pub grace_ms: Option<u64>,
    /// The life of the new credential; else the world's `ttl_ms`.
    pub ttl_ms: Option<u64>,
    /// Whether the old credential stays accepted at all.
    pub overlap: bool,
    /// How much later than the API the endpoint shows the new generation.
    pub publish_after_ms: u64,
    /// How much later the API learns of the change.
    pub propagation_ms: Propagation,
    /// Whether the API ever accepts the new credential.
    pub accepted: bool,
    /// For how long the API knows the new credential, but answers 403 to it.
    pub forbidden_ms: u64,
    /// The material of the new credential, such as no header can carry. The API never accepts it.
    pub material: Option<Secret>,
    /// Only stage the credential, for now.
    pub next: Option<Next>,
    /// Rotate only if this credential is the current one; otherwise do nothing.
    pub swap_only_if: Option<String>,
}

impl Default for Rotate {
    fn default() -> Self {
        Self {
            grace_ms: None,
            ttl_ms: None,
            overlap: true,
            publish_after_ms: 0,
            propagation_ms: Propagation::default(),
            accepted: true,
            forbidden_ms: 0,
            material: None,
            next: None,
            swap_only_if: None,
        }
    }
}

/// A delay of the whole API, or one for each replica.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "propagation_ms must be a number, or a list with one for each replica"
)]
pub enum Propagation {
    /// The same everywhere.
    All(u64),
    /// By replica.
    Each(Vec<u64>),
}

impl Default for Propagation {
    fn default() -> Self {
        Self::All(0)
    }
}

impl Propagation {
    pub(super) fn of(&self, replica: usize) -> u64 {
        match self {
            Self::All(ms) => *ms,
            Self::Each(list) => list.get(replica).copied().unwrap_or(0),
        }
    }
}

/// How a credential is staged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Shown as `next`, without a time. The next rotation makes it current.
    Staged,
    /// Shown as `next` with `activate_at`, at which the rotation happens.
    ActivateInMs(u64),
}

/// A fault of the endpoint, and how long it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawFault")]
pub struct EndpointStep {
    /// The fault; none ends the one there is.
    pub fault: Option<EndpointFault>,
    /// Until the next fault, if not said.
    pub for_ms: Option<u64>,
    /// The region that it befalls, from 0; all of them if not said.
    pub region: Option<usize>,
}

/// What is wrong with the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointFault {
    /// Connections are dropped.
    Outage,
    /// Answers take this much longer.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// Requests that arrive are never answered.
    Hang,
    /// The connection ends in the middle of a body.
    Torn,
    /// A body that is no JSON.
    Garbage,
    /// A body of more than 64 KiB.
    Oversized,
    /// The generation before the present one.
    OlderGeneration,
    /// A new generation in which a known id has other material.
    OtherMaterial,
    /// The present state, said to be of generation 18446744073709551615.
    FastForward,
    /// The present state, with the next two ids, which do not exist yet, among the revoked.
    EarlyRevocation,
    /// 304 to every request that has a condition, whatever has changed.
    StillValidator,
    /// Every time that the endpoint writes is off by this much.
    WrongClock {
        /// Milliseconds; negative: behind.
        ms: i64,
    },
    /// 429.
    RateLimited {
        /// Seconds, sent as `Retry-After`.
        retry_after: Option<u64>,
    },
    /// This status, 503 if not said.
    ServerError {
        /// 400 to 599.
        status: u16,
    },
    /// To another origin.
    Redirect,
    /// 401.
    BootstrapInvalid,
    /// 404.
    UnknownSet,
    /// An answer whose current credential has ended.
    Expired,
    /// More credentials than allowed.
    TooMany,
    /// Streams of events are broken off, and new ones are dropped.
    EventsDropped,
    /// Streams of events stay open, and nothing comes.
    EventsSilent,
    /// Streams of events say the same again and again, a thousand times in each hundredth of a second.
    EventsFlood,
    /// Each event comes this much later.
    EventsSlow {
        /// Milliseconds.
        ms: u64,
    },
    /// Reports of use are answered with this status, 503 if not said.
    AcksRefused {
        /// 400 to 599.
        status: u16,
    },
    /// The state as it was shown this long ago.
    Behind {
        /// Milliseconds.
        ms: u64,
    },
    /// Signatures that do not belong to the answer.
    BadSignature,
    /// No signatures.
    Unsigned,
}

/// A fault of the API, and how long it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawFault")]
pub struct ApiStep {
    /// The fault; none ends the one there is.
    pub fault: Option<ApiFault>,
    /// Until the next fault, if not said.
    pub for_ms: Option<u64>,
}

/// What is wrong with the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiFault {
    /// Connections are dropped.
    Outage,
    /// Answers take this much longer.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// Requests that arrive are never answered.
    Hang,
    /// 429.
    RateLimited {
        /// Seconds, sent as `Retry-After`.
        retry_after: Option<u64>,
    },
    /// This status, 503 if not said.
    ServerError {
        /// 400 to 599.
        status: u16,
    },
    /// Each second request of a replica sees the key list as it was before the last change.
    Flapping,
    /// Replica 0 knows only the current credential, the others only the one before it.
    Split,
    /// A refused key is a 200 with a code in the body.
    BadKeyInBody,
    /// 403 with that challenge.
    InsufficientScope,
}

/// Both kinds of fault as they are written, so that a field which a fault does not have is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    fault: String,
    for_ms: Option<u64>,
    ms: Option<i64>,
    status: Option<u16>,
    retry_after: Option<u64>,
    region: Option<usize>,
}

impl RawFault {
    /// Checks that only the fields of this fault are given.
    fn only(&self, field: &str) -> Result<(), String> {
        let given = [
            ("ms", self.ms.is_some()),
            ("status", self.status.is_some()),
            ("retry_after", self.retry_after.is_some()),
        ];
        match given.iter().find(|(name, given)| *given && *name != field) {
            Some((name, _)) => Err(format!("the fault `{}` has no `{name}`", self.fault)),
            None => Ok(()),
        }
    }

    fn ms(&self) -> Result<i64, String> {
        self.ms.ok_or_else(|| format!("the fault `{}` needs `ms`", self.fault))
    }

    fn delay(&self) -> Result<u64, String> {
        u64::try_from(self.ms()?)
            .map_err(|_| format!("`ms` of `{}` must not be negative", self.fault))
    }

    fn status(&self) -> Result<u16, String> {
        let status = self.status.unwrap_or(503);
        if (400..600).contains(&status) {
            Ok(status)
        } else {
            Err(format!("`status` must be from 400 to 599, not {status}"))
        }
    }
}

impl TryFrom<RawFault> for EndpointStep {
    type Error = String;

    fn try_from(raw: RawFault) -> Result<Self, String> {
        use EndpointFault::*;
        let (field, fault) = match raw.fault.as_str() {
            "none" => ("", None),
            "outage" => ("", Some(Outage)),
            "slow" => ("ms", Some(Slow { ms: raw.delay()? })),
            "hang" => ("", Some(Hang)),
            "torn" => ("", Some(Torn)),
            "garbage" => ("", Some(Garbage)),
            "oversized" => ("", Some(Oversized)),
            "older_generation" => ("", Some(OlderGeneration)),
            "other_material" => ("", Some(OtherMaterial)),
            "fast_forward" => ("", Some(FastForward)),
            "early_revocation" => ("", Some(EarlyRevocation)),
            "still_validator" => ("", Some(StillValidator)),
            "wrong_clock" => ("ms", Some(WrongClock { ms: raw.ms()? })),
            "rate_limited" => ("retry_after", Some(RateLimited { retry_after: raw.retry_after })),
            "server_error" => ("status", Some(ServerError { status: raw.status()? })),
            "redirect" => ("", Some(Redirect)),
            "bootstrap_invalid" => ("", Some(BootstrapInvalid)),
            "unknown_set" => ("", Some(UnknownSet)),
            "expired" => ("", Some(Expired)),
            "too_many" => ("", Some(TooMany)),
            "events_dropped" => ("", Some(EventsDropped)),
            "events_silent" => ("", Some(EventsSilent)),
            "events_flood" => ("", Some(EventsFlood)),
            "events_slow" => ("ms", Some(EventsSlow { ms: raw.delay()? })),
            "acks_refused" => ("status", Some(AcksRefused { status: raw.status()? })),
            "behind" => ("ms", Some(Behind { ms: raw.delay()? })),
            "bad_signature" => ("", Some(BadSignature)),
            "unsigned" => ("", Some(Unsigned)),
            other => return Err(format!("the endpoint has no fault `{other}`")),
        };
        raw.only(field)?;
        Ok(Self { fault, for_ms: raw.for_ms, region: raw.region })
    }
}

impl TryFrom<RawFault> for ApiStep {
    type Error = String;

    fn try_from(raw: RawFault) -> Result<Self, String> {
        use ApiFault::*;
        let (field, fault) = match raw.fault.as_str() {
            "none" => ("", None),
            "outage" => ("", Some(Outage)),
            "slow" => ("ms", Some(Slow { ms: raw.delay()? })),
            "hang" => ("", Some(Hang)),
            "rate_limited" => ("retry_after", Some(RateLimited { retry_after: raw.retry_after })),
            "server_error" => ("status", Some(ServerError { status: raw.status()? })),
            "flapping" => ("", Some(Flapping)),
            "split" => ("", Some(Split)),
            "bad_key_in_body" => ("", Some(BadKeyInBody)),
            "insufficient_scope" => ("", Some(InsufficientScope)),
            other => return Err(format!("the API has no fault `{other}`")),
        };
        raw.only(field)?;
        if raw.region.is_some() {
            return Err("the API has replicas, and no `region`".to_owned());
        }
        Ok(Self { fault, for_ms: raw.for_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        serde_json::from_str::<Step>(json).expect_err(json).to_string()
    }

    #[test]
    fn defaults_are_those_of_the_format() {
        let step: Step = serde_json::from_str(r#"{"do": "rotate"}"#).expect("a step");
        assert_eq!(step, Step::Rotate(Rotate::default()));
        let step: Step =
            serde_json::from_str(r#"{"do":"rotate","next":{"activate_in_ms":5}}"#).expect("a step");
        let next = Some(Next::ActivateInMs(5));
        assert_eq!(step, Step::Rotate(Rotate { next, ..Rotate::default() }));
        let step: Step =
            serde_json::from_str(r#"{"do":"endpoint","fault":"none"}"#).expect("a step");
        assert_eq!(step, Step::Endpoint(EndpointStep { fault: None, for_ms: None, region: None }));
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        assert!(error(r#"{"do": "explode"}"#).contains("unknown variant `explode`"));
        assert!(error(r#"{"do": "rotate", "grace": 1}"#).contains("unknown field `grace`"));
        assert!(error(r#"{"do": "revoke_set", "x": 1}"#).contains("unknown field `x`"));
        assert!(error(r#"{"do": "cut", "grace_ms": 1}"#).contains("unknown field `grace_ms`"));
        assert!(error(r#"{"do": "endpoint", "fault": "split"}"#).contains("no fault `split`"));
        assert!(error(r#"{"do": "api", "fault": "torn"}"#).contains("no fault `torn`"));
        assert!(error(r#"{"do": "api", "fault": "hang", "ms": 1}"#).contains("`hang` has no `ms`"));
        assert!(error(r#"{"do": "api", "fault": "slow"}"#).contains("needs `ms`"));
        assert!(error(r#"{"do": "api", "fault": "slow", "ms": -1}"#).contains("negative"));
        assert!(
            error(r#"{"do":"api","fault":"server_error","status":200}"#).contains("400 to 599")
        );
        assert!(error(r#"{"do":"api","fault":"hang","region":0}"#).contains("no `region`"));
        assert!(error(r#"{"do":"endpoint","fault":"behind"}"#).contains("needs `ms`"));
        assert!(error(r#"{"do":"lose_history","x":1}"#).contains("unknown field `x`"));
        assert!(
            error(r#"{"do":"rotate","propagation_ms":"x"}"#).contains("list with one for each")
        );
    }
}
