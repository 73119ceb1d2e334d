//! The threads: a driver, its fetches, callers and the provider. Each does what the crate does at the same
//! place, in the same order of loads and stores; a [`Fault`] turns one of these around.

use std::sync::{Arc, Mutex as Plain, PoisonError};

use keyswap::{
    Credential, CredentialSet, Policy,
    engine::{
        attempt::{AttemptMachine, Next, Outcome},
        rotation::{Action, Evidence, Input, Rotation, default_backoff},
        snapshot::Snapshot,
        verdict::Verdict,
    },
};
use shuttle::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use crate::{
    Fault, Story,
    clock::{Clock, Due, Mailbox, Woken, moment},
    world::{Trip, World},
};

/// When the stories begin: late enough for the floor after the first fetch to be over.
const START: u64 = 20_000;

/// Callers, and the requests of each, one after another.
const CALLERS: usize = 3;
const CALLS: usize = 2;

/// What is shared, as in the crate: the store, the way to the driver, and the clock.
pub(crate) struct Shared {
    story: Story,
    policy: Policy,
    /// Behind `epoch`: touching that is the step in which it is read or replaced.
    snapshot: Plain<Arc<Snapshot>>,
    epoch: AtomicU64,
    sends: AtomicU64,
    inbox: Mailbox<Message>,
    clock: Clock,
    world: World,
}

enum Message {
    Rejected(Evidence, Trip),
    Accepted(Evidence, Trip),
    Hint(u64),
    Wait(Arc<Mailbox<Woken>>),
    Rest { seen: u64, asks: bool, waker: Arc<Mailbox<Woken>> },
    Refresh(Arc<Mailbox<Woken>>),
    Fetched(u64, Option<CredentialSet>),
    Woke,
    Close,
}

/// One schedule of a story, from the first thread to the last check.
pub(crate) fn run(story: Story) {
    let mut policy = Policy::default();
    if story.fault == Some(Fault::SlotIsAlwaysOpen) {
        policy.probe_timeout = std::time::Duration::ZERO;
    }
    let numbers = Arc::new(policy.clone());
    let rotation = Rotation::new(moment(0), 7, numbers, default_backoff(&policy));
    let shared = Arc::new(Shared {
        policy,
        snapshot: Plain::new(rotation.snapshot().clone()),
        epoch: AtomicU64::new(0),
        sends: AtomicU64::new(0),
        inbox: Mailbox::new(),
        clock: Clock::new(START),
        world: World::new(),
        story,
    });
    let mut driver = Driver {
        shared: shared.clone(),
        rotation,
        waiters: Vec::new(),
        resting: Vec::new(),
        stepped: 0,
        published: 0,
        has_settled: false,
    };
    if shared.story.is_warm {
        driver.warm_up();
    }
    if shared.story.is_smallest {
        // Nobody moves the time: a caller that is not settled is a deadlock, which shuttle reports.
        let driver = spawn(&shared, move |_| driver.run());
        shared.clock.work();
        become_ready(&shared);
        driver.join().expect("the driver");
        return;
    }
    let keeper = spawn(&shared, keep_time);
    let driver = spawn(&shared, move |_| driver.run());
    let mut actors = vec![spawn(&shared, provide), spawn(&shared, quit)];
    for _ in 0..CALLERS {
        actors.push(spawn(&shared, |shared| (0..CALLS).for_each(|_| call(shared))));
    }
    for actor in actors {
        actor.join().expect("an actor");
    }
    let ending = spawn(&shared, |shared| {
        // The first one may join a fetch that began before the provider was done.
        for _ in 0..2 {
            let settled = Arc::new(Mailbox::new());
            shared.inbox.send(&shared.clock, Message::Refresh(settled.clone()));
            wait(shared, &settled, u64::MAX);
        }
        call(shared);
        shared.inbox.send(&shared.clock, Message::Close);
    });
    ending.join().expect("the last call");
    driver.join().expect("the driver");
    shared.clock.turn.send(&shared.clock, false);
    keeper.join().expect("the time");
}

fn spawn(
    shared: &Arc<Shared>,
    run: impl FnOnce(&Arc<Shared>) + Send + 'static,
) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    shared.clock.work();
    thread::spawn(move || {
        run(&shared);
        shared.clock.rest();
    })
}

fn keep_time(shared: &Arc<Shared>) {
    while shared.clock.turn.take(&shared.clock) {
        match shared.clock.advance() {
            Some(Due::Caller(caller)) => caller.send(&shared.clock, Woken::InTime),
            Some(Due::Driver) => shared.inbox.send(&shared.clock, Message::Woke),
            None => {}
        }
    }
}

/// The provider keeps to its script; when is for the schedule to say.
fn provide(shared: &Arc<Shared>) {
    for act in shared.story.script {
        shared.pass();
        let newest = shared.world.act(*act);
        if shared.story.is_with_hints {
            shared.inbox.send(&shared.clock, Message::Hint(newest));
        }
    }
}

/// A caller whose request is dropped after its first send, or while it waits.
fn quit(shared: &Arc<Shared>) {
    let mut machine = AttemptMachine::new(true, shared.clock.boot(), None, &shared.policy);
    match machine.proceed(shared.clock.boot(), &shared.load(), None, &shared.policy) {
        Next::Send(credential) => {
            let is_probing = machine.is_probing();
            if is_probing {
                shared.world.begins_probe(&credential);
            }
            shared.next_send();
            shared.pass();
            if is_probing {
                shared.world.ends_probe(&credential);
            }
            drop(machine);
        }
        _ => {
            let waker = Arc::new(Mailbox::new());
            let seen = shared.load().epoch();
            shared
                .inbox
                .send(&shared.clock, Message::Rest { seen, asks: true, waker: waker.clone() });
            waker.close(&shared.clock);
        }
    }
}

/// One request, as `client/attempt.rs` drives it.
fn call(shared: &Arc<Shared>) {
    let Shared { clock, policy, world, .. } = &**shared;
    let mut machine = AttemptMachine::new(true, clock.boot(), None, policy);
    let mut look = Look::at(shared);
    let mut next = machine.proceed(clock.boot(), &look.snapshot, None, policy);
    loop {
        next = match next {
            Next::Send(credential) => {
                let (accepted, evidence, trip) = exchange(shared, &machine, &credential, look);
                let sent = evidence.sent;
                if !accepted {
                    shared.inbox.send(clock, Message::Rejected(evidence, trip));
                } else if machine.sends() > 1 || shared.load().wants_evidence() {
                    shared.inbox.send(clock, Message::Accepted(evidence, trip));
                }
                look = Look::at(shared);
                if machine.is_probing() {
                    world.ends_probe(&credential);
                }
                let verdict = if accepted { Verdict::Accepted } else { Verdict::Rejected };
                let outcome = Outcome { verdict, sent, repeatable: true };
                let next = machine.judged(clock.boot(), &look.snapshot, outcome, policy);
                if accepted {
                    return;
                }
                next
            }
            Next::Wait(until) => {
                if rest(shared, look.snapshot.epoch(), true, until) == Woken::Settled {
                    machine.settled();
                }
                look = Look::at(shared);
                machine.proceed(clock.boot(), &look.snapshot, None, policy)
            }
            Next::Rest(until) => {
                if rest(shared, look.snapshot.epoch(), false, until) == Woken::Settled {
                    machine.settled();
                }
                look = Look::at(shared);
                machine.proceed(clock.boot(), &look.snapshot, None, policy)
            }
            Next::Return => {
                panic!("a request ended in a rejection after {} sends", machine.sends())
            }
            Next::Fail(error) => panic!("a request failed: {error}"),
        };
    }
}

/// What a request sees when it decides.
struct Look {
    snapshot: Arc<Snapshot>,
    at: u64,
    /// The number of the next send, if it is taken too early.
    number: Option<u64>,
}

impl Look {
    fn at(shared: &Shared) -> Self {
        let is_early = shared.story.fault == Some(Fault::NumberBeforeSnapshot);
        let number = is_early.then(|| shared.next_send());
        Self { snapshot: shared.load(), at: shared.world.order(), number }
    }
}

/// Sends a request and hears what the API says, with the evidence that this is.
fn exchange(
    shared: &Shared,
    machine: &AttemptMachine,
    credential: &Credential,
    look: Look,
) -> (bool, Evidence, Trip) {
    if machine.is_probing() {
        shared.world.begins_probe(credential);
    }
    let is_late = shared.story.fault == Some(Fault::NumberAfterSend);
    let number = look.number.or_else(|| (!is_late).then(|| shared.next_send()));
    shared.pass();
    let left = shared.world.order();
    shared.pass();
    let accepted = shared.world.accepts(credential);
    let sent = number.unwrap_or_else(|| shared.next_send());
    let trip = Trip { looked: look.at, left };
    (accepted, Evidence { credential: credential.id().into(), sent }, trip)
}

/// Waits until something is usable, as `KeySwap::ready` does after a first look.
fn become_ready(shared: &Arc<Shared>) {
    let settled = Arc::new(Mailbox::new());
    shared.inbox.send(&shared.clock, Message::Wait(settled.clone()));
    wait(shared, &settled, u64::MAX);
    assert!(shared.load().in_use().is_some(), "a request failed: settled, and nothing is usable");
}

/// As `KeySwap::rest` does, with the limit of the attempt.
fn rest(shared: &Shared, seen: u64, asks: bool, until: u64) -> Woken {
    let waker = Arc::new(Mailbox::new());
    shared.inbox.send(&shared.clock, Message::Rest { seen, asks, waker: waker.clone() });
    let woken = shared.clock.wait(&waker, until);
    assert!(
        !asks || woken != Woken::InTime,
        "a caller waited for its whole limit: nobody settled it"
    );
    woken
}

fn wait(shared: &Shared, settled: &Arc<Mailbox<Woken>>, until: u64) {
    let woken = shared.clock.wait(settled, until);
    assert_eq!(woken, Woken::Settled, "a caller waited for its whole limit: nobody settled it");
}

impl Shared {
    fn load(&self) -> Arc<Snapshot> {
        self.pass();
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, snapshot: Arc<Snapshot>) {
        self.epoch.store(snapshot.epoch(), Ordering::SeqCst);
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// A point at which any other thread may run.
    fn pass(&self) {
        self.epoch.load(Ordering::SeqCst);
    }

    fn next_send(&self) -> u64 {
        self.sends.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What `driver.rs` does, with a thread for each fetch.
struct Driver {
    shared: Arc<Shared>,
    rotation: Rotation,
    waiters: Vec<Arc<Mailbox<Woken>>>,
    resting: Vec<Arc<Mailbox<Woken>>>,
    /// When its last step began, and when it last published.
    stepped: u64,
    published: u64,
    has_settled: bool,
}

impl Driver {
    /// Fetches the first set before anybody is there.
    fn warm_up(&mut self) {
        self.rotation.step(moment(0), 0, Input::Woke);
        let set = self.shared.world.fetch(None, None).expect("the first set");
        self.rotation.step(moment(0), 0, Input::Fetched(1, set));
        // A key that was never accepted would not get the whole wait.
        let sent = self.shared.next_send();
        let proof = Evidence { credential: "k1".into(), sent };
        self.rotation.step(moment(0), sent, Input::Accepted(proof));
        self.shared.publish(self.rotation.snapshot().clone());
        self.rotation.step(moment(START), 0, Input::Woke);
    }

    fn run(mut self) {
        let shared = self.shared.clone();
        self.step(Input::Woke);
        while !(shared.story.is_smallest && self.has_settled) {
            shared.clock.wake_driver_at(self.rotation.wake_at());
            match shared.inbox.take(&shared.clock) {
                Message::Rejected(evidence, trip) => {
                    let id = evidence.credential.clone();
                    self.weigh((&id, true), trip, Input::Rejected(evidence));
                }
                Message::Accepted(evidence, trip) => {
                    let id = evidence.credential.clone();
                    self.weigh((&id, false), trip, Input::Accepted(evidence));
                }
                Message::Hint(generation) => {
                    self.step(Input::Hinted { generation: Some(generation), immediate: false });
                }
                Message::Wait(waiter) => self.wait(waiter),
                Message::Rest { seen, asks, waker } => self.rest(seen, asks, waker),
                Message::Refresh(waiter) => {
                    self.step(Input::RefreshRequested);
                    self.wait(waiter);
                }
                Message::Fetched(ticket, set) => {
                    shared.world.fetch_ends(ticket);
                    self.step(match set {
                        Some(set) => Input::Fetched(ticket, set),
                        None => Input::NotModified(ticket),
                    });
                }
                Message::Woke => self.step(Input::Woke),
                Message::Close => break,
            }
        }
        shared.inbox.close(&shared.clock);
        let published = shared.load();
        assert_eq!(
            published.epoch(),
            self.rotation.snapshot().epoch(),
            "not what was published last"
        );
        shared.world.check_end(&published, self.rotation.counts());
    }

    fn wait(&mut self, waiter: Arc<Mailbox<Woken>>) {
        let is_late = self.shared.story.fault == Some(Fault::WaiterAfterSettle);
        if is_late {
            self.step(Input::Waited);
        }
        self.waiters.push(waiter);
        if !is_late {
            self.step(Input::Waited);
        }
    }

    fn rest(&mut self, seen: u64, asks: bool, waker: Arc<Mailbox<Woken>>) {
        if self.rotation.snapshot().epoch() > seen {
            return waker.send(&self.shared.clock, Woken::News);
        }
        self.resting.push(waker);
        if asks {
            self.step(Input::Waited);
        }
    }

    fn wake(&mut self, why: Woken) {
        for waker in self.resting.drain(..) {
            waker.send(&self.shared.clock, why);
        }
    }

    /// Takes evidence, and lets the observer see what came of it.
    fn weigh(&mut self, what: (&str, bool), trip: Trip, input: Input) {
        let (counts, seen) = (self.rotation.counts(), self.rotation.snapshot().clone());
        let actions = self.decide(input);
        let after = (self.rotation.counts(), &**self.rotation.snapshot());
        self.shared.world.check_evidence(what, trip, (counts, &seen), after);
        self.perform(actions);
    }

    fn step(&mut self, input: Input) {
        let actions = self.decide(input);
        self.perform(actions);
    }

    fn decide(&mut self, input: Input) -> Vec<Action> {
        let sends = self.shared.sends.load(Ordering::Relaxed);
        self.stepped = self.shared.world.order();
        self.rotation.step(self.shared.clock.now(), sends, input)
    }

    fn perform(&mut self, mut actions: Vec<Action>) {
        if self.shared.story.fault == Some(Fault::SettleBeforePublish) {
            actions.sort_by_key(|action| !matches!(action, Action::Settle(_)));
        }
        for action in actions {
            match action {
                Action::Publish(snapshot) => {
                    self.shared.publish(snapshot);
                    self.published = self.shared.world.order();
                    self.wake(Woken::News);
                }
                Action::StartFetch(ticket) => self.fetch(ticket),
                Action::AbandonFetch(_) => unreachable!("time stands still while a fetch runs"),
                Action::Settle(_) => {
                    self.has_settled |= !self.waiters.is_empty();
                    for waiter in self.waiters.drain(..) {
                        waiter.send(&self.shared.clock, Woken::Settled);
                    }
                    self.wake(Woken::Settled);
                }
                Action::Tell(event) => {
                    self.shared.world.told(&event, self.stepped, self.published);
                }
                // The provider of this model wants none.
                Action::Report(_) => {}
            }
        }
    }

    fn fetch(&mut self, ticket: u64) {
        let is_blind = self.shared.story.fault == Some(Fault::FetchWithoutCondition);
        let held = self.rotation.confirmable().filter(|_| !is_blind);
        let held = held.map(|held| held.generation());
        let known = self.rotation.known_to_fetch().filter(|_| !is_blind);
        let known = known.map(|known| known.generation());
        self.shared.world.fetch_begins(ticket);
        spawn(&self.shared, move |shared| {
            shared.pass();
            let set = shared.world.fetch(held, known);
            shared.pass();
            shared.inbox.send(&shared.clock, Message::Fetched(ticket, set));
        });
    }
}
