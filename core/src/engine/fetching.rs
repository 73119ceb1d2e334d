//! When the next fetch may start.
//!
//! Four things want a fetch: the schedule (or the retry after a failure), somebody who asks for a look
//! (a hint, the program, a clock that jumped), a rejection, which forces one, and an emergency that was
//! pushed, which forces one too. Three things hold it back: a fetch that runs, `Retry-After`, and either
//! the floor between two starts or, for a forced one, a token bucket. All times are boot-clock
//! milliseconds.
//!
//! Whatever the source says, it is asked again: a time that it names counts up to the ceiling, and while
//! nothing is usable the next fetch is near, whatever the last one failed with.

use std::{sync::Arc, time::Duration};

use super::bucket::Bucket;
use crate::{
    backoff::{Backoff, Delays, doubled},
    error::Error,
    moment::millis,
    policy::Policy,
};

/// A source that mints is asked this often at least: the life that it names may be wrong, too.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Fetching {
    policy: Arc<Policy>,
    backoff: Backoff,
    /// Whether each fetch makes a new credential, so that none is worth making only to look.
    pub(super) mints: bool,
    /// Whether the API ever accepted anything of this handle. Until then, a key that is rejected may simply
    /// be wrong, which is worth no hurry; afterwards it was rotated away.
    pub(super) is_proven: bool,
    /// Whether the source ever brought another key than its first: one that is rejected may be spreading.
    pub(super) has_rotated: bool,
    live: Option<Live>,
    tickets: u64,
    started: Option<u64>,
    ended: u64,
    floor: Duration,
    /// What the schedule, or the retry after a failure, wants.
    regular: u64,
    /// What a hint, the program or a clock jump wants.
    wanted: Option<u64>,
    /// What a rejection wants.
    forced: Option<u64>,
    /// What an emergency that was pushed wants.
    alarm: Option<u64>,
    /// The highest generation that a hint spoke of since a fetch last worked, and whether any of those
    /// hints was an emergency.
    promised: Option<u64>,
    is_urgent: bool,
    not_before: u64,
    retry: Option<Delays>,
    slow_retries: u32,
    bucket: Bucket,
}

/// The one fetch that runs.
pub(super) struct Live {
    pub(super) ticket: u64,
    pub(super) forced: bool,
    deadline: u64,
}

impl Fetching {
    pub(super) fn new(now: u64, policy: Arc<Policy>, backoff: Backoff) -> Self {
        Self {
            bucket: Bucket::new(policy.forced_burst, policy.forced_every),
            floor: policy.fetch_floor_min,
            policy,
            backoff,
            mints: false,
            is_proven: false,
            has_rotated: false,
            live: None,
            tickets: 0,
            started: None,
            ended: 0,
            regular: now,
            wanted: None,
            forced: None,
            alarm: None,
            promised: None,
            is_urgent: false,
            not_before: 0,
            retry: None,
            slow_retries: 0,
        }
    }

    /// Starts a fetch, if one is due and none runs.
    pub(super) fn start(&mut self, now: u64) -> Option<&Live> {
        let (due, forced) = self.due();
        if self.live.is_some() || due > now {
            return None;
        }
        if forced {
            self.bucket.take(now);
        }
        self.tickets += 1;
        self.started = Some(now);
        (self.wanted, self.forced, self.alarm) = (None, None, None);
        let deadline = now.saturating_add(millis(self.policy.fetch_timeout));
        self.live = Some(Live { ticket: self.tickets, forced, deadline });
        self.live.as_ref()
    }

    /// The fetch of this ticket has ended; nothing, if it was abandoned before.
    pub(super) fn conclude(&mut self, now: u64, ticket: u64) -> Option<Live> {
        let live = self.live.take_if(|live| live.ticket == ticket)?;
        self.ended = now;
        Some(live)
    }

    /// The ticket of the fetch that runs, if it has run for too long.
    pub(super) fn overdue(&self, now: u64) -> Option<u64> {
        self.live.as_ref().filter(|live| live.deadline <= now).map(|live| live.ticket)
    }

    /// Whether the fetch that runs was forced.
    pub(super) fn is_forced(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.forced)
    }

    pub(super) fn live_ticket(&self) -> Option<u64> {
        self.live.as_ref().map(|live| live.ticket)
    }

    /// A fetch worked: plans the next one. `left` is what remains of the newest credential's life,
    /// `asked` the server's own wish, `jitter` the place of this client in its fleet and `stray` that of
    /// this fetch among its polls, both from 0 to 1.
    pub(super) fn worked(
        &mut self,
        now: u64,
        generation: u64,
        left: Option<Duration>,
        asked: Option<Duration>,
        jitter: f64,
        stray: f64,
    ) {
        let policy = &self.policy;
        let floor = left.map_or(policy.fetch_floor, |left| policy.fetch_floor.min(left / 10));
        self.floor = floor.max(policy.fetch_floor_min);
        let by_life = left.map(|left| {
            let lead = left.mul_f64(policy.soft_lead_ratio).min(policy.soft_lead_max);
            left - lead + lead.mul_f64(jitter / 2.0)
        });
        let poll = policy.poll.mul_f64(1.0 + policy.poll_spread * (stray * 2.0 - 1.0));
        // A little less than the ceiling, so that a fleet that was told one far time does not march in step.
        let ceiling = policy.ceiling.mul_f64(1.0 - policy.poll_spread * stray);
        self.regular = now.saturating_add(millis(match by_life {
            _ if !self.mints => {
                // The server's wish wins, but not beyond the end of what it is to renew.
                let wait = by_life.map_or(poll, |by_life| by_life.min(poll));
                let asked = asked.map(|asked| left.map_or(asked, |left| asked.min(left)));
                asked.map_or(wait, |asked| asked.min(ceiling))
            }
            // It may wish to be asked sooner, and never later.
            Some(by_life) => asked.map_or(by_life, |asked| asked.min(by_life)).min(DAY),
            None => ceiling,
        }));
        (self.retry, self.slow_retries) = (None, 0);
        // A hint above what the fetch brought is worth one more look, and no more than one.
        let is_urgent = std::mem::take(&mut self.is_urgent);
        if self.promised.take() > Some(generation) {
            self.want(now);
            self.alarm = is_urgent.then_some(now);
        }
    }

    /// A fetch failed: says when it is tried again. It always is, and soon if it is `urgent`.
    pub(super) fn failed(&mut self, now: u64, error: &Error, urgent: bool, seed: u64) -> u64 {
        let policy = &self.policy;
        let delay = if error.is_lasting() {
            let delay = doubled(policy.slow_retry_min, self.slow_retries, policy.slow_retry_max);
            self.slow_retries += 1;
            delay
        } else {
            let retry = self.retry.get_or_insert_with(|| (self.backoff)(seed));
            retry.next().unwrap_or(policy.backoff_max)
        };
        if let Some(asked) = error.retry_after() {
            let asked = asked.clamp(policy.retry_after_min, policy.retry_after_max);
            // It is the least wait. A whole fleet may have been told the same instant, and must not come
            // at it: within as long again, and within what a backoff would spread it over.
            let longest = if urgent { policy.backoff_max_urgent } else { policy.backoff_max };
            let spread = asked.min(longest).mul_f64(fastrand::Rng::with_seed(!seed).f64());
            self.not_before = now.saturating_add(millis(asked.saturating_add(spread)));
        }
        self.regular = now.saturating_add(millis(delay.min(policy.ceiling)));
        if urgent {
            self.hurry(now);
        }
        self.due().0
    }

    /// Nothing is usable: the next fetch is near, whatever was planned.
    pub(super) fn hurry(&mut self, now: u64) {
        let latest = now.saturating_add(millis(self.policy.backoff_max_urgent));
        self.regular = self.regular.min(latest);
        self.not_before = self.not_before.min(latest);
    }

    /// Somebody wants a look at this time.
    pub(super) fn want(&mut self, at: u64) {
        self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at)));
    }

    /// The program asks for a fetch; one that runs is joined.
    pub(super) fn ask(&mut self, now: u64) {
        if self.live.is_none() {
            self.want(now);
        }
    }

    /// A hint. One that names a generation waits for what a running fetch brings; one that does not may
    /// be about what that fetch has already missed. An emergency is not held up by the floor.
    pub(super) fn hinted(&mut self, at: u64, generation: Option<u64>, is_urgent: bool) {
        self.promised = self.promised.max(generation);
        if self.live.is_none() || generation.is_none() {
            self.want(at);
            self.alarm = if is_urgent { Some(at) } else { self.alarm };
        } else {
            self.is_urgent |= is_urgent;
        }
    }

    /// A rejection wants a fetch now. One that runs is joined: if it brings nothing, those who wait ask
    /// again.
    pub(super) fn force(&mut self, now: u64) {
        self.forced = self.live.is_none().then_some(now);
    }

    /// Callers still wait after an unchanged answer.
    pub(super) fn force_again(&mut self, now: u64) {
        if self.live.is_none() && self.forced.is_none() {
            self.forced = Some(self.again(now));
        }
    }

    pub(super) fn stop_forcing(&mut self) {
        self.forced = None;
    }

    /// The API accepted what a forced fetch brought, which then costs no token.
    pub(super) fn refund(&mut self) {
        self.bucket.refund();
    }

    /// Whether a fetch runs, or is asked for and will start before whoever waits loses patience. The program
    /// itself has the whole wait, whatever is known of the key.
    pub(super) fn is_worth_waiting(&self, now: u64) -> bool {
        let asked = self.wanted.is_some() || self.forced.is_some() || self.alarm.is_some();
        let latest = now.saturating_add(millis(self.policy.wait));
        self.live.is_some() || (asked && self.due().0 <= latest)
    }

    /// Whether that would be so if a rejection asked now. Without this, a request would wait for a fetch
    /// that tokens or `Retry-After` hold back, be told that there is none, and wait again at once.
    pub(super) fn could_help(&self, now: u64) -> bool {
        let forced = self.forced.unwrap_or_else(|| self.again(now));
        let soonest = self.allowed(forced).min(self.unforced());
        self.live.is_some() || soonest <= self.patience(now)
    }

    /// When to look again: the end of the running fetch, or the start of the next.
    pub(super) fn wake_at(&self) -> u64 {
        self.live.as_ref().map_or_else(|| self.due().0, |live| live.deadline)
    }

    /// When the next fetch may start, and whether a rejection or an emergency forces it.
    fn due(&self) -> (u64, bool) {
        let unforced = self.unforced();
        let forced = [self.forced, self.alarm].into_iter().flatten().min();
        match forced.map(|at| self.allowed(at)) {
            Some(forced) if forced <= unforced => (forced, true),
            _ => (unforced, false),
        }
    }

    fn unforced(&self) -> u64 {
        let wanted = self.wanted.unwrap_or(u64::MAX);
        self.regular.min(wanted).max(self.floor_ends()).max(self.not_before)
    }

    /// When a fetch that is forced at this time may start.
    fn allowed(&self, forced: u64) -> u64 {
        forced.max(self.bucket.ready_at()).max(self.not_before)
    }

    /// When those who wait may ask again after an unchanged answer.
    fn again(&self, now: u64) -> u64 {
        let pause = if self.is_doubtful() { self.floor } else { self.policy.fetch_floor_min };
        self.ended.saturating_add(millis(pause)).max(now)
    }

    fn patience(&self, now: u64) -> u64 {
        now.saturating_add(millis(self.wait()))
    }

    /// How long a request waits for a fetch.
    pub(super) fn wait(&self) -> Duration {
        match self.is_doubtful() {
            false => self.policy.wait,
            true => self.policy.wait.min(self.policy.wait_unproven),
        }
    }

    /// Whether a key that is rejected may simply be wrong, which is not worth the whole wait.
    pub(super) fn is_doubtful(&self) -> bool {
        !(self.is_proven || self.has_rotated)
    }

    fn floor_ends(&self) -> u64 {
        self.started.map_or(0, |start| start.saturating_add(millis(self.floor)))
    }
}
