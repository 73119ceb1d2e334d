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

use self::{
    ends::Ends,
    fetches::{FLOOR_MIN, TOKENS},
};

mod ends;
mod fetches;

/// Fails with a sentence that says which invariant is broken.
macro_rules! must {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}
pub(crate) use must;

pub(crate) type Checked = Result<(), String>;

const WAKE_MAX: u64 = 30_000;
const CEILING: u64 = 3_600_000;
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
    ) -> Checked {
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

    fn check_wake(&self, rotation: &Rotation, now: Moment, input: &Input) -> Checked {
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
    ) -> Checked {
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

    /// Whether something works, as far as anybody knows.
    fn is_calm(&self) -> bool {
        self.rejections == 0 && self.surely_usable().any(|held| !self.is_unfit(held))
    }

    fn told(&mut self, event: &Event, run: Run, input: &Input, now: Moment) -> Checked {
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
    pub(crate) fn check_probe(&self, now: Moment) -> Checked {
        must!(now.boot >= self.probe_from, "the candidate is probed again too soon");
        Ok(())
    }

    /// Whether the API accepted a send of this credential after that one.
    pub(crate) fn was_accepted_since(&self, id: &str, sent: u64) -> bool {
        self.ids.get(id).is_some_and(|known| known.accepted > sent)
    }

    /// Whether the API both accepted and rejected a key that is held: its replicas may disagree.
    pub(crate) fn may_disagree(&self) -> bool {
        let known = |member: &Credential| self.ids.get(member.id());
        self.members().filter_map(known).any(|known| known.accepted > 0 && known.rejected > 0)
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

    /// Checks one send of one request.
    pub(crate) fn check_send(&self, credential: &Credential, sends: u32) -> Checked {
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
