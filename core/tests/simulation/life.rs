//! One life of a client: a rotation, the requests of its callers, and a provider, in virtual time.
//!
//! This stands for the driver and the HTTP client, which have no rules of their own: messages reach the
//! rotation in order but not at once, snapshots are seen as soon as they are published, and time jumps
//! from one thing that happens to the next.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
};

use fastrand::Rng;
use keyswap::{
    Credential, Error, ErrorKind, Event, Moment, Policy, Snapshot, Verdict,
    engine::{
        attempt::{Course, MAX_SENDS, Next, Outcome},
        rotation::{Action, Evidence, Input, Rotation, Unfit, default_backoff},
    },
};

use crate::{
    oracle::{Held, Oracle, must},
    reports::Reports,
    world::{EPOCH, Reply, World},
};

const BOOT: u64 = 700_000;
const WAIT: u64 = 10_000;
const PROBE_TIMEOUT: u64 = 5_000;
/// What a retry that was planned before the trouble, and the two answers after it, may take.
const LOCKED_OUT: u64 = 600_000;
/// The shortest pause before a rejected credential is repeated.
const PAUSE: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A busy driver takes its messages.
    Driver,
    /// The wake-up that was planned last.
    Wake(u64),
    /// A fetch of this ticket reads the endpoint, and its answer arrives.
    Read(u64),
    Arrive(u64),
    /// Something happens to the provider, to the clocks, or is said by a push channel or the program.
    World,
    Renew,
    Clock,
    Hint,
    /// A request begins. The other events are of one request, and of its present step.
    Begin,
    Answer(usize, u32),
    Resume(usize, u32),
    Cancel(usize, u32),
    /// The provider has answered a report.
    Reported,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Free,
    Sent,
    Waiting,
    Resting,
}

struct Request {
    number: u32,
    step: u32,
    stage: Stage,
    course: Option<Course>,
    credential: Option<Arc<Credential>>,
    sent: u64,
    began: u64,
    deadline: u64,
    replayable: bool,
    /// A route that rejects every key.
    hopeless: bool,
    /// What was rejected, on which send, and when.
    rejected: Vec<(Arc<Credential>, u64, u64)>,
    /// The first send, if it tried the candidate and was no success.
    trial: Option<Evidence>,
    /// Until when it waits.
    until: u64,
    /// Whether it has begun again since the last send, or at any time.
    begun_again: bool,
    repeated: bool,
    /// The keys of the newest published set that were usable all along.
    steady: Vec<usize>,
    last: Verdict,
}

pub(crate) struct Life {
    rng: Rng,
    world: World,
    policy: Arc<Policy>,
    rotation: Rotation,
    oracle: Oracle,
    reports: Reports,
    /// Since when, on the boot clock, every request ends in vain though all is well, and how many did.
    in_vain: Option<(u64, u32)>,
    now: u64,
    skew: i64,
    slept: u64,
    sends: u64,
    inbox: VecDeque<Input>,
    is_busy: bool,
    events: BinaryHeap<Reverse<(u64, u64, Due)>>,
    order: u64,
    wake_plan: u64,
    replies: Vec<(u64, Reply, u64)>,
    held_by: Vec<(u64, Option<u64>)>,
    fetch_began: Option<u64>,
    requests: Vec<Request>,
    probe: Option<(u32, u64)>,
    pace: u64,
    jumps: bool,
    trace: bool,
    pub(crate) steps: u64,
    pub(crate) decisions: u64,
    /// What was told, and what became of requests, by name.
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

impl Life {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let world = World::new(EPOCH, &mut rng);
        let policy = Arc::new(Policy::default());
        let now = moment(EPOCH, 0, 0);
        let rotation = Rotation::new(now, rng.u64(..), policy.clone(), default_backoff(&policy));
        let callers = rng.usize(1..9);
        let request = || Request {
            number: 0,
            step: 0,
            stage: Stage::Free,
            course: None,
            credential: None,
            sent: 0,
            began: 0,
            deadline: 0,
            replayable: true,
            hopeless: false,
            rejected: Vec::new(),
            trial: None,
            until: 0,
            begun_again: false,
            repeated: false,
            steady: Vec::new(),
            last: Verdict::Other,
        };
        Self {
            oracle: Oracle::new(&rotation, now),
            reports: Reports::new(seed),
            world,
            policy,
            rotation,
            in_vain: None,
            now: EPOCH,
            skew: 0,
            slept: 0,
            sends: 0,
            inbox: VecDeque::new(),
            is_busy: false,
            events: BinaryHeap::new(),
            order: 0,
            wake_plan: 0,
            replies: Vec::new(),
            held_by: Vec::new(),
            fetch_began: None,
            requests: (0..callers).map(|_| request()).collect(),
            probe: None,
            pace: [20, 200, 2_000, 20_000][rng.usize(..4)],
            jumps: rng.u8(..3) == 0,
            rng,
            trace,
            steps: 0,
            decisions: 0,
            seen: BTreeMap::new(),
        }
    }

    /// Lives for so many steps, then closes.
    pub(crate) fn run(&mut self, steps: u64) -> Held {
        self.step(Input::Woke)?;
        self.plan(0, Due::Begin);
        self.plan(20_000, Due::World);
        self.plan(5_000, Due::Hint);
        self.plan(10_000, Due::Clock);
        self.plan_renewal();
        while self.steps + self.decisions < steps {
            let Some(Reverse((at, _, due))) = self.events.pop() else {
                return Err("nothing is left to happen".into());
            };
            self.now = self.now.max(at);
            self.happen(due)?;
            self.check_way_back()?;
        }
        self.step(Input::Closed)?;
        must!(
            self.rotation.step(self.moment(), self.sends, Input::RefreshRequested).is_empty(),
            "invariant 13: it acts after it was closed"
        );
        Ok(())
    }

    pub(crate) fn now(&self) -> u64 {
        self.now - EPOCH
    }

    fn happen(&mut self, due: Due) -> Held {
        match due {
            Due::Driver => self.drive()?,
            Due::Wake(plan) if plan == self.wake_plan => self.step(Input::Woke)?,
            Due::Wake(_) => {}
            Due::Read(ticket) => {
                let held = self.held_by.iter().find(|(of, _)| *of == ticket);
                let held = held.and_then(|(_, held)| *held);
                let reply = self.world.reply(self.now, held, &mut self.rng);
                self.replies.push((ticket, reply, self.now));
            }
            Due::Arrive(ticket) => self.arrive(ticket)?,
            Due::World => {
                let what = self.world.happen(self.now, &mut self.rng);
                self.say(|| format!("the provider: {what}"));
                let wait = self.rng.u64(1_000..self.pace * 100 + 60_000);
                self.plan(wait, Due::World);
                self.plan_renewal();
            }
            Due::Renew => {
                if self.world.must_rotate_at().is_some_and(|at| at <= self.now) {
                    self.world.renew(self.now, &mut self.rng);
                    self.say(|| "the provider: renew".into());
                    self.plan_renewal();
                }
            }
            Due::Clock => self.jump()?,
            Due::Hint => self.hint()?,
            Due::Begin => self.begin()?,
            Due::Answer(at, step) if self.requests[at].step == step => self.answer(at)?,
            Due::Resume(at, step) if self.requests[at].step == step => self.proceed(at)?,
            Due::Cancel(at, number) if self.requests[at].number == number => self.free(at),
            Due::Reported => {
                let input = self.reports.answer();
                self.send(input)?;
            }
            Due::Answer(..) | Due::Resume(..) | Due::Cancel(..) => {}
        }
        Ok(())
    }

    // ---- time ----

    fn plan(&mut self, wait: u64, due: Due) {
        self.order += 1;
        self.events.push(Reverse((self.now + wait, self.order, due)));
    }

    fn plan_wake(&mut self) {
        if let Some(at) = self.rotation.wake_at() {
            let wait = at.remaining(self.moment()).as_millis();
            self.wake_plan += 1;
            self.plan(u64::try_from(wait).unwrap_or(0).max(1), Due::Wake(self.wake_plan));
        }
    }

    fn plan_renewal(&mut self) {
        if let Some(at) = self.world.must_rotate_at() {
            let late = if self.rng.u8(..5) == 0 { 400_000 } else { 0 };
            self.plan(at.saturating_sub(self.now) + 1 + late, Due::Renew);
        }
    }

    fn moment(&self) -> Moment {
        moment(self.now, self.skew, self.slept)
    }

    /// The machine sleeps, or somebody sets its clock.
    fn jump(&mut self) -> Held {
        let wait = self.rng.u64(10_000..400_000);
        self.plan(wait, Due::Clock);
        if !self.jumps {
            return Ok(());
        }
        match self.rng.u8(..4) {
            0 => {
                let sleep = self.rng.u64(1_000..7_200_000);
                self.now += sleep;
                self.slept += if self.rng.bool() { sleep } else { 0 };
                self.say(|| format!("the machine slept for {sleep} ms"));
            }
            1 => self.skew += self.rng.i64(-3_600_000..3_600_000),
            2 => self.skew = 0,
            _ => self.skew += self.rng.i64(-3_000..3_000),
        }
        self.say(|| "the clocks were looked at".into());
        self.step(Input::Woke)
    }

    // ---- the driver ----

    fn send(&mut self, input: Input) -> Held {
        self.inbox.push_back(input);
        if self.is_busy {
            return Ok(());
        }
        if self.rng.u8(..5) == 0 {
            self.is_busy = true;
            let wait = self.rng.u64(1..30);
            self.plan(wait, Due::Driver);
            return Ok(());
        }
        self.drive()
    }

    fn drive(&mut self) -> Held {
        self.is_busy = false;
        while let Some(input) = self.inbox.pop_front() {
            self.step(input)?;
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> Held {
        // What time alone brings about is no effect of an input that must have none.
        if self.oracle.is_void(&input) {
            self.step_now(Input::Woke, None)?;
        }
        self.step_now(input, None)
    }

    fn step_now(&mut self, input: Input, source_now: Option<i64>) -> Held {
        self.steps += 1;
        let now = self.moment();
        let actions = self.rotation.step(now, self.sends, input.clone());
        if self.trace {
            eprintln!("{:>9} {input:?}", self.now());
            for action in &actions {
                match action {
                    Action::Publish(new) => eprintln!(
                        "{:>9}    publish {}: in use {:?}, candidate {:?}, exhausted {}",
                        "",
                        new.epoch(),
                        new.in_use().map(Credential::id),
                        new.candidate().map(Credential::id),
                        new.is_exhausted()
                    ),
                    other => eprintln!("{:>9}    {other:?}", ""),
                }
            }
        }
        let clocks = (now, self.sends);
        self.oracle.check(&self.rotation, clocks, &input, source_now, &actions)?;
        self.reports.check(self.rotation.snapshot(), now.boot, &input, &actions)?;
        for action in actions {
            if let Action::Tell(event) = &action {
                *self.seen.entry(event.name()).or_default() += 1;
            }
            match action {
                Action::Publish(_) => {
                    self.keep_steady();
                    self.wake(false);
                }
                Action::StartFetch(ticket) => self.fetch(ticket),
                Action::AbandonFetch(_) => self.fetch_began = None,
                Action::Settle(_) => self.wake(true),
                // What is still on its way with an earlier probe says nothing any more.
                Action::Tell(Event::Candidate { .. } | Event::Rejected { candidate: true, .. }) => {
                    self.probe = None;
                }
                Action::Tell(_) => {}
                Action::Report(report) => {
                    *self.seen.entry("reported").or_default() += 1;
                    let time = self.reports.time_to(&report);
                    self.plan(time, Due::Reported);
                }
            }
        }
        self.plan_wake();
        Ok(())
    }

    /// Those who wait look again.
    fn wake(&mut self, is_settled: bool) {
        for at in 0..self.requests.len() {
            let request = &mut self.requests[at];
            if matches!(request.stage, Stage::Waiting | Stage::Resting) {
                request.course.iter_mut().filter(|_| is_settled).for_each(Course::settled);
                let step = request.step;
                self.plan(0, Due::Resume(at, step));
            }
        }
    }

    fn fetch(&mut self, ticket: u64) {
        let held = self.rotation.confirmable().map(|set| set.generation());
        self.held_by.retain(|(of, _)| *of + 8 > ticket);
        self.held_by.push((ticket, held));
        self.fetch_began = Some(self.moment().boot);
        let time = self.world.fetch_time(self.now, &mut self.rng);
        let read = self.rng.u64(..time);
        self.plan(read, Due::Read(ticket));
        self.plan(time, Due::Arrive(ticket));
    }

    fn arrive(&mut self, ticket: u64) -> Held {
        let Some(at) = self.replies.iter().position(|(of, ..)| *of == ticket) else {
            return Ok(());
        };
        let (_, reply, read_at) = self.replies.swap_remove(at);
        let source_now = self.world.shows_clock(read_at, &reply);
        let input = match reply {
            Reply::Set(set) => Input::Fetched(ticket, set),
            Reply::NotModified => Input::NotModified(ticket),
            Reply::Failed(error) => Input::Failed(ticket, error),
        };
        self.drive()?;
        if self.oracle.is_void(&input) {
            self.step_now(Input::Woke, None)?;
        } else {
            self.fetch_began = None;
        }
        self.step_now(input, source_now)
    }

    fn hint(&mut self) -> Held {
        let wait = self.rng.u64(1_000..self.pace * 50 + 30_000);
        self.plan(wait, Due::Hint);
        match self.rng.u8(..8) {
            0 => self.send(Input::RefreshRequested),
            1 => self.send(Input::Waited),
            2 => self.send(Input::Hinted { generation: None, immediate: true }),
            3..=5 => {
                let generation = self.world.newest_number();
                let immediate = self.rng.bool();
                self.send(Input::Hinted { generation, immediate })
            }
            _ => Ok(()),
        }
    }

    // ---- requests ----

    fn begin(&mut self) -> Held {
        let wait = self.rng.u64(1..self.pace);
        self.plan(wait, Due::Begin);
        let Some(at) = self.requests.iter().position(|request| request.stage == Stage::Free) else {
            return Ok(());
        };
        let now = self.moment().boot;
        let patience = self.rng.bool().then(|| self.rng.u64(50..20_000));
        let steady = self.steady();
        let replayable = self.rng.u8(..4) > 0;
        let request = &mut self.requests[at];
        request.number += 1;
        request.began = self.now;
        request.deadline = patience.map_or(u64::MAX, |patience| now + patience);
        request.replayable = replayable;
        request.hopeless = self.rng.u8(..20) == 0;
        request.rejected.clear();
        request.trial = None;
        request.begun_again = false;
        request.repeated = false;
        request.steady = steady;
        request.last = Verdict::Other;
        let deadline = patience.map(|patience| now + patience);
        request.course = Some(Course::new(replayable, now, deadline, &self.policy));
        if self.rng.u8(..12) == 0 {
            let number = self.requests[at].number;
            let wait = self.rng.u64(..3_000);
            self.plan(wait, Due::Cancel(at, number));
        }
        self.decide(at, true)
    }

    fn proceed(&mut self, at: usize) -> Held {
        let now = self.moment().boot;
        let request = &mut self.requests[at];
        if request.stage == Stage::Waiting && now >= request.until {
            request.course.iter_mut().for_each(Course::settled);
        }
        self.decide(at, false)
    }

    fn decide(&mut self, at: usize, is_fresh: bool) -> Held {
        self.decisions += 1;
        let now = self.moment().boot;
        let snapshot = self.rotation.snapshot().clone();
        let began = self.fetch_began;
        let request = &mut self.requests[at];
        let Some(course) = &mut request.course else { return Ok(()) };
        let next = course.proceed(now, &snapshot, began, &self.policy);
        self.take(at, next, &snapshot, is_fresh)
    }

    fn take(&mut self, at: usize, next: Next, snapshot: &Snapshot, is_fresh: bool) -> Held {
        self.requests[at].step += 1;
        let (step, number) = (self.requests[at].step, self.requests[at].number);
        if self.trace {
            let shown = match &next {
                Next::Send(credential) => format!("sends {}", credential.id()),
                Next::Fail(error) => format!("fails: {}", error.code()),
                other => format!("{other:?}"),
            };
            eprintln!("{:>9} request {at}.{number} {shown}", self.now());
        }
        match next {
            Next::Send(credential) if self.world.is_unfit(&credential) => {
                *self.seen.entry("unfit").or_default() += 1;
                let why = Error::new(ErrorKind::SchemeFailed, "it does not fit");
                let unfit = Unfit { credential, why: why.clone(), sent: None };
                self.send(Input::Unfit(unfit))?;
                self.decisions += 1;
                let (now, snapshot) = (self.moment().boot, self.rotation.snapshot().clone());
                let Some(course) = &mut self.requests[at].course else { return Ok(()) };
                let next = course.unfit(now, &snapshot, why, &self.policy);
                return self.take(at, next, &snapshot, is_fresh);
            }
            Next::Send(credential) => {
                self.check_send(at, &credential, snapshot, is_fresh)?;
                self.sends += 1;
                self.reports.sent(&credential, self.moment().boot);
                let request = &mut self.requests[at];
                request.stage = Stage::Sent;
                request.sent = self.sends;
                request.credential = Some(credential);
                request.begun_again = false;
                let time = match self.rng.u8(..40) {
                    0 => self.rng.u64(5_000..15_000),
                    1..=4 => self.rng.u64(100..3_000),
                    _ => self.rng.u64(1..100),
                };
                self.plan(time, Due::Answer(at, step));
            }
            Next::Wait(until) => {
                must!(
                    until <= self.moment().boot + WAIT && until <= self.requests[at].deadline,
                    "a request waits for too long"
                );
                self.requests[at].stage = Stage::Waiting;
                self.requests[at].until = until;
                let wait = until.saturating_sub(self.moment().boot);
                self.plan(wait, Due::Resume(at, step));
                self.send(Input::Waited)?;
            }
            Next::Rest(until) => {
                must!(
                    until > self.moment().boot && until <= self.moment().boot + WAIT,
                    "a request rests for too long, or not at all"
                );
                self.requests[at].stage = Stage::Resting;
                let wait = until.saturating_sub(self.moment().boot);
                self.plan(wait, Due::Resume(at, step));
            }
            Next::Return | Next::Fail(_) => {
                let failed = matches!(next, Next::Fail(_));
                let outcome =
                    if failed { "request failed" } else { verdict_name(self.requests[at].last) };
                *self.seen.entry(outcome).or_default() += 1;
                self.check_end(at, failed, snapshot)?;
                self.count_vain(at, failed);
                self.free(at);
            }
        }
        Ok(())
    }

    /// The API's answer arrives. It was made at some time since the request was sent; now will do.
    fn answer(&mut self, at: usize) -> Held {
        let request = &self.requests[at];
        let Some(credential) = request.credential.clone() else { return Ok(()) };
        let is_accepted = match self.world.key_of(&credential) {
            Some(key) => self.world.accepts(key, self.now, &mut self.rng) && !request.hopeless,
            None => false,
        };
        let verdict = match self.rng.u8(..30) {
            0 => Verdict::Other,
            1 => Verdict::Throttled,
            _ if is_accepted => Verdict::Accepted,
            _ => Verdict::Rejected,
        };
        let (sent, replayable) = (request.sent, request.replayable);
        if self.trace {
            eprintln!("{:>9} request {at} {verdict:?} {}", self.now(), credential.id());
        }
        self.probe.take_if(|(of, _)| *of == at as u32);
        let is_probing = request.course.as_ref().is_some_and(Course::is_probing);
        let is_resend = request.course.as_ref().is_some_and(|course| course.sends() > 1);
        let evidence = || Evidence { credential: credential.id().into(), sent };
        match verdict {
            Verdict::Rejected => self.send(Input::Rejected(evidence()))?,
            Verdict::Accepted if is_resend || self.rotation.snapshot().is_probing() => {
                self.send(Input::Accepted(evidence()))?;
                if let Some(trial) = self.requests[at].trial.take() {
                    self.send(Input::Doubted(trial))?;
                }
            }
            Verdict::Accepted => {}
            _ if is_probing => self.requests[at].trial = Some(evidence()),
            _ => {}
        }
        self.decisions += 1;
        let now = self.moment().boot;
        let snapshot = self.rotation.snapshot().clone();
        let request = &mut self.requests[at];
        request.last = verdict;
        if verdict == Verdict::Rejected {
            request.rejected.push((credential.clone(), sent, now));
        }
        let repeatable = self.rng.bool();
        let Some(course) = &mut request.course else { return Ok(()) };
        let outcome = Outcome { verdict, sent, repeatable };
        let next = course.judged(now, &snapshot, outcome, &self.policy);
        let transient = matches!(verdict, Verdict::Other | Verdict::Throttled);
        if is_probing && replayable && repeatable && transient {
            *self.seen.entry("trial without success").or_default() += 1;
            let request = &self.requests[at];
            // A new set may tell of other times of the same key.
            let is_same = |a: &Credential, b: &Credential| {
                a.id() == b.id() && a.reveal("key") == b.reveal("key")
            };
            let is_new = |it| !request.rejected.iter().any(|(old, ..)| is_same(old, it));
            let could = snapshot.in_use().is_some_and(|in_use| {
                !self.world.is_unfit(in_use) && is_new(in_use) && *in_use != *credential
            }) && now < request.deadline
                && request.course.as_ref().is_some_and(|it| it.sends() < MAX_SENDS);
            let asks_on = matches!(&next, Next::Send(_));
            must!(asks_on || !could, "a trial is not free for its caller");
        }
        let request = &mut self.requests[at];
        let Some(course) = &mut request.course else { return Ok(()) };
        if matches!(next, Next::Send(_)) {
            return self.take(at, next, &snapshot, false);
        }
        if transient && replayable && self.rng.bool() && course.repeat() {
            (request.begun_again, request.repeated) = (true, true);
            return self.decide(at, true);
        }
        self.take(at, next, &snapshot, false)
    }

    fn free(&mut self, at: usize) {
        self.probe.take_if(|(of, _)| *of == at as u32);
        let request = &mut self.requests[at];
        request.stage = Stage::Free;
        request.course = None;
        request.step += 1;
        request.number += 1;
    }

    // ---- checks of requests ----

    fn check_send(
        &mut self,
        at: usize,
        credential: &Arc<Credential>,
        snapshot: &Snapshot,
        is_fresh: bool,
    ) -> Held {
        let now = self.moment();
        let request = &self.requests[at];
        let sends = request.course.as_ref().map_or(0, Course::sends);
        self.oracle.check_send(credential, sends)?;
        let is_premature = |(rejected, sent, at): &(Arc<Credential>, u64, u64)| {
            rejected == credential
                && now.boot < at + PAUSE
                && !self.oracle.was_accepted_since(credential.id(), *sent)
        };
        must!(
            request.begun_again || !request.rejected.iter().any(is_premature),
            "invariant 8: {} is repeated without a pause, or news of it",
            credential.id()
        );
        must!(request.replayable || sends == 1, "a body that cannot be replayed is sent again");
        must!(now.boot < request.deadline || sends == 1, "a request is sent after its deadline");
        let is_candidate = snapshot.candidate() == Some(&**credential);
        if is_fresh && sends == 1 && is_candidate {
            must!(request.replayable, "a body that cannot be replayed probes");
            self.oracle.check_probe(now)?;
            must!(
                self.probe.is_none_or(|(_, until)| until <= now.boot),
                "two requests carry the candidate at once"
            );
            self.probe = Some((at as u32, now.boot + PROBE_TIMEOUT));
        }
        Ok(())
    }

    fn check_end(&self, at: usize, failed: bool, snapshot: &Snapshot) -> Held {
        let request = &self.requests[at];
        let in_vain = failed || request.last == Verdict::Rejected;
        let is_excused = !request.replayable
            || request.hopeless
            || snapshot.is_exhausted()
            // A send that an API's other trouble took is missing here.
            || (request.repeated && request.course.as_ref().is_some_and(|it| it.sends() == 4))
            || self.moment().boot >= request.deadline;
        if !in_vain || is_excused {
            return Ok(());
        }
        let good = request
            .steady
            .iter()
            .find(|key| self.world.accepted_throughout(**key, request.began, self.now));
        must!(
            good.is_none(),
            "invariant 9: request {at} ended in a rejection, and {} was good all along",
            good.map_or("", |key| &self.world.keys[*key].id)
        );
        Ok(())
    }

    /// Invariant 14: while all is well, no answer that was given before keeps requests from getting through.
    fn check_way_back(&mut self) -> Held {
        let now = self.moment().boot;
        if !self.world.is_well(self.now) {
            self.in_vain = None;
        }
        let Some((since, count)) = self.in_vain else { return Ok(()) };
        must!(
            now < since + LOCKED_OUT || count < 30,
            "invariant 14: {count} requests in a row, since {} ms, ended in vain",
            now - since
        );
        Ok(())
    }

    fn count_vain(&mut self, at: usize, failed: bool) {
        let (request, now) = (&self.requests[at], self.moment().boot);
        match request.last {
            Verdict::Accepted => self.in_vain = None,
            Verdict::Rejected if request.hopeless => {}
            Verdict::Rejected => self.in_vain.get_or_insert((now, 0)).1 += 1,
            _ if failed => self.in_vain.get_or_insert((now, 0)).1 += 1,
            _ => {}
        }
    }

    /// The keys that are surely usable now.
    fn steady(&self) -> Vec<usize> {
        self.oracle.surely_usable().filter_map(|key| self.world.key_of(key)).collect()
    }

    fn keep_steady(&mut self) {
        let steady = self.steady();
        for request in &mut self.requests {
            request.steady.retain(|key| steady.contains(key));
        }
    }

    fn say(&self, what: impl Fn() -> String) {
        if self.trace {
            eprintln!("{:>9} {}", self.now(), what());
        }
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "request accepted",
        Verdict::Rejected => "request rejected",
        _ => "request answered otherwise",
    }
}

fn moment(now: u64, skew: i64, slept: u64) -> Moment {
    let wall = i64::try_from(now).unwrap_or(i64::MAX).saturating_add(skew);
    Moment::new(wall, now - EPOCH + BOOT - slept)
}
