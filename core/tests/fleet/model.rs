//! Many clients, one endpoint, and a clock that jumps from one event to the next.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use jiff::Timestamp;
use keyswap::{
    Credential, CredentialSet, Error, ErrorKind, Moment, Policy,
    engine::rotation::{Action, Backoff, Input, Rotation, default_backoff},
};

/// When the endpoint says that it wants to be asked again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    /// Nothing: the client's own poll.
    None,
    /// So many seconds after each answer, spread over so many.
    After(u64, u64),
    /// At the next multiple of so many seconds, the same for all, spread over so many.
    AtInstants(u64, u64),
}

/// How an endpoint is out of order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outage {
    /// Connections are refused at once.
    Refused,
    /// Nothing ever answers.
    Silent,
    /// 503, and to be asked again after so many seconds.
    Busy(u64),
    /// 503, and to be asked again at this second, the same for all.
    BusyUntil(u64),
}

/// A fleet in virtual time, in milliseconds.
pub(crate) struct Fleet {
    clients: Vec<Client>,
    /// What comes next: when, for which client, and what.
    queue: BinaryHeap<Reverse<(u64, usize, What)>>,
    now: u64,
    rng: Rng,
    wish: Wish,
    generation: u64,
    outage: Option<Outage>,
    /// Fetch starts in each second.
    pub(crate) starts: Vec<u32>,
}

struct Client {
    rotation: Rotation,
    /// Which of its wake-ups counts: the one that was asked for last.
    wakes: u64,
    worked_at: Option<u64>,
    changed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Wake(u64),
    Answer(u64),
}

impl Fleet {
    /// Clients that come up one after another over so many seconds.
    pub(crate) fn new(size: usize, wish: Wish, over: u64) -> Self {
        // The default numbers, but for the look at everything each 30 s: it starts no fetch, and is most of
        // what there would be to compute.
        let policy = Arc::new(Policy::default().wake(Duration::from_secs(3_600)));
        let backoff: Backoff = default_backoff(&policy);
        let mut rng = Rng::with_seed(1);
        let mut queue = BinaryHeap::with_capacity(2 * size);
        let client = |at: usize| {
            let born = rng.u64(..over * 1_000);
            queue.push(Reverse((born, at, What::Wake(0))));
            let seed = rng.u64(..);
            let rotation = Rotation::new(moment(born), seed, policy.clone(), backoff.clone());
            Client { rotation, wakes: 0, worked_at: None, changed: 0 }
        };
        let clients = (0..size).map(client).collect();
        let (generation, outage, starts) = (1, None, Vec::new());
        Self { clients, queue, now: 0, rng, wish, generation, outage, starts }
    }

    pub(crate) fn size(&self) -> usize {
        self.clients.len()
    }

    /// What time it is, in seconds.
    pub(crate) fn now(&self) -> u64 {
        self.now / 1_000
    }

    /// Lets time pass until this second.
    pub(crate) fn run_until(&mut self, second: u64) {
        let until = second * 1_000;
        while let Some((at, client, what)) = self.next(until) {
            self.now = at;
            match what {
                What::Wake(wake) if wake == self.clients[client].wakes => {
                    self.step(client, Input::Woke);
                }
                What::Wake(_) => {}
                What::Answer(ticket) => {
                    let input = self.answer(client, ticket);
                    self.step(client, input);
                }
            }
        }
        self.now = until;
    }

    fn next(&mut self, until: u64) -> Option<(u64, usize, What)> {
        let next = self.queue.peek_mut().filter(|next| next.0.0 < until)?;
        Some(PeekMut::pop(next).0)
    }

    pub(crate) fn begin_outage(&mut self, outage: Outage) {
        self.outage = Some(outage);
    }

    /// The endpoint is well again: for every client, the next success is the first.
    pub(crate) fn end_outage(&mut self) {
        self.outage = None;
        self.clients.iter_mut().for_each(|client| client.worked_at = None);
    }

    /// When the last client's first success was, in seconds, once every client had one.
    pub(crate) fn all_worked_at(&self) -> Option<u64> {
        let times = self.clients.iter().map(|client| client.worked_at);
        times.collect::<Option<Vec<_>>>()?.into_iter().max().map(|at| at.div_ceil(1_000))
    }

    /// The key rotates, and who listens is told.
    pub(crate) fn rotate(&mut self, is_hinted: bool) {
        self.generation += 1;
        let (generation, immediate) = (Some(self.generation), false);
        for client in 0..self.clients.len() {
            self.clients[client].changed = self.clients[client].rotation.counts().changed;
            if is_hinted {
                self.step(client, Input::Hinted { generation, immediate });
            }
        }
    }

    /// The changed fetches of each client since the last rotation.
    pub(crate) fn changed(&self) -> impl Iterator<Item = u64> {
        self.clients.iter().map(|client| client.rotation.counts().changed - client.changed)
    }

    fn step(&mut self, client: usize, input: Input) {
        let it = &mut self.clients[client];
        for action in it.rotation.step(moment(self.now), 0, input) {
            if let Action::StartFetch(ticket) = action {
                let second = usize::try_from(self.now / 1_000).expect("a short life");
                self.starts.resize(self.starts.len().max(second + 1), 0);
                self.starts[second] += 1;
                let delay = match self.outage {
                    None => self.rng.u64(20..200),
                    Some(Outage::Silent) => continue,
                    Some(_) => self.rng.u64(5..20),
                };
                self.queue.push(Reverse((self.now + delay, client, What::Answer(ticket))));
            }
        }
        it.wakes += 1;
        if let Some(at) = it.rotation.wake_at() {
            // As the driver does: never sooner than in a millisecond.
            let at = at.boot.max(self.now + 1);
            self.queue.push(Reverse((at, client, What::Wake(it.wakes))));
        }
    }

    fn answer(&mut self, client: usize, ticket: u64) -> Input {
        let client = &mut self.clients[client];
        if let Some(outage) = self.outage {
            let error = Error::new(ErrorKind::Unavailable, "an outage on purpose");
            return Input::Failed(
                ticket,
                match outage {
                    Outage::Busy(seconds) => error.with_retry_after(Duration::from_secs(seconds)),
                    Outage::BusyUntil(second) => {
                        let left = (second * 1_000).saturating_sub(self.now);
                        error.with_retry_after(Duration::from_millis(left))
                    }
                    Outage::Refused | Outage::Silent => error,
                },
            );
        }
        client.worked_at.get_or_insert(self.now);
        let held = client.rotation.confirmable().map(|held| held.generation());
        // A wish is part of the answer, and only a full one carries it.
        if held == Some(self.generation) && matches!(self.wish, Wish::None) {
            return Input::NotModified(ticket);
        }
        let key = Credential::new(format!("k{}", self.generation), "material");
        let set = CredentialSet::new(key).with_generation(self.generation);
        let set = set.with_as_of(timestamp(self.now));
        let (at, splay) = match self.wish {
            Wish::None => return Input::Fetched(ticket, set.with_splay(Duration::from_secs(60))),
            Wish::After(seconds, splay) => (self.now + seconds * 1_000, splay),
            Wish::AtInstants(seconds, splay) => {
                ((self.now / (seconds * 1_000) + 1) * seconds * 1_000, splay)
            }
        };
        let set = set.with_refresh_after(timestamp(at)).with_splay(Duration::from_secs(splay));
        Input::Fetched(ticket, set)
    }
}

fn moment(boot: u64) -> Moment {
    Moment::new(timestamp(boot).as_millisecond(), boot)
}

fn timestamp(boot: u64) -> Timestamp {
    let wall = 1_800_000_000_000 + i64::try_from(boot).expect("a short life");
    Timestamp::from_millisecond(wall).expect("a time")
}
