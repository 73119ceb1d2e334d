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

use std::{sync::Arc, time::Duration};

use super::{
    adoption::{InHand, Reporting},
    fetching::Fetching,
    held::{self, Admitted, Held, Standing},
    member::{Episode, EpisodeState, Member, Role},
    probation::Probation,
    snapshot::{Candidate, ProbeSlot, Snapshot, Usable},
};
use crate::{
    credential::{CredentialId, CredentialSet},
    error::{Error, ErrorKind},
    event::{Event, WentBack},
    moment::{Moment, millis},
    policy::Policy,
};

pub use super::{
    fetching::{Backoff, default_backoff},
    input::{Action, Announcement, Counts, Evidence, Input, Unfit},
};

#[cfg(test)]
mod tests;

/// How long after a rejection the API's acceptances are listened to.
const LISTEN: Duration = Duration::from_secs(10);
/// A difference between the clocks that is a jump, not a correction.
const JUMP_MS: i64 = 2_000;
/// How many credentials it remembers to have used, to tell a rollback from a rotation.
const REMEMBERED: usize = 16;

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
    held: Held,
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
            held: Held::new(policy.clone()),
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
            demand: false,
            brought: Vec::new(),
        }
    }

    /// Names of schemes, beyond the built-in ones, that this program can apply.
    pub fn know_schemes(&mut self, names: impl IntoIterator<Item = Box<str>>) {
        self.held.known_schemes.extend(names);
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
        if !held::has_ended(now, &set) && self.fetched(set).is_ok() {
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
        let has_ended = self.held.primary().is_none_or(|primary| primary.has_ended(self.now));
        self.held.set.as_ref().filter(|_| !has_ended)
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
            Input::Announced { credential, what } => self.announced(&credential, &what),
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
        let ends = self.held.times().chain(self.promote_at());
        let ends = ends.filter(|at| !at.reached(now)).map(|at| at.remaining(now));
        Some(now + waits.chain(ends).min().unwrap_or(self.policy.wake).min(self.policy.wake))
    }

    // ---- fetching ----

    /// A fetch has ended in some way. A failure is told and planned around; it displaces nothing.
    fn conclude(&mut self, ticket: u64, outcome: impl FnOnce(&mut Self) -> Result<(), Error>) {
        let Some(live) = self.fetching.conclude(self.now.boot, ticket) else { return };
        let changed = self.counts.changed;
        let outcome = outcome(self);
        if let Err(error) = &outcome {
            self.failed(error);
        }
        let is_new = self.counts.changed > changed;
        if is_new && !live.forced {
            self.brought.clear();
        }
        if !is_new {
            self.doubt(live.forced);
        }
        self.settle(outcome);
    }

    /// The source has nothing else than a key that was rejected. If nothing was ever accepted, waiting for
    /// more than one forced fetch is in vain, unless the floor allows another one soon.
    fn doubt(&mut self, was_forced: bool) {
        let is_open = |used: &Member| used.is_in(EpisodeState::Open) && used.run.is_some();
        if !self.fetching.is_doubtful() || !self.used().is_some_and(is_open) {
            return;
        }
        if !was_forced {
            self.fetching.force(self.now.boot);
        } else if !self.fetching.could_help(self.now.boot) {
            self.end_episode();
        }
    }

    fn settle(&mut self, outcome: Result<(), Error>) {
        self.demand = false;
        self.out.push(Action::Settle(outcome));
    }

    fn fetched(&mut self, mut set: CredentialSet) -> Result<(), Error> {
        let working = self.used().filter(|used| used.is_usable(self.now) && used.run.is_none());
        let working = working.map(|working| working.credential.shared_id());
        let standing = Standing {
            is_idle: self.in_use.is_none(),
            is_lost: self.has_nothing_to_lose(),
            working: working.as_deref(),
        };
        let admitted = self.held.admit(self.now, &mut set, &standing)?;
        self.held.keep_counts(&mut set);
        let set = Arc::new(set);
        if admitted == Admitted::Same {
            self.held.confirm(self.now, &set, self.sends);
            self.renewed();
        } else {
            self.install(&set, admitted);
        }
        Ok(())
    }

    /// Whether a set is held of which the API accepts nothing: each is rejected, or has ended.
    fn is_lost(&self) -> bool {
        let is_gone = |member: &Member| !member.is_usable(self.now) || member.run.is_some();
        self.held.set.is_some()
            && self.held.members.iter().all(is_gone)
            && self.used().is_none_or(|used| used.run.is_some())
    }

    /// Whether an older answer can undo nothing.
    fn has_nothing_to_lose(&self) -> bool {
        self.held.set.is_none() || self.is_lost()
    }

    /// Whether nothing is usable that should be. A set that was revoked is not looked for in haste.
    fn is_starving(&self) -> bool {
        self.in_use.is_none() && self.cause.kind() != ErrorKind::SetRevoked
    }

    fn not_modified(&mut self) -> Result<(), Error> {
        let what = match self.held.primary() {
            None => "the source says «not modified», but nothing is held",
            Some(primary) if primary.has_ended(self.now) => {
                "the source has nothing newer than a credential that has ended"
            }
            Some(_) => {
                self.renewed();
                return Ok(());
            }
        };
        Err(Error::new(ErrorKind::Malformed, what))
    }

    /// The source has nothing newer: what is held is fresh again.
    fn renewed(&mut self) {
        self.worked();
        self.counts.not_modified += 1;
        self.tell(Event::NotModified { generation: self.held.generation.unwrap_or(0) });
        self.plan_next();
    }

    fn worked(&mut self) {
        self.counts.last_success = Some(self.now.wall);
        if self.failure.take().is_some() {
            self.tell(Event::Recovered { credential: self.in_use.clone(), went_back: None });
        }
    }

    fn plan_next(&mut self) {
        let now = self.now;
        let splay = self.held.splay().mul_f64(self.held.jitter);
        let left = self.held.left(now);
        // A wish that lies in the past is ignored.
        let asked = self.held.refresh_at.filter(|at| !at.reached(now));
        let asked = asked.map(|at| at.remaining(now).saturating_add(splay));
        let generation = self.held.generation.unwrap_or(0);
        self.fetching.worked(now.boot, generation, left, asked, self.held.jitter, self.rng.f64());
    }

    fn failed(&mut self, error: &Error) {
        self.counts.failed += 1;
        self.failure = Some(error.clone());
        if error.kind() == ErrorKind::SetRevoked {
            self.revoke_all();
            self.cause = error.clone();
        } else if self.in_use.is_none() && self.cause.kind() != ErrorKind::SetRevoked {
            self.cause = error.clone();
        }
        let urgent = self.is_starving() || self.is_lost() || self.published.hard;
        let next = self.fetching.failed(self.now.boot, error, urgent, self.rng.u64(..));
        let retry_in = Duration::from_millis(next.saturating_sub(self.now.boot));
        self.tell(Event::FetchFailed { error: error.clone(), retry_in });
    }

    fn hinted(&mut self, generation: Option<u64>, immediate: bool) {
        if generation.is_none_or(|hinted| self.held.generation.is_none_or(|held| hinted > held)) {
            let spread = if immediate { 0.0 } else { self.rng.f64() };
            let at = self.after(self.held.splay().mul_f64(spread));
            self.fetching.hinted(at, generation, immediate);
        }
    }

    /// What the API says of a credential changes nothing by itself: it makes a fetch come sooner.
    fn announced(&mut self, id: &str, what: &Announcement) {
        let (now, is_held) = (self.now.boot, |id: &CredentialId| self.held.member(id).is_some());
        let is_known = match what {
            Announcement::Retiring { successor } => successor.as_ref().is_some_and(is_held),
            Announcement::Revoked => false,
        };
        let Some(member) = self.held.member_mut(id).filter(|_| !is_known) else { return };
        if !member.follow_announcement(now, &self.policy) {
            return;
        }
        match what {
            Announcement::Retiring { .. } => self.hinted(None, false),
            Announcement::Revoked => self.hinted(None, true),
        }
    }

    fn waited(&mut self) {
        self.demand = true;
        if self.used().is_some_and(|used| used.is_in(EpisodeState::Open)) {
            self.fetching.force_again(self.now.boot);
        }
    }

    fn start_fetch(&mut self) {
        if let Some(live) = self.fetching.start(self.now.boot) {
            self.counts.forced += u64::from(live.forced);
            self.out.push(Action::StartFetch(live.ticket));
        }
        if self.demand && !self.fetching.is_worth_waiting(self.now.boot) {
            let failure = self.failure.clone().map_or(Ok(()), Err);
            self.settle(if self.in_use.is_some() { failure } else { Err(self.cause.clone()) });
        }
    }

    // ---- a new set ----

    fn install(&mut self, set: &Arc<CredentialSet>, admitted: Admitted) {
        let jitter = self.rng.f64();
        let held = |id: &CredentialId| self.held.member(id).is_some();
        self.brought = set.members().map(|new| new.shared_id()).filter(|id| !held(id)).collect();
        let change = self.held.install(self.now, set, self.sends, jitter, admitted);
        // Other material under the id in use is a swap.
        let is_rotation = self.in_use.is_some();
        self.in_use.take_if(|id| change.replaced.contains(id));
        self.open_window(is_rotation);
        self.fetching.has_rotated |= is_rotation;
        self.fetching.stop_forcing();
        self.worked();
        self.counts.changed += 1;
        let primary = self.held.members[0].credential.shared_id();
        self.tell(Event::Fetched { generation: set.generation(), primary });
        if let Admitted::Back(from) = admitted {
            let (credential, to) = (self.in_use.clone(), set.generation());
            self.tell(Event::Recovered { credential, went_back: Some(WentBack { from, to }) });
        }
        if !change.revoked.is_empty() {
            self.tell(Event::Revoked { credentials: change.revoked, set: false });
        }
        self.plan_next();
        self.choose(self.policy.keep_in_use);
        if self.in_use.is_none() {
            self.cause = self.held.why_nothing(self.now);
        }
    }

    fn revoke_all(&mut self) {
        if let Some(credentials) = self.held.revoke() {
            (self.in_use, self.probation) = (None, None);
            self.fetching.stop_forcing();
            self.tell(Event::Revoked { credentials, set: true });
        }
    }

    // ---- who is in use ----

    /// The credential in use.
    fn used(&self) -> Option<&Member> {
        self.held.member(self.in_use.as_deref()?)
    }

    fn used_mut(&mut self) -> Option<&mut Member> {
        self.held.member_mut(self.in_use.as_deref()?)
    }

    fn is_in_use(&self, id: &str) -> bool {
        self.in_use.as_deref() == Some(id)
    }

    fn is_candidate(&self, id: &str) -> bool {
        self.probation.as_ref().is_some_and(|probation| &*probation.of == id)
    }

    /// Keeps the credential in use if it may stay for `left` more, else takes the newest usable one.
    fn choose(&mut self, left: Duration) {
        let stays = self.used().is_some_and(|used| {
            let lasts = || used.ends.is_none_or(|ends| ends.remaining(self.now) >= left);
            let does = || used.unfit.is_none() || self.held.fit(self.now).next().is_none();
            used.is_usable(self.now) && (used.role != Role::Previous || lasts()) && does()
        });
        if !stays {
            match self.held.best(self.now).map(|best| best.credential.shared_id()) {
                Some(to) if self.is_in_use(&to) => {}
                Some(to) if self.is_older_than_unfit(&to) => self.replace(to),
                Some(to) => {
                    let generation = self.held.generation.unwrap_or(0);
                    self.swap(to, |from, to| Event::Swapped { from, to, generation });
                }
                None => self.give_up(),
            }
        }
        self.begin_probation();
    }

    /// Whether the key in use is one that no request can carry, and this is not what followed it.
    fn is_older_than_unfit(&self, id: &str) -> bool {
        let is_newest = || self.held.usable(self.now).next().is_some_and(|newest| newest.is(id));
        self.used().is_some_and(|used| used.unfit.is_some()) && !is_newest()
    }

    /// Replicas may disagree from now on, about what came in place of something.
    fn open_window(&mut self, is_rotation: bool) {
        self.window_until = self.after(self.policy.rotation_window);
        if is_rotation {
            self.rotated_until = self.window_until;
        }
    }

    fn give_up(&mut self) {
        if let Some(gone) = self.in_use.take() {
            self.cause = self.failure.clone().unwrap_or_else(|| self.held.why_nothing(self.now));
            self.tell(Event::Expired { credential: gone });
        }
    }

    /// Takes a credential into use; tells so, or that the provider rolled back.
    fn swap(
        &mut self,
        to: CredentialId,
        event: impl FnOnce(Option<CredentialId>, CredentialId) -> Event,
    ) {
        let from = self.in_use.replace(to.clone());
        for id in from.iter().chain([&to]) {
            if let Some(member) = self.held.member_mut(id) {
                member.begin_anew(self.sends);
                member.end_episode(EpisodeState::Over);
            }
        }
        self.fetching.stop_forcing();
        self.open_window(from.is_some());
        self.trial = Arc::new(ProbeSlot::open_from(self.now.boot));
        let is_rollback = self.held.is_primary(&to) && self.was_in_use.contains(&to);
        let event = match from.clone() {
            Some(from) if is_rollback => Event::RolledBack { from, to },
            from => event(from, to),
        };
        self.counts.rollbacks += u64::from(matches!(event, Event::RolledBack { .. }));
        // One that the API made unusable may come back without the provider having gone back to it.
        let fell_back = matches!(event, Event::FellBack { .. });
        self.counts.fallbacks += u64::from(fell_back);
        if let Some(from) = from.filter(|from| !fell_back && !self.was_in_use.contains(from)) {
            self.was_in_use.push(from);
            let excess = self.was_in_use.len().saturating_sub(REMEMBERED);
            self.was_in_use.drain(..excess);
        }
        self.tell(event);
    }

    /// The newest usable credential is tried, if it is not the one in use.
    fn begin_probation(&mut self) {
        let newest = self.held.usable(self.now).next().filter(|_| self.in_use.is_some());
        let candidate = newest.map(|newest| newest.credential.shared_id());
        let candidate = candidate.filter(|id| !self.is_in_use(id));
        if candidate.as_ref() == self.probation.as_ref().map(|probation| &probation.of) {
            return;
        }
        self.probation = None;
        let Some((of, in_use)) = candidate.zip(self.in_use.clone()) else { return };
        if let Some(member) = self.held.member_mut(&of) {
            member.begin_anew(self.sends);
        }
        self.probation = Some(Probation::new(of.clone(), self.now, &self.policy));
        self.tell(Event::Candidate { credential: of, in_use });
    }

    /// When the candidate is used unproven. One that no request can carry never is.
    fn promote_at(&self) -> Option<Moment> {
        let probation = self.probation.as_ref()?;
        self.held.member(&probation.of).filter(|candidate| candidate.unfit.is_none())?;
        probation.promote_at(self.used()?.ends, &self.policy)
    }

    fn promote(&mut self, proven: bool) {
        let Some((from, probation)) = self.in_use.clone().zip(self.probation.take()) else {
            return;
        };
        self.swap(probation.of, |_, to| Event::Promoted { from, to, proven });
        self.begin_probation();
    }

    // ---- evidence ----

    fn rejected(&mut self, evidence: &Evidence) {
        let count = |member: &mut Member| member.rejected(evidence.sent);
        self.reject(&evidence.credential, None, count);
    }

    /// What no request can carry counts as rejected, with the reason why.
    fn unfit(&mut self, unfit: Unfit) {
        let Unfit { credential, why, sent } = unfit;
        let id = credential.shared_id();
        let rests = |probation: &Probation| probation.of == id && probation.rests(self.now);
        let is_held = self.held.member(&id).is_some_and(|held| *held.credential == *credential);
        if !is_held || self.probation.as_ref().is_some_and(rests) {
            return;
        }
        let (sends, reason) = (self.sends, why.clone());
        self.reject(&id, Some(why), |member| match sent {
            Some(sent) => member.rejected(sent),
            None => {
                member.is_unfit(sends, reason);
                true
            }
        });
    }

    fn reject(
        &mut self,
        id: &CredentialId,
        reason: Option<Error>,
        count: impl FnOnce(&mut Member) -> bool,
    ) {
        let (now, sends) = (self.now, self.sends);
        self.reporting.heard(now, id, true);
        let (is_in_use, is_candidate) = (self.is_in_use(id), self.is_candidate(id));
        let Some(member) = self.held.member_mut(id) else { return };
        let was_fit = member.unfit.is_none();
        let is_first = member.run.is_none() && is_in_use;
        let is_stale = member.has_ended(now);
        if !count(member) {
            return;
        }
        let is_told = is_first || (was_fit && member.unfit.is_some() && !is_candidate);
        if is_candidate {
            // The others that were on their way saw the same state of the API.
            member.ignore_until(sends);
        }
        self.counts.rejections += 1;
        self.listen_until = self.after(LISTEN);
        if is_told {
            let (credential, reason) = (id.clone(), reason.clone());
            self.tell(Event::Rejected { credential, candidate: false, probe_in: None, reason });
        }
        if is_candidate {
            self.probe_rejected(reason);
        }
        if !is_in_use {
            return;
        }
        if is_stale {
            self.held.stale_until = None;
        }
        if is_first {
            self.window_until = self.after(self.policy.rotation_window);
        }
        let (now, policy) = (now.boot, self.policy.clone());
        if self.used_mut().is_some_and(|used| used.open_episode(now, &policy)) {
            self.fetching.force(now);
        }
        self.fall_back();
    }

    fn accepted(&mut self, evidence: &Evidence) {
        let id = &evidence.credential;
        self.reporting.heard(self.now, id, false);
        let Some(member) = self.held.member_mut(id) else { return };
        let was_proven = member.proven.is_some();
        if !member.accepted(evidence.sent) {
            return;
        }
        self.fetching.is_proven = true;
        if self.held.member(id).is_some_and(|member| member.has_ended(self.now)) {
            self.held.outlive(id);
        }
        if self.brought.contains(id) {
            self.brought.clear();
            self.fetching.refund();
        }
        if self.held.member(id).is_some_and(|member| member.proven.is_some()) && !was_proven {
            // What was closed because of it is open.
            self.trial = Arc::new(ProbeSlot::open_from(self.now.boot));
        }
        if let Some(probation) = &mut self.probation {
            probation.reported = true;
        }
        let is_good = self.held.member(id).is_some_and(|member| member.run.is_none());
        self.calm(is_good && self.is_in_use(id));
        if self.is_candidate(id) {
            self.promote(true);
        } else {
            self.fall_back();
        }
    }

    /// Any acceptance ends the silence of an exhausted episode; one of the credential in use also ends
    /// an open one.
    fn calm(&mut self, is_over: bool) {
        let Some(used) = self.used_mut() else { return };
        let recovered = used.is_in(EpisodeState::Exhausted);
        if recovered || is_over {
            used.end_episode(EpisodeState::Over);
            self.fetching.stop_forcing();
        }
        if recovered {
            self.tell(Event::Recovered { credential: self.in_use.clone(), went_back: None });
        }
    }

    /// A trial brought no success where the credential in use did: it waits as after a rejection, and is
    /// not taken into use unproven meanwhile.
    fn doubted(&mut self, evidence: &Evidence) {
        let id = &evidence.credential;
        let is_news = self.held.member(id).is_some_and(|member| member.is_news(evidence.sent));
        let Some(probation) = self.probation.as_mut().filter(|it| it.of == *id && is_news) else {
            return;
        };
        if !probation.rests(self.now) {
            probation.failed(self.now, &self.policy);
        }
    }

    fn probe_rejected(&mut self, reason: Option<Error>) {
        let Some(probation) = &mut self.probation else { return };
        let probe_in = Some(probation.failed(self.now, &self.policy));
        let credential = probation.of.clone();
        self.tell(Event::Rejected { credential, candidate: true, probe_in, reason });
    }

    /// Another credential replaces the one in use only if the API accepted it after rejecting that one,
    /// and rejected that one twice with no acceptance between. One route that always says 401 flips
    /// nothing.
    fn fall_back(&mut self) {
        let Some(used) = self.used() else { return };
        let Some(run) = used.run.filter(|run| run.count >= 2) else { return };
        // One that is about to be given up itself is not worth the change.
        let lasts = |member: &Member| {
            member.ends.is_none_or(|ends| ends.remaining(self.now) > self.policy.give_up)
        };
        let is_better = |member: &&Member| {
            member.was_accepted_after(run.first)
                && !self.is_in_use(member.credential.id())
                && lasts(member)
        };
        let Some(to) = self.held.usable(self.now).find(is_better) else { return };
        let to = to.credential.shared_id();
        self.replace(to);
    }

    /// An older credential takes the place of the one in use.
    fn replace(&mut self, to: CredentialId) {
        let Some(used) = self.used() else { return };
        let (from, reason) = (used.credential.shared_id(), used.unfit.clone());
        self.swap(to, |_, to| Event::FellBack { from: from.clone(), to });
        self.begin_probation();
        if self.is_candidate(&from) {
            self.probe_rejected(reason);
        }
    }

    // ---- episodes ----

    /// When the state of the episode changes by itself.
    fn episode_ends(&self) -> Option<u64> {
        self.used()?.episode.as_ref()?.changes_at(self.fetching.wait())
    }

    /// The wait, or the cooldown, is over. If every usable credential was tried in vain, requests fail
    /// fast until the cooldown ends.
    fn end_episode(&mut self) {
        let Some(used) = self.used() else { return };
        let cools_at = used.episode.as_ref().map_or(0, Episode::cools_at);
        let left = Duration::from_millis(cools_at.saturating_sub(self.now.boot));
        let in_vain = used.run.is_some_and(|run| {
            let was_tried = |member: &Member| member.run.is_some_and(|it| it.last >= run.first);
            self.held.usable(self.now).all(was_tried)
        });
        let is_exhausted = in_vain && used.is_in(EpisodeState::Open) && !left.is_zero();
        let state = if is_exhausted { EpisodeState::Exhausted } else { EpisodeState::Over };
        if let Some(used) = self.used_mut() {
            used.end_episode(state);
        }
        self.fetching.stop_forcing();
        if let Some(credential) = self.in_use.clone().filter(|_| is_exhausted) {
            let never_accepted = !self.fetching.is_proven;
            self.tell(Event::Exhausted { credential, cooldown: left, never_accepted });
        }
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
        let believes_at = self.held.believes_at().filter(|at| *at > now.boot);
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
        let report = self.reporting.pass(self.now, &self.held, &hand);
        self.out.extend(report.map(Action::Report));
    }

    fn publish_if_changed(&mut self) {
        let next = self.project();
        if next.differs(&self.published) {
            self.published = Arc::new(next);
            self.out.push(Action::Publish(self.published.clone()));
        }
    }

    /// What requests see of the state.
    fn project(&self) -> Snapshot {
        let in_use = self.used();
        let candidate = self.probation.as_ref().and_then(|probation| {
            let credential = self.held.member(&probation.of)?.credential.clone();
            Some(Candidate { credential, slot: probation.slot.clone() })
        });
        let others =
            self.held.usable(self.now).filter(|member| !self.is_in_use(member.credential.id()));
        // What once was accepted is trusted until it is rejected.
        let known = |member: &Member| (member.run.is_none() && member.was_accepted()).then_some(0);
        // Replicas that disagree on one key disagree on each: one that came back is not proven by that.
        let is_rotating = self.rotated_until > self.now.boot;
        let disagree = is_rotating && self.held.usable(self.now).any(|member| member.wavers);
        let is_proof = |member: &Member| !(disagree && member.returned);
        let usable = |member: &Member| Usable {
            credential: member.credential.clone(),
            proof: member.proven.or_else(|| known(member)).filter(|_| is_proof(member)),
            is_known: member.was_accepted(),
        };
        let is_in = |state| in_use.is_some_and(|used| used.is_in(state));
        let suspect = is_in(EpisodeState::Open)
            && in_use.is_some_and(|used| used.run.is_some())
            && self.fetching.could_help(self.now.boot);
        let exhausted = is_in(EpisodeState::Exhausted);
        let listening = self.listen_until > self.now.boot;
        // Whether a key was ever accepted, and whether one that has ended still is, tells what to do later.
        let untold =
            in_use.is_some_and(|used| !self.fetching.is_proven || used.has_ended(self.now));
        let is_new = in_use.is_some_and(|used| used.run.is_some() && !used.was_accepted());
        let wavers = disagree || (is_rotating && is_new);
        Snapshot {
            epoch: self.published.epoch + 1,
            set: self.held.set.clone(),
            in_use: in_use.map(|used| used.credential.clone()),
            usable: in_use.into_iter().chain(others).map(usable).collect(),
            trial: self.trial.clone(),
            hard: in_use.is_some() && self.held.hard_at.is_some_and(|at| at.reached(self.now)),
            suspect,
            wavers,
            disagree,
            exhausted,
            evidence: candidate.is_some() || suspect || exhausted || listening || untold,
            patience: self.fetching.is_doubtful().then_some(self.fetching.wait()),
            candidate,
            window_until: self.window_until,
            sends: self.sends,
            cause: in_use.is_none().then(|| self.cause.clone()),
        }
    }

    fn close(&mut self) -> Vec<Action> {
        self.closed = true;
        let mut out = std::mem::take(&mut self.out);
        out.extend(self.fetching.live_ticket().map(Action::AbandonFetch));
        out.extend(self.reporting.goodbye(self.now).map(Action::Report));
        out.push(Action::Settle(Err(Error::new(ErrorKind::Closed, "the handle was closed"))));
        out
    }
}
