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

use self::{
    admission::Refused,
    members::{named, to_moment},
};
use super::member::{Member, Role};
use crate::{
    credential::{CredentialId, CredentialSet, MAX_REVOKED},
    error::{Error, ErrorKind},
    moment::Moment,
    policy::Policy,
};

pub(super) use self::{
    admission::{Admitted, Standing},
    members::has_ended,
};

mod admission;
mod members;

pub(super) struct Holdings {
    policy: Arc<Policy>,
    pub(super) known_schemes: BTreeSet<Box<str>>,
    pub(super) set: Option<Arc<CredentialSet>>,
    /// The highest generation of the lineage, also after the set was revoked.
    pub(super) generation: Option<u64>,
    /// The last one that a set named.
    lineage: Option<Box<str>>,
    /// Which of several sources the set is from.
    place: Option<u8>,
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

/// What a new set brought.
pub(super) struct Change {
    /// Ids that it is the first to revoke.
    pub(super) revoked: Vec<CredentialId>,
    /// Ids under which there is other material now: a source without generations may do that.
    pub(super) replaced: Vec<CredentialId>,
}

impl Holdings {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            known_schemes: ["api_key", "bearer", "basic"].map(Box::from).into(),
            set: None,
            generation: None,
            lineage: None,
            place: None,
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
        self.place = set.place;
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

/// Keeps an id, the newest first, and no more than one set may revoke.
fn remember(ids: &mut VecDeque<CredentialId>, id: &CredentialId) {
    ids.retain(|known| known != id);
    ids.push_front(id.clone());
    ids.truncate(MAX_REVOKED);
}
