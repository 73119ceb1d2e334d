//! Performs what the engine decides: the only place that spawns.
//!
//! # Theory of operation
//!
//! One task a handle. It takes messages, finished fetches and the passing of time, hands each to the
//! [`Rotation`], and performs the actions that come back in their order. It decides nothing. A fetch
//! runs in a task of its own, so that a source that panics is a failed fetch, and one that hangs can be
//! dropped. A report of what is in use runs beside it, in the same way. The task ends when the last handle
//! is dropped, because then its inbox ends; if the provider was ever told what is in use, it is told that
//! nothing is any more, for which the task, and nobody else, waits a second at most.
//!
//! Whatever the other side can send without end is held in bounded space. Hints stand in a [`Slot`]: a
//! thousand of them are one. What the API says of credentials is evidence of which more says nothing new, so
//! beyond a [`BACKLOG`] it is dropped. Waiters are as many as the program has callers that still wait.
//!
//! A task ends with its runtime, and a handle must not: if the runtime ends first, the task goes on where it
//! was, on a runtime and a thread of its own. A runtime that the program [passed](crate::Follow::runtime) is
//! the program's to end: then nothing is usable any more, and every call says so.

#![allow(clippy::disallowed_methods, reason = "this is the module that may spawn")]

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, broadcast, mpsc, oneshot, watch},
    task::{AbortHandle, JoinError, JoinSet},
};
use tracing::{Instrument, Level};

use crate::{
    clock::Clock,
    credential::CredentialId,
    engine::rotation::{Action, Announcement, Counts, Evidence, Input, Rotation, Unfit},
    error::{Error, ErrorKind},
    event::Event,
    policy::Policy,
    source::{Fetched, Hint, Hints, Report, Said, Source},
    store::Store,
};

/// How long the last report may take: a program that ends waits for it no longer.
pub(crate) const GOODBYE: Duration = Duration::from_secs(1);

/// The most evidence that waits for the driver.
const BACKLOG: usize = 1024;

/// What a handle or a request tells the driver.
pub(crate) enum Message {
    Rejected(Evidence),
    Accepted(Evidence),
    Doubted(Evidence),
    Unfit(Unfit),
    /// The API says of this credential, beside its answer, that its time is coming.
    Announced(CredentialId, Announcement),
    /// Wake me when a fetch settles.
    Wait(Waiter),
    /// Wake me when a fetch settles or something newer than this epoch is published.
    Rest {
        seen: u64,
        /// Whether it is a fetch that this request waits for.
        asks: bool,
        waker: Waker,
    },
    /// Fetch soon, and wake me.
    Refresh(Waiter),
    Close,
}

impl Message {
    fn is_evidence(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::Accepted(_) | Self::Announced(..))
    }
}

/// The way to the driver.
pub(crate) struct Outbox {
    messages: mpsc::UnboundedSender<Message>,
    backlog: Arc<AtomicUsize>,
    slot: Arc<Slot>,
}

/// The driver's end of it.
pub(crate) struct Inbox {
    messages: mpsc::UnboundedReceiver<Message>,
    outbox: mpsc::WeakUnboundedSender<Message>,
    backlog: Arc<AtomicUsize>,
    slot: Arc<Slot>,
}

/// A way to the driver, and its end. Messages stay in their order, but for what stands in the slot.
pub(crate) fn post() -> (Outbox, Inbox) {
    let (messages, inbox) = mpsc::unbounded_channel();
    let (backlog, slot) = (Arc::new(AtomicUsize::new(0)), Arc::new(Slot::default()));
    let outbox = messages.downgrade();
    (
        Outbox { messages, backlog: backlog.clone(), slot: slot.clone() },
        Inbox { messages: inbox, outbox, backlog, slot },
    )
}

impl Outbox {
    pub(crate) fn send(&self, message: Message) {
        if message.is_evidence() && self.backlog.fetch_add(1, Relaxed) >= BACKLOG {
            self.backlog.fetch_sub(1, Relaxed);
            return;
        }
        // A closed driver has nobody left to tell.
        let _ = self.messages.send(message);
    }

    pub(crate) fn hint(&self, hint: Hint) {
        self.slot.put(|said| said.hint = Some(said.hint.map_or(hint, |before| before.and(hint))));
    }

    /// Look at the clocks now: the application came back to the foreground.
    pub(crate) fn wake(&self) {
        self.slot.put(|_| {});
    }
}

impl Inbox {
    async fn next(&mut self) -> Option<Message> {
        let message = self.messages.recv().await;
        if message.as_ref().is_some_and(Message::is_evidence) {
            self.backlog.fetch_sub(1, Relaxed);
        }
        message
    }

    /// Whether any handle is left.
    fn is_wanted(&self) -> bool {
        self.outbox.strong_count() > 0
    }

    fn end(&mut self) {
        self.messages.close();
        while self.messages.try_recv().is_ok() {}
    }
}

/// The newest of what push channels and the program said, in place of a queue of it.
#[derive(Default)]
struct Slot {
    heard: Mutex<Heard>,
    news: Notify,
}

#[derive(Default)]
struct Heard {
    hint: Option<Hint>,
    /// The push channel was silent for so long.
    lost: Option<Duration>,
}

impl Slot {
    fn put(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.notify_one();
    }

    async fn take(&self) -> Heard {
        self.news.notified().await;
        std::mem::take(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Hint {
    /// Both in one: the newest generation, unless one of them names none, and urgent if either is.
    fn and(self, other: Hint) -> Hint {
        let both = self.generation.zip(other.generation);
        Hint {
            generation: both.map(|(one, other)| one.max(other)),
            immediate: self.immediate || other.immediate,
        }
    }
}

pub(crate) type Waiter = oneshot::Sender<Result<(), Error>>;
pub(crate) type Waker = oneshot::Sender<Woken>;

/// Why a request that rested is to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// A fetch ended, or there is none to wait for.
    Settled,
    /// Something new was published.
    News,
}

/// What the task is started with.
pub(crate) struct Driver {
    /// What the span of its logs calls this handle.
    pub(crate) name: Box<str>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) rotation: Rotation,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) clock: Clock,
    pub(crate) store: Arc<Store>,
    pub(crate) counts: Arc<Mutex<Counts>>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) inbox: Inbox,
    /// Dropped with the task: whoever waits for its end waits for that.
    pub(crate) _alive: watch::Sender<()>,
}

impl Driver {
    /// Runs on this runtime; beyond its end, if it may.
    pub(crate) fn run_on(self, runtime: &Handle, may_outlive: bool) {
        runtime.spawn(Task { running: Some(Running::new(self)), may_outlive }.run());
    }
}

/// What a runtime runs, and drops when it ends.
struct Task {
    running: Option<Running>,
    may_outlive: bool,
}

impl Task {
    async fn run(mut self) {
        if let Some(running) = &mut self.running {
            let name = &*running.driver.name;
            let span = tracing::info_span!(target: "keyswap", "keyswap", set = name);
            running.run().instrument(span).await;
        }
        self.running = None;
    }

    /// Whoever leaves this feature out passes a runtime that lasts.
    #[cfg(not(feature = "own-runtime"))]
    fn go_on(running: Running) {
        running.driver.store.end(runtime_ended());
    }

    /// Goes on where the runtime that ended left off.
    #[cfg(feature = "own-runtime")]
    fn go_on(mut running: Running) {
        let store = running.driver.store.clone();
        let alone = std::thread::Builder::new().name("keyswap".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    running.leave_runtime();
                    Task { running: Some(running), may_outlive: false }.run().await;
                }),
                Err(_) => running.driver.store.end(runtime_ended()),
            }
        });
        if alone.is_err() {
            store.end(runtime_ended());
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        if running.driver.rotation.wake_at().is_none() || !running.driver.inbox.is_wanted() {
            return;
        }
        // After a panic nobody knows what state it left behind.
        match self.may_outlive && !std::thread::panicking() {
            true => Self::go_on(running),
            false => running.driver.store.end(runtime_ended()),
        }
    }
}

fn runtime_ended() -> Error {
    let what = "the runtime that this handle ran on has ended: keep it for as long as the handle";
    Error::new(ErrorKind::Closed, what)
}

struct Running {
    driver: Driver,
    waiters: Vec<Waiter>,
    /// The requests among those who wait.
    resting: Vec<Waker>,
    fetches: JoinSet<(u64, Result<Fetched, Error>)>,
    live: Option<(u64, AbortHandle)>,
    /// The report that is on its way; it ends with the input that says how.
    reports: JoinSet<Input>,
    says_goodbye: bool,
    #[cfg(feature = "metrics")]
    meter: crate::metrics::Meter,
}

impl Running {
    fn new(driver: Driver) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            meter: crate::metrics::Meter::new(&driver.name),
            driver,
            waiters: Vec::new(),
            resting: Vec::new(),
            fetches: JoinSet::new(),
            live: None,
            reports: JoinSet::new(),
            says_goodbye: false,
        }
    }

    async fn run(&mut self) {
        let mut watching = JoinSet::new();
        if let Some(watch) = self.driver.source.watch(self.hints()) {
            watching.spawn(watch);
        }
        let slot = self.driver.inbox.slot.clone();
        self.step(Input::Woke);
        while let Some(wake_at) = self.driver.rotation.wake_at() {
            let wait = wake_at.remaining(self.driver.clock.now());
            tokio::select! {
                message = self.driver.inbox.next() => self.take(message),
                heard = slot.take() => self.hear(heard),
                Some(done) = self.fetches.join_next() => self.take_fetch(done),
                Some(done) = self.reports.join_next() => self.take_report(done),
                // Never less than a millisecond, the unit of the clocks: a wake-up must not come early.
                () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => self.step(Input::Woke),
            }
        }
        drop(watching);
        self.end().await;
    }

    /// Nobody is served any more; only the last report is still to arrive.
    async fn end(&mut self) {
        self.driver.inbox.end();
        if self.says_goodbye {
            let _ = tokio::time::timeout(GOODBYE, self.reports.join_next()).await;
        }
    }

    /// The runtime has ended, and what ran on it with it.
    #[cfg(feature = "own-runtime")]
    fn leave_runtime(&mut self) {
        (self.fetches, self.reports) = (JoinSet::new(), JoinSet::new());
        if let Some((ticket, _)) = self.live.take() {
            self.driver.store.set_fetch_began(None);
            let what = "the runtime ended while the source was asked; it is asked again";
            self.step(Input::Failed(ticket, Error::new(ErrorKind::Unavailable, what)));
        }
    }

    fn hints(&self) -> Hints {
        let slot = Arc::downgrade(&self.driver.inbox.slot);
        Hints::new(move |said| {
            let Some(slot) = slot.upgrade() else { return };
            slot.put(|heard| match said {
                Said::Hint(hint) => {
                    heard.hint = Some(heard.hint.map_or(hint, |before| before.and(hint)));
                }
                Said::Lost(silent) => heard.lost = Some(silent),
            });
        })
    }

    fn hear(&mut self, heard: Heard) {
        if let Some(silent) = heard.lost {
            self.step(Input::PushLost(silent));
        }
        self.step(match heard.hint {
            Some(Hint { generation, immediate }) => Input::Hinted { generation, immediate },
            None => Input::Woke,
        });
    }

    fn wait(&mut self, waiter: Waiter) {
        // Those that gave up leave before there is room for more.
        if self.waiters.len() == self.waiters.capacity() {
            self.waiters.retain(|waiter| !waiter.is_closed());
        }
        self.waiters.push(waiter);
        self.step(Input::Waited);
    }

    fn take(&mut self, message: Option<Message>) {
        match message {
            Some(Message::Rejected(evidence)) => self.step(Input::Rejected(evidence)),
            Some(Message::Accepted(evidence)) => self.step(Input::Accepted(evidence)),
            Some(Message::Doubted(evidence)) => self.step(Input::Doubted(evidence)),
            Some(Message::Unfit(unfit)) => self.step(Input::Unfit(unfit)),
            Some(Message::Rest { seen, asks, waker }) => self.rest(seen, asks, waker),
            Some(Message::Announced(credential, what)) => {
                self.step(Input::Announced { credential, what });
            }
            Some(Message::Wait(waiter)) => self.wait(waiter),
            Some(Message::Refresh(waiter)) => {
                self.step(Input::RefreshRequested);
                self.wait(waiter);
            }
            Some(Message::Close) => {
                let closed = Error::new(ErrorKind::Closed, "the handle was closed");
                self.step(Input::Closed);
                self.driver.store.end(closed);
            }
            None => self.step(Input::Closed),
        }
    }

    fn rest(&mut self, seen: u64, asks: bool, waker: Waker) {
        if self.driver.rotation.snapshot().epoch() > seen {
            // What it is to see was published before it began to wait.
            let _ = waker.send(Woken::News);
            return;
        }
        if self.resting.len() == self.resting.capacity() {
            // Those that have gone meanwhile are forgotten before room is made for more.
            self.resting.retain(|waker| !waker.is_closed());
        }
        self.resting.push(waker);
        if asks {
            self.step(Input::Waited);
        }
    }

    fn wake(&mut self, why: Woken) {
        for waker in self.resting.drain(..) {
            let _ = waker.send(why);
        }
    }

    fn take_fetch(&mut self, done: Result<(u64, Result<Fetched, Error>), JoinError>) {
        let (ticket, outcome) = match done {
            Ok(done) => done,
            Err(error) if error.is_cancelled() => return,
            Err(_) => match &self.live {
                Some((ticket, _)) => {
                    let what = "the source panicked; the set that is held stays in use";
                    (*ticket, Err(Error::new(ErrorKind::SourceFailed, what)))
                }
                None => return,
            },
        };
        self.step(match outcome {
            Ok(Fetched::Set(set)) => Input::Fetched(ticket, set),
            Ok(Fetched::NotModified) => Input::NotModified(ticket),
            Err(error) => Input::Failed(ticket, error),
        });
        if self.live.as_ref().is_some_and(|(live, _)| *live == ticket) {
            self.live = None;
            self.driver.store.set_fetch_began(None);
        }
    }

    fn take_report(&mut self, done: Result<Input, JoinError>) {
        let input = match done {
            Ok(input) => input,
            Err(error) if error.is_cancelled() => return,
            Err(_) => {
                let what = "the source panicked while it reported what is in use";
                Input::Reported(Err(Error::new(ErrorKind::SourceFailed, what)))
            }
        };
        if let Input::Reported(Err(error)) = &input {
            tracing::debug!(target: "keyswap", "what is in use was not reported: {error}");
        }
        self.step(input);
    }

    fn step(&mut self, input: Input) {
        let driver = &mut self.driver;
        let now = driver.clock.now();
        let actions = driver.rotation.step(now, driver.store.sends(), input);
        #[cfg(feature = "metrics")]
        self.meter.publish(
            now,
            driver.rotation.counts(),
            driver.rotation.snapshot(),
            &driver.store,
        );
        if actions.is_empty() {
            return;
        }
        *driver.counts.lock().unwrap_or_else(PoisonError::into_inner) = driver.rotation.counts();
        for action in actions {
            match action {
                Action::Publish(snapshot) => {
                    self.driver.store.publish(snapshot);
                    self.wake(Woken::News);
                }
                Action::StartFetch(ticket) => self.fetch(ticket),
                Action::AbandonFetch(ticket) => {
                    if let Some((_, live)) = self.live.take_if(|(live, _)| *live == ticket) {
                        live.abort();
                        self.driver.store.set_fetch_began(None);
                    }
                }
                Action::Settle(outcome) => {
                    self.driver.store.settled(&outcome);
                    for waiter in self.waiters.drain(..) {
                        let _ = waiter.send(outcome.clone());
                    }
                    self.wake(Woken::Settled);
                }
                Action::Tell(event) => self.tell(event),
                Action::Report(report) => self.report(report),
            }
        }
    }

    fn fetch(&mut self, ticket: u64) {
        let source = self.driver.source.clone();
        let held = self.driver.rotation.known_to_fetch();
        let span = tracing::debug_span!(target: "keyswap", "fetch", ticket);
        let fetch = async move { (ticket, source.fetch(held.as_deref()).await) };
        let live = self.fetches.spawn(fetch.instrument(span));
        self.live = Some((ticket, live));
        self.driver.store.set_fetch_began(Some(self.driver.clock.now().boot));
    }

    fn report(&mut self, report: Report) {
        self.says_goodbye = report.lease.is_zero();
        // The last report must not be overtaken by what it replaces.
        self.reports.abort_all();
        self.reports.detach_all();
        let source = self.driver.source.clone();
        let limit = self.driver.policy.fetch_timeout;
        let span =
            tracing::debug_span!(target: "keyswap", "report", generation = report.generation);
        let report = async move {
            // Asked in here, where a source that panics harms nobody.
            let Some(sent) = source.report(report) else { return Input::ReportDeclined };
            Input::Reported(tokio::time::timeout(limit, sent).await.unwrap_or_else(|_| {
                let what = format!("no answer to a report within {} s", limit.as_secs_f64());
                Err(Error::new(ErrorKind::Timeout, what))
            }))
        };
        self.reports.spawn(report.instrument(span));
    }

    fn tell(&self, event: Event) {
        let name = event.name();
        match event {
            Event::NotModified { .. } => {
                tracing::event!(target: "keyswap", Level::DEBUG, event = name, "{event}");
            }
            Event::FetchFailed { .. }
            | Event::Expired { .. }
            | Event::Exhausted { .. }
            | Event::Revoked { .. }
            | Event::FellBack { .. } => {
                tracing::event!(target: "keyswap", Level::WARN, event = name, "{event}");
            }
            _ => tracing::event!(target: "keyswap", Level::INFO, event = name, "{event}"),
        }
        // Nobody listening is not an error.
        let _ = self.driver.events.send(event);
    }
}
