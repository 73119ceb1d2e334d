//! The provider, and an observer who knows what was true when. Neither is a thread: what they do takes no
//! time, and happens at a point that the schedule chooses.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex as Plain, MutexGuard, PoisonError},
};

use keyswap::{
    Credential, CredentialSet, Event,
    engine::{rotation::Counts, snapshot::Snapshot},
};

/// What a provider does. After each of these, one credential of the newest set is accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// A new set with a new key; the older one is accepted no more.
    RotateAtOnce,
    /// A new set with a new key; the older one stays in it, and is accepted.
    RotateWithGrace,
    /// The same, but the API does not know the new key yet.
    RotateWithLag,
    /// The API knows the newest key now.
    Arrive,
    /// The API accepts nothing but the newest key, whatever the set promised.
    Cut,
    /// A new set that revokes all older keys.
    Revoke,
}

pub(crate) struct World(Plain<State>);

struct State {
    generation: u64,
    accepted: BTreeSet<u64>,
    previous: Option<u64>,
    revoked: Vec<u64>,
    /// How often a fetch brought each generation.
    brought: BTreeMap<u64, u32>,
    live: Option<u64>,
    fetches: usize,
    /// The order in which things happened.
    order: u64,
    /// The last change of state of each credential.
    changed: BTreeMap<Box<str>, Change>,
    probing: BTreeMap<Box<str>, u32>,
}

/// When a step began that changed the state of a credential, when requests could see it, and what the
/// API was heard to say of it since.
#[derive(Clone, Copy, Default)]
struct Change {
    stepped: u64,
    published: u64,
    is_accepted: bool,
    is_rejected: bool,
}

/// When a request looked at the snapshot for a send, and when that send left.
#[derive(Clone, Copy, Default)]
pub(crate) struct Trip {
    pub(crate) looked: u64,
    pub(crate) left: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self(Plain::new(State {
            generation: 1,
            accepted: BTreeSet::from([1]),
            previous: None,
            revoked: Vec::new(),
            brought: BTreeMap::new(),
            live: None,
            fetches: 0,
            order: 0,
            changed: BTreeMap::new(),
            probing: BTreeMap::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the provider ----

    /// Does it, and says which generation is the newest.
    pub(crate) fn act(&self, act: Act) -> u64 {
        let mut state = self.state();
        let older = state.generation;
        if !matches!(act, Act::Arrive | Act::Cut) {
            state.generation += 1;
            state.previous = None;
        }
        let newest = state.generation;
        match act {
            Act::RotateAtOnce => state.accepted = BTreeSet::from([newest]),
            Act::RotateWithGrace => state.accepted = BTreeSet::from([older, newest]),
            Act::RotateWithLag => state.accepted = BTreeSet::from([older]),
            Act::Arrive => drop(state.accepted.insert(newest)),
            Act::Cut => state.accepted.retain(|key| *key == newest),
            Act::Revoke => {
                state.accepted = BTreeSet::from([newest]);
                state.revoked.push(older);
            }
        }
        if matches!(act, Act::RotateWithGrace | Act::RotateWithLag) {
            state.previous = Some(older);
        }
        newest
    }

    /// The set that the endpoint shows, unless it is the one that the fetch may be told of as unchanged. One
    /// that follows a rejection knows a generation, and may not: it is shown that one again.
    pub(crate) fn fetch(&self, held: Option<u64>, known: Option<u64>) -> Option<CredentialSet> {
        let mut state = self.state();
        let newest = state.generation;
        if held == Some(newest) {
            return None;
        }
        if known != Some(newest) {
            let times = state.brought.entry(newest).or_insert(0);
            *times += 1;
            assert_eq!(*times, 1, "generation {newest} was fetched twice");
        }
        let mut set = CredentialSet::new(key(newest)).with_generation(newest);
        if let Some(previous) = state.previous {
            set = set.with_previous(key(previous));
        }
        for revoked in &state.revoked {
            set = set.with_revoked(&format!("k{revoked}"));
        }
        Some(set)
    }

    pub(crate) fn accepts(&self, credential: &Credential) -> bool {
        let number = credential.id().strip_prefix('k').and_then(|number| number.parse().ok());
        self.state().accepted.contains(&number.expect("a key of this world"))
    }

    // ---- the observer ----

    /// Something happens now; later things have a higher number.
    pub(crate) fn order(&self) -> u64 {
        let mut state = self.state();
        state.order += 1;
        state.order
    }

    pub(crate) fn begins_probe(&self, of: &Credential) {
        let mut state = self.state();
        let probing = state.probing.entry(of.id().into()).or_insert(0);
        *probing += 1;
        assert_eq!(*probing, 1, "two requests probe {} at once", of.id());
    }

    pub(crate) fn ends_probe(&self, of: &Credential) {
        let mut state = self.state();
        *state.probing.get_mut(of.id()).expect("a probe that began") -= 1;
    }

    pub(crate) fn fetch_begins(&self, ticket: u64) {
        let mut state = self.state();
        assert_eq!(state.live.replace(ticket), None, "two fetches are live");
        assert_eq!(state.fetches, 0, "a fetch runs that the engine does not know");
        state.fetches += 1;
    }

    pub(crate) fn fetch_ends(&self, ticket: u64) {
        let mut state = self.state();
        state.live.take_if(|live| *live == ticket);
        state.fetches -= 1;
    }

    /// The engine told of a change, in a step that began and was published then.
    pub(crate) fn told(&self, event: &Event, stepped: u64, published: u64) {
        let mut state = self.state();
        let mut changes = |id: &str| {
            let change = Change { stepped, published, ..Change::default() };
            state.changed.insert(id.into(), change);
        };
        match event {
            Event::Swapped { from, to, .. } => from.iter().chain([to]).for_each(|id| changes(id)),
            Event::Promoted { from, to, .. }
            | Event::FellBack { from, to, .. }
            | Event::RolledBack { from, to, .. } => {
                [from, to].into_iter().for_each(|id| changes(id))
            }
            Event::Candidate { credential, .. } => changes(credential),
            _ => {}
        }
    }

    /// Evidence was taken in; `before` and `after` are what the engine knew. What left before the last
    /// change must change nothing. Of a request that had seen the last change, a rejection of the
    /// credential in use must count, and an acceptance of the candidate promotes it.
    pub(crate) fn check_evidence(
        &self,
        (id, is_rejection): (&str, bool),
        trip: Trip,
        before: (Counts, &Snapshot),
        after: (Counts, &Snapshot),
    ) {
        let mut state = self.state();
        let change = state.changed.entry(id.into()).or_default();
        if trip.left < change.stepped {
            assert_eq!(before.0, after.0, "stale evidence of {id} was counted");
            assert_eq!(before.1.epoch(), after.1.epoch(), "stale evidence of {id} was published");
            return;
        }
        let is_fresh = trip.looked > change.published;
        let is = |credential: Option<&Credential>| credential.is_some_and(|it| it.id() == id);
        if is_rejection {
            let counted = after.0.rejections - before.0.rejections;
            let must_count = is_fresh && !change.is_accepted && is(before.1.in_use());
            assert!(!must_count || counted == 1, "fresh evidence of {id} was ignored");
        } else {
            let must_count = is_fresh && !change.is_rejected && is(before.1.candidate());
            assert!(!must_count || is(after.1.in_use()), "fresh evidence of {id} was ignored");
        }
        change.is_accepted |= !is_rejection;
        change.is_rejected |= is_rejection;
    }

    /// All is quiet: the client must know what the provider knows.
    pub(crate) fn check_end(&self, last: &Snapshot, counts: Counts) {
        let (newest, brought) = {
            let state = self.state();
            (state.generation, state.brought.len() as u64)
        };
        let held = last.set().map(CredentialSet::generation);
        assert_eq!(held, Some(newest), "the last published set is not the newest");
        let in_use = last.in_use().expect("a credential in use");
        assert!(self.accepts(in_use), "{} is in use at the end and not accepted", in_use.id());
        assert_eq!(counts.changed, brought, "a changed fetch was counted twice, or not at all");
    }
}

fn key(number: u64) -> Credential {
    Credential::new(format!("k{number}"), format!("material {number}"))
}
