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
//! Whatever the other side can send without end is held in bounded space. Hints stand in a [slot](inbox::Slot): a
//! thousand of them are one. What the API says of credentials is evidence of which more says nothing new, so
//! beyond a [backlog](inbox::BACKLOG) it is dropped. Waiters are as many as the program has callers that still wait.
//!
//! A task ends with its runtime, and a handle must not: if the runtime ends first, the task goes on where it
//! was, on a runtime and a thread of its own. A runtime that the program [passed](crate::Follow::runtime) is
//! the program's to end: then nothing is usable any more, and every call says so.

#![allow(clippy::disallowed_methods, reason = "this is the module that may spawn")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{broadcast, watch},
};
use tracing::Instrument;

use self::running::Running;
use crate::{
    clock::Clock,
    engine::rotation::{Counts, Rotation},
    error::{Error, ErrorKind},
    event::Event,
    policy::Policy,
    source::Source,
    store::Store,
};

pub(crate) use self::inbox::{Inbox, Message, Outbox, Waiter, Woken, post};

mod inbox;
mod running;

/// How long the last report may take: a program that ends waits for it no longer.
pub(crate) const FINAL_REPORT_TIMEOUT: Duration = Duration::from_secs(1);

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
