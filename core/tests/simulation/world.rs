//! The provider: a rotation endpoint and the replicas of an API, with all that goes wrong with them.
//!
//! Its clock is the truth, in milliseconds. What a replica accepts is a span of time for each key and
//! replica, so that the checks can ask afterwards what was true all along.

use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use keyswap::{Credential, CredentialSet, Error, ErrorKind};

pub(crate) const EPOCH: u64 = 1_800_000_000_000;
const NEVER: u64 = u64::MAX;

/// One key, and when each replica accepts it.
pub(crate) struct Key {
    pub(crate) id: String,
    material: String,
    expires: Option<u64>,
    from: Vec<u64>,
    until: Vec<u64>,
    /// Whether no request can carry it.
    is_unfit: bool,
}

/// One state that the endpoint shows from some time on.
#[derive(Clone)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    visible_at: u64,
    primary: usize,
    /// The older keys, newest first, and the end of their grace if it is stated.
    previous: Vec<(usize, Option<u64>)>,
    next: Option<(usize, Option<u64>)>,
    revoked: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Outage,
    Slow,
    Hang,
    Garbage,
    Older,
    OtherMaterial,
    Expired,
    Busy,
    Forbidden,
    Wrong,
}

const FAULTS: [Fault; 10] = [
    Fault::Outage,
    Fault::Slow,
    Fault::Hang,
    Fault::Garbage,
    Fault::Older,
    Fault::OtherMaterial,
    Fault::Expired,
    Fault::Busy,
    Fault::Forbidden,
    Fault::Wrong,
];

/// What the endpoint's reply to one fetch is.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Set(CredentialSet),
    NotModified,
    Failed(Error),
}

pub(crate) struct World {
    pub(crate) keys: Vec<Key>,
    generations: Vec<Generation>,
    replicas: usize,
    revoked_at: Option<u64>,
    fault: Option<(Fault, u64)>,
    flaps: Vec<(u64, u64)>,
    /// Whether the source numbers its states, shows its clock, and gives each key a name of its own.
    numbered: bool,
    clocked: bool,
    one_name: bool,
    ttl: Option<u64>,
    states_grace: bool,
    wishes: bool,
    /// Whether what it wishes lies a hundred years ahead.
    far: bool,
}

impl World {
    pub(crate) fn new(now: u64, rng: &mut Rng) -> Self {
        let numbered = rng.u8(..10) > 1;
        let longest = [3_600_000, 90 * 86_400_000][rng.usize(..2)];
        let mut world = Self {
            keys: Vec::new(),
            generations: Vec::new(),
            replicas: rng.usize(1..4),
            revoked_at: None,
            fault: None,
            flaps: Vec::new(),
            numbered,
            clocked: numbered || rng.bool(),
            one_name: !numbered && rng.bool(),
            ttl: rng.bool().then(|| rng.u64(60_000..longest)),
            states_grace: rng.u8(..4) > 0,
            wishes: rng.u8(..4) == 0,
            far: rng.bool(),
        };
        let first = world.new_key(now, |_| now);
        world.generations.push(Generation {
            number: rng.u64(1..50),
            visible_at: now,
            primary: first,
            previous: Vec::new(),
            next: None,
            revoked: Vec::new(),
        });
        world
    }

    /// Lets something happen to the provider.
    pub(crate) fn happen(&mut self, now: u64, rng: &mut Rng) -> &'static str {
        if let Some(at) = self.revoked_at {
            if now < at + rng.u64(5_000..100_000) {
                return "nothing";
            }
            self.revoked_at = None;
            let key = self.new_key(now, |_| now);
            self.show(now, key, Vec::new());
            return "restore the set";
        }
        match rng.u8(..30) {
            0..=5 => self.rotate(now, rng, true),
            6..=8 => self.rotate(now, rng, false),
            9 => self.stage(now, rng),
            10 | 11 => self.revoke(now),
            12 => self.revoke_set(now, rng),
            13..=15 => self.roll_back(now),
            16 => self.forget(now),
            17 | 18 => {
                self.flaps.push((now, now + rng.u64(100..40_000)));
                "replicas flap"
            }
            19..=25 => {
                let fault = FAULTS[rng.usize(..FAULTS.len())];
                self.fault = Some((fault, now + rng.u64(1_000..120_000)));
                "the endpoint has a fault"
            }
            _ => {
                self.fault = None;
                "the endpoint is well"
            }
        }
    }

    /// When the provider has to rotate, lest the current key ends.
    pub(crate) fn must_rotate_at(&self) -> Option<u64> {
        let newest = self.generations.last()?;
        let expires = self.keys[newest.primary].expires?;
        Some(expires - self.ttl? / 4)
    }

    pub(crate) fn renew(&mut self, now: u64, rng: &mut Rng) {
        if self.revoked_at.is_none() {
            self.rotate(now, rng, true);
        }
    }

    /// Whether a replica accepts a key now.
    pub(crate) fn accepts(&self, key: usize, now: u64, rng: &mut Rng) -> bool {
        let replica = rng.usize(..self.replicas);
        let key = &self.keys[key];
        let accepted = key.from[replica] <= now && now < key.until[replica];
        let flaps = self.flaps.iter().any(|(from, until)| (*from..*until).contains(&now));
        if flaps && rng.bool() { !accepted && key.from[replica] <= now } else { accepted }
    }

    /// Whether every replica accepted a key at every instant of a span.
    pub(crate) fn accepted_throughout(&self, key: usize, from: u64, until: u64) -> bool {
        let key = &self.keys[key];
        let steady =
            !key.is_unfit && !self.flaps.iter().any(|(begin, end)| *begin <= until && from <= *end);
        steady && (0..self.replicas).all(|at| key.from[at] <= from && until < key.until[at])
    }

    /// Whether the endpoint shows the truth, and the API accepts what it shows on every replica.
    pub(crate) fn is_well(&self, now: u64) -> bool {
        let Some(newest) = self.generations.last() else { return false };
        self.fault_at(now).is_none()
            && self.revoked_at.is_none()
            && newest.visible_at <= now
            && self.accepted_throughout(newest.primary, now, now)
    }

    pub(crate) fn key_of(&self, credential: &Credential) -> Option<usize> {
        let number: usize = credential.reveal("key")?.strip_prefix("material ")?.parse().ok()?;
        number.checked_sub(1).filter(|key| *key < self.keys.len())
    }

    /// Whether no request can carry a credential.
    pub(crate) fn is_unfit(&self, credential: &Credential) -> bool {
        self.key_of(credential).is_some_and(|key| self.keys[key].is_unfit)
    }

    /// How long a fetch takes, and whether it ever ends in time.
    pub(crate) fn fetch_time(&self, now: u64, rng: &mut Rng) -> u64 {
        match self.fault_at(now) {
            Some(Fault::Slow) => rng.u64(500..9_900),
            Some(Fault::Hang) => rng.u64(10_000..30_000),
            _ => rng.u64(1..300),
        }
    }

    /// What the endpoint answers to a fetch that may be conditional on a generation.
    pub(crate) fn reply(&self, now: u64, held: Option<u64>, rng: &mut Rng) -> Reply {
        let failed = |kind| Reply::Failed(Error::new(kind, "a fault on purpose"));
        let newest = self.shown(now);
        match self.fault_at(now) {
            Some(Fault::Outage) => return failed(ErrorKind::Unavailable),
            Some(Fault::Forbidden) => return failed(ErrorKind::Forbidden),
            Some(Fault::Busy) => {
                let wait = Duration::from_millis(rng.u64(..600_000));
                let busy = Error::new(ErrorKind::Throttled, "busy on purpose");
                return Reply::Failed(busy.with_retry_after(wait));
            }
            Some(Fault::Garbage) => {
                return match rng.u8(..3) {
                    0 => failed(ErrorKind::Malformed),
                    1 => Reply::Set(CredentialSet::default().with_generation(newest.number + 9)),
                    _ => {
                        let twice = self.set(now, newest, newest.number + 9);
                        let again = self.credential(newest.primary, None);
                        Reply::Set(twice.with_previous(again))
                    }
                };
            }
            Some(Fault::Older) if self.numbered && self.generations.len() > 1 => {
                let older = &self.generations[rng.usize(..self.generations.len() - 1)];
                return Reply::Set(self.set(now, older, older.number));
            }
            Some(Fault::OtherMaterial) if self.numbered => {
                let id = &self.keys[newest.primary].id;
                let other = Credential::new(id, "not the material of anything");
                return Reply::Set(CredentialSet::new(other).with_generation(newest.number + 9));
            }
            // Well-formed, and wrong in all that only rises.
            Some(Fault::Wrong) => {
                let wrong = Credential::new("wrong", "not the material of anything");
                let mut set = CredentialSet::new(wrong);
                let ids = [format!("k{}", self.keys.len()), format!("k{}", self.keys.len() + 1)];
                for id in
                    ids.iter().chain(self.generations.last().map(|g| &self.keys[g.primary].id))
                {
                    if !set.revoked().iter().any(|known| **known == **id) {
                        set = set.with_revoked(id);
                    }
                }
                let set = if self.clocked { set.with_as_of(time(now)) } else { set };
                let number = [u64::MAX, newest.number + 1_000][rng.usize(..2)];
                return Reply::Set(match self.numbered {
                    true => set.with_generation(number),
                    false => set,
                });
            }
            Some(Fault::Expired) => {
                let ended = self.credential(newest.primary, None);
                let ended = ended.with_expires_at(time(now - 1));
                let set = CredentialSet::new(ended).with_as_of(time(now));
                return Reply::Set(set.with_generation(newest.number + 9));
            }
            _ => {}
        }
        if self.revoked_at.is_some() {
            return failed(ErrorKind::SetRevoked);
        }
        if self.numbered && held == Some(newest.number) && rng.u8(..4) > 0 {
            return Reply::NotModified;
        }
        Reply::Set(self.set(now, newest, newest.number))
    }

    /// What the source's clock showed in a reply, if it showed it.
    pub(crate) fn shows_clock(&self, read_at: u64, reply: &Reply) -> Option<i64> {
        let shows = self.clocked && matches!(reply, Reply::Set(_));
        shows.then(|| time(read_at).as_millisecond())
    }

    /// A generation that is at the endpoint, for hints.
    pub(crate) fn newest_number(&self) -> Option<u64> {
        self.generations.last().filter(|_| self.numbered).map(|newest| newest.number)
    }

    fn fault_at(&self, now: u64) -> Option<Fault> {
        self.fault.filter(|(_, until)| now < *until).map(|(fault, _)| fault)
    }

    fn shown(&self, now: u64) -> &Generation {
        let shown = self.generations.iter().rev().find(|generation| generation.visible_at <= now);
        shown.unwrap_or(&self.generations[0])
    }

    fn set(&self, now: u64, generation: &Generation, number: u64) -> CredentialSet {
        let mut set = CredentialSet::new(self.credential(generation.primary, None));
        for (key, grace) in &generation.previous {
            set = set.with_previous(self.credential(*key, *grace));
        }
        if let Some((key, activate)) = generation.next {
            let staged = self.credential(key, None);
            set = set.with_next(match activate {
                Some(at) => staged.with_activate_at(time(at)),
                None => staged,
            });
        }
        for id in &generation.revoked {
            set = set.with_revoked(id);
        }
        if self.numbered {
            set = set.with_generation(number);
        }
        if self.clocked {
            set = set.with_as_of(time(now));
        }
        if self.wishes {
            let (after, splay) = if self.far { (3_155_760_000_000, 86_400) } else { (60_000, 3) };
            set = set.with_refresh_after(time(generation.visible_at + after));
            set = set.with_splay(Duration::from_secs(splay));
        }
        set
    }

    fn credential(&self, key: usize, grace: Option<u64>) -> Credential {
        let key = &self.keys[key];
        let mut credential = Credential::new(&key.id, key.material.as_str());
        if let Some(at) = key.expires {
            credential = credential.with_expires_at(time(at));
        }
        if let Some(at) = grace {
            credential = credential.with_grace_expires_at(time(at));
        }
        credential
    }

    fn new_key(&mut self, now: u64, from: impl FnMut(usize) -> u64) -> usize {
        let number = self.keys.len() + 1;
        let expires = self.ttl.map(|ttl| now + ttl);
        self.keys.push(Key {
            id: if self.one_name { "key".to_owned() } else { format!("k{number}") },
            material: format!("material {number}"),
            expires,
            from: (0..self.replicas).map(from).collect(),
            until: vec![expires.unwrap_or(NEVER); self.replicas],
            is_unfit: false,
        });
        number - 1
    }

    fn stop(&mut self, key: usize, mut at: impl FnMut(usize) -> u64) {
        for (replica, until) in self.keys[key].until.iter_mut().enumerate() {
            *until = (*until).min(at(replica));
        }
    }

    fn show(&mut self, at: u64, primary: usize, previous: Vec<(usize, Option<u64>)>) {
        let revoked = self.generations.last().map_or(Vec::new(), |last| last.revoked.clone());
        let number = self.generations.last().map_or(1, |last| last.number + 1);
        let next = None;
        self.generations.push(Generation {
            number,
            visible_at: at,
            primary,
            previous,
            next,
            revoked,
        });
        if self.generations.len() > 40 {
            self.generations.remove(0);
        }
    }

    /// A new key. With overlap, the old one goes on for a grace; otherwise each replica changes over
    /// when it hears of it. The endpoint may show it only later, and a bad one is never accepted.
    fn rotate(&mut self, now: u64, rng: &mut Rng, overlap: bool) -> &'static str {
        let Some(last) = self.generations.last().cloned() else { return "nothing" };
        let slow = rng.bool();
        let delay: Vec<_> =
            (0..self.replicas).map(|_| if slow { rng.u64(..60_000) } else { 0 }).collect();
        let is_bad = overlap && rng.u8(..8) == 0;
        let is_unfit = overlap && rng.u8(..8) == 0;
        let key = self.new_key(now, |at| if is_bad { NEVER } else { now + delay[at] });
        self.keys[key].is_unfit = is_unfit;
        if is_unfit {
            self.stop(key, |_| 0);
        }
        let visible_at = if rng.u8(..3) == 0 { now + rng.u64(..20_000) } else { now };
        let mut previous = Vec::new();
        if overlap && !self.one_name {
            let grace = rng.u64(5_000..900_000);
            let stated = self.states_grace.then_some(now + grace);
            // A replica is a little more patient than what is stated.
            let ends = now + 1_000 + if self.states_grace { grace } else { 660_000 };
            self.stop(last.primary, |at| ends + delay[at]);
            previous.push((last.primary, stated));
            let older = last.previous.iter().find(|(_, grace)| grace.is_none_or(|at| at > now));
            previous.extend(older.copied());
        } else {
            self.stop(last.primary, |at| now + delay[at]);
        }
        self.show(visible_at, key, previous);
        if overlap { "rotate" } else { "cut" }
    }

    fn stage(&mut self, now: u64, rng: &mut Rng) -> &'static str {
        let Some(last) = self.generations.last().cloned() else { return "nothing" };
        if self.one_name || last.previous.len() > 1 {
            return "nothing";
        }
        let key = self.new_key(now, |_| now);
        self.show(now, last.primary, last.previous);
        let activate = rng.bool().then(|| now + rng.u64(..60_000));
        if let Some(newest) = self.generations.last_mut() {
            newest.next = Some((key, activate));
        }
        "stage"
    }

    fn revoke(&mut self, now: u64) -> &'static str {
        let Some(last) = self.generations.last().cloned() else { return "nothing" };
        self.stop(last.primary, |_| now);
        let key = self.new_key(now, |_| now);
        self.show(now, key, last.previous);
        let id = self.keys[last.primary].id.clone();
        if let Some(newest) = self.generations.last_mut().filter(|_| !self.one_name) {
            newest.revoked.push(id);
        }
        "revoke"
    }

    fn revoke_set(&mut self, now: u64, rng: &mut Rng) -> &'static str {
        if rng.bool() {
            return "nothing";
        }
        self.revoked_at = Some(now);
        for key in 0..self.keys.len() {
            self.stop(key, |_| now);
        }
        "revoke the set"
    }

    fn roll_back(&mut self, now: u64) -> &'static str {
        let Some(last) = self.generations.last().cloned() else { return "nothing" };
        let Some((back, _)) = last.previous.first().copied() else { return "nothing" };
        let key = &mut self.keys[back];
        if key.expires.is_some_and(|at| at < now + 60_000) {
            return "nothing";
        }
        for replica in 0..self.replicas {
            if key.until[replica] <= now || key.from[replica] > now {
                key.from[replica] = now;
            }
            key.until[replica] = key.expires.unwrap_or(NEVER);
        }
        self.stop(last.primary, |_| now);
        self.show(now, back, Vec::new());
        "roll back"
    }

    /// The API alone forgets the current key.
    fn forget(&mut self, now: u64) -> &'static str {
        let Some(last) = self.generations.last().map(|last| last.primary) else { return "nothing" };
        self.stop(last, |_| now);
        "forget"
    }
}

pub(crate) fn time(at: u64) -> Timestamp {
    let at = i64::try_from(at).expect("a time");
    Timestamp::from_millisecond(at).expect("a time")
}
