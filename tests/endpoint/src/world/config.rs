//! What a world is made of.

use std::{borrow::Borrow, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The `world` of a story.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorldConfig {
    /// API replicas; request n goes to replica n mod this.
    pub replicas: usize,
    /// Each request goes to a replica that is drawn by the seed instead.
    pub replicas_at_random: bool,
    /// Life of each new credential.
    pub ttl_ms: Option<u64>,
    /// Grace of a previous credential when a rotation says none.
    pub grace_ms: Option<u64>,
    /// Send neither `expires_at` nor `grace_expires_at`. The API keeps to them all the same.
    pub no_expiry: bool,
    /// Send `refresh_after` this long after each generation was published.
    pub refresh_after_ms: Option<u64>,
    /// Sent as is.
    pub splay_seconds: Option<u64>,
    /// Time that an answer of the API takes.
    pub api_latency_ms: u64,
    /// Time that an answer of the endpoint takes.
    pub endpoint_latency_ms: u64,
    /// Sent in each credential.
    pub scheme: Option<SchemeConfig>,
    /// Sent in the set.
    pub scopes: Option<Vec<String>>,
    /// The token that the endpoint wants.
    pub bootstrap: Secret,
    /// The optional levels that are served, and told in the set.
    pub levels: Vec<Level>,
    /// Endpoints that show this world, 1 to [`MOST_REGIONS`].
    pub regions: usize,
    /// Whether the answers to fetches are signed.
    pub signed: bool,
    /// Time without a use that the API has seen, before a credential is safe to retire.
    pub quiet_ms: u64,
    /// Time from one ping of a stream of events to the next.
    pub ping_ms: u64,
}

/// The most regions of a world. Each has a listener of its own from the start.
pub const MOST_REGIONS: usize = 4;

/// An optional level of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Long polls.
    Wait,
    /// Streams of events.
    Events,
    /// What clients report of their use, and what operators read of it.
    Acks,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            replicas: 1,
            replicas_at_random: false,
            ttl_ms: None,
            grace_ms: None,
            no_expiry: false,
            refresh_after_ms: None,
            splay_seconds: None,
            api_latency_ms: 0,
            endpoint_latency_ms: 0,
            scheme: None,
            scopes: None,
            bootstrap: Secret::new("bootstrap"),
            levels: Vec::new(),
            regions: 1,
            signed: false,
            quiet_ms: 60_000,
            ping_ms: 15_000,
        }
    }
}

/// How a set says that its credentials go onto requests.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemeConfig {
    /// Its name, `api_key` for one.
    pub scheme: String,
    /// Its parameters.
    #[serde(default)]
    pub params: Map<String, Value>,
}

impl SchemeConfig {
    /// The header that the set names.
    pub fn header(&self) -> Option<&str> {
        self.params.get("header").and_then(Value::as_str)
    }
}

/// What a world is told about its surroundings, which a story does not say.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The wall clock, in milliseconds since 1970, at the story's start.
    pub wall_ms: i64,
    /// What the material of the credentials is derived from.
    pub seed: u64,
    /// The id of the set.
    pub set: String,
    /// Where redirects to another origin go.
    pub other_origin: String,
    /// Where redirects go behind which nobody listens.
    pub closed_origin: String,
    /// Where the API is, for a redirect that quotes the request's own URL.
    pub api_origin: String,
    /// The token that operations want.
    pub operator: Secret,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            // 2026-11-23T18:00:00Z. A fixed time, so that a simulation is the same each time.
            wall_ms: 1_795_456_800_000,
            seed: 0,
            set: "trading".to_owned(),
            other_origin: "http://other.test".to_owned(),
            closed_origin: "http://closed.test".to_owned(),
            api_origin: "http://api.test".to_owned(),
            operator: Secret::new("operator"),
        }
    }
}

/// A string that does not print.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes the string.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The string.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

// A map by material is asked with the plain text of a request.
impl Borrow<str> for Secret {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
