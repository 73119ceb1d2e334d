//! Virtual time, and mailboxes that know whether anybody still has something to do.
//!
//! Time stands still while anybody is at work or a message is on its way; when all rest, it jumps to the
//! next time that a caller waits for. So nothing is ever late for lack of time, and a wait that ends by
//! its limit is one that nobody settled.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex as Plain, MutexGuard, PoisonError},
};

use keyswap::Moment;
use shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};

/// The books of who works and who waits. They are kept beside the schedule: reading them is no point at
/// which shuttle may switch threads.
pub(crate) struct Clock {
    books: Plain<Books>,
    /// Where the thread that moves the time waits for its turn.
    pub(crate) turn: Mailbox<bool>,
}

struct Books {
    now: u64,
    /// Threads at work, and messages that nobody has taken yet.
    busy: usize,
    sleepers: BTreeMap<(u64, u64), Arc<Mailbox<Woken>>>,
    asleep: u64,
    driver_wakes_at: Option<u64>,
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Settled,
    News,
    InTime,
}

/// Whose time has come.
pub(crate) enum Due {
    Caller(Arc<Mailbox<Woken>>),
    Driver,
}

impl Clock {
    pub(crate) fn new(now: u64) -> Self {
        let (sleepers, driver_wakes_at) = (BTreeMap::new(), None);
        let books = Books { now, busy: 0, sleepers, asleep: 0, driver_wakes_at };
        Self { books: Plain::new(books), turn: Mailbox::new() }
    }

    pub(crate) fn boot(&self) -> u64 {
        self.books().now
    }

    pub(crate) fn now(&self) -> Moment {
        moment(self.boot())
    }

    /// A thread begins, or a message is sent: somebody has something to do.
    pub(crate) fn work(&self) {
        self.books().busy += 1;
    }

    /// A thread has nothing to do. The last one lets time pass, if a caller waits for that.
    pub(crate) fn rest(&self) {
        let mut books = self.books();
        books.busy -= 1;
        let is_time = books.busy == 0 && !books.sleepers.is_empty();
        drop(books);
        if is_time {
            self.turn.send(self, true);
        }
    }

    /// When the driver is to be woken at the latest.
    pub(crate) fn wake_driver_at(&self, at: Option<Moment>) {
        self.books().driver_wakes_at = at.map(|at| at.boot);
    }

    /// Moves the time to whatever comes next.
    pub(crate) fn advance(&self) -> Option<Due> {
        let mut books = self.books();
        let (first, _) = *books.sleepers.keys().next()?;
        match books.driver_wakes_at.filter(|at| *at <= first) {
            Some(at) => {
                books.now = books.now.max(at);
                books.driver_wakes_at = None;
                Some(Due::Driver)
            }
            None => {
                books.now = books.now.max(first);
                books.sleepers.pop_first().map(|(_, caller)| Due::Caller(caller))
            }
        }
    }

    /// Waits for a message until this time at the latest.
    pub(crate) fn wait(&self, mailbox: &Arc<Mailbox<Woken>>, until: u64) -> Woken {
        let mut books = self.books();
        books.asleep += 1;
        let key = (until, books.asleep);
        books.sleepers.insert(key, mailbox.clone());
        drop(books);
        let woken = mailbox.take(self);
        self.books().sleepers.remove(&key);
        mailbox.close(self);
        woken
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn moment(boot: u64) -> Moment {
    Moment::new(1_800_000_000_000 + i64::try_from(boot).expect("a small number"), boot)
}

/// A channel with one reader. What is sent after it was closed is lost, as with a dropped receiver.
///
/// Sending and taking are one step each for the schedule, so that it does not spend itself on the insides
/// of a channel.
pub(crate) struct Mailbox<T> {
    queue: Plain<Queue<T>>,
    filled: BatchSemaphore,
}

struct Queue<T> {
    messages: VecDeque<T>,
    is_closed: bool,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        let queue = Queue { messages: VecDeque::new(), is_closed: false };
        let filled = BatchSemaphore::new(0, Fairness::StrictlyFair);
        Self { queue: Plain::new(queue), filled }
    }

    pub(crate) fn send(&self, clock: &Clock, message: T) {
        // Threads may switch as this begins, and not between this and the push.
        self.filled.release(1);
        let mut queue = self.queue();
        if !queue.is_closed {
            clock.work();
            queue.messages.push_back(message);
        }
    }

    /// Takes a message, and waits for one if there is none. Whoever takes it does its work from then on.
    pub(crate) fn take(&self, clock: &Clock) -> T {
        clock.rest();
        self.filled.acquire_blocking(1).expect("never closed");
        self.queue().messages.pop_front().expect("one for each permit")
    }

    pub(crate) fn close(&self, clock: &Clock) {
        let mut queue = self.queue();
        queue.is_closed = true;
        let lost = std::mem::take(&mut queue.messages);
        drop(queue);
        lost.iter().for_each(|_| clock.rest());
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
