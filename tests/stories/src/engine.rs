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
use jiff::Timestamp;
use keyswap::{
    Classifier, Credential, CredentialSet, Error, ErrorKind, Failure, Moment, Policy, ResponseView,
    Scheme, Unsigned, Verdict,
    engine::{
        attempt::{Course, Next, Outcome as Judged, waits_until},
        retry::{RetryRule, Tried},
        rotation::{Action, Evidence, Input, Rotation, Unfit, default_backoff},
        snapshot::Snapshot,
        throttle::Throttle,
    },
    redirect::{Asked, MAX_HOPS},
    source::{
        self, Fetched, Terms,
        rules::{Ask, Standing, Tour},
    },
};
use keyswap_endpoint::{
    story::{Body, Caller, Story, Timeline},
    world::{ApiReply, ApiRequest, FetchReply, FetchRequest, Planned, Setting, World},
};
use serde_json::Value;
use url::Url;

use self::push::Push;
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
    regions: Standing,
    /// The fetch and the region that is being asked.
    asking: Option<(u64, usize)>,
    push: Push,
    /// The endpoint's key, if it is pinned.
    pinned: Option<String>,
    retry: RetryRule,
    throttle: Throttle,
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
    /// The connection to the API breaks, or cannot be made.
    Broke(Turn, Failure),
    /// A wait or a pause is over.
    Resumes(Turn),
    /// The API has been left alone for as long as it wanted.
    LetGo(Turn),
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
    fetch: Fetch,
    region: usize,
    outcome: Outcome,
}

/// One fetch on its way through the regions.
struct Fetch {
    ticket: u64,
    tour: Tour,
    held: Option<Arc<CredentialSet>>,
}

type Outcome = Result<Fetched, Error>;

/// A request, and how often it was its turn: what was meant for an earlier turn comes too late.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Turn {
    request: u64,
    number: u64,
}

struct Request {
    caller: usize,
    nth: u64,
    /// When its caller's time is over.
    deadline: u64,
    /// The hop under way, which has a course of its own.
    course: Course,
    hop: Hop,
    hops: u32,
    number: u64,
    /// The number of the send under way.
    sent: u64,
    /// The first send, if it tried the candidate and was no success.
    trial: Option<Evidence>,
    /// How often this hop was retried.
    retried: u32,
    last: Option<Last>,
}

struct Hop {
    method: Method,
    url: Url,
    /// Whether it can be sent again.
    replayable: bool,
    /// Whether it, and all before it, went where credentials may go.
    at_home: bool,
}

/// What the last send brought.
enum Last {
    Answer { status: StatusCode, location: Option<String>, retry_after: Option<u64> },
    Failed(Failure),
}

impl<'a> Play<'a> {
    fn new(story: &'a Story, seed: u64) -> Result<Self, PlayError> {
        let setup = Setup::of(story)?;
        let policy = Arc::new(setup.policy.clone());
        let world = World::new(story.world.clone(), Setting { seed, ..Setting::default() });
        let start = Moment::new(world.setting().wall_ms, BOOT);
        let rotation = Rotation::new(start, seed, policy.clone(), default_backoff(&policy));
        let callers = story.callers.iter();
        let callers: Vec<_> =
            callers.flat_map(|caller| (0..caller.count).map(move |_| caller)).collect();
        Ok(Self {
            story,
            judge: setup.client.classifier(),
            regions: {
                let mut regions = Standing::new(world.config().regions);
                regions.begin(&policy);
                regions
            },
            asking: None,
            push: {
                let terms = Terms::of(&policy);
                Push::new(setup.client.push, setup.client.heartbeat_ms, terms, seed)
            },
            scheme: setup.client.scheme(),
            pinned: setup.client.signed_by_endpoint.then(|| world.public_key()),
            retry: RetryRule::new(setup.client.retries, &policy),
            throttle: Throttle::default(),
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
        Moment::new(start.saturating_add_unsigned(self.now), BOOT + self.now)
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
            Happening::Broke(turn, failure) => {
                self.judged(turn, Last::Failed(failure), Verdict::Other);
            }
            Happening::Resumes(turn) => self.resumes(turn),
            Happening::LetGo(turn) => self.hop_begins(turn.request),
            Happening::Repeats(turn) if !self.is_at_home(turn.request) => self.refused(turn),
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
                    if let Some((_, region)) = self.asking.take_if(|(asking, _)| *asking == ticket)
                    {
                        self.regions.given_up(self.now, region, "a region");
                    }
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
        let now = self.story_time();
        let snapshot = self.snapshot.clone();
        for input in self.push.listen(&mut self.world, now, snapshot.set()) {
            self.step(input);
        }
    }

    fn fetch(&mut self, ticket: u64) {
        self.live = Some((ticket, self.now));
        let held = self.rotation.known_to_fetch();
        held.iter().for_each(|held| self.regions.holds(held));
        let is_conditional = held.as_ref().is_some_and(|held| held.validator().is_some());
        let tour = self.regions.tour(self.now, is_conditional);
        self.ask(Fetch { ticket, tour, held });
    }

    fn ask(&mut self, mut fetch: Fetch) {
        let Some(ask) = self.regions.next(self.now, &mut fetch.tour) else {
            return self.fetch_ends(fetch.ticket, fetch.tour.end());
        };
        let Ask { region, patience, validator } = ask;
        let now = self.story_time();
        let bearer = self.world.config().bootstrap.clone();
        // One that is alone is asked as it is; what each of several calls a set is its own.
        let is_alone = self.world.config().regions == 1;
        let own = fetch.held.as_ref().and_then(|held| held.validator());
        let validator = if is_alone { own } else { validator.as_deref() };
        let request = FetchRequest {
            bearer: Some(bearer.reveal()),
            if_none_match: validator,
            no_cache: fetch.held.as_ref().is_some_and(|held| held.validator().is_none()),
            region,
            ..FetchRequest::default()
        };
        let broken = || Error::new(ErrorKind::Unavailable, "the connection broke");
        let (wait, outcome) = match self.world.fetch(now, &request) {
            Planned::Answer { after_ms, reply } => (after_ms, self.read(&reply)),
            Planned::Torn { after_ms, .. } => (after_ms, Err(broken())),
            Planned::Dropped => (0, Err(broken())),
            // One that is alone is left to the deadline of the whole fetch.
            Planned::Hang if is_alone => return,
            Planned::Hang => {
                let late = Error::new(ErrorKind::Timeout, "no answer from this region");
                (millis(patience), Err(late))
            }
        };
        if !is_alone {
            self.asking = Some((fetch.ticket, region));
        }
        self.later(
            wait,
            Happening::RegionAnswers(Box::new(RegionAnswer { fetch, region, outcome })),
        );
    }

    fn region_answers(&mut self, answer: RegionAnswer) {
        let RegionAnswer { mut fetch, region, outcome } = answer;
        let is_asked = self.asking.take_if(|(asking, _)| *asking == fetch.ticket).is_some();
        if !is_asked {
            // It is alone; or the fetch was abandoned, and its answer is delivered all the same.
            return self.fetch_ends(fetch.ticket, outcome);
        }
        match self.regions.judge(self.now, &mut fetch.tour, region, "a region", outcome) {
            Some(outcome) => self.fetch_ends(fetch.ticket, outcome),
            None => self.ask(fetch),
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
            Ok(Fetched::Set(set)) => Input::Fetched(ticket, set),
            Ok(Fetched::NotModified) => Input::NotModified(ticket),
            Ok(other) => unreachable!("no story tells how a fetch brings {other:?}"),
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
        let deadline = now + what.timeout_ms;
        let request = Request {
            trial: None,
            caller,
            nth,
            deadline,
            course: Course::new(replayable, now, Some(deadline), &self.policy),
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
    fn home(&self, path: &str) -> Url {
        let home = Url::parse(&self.world.setting().api_origin).expect("the API's origin is a URL");
        home.join(path).unwrap_or(home)
    }

    /// A hop is about to begin, unless the API wants to be left alone.
    fn hold(&mut self, id: u64) {
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

    fn hop_begins(&mut self, id: u64) {
        let now = self.moment().boot;
        let Some(request) = self.requests.get_mut(&id) else { return };
        let (hop, deadline) = (&request.hop, Some(request.deadline));
        let scopes = self.callers[request.caller].scopes.iter().flatten();
        let scopes: Vec<_> = scopes.map(|scope| scope.as_str().into()).collect();
        let course = Course::new(hop.replayable, now, deadline, &self.policy);
        request.course = course.require(&scopes);
        (request.retried, request.trial) = (0, None);
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
        let (method, path) = (request.hop.method.as_str(), request.hop.url.path());
        match self.world.call(now, &ApiRequest { method, path, credential: key }) {
            Planned::Answer { after_ms, reply } | Planned::Torn { after_ms, reply } => {
                self.later(after_ms, Happening::Answered { turn, reply });
            }
            Planned::Dropped => self.later(0, Happening::Broke(turn, Failure::Other)),
            Planned::Hang => {}
        }
    }

    fn answered(&mut self, turn: Turn, reply: ApiReply) {
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
            request.course.hand_on(now);
        }
        let (location, retry_after) = (reply.location, reply.retry_after);
        self.judged(turn, Last::Answer { status, location, retry_after }, verdict);
    }

    fn classify(&self, hop: &Hop, reply: &ApiReply) -> (StatusCode, Verdict) {
        let status = StatusCode::from_u16(reply.status).unwrap_or_default();
        let mut headers = HeaderMap::new();
        let challenge = reply.challenge.and_then(|text| text.parse().ok());
        headers.extend(challenge.map(|challenge| (WWW_AUTHENTICATE, challenge)));
        headers.extend(reply.retry_after.map(|seconds| (RETRY_AFTER, seconds.into())));
        let head = ResponseView::new(&hop.method, &hop.url, status, &headers);
        let verdict = match self.judge.classify(&head) {
            Verdict::NeedBody => {
                let limit = self.judge.attention().body_limit.min(reply.body.len());
                self.judge.classify(&head.with_body(&reply.body[..limit]))
            }
            verdict => verdict,
        };
        (status, verdict)
    }

    fn judged(&mut self, turn: Turn, last: Last, verdict: Verdict) {
        let is_asked = self.snapshot.is_probing();
        let Some(request) = self.turn(turn) else { return };
        let repeatable = match last {
            Last::Answer { status, .. } if request.hop.at_home => {
                request.hop.method.is_idempotent() || status.is_client_error()
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
        let judged = Judged { verdict, sent, repeatable };
        let next = request.course.judged(now, &self.snapshot, judged, &self.policy);
        after.into_iter().for_each(|input| self.step(input));
        trial.into_iter().for_each(|trial| self.step(Input::Doubted(trial)));
        self.take(turn.request, next);
    }

    /// What this hop's last send brought is its answer, unless the API may be asked once more. Then a
    /// redirect may lead on.
    fn returns(&mut self, turn: Turn) {
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
    fn leads_to(&self, id: u64) -> Option<Hop> {
        let request = self.requests.get(&id)?;
        let Some(Last::Answer { status, location: Some(location), .. }) = &request.last else {
            return None;
        };
        let hop = &request.hop;
        let headers = HeaderMap::new();
        let unsigned = Unsigned::new(&hop.method, &hop.url, &headers, None, Timestamp::UNIX_EPOCH);
        let scheme = self.setup.client.scheme().unwrap_or_else(|| Scheme::header("x-api-key"));
        let patch = scheme.apply(request.course.assigned()?, &unsigned).ok()?;
        let (method, url, replayable) = (&hop.method, &hop.url, hop.replayable);
        let next = Asked::new(method, url, &patch, replayable).follow(*status, location)?;
        (request.hops < MAX_HOPS).then(|| Hop {
            at_home: hop.at_home && next.url.origin() == hop.url.origin(),
            replayable: hop.replayable || next.drops_body,
            method: next.method,
            url: next.url,
        })
    }

    fn follow(&mut self, turn: Turn, hop: Hop) {
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
    fn refused(&mut self, turn: Turn) {
        if let Some(request) = self.requests.get_mut(&turn.request) {
            request.number += 1;
            let turn = Turn { number: request.number, ..turn };
            self.later(0, Happening::Broke(turn, Failure::Connect));
        }
    }

    fn is_at_home(&self, id: u64) -> bool {
        self.requests.get(&id).is_none_or(|request| request.hop.at_home)
    }

    fn end(&mut self, id: u64) {
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

/// What a fetch's answer means, as the source for endpoints reads it.
fn read(reply: &FetchReply) -> Outcome {
    let fail = |kind| Err(Error::new(kind, format!("the endpoint answered {}", reply.status)));
    let revoked = || String::from_utf8_lossy(&reply.body).contains(":set-revoked\"");
    let outcome = match reply.status {
        200 if reply.body.len() > MAX_DOCUMENT => fail(ErrorKind::Malformed),
        200 => source::parse(&reply.body).map(|set| {
            Fetched::Set(match &reply.etag {
                Some(etag) => set.with_validator(etag),
                None => set,
            })
        }),
        304 => Ok(Fetched::NotModified),
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
