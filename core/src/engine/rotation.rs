//! When to fetch, what to publish, whom to promote, roll back and retire.
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
    bucket::Bucket,
    snapshot::{Candidate, ProbeSlot, Snapshot},
};
use crate::{
    credential::{Credential, CredentialId, CredentialSet},
    error::{Error, ErrorKind},
    event::Event,
    moment::{Moment, millis},
    policy::Policy,
};

/// What happened.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "made once a step and moved once")]
pub enum Input {
    /// The time that [`Rotation::wake_at`] named has come, or somebody wants a look.
    Woke,
    /// A fetch brought a set.
    Fetched(u64, CredentialSet),
    /// A fetch learnt that nothing changed.
    NotModified(u64),
    /// A fetch failed.
    Failed(u64, Error),
    /// The API rejected a credential.
    Rejected(Evidence),
    /// The API accepted a credential.
    Accepted(Evidence),
    /// A push channel says that there is something newer.
    Hinted {
        /// The generation it speaks of, if it says.
        generation: Option<u64>,
        /// Whether the fleet is not to be spread this time.
        immediate: bool,
    },
    /// The program asks for a refresh.
    RefreshRequested,
    /// A request, or the program, waits for a fetch.
    Waited,
    /// Nobody needs the set any more.
    Closed,
}

/// What an API said of one credential on one send.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The credential.
    pub credential: CredentialId,
    /// The number of the send.
    pub sent: u64,
}

/// What to do. To be performed in order: snapshots are published before waiters are settled.
#[derive(Clone, Debug)]
pub enum Action {
    /// Begin a fetch under this ticket.
    StartFetch(u64),
    /// The fetch of this ticket took too long; whatever it still brings is ignored.
    AbandonFetch(u64),
    /// Show this to requests.
    Publish(Arc<Snapshot>),
    /// Wake all who wait for a fetch: it ended, like this, or there is nothing to wait for.
    Settle(Result<(), Error>),
    /// Tell observers.
    Tell(Event),
}

/// What a rotation has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Fetches that brought a new generation.
    pub changed: u64,
    /// Fetches that learnt that nothing changed.
    pub not_modified: u64,
    /// Fetches that failed.
    pub failed: u64,
    /// Fetches that a rejection forced.
    pub forced: u64,
    /// Rejections that counted as evidence.
    pub rejections: u64,
    /// Times an older credential was taken into use because the newer one was rejected.
    pub fallbacks: u64,
    /// Times the provider went back to an older credential.
    pub rollbacks: u64,
    /// When a fetch last worked, on the wall clock.
    pub last_success: Option<i64>,
}

/// A retry schedule: made anew after each success.
pub type Backoff = Arc<dyn Fn(u64) -> Box<dyn Iterator<Item = Duration> + Send> + Send + Sync>;

/// How long after a rejection the API's acceptances are listened to.
const LISTEN: Duration = Duration::from_secs(10);
/// A difference between the clocks that is a jump, not a correction.
const JUMP_MS: i64 = 2_000;

/// The long-lived state machine of one handle.
pub struct Rotation {
    policy: Arc<Policy>,
    backoff: Backoff,
    known_schemes: BTreeSet<Box<str>>,
    rng: fastrand::Rng,
    now: Moment,
    sends: u64,
    out: Vec<Action>,
    counts: Counts,
    published: Arc<Snapshot>,
    closed: bool,

    set: Option<Arc<CredentialSet>>,
    generation: Option<u64>,
    lineage: Option<Box<str>>,
    members: Vec<Member>,
    in_use: Option<CredentialId>,
    was_in_use: Vec<CredentialId>,
    revoked: BTreeSet<CredentialId>,
    stale_until: Option<Moment>,
    hard_at: Option<Moment>,
    window_until: u64,
    cause: Error,
    probation: Probation,
    episodes: Vec<Episode>,
    listen_until: u64,

    live: Option<Live>,
    ticket: u64,
    last_start: Option<u64>,
    last_end: u64,
    floor: u64,
    next_fetch: u64,
    not_before: u64,
    retry: Option<Box<dyn Iterator<Item = Duration> + Send>>,
    slow_retries: u32,
    failing: bool,
    hint: Option<(u64, Option<u64>)>,
    refresh: bool,
    forced: Option<u64>,
    bucket: Bucket,
    demand: bool,
    jitter: f64,
}

struct Live {
    ticket: u64,
    deadline: u64,
    forced: bool,
    /// The generation that a hint promised before it began.
    hinted: Option<u64>,
}

/// One credential of the set, with what is known of it.
struct Member {
    credential: Arc<Credential>,
    role: Role,
    starts: Option<Moment>,
    ends: Option<Moment>,
    /// When it was first seen as a previous one: its grace counts from then.
    retired: Option<Moment>,
    /// The number of sends when its state last changed. Evidence up to it is ignored.
    since: u64,
    accepted: u64,
    /// The first and the last send of the current run of rejections.
    run: Option<(u64, u64)>,
    rejections: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Primary,
    Previous,
    Next,
}

/// What is known of the candidate's trial.
struct Probation {
    of: Option<CredentialId>,
    since: Moment,
    /// Half of the life that the credential in use had left when the trial began.
    half: Option<Moment>,
    rejections: usize,
    reported: bool,
    /// Whether the provider went back to a credential that was in use before.
    is_rollback: bool,
    slot: Arc<ProbeSlot>,
    slot_opens: u64,
    lagging_at: u64,
}

/// What a rejected credential in use set in motion.
struct Episode {
    of: CredentialId,
    opened: u64,
    cooldown: Duration,
    state: EpisodeState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EpisodeState {
    Open,
    Exhausted,
    Over,
}

impl Rotation {
    /// A rotation that holds nothing and wants to fetch at once. All its randomness comes from `seed`.
    pub fn new(now: Moment, seed: u64, policy: Arc<Policy>, backoff: Backoff) -> Self {
        let cause =
            Error::new(ErrorKind::NotReady, "no credentials yet: the first fetch has not ended");
        let slot = Arc::new(ProbeSlot::open_from(0));
        Self {
            bucket: Bucket::new(policy.forced_burst, policy.forced_every),
            floor: millis(policy.fetch_floor_min),
            policy,
            backoff,
            known_schemes: BTreeSet::new(),
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
            in_use: None,
            was_in_use: Vec::new(),
            revoked: BTreeSet::new(),
            stale_until: None,
            hard_at: None,
            window_until: 0,
            cause,
            probation: Probation {
                of: None,
                since: now,
                half: None,
                rejections: 0,
                reported: false,
                is_rollback: false,
                slot,
                slot_opens: 0,
                lagging_at: 0,
            },
            episodes: Vec::new(),
            listen_until: 0,
            live: None,
            ticket: 0,
            last_start: None,
            last_end: 0,
            next_fetch: now.boot,
            not_before: 0,
            retry: None,
            slow_retries: 0,
            failing: false,
            hint: None,
            refresh: false,
            forced: None,
            demand: false,
            jitter: 0.0,
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

    /// Takes one input and says what to do. `sends` is the number of sends so far.
    pub fn step(&mut self, now: Moment, sends: u64, input: Input) -> Vec<Action> {
        if self.closed {
            return Vec::new();
        }
        self.sends = sends;
        self.observe_clocks(now);
        match input {
            Input::Woke => {}
            Input::Fetched(ticket, set) => {
                if let Some(live) = self.conclude(ticket) {
                    let outcome = self.fetched(set, &live);
                    self.settle(outcome);
                }
            }
            Input::NotModified(ticket) => {
                if let Some(live) = self.conclude(ticket) {
                    let outcome = self.not_modified(&live);
                    self.settle(outcome);
                }
            }
            Input::Failed(ticket, error) => {
                if self.conclude(ticket).is_some() {
                    let error = self.failed(error);
                    self.settle(Err(error));
                }
            }
            Input::Rejected(evidence) => self.rejected(&evidence),
            Input::Accepted(evidence) => self.accepted(&evidence),
            Input::Hinted { generation, immediate } => self.hinted(generation, immediate),
            // A fetch that already runs is joined.
            Input::RefreshRequested => self.refresh = self.live.is_none(),
            Input::Waited => self.waited(),
            Input::Closed => return self.close(),
        }
        self.pass_time();
        self.plan_fetch();
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
        let mut wait = self.policy.wake;
        let mut boot =
            |at: u64| wait = wait.min(Duration::from_millis(at.saturating_sub(now.boot)));
        match &self.live {
            Some(live) => boot(live.deadline),
            None => boot(self.due().0),
        }
        let pending = [self.listen_until, self.probation.lagging_at];
        pending.into_iter().filter(|at| *at > now.boot).for_each(&mut boot);
        for episode in &self.episodes {
            match episode.state {
                EpisodeState::Open => boot(episode.opened + millis(self.policy.wait)),
                EpisodeState::Exhausted => boot(episode.opened + millis(episode.cooldown)),
                EpisodeState::Over => {}
            }
        }
        let changes = self.members.iter().flat_map(|member| [member.starts, member.ends]).flatten();
        for at in
            changes.chain([self.hard_at, self.stale_until, self.promote_at()].into_iter().flatten())
        {
            if !at.reached(now) {
                wait = wait.min(at.remaining(now));
            }
        }
        Some(now + wait)
    }

    // ---- fetching ----

    fn conclude(&mut self, ticket: u64) -> Option<Live> {
        let live = self.live.take_if(|live| live.ticket == ticket)?;
        self.last_end = self.now.boot;
        self.demand = false;
        Some(live)
    }

    fn settle(&mut self, outcome: Result<(), Error>) {
        self.out.push(Action::Settle(outcome));
    }

    fn fetched(&mut self, mut set: CredentialSet, live: &Live) -> Result<(), Error> {
        if let Err(error) = self.admit(&mut set) {
            return Err(self.failed(error));
        }
        if self.set.is_some() && set.generation == self.generation {
            if set.stale_ok_until.is_some() {
                self.stale_until = set.stale_ok_until.map(|until| self.to_moment(&set, until));
            }
            self.renewed(&set, live);
            return Ok(());
        }
        if live.forced {
            self.bucket.refund();
        }
        self.worked();
        self.counts.changed += 1;
        self.install(set);
        self.look_again(live);
        Ok(())
    }

    /// Refuses what must not displace the set that is held, and numbers a set that has no number.
    fn admit(&self, set: &mut CredentialSet) -> Result<(), Error> {
        let malformed = |what: String| Err(Error::new(ErrorKind::Malformed, what));
        set.check()?;
        if let Some(back) = set.members().find(|member| self.revoked.contains(member.id())) {
            return malformed(format!("the set brings back {}, which was revoked", back.id()));
        }
        let ended =
            |at: Option<Timestamp>| at.is_some_and(|at| self.to_moment(set, at).reached(self.now));
        if set.primary.as_ref().is_some_and(|primary| ended(primary.expires_at())) {
            return malformed("the set's current credential has already ended".into());
        }
        let Some(held) = self.generation else {
            set.generation.get_or_insert(1);
            return Ok(());
        };
        let Some(generation) = set.generation else {
            let same = self.set.as_ref().is_some_and(|held| held.holds_same_keys(set));
            set.generation = Some(if same { held } else { held + 1 });
            return Ok(());
        };
        // A set that was revoked as a whole is restored only by a higher generation.
        let lowest = if self.set.is_some() { held } else { held + 1 };
        let lost_history = set.lineage != self.lineage && self.in_use.is_none();
        if generation < lowest && !lost_history {
            return Err(Error::new(
                ErrorKind::OlderGeneration,
                format!(
                    "the source went back to generation {generation}, {held} is held: a rollback must be a new generation"
                ),
            ));
        }
        let changed = set.members().find(|member| {
            self.member(&member.shared_id())
                .is_some_and(|held| !held.credential.is_same_key(member))
        });
        match changed {
            Some(changed) => malformed(format!("{} has other material than before", changed.id())),
            None => Ok(()),
        }
    }

    fn not_modified(&mut self, live: &Live) -> Result<(), Error> {
        let Some(set) = self.set.clone() else {
            let what = "the source says «not modified», but nothing is held";
            return Err(self.failed(Error::new(ErrorKind::Malformed, what)));
        };
        if self.members[0].ends.is_some_and(|ends| ends.reached(self.now)) {
            let what = "the source has nothing newer than a credential that has ended";
            return Err(self.failed(Error::new(ErrorKind::Malformed, what)));
        }
        self.renewed(&set, live);
        Ok(())
    }

    /// The source has nothing newer: what is held is fresh again.
    fn renewed(&mut self, set: &CredentialSet, live: &Live) {
        self.worked();
        self.counts.not_modified += 1;
        self.schedule(set);
        self.tell(Event::NotModified { generation: self.generation.unwrap_or(0) });
        self.look_again(live);
    }

    /// A hint above what the fetch brought is worth one more look, and no more than one.
    fn look_again(&mut self, live: &Live) {
        if live.hinted > self.generation {
            self.hint = Some((self.now.boot, None));
        }
    }

    fn worked(&mut self) {
        if std::mem::take(&mut self.failing) {
            self.tell(Event::Recovered { credential: self.in_use.clone() });
        }
        self.retry = None;
        self.slow_retries = 0;
        self.counts.last_success = Some(self.now.wall);
    }

    /// Plans the next fetch after one that worked.
    fn schedule(&mut self, set: &CredentialSet) {
        let now = self.now;
        let policy = self.policy.clone();
        let ends = set.primary.as_ref().and_then(|primary| primary.expires_at());
        let wait = match ends.map(|at| self.to_moment(set, at).remaining(now)) {
            Some(left) => {
                let lead = left.mul_f64(policy.soft_lead_ratio).min(policy.soft_lead_max);
                let floor = policy.fetch_floor.min(left.mul_f64(0.1)).max(policy.fetch_floor_min);
                self.floor = millis(floor);
                left - lead + lead.mul_f64(self.jitter / 2.0)
            }
            None => {
                self.floor = millis(policy.fetch_floor.max(policy.fetch_floor_min));
                policy.poll.mul_f64(1.0 + policy.poll_spread * (self.rng.f64() * 2.0 - 1.0))
            }
        };
        // The server's own wish wins, unless it has already passed.
        let asked =
            set.refresh_after.map(|at| self.to_moment(set, at)).filter(|at| !at.reached(now));
        let wait = asked.map_or(wait, |at| at.remaining(now) + set.splay.mul_f64(self.jitter));
        self.next_fetch = (now.boot + millis(wait)).max(self.floor_ends());
    }

    fn failed(&mut self, error: Error) -> Error {
        let policy = self.policy.clone();
        self.counts.failed += 1;
        self.failing = true;
        if error.kind() == ErrorKind::SetRevoked {
            self.revoke_all(&error);
        }
        let delay = if error.kind().is_lasting() {
            let delay = policy.slow_retry_min.saturating_mul(1 << self.slow_retries.min(16));
            self.slow_retries += 1;
            delay.min(policy.slow_retry_max)
        } else {
            let seed = self.rng.u64(..);
            let retry = self.retry.get_or_insert_with(|| (self.backoff)(seed));
            let delay = retry.next().unwrap_or(policy.backoff_max);
            match self.in_use.is_none() || self.published.hard {
                true => delay.min(policy.backoff_max_urgent),
                false => delay,
            }
        };
        if let Some(asked) = error.retry_after() {
            let asked = asked.clamp(policy.retry_after_min, policy.retry_after_max);
            self.not_before = self.now.boot + millis(asked);
        }
        self.next_fetch =
            (self.now.boot + millis(delay)).max(self.floor_ends()).max(self.not_before);
        let retry_in = Duration::from_millis(self.next_fetch - self.now.boot);
        self.tell(Event::FetchFailed { error: error.clone(), retry_in });
        if self.in_use.is_none() && self.cause.kind() != ErrorKind::SetRevoked {
            self.cause = error.clone();
        }
        error
    }

    fn hinted(&mut self, generation: Option<u64>, immediate: bool) {
        if generation.is_some_and(|hinted| self.generation.is_some_and(|held| hinted <= held)) {
            return;
        }
        let splay = self.set.as_ref().map_or(Duration::ZERO, |set| set.splay);
        let wait = if immediate { Duration::ZERO } else { splay.mul_f64(self.rng.f64()) };
        let at = self.now.boot + millis(wait);
        let (due, highest) = self.hint.unwrap_or((at, generation));
        self.hint = Some((due.min(at), highest.max(generation)));
    }

    fn waited(&mut self) {
        self.demand = true;
        let asks_again = self.live.is_none() && self.forced.is_none() && self.has_open_episode();
        if asks_again {
            let again = self.last_end + millis(self.policy.fetch_floor_min);
            self.forced = Some(again.max(self.now.boot));
        }
    }

    fn floor_ends(&self) -> u64 {
        self.last_start.map_or(0, |start| start + self.floor)
    }

    /// When the next fetch may start, and whether a rejection forces it.
    fn due(&self) -> (u64, bool) {
        let asked = self.refresh.then_some(self.now.boot);
        let hinted = self.hint.map(|(at, _)| at);
        let wanted = [asked, hinted].into_iter().flatten().min();
        let wanted = wanted.map(|at| at.max(self.floor_ends()).max(self.not_before));
        let regular = wanted.map_or(self.next_fetch, |at| at.min(self.next_fetch));
        match self.forced.map(|at| at.max(self.bucket.ready_at()).max(self.not_before)) {
            Some(forced) if forced < regular => (forced, true),
            _ => (regular, false),
        }
    }

    fn plan_fetch(&mut self) {
        let now = self.now.boot;
        let (due, forced) = self.due();
        if self.live.is_none() && due <= now {
            if forced {
                self.bucket.take(now);
                self.counts.forced += 1;
            }
            self.ticket += 1;
            let deadline = now + millis(self.policy.fetch_timeout);
            let hinted = self.hint.take().and_then(|(_, generation)| generation);
            self.live = Some(Live { ticket: self.ticket, deadline, forced, hinted });
            self.last_start = Some(now);
            self.refresh = false;
            self.forced = None;
            // If the answer never comes, this is when to try again.
            self.next_fetch = deadline;
            self.out.push(Action::StartFetch(self.ticket));
        }
        if self.demand && self.live.is_none() && self.forced.is_none() && !self.refresh {
            self.demand = false;
            self.settle(match self.in_use {
                Some(_) => Ok(()),
                None => Err(self.cause.clone()),
            });
        }
    }

    // ---- a new set ----

    /// The local moment of a time that the source named, by the source's own clock.
    fn to_moment(&self, set: &CredentialSet, at: Timestamp) -> Moment {
        let source_now = set.as_of.map_or(self.now.wall, Timestamp::as_millisecond);
        let left = at.as_millisecond().saturating_sub(source_now);
        match u64::try_from(left) {
            Ok(left) => self.now + Duration::from_millis(left),
            Err(_) => self.now.before(Duration::from_millis(left.unsigned_abs())),
        }
    }

    fn install(&mut self, set: CredentialSet) {
        let now = self.now;
        let set = Arc::new(set);
        self.jitter = self.rng.f64();
        let mut old = std::mem::take(&mut self.members);
        // A source without generations may put other material under the id in use: that is a swap.
        let replaced = set.members().any(|new| {
            self.in_use.as_ref().is_some_and(|id| new.id() == &**id)
                && !old.iter().any(|member| member.credential.is_same_key(new))
        });
        if replaced {
            self.in_use = None;
        }
        for (index, credential) in set.members().enumerate() {
            let role = match index {
                0 => Role::Primary,
                n if n <= set.previous.len() => Role::Previous,
                _ => Role::Next,
            };
            let same = old.iter().position(|member| member.credential.is_same_key(credential));
            let before = same.map(|at| old.swap_remove(at));
            let member = self.admit_member(&set, credential, role, before);
            self.members.push(member);
        }
        let newly_revoked: Vec<_> =
            set.revoked.iter().filter(|id| self.revoked.insert((*id).clone())).cloned().collect();
        self.generation = set.generation;
        self.lineage.clone_from(&set.lineage);
        self.episodes.clear();
        self.forced = None;
        self.window_until = now.boot + millis(self.policy.rotation_window);
        let primary = &self.members[0];
        let life = primary.ends.map(|ends| ends.remaining(now));
        let hard = life
            .map(|life| life.mul_f64(self.policy.hard_lead_ratio).min(self.policy.hard_lead_max));
        self.hard_at = primary.ends.zip(hard).map(|(ends, hard)| ends.before(hard));
        self.stale_until = match set.stale_ok_until {
            Some(until) => Some(self.to_moment(&set, until)),
            None => {
                primary.ends.zip(life).map(|(ends, life)| ends + life.min(self.policy.stale_grace))
            }
        };
        let primary = primary.credential.shared_id();
        self.set = Some(set.clone());
        self.schedule(&set);
        let generation = self.generation.unwrap_or(0);
        if self.hint.is_some_and(|(_, hinted)| hinted.is_none_or(|hinted| hinted <= generation)) {
            self.hint = None;
        }
        self.tell(Event::Fetched { generation, primary });
        if !newly_revoked.is_empty() {
            self.tell(Event::Revoked { credentials: newly_revoked, set: false });
        }
        self.choose(self.policy.keep_in_use);
    }

    fn admit_member(
        &mut self,
        set: &CredentialSet,
        credential: &Arc<Credential>,
        role: Role,
        before: Option<Member>,
    ) -> Member {
        let now = self.now;
        let splay = set.splay.mul_f64(self.jitter);
        let moment = |at: Option<Timestamp>| at.map(|at| self.to_moment(set, at));
        let retired = match (role, &before) {
            (Role::Previous, Some(before)) => Some(before.retired.unwrap_or(now)),
            (Role::Previous, None) => Some(now),
            _ => None,
        };
        let expires = moment(credential.expires_at());
        let ends = match retired {
            None => expires,
            Some(retired) => moment(credential.grace_expires_at()).or_else(|| {
                let grace = retired + self.policy.previous_grace;
                Some(expires.map_or(grace, |expires| expires.earlier(grace)))
            }),
        };
        // A staged credential without a time is informational: it never starts by itself.
        let never = Moment { wall: i64::MAX, boot: u64::MAX };
        let starts = match role {
            Role::Next => Some(moment(credential.activate_at()).map_or(never, |at| at + splay)),
            _ => moment(credential.not_before()),
        };
        match before {
            // The object that requests already hold is kept, so that an unchanged key is no change.
            Some(before) => {
                let credential = match *before.credential == **credential {
                    true => before.credential,
                    false => credential.clone(),
                };
                Member { credential, role, starts, ends, retired, ..before }
            }
            None => Member {
                credential: credential.clone(),
                role,
                starts,
                ends,
                retired,
                since: self.sends,
                accepted: 0,
                run: None,
                rejections: 0,
            },
        }
    }

    fn revoke_all(&mut self, error: &Error) {
        self.cause = error.clone();
        if self.set.take().is_none() {
            return;
        }
        let credentials: Vec<_> =
            self.members.drain(..).map(|member| member.credential.shared_id()).collect();
        self.revoked.extend(credentials.iter().cloned());
        self.in_use = None;
        self.probation.of = None;
        self.episodes.clear();
        self.forced = None;
        (self.hard_at, self.stale_until) = (None, None);
        self.tell(Event::Revoked { credentials, set: true });
    }

    // ---- who is in use ----

    fn member(&self, id: &CredentialId) -> Option<&Member> {
        self.members.iter().find(|member| member.credential.id() == &**id)
    }

    fn member_mut(&mut self, id: &CredentialId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.credential.id() == &**id)
    }

    fn is_usable(&self, member: &Member) -> bool {
        let scheme_known = member.credential.scheme().is_none_or(|scheme| {
            matches!(&*scheme.name, "api_key" | "bearer" | "basic")
                || self.known_schemes.contains(&scheme.name)
        });
        scheme_known
            && member.starts.is_none_or(|starts| starts.reached(self.now))
            && member.ends.is_none_or(|ends| !ends.reached(self.now))
    }

    /// All usable ones, in the order in which a newer one is preferred.
    fn usable(&self) -> impl Iterator<Item = &Member> {
        let rank = [Role::Next, Role::Primary, Role::Previous];
        rank.into_iter().flat_map(move |role| {
            self.members.iter().filter(move |member| member.role == role && self.is_usable(member))
        })
    }

    /// The primary past its end: it serves while nothing else does, until the stale grace or a
    /// rejection ends that too.
    fn stale(&self) -> Option<&Member> {
        self.members.iter().find(|member| {
            member.role == Role::Primary
                && member.run.is_none()
                && member.ends.is_some_and(|ends| ends.reached(self.now))
                && self.stale_until.is_some_and(|until| !until.reached(self.now))
        })
    }

    /// Whether the credential in use may go on for at least `left`.
    fn may_stay(&self, id: &CredentialId, left: Duration) -> bool {
        self.usable().any(|member| {
            let lasts = || member.ends.is_none_or(|ends| ends.remaining(self.now) >= left);
            member.credential.id() == &**id && (member.role != Role::Previous || lasts())
        })
    }

    /// Keeps the credential in use if it may stay for `left` more, else takes the newest usable one.
    fn choose(&mut self, left: Duration) {
        if self.in_use.as_ref().is_some_and(|id| self.may_stay(id, left)) {
            return self.begin_probation();
        }
        let newest = self.usable().next().or_else(|| self.stale());
        let newest = newest.map(|member| member.credential.shared_id());
        match (self.in_use.clone(), newest) {
            (Some(from), Some(to)) if from == to => {}
            (from, Some(to)) => {
                let back = self.was_in_use.contains(&to);
                self.use_now(&to);
                let generation = self.generation.unwrap_or(0);
                match from {
                    Some(from) if back => self.tell_rolled_back(from, to),
                    from => self.tell(Event::Swapped { from, to, generation }),
                }
            }
            (Some(gone), None) => {
                self.in_use = None;
                if self.set.is_some() {
                    let what = format!("{gone} has ended and no newer credential could be fetched");
                    self.cause = Error::new(ErrorKind::Expired, what);
                    self.tell(Event::Expired { credential: gone });
                }
            }
            (None, None) => {}
        }
        self.begin_probation();
    }

    fn use_now(&mut self, id: &CredentialId) {
        let sends = self.sends;
        let before = self.in_use.replace(id.clone());
        for id in before.iter().chain([id]) {
            if let Some(member) = self.member_mut(id) {
                member.since = sends;
                member.run = None;
            }
        }
        if let Some(before) = before.filter(|before| !self.was_in_use.contains(before)) {
            self.was_in_use.push(before);
            let excess = self.was_in_use.len().saturating_sub(16);
            self.was_in_use.drain(..excess);
        }
        self.window_until = self.now.boot + millis(self.policy.rotation_window);
        self.episodes.retain(|episode| episode.state != EpisodeState::Open);
        self.forced = None;
    }

    /// The newest usable credential, if it is not the one in use.
    fn candidate(&self) -> Option<&Member> {
        let in_use = self.in_use.as_ref()?;
        self.usable().next().filter(|newest| newest.credential.id() != &**in_use)
    }

    fn begin_probation(&mut self) {
        let candidate = self.candidate().map(|member| member.credential.shared_id());
        if candidate == self.probation.of {
            return;
        }
        let now = self.now;
        let ends =
            self.in_use.as_ref().and_then(|id| self.member(id)).and_then(|member| member.ends);
        self.probation = Probation {
            of: candidate.clone(),
            since: now,
            half: ends.map(|ends| now + ends.remaining(now) / 2),
            rejections: 0,
            reported: false,
            is_rollback: candidate.as_ref().is_some_and(|id| self.was_in_use.contains(id)),
            slot: Arc::new(ProbeSlot::open_from(now.boot)),
            slot_opens: now.boot,
            lagging_at: candidate.as_ref().map_or(0, |_| now.boot + millis(self.policy.lagging)),
        };
        if let Some((credential, in_use)) = candidate.zip(self.in_use.clone()) {
            self.tell(Event::Candidate { credential, in_use });
        }
    }

    /// When the candidate is used unproven.
    fn promote_at(&self) -> Option<Moment> {
        self.probation.of.as_ref()?;
        let in_use = self.member(self.in_use.as_ref()?)?;
        if self.probation.rejections > 0 {
            return in_use.ends.map(|ends| ends.before(self.policy.give_up));
        }
        let unreported = self.probation.since + self.policy.probe_unreported;
        match (self.probation.reported, self.probation.half) {
            (true, half) => half,
            (false, Some(half)) => Some(half.earlier(unreported)),
            (false, None) => Some(unreported),
        }
    }

    fn promote(&mut self, proven: bool) {
        let Some((from, to)) = self.in_use.clone().zip(self.probation.of.take()) else { return };
        self.use_now(&to);
        match self.probation.is_rollback {
            true => self.tell_rolled_back(from, to),
            false => self.tell(Event::Promoted { from, to, proven }),
        }
        self.begin_probation();
    }

    fn tell_rolled_back(&mut self, from: CredentialId, to: CredentialId) {
        self.counts.rollbacks += 1;
        self.tell(Event::RolledBack { from, to });
    }

    // ---- evidence ----

    fn rejected(&mut self, evidence: &Evidence) {
        let sends = self.sends;
        let listen_until = self.now.boot + millis(LISTEN);
        let Some(member) = self.member_mut(&evidence.credential) else { return };
        if evidence.sent <= member.since || evidence.sent <= member.accepted {
            return;
        }
        let is_first = member.run.is_none();
        let first = member.run.map_or(evidence.sent, |(first, _)| first);
        member.rejections = if is_first { 1 } else { member.rejections.saturating_add(1) };
        member.run = Some((first, evidence.sent));
        self.counts.rejections += 1;
        self.listen_until = listen_until;
        if self.probation.of.as_ref() == Some(&evidence.credential) {
            if let Some(member) = self.member_mut(&evidence.credential) {
                // The others that were on their way saw the same state of the API.
                member.since = sends;
            }
            return self.probe_rejected();
        }
        if self.in_use.as_ref() != Some(&evidence.credential) {
            return;
        }
        if is_first {
            self.window_until = self.now.boot + millis(self.policy.rotation_window);
            let credential = evidence.credential.clone();
            self.tell(Event::Rejected { credential, candidate: false, probe_in: None });
        }
        self.open_episode(&evidence.credential);
        self.fall_back();
    }

    fn probe_rejected(&mut self) {
        let Some(credential) = self.probation.of.clone() else { return };
        let delays = &self.policy.probe_delays;
        let delay = delays[self.probation.rejections.min(delays.len() - 1)];
        self.probation.rejections += 1;
        self.probation.reported = true;
        self.probation.slot_opens = self.now.boot + millis(delay);
        self.probation.slot = Arc::new(ProbeSlot::open_from(self.probation.slot_opens));
        self.tell(Event::Rejected { credential, candidate: true, probe_in: Some(delay) });
    }

    fn accepted(&mut self, evidence: &Evidence) {
        let Some(member) = self.member_mut(&evidence.credential) else { return };
        if evidence.sent <= member.since {
            return;
        }
        member.accepted = member.accepted.max(evidence.sent);
        if member.run.is_some_and(|(_, last)| evidence.sent > last) {
            member.run = None;
        }
        self.probation.reported = true;
        if self.probation.of.as_ref() == Some(&evidence.credential) {
            self.promote(true);
        } else if self.in_use.as_ref() == Some(&evidence.credential) {
            let in_use_is_good =
                self.member(&evidence.credential).is_some_and(|member| member.run.is_none());
            if in_use_is_good {
                self.close_episodes();
            }
        } else {
            self.fall_back();
        }
    }

    /// Any acceptance ends the silence of an exhausted episode.
    fn close_episodes(&mut self) {
        let mut recovered = false;
        for episode in &mut self.episodes {
            recovered |= episode.state == EpisodeState::Exhausted;
            episode.state = EpisodeState::Over;
        }
        self.forced = None;
        if recovered {
            self.tell(Event::Recovered { credential: self.in_use.clone() });
        }
    }

    /// An older credential replaces the one in use only if the API accepted it after rejecting the
    /// other twice with no acceptance between. One route that always says 401 flips nothing.
    fn fall_back(&mut self) {
        let Some(from) = self.in_use.clone() else { return };
        let Some((first, _)) =
            self.member(&from).filter(|held| held.rejections >= 2).and_then(|held| held.run)
        else {
            return;
        };
        let to = self
            .usable()
            .find(|member| member.accepted > first && member.credential.id() != &*from);
        let Some(to) = to.map(|member| member.credential.shared_id()) else { return };
        self.use_now(&to);
        self.close_episodes();
        self.counts.fallbacks += 1;
        self.tell(Event::FellBack { from: from.clone(), to });
        self.begin_probation();
        if self.probation.of == Some(from) {
            self.probation.is_rollback = false;
            self.probe_rejected();
        }
    }

    fn has_open_episode(&self) -> bool {
        self.episodes.iter().any(|episode| episode.state == EpisodeState::Open)
    }

    fn open_episode(&mut self, id: &CredentialId) {
        let now = self.now.boot;
        let longest = self.policy.episode_max;
        match self.episodes.iter_mut().find(|episode| episode.of == *id) {
            Some(episode) if now < episode.opened + millis(episode.cooldown) => return,
            Some(episode) => {
                episode.opened = now;
                episode.cooldown = (episode.cooldown * 2).min(longest);
                episode.state = EpisodeState::Open;
            }
            None => self.episodes.push(Episode {
                of: id.clone(),
                opened: now,
                cooldown: self.policy.episode,
                state: EpisodeState::Open,
            }),
        }
        // A fetch that already runs is joined; if it brings nothing, those who wait ask again.
        self.forced = self.live.is_none().then_some(now);
    }

    // ---- time ----

    fn observe_clocks(&mut self, now: Moment) {
        let wall = now.wall.saturating_sub(self.now.wall);
        let boot = i64::try_from(now.boot.saturating_sub(self.now.boot)).unwrap_or(i64::MAX);
        self.now = now;
        let by_ms = wall.saturating_sub(boot);
        if by_ms.abs() > JUMP_MS {
            self.refresh = true;
            self.tell(Event::ClockJumped { by_ms });
        }
    }

    fn pass_time(&mut self) {
        let now = self.now;
        if let Some(late) = self.live.take_if(|live| live.deadline <= now.boot) {
            self.last_end = now.boot;
            self.out.push(Action::AbandonFetch(late.ticket));
            let limit = self.policy.fetch_timeout.as_secs_f64();
            let what = format!("the source did not answer within {limit} s");
            let error = self.failed(Error::new(ErrorKind::Timeout, what));
            self.settle(Err(error));
        }
        if self.promote_at().is_some_and(|at| at.reached(now)) {
            self.promote(false);
        }
        self.choose(Duration::ZERO);
        let wait = millis(self.policy.wait);
        let open = self.episodes.iter().position(|episode| episode.state == EpisodeState::Open);
        if let Some(index) = open.filter(|index| self.episodes[*index].opened + wait <= now.boot) {
            self.end_episode(index);
        }
        for episode in &mut self.episodes {
            if episode.opened + millis(episode.cooldown) <= now.boot
                && episode.state == EpisodeState::Exhausted
            {
                episode.state = EpisodeState::Over;
            }
        }
        if self.probation.of.is_some() && self.probation.lagging_at <= now.boot {
            let since = Duration::from_millis(now.boot - self.probation.since.boot);
            self.probation.lagging_at = now.boot + millis(since.max(self.policy.lagging));
            if let Some(credential) = self.probation.of.clone() {
                self.tell(Event::Lagging { credential, since });
            }
        }
    }

    /// The wait of an episode is over. If nothing helped, requests fail fast until the cooldown ends.
    fn end_episode(&mut self, index: usize) {
        let episode = &self.episodes[index];
        let (of, opened, cooldown) = (episode.of.clone(), episode.opened, episode.cooldown);
        let run = self.member(&of).and_then(|member| member.run);
        let helped = |first: u64| self.members.iter().any(|member| member.accepted > first);
        let exhausted = self.in_use.as_ref() == Some(&of)
            && run.is_some_and(|(first, _)| !helped(first))
            && opened + millis(cooldown) > self.now.boot;
        self.forced = None;
        self.episodes[index].state =
            if exhausted { EpisodeState::Exhausted } else { EpisodeState::Over };
        if exhausted {
            let left = Duration::from_millis(opened + millis(cooldown) - self.now.boot);
            self.tell(Event::Exhausted { credential: of, cooldown: left });
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
        let in_use = self.in_use.as_ref().and_then(|id| self.member(id));
        let candidate = self.candidate().filter(|_| self.probation.of.is_some());
        let others = self.usable().filter(|member| {
            in_use.is_none_or(|in_use| !Arc::ptr_eq(&member.credential, &in_use.credential))
        });
        let episode = |state| {
            self.episodes
                .iter()
                .any(|episode| episode.state == state && Some(&episode.of) == self.in_use.as_ref())
        };
        let suspect = episode(EpisodeState::Open) && in_use.is_some_and(|held| held.run.is_some());
        let exhausted = episode(EpisodeState::Exhausted);
        Snapshot {
            epoch: self.published.epoch + 1,
            set: self.set.clone(),
            usable: in_use.into_iter().chain(others).map(|held| held.credential.clone()).collect(),
            candidate: candidate.map(|member| Candidate {
                credential: member.credential.clone(),
                slot: self.probation.slot.clone(),
            }),
            hard: in_use.is_some() && self.hard_at.is_some_and(|at| at.reached(self.now)),
            suspect,
            exhausted,
            evidence: candidate.is_some()
                || suspect
                || exhausted
                || self.listen_until > self.now.boot,
            window_until: self.window_until,
            sends: self.sends,
            cause: in_use.is_none().then(|| self.cause.clone()),
            in_use: in_use.map(|member| member.credential.clone()),
        }
    }

    fn close(&mut self) -> Vec<Action> {
        self.closed = true;
        let mut out = std::mem::take(&mut self.out);
        if let Some(live) = self.live.take() {
            out.push(Action::AbandonFetch(live.ticket));
        }
        out.push(Action::Settle(Err(Error::new(ErrorKind::Closed, "the handle was closed"))));
        out
    }
}

impl Snapshot {
    /// What there is to see before the first fetch.
    pub(crate) fn nothing(cause: Error) -> Self {
        Self {
            epoch: 0,
            set: None,
            in_use: None,
            usable: Vec::new(),
            candidate: None,
            hard: false,
            suspect: false,
            exhausted: false,
            evidence: false,
            window_until: 0,
            sends: 0,
            cause: Some(cause),
        }
    }
}

/// The schedule that is used unless a program brings its own: exponential with full jitter.
pub fn default_backoff(policy: &Policy) -> Backoff {
    use backon::BackoffBuilder;
    let builder = backon::ExponentialBuilder::default()
        .with_min_delay(policy.backoff_min)
        .with_max_delay(policy.backoff_max)
        .without_max_times();
    Arc::new(move |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        Box::new(builder.build().map(move |delay| delay.mul_f64(rng.f64())))
    })
}
