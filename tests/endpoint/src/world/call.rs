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
mod tests {
    use super::super::tests::{step, world};
    use super::*;

    /// Status and replica of a request that carries this credential.
    fn call(world: &mut World, now: u64, path: &str, id: &str) -> ApiReply {
        let material = world.material(id).map(|material| material.reveal().to_owned());
        let credential = material.as_deref();
        match world.call(now, &ApiRequest { path, credential, ..Default::default() }) {
            Planned::Answer { reply, .. } => reply,
            other => panic!("{other:?}"),
        }
    }

    fn status(world: &mut World, now: u64, id: &str) -> u16 {
        call(world, now, "/v1/price", id).status
    }

    fn text(reply: &ApiReply) -> &str {
        std::str::from_utf8(&reply.body).expect("text")
    }

    #[test]
    fn an_answer_names_credential_and_replica_and_is_counted() {
        let mut world = world(r#"{"replicas": 2, "api_latency_ms": 20}"#);
        let one = call(&mut world, 0, "/v1/price", "k1");
        assert_eq!((one.status, text(&one)), (200, r#"{"credential":"k1","replica":0}"#));
        let two = call(&mut world, 0, "/any", "nobody");
        assert_eq!(
            (two.status, two.replica, two.challenge),
            (401, 1, Some("Bearer realm=\"api\""))
        );
        let unknown = ApiRequest { credential: Some("stranger"), ..Default::default() };
        let Planned::Answer { after_ms: 20, reply } = world.call(0, &unknown) else {
            panic!("late")
        };
        assert_eq!((reply.status, reply.replica, reply.credential), (401, 0, None));
        assert!(reply.challenge.is_some_and(|challenge| challenge.contains("invalid_token")));
        let counters = world.counters();
        let count = |key: &str| counters.get(key).copied();
        assert_eq!(count("api.sends"), Some(3));
        assert_eq!((count("api.accepted"), count("api.rejected")), (Some(1), Some(2)));
        assert_eq!((count("api.with.k1"), count("api.with.k2")), (Some(1), None));
    }

    #[test]
    fn replicas_at_random_follow_from_the_seed() {
        let turns = |json: &str| {
            let mut world = world(json);
            (0..64).map(|_| call(&mut world, 0, "/v1/price", "k1").replica).collect::<Vec<_>>()
        };
        let drawn = turns(r#"{"replicas": 2, "replicas_at_random": true}"#);
        assert_eq!(drawn, turns(r#"{"replicas": 2, "replicas_at_random": true}"#));
        assert_ne!(drawn, turns(r#"{"replicas": 2}"#));
        let second = drawn.iter().sum::<usize>();
        assert!((20..44).contains(&second), "{second} of 64");
    }

    #[test]
    fn a_new_key_is_forbidden_for_a_while() {
        let mut world = world("{}");
        let rotate = r#"{"do": "rotate", "propagation_ms": 5, "forbidden_ms": 20}"#;
        world.apply(10, &step(rotate)).expect("a rotation");
        let statuses = [14, 15, 34, 35].map(|now| status(&mut world, now, "k2"));
        assert_eq!(statuses, [401, 403, 403, 200]);
        assert_eq!(status(&mut world, 20, "k1"), 200);
    }

    #[test]
    fn paths_have_their_own_rules() {
        let mut world = world("{}");
        assert_eq!(call(&mut world, 0, "/always-401/x", "k1").status, 401);
        assert_eq!(call(&mut world, 0, "/always-403", "k1").status, 403);
        let away = call(&mut world, 0, "/redirect", "k1");
        let other = "http://other.test/landed".to_owned();
        assert_eq!((away.status, away.location), (307, Some(other)));
        let here = call(&mut world, 0, "/redirect-here", "k1");
        assert_eq!((here.status, here.location.as_deref()), (307, Some("/v1/landed")));
        assert_eq!(call(&mut world, 0, "/redirect", "none").status, 401);
        let mut led = |path| {
            let reply = call(&mut world, 0, path, "k1");
            (reply.status, reply.location.expect(path))
        };
        assert_eq!(led("/redirect/303/v1/orders/7"), (303, "/v1/orders/7".to_owned()));
        let chain = led("/redirect/308/redirect/302/away");
        assert_eq!(chain, (308, "/redirect/302/away".to_owned()));
        assert_eq!(led("/redirect/302/away").1, "http://other.test/landed");
        assert_eq!(led("/redirect/301/closed/x").1, "http://closed.test/landed");
        let login = led("/redirect/302/login").1;
        assert!(login.starts_with("http://other.test/login?next=%68%74%74%70"), "{login}");
        assert_eq!(led("/redirect/999/x").0, 307, "no status of a redirect");
        let refused = call(&mut world, 0, "/body-code", "none");
        assert_eq!((refused.status, text(&refused)), (200, r#"{"code":"bad_key","replica":0}"#));
        assert!(text(&call(&mut world, 0, "/body-code", "k1")).contains("k1"));
        let flaky = ["/flaky/a", "/flaky/a", "/flaky/b", "/flaky/a"];
        let statuses = flaky.map(|path| call(&mut world, 0, path, "k1").status);
        assert_eq!(statuses, [200, 503, 200, 200]);
        // Refused in a body is refused all the same.
        assert_eq!(world.counters()["api.rejected"], 3);
        assert_eq!(world.counters()["api.accepted"], 4);
        assert_eq!(world.counters()["api.path./flaky/a"], 3);
    }

    #[test]
    fn an_outage_lets_nothing_through() {
        let mut world = world("{}");
        world.apply(10, &step(r#"{"do":"api","fault":"outage","for_ms":5}"#)).expect("a step");
        assert_eq!(world.call(10, &ApiRequest::default()), Planned::Dropped);
        assert_eq!(world.call(14, &ApiRequest::default()), Planned::Dropped);
        assert_eq!(world.counters()["api.sends"], 0);
        assert_eq!(status(&mut world, 15, "k1"), 200);
        world.apply(20, &step(r#"{"do":"api","fault":"outage"}"#)).expect("a step");
        world.apply(21, &step(r#"{"do":"api","fault":"none"}"#)).expect("a step");
        assert_eq!(status(&mut world, 21, "k1"), 200);
    }

    #[test]
    fn slow_and_hanging_answers() {
        let mut world = world(r#"{"api_latency_ms": 5}"#);
        world.apply(0, &step(r#"{"do":"api","fault":"slow","ms":100}"#)).expect("a step");
        let slow = world.call(0, &ApiRequest::default());
        assert!(matches!(slow, Planned::Answer { after_ms: 105, .. }), "{slow:?}");
        world.apply(0, &step(r#"{"do":"api","fault":"hang"}"#)).expect("a step");
        assert_eq!(world.call(0, &ApiRequest::default()), Planned::Hang);
        assert_eq!(world.counters()["api.sends"], 2);
    }

    #[test]
    fn statuses_that_are_no_rejection() {
        let mut world = world("{}");
        let fault = r#"{"do":"api","fault":"rate_limited","retry_after":3}"#;
        world.apply(0, &step(fault)).expect("a step");
        let limited = call(&mut world, 0, "/", "k1");
        assert_eq!((limited.status, limited.retry_after), (429, Some(3)));
        world
            .apply(0, &step(r#"{"do":"api","fault":"server_error","status":502}"#))
            .expect("a step");
        assert_eq!(status(&mut world, 0, "k1"), 502);
        world.apply(0, &step(r#"{"do":"api","fault":"server_error"}"#)).expect("a step");
        assert_eq!(status(&mut world, 0, "k1"), 503);
        world.apply(0, &step(r#"{"do":"api","fault":"insufficient_scope"}"#)).expect("a step");
        let scope = call(&mut world, 0, "/", "k1");
        assert_eq!(scope.status, 403);
        assert!(scope.challenge.is_some_and(|challenge| challenge.contains("insufficient_scope")));
        assert_eq!(status(&mut world, 0, "none"), 401);
        assert_eq!(world.counters()["api.rejected"], 1);
        assert_eq!(world.counters()["api.accepted"], 0);
    }

    #[test]
    fn a_refused_key_in_the_body() {
        let mut world = world("{}");
        world.apply(0, &step(r#"{"do":"api","fault":"bad_key_in_body"}"#)).expect("a step");
        let refused = call(&mut world, 0, "/", "none");
        assert_eq!((refused.status, text(&refused)), (200, r#"{"code":"bad_key","replica":0}"#));
        assert!(text(&call(&mut world, 0, "/", "k1")).contains("k1"));
        assert_eq!(world.counters()["api.rejected"], 1);
    }

    #[test]
    fn a_flapping_replica_sees_the_old_list_every_second_time() {
        let mut world = world(r#"{"replicas": 2}"#);
        world.apply(5, &step(r#"{"do":"api","fault":"flapping"}"#)).expect("a step");
        let calm: Vec<u16> = (0..4).map(|_| status(&mut world, 6, "k1")).collect();
        assert_eq!(calm, [200; 4], "nothing has changed yet");
        world.apply(10, &step(r#"{"do":"cut"}"#)).expect("a step");
        world.apply(10, &step(r#"{"do":"api","fault":"flapping"}"#)).expect("a step");
        let new: Vec<u16> = (0..6).map(|_| status(&mut world, 20, "k2")).collect();
        assert_eq!(new, [200, 200, 401, 401, 200, 200], "each replica counts for itself");
        let old: Vec<u16> = (0..4).map(|_| status(&mut world, 20, "k1")).collect();
        assert_eq!(old, [200, 200, 401, 401]);
        world.apply(20, &step(r#"{"do":"api","fault":"flapping"}"#)).expect("a step");
        let again: Vec<u16> = (0..4).map(|_| status(&mut world, 20, "k2")).collect();
        assert_eq!(again, [200, 200, 401, 401], "a new fault counts anew");
    }

    #[test]
    fn split_replicas_know_one_credential_each() {
        let mut world = world(r#"{"replicas": 3}"#);
        world.apply(0, &step(r#"{"do":"api","fault":"split"}"#)).expect("a step");
        let calm: Vec<u16> = (0..3).map(|_| status(&mut world, 1, "k1")).collect();
        assert_eq!(calm, [200; 3], "there is nothing to disagree about yet");
        world.apply(10, &step(r#"{"do":"rotate"}"#)).expect("a step");
        let new: Vec<u16> = (0..3).map(|_| status(&mut world, 20, "k2")).collect();
        let old: Vec<u16> = (0..3).map(|_| status(&mut world, 20, "k1")).collect();
        assert_eq!((new, old), (vec![200, 401, 401], vec![401, 200, 200]));
        world.apply(30, &step(r#"{"do":"api","fault":"none"}"#)).expect("a step");
        assert_eq!(status(&mut world, 30, "k1"), 200);
    }
}
