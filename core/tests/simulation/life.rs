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
    Credential, Event, Moment, Policy, Verdict,
    engine::{
        attempt::AttemptMachine,
        rotation::{Action, Input, Rotation, default_backoff},
    },
};

use self::requests::{Request, Stage};
use crate::{
    oracle::{Checked, Oracle, must},
    reports::Reports,
    world::{EPOCH, Reply, World},
};

mod requests;

const BOOT: u64 = 700_000;

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

pub(crate) struct Life {
    rng: Rng,
    world: World,
    policy: Arc<Policy>,
    rotation: Rotation,
    oracle: Oracle,
    reports: Reports,
    /// Since when every request ends in vain though all is well, sleep not counted, and how many did.
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
            machine: None,
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
    pub(crate) fn run(&mut self, steps: u64) -> Checked {
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

    fn happen(&mut self, due: Due) -> Checked {
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
    fn jump(&mut self) -> Checked {
        let wait = self.rng.u64(10_000..400_000);
        self.plan(wait, Due::Clock);
        if !self.jumps {
            return Ok(());
        }
        match self.rng.u8(..4) {
            0 => {
                let sleep = self.rng.u64(1_000..7_200_000);
                self.now += sleep;
                self.in_vain.iter_mut().for_each(|(since, _)| *since += sleep);
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

    fn send(&mut self, input: Input) -> Checked {
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

    fn drive(&mut self) -> Checked {
        self.is_busy = false;
        while let Some(input) = self.inbox.pop_front() {
            self.step(input)?;
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> Checked {
        // What time alone brings about is no effect of an input that must have none.
        if self.oracle.is_void(&input) {
            self.step_now(Input::Woke, None)?;
        }
        self.step_now(input, None)
    }

    fn step_now(&mut self, input: Input, source_now: Option<i64>) -> Checked {
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
                request.machine.iter_mut().filter(|_| is_settled).for_each(AttemptMachine::settled);
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

    fn arrive(&mut self, ticket: u64) -> Checked {
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

    fn hint(&mut self) -> Checked {
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

    fn say(&self, what: impl Fn() -> String) {
        if self.trace {
            eprintln!("{:>9} {}", self.now(), what());
        }
    }
}

fn moment(now: u64, skew: i64, slept: u64) -> Moment {
    let wall = i64::try_from(now).unwrap_or(i64::MAX).saturating_add(skew);
    Moment::new(wall, now - EPOCH + BOOT - slept)
}
