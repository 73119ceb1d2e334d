//! What to publish, whom to promote, roll back and retire, and when a rejection is worth a fetch.
//!
//! # Theory of operation
//!
//! Each [`step`](Rotation::step) takes the time, the number of sends so far and one input. It changes
//! the state, lets time pass (ends, promotions, deadlines), decides whether a fetch starts, and compares
//! what requests would now see with what was published last: if it differs, it publishes. Nobody has to
//! remember to publish, because publishing is not part of any rule.
//!
//! Guarantees: a failure never displaces a set; generations only rise; one fetch is live at a time;
//! evidence older than a credential's last change of state changes nothing; until closed, there is
//! always a next wake-up. It never waits, and never decides what a single request does.
//!
//! This file has the step itself and the passing of time. Its parts: `answers` (what a fetch brought),
//! `demand` (who wants a fetch), `evidence` (what the API said of a credential), `selection` (which one is
//! in use, which one is tried), and `view` (the snapshot that requests see).

use std::{sync::Arc, time::Duration};

use super::{
    fetching::Fetching,
    holdings::{self, Holdings},
    probation::Probation,
    reporting::{InHand, Reporting},
    snapshot::{ProbeSlot, Snapshot},
};
use crate::{
    credential::{CredentialId, CredentialSet},
    error::{Error, ErrorKind},
    event::Event,
    moment::{Moment, millis},
    policy::Policy,
};

pub use super::input::{Action, Counts, CredentialStatus, Evidence, Input, Unfit};
pub use crate::backoff::{Backoff, default_backoff};

mod answers;
mod demand;
mod evidence;
mod selection;
#[cfg(test)]
mod tests;
mod view;

/// A difference between the clocks that is a jump, not a correction.
const JUMP_MS: i64 = 2_000;

/// The long-lived state machine of one handle.
pub struct Rotation {
    policy: Arc<Policy>,
    rng: fastrand::Rng,
    now: Moment,
    sends: u64,
    out: Vec<Action>,
    counts: Counts,
    published: Arc<Snapshot>,
    closed: bool,
    fetching: Fetching,
    holdings: Holdings,
    reporting: Reporting,

    in_use: Option<CredentialId>,
    was_in_use: Vec<CredentialId>,
    probation: Option<Probation>,
    /// The one slot of requests that are sent again with what is not proven.
    trial: Arc<ProbeSlot>,

    window_until: u64,
    /// Until when it is a rotation that replicas may disagree about.
    rotated_until: u64,
    listen_until: u64,
    /// Why nothing is usable, when nothing is.
    cause: Error,
    /// Why the last fetch failed, if it did.
    failure: Option<Error>,
    /// Whether what is held is from a source that stood in for another one, which failed.
    stood_in: bool,
    /// Whether somebody waits for a fetch.
    demand: bool,
    /// Ids that the last forced fetch was the first to bring, if it brought any.
    brought: Vec<CredentialId>,
}

impl Rotation {
    /// A rotation that holds nothing and wants to fetch at once. All its randomness comes from `seed`.
    pub fn new(now: Moment, seed: u64, policy: Arc<Policy>, backoff: Backoff) -> Self {
        let cause =
            Error::new(ErrorKind::NotReady, "no credentials yet: the first fetch has not ended");
        Self {
            fetching: Fetching::new(now.boot, policy.clone(), backoff),
            holdings: Holdings::new(policy.clone()),
            reporting: Reporting::new(policy.clone()),
            policy,
            rng: fastrand::Rng::with_seed(seed),
            now,
            sends: 0,
            out: Vec::new(),
            counts: Counts::default(),
            published: Arc::new(Snapshot::nothing(cause.clone())),
            closed: false,
            in_use: None,
            was_in_use: Vec::new(),
            probation: None,
            trial: Arc::new(ProbeSlot::open_from(now.boot)),
            window_until: 0,
            rotated_until: 0,
            listen_until: 0,
            cause,
            failure: None,
            stood_in: false,
            demand: false,
            brought: Vec::new(),
        }
    }

    /// Names of schemes, beyond the built-in ones, that this program can apply.
    pub fn know_schemes(&mut self, names: impl IntoIterator<Item = Box<str>>) {
        self.holdings.known_schemes.extend(names);
    }

    /// Says that each fetch from the source makes a new credential, so that none is made only to look.
    pub fn source_mints(&mut self) {
        self.fetching.mints = true;
    }

    /// Begins with a set that was held elsewhere, as by the process that this one was forked from. What
    /// may not be used, because it has ended say, is passed over. The first fetch stays due at once. What
    /// the API accepted elsewhere shows that the keys are good, and is not counted here.
    pub fn inherit(&mut self, now: Moment, mut set: CredentialSet) {
        self.observe_clocks(now);
        for credential in set.members_mut() {
            self.fetching.is_proven |= credential.accepted().count() > 0;
            Arc::make_mut(credential).restart_count();
        }
        if !holdings::has_ended(now, &set) && self.fetched(set).is_ok() {
            self.fetching.ask(now.boot);
        }
        self.publish_if_changed();
        // It happened elsewhere: nobody here is told, and nothing was fetched yet.
        self.out.clear();
        self.counts = Counts::default();
    }

    /// What was published last.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.published
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The set that a fetch may ask about with a condition. None once its newest credential has ended by
    /// the client's clocks: the full state, with the source's own clock, then shows whether that is so. Nor
    /// once the API rejected what is in use, or for a fetch that is forced: «nothing newer» would be no help,
    /// and may be wrong.
    pub fn confirmable(&self) -> Option<&Arc<CredentialSet>> {
        let is_rejected = || self.used().is_some_and(|used| used.run.is_some());
        self.current_set().filter(|_| !self.fetching.is_forced() && !is_rejected())
    }

    /// What a fetch that begins now is to know: the set that is held, with its validator only where it may
    /// ask with a condition.
    pub fn known_to_fetch(&self) -> Option<Arc<CredentialSet>> {
        let known = self.confirmable().cloned();
        known.or_else(|| {
            let set = self.current_set()?;
            Some(Arc::new(CredentialSet { validator: None, ..(**set).clone() }))
        })
    }

    fn current_set(&self) -> Option<&Arc<CredentialSet>> {
        let has_ended = self.holdings.primary().is_none_or(|primary| primary.has_ended(self.now));
        self.holdings.set.as_ref().filter(|_| !has_ended)
    }

    /// Takes one input and says what to do. `sends` is the number of sends so far.
    pub fn step(&mut self, now: Moment, sends: u64, input: Input) -> Vec<Action> {
        if self.closed {
            return Vec::new();
        }
        self.sends = sends;
        self.observe_clocks(now);
        self.fetching.is_proven |=
            self.used().is_some_and(|used| used.credential.accepted().count() > 0);
        match input {
            Input::Woke => {}
            Input::Fetched(ticket, set) => self.conclude(ticket, |this| this.fetched(set)),
            Input::NotModified(ticket) => self.conclude(ticket, Self::not_modified),
            Input::Failed(ticket, error) => self.conclude(ticket, |_| Err(error)),
            Input::Rejected(evidence) => self.rejected(&evidence),
            Input::Accepted(evidence) => self.accepted(&evidence),
            Input::Doubted(evidence) => self.doubted(&evidence),
            Input::Unfit(unfit) => self.unfit(unfit),
            Input::Hinted { generation, immediate } => self.hinted(generation, immediate),
            Input::PushLost(silent) => self.tell(Event::PushLost { silent }),
            Input::CredentialStatus { credential, status } => {
                self.on_credential_status(&credential, &status);
            }
            Input::RefreshRequested => self.fetching.ask(now.boot),
            Input::Waited => self.waited(),
            Input::Reported(outcome) => self.reporting.concluded(now.boot, &outcome),
            Input::ReportDeclined => self.reporting.decline(),
            Input::Closed => return self.close(),
        }
        self.pass_time();
        self.start_fetch();
        self.publish_if_changed();
        self.report();
        // Snapshots go out before anybody is woken to look at them; the rest keeps its order.
        self.out.sort_by_key(|action| match action {
            Action::Publish(_) => 0,
            Action::Settle(_) => 2,
            _ => 1,
        });
        std::mem::take(&mut self.out)
    }

    /// When to step again if nothing else happens. None only once closed.
    pub fn wake_at(&self) -> Option<Moment> {
        if self.closed {
            return None;
        }
        let now = self.now;
        let lagging = self.probation.as_ref().map(|probation| probation.lagging_at);
        let report = Some(self.reporting.wake_at());
        let times = [Some(self.listen_until), lagging, self.episode_ends(), report];
        let times = times.into_iter().flatten().filter(|at| *at > now.boot);
        let times = times.chain([self.fetching.wake_at()]);
        let waits = times.map(|at| Duration::from_millis(at.saturating_sub(now.boot)));
        let ends = self.holdings.times().chain(self.promote_at());
        let ends = ends.filter(|at| !at.reached(now)).map(|at| at.remaining(now));
        Some(now + waits.chain(ends).min().unwrap_or(self.policy.wake).min(self.policy.wake))
    }

    // ---- time ----

    fn after(&self, wait: Duration) -> u64 {
        self.now.boot.saturating_add(millis(wait))
    }

    fn observe_clocks(&mut self, now: Moment) {
        let wall = now.wall.saturating_sub(self.now.wall);
        let boot = i64::try_from(now.boot.saturating_sub(self.now.boot)).unwrap_or(i64::MAX);
        self.now = now;
        let by_ms = wall.saturating_sub(boot);
        if by_ms.saturating_abs() > JUMP_MS {
            self.fetching.want(now.boot);
            self.tell(Event::ClockJumped { by_ms });
        }
    }

    fn pass_time(&mut self) {
        let now = self.now;
        if let Some(late) = self.fetching.overdue(now.boot) {
            self.out.push(Action::AbandonFetch(late));
            let limit = self.policy.fetch_timeout.as_secs_f64();
            let what = format!("the source did not answer within {limit} s");
            self.conclude(late, |_| Err(Error::new(ErrorKind::Timeout, what)));
        }
        if self.promote_at().is_some_and(|at| at.reached(now)) {
            self.promote(false);
        }
        self.choose(Duration::ZERO);
        if self.is_starving() {
            self.fetching.hurry(now.boot);
        }
        // What was refused is believed if it is still said then.
        let believes_at = self.holdings.believes_at().filter(|at| *at > now.boot);
        if let Some(at) = believes_at.filter(|_| self.has_nothing_to_lose()) {
            self.fetching.want(at);
        }
        if self.episode_ends().is_some_and(|at| at <= now.boot) {
            self.end_episode();
        }
        if let Some(probation) = &mut self.probation
            && let Some(since) = probation.lagging(now, &self.policy)
        {
            let credential = probation.of.clone();
            self.tell(Event::Lagging { credential, since });
        }
    }

    // ---- telling ----

    fn tell(&mut self, event: Event) {
        self.out.push(Action::Tell(event));
    }

    /// Tells the provider what is in use, when that is due.
    fn report(&mut self) {
        let candidate = self.probation.as_ref().map(|probation| &*probation.of);
        let hand = InHand { in_use: self.in_use.as_deref(), candidate };
        let report = self.reporting.pass(self.now, &self.holdings, &hand);
        self.out.extend(report.map(Action::Report));
    }

    fn close(&mut self) -> Vec<Action> {
        self.closed = true;
        let mut out = std::mem::take(&mut self.out);
        out.extend(self.fetching.live_ticket().map(Action::AbandonFetch));
        out.extend(self.reporting.final_report(self.now).map(Action::Report));
        out.push(Action::Settle(Err(Error::new(ErrorKind::Closed, "the handle was closed"))));
        out
    }
}
