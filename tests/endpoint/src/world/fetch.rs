//! What the endpoint answers to a fetch.

use std::fmt;

use bytes::Bytes;

use super::problem::{PROBLEM_JSON, Problem};
use super::sign::{Forgery, Signed};
use super::wire::{self, Shape};
use super::{EndpointFault, Planned, World};

/// A fetch: `GET {base}/sets/{id}`.
#[derive(Clone, Copy, Default)]
pub struct FetchRequest<'a> {
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// The header `If-None-Match`, as it came.
    pub if_none_match: Option<&'a str>,
    /// The set asked for; the world's own if not said.
    pub set: Option<&'a str>,
    /// The region that is asked, from 0.
    pub region: usize,
    /// The parameter `wait`, as it came. Only [`World::ask`] holds a request because of it.
    pub wait: Option<&'a str>,
}

impl fmt::Debug for FetchRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchRequest")
            .field("if_none_match", &self.if_none_match)
            .field("set", &self.set)
            .field("region", &self.region)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// What kind of answer a fetch got, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    /// A sound set that the validator did not name.
    Changed,
    /// 304.
    NotModified,
    /// Anything else.
    Failed,
}

/// The endpoint's answer.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchReply {
    /// How it is counted.
    pub outcome: FetchOutcome,
    /// The HTTP status.
    pub status: u16,
    /// The generation of a set, as the answer states it.
    pub generation: Option<u64>,
    /// `ETag`, with its quotes.
    pub etag: Option<String>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
    /// `Location`.
    pub location: Option<String>,
    /// `Content-Type`; empty when there is no body.
    pub content_type: &'static str,
    /// The endpoint's clock, for `Date`: milliseconds since 1970.
    pub date_ms: i64,
    /// The body. It carries material.
    pub body: Bytes,
    /// Its signature, if it has one.
    pub signed: Option<Box<Signed>>,
}

impl fmt::Debug for FetchReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchReply")
            .field("outcome", &self.outcome)
            .field("status", &self.status)
            .field("generation", &self.generation)
            .field("etag", &self.etag)
            .field("retry_after", &self.retry_after)
            .field("location", &self.location)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl World {
    /// What becomes of a fetch that arrives now.
    pub fn fetch(&mut self, now: u64, request: &FetchRequest<'_>) -> Planned<FetchReply> {
        self.advance(now);
        let planned = self.plan(now, request);
        self.fetches.started += 1;
        self.region_mut(request.region).fetches += 1;
        let outcome = planned.reply().map_or(FetchOutcome::Failed, |reply| reply.outcome);
        *match outcome {
            FetchOutcome::Changed => &mut self.fetches.changed,
            FetchOutcome::NotModified => &mut self.fetches.not_modified,
            FetchOutcome::Failed => &mut self.fetches.failed,
        } += 1;
        planned
    }

    /// The same, and nothing is counted.
    pub(super) fn plan(&self, now: u64, request: &FetchRequest<'_>) -> Planned<FetchReply> {
        let fault = self.region(request.region).fault.at(now);
        let delay = match fault {
            Some(EndpointFault::Slow { ms }) => ms,
            _ => 0,
        };
        let after_ms = self.config.endpoint_latency_ms.saturating_add(delay);
        match fault {
            Some(EndpointFault::Outage) => Planned::Dropped,
            Some(EndpointFault::Hang) => Planned::Hang,
            fault => {
                let mut reply = self.fetched(now, request, fault.as_ref());
                reply.signed = self.signature(&reply, fault.as_ref()).map(Box::new);
                let torn = fault == Some(EndpointFault::Torn) && reply.status == 200;
                if torn {
                    Planned::Torn { after_ms, reply }
                } else {
                    Planned::Answer { after_ms, reply }
                }
            }
        }
    }

    fn signature(&self, reply: &FetchReply, fault: Option<&EndpointFault>) -> Option<Signed> {
        let forgery = match fault {
            Some(EndpointFault::Unsigned) => return None,
            // By turns, so that a client has to look at both.
            Some(EndpointFault::BadSignature) if self.fetches.started.is_multiple_of(2) => {
                Some(Forgery::Body)
            }
            Some(EndpointFault::BadSignature) => Some(Forgery::Signature),
            _ => None,
        };
        let signs = self.config.signed && matches!(reply.status, 200 | 304 | 410);
        signs.then(|| self.signer.sign(reply, forgery))
    }

    /// The refusal that a request to the endpoint meets, whatever it asks for.
    pub(super) fn refusal(
        &self,
        now: u64,
        bearer: Option<&str>,
        set: Option<&str>,
        fault: Option<&EndpointFault>,
    ) -> Option<FetchReply> {
        let date_ms = self.date_ms(now, fault);
        let problem = |problem: Problem, detail: &str| {
            Some(problem_reply(date_ms, problem, problem.status(), detail))
        };
        match fault {
            Some(EndpointFault::RateLimited { retry_after }) => {
                let reply = problem(Problem::RateLimited, "too many fetches");
                return reply.map(|reply| FetchReply { retry_after: *retry_after, ..reply });
            }
            Some(EndpointFault::ServerError { status }) => {
                let (kind, detail) = (Problem::of(*status), "a fault of the story");
                return Some(problem_reply(date_ms, kind, *status, detail));
            }
            Some(EndpointFault::Redirect) => {
                let location = Some(format!("{}/landed", self.setting.other_origin));
                return Some(FetchReply { status: 307, location, ..bare(date_ms) });
            }
            Some(EndpointFault::BootstrapInvalid) => {
                return problem(Problem::BootstrapInvalid, "this bootstrap token is not known");
            }
            Some(EndpointFault::UnknownSet) => {
                return problem(Problem::UnknownSet, "there is no such set");
            }
            _ => {}
        }
        if bearer != Some(self.config.bootstrap.reveal()) {
            return problem(Problem::BootstrapInvalid, "this bootstrap token is not known");
        }
        if set.is_some_and(|set| set != self.setting.set) {
            return problem(Problem::UnknownSet, "there is no such set");
        }
        None
    }

    /// A problem as an answer, by the endpoint's clock.
    pub(super) fn problem(
        &self,
        now: u64,
        fault: Option<&EndpointFault>,
        problem: Problem,
        detail: &str,
    ) -> FetchReply {
        problem_reply(self.date_ms(now, fault), problem, problem.status(), detail)
    }

    pub(super) fn date_ms(&self, now: u64, fault: Option<&EndpointFault>) -> i64 {
        self.setting.wall_ms.saturating_add_unsigned(now).saturating_add(skew(fault))
    }

    fn fetched(
        &self,
        now: u64,
        request: &FetchRequest<'_>,
        fault: Option<&EndpointFault>,
    ) -> FetchReply {
        let (skew, date_ms) = (skew(fault), self.date_ms(now, fault));
        if let Some(refusal) = self.refusal(now, request.bearer, request.set, fault) {
            return refusal;
        }
        if self.wait_of(request).is_err() {
            let detail = "`wait` must be whole seconds from 0 to 55";
            return self.problem(now, fault, Problem::BadRequest, detail);
        }
        let (place, shown) = self.shown(now, fault);
        if shown.state.closed {
            let detail = "every credential of this set is revoked";
            return self.problem(now, fault, Problem::SetRevoked, detail);
        }
        if fault == Some(&EndpointFault::Garbage) {
            let body = Bytes::from_static(b"<html>It works!</html>");
            return FetchReply { status: 200, content_type: "text/html", body, ..bare(date_ms) };
        }

        let (shape, place) = match fault {
            Some(EndpointFault::Oversized) => (Shape::Oversized, place),
            Some(EndpointFault::OtherMaterial) => (Shape::OtherMaterial, place),
            Some(EndpointFault::Expired) => (Shape::Expired, place),
            Some(EndpointFault::TooMany) => (Shape::TooMany, place),
            Some(EndpointFault::OlderGeneration) => (Shape::Older, self.before(place)),
            _ => (Shape::Sound, place),
        };
        let sound = shape == Shape::Sound && fault != Some(&EndpointFault::Torn);
        let etag = format!("\"{}\"", shown.state.tag(shown.state.generation));
        if sound && names(request.if_none_match, &etag) {
            let (outcome, etag) = (FetchOutcome::NotModified, Some(etag));
            return FetchReply { outcome, status: 304, etag, ..bare(date_ms) };
        }
        let (generation, body) = wire::body(self, now, &self.published[place], skew, shape);
        FetchReply {
            outcome: if sound { FetchOutcome::Changed } else { FetchOutcome::Failed },
            status: 200,
            generation: Some(generation),
            etag: Some(format!("\"{}\"", shown.state.tag(generation))),
            content_type: "application/json",
            body,
            ..bare(date_ms)
        }
    }

    /// The last publication of a lower generation, if there is one.
    fn before(&self, place: usize) -> usize {
        let shown = &self.published[place].state;
        let older = |at: &usize| {
            let state = &self.published[*at].state;
            state.losses == shown.losses && state.generation < shown.generation && !state.closed
        };
        (0..place).rev().find(older).unwrap_or(place)
    }
}

/// How wrong the endpoint's clock is.
fn skew(fault: Option<&EndpointFault>) -> i64 {
    match fault {
        Some(EndpointFault::WrongClock { ms }) => *ms,
        _ => 0,
    }
}

pub(super) fn bare(date_ms: i64) -> FetchReply {
    FetchReply {
        outcome: FetchOutcome::Failed,
        status: 500,
        generation: None,
        etag: None,
        retry_after: None,
        location: None,
        content_type: "",
        date_ms,
        body: Bytes::new(),
        signed: None,
    }
}

fn problem_reply(date_ms: i64, problem: Problem, status: u16, detail: &str) -> FetchReply {
    let body = problem.body(status, detail);
    FetchReply { status, content_type: PROBLEM_JSON, body, ..bare(date_ms) }
}

/// Whether a list of validators names this one.
fn names(if_none_match: Option<&str>, etag: &str) -> bool {
    if_none_match.is_some_and(|list| {
        list.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::{step, world};
    use super::*;

    const ASK: FetchRequest<'_> = FetchRequest {
        bearer: Some("bootstrap"),
        if_none_match: None,
        set: Some("trading"),
        region: 0,
        wait: None,
    };

    fn reply(world: &mut World, now: u64, request: &FetchRequest<'_>) -> FetchReply {
        match world.fetch(now, request) {
            Planned::Answer { reply, .. } => reply,
            other => panic!("{other:?}"),
        }
    }

    fn json(reply: &FetchReply) -> Value {
        serde_json::from_slice(&reply.body).expect("JSON")
    }

    fn problem(reply: &FetchReply) -> (u16, String) {
        assert_eq!(reply.content_type, PROBLEM_JSON);
        let body = json(reply);
        assert_eq!(body["status"], reply.status);
        let kind = body["type"].as_str().expect("a type");
        (reply.status, kind.trim_start_matches("urn:keyswap:error:").to_owned())
    }

    /// The answer to a fetch in a world of one rotation with this fault.
    fn faulty(fault: &str) -> (World, FetchReply) {
        let mut world = world(r#"{"ttl_ms": 60000}"#);
        world.apply(5, &step(r#"{"do": "rotate", "grace_ms": 30000}"#)).expect("a step");
        world.apply(10, &step(&format!(r#"{{"do": "endpoint", {fault}}}"#))).expect("a step");
        let reply = reply(&mut world, 10, &ASK);
        (world, reply)
    }

    #[test]
    fn a_set_is_written_by_the_protocol() {
        let mut world = world(
            r#"{"ttl_ms": 60000, "refresh_after_ms": 500, "splay_seconds": 3, "scopes": ["a"],
                "scheme": {"scheme": "api_key", "params": {"header": "x-api-key"}}}"#,
        );
        world.apply(1_000, &step(r#"{"do": "rotate", "grace_ms": 5000}"#)).expect("a step");
        let reply = reply(&mut world, 2_000, &ASK);
        assert_eq!((reply.status, reply.generation), (200, Some(2)));
        assert_eq!(reply.etag.as_deref(), Some("\"g2\""));
        let mut body = json(&reply);
        let secret = body["current"]["material"]["key"].take();
        assert_eq!(world.credential_of(secret.as_str().expect("a key")), Some("k2"));
        body["previous"][0]["material"]["key"].take();
        let credential = |version: &str, made: &str, ends: &str| {
            serde_json::json!({
                "id": format!("k{version}"), "version": version, "material": {"key": null},
                "scheme": "api_key", "params": {"header": "x-api-key"},
                "created_at": made, "not_before": made, "expires_at": ends,
            })
        };
        let mut previous = credential("1", "2026-11-23T18:00:00Z", "2026-11-23T18:01:00Z");
        previous["grace_expires_at"] = "2026-11-23T18:00:06Z".into();
        let expected = serde_json::json!({
            "protocol": "keyswap/1", "set": "trading", "generation": 2,
            "server_time": "2026-11-23T18:00:02Z", "refresh_after": "2026-11-23T18:00:01.5Z",
            "splay_seconds": 3, "lineage": "a1", "levels": [], "scopes": ["a"],
            "current": credential("2", "2026-11-23T18:00:01Z", "2026-11-23T18:01:01Z"),
            "previous": [previous], "revoked": [],
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_validator_is_honoured_and_counted() {
        let mut world = world(r#"{"endpoint_latency_ms": 7}"#);
        let known = FetchRequest { if_none_match: Some("\"g9\", W/\"g1\""), ..ASK };
        let planned = world.fetch(0, &known);
        let Planned::Answer { after_ms: 7, reply: same } = planned else { panic!("{planned:?}") };
        assert_eq!((same.status, same.body.len()), (304, 0));
        assert_eq!(same.etag.as_deref(), Some("\"g1\""));
        reply(&mut world, 0, &ASK);
        world.apply(5, &step(r#"{"do": "rotate"}"#)).expect("a step");
        assert_eq!(reply(&mut world, 5, &known).status, 200);
        reply(&mut world, 5, &FetchRequest::default());
        let counters = world.counters();
        let counts = ["started", "changed", "not_modified", "failed"]
            .map(|key| counters[&format!("fetch.{key}")]);
        assert_eq!(counts, [4, 2, 1, 1]);
    }

    #[test]
    fn only_the_bootstrap_token_opens_the_set() {
        let mut world = world("{}");
        let wrong = reply(&mut world, 0, &FetchRequest { bearer: Some("operator"), ..ASK });
        assert_eq!(problem(&wrong), (401, "bootstrap-invalid".to_owned()));
        let other = reply(&mut world, 0, &FetchRequest { set: Some("other"), ..ASK });
        assert_eq!(problem(&other), (404, "unknown-set".to_owned()));
    }

    #[test]
    fn revocations_are_told() {
        let mut world = world("{}");
        world.apply(5, &step(r#"{"do": "revoke"}"#)).expect("a step");
        let body = json(&reply(&mut world, 5, &ASK));
        assert_eq!((&body["current"]["id"], &body["revoked"][0]), (&"k2".into(), &"k1".into()));
        assert_eq!(body["previous"].as_array().map(Vec::len), Some(0));
        world.apply(6, &step(r#"{"do": "revoke_set"}"#)).expect("a step");
        let known = FetchRequest { if_none_match: Some("\"g2\""), ..ASK };
        assert_eq!(problem(&reply(&mut world, 6, &known)), (410, "set-revoked".to_owned()));
        world.apply(7, &step(r#"{"do": "restore_set"}"#)).expect("a step");
        let body = json(&reply(&mut world, 7, &ASK));
        assert_eq!((&body["current"]["id"], &body["generation"]), (&"k3".into(), &3.into()));
    }

    #[test]
    fn a_staged_credential_is_shown_with_its_time() {
        let mut world = world("{}");
        let staged = r#"{"do": "rotate", "next": {"activate_in_ms": 2000}}"#;
        world.apply(0, &step(staged)).expect("a step");
        let next = &json(&reply(&mut world, 0, &ASK))["next"];
        assert_eq!((&next["id"], &next["activate"]), (&"k2".into(), &"at".into()));
        assert_eq!(next["activate_at"], "2026-11-23T18:00:02Z");
        let body = json(&reply(&mut world, 2_000, &ASK));
        assert_eq!((&body["current"]["id"], body.get("next")), (&"k2".into(), None));
        assert_eq!(body["current"].get("activate_at"), None);
        let mut world = self::world("{}");
        world.apply(0, &step(r#"{"do": "rotate", "next": "staged"}"#)).expect("a step");
        let next = json(&reply(&mut world, 0, &ASK))["next"].take();
        assert_eq!((&next["id"], next.get("activate_at")), (&"k2".into(), None));
    }

    #[test]
    fn a_grace_that_ended_takes_its_credential_off_the_list() {
        let mut world = world(r#"{"no_expiry": true, "ttl_ms": 60000}"#);
        world.apply(0, &step(r#"{"do": "rotate", "grace_ms": 100}"#)).expect("a step");
        let before = json(&reply(&mut world, 99, &ASK));
        assert_eq!(before["previous"][0]["id"], "k1");
        assert_eq!(before["previous"][0].get("grace_expires_at"), None);
        assert_eq!(before["current"].get("expires_at"), None);
        assert_eq!(
            json(&reply(&mut world, 100, &ASK))["previous"].as_array().map(Vec::len),
            Some(0)
        );
    }

    #[test]
    fn content_is_decided_when_a_fetch_arrives() {
        let mut world = world("{}");
        world.apply(0, &step(r#"{"do":"endpoint","fault":"slow","ms":100}"#)).expect("a step");
        let planned = world.fetch(10, &ASK);
        world.apply(50, &step(r#"{"do": "cut"}"#)).expect("a step");
        let Planned::Answer { after_ms: 100, reply } = planned else { panic!("{planned:?}") };
        assert_eq!(reply.generation, Some(1));
    }

    #[test]
    fn connections_can_fail() {
        let mut world = world("{}");
        world.apply(0, &step(r#"{"do":"endpoint","fault":"outage","for_ms":10}"#)).expect("a step");
        assert_eq!(world.fetch(9, &ASK), Planned::Dropped);
        assert!(world.fetch(10, &ASK).reply().is_some());
        world.apply(20, &step(r#"{"do":"endpoint","fault":"hang"}"#)).expect("a step");
        assert_eq!(world.fetch(20, &ASK), Planned::Hang);
        world.apply(30, &step(r#"{"do":"endpoint","fault":"torn"}"#)).expect("a step");
        let known = FetchRequest { if_none_match: Some("\"g1\""), ..ASK };
        assert!(matches!(world.fetch(30, &known), Planned::Torn { .. }));
        let stranger = FetchRequest { bearer: None, ..ASK };
        assert_eq!(reply(&mut world, 30, &stranger).status, 401);
        assert_eq!(world.counters()["fetch.failed"], 4);
        assert_eq!(world.counters()["fetch.started"], 5);
    }

    #[test]
    fn answers_can_be_errors() {
        let problems = [
            (r#""fault": "bootstrap_invalid""#, 401, "bootstrap-invalid"),
            (r#""fault": "unknown_set""#, 404, "unknown-set"),
            (r#""fault": "server_error""#, 503, "unavailable"),
            (r#""fault": "server_error", "status": 500"#, 500, "unavailable"),
            (r#""fault": "server_error", "status": 403"#, 403, "forbidden"),
            (r#""fault": "server_error", "status": 410"#, 410, "bad-request"),
        ];
        for (fault, status, kind) in problems {
            let (world, reply) = faulty(fault);
            assert_eq!(problem(&reply), (status, kind.to_owned()));
            assert_eq!(world.counters()["fetch.failed"], 1);
        }
        let (_, limited) = faulty(r#""fault": "rate_limited", "retry_after": 4"#);
        assert_eq!((problem(&limited).1.as_str(), limited.retry_after), ("rate-limited", Some(4)));
        let (_, redirect) = faulty(r#""fault": "redirect""#);
        assert_eq!(redirect.status, 307);
        assert_eq!(redirect.location.as_deref(), Some("http://other.test/landed"));
    }

    #[test]
    fn answers_can_lie() {
        let (world, garbage) = faulty(r#""fault": "garbage""#);
        assert!(garbage.status == 200 && serde_json::from_slice::<Value>(&garbage.body).is_err());
        assert_eq!(world.counters()["fetch.failed"], 1);
        let (_, oversized) = faulty(r#""fault": "oversized""#);
        assert!(oversized.body.len() > 64 * 1024 && json(&oversized)["generation"] == 2);
        let (_, older) = faulty(r#""fault": "older_generation""#);
        assert_eq!((&json(&older)["generation"], older.generation), (&1.into(), Some(1)));
        assert_eq!(json(&older)["current"]["id"], "k1");
        let (world, other) = faulty(r#""fault": "other_material""#);
        let other = json(&other);
        assert_eq!((&other["generation"], &other["current"]["id"]), (&3.into(), &"k2".into()));
        assert_ne!(other["current"]["material"]["key"], world.material("k2").expect("k2").reveal());
        let (_, expired) = faulty(r#""fault": "expired""#);
        let expired = json(&expired);
        assert_eq!(expired["server_time"], "2026-11-23T18:00:00.01Z");
        assert_eq!(expired["current"]["expires_at"], "2026-11-23T17:59:59.01Z");
        let (world, many) = faulty(r#""fault": "too_many""#);
        assert_eq!(json(&many)["previous"].as_array().map(Vec::len), Some(5));
        assert_eq!(world.counters()["fetch.failed"], 1);
    }

    #[test]
    fn the_first_generation_has_an_older_one_too() {
        let mut world = world("{}");
        world.apply(0, &step(r#"{"do":"endpoint","fault":"older_generation"}"#)).expect("a step");
        assert_eq!(json(&reply(&mut world, 0, &ASK))["generation"], 0);
    }

    #[test]
    fn a_wrong_clock_is_wrong_everywhere() {
        let (world, wrong) = faulty(r#""fault": "wrong_clock", "ms": -3600000"#);
        let body = json(&wrong);
        assert_eq!(body["server_time"], "2026-11-23T17:00:00.01Z");
        assert_eq!(body["current"]["expires_at"], "2026-11-23T17:01:00.005Z");
        assert_eq!(wrong.date_ms, world.setting().wall_ms + 10 - 3_600_000);
        assert_eq!(world.counters()["fetch.changed"], 1, "it is a sound answer all the same");
    }
}
