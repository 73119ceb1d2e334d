//! Which answers are taken: what would undo a rotation, or contradicts what is held, is refused.

use super::{Holdings, has_ended, named, to_moment};
use crate::{
    credential::{Credential, CredentialId, CredentialSet},
    engine::member::Member,
    error::{Error, ErrorKind},
    moment::{Moment, millis},
};

/// How things stand when an answer comes.
pub(in crate::engine) struct Standing<'a> {
    /// Nothing held is in use.
    pub(in crate::engine) is_idle: bool,
    /// The API rejected all that is held, or it has ended, or it was revoked.
    pub(in crate::engine) is_lost: bool,
    /// The credential in use, if it is good for all that is known.
    pub(in crate::engine) working: Option<&'a str>,
}

/// How an answer is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Admitted {
    New,
    Same,
    /// The way back from this generation.
    Back(u64),
}

/// What tells an answer that was refused from another one. It keeps no material.
pub(super) struct Refused {
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

impl Holdings {
    /// Refuses what must not displace the set that is held, and numbers a set that has no number. Says how
    /// it is to be taken.
    pub(in crate::engine) fn admit(
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
    pub(in crate::engine) fn believes_at(&self) -> Option<u64> {
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
        // Each of several sources has generations of its own; whoever asked them has chosen.
        if set.place != self.place {
            return Ok(true);
        }
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

    pub(super) fn is_other_lineage(&self, set: &CredentialSet) -> bool {
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
}

/// The endpoint may have been restored, or this may be somebody else. Names of lineages are not quoted:
/// in a document that mixes up its fields, one may be a secret.
fn other_lineage() -> Error {
    Error::new(
        ErrorKind::OlderGeneration,
        "the source began a new lineage, as after a restore from a backup: it is accepted once nothing held is usable, or at once if its answers are signed; if the restore is real and cannot wait, restart the program",
    )
}
