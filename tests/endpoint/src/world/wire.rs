//! The set as JSON, by the protocol `keyswap/1`, and the ways in which a fault makes it wrong.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::credential::Credential;
use super::rotation::Publication;
use super::{Level, World};

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Sound,
    /// More than 64 KiB.
    Oversized,
    /// The next generation, in which the current id has other material.
    OtherMaterial,
    /// The current credential ended a second ago.
    Expired,
    /// Six credentials.
    TooMany,
    /// The generation is the last number there is.
    FastForward,
    /// It revokes the next two credentials, which do not exist yet.
    EarlyRevocation,
    /// What was given is an older state; if there is none, the first one says generation 0.
    Older,
}

#[derive(Serialize)]
struct Wire<'a> {
    protocol: &'static str,
    set: &'a str,
    generation: u64,
    server_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    splay_seconds: Option<u64>,
    lineage: String,
    levels: &'a [Level],
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<&'a [String]>,
    current: WireCredential<'a>,
    previous: Vec<WireCredential<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<WireCredential<'a>>,
    revoked: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    padding: Option<String>,
}

#[derive(Serialize)]
struct WireCredential<'a> {
    id: String,
    version: String,
    material: WireMaterial,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a Map<String, Value>>,
    created_at: String,
    not_before: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    activate_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activate: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_expires_at: Option<String>,
}

#[derive(Serialize)]
struct WireMaterial {
    key: String,
}

/// The place of a credential in the set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Current,
    Previous,
    Next,
}

/// The body, and the generation that it states.
pub(super) fn body(
    world: &World,
    now: u64,
    shown: &Publication,
    skew: i64,
    shape: Shape,
) -> (u64, Bytes) {
    let writer = Writer { world, skew };
    let state = &shown.state;
    let newest = world.visible(now).1.state.generation;
    let generation = match shape {
        Shape::OtherMaterial => state.generation + 1,
        Shape::FastForward => u64::MAX,
        Shape::Older if state.generation == newest => 0,
        _ => state.generation,
    };
    let mut current = writer.credential(&world.credentials[state.current], Place::Current);
    if shape == Shape::OtherMaterial {
        current.material.key = current.material.key.replace("ks_live_", "ks_lied_");
    }
    if shape == Shape::Expired {
        current.expires_at = Some(writer.time(now as i64 - 1000));
    }
    // Absence means gone: a grace that has ended takes its credential off the list.
    let usable = |at: &&usize| world.credentials[**at].grace_ends_at.is_none_or(|end| now < end);
    let previous = state.previous.iter().filter(usable);
    let mut previous: Vec<_> =
        previous.map(|at| writer.credential(&world.credentials[*at], Place::Previous)).collect();
    if shape == Shape::TooMany {
        previous = (0..5)
            .map(|n| {
                let mut one = writer.credential(&world.credentials[state.current], Place::Previous);
                one.id = format!("surplus{n}");
                one.material.key = format!("ks_live_surplus{n}");
                one
            })
            .collect();
    }
    let mut revoked: Vec<_> =
        state.revoked.iter().map(|at| world.credentials[*at].id.clone()).collect();
    if shape == Shape::EarlyRevocation {
        let count = world.credentials.len();
        revoked.extend([count + 1, count + 2].map(|n| format!("k{n}")));
    }
    let refresh = world.config.refresh_after_ms;
    let wire = Wire {
        protocol: "keyswap/1",
        set: &world.setting.set,
        generation,
        server_time: writer.time(now as i64),
        refresh_after: refresh.map(|ms| writer.time(shown.visible_at.saturating_add(ms) as i64)),
        splay_seconds: world.config.splay_seconds,
        lineage: state.lineage(),
        levels: &world.config.levels,
        scopes: world.config.scopes.as_deref(),
        current,
        previous,
        next: state.next.map(|at| writer.credential(&world.credentials[at], Place::Next)),
        revoked,
        padding: (shape == Shape::Oversized).then(|| "x".repeat(70_000)),
    };
    // Strings, numbers and lists of them: there is nothing that could fail to serialise.
    (generation, Bytes::from(serde_json::to_vec(&wire).unwrap_or_default()))
}

struct Writer<'a> {
    world: &'a World,
    skew: i64,
}

impl<'a> Writer<'a> {
    fn credential(&self, from: &'a Credential, place: Place) -> WireCredential<'a> {
        let scheme = self.world.config.scheme.as_ref();
        let told = !self.world.config.no_expiry;
        let at = |time: u64| self.time(time as i64);
        let ends = |time: Option<u64>| time.filter(|_| told).map(at);
        let activate_at = from.activate_at.filter(|_| place == Place::Next);
        let at_first_use = place == Place::Current && from.grace_at_first_use.is_some();
        WireCredential {
            id: from.id.clone(),
            version: from.number.to_string(),
            material: WireMaterial { key: from.material.reveal().to_owned() },
            scheme: scheme.map(|scheme| scheme.scheme.as_str()),
            params: scheme.map(|scheme| &scheme.params).filter(|params| !params.is_empty()),
            created_at: at(from.created_at),
            not_before: at(from.not_before),
            activate_at: activate_at.map(at),
            activate: activate_at.map(|_| "at").or(at_first_use.then_some("on_first_use")),
            expires_at: ends(from.expires_at),
            grace_expires_at: ends(from.grace_ends_at.filter(|_| place == Place::Previous)),
        }
    }

    /// A time of the story as RFC 3339, by the endpoint's clock.
    fn time(&self, ms: i64) -> String {
        let wall = self.world.setting.wall_ms.saturating_add(ms).saturating_add(self.skew);
        Timestamp::from_millisecond(wall).unwrap_or(Timestamp::MAX).to_string()
    }
}
