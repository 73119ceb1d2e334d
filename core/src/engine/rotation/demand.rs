//! Who wants a fetch: hints, what an API says of a credential, requests that wait, and what starts or ends their wait.

use super::{Action, CredentialStatus, Rotation};
use crate::{credential::CredentialId, engine::member::EpisodeState, error::Error};

impl Rotation {
    pub(super) fn hinted(&mut self, generation: Option<u64>, immediate: bool) {
        if generation.is_none_or(|hinted| self.holdings.generation.is_none_or(|held| hinted > held))
        {
            let spread = if immediate { 0.0 } else { self.rng.f64() };
            let at = self.after(self.holdings.splay().mul_f64(spread));
            self.fetching.hinted(at, generation, immediate);
        }
    }

    /// What the API says of a credential changes nothing by itself: it makes a fetch come sooner.
    pub(super) fn on_credential_status(&mut self, id: &str, status: &CredentialStatus) {
        let (now, is_held) =
            (self.now.boot, |id: &CredentialId| self.holdings.member(id).is_some());
        let is_known = match status {
            CredentialStatus::Retiring { successor } => successor.as_ref().is_some_and(is_held),
            CredentialStatus::Revoked => false,
        };
        let Some(member) = self.holdings.member_mut(id).filter(|_| !is_known) else { return };
        if !member.follow_status(now, &self.policy) {
            return;
        }
        match status {
            CredentialStatus::Retiring { .. } => self.hinted(None, false),
            CredentialStatus::Revoked => self.hinted(None, true),
        }
    }

    pub(super) fn waited(&mut self) {
        self.demand = true;
        if self.used().is_some_and(|used| used.is_in(EpisodeState::Open)) {
            self.fetching.force_again(self.now.boot);
        }
    }

    pub(super) fn start_fetch(&mut self) {
        if let Some(live) = self.fetching.start(self.now.boot) {
            self.counts.forced += u64::from(live.forced);
            self.out.push(Action::StartFetch(live.ticket));
        }
        if self.demand && !self.fetching.is_worth_waiting(self.now.boot) {
            let failure = self.failure.clone().map_or(Ok(()), Err);
            self.settle(if self.in_use.is_some() { failure } else { Err(self.cause.clone()) });
        }
    }

    pub(super) fn settle(&mut self, outcome: Result<(), Error>) {
        self.demand = false;
        self.out.push(Action::Settle(outcome));
    }
}
