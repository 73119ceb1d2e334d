//! What is held: the newest set that was admitted, and its credentials in the client's own time.
//!
//! # Theory of operation
//!
//! An answer that is older than what is held, or contradicts it, is refused, so that it cannot undo a
//! rotation. What only rises, though, one wrong answer can drive to its end. So there is a way back: once
//! the API has rejected all that is held, and the source has given the same answer twice, some time apart,
//! that answer is taken, and begins a lineage in which nothing is known yet. What was revoked as a whole
//! does not come back this way.
//!
//! Ends are judged by the source's own clock. A source that shows none leaves only this machine's, which
//! may be wrong by an hour: there, what has ended may be tried, and what the API accepts has not ended.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::member::{Member, NEVER, Role};
use crate::{
    credential::{Credential, CredentialId, CredentialSet, MAX_REVOKED},
    error::{Error, ErrorKind},
    moment::{Moment, millis},
    policy::Policy,
};

pub(super) struct Held {
    policy: Arc<Policy>,
    pub(super) known_schemes: BTreeSet<Box<str>>,
    pub(super) set: Option<Arc<CredentialSet>>,
    /// The highest generation of the lineage, also after the set was revoked.
    pub(super) generation: Option<u64>,
    /// The last one that a set named.
    lineage: Option<Box<str>>,
    /// The set's credentials in its order: the primary one is the first.
    pub(super) members: Vec<Member>,
    /// Ids that were held in this lineage, and those of them that were revoked, the newest first.
    known: VecDeque<CredentialId>,
    revoked: VecDeque<CredentialId>,
    /// What was held when the set was revoked as a whole, until another one is taken.
    gone: Vec<CredentialId>,
    /// The answer that was refused last, because of what is held.
    refused: Option<Refused>,
    /// The place of this client in its fleet, from 0 to 1; drawn once per swap.
    pub(super) jitter: f64,
    pub(super) refresh_at: Option<Moment>,
    pub(super) hard_at: Option<Moment>,
    pub(super) stale_until: Option<Moment>,
}

/// How things stand when an answer comes.
pub(super) struct Standing<'a> {
    /// Nothing held is in use.
    pub(super) is_idle: bool,
    /// The API rejected all that is held, or it has ended, or it was revoked.
    pub(super) is_lost: bool,
    /// The credential in use, if it is good for all that is known.
    pub(super) working: Option<&'a str>,
}

/// How an answer is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    New,
    Same,
    /// The way back from this generation.
    Back(u64),
}

/// What tells an answer that was refused from another one. It keeps no material.
struct Refused {
    generation: u64,
    lineage: Option<Box<str>>,
    ids: Vec<CredentialId>,
    first: u64,
}

impl Refused {
    fn is(&self, set: &CredentialSet) -> bool {
        self.generation == set.generation()
            && self.lineage == set.lineage
            && self.ids.iter().eq(set.members().map(|member| member.id_ref()))
    }
}

/// What a new set brought.
pub(super) struct Change {
    /// Ids that it is the first to revoke.
    pub(super) revoked: Vec<CredentialId>,
    /// Ids under which there is other material now: a source without generations may do that.
    pub(super) replaced: Vec<CredentialId>,
}

impl Held {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            known_schemes: ["api_key", "bearer", "basic"].map(Box::from).into(),
            set: None,
            generation: None,
            lineage: None,
            members: Vec::new(),
            known: VecDeque::new(),
            revoked: VecDeque::new(),
            gone: Vec::new(),
            refused: None,
            jitter: 0.0,
            refresh_at: None,
            hard_at: None,
            stale_until: None,
        }
    }

    // ---- answers of the source ----

    /// Refuses what must not displace the set that is held, and numbers a set that has no number. Says how
    /// it is to be taken.
    pub(super) fn admit(
        &mut self,
        now: Moment,
        set: &mut CredentialSet,
        standing: &Standing<'_>,
    ) -> Result<Admitted, Error> {
        set.check()?;
        self.check_times(now, set, standing)?;
        match self.compare(set, standing.is_idle) {
            Ok(true) => Ok(Admitted::New),
            Ok(false) => Ok(Admitted::Same),
            Err(error) => {
                let since = self.refused_since(now.boot, set);
                let is_gone = set.members().any(|member| self.gone.contains(member.id_ref()));
                let is_believed = standing.is_lost && !is_gone && self.is_believed(now, since);
                let Some(from) = self.generation.filter(|_| is_believed) else { return Err(error) };
                set.generation.get_or_insert(from.saturating_add(1));
                Ok(Admitted::Back(from))
            }
        }
    }

    /// When an answer that was refused would be believed, if the API accepts nothing that is held.
    pub(super) fn believes_at(&self) -> Option<u64> {
        let is_gone = |refused: &&Refused| refused.ids.iter().any(|id| self.gone.contains(id));
        let refused = self.refused.as_ref().filter(|refused| !is_gone(refused))?;
        Some(self.believed_at(refused.first))
    }

    fn believed_at(&self, since: u64) -> u64 {
        since.saturating_add(millis(self.policy.go_back))
    }

    fn is_believed(&self, now: Moment, since: u64) -> bool {
        since < now.boot && self.believed_at(since) <= now.boot
    }

    /// Since when the source gives this answer, which is refused.
    fn refused_since(&mut self, now: u64, set: &CredentialSet) -> u64 {
        if let Some(refused) = self.refused.as_ref().filter(|refused| refused.is(set)) {
            return refused.first;
        }
        self.refused = Some(Refused {
            generation: set.generation(),
            lineage: set.lineage.clone(),
            ids: set.members().map(|member| member.shared_id()).collect(),
            first: now,
        });
        now
    }

    /// Refuses a set that is over, or has not begun, where that would displace a credential that works.
    fn check_times(
        &self,
        now: Moment,
        set: &CredentialSet,
        standing: &Standing<'_>,
    ) -> Result<(), Error> {
        let malformed = |what: &str| Err(Error::new(ErrorKind::Malformed, what));
        let reached = |at| to_moment(now, set, at).reached(now);
        if has_ended(now, set) && !self.may_have_life(set, standing) {
            return malformed("the set's current credential has already ended");
        }
        let has_begun =
            |credential: &Credential| named(credential.not_before()).is_none_or(reached);
        let displaces = standing.working.is_some_and(|id| set.revoked.iter().all(|it| **it != *id));
        if displaces && !set.primary().into_iter().chain(set.previous()).any(has_begun) {
            return malformed(
                "no credential of the set is valid yet, and the one that is held works",
            );
        }
        Ok(())
    }

    /// Whether a credential that has ended by this machine's clock alone may be good all the same: nothing
    /// that works is displaced by it, or that clock was found to be wrong; and the API did not reject it.
    fn may_have_life(&self, set: &CredentialSet, standing: &Standing<'_>) -> bool {
        let is_doubted = || self.members.iter().any(|member| member.outlived);
        let is_rejected = || {
            let same = |member: &&Member| {
                set.primary().is_some_and(|new| member.credential.is_same_key(new))
            };
            self.members.iter().find(same).is_some_and(|member| member.run.is_some())
        };
        set.as_of.is_none()
            && !self.policy.stale_grace.is_zero()
            && (standing.working.is_none() || is_doubted())
            && !is_rejected()
    }

    /// Whether it is newer than what is held.
    fn compare(&self, set: &mut CredentialSet, is_idle: bool) -> Result<bool, Error> {
        let malformed = |what: String| Err(Error::new(ErrorKind::Malformed, what));
        if let Some(back) = set.members().find(|member| self.revoked.contains(member.id_ref())) {
            return malformed(format!("the set brings back {}, which was revoked", back.id()));
        }
        let Some(held) = self.generation else {
            set.generation.get_or_insert(1);
            return Ok(true);
        };
        let Some(generation) = set.generation else {
            self.add_fallback(set);
            let same = self.set.as_ref().is_some_and(|held| held.holds_same_keys(set));
            set.generation = Some(held.saturating_add(u64::from(!same)));
            return Ok(!same);
        };
        // Generations of two lineages cannot be compared. An endpoint that lost its history says so with
        // a new lineage, and is believed where that can be no forgery, or by those with nothing to lose.
        if self.is_other_lineage(set) {
            return match set.signed || is_idle {
                true => Ok(true),
                false => Err(other_lineage()),
            };
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
        let is_other = |member: &Member| {
            let same_id = set.members().find(|new| member.is(new.id()));
            same_id.is_some_and(|new| !member.credential.is_same_key(new))
        };
        if let Some(changed) = self.members.iter().find(|member| is_other(member)) {
            let id = changed.credential.id();
            return malformed(format!("{id} has other material than before"));
        }
        let held_ids = self.members.iter().map(|member| member.credential.id());
        if generation == held && !held_ids.eq(set.members().map(|new| new.id())) {
            return malformed(format!(
                "generation {generation} has other credentials than before: a change must raise the generation"
            ));
        }
        Ok(generation > held)
    }

    fn is_other_lineage(&self, set: &CredentialSet) -> bool {
        self.lineage.as_ref().zip(set.lineage.as_ref()).is_some_and(|(held, named)| held != named)
    }

    /// A source that numbers nothing names no fallback either. The last key that the API accepted stays in
    /// its set: what follows it may be no key at all, or one that the API does not know yet.
    fn add_fallback(&self, set: &mut CredentialSet) {
        let (Some(held), Some(new), []) = (&self.set, &set.primary, &set.previous[..]) else {
            return;
        };
        let is_same = held.primary.iter().any(|primary| primary.is_same_key(new));
        let before = held.primary.iter().filter(|_| !is_same);
        let implied = held.previous.iter().filter(|_| held.implied);
        let fallback = before.chain(implied).find(|key| {
            let is_known = self.member(key.id()).is_some_and(Member::was_accepted);
            let is_other =
                set.members().all(|it| it.id() != key.id() && it.material() != key.material());
            is_known && is_other && !set.revoked.contains(&key.shared_id())
        });
        let fallback = fallback.cloned();
        set.implied = fallback.is_some();
        set.previous.extend(fallback);
    }

    /// Has the credentials that are held already go on with their counts.
    pub(super) fn keep_counts(&self, set: &mut CredentialSet) {
        for new in set.members_mut() {
            let same = self.members.iter().find(|member| member.credential.is_same_key(new));
            if let Some(same) = same
                && !same.credential.accepted().is(new.accepted())
            {
                Arc::make_mut(new).continue_count(&same.credential);
            }
        }
    }

    /// Takes a new set.
    pub(super) fn install(
        &mut self,
        now: Moment,
        set: &Arc<CredentialSet>,
        sends: u64,
        jitter: f64,
        admitted: Admitted,
    ) -> Change {
        self.jitter = jitter;
        let is_back = matches!(admitted, Admitted::Back(_));
        if is_back || self.is_other_lineage(set) {
            self.known.clear();
            self.revoked.clear();
        }
        let gone = self.seat(now, set, sends);
        for member in &mut self.members {
            member.episode = None;
        }
        self.generation = set.generation;
        (self.refused, self.gone) = (None, Vec::new());
        // A set that names no lineage is of the one before, which stays known.
        if is_back || set.lineage.is_some() {
            self.lineage.clone_from(&set.lineage);
        }
        self.set = Some(set.clone());
        // Of ids that were never held, anybody could name as many as there are.
        let is_news = |id: &&CredentialId| self.known.contains(*id) && !self.revoked.contains(*id);
        let revoked: Vec<_> = set.revoked.iter().filter(is_news).cloned().collect();
        for id in revoked.iter().rev() {
            remember(&mut self.revoked, id);
        }
        for member in &self.members {
            remember(&mut self.known, &member.credential.shared_id());
        }
        let gone = gone.iter().map(|member| member.credential.shared_id());
        let replaced = gone.filter(|id| self.member(id).is_some()).collect();
        Change { revoked, replaced }
    }

    /// The same generation again. If it names the same keys, their times may have changed, as with a lease
    /// that was renewed, or may be known better, because the source showed its clock.
    pub(super) fn confirm(&mut self, now: Moment, set: &Arc<CredentialSet>, sends: u64) {
        let Some(held) = self.set.clone().filter(|held| set.holds_same_keys(held)) else { return };
        if !set.members().eq(held.members()) {
            self.set = Some(set.clone());
        }
        self.seat(now, set, sends);
    }

    /// The API accepts it after its end. Where the source shows a clock, that clock was right; where it
    /// does not, this machine's was wrong.
    pub(super) fn outlive(&mut self, id: &str) {
        if self.set.as_ref().is_none_or(|set| set.as_of.is_some()) {
            return;
        }
        if self.is_primary(id) {
            (self.hard_at, self.stale_until) = (None, None);
        }
        if let Some(member) = self.member_mut(id) {
            (member.ends, member.outlived) = (None, true);
        }
    }

    /// Drops everything. What was held, if anything was.
    pub(super) fn revoke(&mut self) -> Option<Vec<CredentialId>> {
        self.set.take()?;
        (self.hard_at, self.stale_until, self.refresh_at) = (None, None, None);
        self.gone = self.members.drain(..).map(|member| member.credential.shared_id()).collect();
        Some(self.gone.clone())
    }

    /// Makes members of a set's credentials. What is known of a key that was held before stays known.
    /// Returns the members that are gone.
    fn seat(&mut self, now: Moment, set: &CredentialSet, sends: u64) -> Vec<Member> {
        let mut old = std::mem::take(&mut self.members);
        for (index, credential) in set.members().enumerate() {
            let role = match index {
                0 => Role::Primary,
                n if n <= set.previous.len() => Role::Previous,
                _ => Role::Next,
            };
            let same = old.iter().position(|member| member.credential.is_same_key(credential));
            let before = same.map(|at| old.swap_remove(at));
            let mut member = before.unwrap_or_else(|| Member::new(credential.clone(), role, sends));
            // A source that shows its clock corrects what was believed before. One that does not leaves
            // alone what is known, or a wall clock that was set back would lengthen lives.
            let is_same = *member.credential == **credential;
            let is_known = member.is_timed && member.role == role && is_same;
            // The object that requests already hold is kept, so that an unchanged key is no change.
            if !is_same {
                member.credential = credential.clone();
                (member.life, member.outlived) = (None, false);
            }
            member.role = role;
            let retired = (role == Role::Previous).then(|| member.retired.unwrap_or(now));
            member.retired = retired;
            if !is_known || set.as_of.is_some() {
                self.read_times(now, &mut member, set);
            }
            // Admitted all the same: by this machine's clock alone it has ended.
            if index == 0 && set.as_of.is_none() && member.has_ended(now) {
                (member.ends, member.outlived) = (None, true);
            }
            self.members.push(member);
        }
        let moment = |at| named(at).map(|at| to_moment(now, set, at));
        let Member { ends, life, .. } = self.members[0];
        let life = life.unwrap_or(Duration::ZERO);
        let hard = life.mul_f64(self.policy.hard_lead_ratio).min(self.policy.hard_lead_max);
        // Counted from its end, by the life that it had when it came: a new set that keeps it changes neither.
        let grace = life.min(self.policy.stale_grace);
        self.hard_at = ends.map(|ends| ends.before(hard));
        self.stale_until = moment(set.stale_ok_until).or_else(|| ends.map(|ends| ends + grace));
        self.refresh_at = moment(set.refresh_after);
        old
    }

    /// Turns the times that the source named into local ones.
    fn read_times(&self, now: Moment, member: &mut Member, set: &CredentialSet) {
        let moment = |at| named(at).map(|at| to_moment(now, set, at));
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
        member.outlived &= set.as_of.is_none();
        let expires = expires.filter(|_| !member.outlived);
        if member.life.is_none() && member.role != Role::Previous {
            member.life = expires.map(|expires| expires.remaining(now));
        }
        member.ends = match member.retired {
            // Nobody said that it ends. It is given up when the API has accepted what followed it.
            Some(_) if set.implied => expires,
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

    // ---- what is held ----

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.is(id))
    }

    pub(super) fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.is(id))
    }

    pub(super) fn primary(&self) -> Option<&Member> {
        self.members.first()
    }

    pub(super) fn is_primary(&self, id: &str) -> bool {
        self.primary().is_some_and(|primary| primary.is(id))
    }

    /// All usable ones, in the order in which a newer one is preferred.
    pub(super) fn usable(&self, now: Moment) -> impl Iterator<Item = &Member> {
        [Role::Next, Role::Primary, Role::Previous].into_iter().flat_map(move |role| {
            let has_role = move |member: &&Member| member.role == role;
            self.members.iter().filter(has_role).filter(move |member| member.is_usable(now))
        })
    }

    /// Those of them that a request can carry.
    pub(super) fn fit(&self, now: Moment) -> impl Iterator<Item = &Member> {
        self.usable(now).filter(|member| member.unfit.is_none())
    }

    /// The newest that a request can carry, or for want of one the newest.
    pub(super) fn best(&self, now: Moment) -> Option<&Member> {
        let fit = self.fit(now).next().or_else(|| self.stale(now));
        fit.or_else(|| self.usable(now).next()).or_else(|| self.early(now))
    }

    /// The primary past its end: it serves while nothing else does, until the stale grace or a
    /// rejection ends that too.
    pub(super) fn stale(&self, now: Moment) -> Option<&Member> {
        let has_grace = self.stale_until.is_some_and(|until| !until.reached(now));
        let is_stale = |primary: &&Member| primary.has_ended(now) && primary.run.is_none();
        self.primary().filter(|_| has_grace).filter(is_stale)
    }

    /// The primary one before its beginning by this machine's clock alone: where nothing else is usable, the
    /// API tells whether that clock is right.
    pub(super) fn early(&self, now: Moment) -> Option<&Member> {
        let is_doubtful = self.set.as_ref().is_some_and(|set| set.as_of.is_none());
        let is_early = |primary: &&Member| {
            primary.run.is_none() && !self.is_foreign(primary) && !primary.has_ended(now)
        };
        self.primary().filter(|_| is_doubtful).filter(is_early)
    }

    /// How long the primary one still lives, if it ends at all.
    pub(super) fn left(&self, now: Moment) -> Option<Duration> {
        self.primary().and_then(|primary| primary.ends).map(|ends| ends.remaining(now))
    }

    /// Over how long the provider spreads its fleet.
    pub(super) fn splay(&self) -> Duration {
        self.set.as_ref().map_or(Duration::ZERO, |set| set.splay.min(self.policy.ceiling))
    }

    /// The times at which something changes by itself.
    pub(super) fn times(&self) -> impl Iterator<Item = Moment> {
        let ends = self.members.iter().flat_map(|member| [member.starts, member.ends]);
        ends.chain([self.hard_at, self.stale_until]).flatten()
    }

    /// How many ids it remembers.
    #[cfg(test)]
    pub(super) fn bounds(&self) -> usize {
        self.known.len() + self.revoked.len()
    }

    pub(super) fn why_nothing(&self, now: Moment) -> Error {
        let (kind, what) = if self.members.iter().all(|member| self.is_foreign(member)) {
            (ErrorKind::SchemeFailed, "the set names a scheme that this program does not know")
        } else if self.members.iter().any(|member| !member.has_ended(now)) {
            (ErrorKind::NotReady, "no credential of the set is valid yet")
        } else {
            (ErrorKind::Expired, "every credential has ended and no newer one could be fetched")
        };
        Error::new(kind, what)
    }
}

/// Whether the primary credential of a set has ended, as far as anybody can tell.
pub(super) fn has_ended(now: Moment, set: &CredentialSet) -> bool {
    let ends = set.primary().and_then(|primary| named(primary.expires_at()));
    ends.is_some_and(|ends| to_moment(now, set, ends).reached(now))
}

/// The endpoint may have been restored, or this may be somebody else. Names of lineages are not quoted:
/// in a document that mixes up its fields, one may be a secret.
fn other_lineage() -> Error {
    Error::new(
        ErrorKind::OlderGeneration,
        "the source began a new lineage, as after a restore from a backup: it is accepted once nothing held is usable, or at once if its answers are signed; if the restore is real and cannot wait, restart the program",
    )
}

/// Keeps an id, the newest first, and no more than one set may revoke.
fn remember(ids: &mut VecDeque<CredentialId>, id: &CredentialId) {
    ids.retain(|known| known != id);
    ids.push_front(id.clone());
    ids.truncate(MAX_REVOKED);
}

/// A time, unless it is a way to say that there is none: the last year that can be written, as some
/// languages write "never", or the first.
fn named(at: Option<Timestamp>) -> Option<Timestamp> {
    /// The first instants of the years 2 and 9999.
    const YEARS: std::ops::Range<i64> = -62_104_060_800..253_370_764_800;
    at.filter(|at| YEARS.contains(&at.as_second()))
}

/// The local moment of a time that the source named, by the source's own clock.
fn to_moment(now: Moment, set: &CredentialSet, at: Timestamp) -> Moment {
    let source_now = named(set.as_of).map_or(now.wall, Timestamp::as_millisecond);
    let left = at.as_millisecond().saturating_sub(source_now);
    match u64::try_from(left) {
        Ok(left) => now + Duration::from_millis(left),
        Err(_) => now.before(Duration::from_millis(left.unsigned_abs())),
    }
}
