//! The way to the driver: an inbox of messages, and beside it a slot for what only the newest of counts.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::{engine::rotation::Input, error::Error, source::Hint};

/// The most evidence that waits for the driver.
pub(super) const BACKLOG: usize = 1024;

/// What a handle or a request tells the driver.
pub(crate) enum Message {
    /// What a request learnt of a credential. In a box, because some inputs hold a whole set.
    Input(Box<Input>),
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
        use Input::{Accepted, CredentialStatus, Rejected};
        let is_evidence =
            |input: &Input| matches!(input, Rejected(_) | Accepted(_) | CredentialStatus { .. });
        matches!(self, Self::Input(input) if is_evidence(input))
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
    pub(super) slot: Arc<Slot>,
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
    pub(super) async fn next(&mut self) -> Option<Message> {
        let message = self.messages.recv().await;
        if message.as_ref().is_some_and(Message::is_evidence) {
            self.backlog.fetch_sub(1, Relaxed);
        }
        message
    }

    /// Whether any handle is left.
    pub(super) fn is_wanted(&self) -> bool {
        self.outbox.strong_count() > 0
    }

    pub(super) fn end(&mut self) {
        self.messages.close();
        while self.messages.try_recv().is_ok() {}
    }
}

/// The newest of what push channels and the program said, in place of a queue of it.
#[derive(Default)]
pub(super) struct Slot {
    heard: Mutex<Heard>,
    news: Notify,
}

#[derive(Default)]
pub(super) struct Heard {
    pub(super) hint: Option<Hint>,
    /// The push channel was silent for so long.
    pub(super) lost: Option<Duration>,
}

impl Slot {
    pub(super) fn put(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.notify_one();
    }

    pub(super) async fn take(&self) -> Heard {
        self.news.notified().await;
        std::mem::take(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Hint {
    /// Both in one: the newest generation, unless one of them names none, and urgent if either is.
    pub(super) fn and(self, other: Hint) -> Hint {
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
