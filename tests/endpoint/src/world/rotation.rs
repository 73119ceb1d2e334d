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
        let staged = self.mint(now);
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
        let new = self.committed.next.take().unwrap_or_else(|| self.mint(now));
        let ttl = rotate.ttl_ms.or(self.config.ttl_ms);
        let grace = rotate.grace_ms.or(self.config.grace_ms).filter(|_| rotate.overlap);

        self.credentials[new].not_before = now;
        self.credentials[new].expires_at = ttl.map(|ms| now.saturating_add(ms));
        let grace_end = grace.map(|ms| now.saturating_add(ms));
        self.credentials[old].grace_ends_at = grace_end;
        for replica in 0..self.config.replicas {
            let heard = now.saturating_add(rotate.propagation_ms.of(replica));
            if rotate.accepted {
                self.credentials[new].admit(replica, heard);
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
mod tests {
    use super::super::tests::{step, world};
    use super::super::{CommitKind, StepError, World};

    fn apply(world: &mut World, now: u64, json: &str) {
        world.apply(now, &step(json)).expect(json);
    }

    fn refused(world: &mut World, now: u64, json: &str) -> StepError {
        let before = format!("{:?}", world.committed);
        let error = world.apply(now, &step(json)).expect_err(json);
        assert_eq!(before, format!("{:?}", world.committed), "nothing has changed");
        error
    }

    /// The credentials that a replica accepts.
    fn accepted(world: &mut World, now: u64, replica: usize) -> Vec<String> {
        let ids: Vec<String> = world.credentials.iter().map(|one| one.id.clone()).collect();
        ids.into_iter().filter(|id| world.accepts(now, id, replica)).collect()
    }

    fn kinds(world: &World) -> Vec<(u64, &str, CommitKind)> {
        let commits = world.commits().iter();
        commits.map(|one| (one.generation, one.credential.as_str(), one.kind)).collect()
    }

    #[test]
    fn an_overlap_lasts_until_the_grace_ends() {
        let mut world = world(r#"{"grace_ms": 50, "ttl_ms": 20}"#);
        apply(&mut world, 10, r#"{"do": "rotate"}"#);
        assert_eq!(accepted(&mut world, 10, 0), ["k1", "k2"]);
        // The grace counts, not that k1 expired at 20.
        assert_eq!(accepted(&mut world, 29, 0), ["k1", "k2"]);
        assert_eq!(accepted(&mut world, 59, 0), ["k1"]);
        assert_eq!(accepted(&mut world, 60, 0).len(), 0);
        apply(&mut world, 100, r#"{"do": "rotate", "ttl_ms": 1000, "grace_ms": 5}"#);
        assert_eq!(
            accepted(&mut world, 1099, 0),
            ["k3"],
            "k2 had expired, and a grace revives nothing"
        );
        assert_eq!(accepted(&mut world, 1100, 0).len(), 0);
    }

    #[test]
    fn without_a_grace_a_credential_lives_while_it_is_listed() {
        let mut world = world("{}");
        for at in [10, 20] {
            apply(&mut world, at, r#"{"do": "rotate"}"#);
        }
        assert_eq!(accepted(&mut world, 29, 0), ["k1", "k2", "k3"]);
        apply(&mut world, 30, r#"{"do": "rotate"}"#);
        assert_eq!(accepted(&mut world, 30, 0), ["k2", "k3", "k4"]);
    }

    #[test]
    fn a_cut_ends_the_old_one_as_the_new_one_starts_on_each_replica() {
        let mut world = world(r#"{"replicas": 2, "grace_ms": 1000}"#);
        apply(&mut world, 10, r#"{"do": "cut", "propagation_ms": [0, 30]}"#);
        assert_eq!(accepted(&mut world, 10, 0), ["k2"]);
        assert_eq!(accepted(&mut world, 39, 1), ["k1"]);
        assert_eq!(accepted(&mut world, 40, 1), ["k2"]);
        assert_eq!(kinds(&world), [(1, "k1", CommitKind::Begin), (2, "k2", CommitKind::Cut)]);
        assert_eq!(world.commits()[1].replaced.as_deref(), Some("k1"));
    }

    #[test]
    fn propagation_delays_the_new_and_the_end_of_the_old() {
        let mut world = world(r#"{"replicas": 2}"#);
        apply(&mut world, 10, r#"{"do":"rotate","grace_ms":20,"propagation_ms":[5,100]}"#);
        assert_eq!(accepted(&mut world, 14, 0), ["k1"]);
        assert_eq!(accepted(&mut world, 15, 0), ["k1", "k2"]);
        assert_eq!(accepted(&mut world, 30, 0), ["k2"]);
        assert_eq!(accepted(&mut world, 109, 1), ["k1"], "it has not heard of anything yet");
        assert_eq!(accepted(&mut world, 110, 1), ["k2"]);
        let error = refused(&mut world, 120, r#"{"do":"rotate","propagation_ms":[1]}"#);
        assert_eq!(error, StepError::Propagation { named: 1, replicas: 2 });
    }

    #[test]
    fn a_bad_rotation_is_never_accepted_and_can_be_rolled_back() {
        let mut world = world("{}");
        apply(&mut world, 10, r#"{"do": "rotate", "accepted": false}"#);
        assert_eq!(accepted(&mut world, 1_000_000, 0), ["k1"]);
        apply(&mut world, 1_000_000, r#"{"do": "rollback"}"#);
        assert_eq!(accepted(&mut world, 1_000_000, 0), ["k1"]);
        assert_eq!(kinds(&world)[2], (3, "k1", CommitKind::Rollback));
        assert!(world.committed.previous.is_empty());
    }

    #[test]
    fn a_rollback_ends_what_it_rolls_back() {
        let mut world = world(r#"{"ttl_ms": 100}"#);
        assert_eq!(refused(&mut world, 0, r#"{"do": "rollback"}"#), StepError::NothingToRollBackTo);
        apply(&mut world, 10, r#"{"do": "cut"}"#);
        assert_eq!(accepted(&mut world, 19, 0), ["k2"]);
        apply(&mut world, 20, r#"{"do": "rollback"}"#);
        assert_eq!(accepted(&mut world, 20, 0), ["k1"]);
        assert_eq!(accepted(&mut world, 119, 0), ["k1"], "it begins a new life");
        assert_eq!(accepted(&mut world, 120, 0).len(), 0);
        apply(&mut world, 130, r#"{"do": "rotate"}"#);
        assert_eq!(kinds(&world).last(), Some(&(4, "k3", CommitKind::Rotate)));
    }

    #[test]
    fn revoking_the_current_one_makes_a_successor() {
        let mut world = world("{}");
        apply(&mut world, 10, r#"{"do": "rotate"}"#);
        apply(&mut world, 20, r#"{"do": "revoke"}"#);
        assert_eq!(accepted(&mut world, 20, 0), ["k1", "k3"]);
        assert_eq!((world.committed.current, world.committed.revoked.as_slice()), (2, &[1][..]));
        assert_eq!(world.committed.previous, [0]);
        apply(&mut world, 30, r#"{"do": "revoke", "credential": "k1"}"#);
        assert_eq!(accepted(&mut world, 30, 0), ["k3"]);
        assert_eq!((world.committed.current, world.committed.revoked.as_slice()), (2, &[1, 0][..]));
        assert_eq!(
            refused(&mut world, 30, r#"{"do": "rollback"}"#),
            StepError::NothingToRollBackTo
        );
        let error = refused(&mut world, 30, r#"{"do": "revoke", "credential": "k9"}"#);
        assert_eq!(error, StepError::UnknownCredential("k9".to_owned()));
    }

    #[test]
    fn a_revoked_set_is_restored_by_a_higher_generation() {
        let mut world = world("{}");
        assert_eq!(refused(&mut world, 0, r#"{"do": "restore_set"}"#), StepError::SetNotRevoked);
        apply(&mut world, 5, r#"{"do": "rotate"}"#);
        apply(&mut world, 10, r#"{"do": "revoke_set"}"#);
        assert_eq!(accepted(&mut world, 10, 0).len(), 0);
        assert_eq!(refused(&mut world, 11, r#"{"do": "rotate"}"#), StepError::SetRevoked);
        assert_eq!(refused(&mut world, 11, r#"{"do": "revoke_set"}"#), StepError::SetRevoked);
        apply(&mut world, 20, r#"{"do": "restore_set"}"#);
        assert_eq!(accepted(&mut world, 20, 0), ["k3"]);
        assert_eq!(world.committed.previous.len(), 0);
        let restored = (3, "k3", CommitKind::RestoreSet);
        assert_eq!(kinds(&world)[2..], [(2, "k2", CommitKind::RevokeSet), restored]);
    }

    #[test]
    fn the_api_alone_forgets() {
        let mut world = world("{}");
        apply(&mut world, 10, r#"{"do": "forget", "credential": "k1"}"#);
        assert_eq!(accepted(&mut world, 10, 0).len(), 0);
        assert_eq!(world.commits().len(), 1);
        apply(&mut world, 20, r#"{"do": "rotate", "grace_ms": 1000}"#);
        assert_eq!(accepted(&mut world, 20, 0), ["k2"], "a grace revives nothing");
    }

    #[test]
    fn a_staged_credential_waits_for_the_next_rotation() {
        let mut world = world("{}");
        apply(&mut world, 10, r#"{"do": "rotate", "next": "staged"}"#);
        assert_eq!(accepted(&mut world, 1_000, 0), ["k1"]);
        let error = refused(&mut world, 1_000, r#"{"do": "rotate", "next": "staged"}"#);
        assert_eq!(error, StepError::AlreadyStaged);
        apply(&mut world, 1_000, r#"{"do": "rotate"}"#);
        assert_eq!(accepted(&mut world, 1_000, 0), ["k1", "k2"]);
        let staged = (2, "k1", CommitKind::Stage);
        assert_eq!(kinds(&world)[1..], [staged, (3, "k2", CommitKind::Rotate)]);
    }

    #[test]
    fn a_timed_credential_is_rotated_in_at_its_time() {
        let mut world = world("{}");
        apply(&mut world, 10, r#"{"do":"rotate","next":{"activate_in_ms":100},"grace_ms":50}"#);
        assert_eq!(accepted(&mut world, 109, 0), ["k1"]);
        // Late, but as if it had been on time.
        assert_eq!(accepted(&mut world, 150, 0), ["k1", "k2"]);
        assert_eq!(accepted(&mut world, 160, 0), ["k2"]);
        assert_eq!((world.commits()[2].at_ms, world.commits()[2].generation), (110, 3));
        assert_eq!(accepted(&mut world, 1_000, 0), ["k2"], "and only once");
        assert_eq!(world.commits().len(), 3);
    }

    #[test]
    fn a_rotation_may_come_before_the_time() {
        let mut world = world("{}");
        apply(&mut world, 10, r#"{"do":"rotate","next":{"activate_in_ms":100}}"#);
        apply(&mut world, 20, r#"{"do": "rotate"}"#);
        assert_eq!(accepted(&mut world, 500, 0), ["k1", "k2"], "and then nothing waits any more");
        assert_eq!(world.commits().len(), 3);
    }

    #[test]
    fn a_condition_that_does_not_hold_does_nothing() {
        let mut world = world("{}");
        apply(&mut world, 10, r#"{"do": "rotate", "swap_only_if": "k2"}"#);
        assert_eq!(world.commits().len(), 1);
        apply(&mut world, 10, r#"{"do": "rotate", "swap_only_if": "k1"}"#);
        assert_eq!(world.commits().len(), 2);
    }

    #[test]
    fn the_endpoint_may_show_a_generation_later() {
        let mut world = world("{}");
        apply(&mut world, 10, r#"{"do": "rotate", "publish_after_ms": 50}"#);
        assert_eq!(accepted(&mut world, 10, 0), ["k1", "k2"]);
        assert_eq!(world.visible(59).1.state.generation, 1);
        assert_eq!(world.visible(60).1.state.generation, 2);
        apply(&mut world, 20, r#"{"do": "revoke"}"#);
        assert_eq!(world.visible(20).1.state.generation, 3, "a newer one does not wait for it");
        assert_eq!(world.visible(60).1.state.generation, 3, "and is not displaced by it");
    }

    #[test]
    fn a_lost_history_begins_again() {
        let mut world = world("{}");
        apply(&mut world, 10, r#"{"do": "rotate"}"#);
        apply(&mut world, 20, r#"{"do": "revoke", "credential": "k1"}"#);
        apply(&mut world, 30, r#"{"do": "lose_history"}"#);
        assert_eq!(kinds(&world)[3], (1, "k3", CommitKind::LoseHistory));
        assert_eq!(world.committed.lineage(), "a2");
        assert!(world.committed.previous.is_empty() && world.committed.revoked.is_empty());
        assert_eq!(accepted(&mut world, 30, 0), ["k2", "k3"]);
        apply(&mut world, 40, r#"{"do": "rotate"}"#);
        assert_eq!(kinds(&world)[4], (2, "k4", CommitKind::Rotate));
        apply(&mut world, 50, r#"{"do": "lose_history", "overlap": false}"#);
        assert_eq!(accepted(&mut world, 50, 0), ["k5"]);
        assert_eq!(refused(&mut world, 50, r#"{"do":"rollback"}"#), StepError::NothingToRollBackTo);
    }

    #[test]
    fn the_validator_of_a_lost_generation_is_not_good_for_the_new_one() {
        let mut world = world("{}");
        apply(&mut world, 10, r#"{"do": "lose_history"}"#);
        let mut ask = super::super::FetchRequest {
            bearer: Some("bootstrap"),
            if_none_match: Some("\"g1\""),
            ..Default::default()
        };
        let reply = world.fetch(10, &ask).reply().expect("an answer").clone();
        assert_eq!((reply.status, reply.etag.as_deref()), (200, Some("\"g1.a2\"")));
        assert!(String::from_utf8_lossy(&reply.body).contains("\"lineage\":\"a2\""));
        ask.if_none_match = reply.etag.as_deref();
        assert_eq!(world.fetch(10, &ask).reply().map(|reply| reply.status), Some(304));
    }
}
