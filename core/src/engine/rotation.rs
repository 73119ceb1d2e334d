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

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    fetching::Fetching,
    member::{Episode, EpisodeState, Member, NEVER, Role},
    snapshot::{Candidate, ProbeSlot, Snapshot},
};
use crate::{
    credential::{CredentialId, CredentialSet},
    error::{Error, ErrorKind},
    event::Event,
    moment::{Moment, millis},
    policy::Policy,
};

pub use super::{
    fetching::{Backoff, default_backoff},
    input::{Action, Counts, Evidence, Input},
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
    known_schemes: BTreeSet<Box<str>>,
    rng: fastrand::Rng,
    now: Moment,
    sends: u64,
    out: Vec<Action>,
    counts: Counts,
    published: Arc<Snapshot>,
    closed: bool,
    fetching: Fetching,

    set: Option<Arc<CredentialSet>>,
    /// The highest generation of the lineage, also after the set was revoked.
    generation: Option<u64>,
    lineage: Option<Box<str>>,
    /// The set's credentials in its order: the primary one is the first.
    members: Vec<Member>,
    revoked: BTreeSet<CredentialId>,
    in_use: Option<CredentialId>,
    was_in_use: Vec<CredentialId>,
    probation: Option<Probation>,

    /// What the primary one had left to live when it came, or when its end was last moved.
    life: Option<Duration>,
    refresh_at: Option<Moment>,
    hard_at: Option<Moment>,
    stale_until: Option<Moment>,
    window_until: u64,
    listen_until: u64,
    /// The place of this client in its fleet, from 0 to 1; drawn once per swap.
    jitter: f64,
    /// Why nothing is usable, when nothing is.
    cause: Error,
    /// Why the last fetch failed, if it did.
    failure: Option<Error>,
    /// Whether somebody waits for a fetch.
    demand: bool,
}

/// The trial of a candidate.
struct Probation {
    of: CredentialId,
    since: Moment,
    rejections: usize,
    /// Whether anybody reports what the API says.
    reported: bool,
    slot: Arc<ProbeSlot>,
    lagging_at: u64,
}

impl Rotation {
    /// A rotation that holds nothing and wants to fetch at once. All its randomness comes from `seed`.
    pub fn new(now: Moment, seed: u64, policy: Arc<Policy>, backoff: Backoff) -> Self {
        let cause =
            Error::new(ErrorKind::NotReady, "no credentials yet: the first fetch has not ended");
        Self {
            fetching: Fetching::new(now.boot, policy.clone(), backoff),
            policy,
            known_schemes: ["api_key", "bearer", "basic"].map(Box::from).into(),
            rng: fastrand::Rng::with_seed(seed),
            now,
            sends: 0,
            out: Vec::new(),
            counts: Counts::default(),
            published: Arc::new(Snapshot::nothing(cause.clone())),
            closed: false,
            set: None,
            generation: None,
            lineage: None,
            members: Vec::new(),
            revoked: BTreeSet::new(),
            in_use: None,
            was_in_use: Vec::new(),
            probation: None,
            life: None,
            refresh_at: None,
            hard_at: None,
            stale_until: None,
            window_until: 0,
            listen_until: 0,
            jitter: 0.0,
            cause,
            failure: None,
            demand: false,
        }
    }

    /// Names of schemes, beyond the built-in ones, that this program can apply.
    pub fn know_schemes(&mut self, names: impl IntoIterator<Item = Box<str>>) {
        self.known_schemes.extend(names);
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
    /// the client's clocks: the full state, with the source's own clock, then shows whether that is so.
    pub fn confirmable(&self) -> Option<&Arc<CredentialSet>> {
        let has_ended = self.members.first().is_none_or(|primary| primary.has_ended(self.now));
        self.set.as_ref().filter(|_| !has_ended)
    }

    /// Takes one input and says what to do. `sends` is the number of sends so far.
    pub fn step(&mut self, now: Moment, sends: u64, input: Input) -> Vec<Action> {
        if self.closed {
            return Vec::new();
        }
        self.sends = sends;
        self.observe_clocks(now);
        match input {
            Input::Woke => {}
            Input::Fetched(ticket, set) => self.conclude(ticket, |this| this.fetched(set)),
            Input::NotModified(ticket) => self.conclude(ticket, Self::not_modified),
            Input::Failed(ticket, error) => self.conclude(ticket, |_| Err(error)),
            Input::Rejected(evidence) => self.rejected(&evidence),
            Input::Accepted(evidence) => self.accepted(&evidence),
            Input::Hinted { generation, immediate } => self.hinted(generation, immediate),
            Input::RefreshRequested => self.fetching.ask(now.boot),
            Input::Waited => self.waited(),
            Input::Closed => return self.close(),
        }
        self.pass_time();
        self.start_fetch();
        self.publish_if_changed();
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
        let times = [Some(self.listen_until), lagging, self.episode_ends()];
        let times = times.into_iter().flatten().filter(|at| *at > now.boot);
        let times = times.chain([self.fetching.wake_at()]);
        let waits = times.map(|at| Duration::from_millis(at.saturating_sub(now.boot)));
        let ends = self.members.iter().flat_map(|member| [member.starts, member.ends]);
        let ends = ends.chain([self.hard_at, self.stale_until, self.promote_at()]).flatten();
        let ends = ends.filter(|at| !at.reached(now)).map(|at| at.remaining(now));
        Some(now + waits.chain(ends).min().unwrap_or(self.policy.wake).min(self.policy.wake))
    }

    // ---- fetching ----

    /// A fetch has ended in some way. A failure is told and planned around; it displaces nothing.
    fn conclude(&mut self, ticket: u64, outcome: impl FnOnce(&mut Self) -> Result<(), Error>) {
        let Some(live) = self.fetching.conclude(self.now.boot, ticket) else { return };
        let changed = self.counts.changed;
        let outcome = outcome(self);
        match &outcome {
            Err(error) => self.failed(error),
            Ok(()) if live.forced && self.counts.changed > changed => self.fetching.refund(),
            Ok(()) => {}
        }
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Result<(), Error>) {
        self.demand = false;
        self.out.push(Action::Settle(outcome));
    }

    fn fetched(&mut self, mut set: CredentialSet) -> Result<(), Error> {
        self.admit(&mut set)?;
        let set = Arc::new(set);
        match self.set.clone() {
            Some(held) if set.generation == self.generation && set.lineage == self.lineage => {
                if set.holds_same_keys(&held) {
                    self.confirmed(&set, &held);
                }
                self.renewed();
            }
            _ => self.install(&set),
        }
        Ok(())
    }

    /// Refuses what must not displace the set that is held, and numbers a set that has no number.
    fn admit(&self, set: &mut CredentialSet) -> Result<(), Error> {
        let malformed = |what: String| Err(Error::new(ErrorKind::Malformed, what));
        set.check()?;
        if let Some(back) = set.members().find(|member| self.revoked.contains(member.id())) {
            return malformed(format!("the set brings back {}, which was revoked", back.id()));
        }
        let ends = set.primary().and_then(|primary| primary.expires_at());
        if ends.is_some_and(|ends| self.to_moment(set, ends).reached(self.now)) {
            return malformed("the set's current credential has already ended".into());
        }
        let Some(held) = self.generation else {
            set.generation.get_or_insert(1);
            return Ok(());
        };
        let Some(generation) = set.generation else {
            let same = self.set.as_ref().is_some_and(|held| held.holds_same_keys(set));
            set.generation = Some(held.saturating_add(u64::from(!same)));
            return Ok(());
        };
        // An endpoint that lost its history must not lock out those to whom it has nothing to lose.
        if set.lineage != self.lineage && self.in_use.is_none() {
            return Ok(());
        }
        // A set that was revoked as a whole is restored only by a higher generation.
        if generation < held || (generation == held && self.set.is_none()) {
            return Err(Error::new(
                ErrorKind::OlderGeneration,
                format!(
                    "the source went back to generation {generation}, {held} is held: a rollback must be a new generation"
                ),
            ));
        }
        let changed = set.members().find(|new| {
            self.member(new.id()).is_some_and(|held| !held.credential.is_same_key(new))
        });
        match changed {
            Some(changed) => malformed(format!("{} has other material than before", changed.id())),
            None => Ok(()),
        }
    }

    fn not_modified(&mut self) -> Result<(), Error> {
        let what = match self.members.first() {
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
        self.tell(Event::NotModified { generation: self.generation.unwrap_or(0) });
        self.plan_next();
    }

    fn worked(&mut self) {
        self.counts.last_success = Some(self.now.wall);
        if self.failure.take().is_some() {
            self.tell(Event::Recovered { credential: self.in_use.clone() });
        }
    }

    fn plan_next(&mut self) {
        let now = self.now;
        let splay = self.splay().mul_f64(self.jitter);
        let primary = self.members.first();
        let left = primary.and_then(|primary| primary.ends).map(|ends| ends.remaining(now));
        // A wish that lies in the past is ignored.
        let asked = self.refresh_at.filter(|at| !at.reached(now));
        let asked = asked.map(|at| at.remaining(now).saturating_add(splay));
        let generation = self.generation.unwrap_or(0);
        self.fetching.worked(now.boot, generation, left, asked, self.jitter, self.rng.f64());
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
        let urgent = self.in_use.is_none() || self.published.hard;
        let next = self.fetching.failed(self.now.boot, error, urgent, self.rng.u64(..));
        let retry_in = Duration::from_millis(next.saturating_sub(self.now.boot));
        self.tell(Event::FetchFailed { error: error.clone(), retry_in });
    }

    fn hinted(&mut self, generation: Option<u64>, immediate: bool) {
        if generation.is_none_or(|hinted| self.generation.is_none_or(|held| hinted > held)) {
            let spread = if immediate { 0.0 } else { self.rng.f64() };
            self.fetching.hinted(self.after(self.splay().mul_f64(spread)), generation);
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

    fn install(&mut self, set: &Arc<CredentialSet>) {
        self.jitter = self.rng.f64();
        self.life = None;
        let gone = self.seat(set);
        // A source without generations may put other material under the id in use: that is a swap.
        if gone.iter().any(|member| self.is_in_use(member.credential.id())) {
            self.in_use.take_if(|id| self.members.iter().any(|member| member.is(id)));
        }
        for member in &mut self.members {
            member.episode = None;
        }
        let revoked: Vec<_> =
            set.revoked.iter().filter(|id| self.revoked.insert((*id).clone())).cloned().collect();
        self.generation = set.generation;
        self.lineage.clone_from(&set.lineage);
        self.set = Some(set.clone());
        self.window_until = self.after(self.policy.rotation_window);
        self.fetching.stop_forcing();
        self.worked();
        self.counts.changed += 1;
        let primary = self.members[0].credential.shared_id();
        self.tell(Event::Fetched { generation: set.generation(), primary });
        if !revoked.is_empty() {
            self.tell(Event::Revoked { credentials: revoked, set: false });
        }
        self.plan_next();
        self.choose(self.policy.keep_in_use);
        if self.in_use.is_none() {
            self.cause = self.why_nothing();
        }
    }

    /// The same keys again: their times may have changed, as with a lease that was renewed, or may be
    /// known better, because the source showed its clock.
    fn confirmed(&mut self, set: &Arc<CredentialSet>, held: &CredentialSet) {
        if !set.members().eq(held.members()) {
            self.set = Some(set.clone());
            self.life = None;
        }
        self.seat(set);
    }

    /// Makes members of a set's credentials. What is known of a key that was held before stays known.
    /// Returns the members that are gone.
    fn seat(&mut self, set: &CredentialSet) -> Vec<Member> {
        let mut old = std::mem::take(&mut self.members);
        for (index, credential) in set.members().enumerate() {
            let role = match index {
                0 => Role::Primary,
                n if n <= set.previous.len() => Role::Previous,
                _ => Role::Next,
            };
            let same = old.iter().position(|member| member.credential.is_same_key(credential));
            let mut member = match same.map(|at| old.swap_remove(at)) {
                Some(held) => held,
                None => Member::new(credential.clone(), role, self.sends),
            };
            // A source that shows its clock corrects what was believed before. One that does not leaves
            // alone what is known, or a wall clock that was set back would lengthen lives.
            let is_known = member.is_timed && member.role == role;
            let is_known = is_known && set.as_of.is_none() && *member.credential == **credential;
            // The object that requests already hold is kept, so that an unchanged key is no change.
            if *member.credential != **credential {
                member.credential = credential.clone();
            }
            member.role = role;
            let is_previous = role == Role::Previous;
            member.retired = is_previous.then(|| member.retired.unwrap_or(self.now));
            if !is_known {
                self.read_times(&mut member, set);
            }
            self.members.push(member);
        }
        let moment = |at: Option<Timestamp>| at.map(|at| self.to_moment(set, at));
        let ends = self.members[0].ends;
        let life = ends.map_or(Duration::ZERO, |ends| ends.remaining(self.now));
        let life = self.life.unwrap_or(life);
        let hard = life.mul_f64(self.policy.hard_lead_ratio).min(self.policy.hard_lead_max);
        let grace = life.min(self.policy.stale_grace);
        let stale_until = moment(set.stale_ok_until).or_else(|| ends.map(|ends| ends + grace));
        let refresh_at = moment(set.refresh_after);
        self.life = Some(life);
        self.hard_at = ends.map(|ends| ends.before(hard));
        self.stale_until = stale_until;
        self.refresh_at = refresh_at;
        old
    }

    /// Turns the times that the source named into local ones.
    fn read_times(&self, member: &mut Member, set: &CredentialSet) {
        let moment = |at: Option<Timestamp>| at.map(|at| self.to_moment(set, at));
        let credential = &member.credential;
        let splay = set.splay.mul_f64(self.jitter);
        member.is_timed = true;
        member.starts = match member.role {
            _ if self.is_foreign(member) => Some(NEVER),
            // Without a time, a staged credential is for information only.
            Role::Next => Some(moment(credential.activate_at()).map_or(NEVER, |at| at + splay)),
            _ => moment(credential.not_before()),
        };
        let expires = moment(credential.expires_at());
        member.ends = match member.retired {
            None => expires,
            Some(retired) => moment(credential.grace_expires_at()).or_else(|| {
                let grace = retired + self.policy.previous_grace;
                Some(expires.map_or(grace, |expires| expires.earlier(grace)))
            }),
        };
    }

    /// Whether it names a scheme that this program cannot apply.
    fn is_foreign(&self, member: &Member) -> bool {
        let named = member.credential.scheme();
        named.is_some_and(|named| !self.known_schemes.contains(&named.name))
    }

    /// The local moment of a time that the source named, by the source's own clock.
    fn to_moment(&self, set: &CredentialSet, at: Timestamp) -> Moment {
        let source_now = set.as_of.map_or(self.now.wall, Timestamp::as_millisecond);
        let left = at.as_millisecond().saturating_sub(source_now);
        match u64::try_from(left) {
            Ok(left) => self.now + Duration::from_millis(left),
            Err(_) => self.now.before(Duration::from_millis(left.unsigned_abs())),
        }
    }

    fn revoke_all(&mut self) {
        if self.set.take().is_none() {
            return;
        }
        let credentials = self.members.drain(..).map(|member| member.credential.shared_id());
        let credentials = credentials.collect();
        (self.in_use, self.probation) = (None, None);
        (self.hard_at, self.stale_until, self.refresh_at) = (None, None, None);
        self.fetching.stop_forcing();
        self.tell(Event::Revoked { credentials, set: true });
    }

    fn why_nothing(&self) -> Error {
        let (kind, what) = if self.members.iter().all(|member| self.is_foreign(member)) {
            (ErrorKind::SchemeFailed, "the set names a scheme that this program does not know")
        } else if self.members.iter().any(|member| !member.has_ended(self.now)) {
            (ErrorKind::NotReady, "no credential of the set is valid yet")
        } else {
            (ErrorKind::Expired, "every credential has ended and no newer one could be fetched")
        };
        Error::new(kind, what)
    }

    // ---- who is in use ----

    fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.is(id))
    }

    fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.is(id))
    }

    /// The credential in use.
    fn used(&self) -> Option<&Member> {
        self.member(self.in_use.as_deref()?)
    }

    fn is_in_use(&self, id: &str) -> bool {
        self.in_use.as_deref() == Some(id)
    }

    fn is_candidate(&self, id: &str) -> bool {
        self.probation.as_ref().is_some_and(|probation| &*probation.of == id)
    }

    /// All usable ones, in the order in which a newer one is preferred.
    fn usable(&self) -> impl Iterator<Item = &Member> {
        [Role::Next, Role::Primary, Role::Previous].into_iter().flat_map(|role| {
            let has_role = move |member: &&Member| member.role == role;
            self.members.iter().filter(has_role).filter(|member| member.is_usable(self.now))
        })
    }

    /// The primary past its end: it serves while nothing else does, until the stale grace or a
    /// rejection ends that too.
    fn stale(&self) -> Option<&Member> {
        let primary = self.members.first()?;
        let has_grace = self.stale_until.is_some_and(|until| !until.reached(self.now));
        (has_grace && primary.has_ended(self.now) && primary.run.is_none()).then_some(primary)
    }

    /// Keeps the credential in use if it may stay for `left` more, else takes the newest usable one.
    fn choose(&mut self, left: Duration) {
        let stays = self.used().is_some_and(|used| {
            let lasts = || used.ends.is_none_or(|ends| ends.remaining(self.now) >= left);
            used.is_usable(self.now) && (used.role != Role::Previous || lasts())
        });
        if !stays {
            let newest = self.usable().next().or_else(|| self.stale());
            match newest.map(|newest| newest.credential.shared_id()) {
                Some(to) if self.is_in_use(&to) => {}
                Some(to) => {
                    let generation = self.generation.unwrap_or(0);
                    self.swap(to, |from, to| Event::Swapped { from, to, generation });
                }
                None => self.give_up(),
            }
        }
        self.begin_probation();
    }

    fn give_up(&mut self) {
        if let Some(gone) = self.in_use.take() {
            self.cause = self.failure.clone().unwrap_or_else(|| self.why_nothing());
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
        let sends = self.sends;
        for id in from.iter().chain([&to]) {
            if let Some(member) = self.member_mut(id) {
                member.begin_anew(sends);
                if let Some(episode) = &mut member.episode {
                    episode.state = EpisodeState::Over;
                }
            }
        }
        self.fetching.stop_forcing();
        self.window_until = self.after(self.policy.rotation_window);
        let is_primary = self.members.first().is_some_and(|primary| primary.is(&to));
        let is_rollback = is_primary && self.was_in_use.contains(&to);
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
        let newest = self.usable().next().filter(|_| self.in_use.is_some());
        let candidate = newest.map(|newest| newest.credential.shared_id());
        let candidate = candidate.filter(|id| !self.is_in_use(id));
        if candidate.as_ref() == self.probation.as_ref().map(|probation| &probation.of) {
            return;
        }
        self.probation = None;
        let Some((of, in_use)) = candidate.zip(self.in_use.clone()) else { return };
        let (now, sends) = (self.now, self.sends);
        if let Some(member) = self.member_mut(&of) {
            member.begin_anew(sends);
        }
        self.probation = Some(Probation {
            of: of.clone(),
            since: now,
            rejections: 0,
            reported: false,
            slot: Arc::new(ProbeSlot::open_from(now.boot)),
            lagging_at: self.after(self.policy.lagging),
        });
        self.tell(Event::Candidate { credential: of, in_use });
    }

    /// When the candidate is used unproven.
    fn promote_at(&self) -> Option<Moment> {
        let probation = self.probation.as_ref()?;
        let ends = self.used()?.ends;
        if probation.rejections > 0 {
            return ends.map(|ends| ends.before(self.policy.give_up));
        }
        let since = probation.since;
        let half = ends.map(|ends| since + ends.remaining(since) / 2);
        let unreported = (!probation.reported).then(|| since + self.policy.probe_unreported);
        match (half, unreported) {
            (Some(half), Some(unreported)) => Some(half.earlier(unreported)),
            (half, unreported) => half.or(unreported),
        }
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
        let id = &evidence.credential;
        let (now, sends) = (self.now, self.sends);
        let (is_in_use, is_candidate) = (self.is_in_use(id), self.is_candidate(id));
        let Some(member) = self.member_mut(id) else { return };
        let is_first = member.run.is_none();
        let is_stale = member.has_ended(now);
        if !member.rejected(evidence.sent) {
            return;
        }
        if is_candidate {
            // The others that were on their way saw the same state of the API.
            member.ignore_until(sends);
        }
        self.counts.rejections += 1;
        self.listen_until = self.after(LISTEN);
        if is_candidate {
            self.probe_rejected();
        }
        if !is_in_use {
            return;
        }
        if is_stale {
            self.stale_until = None;
        }
        if is_first {
            self.window_until = self.after(self.policy.rotation_window);
            let credential = id.clone();
            self.tell(Event::Rejected { credential, candidate: false, probe_in: None });
        }
        self.open_episode();
        self.fall_back();
    }

    fn accepted(&mut self, evidence: &Evidence) {
        let id = &evidence.credential;
        if !self.member_mut(id).is_some_and(|member| member.accepted(evidence.sent)) {
            return;
        }
        if let Some(probation) = &mut self.probation {
            probation.reported = true;
        }
        let is_good = self.member(id).is_some_and(|member| member.run.is_none());
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
        let in_use = self.in_use.clone();
        let member = in_use.as_deref().and_then(|id| self.member_mut(id));
        let Some(episode) = member.and_then(|member| member.episode.as_mut()) else { return };
        let recovered = episode.state == EpisodeState::Exhausted;
        if recovered || is_over {
            episode.state = EpisodeState::Over;
            self.fetching.stop_forcing();
        }
        if recovered {
            self.tell(Event::Recovered { credential: in_use });
        }
    }

    fn probe_rejected(&mut self) {
        let opens = self.now.boot;
        let Some(probation) = &mut self.probation else { return };
        let delays = &self.policy.probe_delays;
        let delay = delays[probation.rejections.min(delays.len() - 1)];
        probation.rejections += 1;
        probation.reported = true;
        probation.slot = Arc::new(ProbeSlot::open_from(opens.saturating_add(millis(delay))));
        let credential = probation.of.clone();
        self.tell(Event::Rejected { credential, candidate: true, probe_in: Some(delay) });
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
        let Some(to) = self.usable().find(is_better) else { return };
        let (from, to) = (used.credential.shared_id(), to.credential.shared_id());
        self.swap(to, |_, to| Event::FellBack { from: from.clone(), to });
        self.begin_probation();
        if self.is_candidate(&from) {
            self.probe_rejected();
        }
    }

    // ---- episodes: what the rejection of a credential in use sets in motion ----

    fn open_episode(&mut self) {
        let now = self.now.boot;
        let (first, longest) = (self.policy.episode, self.policy.episode_max);
        let Some(id) = self.in_use.clone() else { return };
        let Some(member) = self.member_mut(&id) else { return };
        let cooldown = match &member.episode {
            Some(episode) if now < episode.cools_at() => return,
            Some(episode) => episode.cooldown.saturating_mul(2).min(longest),
            None => first,
        };
        member.episode = Some(Episode { opened: now, cooldown, state: EpisodeState::Open });
        self.fetching.force(now);
    }

    /// When the state of the episode changes by itself: requests wait for its fetches, and then fail
    /// fast until it has cooled down.
    fn episode_ends(&self) -> Option<u64> {
        let episode = self.used()?.episode.as_ref()?;
        match episode.state {
            EpisodeState::Open => Some(episode.opened.saturating_add(millis(self.policy.wait))),
            EpisodeState::Exhausted => Some(episode.cools_at()),
            EpisodeState::Over => None,
        }
    }

    /// The wait, or the cooldown, is over. If every usable credential was tried in vain, requests fail
    /// fast until the cooldown ends.
    fn end_episode(&mut self) {
        let (now, id) = (self.now.boot, self.in_use.clone());
        let Some(used) = self.used() else { return };
        let first = used.run.map(|run| run.first);
        let in_vain = first.is_some_and(|first| {
            let was_tried = |member: &Member| member.run.is_some_and(|run| run.last >= first);
            used.is_in(EpisodeState::Open) && self.usable().all(was_tried)
        });
        self.fetching.stop_forcing();
        let member = id.as_deref().and_then(|id| self.member_mut(id));
        let Some(episode) = member.and_then(|member| member.episode.as_mut()) else { return };
        let left = Duration::from_millis(episode.cools_at().saturating_sub(now));
        let is_exhausted = in_vain && !left.is_zero();
        episode.state = if is_exhausted { EpisodeState::Exhausted } else { EpisodeState::Over };
        if let Some(credential) = id.filter(|_| is_exhausted) {
            self.tell(Event::Exhausted { credential, cooldown: left });
        }
    }

    // ---- time ----

    fn after(&self, wait: Duration) -> u64 {
        self.now.boot.saturating_add(millis(wait))
    }

    /// Over how long the provider spreads its fleet.
    fn splay(&self) -> Duration {
        self.set.as_ref().map_or(Duration::ZERO, |set| set.splay)
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
        if self.episode_ends().is_some_and(|at| at <= now.boot) {
            self.end_episode();
        }
        if let Some(probation) = &mut self.probation
            && probation.lagging_at <= now.boot
        {
            let since = Duration::from_millis(now.boot.saturating_sub(probation.since.boot));
            let again = millis(since.max(self.policy.lagging));
            probation.lagging_at = now.boot.saturating_add(again);
            let credential = probation.of.clone();
            self.tell(Event::Lagging { credential, since });
        }
    }

    // ---- telling ----

    fn tell(&mut self, event: Event) {
        self.out.push(Action::Tell(event));
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
            let credential = self.member(&probation.of)?.credential.clone();
            Some(Candidate { credential, slot: probation.slot.clone() })
        });
        let others = self.usable().filter(|member| !self.is_in_use(member.credential.id()));
        let is_in = |state| in_use.is_some_and(|used| used.is_in(state));
        let suspect = is_in(EpisodeState::Open)
            && in_use.is_some_and(|used| used.run.is_some())
            && self.fetching.could_help(self.now.boot);
        let exhausted = is_in(EpisodeState::Exhausted);
        let listening = self.listen_until > self.now.boot;
        Snapshot {
            epoch: self.published.epoch + 1,
            set: self.set.clone(),
            in_use: in_use.map(|used| used.credential.clone()),
            usable: in_use.into_iter().chain(others).map(|used| used.credential.clone()).collect(),
            hard: in_use.is_some() && self.hard_at.is_some_and(|at| at.reached(self.now)),
            suspect,
            exhausted,
            evidence: candidate.is_some() || suspect || exhausted || listening,
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
        out.push(Action::Settle(Err(Error::new(ErrorKind::Closed, "the handle was closed"))));
        out
    }
}
