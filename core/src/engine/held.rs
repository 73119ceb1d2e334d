//! What is held: the newest set that was admitted, and its credentials in the client's own time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::member::{Member, NEVER, Role};
use crate::{
    credential::{CredentialId, CredentialSet},
    error::{Error, ErrorKind},
    moment::Moment,
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
    revoked: BTreeSet<CredentialId>,
    /// The place of this client in its fleet, from 0 to 1; drawn once per swap.
    pub(super) jitter: f64,
    /// What the primary one had left to live when it came, or when its end was last moved.
    life: Option<Duration>,
    pub(super) refresh_at: Option<Moment>,
    pub(super) hard_at: Option<Moment>,
    pub(super) stale_until: Option<Moment>,
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
            revoked: BTreeSet::new(),
            jitter: 0.0,
            life: None,
            refresh_at: None,
            hard_at: None,
            stale_until: None,
        }
    }

    // ---- answers of the source ----

    /// Refuses what must not displace the set that is held, and numbers a set that has no number. Says
    /// whether it is to be taken as new. `is_idle` says that nothing held is in use.
    pub(super) fn admit(
        &self,
        now: Moment,
        set: &mut CredentialSet,
        is_idle: bool,
    ) -> Result<bool, Error> {
        let malformed = |what: String| Err(Error::new(ErrorKind::Malformed, what));
        set.check()?;
        if let Some(back) = set.members().find(|member| self.revoked.contains(member.id())) {
            return malformed(format!("the set brings back {}, which was revoked", back.id()));
        }
        let ends = set.primary().and_then(|primary| primary.expires_at());
        if ends.is_some_and(|ends| to_moment(now, set, ends).reached(now)) {
            return malformed("the set's current credential has already ended".into());
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
        if let (Some(held), Some(named)) = (&self.lineage, &set.lineage)
            && held != named
        {
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
        match self.members.iter().find(|member| is_other(member)) {
            Some(changed) => {
                let id = changed.credential.id();
                malformed(format!("{id} has other material than before"))
            }
            None => Ok(generation > held),
        }
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
    ) -> Change {
        self.jitter = jitter;
        self.life = None;
        let gone = self.seat(now, set, sends);
        for member in &mut self.members {
            member.episode = None;
        }
        self.generation = set.generation;
        // A set that names no lineage is of the one before, which stays known.
        if set.lineage.is_some() {
            self.lineage.clone_from(&set.lineage);
        }
        self.set = Some(set.clone());
        let is_new = |id: &&CredentialId| self.revoked.insert((*id).clone());
        let revoked = set.revoked.iter().filter(is_new).cloned().collect();
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
            self.life = None;
        }
        self.seat(now, set, sends);
    }

    /// Drops everything. What was held, if anything was.
    pub(super) fn revoke(&mut self) -> Option<Vec<CredentialId>> {
        self.set.take()?;
        (self.hard_at, self.stale_until, self.refresh_at) = (None, None, None);
        Some(self.members.drain(..).map(|member| member.credential.shared_id()).collect())
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
            }
            member.role = role;
            let retired = (role == Role::Previous).then(|| member.retired.unwrap_or(now));
            member.retired = retired;
            if !is_known || set.as_of.is_some() {
                self.read_times(now, &mut member, set);
            }
            self.members.push(member);
        }
        let moment = |at: Option<Timestamp>| at.map(|at| to_moment(now, set, at));
        let ends = self.members[0].ends;
        let left = ends.map_or(Duration::ZERO, |ends| ends.remaining(now));
        let life = *self.life.get_or_insert(left);
        let hard = life.mul_f64(self.policy.hard_lead_ratio).min(self.policy.hard_lead_max);
        let grace = life.min(self.policy.stale_grace);
        self.hard_at = ends.map(|ends| ends.before(hard));
        self.stale_until = moment(set.stale_ok_until).or_else(|| ends.map(|ends| ends + grace));
        self.refresh_at = moment(set.refresh_after);
        old
    }

    /// Turns the times that the source named into local ones.
    fn read_times(&self, now: Moment, member: &mut Member, set: &CredentialSet) {
        let moment = |at: Option<Timestamp>| at.map(|at| to_moment(now, set, at));
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
        fit.or_else(|| self.usable(now).next())
    }

    /// The primary past its end: it serves while nothing else does, until the stale grace or a
    /// rejection ends that too.
    pub(super) fn stale(&self, now: Moment) -> Option<&Member> {
        let has_grace = self.stale_until.is_some_and(|until| !until.reached(now));
        let is_stale = |primary: &&Member| primary.has_ended(now) && primary.run.is_none();
        self.primary().filter(|_| has_grace).filter(is_stale)
    }

    /// How long the primary one still lives, if it ends at all.
    pub(super) fn left(&self, now: Moment) -> Option<Duration> {
        self.primary().and_then(|primary| primary.ends).map(|ends| ends.remaining(now))
    }

    /// Over how long the provider spreads its fleet.
    pub(super) fn splay(&self) -> Duration {
        self.set.as_ref().map_or(Duration::ZERO, |set| set.splay)
    }

    /// The times at which something changes by itself.
    pub(super) fn times(&self) -> impl Iterator<Item = Moment> {
        let ends = self.members.iter().flat_map(|member| [member.starts, member.ends]);
        ends.chain([self.hard_at, self.stale_until]).flatten()
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

/// The endpoint may have been restored, or this may be somebody else. Names of lineages are not quoted:
/// in a document that mixes up its fields, one may be a secret.
fn other_lineage() -> Error {
    Error::new(
        ErrorKind::OlderGeneration,
        "the source began a new lineage, as after a restore from a backup: it is accepted once nothing held is usable, or at once if its answers are signed; if the restore is real and cannot wait, restart the program",
    )
}

/// The local moment of a time that the source named, by the source's own clock.
fn to_moment(now: Moment, set: &CredentialSet, at: Timestamp) -> Moment {
    let source_now = set.as_of.map_or(now.wall, Timestamp::as_millisecond);
    let left = at.as_millisecond().saturating_sub(source_now);
    match u64::try_from(left) {
        Ok(left) => now + Duration::from_millis(left),
        Err(_) => now.before(Duration::from_millis(left.unsigned_abs())),
    }
}
