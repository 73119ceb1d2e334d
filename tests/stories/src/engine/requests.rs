//! What the client does: each request's state machine, over its hops, with its retries.

use std::time::Duration;

use http::{
    HeaderMap, Method, StatusCode,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
};
use jiff::Timestamp;
use keyswap::{
    Classifier, Credential, Error, ErrorKind, Failure, ResponseView, Scheme, Unsigned, Verdict,
    engine::{
        attempt::{AttemptMachine, Next, Outcome as Judged, waits_until},
        retry::Tried,
        rotation::{Evidence, Input, Unfit},
    },
    redirect::{Asked, MAX_HOPS},
};
use keyswap_endpoint::{
    story::Body,
    world::{ApiReply, ApiRequest, Planned},
};
use url::Url;

use super::{BOOT, Happening, Play, millis};

/// A request, and how often it was its turn: what was meant for an earlier turn comes too late.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) request: u64,
    pub(super) number: u64,
}

pub(super) struct Request {
    pub(super) caller: usize,
    pub(super) nth: u64,
    /// When its caller's time is over.
    pub(super) deadline: u64,
    /// The hop under way, which has a state machine of its own.
    pub(super) machine: AttemptMachine,
    pub(super) hop: Hop,
    pub(super) hops: u32,
    pub(super) number: u64,
    /// The number of the send under way.
    pub(super) sent: u64,
    /// The first send, if it tried the candidate and was no success.
    pub(super) trial: Option<Evidence>,
    /// How often this hop was retried.
    pub(super) retried: u32,
    pub(super) last: Option<Last>,
}

pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    /// Whether it can be sent again.
    pub(super) replayable: bool,
    /// Whether it, and all before it, went where credentials may go.
    pub(super) at_home: bool,
}

/// What the last send brought.
pub(super) enum Last {
    Answer { status: StatusCode, location: Option<String>, retry_after: Option<u64> },
    Failed(Failure),
}

impl Play<'_> {
    pub(super) fn request(&mut self, caller: usize, nth: u64) {
        let what = self.callers[caller];
        self.tally.requested();
        self.to_begin -= 1;
        self.begun += 1;
        let id = self.begun;
        let now = self.moment().boot;
        let replayable = what.body != Body::OneShot;
        let deadline = now + what.timeout_ms;
        let request = Request {
            trial: None,
            caller,
            nth,
            deadline,
            machine: AttemptMachine::new(replayable, now, Some(deadline), &self.policy),
            hop: Hop {
                method: what.method.parse().unwrap_or_default(),
                url: self.home(&what.path),
                replayable,
                at_home: true,
            },
            hops: 0,
            number: 0,
            sent: 0,
            retried: 0,
            last: None,
        };
        self.requests.insert(id, request);
        self.later(what.timeout_ms, Happening::TimesOut(id));
        if let Some(patience) = what.cancel_after_ms {
            self.later(patience, Happening::GivesUp(id));
        }
        self.hold(id);
    }

    /// The URL of a path of the API.
    pub(super) fn home(&self, path: &str) -> Url {
        let home = Url::parse(&self.world.setting().api_origin).expect("the API's origin is a URL");
        home.join(path).unwrap_or(home)
    }

    /// A hop is about to begin, unless the API wants to be left alone.
    pub(super) fn hold(&mut self, id: u64) {
        let now = self.moment().boot;
        let Some(request) = self.requests.get_mut(&id) else { return };
        let until = Some(waits_until(now, request.deadline));
        let held = self.throttle.pause(now, until, self.rng.f64());
        match held.filter(|_| request.hop.at_home) {
            None => self.hop_begins(id),
            Some(pause) => {
                request.number += 1;
                let turn = Turn { request: id, number: request.number };
                self.later(millis(pause), Happening::LetGo(turn));
            }
        }
    }

    pub(super) fn hop_begins(&mut self, id: u64) {
        let now = self.moment().boot;
        let Some(request) = self.requests.get_mut(&id) else { return };
        let (hop, deadline) = (&request.hop, Some(request.deadline));
        let scopes = self.callers[request.caller].scopes.iter().flatten();
        let scopes: Vec<_> = scopes.map(|scope| scope.as_str().into()).collect();
        request.machine = AttemptMachine::new(hop.replayable, now, deadline, &self.policy);
        request.machine.require(&scopes);
        (request.retried, request.trial) = (0, None);
        self.proceed(id);
    }

    pub(super) fn next_request(&mut self, ended: &Request) {
        let (caller, nth) = (ended.caller, ended.nth + 1);
        let what = self.callers[caller];
        if nth < what.repeat {
            let due = what.at + nth * what.every;
            let wait = due.saturating_sub(self.story_time());
            self.later(wait, Happening::Begins { caller, nth });
        }
    }

    /// The turn of a request, if it has not ended and nothing happened to it since.
    pub(super) fn turn(&mut self, turn: Turn) -> Option<&mut Request> {
        self.requests.get_mut(&turn.request).filter(|request| request.number == turn.number)
    }

    pub(super) fn resumes(&mut self, turn: Turn) {
        let mut asked = false;
        // Whoever is still among those who wait was not woken: its time is over.
        self.waiters.retain(|(waiter, asks)| {
            asked |= *waiter == turn && *asks;
            *waiter != turn
        });
        if let Some(request) = self.turn(turn) {
            if asked {
                request.machine.settled();
            }
            self.proceed(turn.request);
        }
    }

    pub(super) fn proceed(&mut self, id: u64) {
        let now = self.moment().boot;
        let began = self.live.map(|(_, began)| BOOT + began);
        let Some(request) = self.requests.get_mut(&id) else { return };
        let next = request.machine.proceed(now, &self.snapshot, began, &self.policy);
        self.take(id, next);
    }

    pub(super) fn take(&mut self, id: u64, next: Next) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.number += 1;
        let turn = Turn { request: id, number: request.number };
        match next {
            Next::Send(credential) => {
                if let Err(why) = self.fits(&credential) {
                    self.step(Input::Unfit(Unfit { credential, why: why.clone(), sent: None }));
                    let now = self.moment().boot;
                    let Some(request) = self.requests.get_mut(&id) else { return };
                    let next = request.machine.unfit(now, &self.snapshot, why, &self.policy);
                    return self.take(id, next);
                }
                let Some(request) = self.requests.get_mut(&id) else { return };
                self.sends += 1;
                request.sent = self.sends;
                self.send(turn);
            }
            Next::Wait(until) => {
                let wait = until.saturating_sub(self.moment().boot);
                self.later(wait, Happening::Resumes(turn));
                self.waiters.push((turn, true));
                self.step(Input::Waited);
            }
            Next::Rest(until) => {
                let wait = until.saturating_sub(self.moment().boot);
                self.later(wait, Happening::Resumes(turn));
                self.waiters.push((turn, false));
            }
            Next::Return => self.returns(turn),
            Next::Fail(error) => {
                let request = self.requests.remove(&id);
                self.tally.failed(&error);
                request.iter().for_each(|request| self.next_request(request));
            }
        }
    }

    /// Whether the client can put this credential on a request.
    pub(super) fn fits(&self, credential: &Credential) -> Result<(), Error> {
        let fits = match &self.scheme {
            Some(scheme) => scheme.prepare(credential),
            None => Scheme::named_by(credential).and_then(|named| named.prepare(credential)),
        };
        fits.map(drop)
    }

    /// One hop.
    pub(super) fn send(&mut self, turn: Turn) {
        let now = self.story_time();
        let Some(request) = self.requests.get(&turn.request) else { return };
        let key = request.machine.assigned().and_then(|credential| credential.reveal("key"));
        let (method, path) = (request.hop.method.as_str(), request.hop.url.path());
        match self.world.call(now, &ApiRequest { method, path, credential: key }) {
            Planned::Answer { after_ms, reply } | Planned::Torn { after_ms, reply } => {
                self.later(after_ms, Happening::Answered { turn, reply });
            }
            Planned::Dropped => self.later(0, Happening::Broke(turn, Failure::Other)),
            Planned::Hang => {}
        }
    }

    pub(super) fn answered(&mut self, turn: Turn, reply: ApiReply) {
        if self.turn(turn).is_none() {
            return;
        }
        let now = self.moment().boot;
        let Some(request) = self.requests.get(&turn.request) else { return };
        let (status, verdict) = self.classify(&request.hop, &reply);
        let Some(request) = self.requests.get_mut(&turn.request) else { return };
        if verdict == Verdict::Throttled
            && let Some(seconds) = reply.retry_after
        {
            self.throttle.hold(now, Duration::from_secs(seconds), &self.policy);
        }
        if verdict == Verdict::Other && status.is_redirection() {
            request.machine.hand_on(now);
        }
        let (location, retry_after) = (reply.location, reply.retry_after);
        self.judged(turn, Last::Answer { status, location, retry_after }, verdict);
    }

    pub(super) fn classify(&self, hop: &Hop, reply: &ApiReply) -> (StatusCode, Verdict) {
        let status = StatusCode::from_u16(reply.status).unwrap_or_default();
        let mut headers = HeaderMap::new();
        let challenge = reply.challenge.and_then(|text| text.parse().ok());
        headers.extend(challenge.map(|challenge| (WWW_AUTHENTICATE, challenge)));
        headers.extend(reply.retry_after.map(|seconds| (RETRY_AFTER, seconds.into())));
        let head = ResponseView::new(&hop.method, &hop.url, status, &headers);
        let verdict = match self.judge.classify(&head) {
            Verdict::NeedBody => {
                let limit = self.judge.response_filter().body_limit.min(reply.body.len());
                self.judge.classify(&head.with_body(&reply.body[..limit]))
            }
            verdict => verdict,
        };
        (status, verdict)
    }

    pub(super) fn judged(&mut self, turn: Turn, last: Last, verdict: Verdict) {
        let is_asked = self.snapshot.wants_evidence();
        let Some(request) = self.turn(turn) else { return };
        let repeatable = match last {
            Last::Answer { status, .. } if request.hop.at_home => {
                request.hop.method.is_idempotent() || status.is_client_error()
            }
            _ => false,
        };
        request.last = Some(last);
        let evidence = request
            .machine
            .assigned()
            .map(|credential| Evidence { credential: credential.id().into(), sent: request.sent });
        let (sent, is_probing) = (request.sent, request.machine.is_probing());
        let is_listening = request.machine.sends() > 1 || is_asked;
        let trial = request.trial.take_if(|_| verdict == Verdict::Accepted);
        if is_probing && !matches!(verdict, Verdict::Accepted | Verdict::Rejected) {
            request.trial.clone_from(&evidence);
        }
        let input = evidence.and_then(|evidence| match verdict {
            Verdict::Rejected => Some(Input::Rejected(evidence)),
            Verdict::Accepted if is_listening => Some(Input::Accepted(evidence)),
            _ => None,
        });
        let (before, after) = if self.rng.bool() { (input, None) } else { (None, input) };
        before.into_iter().for_each(|input| self.step(input));
        let now = self.moment().boot;
        let Some(request) = self.requests.get_mut(&turn.request) else { return };
        let judged = Judged { verdict, sent, repeatable };
        let next = request.machine.judged(now, &self.snapshot, judged, &self.policy);
        after.into_iter().for_each(|input| self.step(input));
        trial.into_iter().for_each(|trial| self.step(Input::Doubted(trial)));
        self.take(turn.request, next);
    }

    /// What this hop's last send brought is its answer, unless the API may be asked once more. Then a
    /// redirect may lead on.
    pub(super) fn returns(&mut self, turn: Turn) {
        let now = self.moment().boot;
        let Some(request) = self.requests.get(&turn.request) else { return };
        let tried = Tried {
            method: &request.hop.method,
            retried: request.retried,
            left: Some(Duration::from_millis(request.deadline.saturating_sub(now))),
            jitter: self.rng.f64(),
        };
        let wait = match &request.last {
            Some(Last::Answer { status, .. }) if status.is_success() => {
                self.retry.succeeded();
                None
            }
            _ if !request.hop.replayable => None,
            Some(Last::Answer { status, retry_after, .. }) => {
                self.retry.answered(tried, *status, || retry_after.map(Duration::from_secs))
            }
            Some(Last::Failed(failure)) => self.retry.failed(tried, *failure),
            None => None,
        };
        if let Some(wait) = wait {
            if let Some(request) = self.requests.get_mut(&turn.request) {
                request.retried += 1;
            }
            return self.later(millis(wait), Happening::Repeats(turn));
        }
        match self.leads_to(turn.request) {
            Some(hop) => self.follow(turn, hop),
            None => self.end(turn.request),
        }
    }

    /// The hop behind this one, by the rule of the core.
    pub(super) fn leads_to(&self, id: u64) -> Option<Hop> {
        let request = self.requests.get(&id)?;
        let Some(Last::Answer { status, location: Some(location), .. }) = &request.last else {
            return None;
        };
        let hop = &request.hop;
        let headers = HeaderMap::new();
        let unsigned = Unsigned::new(&hop.method, &hop.url, &headers, None, Timestamp::UNIX_EPOCH);
        let scheme = self.setup.client.scheme().unwrap_or_else(|| Scheme::header("x-api-key"));
        let patch = scheme.apply(request.machine.assigned()?, &unsigned).ok()?;
        let (method, url, replayable) = (&hop.method, &hop.url, hop.replayable);
        let next = Asked::new(method, url, &patch, replayable).follow(*status, location)?;
        (request.hops < MAX_HOPS).then(|| Hop {
            at_home: hop.at_home && next.url.origin() == hop.url.origin(),
            replayable: hop.replayable || next.drops_body,
            method: next.method,
            url: next.url,
        })
    }

    pub(super) fn follow(&mut self, turn: Turn, hop: Hop) {
        let Some(request) = self.requests.get_mut(&turn.request) else { return };
        request.hops += 1;
        request.last = None;
        request.hop = hop;
        let url = request.hop.url.as_str();
        if request.hop.at_home {
            return self.hold(turn.request);
        }
        if url.starts_with(&self.world.setting().closed_origin) {
            return self.refused(turn);
        }
        // The other origin answers everything, and is sent no credential.
        let url = url.to_owned();
        self.world.elsewhere(None, [url.as_str()]);
        request.last =
            Some(Last::Answer { status: StatusCode::OK, location: None, retry_after: None });
        self.end(turn.request);
    }

    /// Nobody listens there.
    pub(super) fn refused(&mut self, turn: Turn) {
        if let Some(request) = self.requests.get_mut(&turn.request) {
            request.number += 1;
            let turn = Turn { number: request.number, ..turn };
            self.later(0, Happening::Broke(turn, Failure::Connect));
        }
    }

    pub(super) fn is_at_home(&self, id: u64) -> bool {
        self.requests.get(&id).is_none_or(|request| request.hop.at_home)
    }

    pub(super) fn end(&mut self, id: u64) {
        let Some(request) = self.requests.remove(&id) else { return };
        match request.last {
            Some(Last::Answer { status, .. }) => self.tally.answered(status.as_u16()),
            Some(Last::Failed(_)) | None => {
                self.tally.failed(&Error::new(ErrorKind::Transport, "the connection broke"));
            }
        }
        self.next_request(&request);
    }
}
