//! What must be true, told again without the engine's code: `core/ARCHITECTURE.md` numbers the
//! invariants.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use keyswap::{
    Credential, CredentialSet, ErrorKind, Event, Moment, Snapshot,
    engine::rotation::{Action, Counts, Input, Rotation},
};

/// Fails with a sentence that says which invariant is broken.
macro_rules! must {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}
pub(crate) use must;

pub(crate) type Held = Result<(), String>;

const FLOOR_MIN: u64 = 1_000;
const FLOOR: u64 = 5_000;
const RETRY_AFTER_MAX: u64 = 300_000;
const WAKE_MAX: u64 = 30_000;
const TOKENS: f64 = 2.0;
const TOKEN_EVERY: f64 = 5_000.0;
const PREVIOUS_GRACE: u64 = 600_000;
const CEILING: u64 = 3_600_000;
const URGENT_MAX: u64 = 15_000;
const GO_BACK: u64 = 10_000;
const MAX_SENDS: u32 = 4;
const PROBE_DELAYS: [u64; 6] = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000];

/// What the checks remember of one rotation.
pub(crate) struct Oracle {
    snapshot: Arc<Snapshot>,
    counts: Counts,
    live: Option<u64>,
    is_forced: bool,
    last_start: Option<u64>,
    /// Since when no fetch runs.
    idle_since: Option<u64>,
    not_before: u64,
    /// The latest that `Retry-After` may hold up a fetch once nothing works.
    not_before_in_need: u64,
    tokens: f64,
    tokens_at: u64,
    floor: u64,
    highest: Option<u64>,
    /// Ids that were held in this lineage, and those of them that were revoked.
    held: BTreeSet<String>,
    revoked: BTreeSet<String>,
    /// Answers that were refused, and when each was given first.
    refused: Vec<(Vec<String>, u64, u64)>,
    /// What a forced fetch was the first to bring.
    brought: Vec<String>,
    ids: BTreeMap<String, Known>,
    ends: BTreeMap<String, Ends>,
    /// What was found to fit on no request, and not accepted since: id and material.
    unfit: BTreeSet<(String, String)>,
    /// The rejections of the credential in use with no acceptance between, and the first one.
    rejections: u32,
    first_rejection: u64,
    last_rejection: u64,
    probe_rejections: usize,
    probe_from: u64,
}

#[derive(Clone, Copy)]
struct Run {
    rejections: u32,
    first: u64,
}

/// When the state of a credential last changed, as a number of sends, and what was said since.
#[derive(Default)]
struct Known {
    since: u64,
    accepted: u64,
    rejected: u64,
}

/// When a credential of the set ends, as the client may believe at worst.
struct Ends {
    wall: i64,
    boot: u64,
    reached: bool,
}

impl Ends {
    fn lower(&mut self, wall: i64, boot: u64) {
        self.wall = self.wall.min(wall);
        self.boot = self.boot.min(boot);
    }
}

impl Oracle {
    pub(crate) fn new(rotation: &Rotation, now: Moment) -> Self {
        Self {
            snapshot: rotation.snapshot().clone(),
            counts: rotation.counts(),
            live: None,
            is_forced: false,
            last_start: None,
            idle_since: None,
            not_before: 0,
            not_before_in_need: 0,
            tokens: TOKENS,
            tokens_at: now.boot,
            floor: FLOOR_MIN,
            highest: None,
            held: BTreeSet::new(),
            revoked: BTreeSet::new(),
            refused: Vec::new(),
            brought: Vec::new(),
            ids: BTreeMap::new(),
            ends: BTreeMap::new(),
            unfit: BTreeSet::new(),
            rejections: 0,
            first_rejection: 0,
            last_rejection: 0,
            probe_rejections: 0,
            probe_from: 0,
        }
    }

    /// Whether this input may change nothing at all: old evidence, or a late completion.
    pub(crate) fn is_void(&self, input: &Input) -> bool {
        match input {
            Input::Fetched(ticket, _) | Input::NotModified(ticket) | Input::Failed(ticket, _) => {
                self.live != Some(*ticket)
            }
            Input::Rejected(evidence) | Input::Accepted(evidence) => {
                let is_held = self.members().any(|member| *member.id() == *evidence.credential);
                let since = self.ids.get(&*evidence.credential).map_or(0, |known| known.since);
                !is_held || evidence.sent <= since
            }
            _ => false,
        }
    }

    /// Checks one step. `sends` is the number of sends so far, `source_now` what the source's clock showed
    /// in the answer that this step is about, if it showed it.
    pub(crate) fn check(
        &mut self,
        rotation: &Rotation,
        (now, sends): (Moment, u64),
        input: &Input,
        source_now: Option<i64>,
        actions: &[Action],
    ) -> Held {
        let counts = rotation.counts();
        let ended = self.end_of_fetch(input);
        let was_void = self.is_void(input);
        let highest = self.highest;
        self.hear(input, was_void);
        self.doubt(input, now);
        self.pass_time(now);
        let run = Run { rejections: self.rejections, first: self.first_rejection };
        if let Input::Accepted(evidence) = input
            && !was_void
            && self.brought.iter().any(|id| **id == *evidence.credential)
        {
            self.earn_tokens(now);
            self.tokens += 1.0;
            self.brought.clear();
        }
        if counts.changed > self.counts.changed {
            let is_forced = self.is_forced;
            let held = rotation.snapshot().set();
            let new = held.into_iter().flat_map(members).map(|new| new.id().to_owned());
            let before: Vec<_> = self.members().map(|held| held.id().to_owned()).collect();
            self.brought = new.filter(|id| is_forced && !before.contains(id)).collect();
        }
        let went_back = actions.iter().find_map(|action| match action {
            Action::Tell(Event::Recovered { went_back, .. }) => *went_back,
            _ => None,
        });
        if went_back.is_some() {
            self.check_way_back(input, now)?;
            (self.highest, self.held, self.revoked) = (None, BTreeSet::new(), BTreeSet::new());
        }
        self.book_refusal(input, counts, now);
        let mut settled = false;
        for action in actions {
            match action {
                Action::Publish(snapshot) => {
                    must!(!settled, "a snapshot is published after waiters were settled");
                    self.published(snapshot, sends, ended, input)?;
                }
                Action::StartFetch(ticket) => self.started(*ticket, now, counts)?,
                Action::AbandonFetch(ticket) => {
                    must!(
                        self.live.take() == Some(*ticket),
                        "a fetch is abandoned that is not live"
                    );
                }
                Action::Settle(_) => settled = true,
                Action::Tell(event) => self.told(event, run, input, now)?,
                // Checked apart, in `reports`.
                Action::Report(_) => {}
            }
        }
        if was_void {
            let is_quiet = !actions.iter().any(|action| {
                matches!(action, Action::Publish(_) | Action::Settle(_) | Action::StartFetch(_))
            });
            must!(
                is_quiet && counts == self.counts,
                "invariants 3 and 7: {input:?} did {actions:?}"
            );
        }
        if counts.changed > self.counts.changed {
            must!(
                went_back.is_some() || self.highest > highest,
                "invariant 5: a generation was fetched twice"
            );
        }
        must!(ended.is_none() || settled, "a fetch ended and nobody who waits for it was told");
        must!(
            Arc::ptr_eq(rotation.snapshot(), &self.snapshot),
            "what was published is not what is held"
        );
        if matches!((input, ended), (Input::Fetched(..), Some(_))) {
            self.read_ends(source_now, now);
        }
        self.answered(now, counts, ended, input);
        self.counts = counts;
        self.pass_time(now);
        if self.live.is_some() || matches!(input, Input::Closed) {
            self.idle_since = None;
        } else {
            let since = *self.idle_since.get_or_insert(now.boot);
            must!(
                now.boot <= since + CEILING,
                "invariant 15: no fetch for {} ms",
                now.boot - since
            );
        }
        self.check_wake(rotation, now, input)
    }

    fn check_wake(&self, rotation: &Rotation, now: Moment, input: &Input) -> Held {
        if matches!(input, Input::Closed) {
            must!(rotation.wake_at().is_none(), "invariant 13: it wakes up after it was closed");
            must!(self.live.is_none(), "invariant 13: a fetch runs after it was closed");
            return Ok(());
        }
        let Some(wake) = rotation.wake_at() else {
            return Err("invariant 6: no wake-up is scheduled".into());
        };
        must!(wake.boot > now.boot, "invariant 6: the wake-up is not in the future");
        must!(wake.boot <= now.boot + WAKE_MAX, "invariant 6: the wake-up is too far away");
        Ok(())
    }

    /// The way back is for those with nothing to lose, and to an answer that was given before.
    fn check_way_back(&self, input: &Input, now: Moment) -> Held {
        let Input::Fetched(_, set) = input else {
            return Err(format!("invariant 2: {input:?} leads back"));
        };
        let ids: Vec<_> = members(set).map(|member| member.id().to_owned()).collect();
        let before = self
            .refused
            .iter()
            .find(|(known, number, _)| *known == ids && *number == set.generation());
        let long_ago = before.is_some_and(|(_, _, at)| at + GO_BACK <= now.boot);
        must!(long_ago, "invariant 2: generation {} was not given before", set.generation());
        // What fits on no request is as good as rejected.
        let is_good = self.surely_usable().find(|held| {
            !self.is_unfit(held)
                && self.ids.get(held.id()).is_none_or(|known| known.rejected <= known.accepted)
        });
        must!(
            is_good.is_none(),
            "invariant 2: it leads back, and {} was not rejected",
            is_good.map_or("", Credential::id)
        );
        Ok(())
    }

    fn book_refusal(&mut self, input: &Input, counts: Counts, now: Moment) {
        if counts.changed > self.counts.changed {
            self.refused.clear();
        }
        let (Input::Fetched(_, set), true) = (input, counts.failed > self.counts.failed) else {
            return;
        };
        let ids: Vec<_> = members(set).map(|member| member.id().to_owned()).collect();
        let number = set.generation();
        if !self.refused.iter().any(|(known, of, _)| *known == ids && *of == number) {
            self.refused.push((ids, number, now.boot));
        }
    }

    /// The outcome of the live fetch, if this input ends it.
    fn end_of_fetch(&self, input: &Input) -> Option<Result<(), ErrorKind>> {
        match input {
            Input::Fetched(ticket, _) | Input::NotModified(ticket) => {
                (self.live == Some(*ticket)).then_some(Ok(()))
            }
            Input::Failed(ticket, error) => (self.live == Some(*ticket)).then(|| Err(error.kind())),
            _ => None,
        }
    }

    /// Evidence that counts, by the oracle's own book.
    fn hear(&mut self, input: &Input, was_void: bool) {
        if let Input::Fetched(ticket, _) | Input::NotModified(ticket) | Input::Failed(ticket, _) =
            input
        {
            self.live.take_if(|live| live == ticket);
        }
        if was_void {
            return;
        }
        let in_use = self.snapshot.in_use().map(|in_use| in_use.id().to_owned());
        match input {
            Input::Unfit(unfit) => {
                self.unfit.insert(key(&unfit.credential));
            }
            Input::Accepted(evidence) => {
                self.unfit.retain(|(id, _)| **id != *evidence.credential);
                let known = self.ids.entry(evidence.credential.to_string()).or_default();
                known.accepted = known.accepted.max(evidence.sent);
                if in_use.as_deref() == Some(&*evidence.credential)
                    && evidence.sent > self.last_rejection
                {
                    self.rejections = 0;
                }
            }
            Input::Rejected(evidence) if in_use.as_deref() != Some(&*evidence.credential) => {
                let known = self.ids.entry(evidence.credential.to_string()).or_default();
                known.rejected = known.rejected.max(evidence.sent);
            }
            Input::Rejected(evidence) if in_use.as_deref() == Some(&*evidence.credential) => {
                let accepted =
                    self.ids.get(&*evidence.credential).map_or(0, |known| known.accepted);
                let known = self.ids.entry(evidence.credential.to_string()).or_default();
                known.rejected = known.rejected.max(evidence.sent);
                if evidence.sent > accepted {
                    if self.rejections == 0 {
                        (self.first_rejection, self.last_rejection) = (evidence.sent, 0);
                    }
                    self.rejections += 1;
                    self.last_rejection = self.last_rejection.max(evidence.sent);
                }
            }
            _ => {}
        }
    }

    /// A trial that brought no success where the credential in use did is one that failed.
    fn doubt(&mut self, input: &Input, now: Moment) {
        let Input::Doubted(evidence) = input else { return };
        let is_candidate =
            self.snapshot.candidate().is_some_and(|it| *it.id() == *evidence.credential);
        let since = self.ids.get(&*evidence.credential).map_or(0, |known| known.since);
        if is_candidate && evidence.sent > since && now.boot >= self.probe_from {
            let at = self.probe_rejections.min(PROBE_DELAYS.len() - 1);
            self.probe_rejections += 1;
            self.probe_from = now.boot + PROBE_DELAYS[at];
        }
    }

    fn published(
        &mut self,
        snapshot: &Arc<Snapshot>,
        sends: u64,
        ended: Option<Result<(), ErrorKind>>,
        input: &Input,
    ) -> Held {
        let before = std::mem::replace(&mut self.snapshot, snapshot.clone());
        must!(snapshot.epoch() == before.epoch() + 1, "an epoch is skipped");
        let generation = snapshot.set().map(CredentialSet::generation);
        let changed = generation != before.set().map(CredentialSet::generation);
        match ended {
            Some(Ok(())) => {}
            Some(Err(ErrorKind::SetRevoked)) => {
                must!(generation.is_none(), "invariant 1: a revoked set is still held");
            }
            _ => must!(!changed, "invariant 1: {input:?} displaced the set"),
        }
        if let Some(generation) = generation {
            must!(
                self.highest.is_none_or(|highest| generation >= highest),
                "invariant 2: generation {generation} after {:?}",
                self.highest
            );
            self.highest = Some(generation);
        }
        let set = snapshot.set();
        if let Some(in_use) = snapshot.in_use() {
            let is_held = set.is_some_and(|set| members(set).any(|held| held == in_use));
            must!(is_held, "{} is in use and not in the set", in_use.id());
        }
        if let Some(in_use) = snapshot.in_use().filter(|in_use| self.is_unfit(in_use)) {
            let fit = self.surely_usable().find(|other| !self.is_unfit(other));
            must!(
                fit.is_none(),
                "invariant 16: no request can carry {}, and it is in use in place of {}",
                in_use.id(),
                fit.map_or("", Credential::id)
            );
        }
        // An id's state changes when it comes, and when it starts or stops being in use or tried.
        let place = |snapshot: &Snapshot| {
            let key = |credential: Option<&Credential>| {
                credential.map(|c| (c.id().to_owned(), c.reveal("key").map(str::to_owned)))
            };
            [key(snapshot.in_use()), key(snapshot.candidate())]
        };
        let (then, here) = (place(&before), place(snapshot));
        let replaced = then[0].iter().filter(|_| here[0].is_some() && then[0] != here[0]);
        let placed = here.iter().zip(&then).filter(|(is, was)| is != was);
        for (id, _) in replaced.chain(placed.flat_map(|(is, _)| is)) {
            self.ids.entry(id.clone()).or_default().since = sends;
        }
        if then[0] != here[0] {
            self.rejections = 0;
        }
        let revoked = set.into_iter().flat_map(|set| set.revoked());
        // Only what was held can be revoked.
        let revoked = revoked.map(|id| id.to_string()).filter(|id| self.held.contains(id));
        self.revoked.extend(revoked);
        self.held.extend(set.into_iter().flat_map(members).map(|held| held.id().to_owned()));
        self.ids.retain(|id, _| set.is_some_and(|set| members(set).any(|held| held.id() == id)));
        self.ends.retain(|id, _| set.is_some_and(|set| members(set).any(|held| held.id() == id)));
        for credential in set.into_iter().flat_map(members) {
            must!(
                !self.revoked.contains(credential.id()),
                "invariant 12: {} was revoked and is held again",
                credential.id()
            );
            self.ids
                .entry(credential.id().to_owned())
                .or_insert(Known { since: sends, ..Known::default() });
        }
        Ok(())
    }

    /// The worst that the client may believe of the ends of what it holds.
    fn read_ends(&mut self, source_now: Option<i64>, now: Moment) {
        let Some(held) = self.snapshot.set() else { return };
        let source_now = source_now.unwrap_or(now.wall);
        let left = |at: jiff::Timestamp| {
            u64::try_from(at.as_millisecond().saturating_sub(source_now)).unwrap_or(0)
        };
        let forever = 1 << 50;
        let primary = held.primary().map(|primary| (primary, false));
        let previous = held.previous().map(|previous| (previous, true));
        for (credential, is_previous) in primary.into_iter().chain(previous) {
            let expires = credential.expires_at().map_or(forever, left);
            let life = match credential.grace_expires_at() {
                Some(grace) if is_previous => left(grace).min(expires),
                None if is_previous => expires.min(PREVIOUS_GRACE),
                _ => expires,
            };
            let (wall, boot) = (now.wall.saturating_add_unsigned(life), now.boot + life);
            self.ends
                .entry(credential.id().to_owned())
                .or_insert(Ends { wall, boot, reached: false })
                .lower(wall, boot);
        }
    }

    fn pass_time(&mut self, now: Moment) {
        for ends in self.ends.values_mut() {
            ends.reached |= now.wall >= ends.wall || now.boot >= ends.boot;
        }
        // What need has cut short stays short.
        if !self.is_calm() {
            self.not_before = self.not_before.min(self.not_before_in_need);
        }
    }

    /// Whether something works, as far as anybody knows.
    fn is_calm(&self) -> bool {
        self.rejections == 0 && self.surely_usable().any(|held| !self.is_unfit(held))
    }

    fn started(&mut self, ticket: u64, now: Moment, counts: Counts) -> Held {
        must!(self.live.is_none(), "invariant 4: two fetches are live");
        self.live = Some(ticket);
        must!(now.boot >= self.not_before, "invariant 5: Retry-After is not honoured");
        self.earn_tokens(now);
        self.is_forced = counts.forced > self.counts.forced;
        if self.is_forced {
            self.tokens -= 1.0;
            must!(self.tokens > -0.001, "invariant 5: a forced fetch without a token");
        } else if let Some(last) = self.last_start {
            must!(
                now.boot >= last + self.floor,
                "invariant 5: {} ms between fetches, the floor is {}",
                now.boot - last,
                self.floor
            );
        }
        self.last_start = Some(now.boot);
        Ok(())
    }

    fn earn_tokens(&mut self, now: Moment) {
        let earned = (now.boot - self.tokens_at) as f64 / TOKEN_EVERY;
        self.tokens = (self.tokens + earned).min(TOKENS);
        self.tokens_at = now.boot;
    }

    /// Books the answer to a fetch: the floor and the token that follow from it.
    fn answered(
        &mut self,
        now: Moment,
        counts: Counts,
        ended: Option<Result<(), ErrorKind>>,
        input: &Input,
    ) {
        if let (Some(_), Input::Failed(_, error)) = (ended, input)
            && let Some(wait) = error.retry_after()
        {
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let wait = wait.clamp(FLOOR_MIN, RETRY_AFTER_MAX);
            self.not_before_in_need = now.boot + wait.min(URGENT_MAX);
            let is_calm = self.rejections == 0 && self.lives_on(now);
            self.not_before = if is_calm { now.boot + wait } else { self.not_before_in_need };
        }
        let worked =
            counts.changed + counts.not_modified > self.counts.changed + self.counts.not_modified;
        if worked {
            let primary = self.snapshot.set().and_then(CredentialSet::primary);
            let lives = primary.filter(|primary| primary.expires_at().is_some());
            self.floor = match lives.and_then(|primary| self.ends.get(primary.id())) {
                Some(ends) => {
                    let wall = u64::try_from(ends.wall.saturating_sub(now.wall)).unwrap_or(0);
                    let left = wall.min(ends.boot.saturating_sub(now.boot));
                    (left / 10).clamp(FLOOR_MIN, FLOOR)
                }
                None => FLOOR,
            };
        }
    }

    fn told(&mut self, event: &Event, run: Run, input: &Input, now: Moment) -> Held {
        match event {
            Event::FellBack { from, .. } if self.unfit.iter().any(|(id, _)| **id == **from) => {}
            Event::FellBack { from, to, .. } => {
                must!(
                    run.rejections >= 2,
                    "{from} was given up after {} rejections",
                    run.rejections
                );
                let accepted = self.ids.get(&**to).map_or(0, |known| known.accepted);
                must!(accepted > run.first, "{to} was not accepted after {from} was rejected");
            }
            Event::Promoted { to, proven: true, .. } => {
                let said = matches!(input, Input::Accepted(said) if said.credential == *to);
                must!(said, "{to} is said to be proven, and nobody proved it");
            }
            Event::Promoted { from, to, proven: false, .. } => {
                let is_unfit = |id: &str| self.unfit.iter().any(|(unfit, _)| unfit == id);
                must!(
                    !is_unfit(to) || is_unfit(from),
                    "invariant 16: {to} is promoted unproven, and no request can carry it"
                );
            }
            Event::Candidate { .. } => (self.probe_rejections, self.probe_from) = (0, now.boot),
            Event::Rejected { candidate: true, probe_in, .. } => {
                let at = self.probe_rejections.min(PROBE_DELAYS.len() - 1);
                let wait = probe_in.map(|wait| wait.as_millis());
                must!(wait == Some(PROBE_DELAYS[at].into()), "the next probe is in {wait:?} ms");
                self.probe_rejections += 1;
                self.probe_from = now.boot + PROBE_DELAYS[at];
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks that a request which is not forced to may carry the candidate now.
    pub(crate) fn check_probe(&self, now: Moment) -> Held {
        must!(now.boot >= self.probe_from, "the candidate is probed again too soon");
        Ok(())
    }

    /// Whether the API accepted a send of this credential after that one.
    pub(crate) fn was_accepted_since(&self, id: &str, sent: u64) -> bool {
        self.ids.get(id).is_some_and(|known| known.accepted > sent)
    }

    fn is_unfit(&self, credential: &Credential) -> bool {
        !self.unfit.is_empty() && self.unfit.contains(&key(credential))
    }

    fn members(&self) -> impl Iterator<Item = &Credential> {
        self.snapshot.set().into_iter().flat_map(members)
    }

    /// The keys that the client may use beyond doubt: of the newest published set, and not ended
    /// however its clocks went.
    pub(crate) fn surely_usable(&self) -> impl Iterator<Item = &Credential> {
        let set = self.snapshot.set();
        let primary = set.and_then(CredentialSet::primary);
        let previous = set.into_iter().flat_map(|set| set.previous());
        primary
            .into_iter()
            .chain(previous)
            .filter(|credential| self.ends.get(credential.id()).is_some_and(|ends| !ends.reached))
    }

    /// Whether what is in use has more than the last minute, or tenth, of its life left.
    fn lives_on(&self, now: Moment) -> bool {
        let primary = self.snapshot.set().and_then(CredentialSet::primary);
        primary.and_then(|primary| self.ends.get(primary.id())).is_some_and(|ends| {
            let wall = u64::try_from(ends.wall.saturating_sub(now.wall)).unwrap_or(0);
            wall.min(ends.boot.saturating_sub(now.boot)) > 60_000
        })
    }

    /// Checks one send of one request.
    pub(crate) fn check_send(&self, credential: &Credential, sends: u32) -> Held {
        must!(sends <= MAX_SENDS, "invariant 8: a request is sent {sends} times");
        must!(
            !self.revoked.contains(credential.id()),
            "invariant 12: {} was revoked and is sent",
            credential.id()
        );
        Ok(())
    }
}

fn key(credential: &Credential) -> (String, String) {
    (credential.id().to_owned(), credential.reveal("key").unwrap_or("").to_owned())
}

fn members(set: &CredentialSet) -> impl Iterator<Item = &Credential> {
    set.primary().into_iter().chain(set.previous()).chain(set.next())
}
