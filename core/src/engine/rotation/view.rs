//! What requests see of the state: the snapshot, made anew after each step.

use std::sync::Arc;

use super::{Action, Rotation};
use crate::engine::{
    member::{EpisodeState, Member},
    snapshot::{Candidate, Snapshot, Usable},
};

impl Rotation {
    pub(super) fn publish_if_changed(&mut self) {
        let next = self.project();
        if next.differs(&self.published) {
            self.published = Arc::new(next);
            self.out.push(Action::Publish(self.published.clone()));
        }
    }

    /// What requests see of the state.
    pub(super) fn project(&self) -> Snapshot {
        let in_use = self.used();
        let candidate = self.probation.as_ref().and_then(|probation| {
            let credential = self.holdings.member(&probation.of)?.credential.clone();
            Some(Candidate { credential, slot: probation.slot.clone() })
        });
        let others =
            self.holdings.usable(self.now).filter(|member| !self.is_in_use(member.credential.id()));
        // What once was accepted is trusted until it is rejected.
        let known = |member: &Member| (member.run.is_none() && member.was_accepted()).then_some(0);
        // Replicas that disagree on one key disagree on each: one that came back is not proven by that.
        let is_rotating = self.rotated_until > self.now.boot;
        let disagree = is_rotating && self.holdings.usable(self.now).any(|member| member.wavers);
        let is_proof = |member: &Member| !(disagree && member.returned);
        let usable = |member: &Member| Usable {
            credential: member.credential.clone(),
            proof: member.proven.or_else(|| known(member)).filter(|_| is_proof(member)),
            is_known: member.was_accepted(),
            is_steady: member.is_steady(),
        };
        let is_in = |state| in_use.is_some_and(|used| used.is_in(state));
        let suspect = is_in(EpisodeState::Open)
            && in_use.is_some_and(|used| used.run.is_some())
            && self.fetching.could_help(self.now.boot);
        let exhausted = is_in(EpisodeState::Exhausted);
        let listening = self.listen_until > self.now.boot;
        // Whether a key was ever accepted, and whether one that has ended still is, tells what to do later.
        let untold =
            in_use.is_some_and(|used| !self.fetching.is_proven || used.has_ended(self.now));
        let is_new = in_use.is_some_and(|used| used.run.is_some() && !used.was_accepted());
        let wavers = disagree || (is_rotating && is_new);
        Snapshot {
            epoch: self.published.epoch + 1,
            set: self.holdings.set.clone(),
            in_use: in_use.map(|used| used.credential.clone()),
            usable: in_use.into_iter().chain(others).map(usable).collect(),
            trial: self.trial.clone(),
            hard: in_use.is_some() && self.holdings.hard_at.is_some_and(|at| at.reached(self.now)),
            suspect,
            wavers,
            disagree,
            exhausted,
            evidence: candidate.is_some() || suspect || exhausted || listening || untold,
            patience: self.fetching.is_doubtful().then_some(self.fetching.wait()),
            candidate,
            window_until: self.window_until,
            sends: self.sends,
            cause: in_use.is_none().then(|| self.cause.clone()),
        }
    }
}
