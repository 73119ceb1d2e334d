//! A story through the engine alone, in virtual time.
//!
//! # Theory of operation
//!
//! One queue of things that will happen, and one clock that jumps from each to the next. The rotation
//! is stepped as the driver steps it, each request's state machine as the client does, and the model of the
//! endpoint and the API answers both. Whether a request's evidence reaches the rotation before or after
//! that request looks at the snapshot again is a race in the real client; here the seed decides.
//!
//! Nothing takes time but what the story says takes time, so a story's counts are exact here. A fetch
//! that was abandoned delivers its answer all the same, and the engine has to ignore it.

mod fetches;
mod push;
mod requests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use keyswap::{
    Credential, CredentialSet, Error, ErrorKind, Failure, Moment, Policy, Scheme, Verdict,
    engine::{
        retry::RetryRule,
        rotation::{Input, Rotation, default_backoff},
        snapshot::Snapshot,
        throttle::Throttle,
    },
    source::{Terms, rules::Standing},
};
use keyswap_endpoint::{
    story::{Caller, Story, Timeline},
    world::{ApiReply, Setting, World},
};
use serde_json::Value;

use self::{
    fetches::RegionAnswer,
    push::Push,
    requests::{Last, Request, Turn},
};
use crate::{
    PlayError, Report,
    setup::{Judge, Setup, Start},
    tally::Tally,
};

/// What the boot clock shows when the client starts.
const BOOT: u64 = 1_000_000;
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
        Ok(Report { counted, mismatches, errors: self.errors, late: Duration::ZERO })
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
                let again = |request: &mut Request| request.machine.repeat();
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
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
