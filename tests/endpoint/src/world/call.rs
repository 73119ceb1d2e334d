//! What the protected API answers to a request.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde_json::json;

use super::credential::drawn;
use super::{ApiFault, Fault, Planned, World};

/// A request to the API.
#[derive(Clone, Copy)]
pub struct ApiRequest<'a> {
    /// The method. The model treats all alike.
    pub method: &'a str,
    /// The path, without a query.
    pub path: &'a str,
    /// The material that the request presents, wherever it does; see [`presented`](crate::presented).
    pub credential: Option<&'a str>,
}

impl Default for ApiRequest<'_> {
    fn default() -> Self {
        Self { method: "GET", path: "/v1/price", credential: None }
    }
}

impl fmt::Debug for ApiRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("presents", &self.credential.is_some())
            .finish_non_exhaustive()
    }
}

/// The API's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiReply {
    /// The HTTP status.
    pub status: u16,
    /// The replica that answers.
    pub replica: usize,
    /// Which credential the request carried, if a known one.
    pub credential: Option<String>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
    /// `WWW-Authenticate`.
    pub challenge: Option<&'static str>,
    /// `Location`. On the same origin it is only a path.
    pub location: Option<String>,
    /// The body, JSON.
    pub body: Bytes,
}

#[derive(Clone, Debug)]
pub(super) struct ApiState {
    fault: Fault<ApiFault>,
    requests: usize,
    /// By replica, how many requests met the fault `flapping`.
    flaps: Vec<u64>,
    /// By path, how many requests came to it.
    pub(super) paths: BTreeMap<String, u64>,
    pub(super) sends: u64,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
}

impl ApiState {
    pub(super) fn new(replicas: usize) -> Self {
        Self {
            fault: Fault::default(),
            requests: 0,
            flaps: vec![0; replicas],
            paths: BTreeMap::new(),
            sends: 0,
            accepted: 0,
            rejected: 0,
        }
    }

    pub(super) fn set_fault(&mut self, now: u64, kind: Option<ApiFault>, for_ms: Option<u64>) {
        self.fault.set(now, kind, for_ms);
        self.flaps.fill(0);
    }
}

/// How a request was judged, before it is written as an answer.
enum Judged {
    Accepted,
    Refused,
    /// Refused, and said only in a body of a 200.
    RefusedInBody,
    Other(u16),
}

impl World {
    /// What becomes of a request to the API that arrives now.
    pub fn call(&mut self, now: u64, request: &ApiRequest<'_>) -> Planned<ApiReply> {
        self.advance(now);
        let fault = self.api.fault.at(now);
        if fault == Some(ApiFault::Outage) {
            return Planned::Dropped;
        }
        let replica = self.turn() % self.config.replicas;
        self.api.requests += 1;
        self.api.sends += 1;
        *self.api.paths.entry(request.path.to_owned()).or_default() += 1;
        let known = request.credential.and_then(|material| self.by_material.get(material)).copied();
        if let Some(at) = known {
            self.credentials[at].sends += 1;
        }
        if fault == Some(ApiFault::Hang) {
            return Planned::Hang;
        }
        let delay = match fault {
            Some(ApiFault::Slow { ms }) => ms,
            _ => 0,
        };
        let after_ms = self.config.api_latency_ms.saturating_add(delay);
        let reply = self.answer(now, request, replica, known, fault.as_ref());
        Planned::Answer { after_ms, reply }
    }

    /// Whose turn the request is, before it is known how many replicas there are.
    fn turn(&self) -> usize {
        let requests = self.api.requests;
        if self.config.replicas_at_random {
            // Half of the bits are enough, and fit on every machine.
            (drawn(self.setting.seed, requests as u64) >> 32) as usize
        } else {
            requests
        }
    }

    fn answer(
        &mut self,
        now: u64,
        request: &ApiRequest<'_>,
        replica: usize,
        known: Option<usize>,
        fault: Option<&ApiFault>,
    ) -> ApiReply {
        let judged = self.judge(now, request.path, replica, known, fault);
        let credential = known.map(|at| self.credentials[at].id.clone());
        let mut reply = ApiReply {
            status: 200,
            replica,
            credential,
            retry_after: None,
            challenge: None,
            location: None,
            body: Bytes::new(),
        };
        match judged {
            Judged::Accepted => {
                self.accept(now, known);
                self.land(request, &mut reply);
            }
            Judged::Refused => {
                reply.status = 401;
                reply.challenge = Some(match request.credential {
                    Some(_) => "Bearer realm=\"api\", error=\"invalid_token\"",
                    None => "Bearer realm=\"api\"",
                });
                reply.body = body(&json!({"error": "unauthorized", "replica": replica}));
            }
            Judged::RefusedInBody => {
                reply.body = body(&json!({"code": "bad_key", "replica": replica}));
            }
            Judged::Other(status) => {
                reply.status = status;
                if let Some(ApiFault::RateLimited { retry_after }) = fault {
                    reply.retry_after = *retry_after;
                }
                if fault == Some(&ApiFault::InsufficientScope) {
                    reply.challenge = Some("Bearer realm=\"api\", error=\"insufficient_scope\"");
                }
                reply.body =
                    body(&json!({"error": format!("status {status}"), "replica": replica}));
            }
        }
        match reply.status {
            _ if matches!(judged, Judged::RefusedInBody) => self.api.rejected += 1,
            200..300 => self.api.accepted += 1,
            401 => self.api.rejected += 1,
            _ => {}
        }
        reply
    }

    fn judge(
        &mut self,
        now: u64,
        path: &str,
        replica: usize,
        known: Option<usize>,
        fault: Option<&ApiFault>,
    ) -> Judged {
        match fault {
            Some(ApiFault::RateLimited { .. }) => return Judged::Other(429),
            Some(ApiFault::ServerError { status }) => return Judged::Other(*status),
            _ => {}
        }
        if path.starts_with("/always-401") {
            return Judged::Refused;
        }
        if path.starts_with("/always-403") {
            return Judged::Other(403);
        }
        if path.starts_with("/flaky") {
            let seen = self.api.paths.get(path).copied().unwrap_or(0);
            if seen.is_multiple_of(2) {
                return Judged::Other(503);
            }
        }
        if !known.is_some_and(|at| self.knows(now, at, replica, fault)) {
            let in_body = fault == Some(&ApiFault::BadKeyInBody) || path.starts_with("/body-code");
            return if in_body { Judged::RefusedInBody } else { Judged::Refused };
        }
        if fault == Some(&ApiFault::InsufficientScope) {
            return Judged::Other(403);
        }
        if known.is_some_and(|at| now < self.credentials[at].forbidden_until) {
            return Judged::Other(403);
        }
        Judged::Accepted
    }

    /// Whether this replica knows the credential.
    fn knows(&mut self, now: u64, at: usize, replica: usize, fault: Option<&ApiFault>) -> bool {
        match fault {
            Some(ApiFault::Split) => {
                let state = &self.committed;
                // Before the first rotation there is nothing to disagree about.
                let lagging = state.former.unwrap_or(state.current);
                !state.closed && at == if replica == 0 { state.current } else { lagging }
            }
            Some(ApiFault::Flapping) => {
                self.api.flaps[replica] += 1;
                let stale = self.api.flaps[replica].is_multiple_of(2);
                let seen = if stale { self.before_last_change(now, replica) } else { now };
                self.credentials[at].accepted(replica, seen)
            }
            _ => self.credentials[at].accepted(replica, now),
        }
    }

    /// A time at which this replica's key list was as before its last change.
    fn before_last_change(&self, now: u64, replica: usize) -> u64 {
        let changes = self.credentials.iter().filter_map(|one| one.last_change(replica, now));
        // The list that a replica began with is no change.
        changes.max().filter(|change| *change > 0).map_or(now, |change| change - 1)
    }

    /// The first use of a credential that waits for it starts the grace of the one before.
    fn accept(&mut self, now: u64, known: Option<usize>) {
        let Some(at) = known else { return };
        self.credentials[at].accepted_at = Some(now);
        let Some(grace) = self.credentials[at].grace_at_first_use.take() else { return };
        if let Some(old) = self.committed.previous.first().copied() {
            let end = now.saturating_add(grace);
            self.credentials[old].grace_ends_at = Some(end);
            for replica in 0..self.config.replicas {
                self.credentials[old].keep(replica, now, end);
            }
        }
    }

    /// Where an accepted request comes to.
    fn land(&self, request: &ApiRequest<'_>, reply: &mut ApiReply) {
        let path = request.path;
        let other = &self.setting.other_origin;
        let (status, location) = if path.starts_with("/redirect-here") {
            (307, "/v1/landed".to_owned())
        } else if let Some((status, to)) = redirect(path) {
            (status, self.location(to, request))
        } else if path.starts_with("/redirect") {
            (307, format!("{other}/landed"))
        } else {
            reply.body = body(&json!({"credential": reply.credential, "replica": reply.replica}));
            return;
        };
        reply.status = status;
        reply.location = Some(location);
    }

    /// Where `/redirect/<status>/<to>` leads: a word, or else a path of the API, which may be one more.
    fn location(&self, to: &str, request: &ApiRequest<'_>) -> String {
        let setting = &self.setting;
        match to.split('/').next() {
            Some("away") => format!("{}/landed", setting.other_origin),
            Some("closed") => format!("{}/landed", setting.closed_origin),
            Some("login") => {
                let key = request.credential.unwrap_or_default();
                let from = format!("{}{}?api_key={key}", setting.api_origin, request.path);
                let next: String = from.bytes().map(|byte| format!("%{byte:02X}")).collect();
                format!("{}/login?next={next}", setting.other_origin)
            }
            _ => format!("/{to}"),
        }
    }
}

/// The status and the rest of `/redirect/<status>/<to>`.
fn redirect(path: &str) -> Option<(u16, &str)> {
    let (status, to) = path.strip_prefix("/redirect/")?.split_once('/')?;
    let status = status.parse().ok().filter(|status| (300..400).contains(status))?;
    Some((status, to))
}

fn body(value: &serde_json::Value) -> Bytes {
    Bytes::from(value.to_string())
}

#[cfg(test)]
mod tests;
