//! How credentials come and go: what the API accepts, and what the endpoint shows.

use std::mem;

use super::{Credential, Next, Propagation, Rotate, Step, World};

/// At most this many previous credentials are shown.
const PREVIOUS: usize = 2;

/// At most this many revoked ids are shown; the oldest are forgotten first.
const REVOKED: usize = 64;

/// One generation of the set, by the credentials' places.
#[derive(Clone, Debug)]
pub(super) struct SetState {
    /// How often the history was lost.
    pub(super) losses: u64,
    pub(super) generation: u64,
    pub(super) current: usize,
    pub(super) previous: Vec<usize>,
    pub(super) next: Option<usize>,
    pub(super) revoked: Vec<usize>,
    /// What was current before, which after a cut is not among `previous`.
    pub(super) former: Option<usize>,
    /// The whole set is revoked.
    pub(super) closed: bool,
}

impl SetState {
    pub(super) fn empty() -> Self {
        Self {
            losses: 0,
            generation: 0,
            current: 0,
            previous: Vec::new(),
            next: None,
            revoked: Vec::new(),
            former: None,
            closed: false,
        }
    }

    /// `a1` at first, and another one after each loss.
    pub(super) fn lineage(&self) -> String {
        format!("a{}", self.losses + 1)
    }

    /// What validators and events call this state. A generation that comes again after a loss must not
    /// pass for the one before it, so later lineages say their name.
    pub(super) fn tag(&self, generation: u64) -> String {
        match self.losses {
            0 => format!("g{generation}"),
            _ => format!("g{generation}.{}", self.lineage()),
        }
    }
}

/// A state that the endpoint shows from some time on.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) visible_at: u64,
    pub(super) kind: CommitKind,
    pub(super) state: SetState,
}

/// One generation: what changed, and when the API changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The generation.
    pub generation: u64,
    /// Its current credential.
    pub credential: String,
    /// The credential that was current before, if another.
    pub replaced: Option<String>,
    /// What made it.
    pub kind: CommitKind,
    /// When the API changed, in milliseconds of the story.
    pub at_ms: u64,
    /// When the endpoint shows it.
    pub visible_at_ms: u64,
}

/// What made a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitKind {
    /// The first one.
    Begin,
    /// A rotation with overlap.
    Rotate,
    /// A rotation without.
    Cut,
    /// A credential was staged.
    Stage,
    /// A credential was revoked.
    Revoke,
    /// The set was revoked. It keeps its generation.
    RevokeSet,
    /// The set was restored.
    RestoreSet,
    /// The previous credential is current again.
    Rollback,
    /// The endpoint lost its history, and begins again at generation 1.
    LoseHistory,
}

/// Why a step cannot happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// There is no such credential.
    #[error("there is no credential `{0}`")]
    UnknownCredential(String),
    /// The set is revoked; only `restore_set` helps.
    #[error("the set is revoked; only `restore_set` can follow")]
    SetRevoked,
    /// `restore_set` without `revoke_set`.
    #[error("the set is not revoked")]
    SetNotRevoked,
    /// There is no previous credential, or it is revoked.
    #[error("there is no previous credential to roll back to")]
    NothingToRollBackTo,
    /// A credential is staged already; rotate it in first.
    #[error("a credential is staged already")]
    AlreadyStaged,
    /// The list does not fit the replicas.
    #[error("`propagation_ms` names {named} replicas of {replicas}")]
    Propagation {
        /// Entries of the list.
        named: usize,
        /// Replicas of the world.
        replicas: usize,
    },
    /// There is no such region.
    #[error("there is no region {named}: the last one is {last}")]
    Region {
        /// The region of the step.
        named: usize,
        /// The last one of the world.
        last: usize,
    },
}

impl World {
    /// Generation 1.
    pub(super) fn begin(&mut self) {
        let first = self.mint(0);
        self.open(first, 0, self.config.ttl_ms);
        self.committed.current = first;
        self.commit(0, 0, CommitKind::Begin, None);
    }

    /// Does what was set to happen by itself.
    pub(super) fn advance(&mut self, now: u64) {
        if let Some((at, rotate)) = self.activation.take_if(|(at, _)| *at <= now) {
            self.swap(at, &rotate);
        }
        self.announce(now);
    }

    pub(super) fn change(&mut self, now: u64, step: &Step) -> Result<(), StepError> {
        if self.committed.closed && !matches!(step, Step::RestoreSet {} | Step::Forget { .. }) {
            return Err(StepError::SetRevoked);
        }
        match step {
            Step::Rotate(rotate) => self.rotate(now, rotate),
            Step::Cut { propagation_ms } => {
                let propagation_ms = propagation_ms.clone();
                self.rotate(now, &Rotate { overlap: false, propagation_ms, ..Rotate::default() })
            }
            Step::Revoke { credential } => self.revoke(now, credential.as_deref()),
            Step::RevokeSet {} => self.revoke_set(now),
            Step::RestoreSet {} => self.restore_set(now),
            Step::Rollback {} => self.roll_back(now),
            Step::Forget { credential } => {
                let at = self.known(credential)?;
                self.credentials[at].end_everywhere(now);
                Ok(())
            }
            Step::LoseHistory { overlap } => {
                self.lose_history(now, *overlap);
                Ok(())
            }
            Step::Endpoint(_) | Step::Api(_) => Ok(()),
        }
    }

    fn rotate(&mut self, now: u64, rotate: &Rotate) -> Result<(), StepError> {
        if let Propagation::Each(list) = &rotate.propagation_ms
            && list.len() != self.config.replicas
        {
            let (named, replicas) = (list.len(), self.config.replicas);
            return Err(StepError::Propagation { named, replicas });
        }
        if let Some(id) = &rotate.swap_only_if
            && *id != self.credentials[self.committed.current].id
        {
            return Ok(());
        }
        match &rotate.next {
            Some(next) => self.stage(now, rotate, next),
            None => {
                self.swap(now, rotate);
                Ok(())
            }
        }
    }

    /// Shows a credential that is not used yet.
    fn stage(&mut self, now: u64, rotate: &Rotate, next: &Next) -> Result<(), StepError> {
        if self.committed.next.is_some() {
            return Err(StepError::AlreadyStaged);
        }
        let staged = self.mint_as(now, rotate);
        if let Next::ActivateInMs(ms) = next {
            let at = now.saturating_add(*ms);
            self.credentials[staged].activate_at = Some(at);
            self.credentials[staged].not_before = at;
            self.activation =
                Some((at, Rotate { next: None, swap_only_if: None, ..rotate.clone() }));
        }
        self.committed.next = Some(staged);
        self.commit(now, now, CommitKind::Stage, None);
        Ok(())
    }

    /// Makes the staged credential, or a new one, current.
    pub(super) fn swap(&mut self, now: u64, rotate: &Rotate) {
        self.activation = None;
        let old = self.committed.current;
        let new = self.committed.next.take().unwrap_or_else(|| self.mint_as(now, rotate));
        let ttl = rotate.ttl_ms.or(self.config.ttl_ms);
        let grace = rotate.grace_ms.or(self.config.grace_ms).filter(|_| rotate.overlap);

        self.credentials[new].not_before = now;
        self.credentials[new].expires_at = ttl.map(|ms| now.saturating_add(ms));
        let grace_end = grace.map(|ms| now.saturating_add(ms));
        self.credentials[old].grace_ends_at = grace_end;
        for replica in 0..self.config.replicas {
            let heard = now.saturating_add(rotate.propagation_ms.of(replica));
            if rotate.accepted && rotate.material.is_none() {
                self.credentials[new].admit(replica, heard);
            }
            if rotate.forbidden_ms > 0 {
                let forbidden = heard.saturating_add(rotate.forbidden_ms);
                let until = &mut self.credentials[new].forbidden_until;
                *until = forbidden.max(*until);
            }
            // A replica that has not heard of the rotation cannot know of the grace either.
            match grace_end {
                Some(end) => self.credentials[old].keep(replica, now, end.max(heard)),
                None if rotate.overlap => {}
                None => self.credentials[old].end(replica, heard),
            }
        }

        if rotate.overlap {
            self.committed.previous.insert(0, old);
        }
        let dropped: Vec<usize> =
            self.committed.previous.drain(PREVIOUS.min(self.committed.previous.len())..).collect();
        for fallen in dropped {
            if self.credentials[fallen].grace_ends_at.is_none() {
                for replica in 0..self.config.replicas {
                    let heard = now.saturating_add(rotate.propagation_ms.of(replica));
                    self.credentials[fallen].end(replica, heard);
                }
            }
        }
        let kind = if rotate.overlap { CommitKind::Rotate } else { CommitKind::Cut };
        self.supersede(new);
        self.commit(now, now.saturating_add(rotate.publish_after_ms), kind, Some(old));
    }

    fn revoke(&mut self, now: u64, credential: Option<&str>) -> Result<(), StepError> {
        let old = self.committed.current;
        let gone = credential.map_or(Ok(old), |id| self.known(id))?;
        self.credentials[gone].end_everywhere(now);
        self.committed.previous.retain(|previous| *previous != gone);
        if self.committed.next == Some(gone) {
            self.committed.next = None;
            self.activation = None;
        }
        if !self.committed.revoked.contains(&gone) {
            self.committed.revoked.push(gone);
        }
        let surplus = self.committed.revoked.len().saturating_sub(REVOKED);
        self.committed.revoked.drain(..surplus);
        let mut replaced = None;
        if gone == old {
            let new = self.mint(now);
            self.open(new, now, self.config.ttl_ms);
            self.supersede(new);
            replaced = Some(old);
        }
        self.commit(now, now, CommitKind::Revoke, replaced);
        Ok(())
    }

    fn revoke_set(&mut self, now: u64) -> Result<(), StepError> {
        for credential in &mut self.credentials {
            credential.end_everywhere(now);
        }
        self.activation = None;
        self.committed.closed = true;
        // The generation rises only when there is a set again.
        self.publish(now, now, CommitKind::RevokeSet, None);
        Ok(())
    }

    fn restore_set(&mut self, now: u64) -> Result<(), StepError> {
        if !mem::take(&mut self.committed.closed) {
            return Err(StepError::SetNotRevoked);
        }
        let old = self.committed.current;
        let new = self.mint(now);
        self.open(new, now, self.config.ttl_ms);
        self.committed.previous.clear();
        self.committed.next = None;
        self.supersede(new);
        self.commit(now, now, CommitKind::RestoreSet, Some(old));
        Ok(())
    }

    fn roll_back(&mut self, now: u64) -> Result<(), StepError> {
        let bad = self.committed.current;
        let target = self.committed.previous.first().copied().or(self.committed.former);
        let target = target
            .filter(|target| !self.committed.revoked.contains(target))
            .ok_or(StepError::NothingToRollBackTo)?;
        self.credentials[bad].end_everywhere(now);
        self.credentials[target].end_everywhere(now);
        self.credentials[target].grace_ends_at = None;
        self.open(target, now, self.config.ttl_ms);
        self.committed.previous.retain(|previous| *previous != target);
        self.supersede(target);
        self.commit(now, now, CommitKind::Rollback, Some(bad));
        Ok(())
    }

    fn lose_history(&mut self, now: u64, overlap: bool) {
        if !overlap {
            for credential in &mut self.credentials {
                credential.end_everywhere(now);
            }
        }
        self.activation = None;
        let old = self.committed.current;
        let new = self.mint(now);
        self.open(new, now, self.config.ttl_ms);
        let losses = self.committed.losses + 1;
        self.committed = SetState { losses, current: new, ..SetState::empty() };
        self.commit(now, now, CommitKind::LoseHistory, Some(old));
        // It restarts, and a restart breaks off what is open.
        for region in &mut self.regions {
            region.breaks += 1;
        }
    }

    /// A new credential, with the material that the rotation gives to it.
    fn mint_as(&mut self, now: u64, rotate: &Rotate) -> usize {
        let at = self.mint(now);
        if let Some(material) = &rotate.material {
            // The API does not know it: what a client might make of it is no credential either.
            self.by_material.remove(self.credentials[at].material.reveal());
            self.credentials[at].material = material.clone();
        }
        at
    }

    fn mint(&mut self, now: u64) -> usize {
        let at = self.credentials.len();
        let number = at as u64 + 1;
        let one = Credential::new(number, self.setting.seed, self.config.replicas, now);
        self.by_material.insert(one.material.clone(), at);
        self.credentials.push(one);
        at
    }

    /// Every replica accepts it from now on.
    fn open(&mut self, at: usize, now: u64, ttl: Option<u64>) {
        self.credentials[at].expires_at = ttl.map(|ms| now.saturating_add(ms));
        for replica in 0..self.config.replicas {
            self.credentials[at].admit(replica, now);
        }
    }

    fn supersede(&mut self, new: usize) {
        self.committed.former = Some(mem::replace(&mut self.committed.current, new));
    }

    fn commit(&mut self, now: u64, visible_at: u64, kind: CommitKind, replaced: Option<usize>) {
        self.committed.generation += 1;
        self.publish(now, visible_at, kind, replaced);
    }

    fn publish(&mut self, now: u64, visible_at: u64, kind: CommitKind, replaced: Option<usize>) {
        self.unannounced.push(self.published.len());
        self.published.push(Publication { visible_at, kind, state: self.committed.clone() });
        self.commits.push(Commit {
            generation: self.committed.generation,
            credential: self.credentials[self.committed.current].id.clone(),
            replaced: replaced.map(|at| self.credentials[at].id.clone()),
            kind,
            at_ms: now,
            visible_at_ms: visible_at,
        });
    }

    fn known(&self, id: &str) -> Result<usize, StepError> {
        self.find(id).ok_or_else(|| StepError::UnknownCredential(id.to_owned()))
    }

    /// What the endpoint shows now: the newest state that is visible, with its place in the history.
    pub(super) fn visible(&self, now: u64) -> (usize, &Publication) {
        let newest = self.published.iter().rposition(|publication| publication.visible_at <= now);
        let at = newest.unwrap_or(0);
        (at, &self.published[at])
    }
}

#[cfg(test)]
mod tests;
