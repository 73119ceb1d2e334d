//! Who is in use: the choice, the trial of a candidate, its promotion, and the way back to an older one.

use std::{sync::Arc, time::Duration};

use super::Rotation;
use crate::{
    credential::CredentialId,
    engine::{
        member::{EpisodeState, Member, Role},
        probation::Probation,
        snapshot::ProbeSlot,
    },
    error::Error,
    event::Event,
    moment::Moment,
};

/// How many credentials it remembers to have used, to tell a rollback from a rotation.
const REMEMBERED: usize = 16;

impl Rotation {
    /// The credential in use.
    pub(super) fn used(&self) -> Option<&Member> {
        self.holdings.member(self.in_use.as_deref()?)
    }

    pub(super) fn used_mut(&mut self) -> Option<&mut Member> {
        self.holdings.member_mut(self.in_use.as_deref()?)
    }

    pub(super) fn is_in_use(&self, id: &str) -> bool {
        self.in_use.as_deref() == Some(id)
    }

    pub(super) fn is_candidate(&self, id: &str) -> bool {
        self.probation.as_ref().is_some_and(|probation| &*probation.of == id)
    }

    /// Keeps the credential in use if it may stay for `left` more, else takes the newest usable one.
    pub(super) fn choose(&mut self, left: Duration) {
        let stays = self.used().is_some_and(|used| {
            let lasts = || used.ends.is_none_or(|ends| ends.remaining(self.now) >= left);
            let does = || used.unfit.is_none() || self.holdings.fit(self.now).next().is_none();
            used.is_usable(self.now) && (used.role != Role::Previous || lasts()) && does()
        });
        if !stays {
            match self.holdings.best(self.now).map(|best| best.credential.shared_id()) {
                Some(to) if self.is_in_use(&to) => {}
                Some(to) if self.is_older_than_unfit(&to) => self.replace(to),
                Some(to) => {
                    let generation = self.holdings.generation.unwrap_or(0);
                    self.swap(to, |from, to| Event::Swapped { from, to, generation });
                }
                None => self.give_up(),
            }
        }
        self.begin_probation();
    }

    /// Whether the key in use is one that no request can carry, and this is not what followed it.
    pub(super) fn is_older_than_unfit(&self, id: &str) -> bool {
        let is_newest =
            || self.holdings.usable(self.now).next().is_some_and(|newest| newest.is(id));
        self.used().is_some_and(|used| used.unfit.is_some()) && !is_newest()
    }

    /// Replicas may disagree from now on, about what came in place of something.
    pub(super) fn open_window(&mut self, is_rotation: bool) {
        self.window_until = self.after(self.policy.rotation_window);
        if is_rotation {
            self.rotated_until = self.window_until;
        }
    }

    pub(super) fn give_up(&mut self) {
        if let Some(gone) = self.in_use.take() {
            self.cause =
                self.failure.clone().unwrap_or_else(|| self.holdings.why_nothing(self.now));
            self.tell(Event::Expired { credential: gone });
        }
    }

    /// Takes a credential into use; tells so, or that the provider rolled back.
    pub(super) fn swap(
        &mut self,
        to: CredentialId,
        event: impl FnOnce(Option<CredentialId>, CredentialId) -> Event,
    ) {
        let from = self.in_use.replace(to.clone());
        for id in from.iter().chain([&to]) {
            if let Some(member) = self.holdings.member_mut(id) {
                member.begin_anew(self.sends);
                member.end_episode(EpisodeState::Over);
            }
        }
        self.fetching.stop_forcing();
        self.open_window(from.is_some());
        self.trial = Arc::new(ProbeSlot::open_from(self.now.boot));
        let is_rollback = self.holdings.is_primary(&to) && self.was_in_use.contains(&to);
        let event = match from.clone() {
            Some(from) if is_rollback => Event::RolledBack { from, to },
            from => event(from, to),
        };
        self.counts.rollbacks += u64::from(matches!(event, Event::RolledBack { .. }));
        // One that the API made unusable may come back without the provider having gone back to it.
        let fell_back = matches!(event, Event::FellBack { .. });
        self.counts.fallbacks += u64::from(fell_back);
        if let Some(from) = from.filter(|from| !fell_back && !self.was_in_use.contains(from)) {
            self.was_in_use.push(from);
            let excess = self.was_in_use.len().saturating_sub(REMEMBERED);
            self.was_in_use.drain(..excess);
        }
        self.tell(event);
    }

    /// The newest usable credential is tried, if it is not the one in use.
    pub(super) fn begin_probation(&mut self) {
        let newest = self.holdings.usable(self.now).next().filter(|_| self.in_use.is_some());
        let candidate = newest.map(|newest| newest.credential.shared_id());
        let candidate = candidate.filter(|id| !self.is_in_use(id));
        if candidate.as_ref() == self.probation.as_ref().map(|probation| &probation.of) {
            return;
        }
        self.probation = None;
        let Some((of, in_use)) = candidate.zip(self.in_use.clone()) else { return };
        if let Some(member) = self.holdings.member_mut(&of) {
            member.begin_anew(self.sends);
        }
        self.probation = Some(Probation::new(of.clone(), self.now, &self.policy));
        self.tell(Event::Candidate { credential: of, in_use });
    }

    /// When the candidate is used unproven. One that no request can carry never is.
    pub(super) fn promote_at(&self) -> Option<Moment> {
        let probation = self.probation.as_ref()?;
        self.holdings.member(&probation.of).filter(|candidate| candidate.unfit.is_none())?;
        probation.promote_at(self.used()?.ends, &self.policy)
    }

    pub(super) fn promote(&mut self, proven: bool) {
        let Some((from, probation)) = self.in_use.clone().zip(self.probation.take()) else {
            return;
        };
        self.swap(probation.of, |_, to| Event::Promoted { from, to, proven });
        self.begin_probation();
    }

    pub(super) fn probe_rejected(&mut self, reason: Option<Error>) {
        let Some(probation) = &mut self.probation else { return };
        let probe_in = Some(probation.failed(self.now, &self.policy));
        let credential = probation.of.clone();
        self.tell(Event::Rejected { credential, candidate: true, probe_in, reason });
    }

    /// Another credential replaces the one in use only if the API accepted it after rejecting that one,
    /// and rejected that one twice with no acceptance between. One route that always says 401 flips
    /// nothing.
    pub(super) fn fall_back(&mut self) {
        let Some(used) = self.used() else { return };
        let Some(run) = used.run.filter(|run| run.count >= 2) else { return };
        // One that is about to be given up itself is not worth the change.
        let lasts = |member: &Member| {
            member.ends.is_none_or(|ends| ends.remaining(self.now) > self.policy.give_up)
        };
        let is_better = |member: &&Member| {
            member.was_accepted_after(run.first)
                && !self.is_in_use(member.credential.id())
                && lasts(member)
        };
        let Some(to) = self.holdings.usable(self.now).find(is_better) else { return };
        let to = to.credential.shared_id();
        self.replace(to);
    }

    /// An older credential takes the place of the one in use.
    pub(super) fn replace(&mut self, to: CredentialId) {
        let Some(used) = self.used() else { return };
        let (from, reason) = (used.credential.shared_id(), used.unfit.clone());
        self.swap(to, |_, to| Event::FellBack { from: from.clone(), to });
        self.begin_probation();
        if self.is_candidate(&from) {
            self.probe_rejected(reason);
        }
    }
}
