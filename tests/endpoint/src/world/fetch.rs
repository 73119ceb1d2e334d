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
    /// Whether it says `Cache-Control: no-cache`: what is held is known, and is not to be confirmed.
    pub no_cache: bool,
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
    /// 304; or, where no condition was wanted, the set that was shown last.
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
        let mut outcome = planned.reply().map_or(FetchOutcome::Failed, |reply| reply.outcome);
        if let Some(reply) = planned.reply().filter(|_| outcome == FetchOutcome::Changed) {
            let before = std::mem::replace(&mut self.shown_last, reply.etag.clone());
            if request.no_cache && before == reply.etag {
                outcome = FetchOutcome::NotModified;
            }
        }
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
        signs.then(|| self.signer.sign(&self.setting.set, reply, forgery))
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
            let body = Problem::revoked(&self.setting.set);
            return FetchReply { status: 410, content_type: PROBLEM_JSON, body, ..bare(date_ms) };
        }
        if fault == Some(&EndpointFault::Garbage) {
            let body = Bytes::from_static(b"<html>It works!</html>");
            return FetchReply { status: 200, content_type: "text/html", body, ..bare(date_ms) };
        }

        let stands_still = fault == Some(&EndpointFault::StillValidator);
        if stands_still && request.if_none_match.is_some() {
            let outcome = FetchOutcome::NotModified;
            let etag = request.if_none_match.map(str::to_owned);
            return FetchReply { outcome, status: 304, etag, ..bare(date_ms) };
        }
        let (shape, place) = match fault {
            Some(EndpointFault::Oversized) => (Shape::Oversized, place),
            Some(EndpointFault::OtherMaterial) => (Shape::OtherMaterial, place),
            Some(EndpointFault::Expired) => (Shape::Expired, place),
            Some(EndpointFault::TooMany) => (Shape::TooMany, place),
            Some(EndpointFault::FastForward) => (Shape::FastForward, place),
            Some(EndpointFault::EarlyRevocation) => (Shape::EarlyRevocation, place),
            Some(EndpointFault::OlderGeneration) => (Shape::Older, self.before(place)),
            _ => (Shape::Sound, place),
        };
        let sound = matches!(shape, Shape::Sound | Shape::EarlyRevocation)
            && fault != Some(&EndpointFault::Torn);
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
mod tests;
