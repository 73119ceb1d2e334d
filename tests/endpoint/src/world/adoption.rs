//! Level 2: what clients report of their use, and what an operator may conclude from it.
//!
//! # Theory of operation
//!
//! An instance is what one process calls itself. Its reports add up: the latest observation of a
//! credential counts, whichever report it came in. It is alive until its lease ends, and a lease of 0 is
//! a goodbye. An instance *blocks* a credential while it is alive and its latest observation of it is
//! `active`: what was only `received`, is `drained`, or is `rejected` by the API is not missed.
//!
//! A credential is safe to retire when the endpoint does not show it as the current one, no instance
//! blocks it, and the API has not accepted it for a quiet period: that speaks for programs that report
//! nothing. Reports are advice: nothing here changes what the API accepts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::fetch::{FetchReply, bare};
use super::problem::Problem;
use super::{EndpointFault, Level, Planned, World};

/// The longest lease, in seconds: a day. Whoever is silent for longer is gone for all that one knows.
const LONGEST_LEASE: f64 = 86_400.0;
/// The most observations of one report: those of a set, and those of a good many before it.
const MOST_OBSERVATIONS: usize = 64;
/// The longest name of an app or an SDK, in bytes.
const LONGEST_NAME: usize = 256;
/// The biggest report, in bytes, like that of a set.
const BIGGEST: usize = 64 * 1024;

/// What was reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Adoption {
    instances: BTreeMap<String, Instance>,
    /// By credential, the last use that any client told of, in milliseconds since 1970.
    last_client_use: BTreeMap<String, i64>,
    pub(super) accepted: u64,
    pub(super) refused: u64,
}

#[derive(Clone, Debug)]
struct Instance {
    lease_ends_at: u64,
    /// By credential, what was observed last.
    observed: BTreeMap<String, Status>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Received,
    Active,
    Drained,
    Rejected,
}

/// `POST {base}/sets/{id}/acks`.
#[derive(Clone, Copy, Default)]
pub struct AckRequest<'a> {
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// The set; the world's own if not said.
    pub set: Option<&'a str>,
    /// The region that is asked, from 0.
    pub region: usize,
    /// The report.
    pub body: &'a [u8],
}

impl fmt::Debug for AckRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckRequest")
            .field("set", &self.set)
            .field("region", &self.region)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A report, as it is written. What else it says is ignored.
#[derive(Deserialize)]
struct Ack {
    instance: String,
    #[serde(default)]
    app: Option<String>,
    #[serde(default)]
    sdk: Option<String>,
    lease_seconds: f64,
    #[serde(rename = "generation")]
    _generation: u64,
    observations: Vec<Observation>,
}

#[derive(Deserialize)]
struct Observation {
    credential: String,
    status: Status,
    #[serde(default)]
    last_used_at: Option<Timestamp>,
    #[serde(default, rename = "ok")]
    _ok: u64,
    #[serde(default, rename = "rejected")]
    _rejected: u64,
}

impl Ack {
    fn read(body: &[u8]) -> Result<Self, String> {
        if body.len() > BIGGEST {
            return Err(format!("a report has at most {BIGGEST} bytes"));
        }
        let ack: Self = serde_json::from_slice(body).map_err(|error| {
            // Not the message: it quotes what was sent, and that might be a secret by mistake.
            format!("not a report, in line {} at {}", error.line(), error.column())
        })?;
        let names = ack.app.iter().chain(&ack.sdk);
        let mut seen = BTreeSet::new();
        let rules = [
            (is_id(&ack.instance), "`instance` must be an id"),
            (
                names.into_iter().all(|name| name.len() <= LONGEST_NAME),
                "`app` and `sdk` have at most 256 bytes",
            ),
            (
                (0.0..=LONGEST_LEASE).contains(&ack.lease_seconds),
                "`lease_seconds` must be from 0 to 86400",
            ),
            (ack.observations.len() <= MOST_OBSERVATIONS, "at most 64 observations"),
            (
                ack.observations.iter().all(|one| is_id(&one.credential)),
                "each `credential` must be an id",
            ),
            (
                ack.observations.iter().all(|one| seen.insert(one.credential.as_str())),
                "a credential is observed once in a report",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err((*why).to_owned()),
            None => Ok(ack),
        }
    }
}

fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

impl World {
    /// What becomes of a report. The answer has status 202 when it was taken.
    pub fn ack(&mut self, now: u64, request: &AckRequest<'_>) -> Planned<FetchReply> {
        self.advance(now);
        let fault = self.region(request.region).fault.at(now);
        let delay = match fault {
            Some(EndpointFault::Slow { ms }) => ms,
            _ => 0,
        };
        let after_ms = self.config.endpoint_latency_ms.saturating_add(delay);
        let planned = match &fault {
            Some(EndpointFault::Outage) => Planned::Dropped,
            Some(EndpointFault::Hang) => Planned::Hang,
            fault => Planned::Answer { after_ms, reply: self.acked(now, request, fault.as_ref()) },
        };
        match planned.reply() {
            Some(FetchReply { status: 202, .. }) => self.adoption.accepted += 1,
            _ => self.adoption.refused += 1,
        }
        planned
    }

    fn acked(
        &mut self,
        now: u64,
        request: &AckRequest<'_>,
        fault: Option<&EndpointFault>,
    ) -> FetchReply {
        if let Some(refusal) = self.refusal(now, request.bearer, request.set, fault) {
            return refusal;
        }
        if !self.serves(Level::Acks) {
            let detail = "this endpoint takes no reports";
            return self.problem(now, fault, Problem::UnknownSet, detail);
        }
        if let Some(EndpointFault::AcksRefused { status }) = fault {
            let kind = Problem::of(*status);
            let reply = self.problem(now, fault, kind, "a fault of the story");
            let body = kind.body(*status, "a fault of the story");
            return FetchReply { status: *status, body, ..reply };
        }
        let text = String::from_utf8_lossy(request.body);
        let material = |one: &super::Credential| text.contains(one.material.reveal());
        if self.credentials.iter().any(material) {
            self.leaks += 1;
            let detail = "a report carries ids alone, and this one carries a credential";
            return self.problem(now, fault, Problem::BadRequest, detail);
        }
        match Ack::read(request.body) {
            Ok(ack) => {
                self.note(now, ack);
                FetchReply { status: 202, ..bare(self.date_ms(now, fault)) }
            }
            Err(why) => self.problem(now, fault, Problem::BadRequest, &why),
        }
    }

    fn note(&mut self, now: u64, ack: Ack) {
        let adoption = &mut self.adoption;
        adoption.instances.retain(|_, instance| now < instance.lease_ends_at);
        for one in &ack.observations {
            if let Some(used) = one.last_used_at {
                let last =
                    adoption.last_client_use.entry(one.credential.clone()).or_insert(i64::MIN);
                *last = used.as_millisecond().max(*last);
            }
        }
        // Fractions of a second are for tests that cannot wait. The range was checked.
        let lease_ms = (ack.lease_seconds * 1000.0) as u64;
        if lease_ms == 0 {
            adoption.instances.remove(&ack.instance);
            return;
        }
        let instance = adoption
            .instances
            .entry(ack.instance)
            .or_insert_with(|| Instance { lease_ends_at: 0, observed: BTreeMap::new() });
        instance.lease_ends_at = now.saturating_add(lease_ms);
        let observed = ack.observations.into_iter().map(|one| (one.credential, one.status));
        instance.observed.extend(observed);
    }

    /// What an operator is told.
    pub(super) fn adopted(&self, now: u64) -> Value {
        let live = self.adoption.instances.iter();
        let live: Vec<_> = live.filter(|(_, instance)| now < instance.lease_ends_at).collect();
        let active = |id: &str| -> Vec<&str> {
            let uses = |instance: &Instance| instance.observed.get(id) == Some(&Status::Active);
            let users = live.iter().filter(|(_, instance)| uses(instance));
            users.map(|(name, _)| name.as_str()).collect()
        };
        let time = |ms: i64| Timestamp::from_millisecond(ms).ok().map(|time| time.to_string());
        let shown = &self.visible(now).1.state;
        let mut by_credential = Vec::new();
        let mut retire = Map::new();
        for (at, one) in self.credentials.iter().enumerate() {
            let is_to_come = self.committed.next == Some(at);
            let is_current = self.committed.current == at && !self.committed.closed;
            let id = one.id.as_str();
            let blocking = active(id);
            let is_gone = !is_to_come && !is_current && one.is_gone(now);
            if is_gone && blocking.is_empty() {
                continue;
            }
            let server = one.accepted_at;
            let server_use =
                server.and_then(|at| time(self.setting.wall_ms.saturating_add_unsigned(at)));
            by_credential.push(json!({
                "id": id,
                "in_use": blocking.len(),
                "last_client_use": self.adoption.last_client_use.get(id).copied().and_then(time),
                "last_server_use": server_use,
            }));
            if is_gone || is_to_come || is_current {
                continue;
            }
            let seen = server.is_some_and(|at| now < at.saturating_add(self.config.quiet_ms));
            let reason = if shown.current == at && !shown.closed {
                Some("current")
            } else if !blocking.is_empty() {
                Some("in_use")
            } else {
                seen.then_some("seen_by_server")
            };
            let told = json!({"safe": reason.is_none(), "reason": reason, "blocking": blocking});
            retire.insert(id.to_owned(), told);
        }
        json!({
            "generation": shown.generation,
            "instances_live": live.len(),
            "by_credential": by_credential,
            "retire": retire,
        })
    }
}

#[cfg(test)]
mod tests;
