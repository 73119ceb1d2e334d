//! A story through the engine alone, in virtual time.
//!
//! # Theory of operation
//!
//! One queue of things that will happen, and one clock that jumps from each to the next. The rotation
//! is stepped as the driver steps it, each request's course as the client does, and the model of the
//! endpoint and the API answers both. Whether a request's evidence reaches the rotation before or after
//! that request looks at the snapshot again is a race in the real client; here the seed decides.
//!
//! Nothing takes time but what the story says takes time, so a story's counts are exact here. A fetch
//! that was abandoned delivers its answer all the same, and the engine has to ignore it.

mod push;
mod regions;

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
    time::Duration,
};

use http::{
    HeaderMap, Method, StatusCode,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
};
use keyswap::{
    Classifier, Credential, CredentialSet, Error, ErrorKind, Moment, Policy, Scheme, Verdict,
    engine::{
        attempt::{Course, Next, Outcome as Answer},
        rotation::{Action, Evidence, Input, Rotation, Unfit, default_backoff},
        snapshot::Snapshot,
    },
    source,
};
use keyswap_endpoint::{
    story::{Body, Caller, Story, Timeline},
    world::{ApiReply, ApiRequest, FetchReply, FetchRequest, Planned, Setting, World},
};
use serde_json::Value;

use self::{
    push::Push,
    regions::{Outcome, Regions, Tour},
};
use crate::{
    PlayError, Report,
    setup::{Judge, Setup, Start},
    tally::Tally,
};

/// What the boot clock shows when the client starts.
const BOOT: u64 = 1_000_000;
/// The most bytes of a fetch's answer.
const MAX_DOCUMENT: usize = 64 * 1024;
/// The most things that honest rules make happen in one millisecond.
const MOST: u32 = 1_000_000;

/// Plays a story. The same seed gives the same counts, to the last one.
///
/// # Errors
/// When it cannot be played. That its counts do not come out is told in the report.
pub fn play(story: &Story, seed: u64) -> Result<Report, PlayError> {
    story.validate()?;
    Play::new(story, seed)?.run()
}

struct Play<'a> {
    story: &'a Story,
    setup: Setup,
    policy: Arc<Policy>,
    judge: Judge,
    world: World,
    timeline: Timeline,
    rotation: Rotation,
    snapshot: Arc<Snapshot>,
    rng: fastrand::Rng,
    /// Milliseconds since the client started.
    now: u64,
    /// When the story began, in the same.
    began: Option<u64>,
    queue: BTreeMap<(u64, u64), Happening>,
    happenings: u64,
    wake: u64,
    sends: u64,
    /// The ticket of the running fetch, and when it began.
    live: Option<(u64, u64)>,
    regions: Regions,
    push: Push,
    /// The endpoint's key, if it is pinned.
    pinned: Option<String>,
    /// Those who wait, and whether it is a fetch that they wait for.
    waiters: Vec<(Turn, bool)>,
    /// What the scheme of the client finds wrong with a credential.
    scheme: Option<Scheme>,
    settled: Option<Result<(), Error>>,
    callers: Vec<&'a Caller>,
    requests: HashMap<u64, Request>,
    begun: u64,
    to_begin: u64,
    tally: Tally,
    errors: Vec<String>,
}

enum Happening {
    /// The nth request of a caller begins.
    Begins { caller: usize, nth: u64 },
    /// A region brings a set, or nothing new, or fails.
    RegionAnswers(Box<RegionAnswer>),
    /// The API's answer arrives.
    Answered { turn: Turn, reply: ApiReply },
    /// The connection to the API breaks.
    Broke(Turn),
    /// A wait or a pause is over.
    Resumes(Turn),
    /// A request is repeated for a reason that is not the credential.
    Repeats(Turn),
    /// A request's own deadline.
    TimesOut(u64),
    /// A caller's patience ends.
    GivesUp(u64),
    /// A push channel speaks.
    Hinted(Option<u64>),
}

/// What a region answered to a fetch on its way.
struct RegionAnswer {
    tour: Tour,
    region: usize,
    outcome: Outcome,
}

/// A request, and how often it was its turn: what was meant for an earlier turn comes too late.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Turn {
    request: u64,
    number: u64,
}

struct Request {
    caller: usize,
    nth: u64,
    course: Course,
    number: u64,
    /// The number of the send under way.
    sent: u64,
    /// The first send, if it tried the candidate and was no success.
    trial: Option<Evidence>,
    /// Where it went, after redirects.
    path: String,
    at_home: bool,
    retried: u32,
    last: Option<Last>,
}

/// What the last send brought.
enum Last {
    Answer { status: u16, retry_after: Option<u64> },
    Broken,
}

impl<'a> Play<'a> {
    fn new(story: &'a Story, seed: u64) -> Result<Self, PlayError> {
        let setup = Setup::of(story)?;
        let policy = Arc::new(setup.policy.clone());
        let world = World::new(story.world.clone(), Setting { seed, ..Setting::default() });
        let start = Moment { wall: world.setting().wall_ms, boot: BOOT };
        let rotation = Rotation::new(start, seed, policy.clone(), default_backoff(&policy));
        let callers = story.callers.iter();
        let callers: Vec<_> =
            callers.flat_map(|caller| (0..caller.count).map(move |_| caller)).collect();
        Ok(Self {
            story,
            judge: setup.client.classifier(),
            regions: Regions::new(world.config().regions),
            push: Push::new(setup.client.push, setup.client.heartbeat_ms),
            scheme: setup.client.scheme(),
            pinned: setup.client.signed_by_endpoint.then(|| world.public_key()),
            setup,
            policy,
            world,
            timeline: story.timeline(),
            snapshot: rotation.snapshot().clone(),
            rotation,
            rng: fastrand::Rng::with_seed(seed),
            now: 0,
            began: None,
            queue: BTreeMap::new(),
            happenings: 0,
            wake: 0,
            sends: 0,
            live: None,
            waiters: Vec::new(),
            settled: None,
            to_begin: callers.iter().map(|caller| caller.repeat).sum(),
            callers,
            requests: HashMap::new(),
            begun: 0,
            tally: Tally::default(),
            errors: Vec::new(),
        })
    }

    fn run(mut self) -> Result<Report, PlayError> {
        if self.setup.client.start == Start::Cold {
            self.begin();
        }
        self.step(Input::Woke);
        let mut at_once = 0;
        while !self.is_over() {
            let before = self.now;
            self.jump();
            at_once = if self.now == before { at_once + 1 } else { 0 };
            if at_once > MOST {
                return Err(PlayError::Spinning { at: self.story_time() });
            }
            if self.began.is_none()
                && let Some(outcome) = self.settled.take()
            {
                outcome?;
                self.begin();
            }
        }
        let in_use = self.snapshot.in_use().map(Credential::id);
        let generation = self.snapshot.set().map(CredentialSet::generation);
        let mut counted = self.tally.close(in_use, generation);
        let of_world = self.world.counters();
        counted.extend(of_world.into_iter().map(|(key, count)| (key, Value::from(count))));
        let mismatches = self.story.check(&counted);
        Ok(Report { counted, mismatches, errors: self.errors })
    }

    fn is_over(&self) -> bool {
        let ended = self.began.is_some() && self.story_time() >= self.story.run_ms;
        ended && self.to_begin == 0 && self.requests.is_empty()
    }

    /// The story's time runs from its beginning; until then it stands at 0.
    fn story_time(&self) -> u64 {
        self.began.map_or(0, |began| self.now - began)
    }

    fn begin(&mut self) {
        self.began = Some(self.now);
        self.world.set_wall_ms(self.moment().wall);
        // What was told before the client was ready is no part of the story.
        self.tally = Tally::default();
        self.catch_up();
        for (caller, what) in self.callers.clone().into_iter().enumerate() {
            self.later(what.at, Happening::Begins { caller, nth: 0 });
        }
        for hint in self.setup.client.hints.clone() {
            self.later(hint.at, Happening::Hinted(hint.generation));
        }
    }

    fn moment(&self) -> Moment {
        let start = Setting::default().wall_ms;
        Moment { wall: start.saturating_add_unsigned(self.now), boot: BOOT + self.now }
    }

    fn later(&mut self, wait: u64, what: Happening) {
        self.happenings += 1;
        self.queue.insert((self.now.saturating_add(wait), self.happenings), what);
    }

    /// Goes on to what happens next: the world first, then what is on its way, then the engine's wake-up.
    fn jump(&mut self) {
        let queued = self.queue.first_key_value().map(|(key, _)| key.0);
        let end = self.began.map(|began| began + self.story.run_ms).filter(|end| *end > self.now);
        let step = self.began.and_then(|began| Some(began + self.timeline.next_at()?));
        let heard = self.began.and_then(|began| Some(began + self.push.next_at()?));
        let next = [queued, end, step, heard].into_iter().flatten().fold(self.wake, u64::min);
        self.now = next.max(self.now);
        if self.began.is_some() {
            self.catch_up();
        }
        self.listen();
        match self.queue.first_entry().filter(|first| first.key().0 <= self.now) {
            Some(first) => {
                let what = first.remove();
                self.happen(what);
            }
            None if self.wake <= self.now => self.step(Input::Woke),
            None => {}
        }
    }

    /// Makes the steps happen whose time has come.
    fn catch_up(&mut self) {
        let now = self.story_time();
        while let Some(timed) = self.timeline.due(now) {
            if let Err(error) = self.world.apply(timed.at, &timed.step) {
                self.errors.push(format!("the step at {}: {error}", timed.at));
            }
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Begins { caller, nth } => self.request(caller, nth),
            Happening::RegionAnswers(answer) => self.region_answers(*answer),
            Happening::Answered { turn, reply } => self.answered(turn, reply),
            Happening::Broke(turn) => self.judged(turn, Last::Broken, Verdict::Other),
            Happening::Resumes(turn) => self.resumes(turn),
            Happening::Repeats(turn) => {
                let again = |request: &mut Request| request.course.repeat();
                match self.requests.get_mut(&turn.request).map(again) {
                    Some(true) => self.resumes(turn),
                    Some(false) => self.end(turn.request),
                    None => {}
                }
            }
            Happening::TimesOut(id) => {
                if let Some(request) = self.requests.remove(&id) {
                    let what = Error::new(ErrorKind::Timeout, "no response within the deadline");
                    self.tally.failed(&what);
                    self.next_request(&request);
                }
            }
            Happening::GivesUp(id) => {
                if let Some(request) = self.requests.remove(&id) {
                    self.tally.cancelled();
                    self.next_request(&request);
                }
            }
            Happening::Hinted(generation) => {
                self.step(Input::Hinted { generation, immediate: true });
            }
        }
    }

    // ---- the driver ----

    fn step(&mut self, input: Input) {
        let actions = self.rotation.step(self.moment(), self.sends, input);
        for action in actions {
            match action {
                Action::Publish(snapshot) => {
                    self.snapshot = snapshot;
                    self.wake();
                }
                Action::StartFetch(ticket) => self.fetch(ticket),
                Action::AbandonFetch(ticket) => {
                    self.live.take_if(|(live, _)| *live == ticket);
                }
                Action::Settle(outcome) => {
                    for (turn, _) in self.waiters.clone() {
                        self.turn(turn).into_iter().for_each(|request| request.course.settled());
                    }
                    self.wake();
                    self.settled = Some(outcome);
                }
                Action::Tell(event) => self.tally.told(event.name()),
                // Reports touch no traffic: a story is the same without them.
                Action::Report(_) => {}
            }
        }
        let wake = self.rotation.wake_at().map_or(u64::MAX, |at| at.boot.saturating_sub(BOOT));
        // As in the driver: never less than a millisecond.
        self.wake = wake.max(self.now + 1);
    }

    /// Those who wait look again.
    fn wake(&mut self) {
        for (turn, _) in mem::take(&mut self.waiters) {
            self.later(0, Happening::Resumes(turn));
        }
    }

    /// What the push channel says, if there is one.
    fn listen(&mut self) {
        let (now, held) = (self.story_time(), self.held());
        for input in self.push.listen(&mut self.world, now, held) {
            self.step(input);
        }
    }

    fn held(&self) -> Option<u64> {
        self.snapshot.set().map(CredentialSet::generation)
    }

    fn fetch(&mut self, ticket: u64) {
        self.live = Some((ticket, self.now));
        let tour = self.regions.tour(self.now, ticket);
        self.ask(tour);
    }

    fn ask(&mut self, mut tour: Tour) {
        let Some(region) = tour.next() else { return };
        let now = self.story_time();
        let bearer = self.world.config().bootstrap.clone();
        let held = self.snapshot.set().and_then(CredentialSet::validator).map(str::to_owned);
        let request = FetchRequest {
            bearer: Some(bearer.reveal()),
            if_none_match: held.as_deref(),
            region,
            ..FetchRequest::default()
        };
        let broken = || Error::new(ErrorKind::Unavailable, "the connection broke");
        let (wait, outcome) = match self.world.fetch(now, &request) {
            Planned::Answer { after_ms, reply } => (after_ms, self.read(&reply)),
            Planned::Torn { after_ms, .. } => (after_ms, Err(broken())),
            Planned::Dropped => (0, Err(broken())),
            // The last one is left to the deadline of the whole fetch.
            Planned::Hang if tour.is_last() => return,
            Planned::Hang => {
                let patience = millis(self.policy.fetch_timeout) / self.regions.count() as u64;
                (patience, Err(Error::new(ErrorKind::Timeout, "no answer from this region")))
            }
        };
        self.later(
            wait,
            Happening::RegionAnswers(Box::new(RegionAnswer { tour, region, outcome })),
        );
    }

    fn region_answers(&mut self, answer: RegionAnswer) {
        let RegionAnswer { mut tour, region, outcome } = answer;
        let held = self.held();
        let ticket = tour.ticket;
        match self.regions.judge(self.now, &mut tour, region, held, outcome) {
            Some(outcome) => self.fetch_ends(ticket, outcome),
            // Nobody asks on for a fetch that was abandoned.
            None if self.live.is_some_and(|(live, _)| live == ticket) => self.ask(tour),
            None => {}
        }
    }

    /// What an answer means to a client that may have pinned the endpoint's key.
    fn read(&self, reply: &FetchReply) -> Outcome {
        match &self.pinned {
            Some(key) if matches!(reply.status, 200 | 304 | 410) && !reply.is_signed_by(key) => {
                Err(Error::new(ErrorKind::SignatureInvalid, "the answer is not signed"))
            }
            _ => read(reply),
        }
    }

    fn fetch_ends(&mut self, ticket: u64, outcome: Outcome) {
        self.step(match outcome {
            Ok(Some(set)) => Input::Fetched(ticket, set),
            Ok(None) => Input::NotModified(ticket),
            Err(error) => Input::Failed(ticket, error),
        });
        self.live.take_if(|(live, _)| *live == ticket);
    }

    // ---- the client ----

    fn request(&mut self, caller: usize, nth: u64) {
        let what = self.callers[caller];
        self.tally.requested();
        self.to_begin -= 1;
        self.begun += 1;
        let id = self.begun;
        let now = self.moment().boot;
        let replayable = what.body != Body::OneShot;
        let scopes: Vec<_> = what.scopes.iter().flatten().map(|it| it.as_str().into()).collect();
        let course = Course::new(replayable, now, Some(now + what.timeout_ms), &self.policy);
        let request = Request {
            trial: None,
            caller,
            nth,
            course: course.require(&scopes),
            number: 0,
            sent: 0,
            path: what.path.clone(),
            at_home: true,
            retried: 0,
            last: None,
        };
        self.requests.insert(id, request);
        self.later(what.timeout_ms, Happening::TimesOut(id));
        if let Some(patience) = what.cancel_after_ms {
            self.later(patience, Happening::GivesUp(id));
        }
        self.proceed(id);
    }

    fn next_request(&mut self, ended: &Request) {
        let (caller, nth) = (ended.caller, ended.nth + 1);
        let what = self.callers[caller];
        if nth < what.repeat {
            let due = what.at + nth * what.every;
            let wait = due.saturating_sub(self.story_time());
            self.later(wait, Happening::Begins { caller, nth });
        }
    }

    /// The turn of a request, if it has not ended and nothing happened to it since.
    fn turn(&mut self, turn: Turn) -> Option<&mut Request> {
        self.requests.get_mut(&turn.request).filter(|request| request.number == turn.number)
    }

    fn resumes(&mut self, turn: Turn) {
        let mut asked = false;
        // Whoever is still among those who wait was not woken: its time is over.
        self.waiters.retain(|(waiter, asks)| {
            asked |= *waiter == turn && *asks;
            *waiter != turn
        });
        if let Some(request) = self.turn(turn) {
            if asked {
                request.course.settled();
            }
            self.proceed(turn.request);
        }
    }

    fn proceed(&mut self, id: u64) {
        let now = self.moment().boot;
        let began = self.live.map(|(_, began)| BOOT + began);
        let Some(request) = self.requests.get_mut(&id) else { return };
        let next = request.course.proceed(now, &self.snapshot, began, &self.policy);
        self.take(id, next);
    }

    fn take(&mut self, id: u64, next: Next) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.number += 1;
        let turn = Turn { request: id, number: request.number };
        match next {
            Next::Send(credential) => {
                if let Err(why) = self.fits(&credential) {
                    self.step(Input::Unfit(Unfit { credential, why: why.clone(), sent: None }));
                    let now = self.moment().boot;
                    let Some(request) = self.requests.get_mut(&id) else { return };
                    let next = request.course.unfit(now, &self.snapshot, why, &self.policy);
                    return self.take(id, next);
                }
                let Some(request) = self.requests.get_mut(&id) else { return };
                self.sends += 1;
                request.sent = self.sends;
                request.path.clone_from(&self.callers[request.caller].path);
                request.at_home = true;
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
    fn fits(&self, credential: &Credential) -> Result<(), Error> {
        let fits = match &self.scheme {
            Some(scheme) => scheme.prepare(credential),
            None => Scheme::named_by(credential).and_then(|named| named.prepare(credential)),
        };
        fits.map(drop)
    }

    /// One hop.
    fn send(&mut self, turn: Turn) {
        let now = self.story_time();
        let Some(request) = self.requests.get(&turn.request) else { return };
        let key = request.course.assigned().and_then(|credential| credential.reveal("key"));
        let method = &self.callers[request.caller].method;
        let asked = ApiRequest { method, path: &request.path, credential: key };
        match self.world.call(now, &asked) {
            Planned::Answer { after_ms, reply } | Planned::Torn { after_ms, reply } => {
                self.later(after_ms, Happening::Answered { turn, reply });
            }
            Planned::Dropped => self.later(0, Happening::Broke(turn)),
            Planned::Hang => {}
        }
    }

    fn answered(&mut self, turn: Turn, mut reply: ApiReply) {
        let Some(request) = self.turn(turn) else { return };
        if let Some(location) = reply.location.take() {
            if location.starts_with('/') {
                request.path = location;
                return self.send(turn);
            }
            // The other origin answers everything, and is sent no credential.
            request.at_home = false;
            reply.status = 200;
            self.world.elsewhere(None, []);
        }
        let at_home = self.turn(turn).is_some_and(|request| request.at_home);
        let verdict = if at_home { self.classify(&reply) } else { Verdict::Other };
        let last = Last::Answer { status: reply.status, retry_after: reply.retry_after };
        self.judged(turn, last, verdict);
    }

    fn classify(&self, reply: &ApiReply) -> Verdict {
        let status = StatusCode::from_u16(reply.status).unwrap_or_default();
        let mut headers = HeaderMap::new();
        let challenge = reply.challenge.and_then(|text| text.parse().ok());
        headers.extend(challenge.map(|challenge| (WWW_AUTHENTICATE, challenge)));
        headers.extend(reply.retry_after.map(|seconds| (RETRY_AFTER, seconds.into())));
        match self.judge.classify(status, &headers, None) {
            Verdict::NeedBody => {
                let limit = self.judge.attention().body_limit.min(reply.body.len());
                self.judge.classify(status, &headers, Some(&reply.body[..limit]))
            }
            verdict => verdict,
        }
    }

    fn judged(&mut self, turn: Turn, last: Last, verdict: Verdict) {
        let is_asked = self.snapshot.is_probing();
        let Some(caller) = self.turn(turn).map(|request| request.caller) else { return };
        let method = self.callers[caller].method.parse();
        let is_idempotent = method.is_ok_and(|method: Method| method.is_idempotent());
        let Some(request) = self.turn(turn) else { return };
        let repeatable = match last {
            Last::Answer { status, .. } if request.at_home => {
                is_idempotent || (400..500).contains(&status)
            }
            _ => false,
        };
        request.last = Some(last);
        let evidence = request
            .course
            .assigned()
            .map(|credential| Evidence { credential: credential.id().into(), sent: request.sent });
        let (sent, is_probing) = (request.sent, request.course.is_probing());
        let is_listening = request.course.sends() > 1 || is_asked;
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
        let answer = Answer { verdict, sent, repeatable };
        let next = request.course.judged(now, &self.snapshot, answer, &self.policy);
        after.into_iter().for_each(|input| self.step(input));
        trial.into_iter().for_each(|trial| self.step(Input::Doubted(trial)));
        self.take(turn.request, next);
    }

    fn returns(&mut self, turn: Turn) {
        let Some(request) = self.requests.get_mut(&turn.request) else { return };
        let caller = self.callers[request.caller];
        let idempotent = caller.method.parse().is_ok_and(|method: Method| method.is_idempotent());
        if let Some(Last::Answer { status: 429 | 502 | 503 | 504, retry_after }) = request.last
            && idempotent
            && caller.body != Body::OneShot
            && request.retried < self.setup.client.retries
        {
            let delay = (100u64 << request.retried.min(6)) as f64 * self.rng.f64();
            request.retried += 1;
            let wait = retry_after.map_or(delay as u64, |seconds| seconds * 1_000);
            return self.later(wait, Happening::Repeats(turn));
        }
        self.end(turn.request);
    }

    fn end(&mut self, id: u64) {
        let Some(request) = self.requests.remove(&id) else { return };
        match request.last {
            Some(Last::Answer { status, .. }) => self.tally.answered(status),
            Some(Last::Broken) | None => {
                self.tally.failed(&Error::new(ErrorKind::Transport, "the connection broke"));
            }
        }
        self.next_request(&request);
    }
}

/// What a fetch's answer means, as the source for endpoints reads it.
fn read(reply: &FetchReply) -> Outcome {
    let fail = |kind| Err(Error::new(kind, format!("the endpoint answered {}", reply.status)));
    let revoked = || String::from_utf8_lossy(&reply.body).contains(":set-revoked\"");
    let outcome = match reply.status {
        200 if reply.body.len() > MAX_DOCUMENT => fail(ErrorKind::Malformed),
        200 => source::parse(&reply.body).map(|set| {
            Some(match &reply.etag {
                Some(etag) => set.with_validator(etag),
                None => set,
            })
        }),
        304 => Ok(None),
        401 => fail(ErrorKind::BootstrapRejected),
        403 => fail(ErrorKind::Forbidden),
        404 => fail(ErrorKind::UnknownSet),
        410 if revoked() => fail(ErrorKind::SetRevoked),
        429 => fail(ErrorKind::Throttled),
        408 | 409 | 410 | 425 | 500..600 => fail(ErrorKind::Unavailable),
        _ => fail(ErrorKind::Malformed),
    };
    outcome.map_err(|error| match reply.retry_after {
        Some(seconds) => error.with_retry_after(Duration::from_secs(seconds)),
        None => error,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
