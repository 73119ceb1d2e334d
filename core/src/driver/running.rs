//! The task of a handle at work: each input is a step of the rotation, and its actions are performed.

#![allow(clippy::disallowed_methods, reason = "a fetch and a report are tasks of their own")]

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::task::{AbortHandle, JoinError, JoinSet};
use tracing::{Instrument, Level};

use super::{
    Driver, FINAL_REPORT_TIMEOUT,
    inbox::{Heard, Message, Waiter, Waker, Woken},
};
use crate::{
    engine::rotation::{Action, Input},
    error::{Error, ErrorKind},
    event::Event,
    source::{Fetched, Hint, Hints, PushSignal, Report},
};

pub(super) struct Running {
    pub(super) driver: Driver,
    waiters: Vec<Waiter>,
    /// The requests among those who wait.
    resting: Vec<Waker>,
    fetches: JoinSet<(u64, Result<Fetched, Error>)>,
    live: Option<(u64, AbortHandle)>,
    /// The report that is on its way; it ends with the input that says how.
    reports: JoinSet<Input>,
    sends_final_report: bool,
    #[cfg(feature = "metrics")]
    meter: crate::metrics::Meter,
}

impl Running {
    pub(super) fn new(driver: Driver) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            meter: crate::metrics::Meter::new(&driver.name),
            driver,
            waiters: Vec::new(),
            resting: Vec::new(),
            fetches: JoinSet::new(),
            live: None,
            reports: JoinSet::new(),
            sends_final_report: false,
        }
    }

    pub(super) async fn run(&mut self) {
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

    /// Nobody is served any more; only the last report is still to arrive, and what the source gives back.
    async fn end(&mut self) {
        self.driver.inbox.end();
        let source = self.driver.source.clone();
        let fetches = &mut self.fetches;
        let mut last = JoinSet::new();
        let all = async {
            // One that is under way would bring what nobody gives back.
            fetches.shutdown().await;
            // Asked in a task, where a source that panics harms nobody.
            last.spawn(async move {
                if let Some(closing) = source.close() {
                    closing.await;
                }
            });
            if self.sends_final_report {
                let _ = self.reports.join_next().await;
            }
            let _ = last.join_next().await;
        };
        let _ = tokio::time::timeout(FINAL_REPORT_TIMEOUT, all).await;
    }

    /// The runtime has ended, and what ran on it with it.
    #[cfg(feature = "own-runtime")]
    pub(super) fn leave_runtime(&mut self) {
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
                PushSignal::Hint(hint) => {
                    heard.hint = Some(heard.hint.map_or(hint, |before| before.and(hint)));
                }
                PushSignal::Lost(silent) => heard.lost = Some(silent),
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
            Some(Message::Input(input)) => self.step(*input),
            Some(Message::Rest { seen, asks, waker }) => self.rest(seen, asks, waker),
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
        self.sends_final_report = report.lease.is_zero();
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
