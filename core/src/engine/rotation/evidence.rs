//! What the API said of a credential on one send, and the episode that a rejection opens.

use std::{sync::Arc, time::Duration};

use super::{Evidence, Rotation, Unfit};
use crate::{
    credential::CredentialId,
    engine::{
        member::{Episode, EpisodeState, Member},
        probation::Probation,
        snapshot::ProbeSlot,
    },
    error::Error,
    event::Event,
};

/// How long after a rejection the API's acceptances are listened to.
const LISTEN: Duration = Duration::from_secs(10);

impl Rotation {
    pub(super) fn rejected(&mut self, evidence: &Evidence) {
        let count = |member: &mut Member| member.rejected(evidence.sent);
        self.reject(&evidence.credential, None, count);
    }

    /// What no request can carry counts as rejected, with the reason why.
    pub(super) fn unfit(&mut self, unfit: Unfit) {
        let Unfit { credential, why, sent } = unfit;
        let id = credential.shared_id();
        let rests = |probation: &Probation| probation.of == id && probation.rests(self.now);
        let is_held = self.holdings.member(&id).is_some_and(|held| *held.credential == *credential);
        if !is_held || self.probation.as_ref().is_some_and(rests) {
            return;
        }
        let (sends, reason) = (self.sends, why.clone());
        self.reject(&id, Some(why), |member| match sent {
            Some(sent) => member.rejected(sent),
            None => {
                member.is_unfit(sends, reason);
                true
            }
        });
    }

    pub(super) fn reject(
        &mut self,
        id: &CredentialId,
        reason: Option<Error>,
        count: impl FnOnce(&mut Member) -> bool,
    ) {
        let (now, sends) = (self.now, self.sends);
        self.reporting.heard(now, id, true);
        let (is_in_use, is_candidate) = (self.is_in_use(id), self.is_candidate(id));
        let Some(member) = self.holdings.member_mut(id) else { return };
        let was_fit = member.unfit.is_none();
        let is_first = member.run.is_none() && is_in_use;
        let is_stale = member.has_ended(now);
        if !count(member) {
            return;
        }
        let is_told = is_first || (was_fit && member.unfit.is_some() && !is_candidate);
        if is_candidate {
            // The others that were on their way saw the same state of the API.
            member.ignore_until(sends);
        }
        self.counts.rejections += 1;
        self.listen_until = self.after(LISTEN);
        if is_told {
            let (credential, reason) = (id.clone(), reason.clone());
            self.tell(Event::Rejected { credential, candidate: false, probe_in: None, reason });
        }
        if is_candidate {
            self.probe_rejected(reason);
        }
        if !is_in_use {
            return;
        }
        if is_stale {
            self.holdings.stale_until = None;
        }
        if is_first {
            self.window_until = self.after(self.policy.rotation_window);
        }
        let (now, policy) = (now.boot, self.policy.clone());
        if self.used_mut().is_some_and(|used| used.open_episode(now, &policy)) {
            self.fetching.force(now);
        }
        self.fall_back();
    }

    pub(super) fn accepted(&mut self, evidence: &Evidence) {
        let id = &evidence.credential;
        self.reporting.heard(self.now, id, false);
        let Some(member) = self.holdings.member_mut(id) else { return };
        let was_proven = member.proven.is_some();
        if !member.accepted(evidence.sent) {
            return;
        }
        self.fetching.is_proven = true;
        if self.holdings.member(id).is_some_and(|member| member.has_ended(self.now)) {
            self.holdings.outlive(id);
        }
        if self.brought.contains(id) {
            self.brought.clear();
            self.fetching.refund();
        }
        if self.holdings.member(id).is_some_and(|member| member.proven.is_some()) && !was_proven {
            // What was closed because of it is open.
            self.trial = Arc::new(ProbeSlot::open_from(self.now.boot));
        }
        if let Some(probation) = &mut self.probation {
            probation.reported = true;
        }
        let is_good = self.holdings.member(id).is_some_and(|member| member.run.is_none());
        self.calm(is_good && self.is_in_use(id));
        if self.is_candidate(id) {
            self.promote(true);
        } else {
            self.fall_back();
        }
    }

    /// Any acceptance ends the silence of an exhausted episode; one of the credential in use also ends
    /// an open one.
    pub(super) fn calm(&mut self, is_over: bool) {
        let Some(used) = self.used_mut() else { return };
        let recovered = used.is_in(EpisodeState::Exhausted);
        if recovered || is_over {
            used.end_episode(EpisodeState::Over);
            self.fetching.stop_forcing();
        }
        if recovered {
            self.tell(Event::Recovered { credential: self.in_use.clone(), went_back: None });
        }
    }

    /// A trial brought no success where the credential in use did: it waits as after a rejection, and is
    /// not taken into use unproven meanwhile.
    pub(super) fn doubted(&mut self, evidence: &Evidence) {
        let id = &evidence.credential;
        let is_news = self.holdings.member(id).is_some_and(|member| member.is_news(evidence.sent));
        let Some(probation) = self.probation.as_mut().filter(|it| it.of == *id && is_news) else {
            return;
        };
        if !probation.rests(self.now) {
            probation.failed(self.now, &self.policy);
        }
    }

    /// When the state of the episode changes by itself.
    pub(super) fn episode_ends(&self) -> Option<u64> {
        self.used()?.episode.as_ref()?.changes_at(self.fetching.wait())
    }

    /// The wait, or the cooldown, is over. If every usable credential was tried in vain, requests fail
    /// fast until the cooldown ends.
    pub(super) fn end_episode(&mut self) {
        let Some(used) = self.used() else { return };
        let cools_at = used.episode.as_ref().map_or(0, Episode::cools_at);
        let left = Duration::from_millis(cools_at.saturating_sub(self.now.boot));
        let in_vain = used.run.is_some_and(|run| {
            let was_tried = |member: &Member| member.run.is_some_and(|it| it.last >= run.first);
            self.holdings.usable(self.now).all(was_tried)
        });
        let is_exhausted = in_vain && used.is_in(EpisodeState::Open) && !left.is_zero();
        let state = if is_exhausted { EpisodeState::Exhausted } else { EpisodeState::Over };
        if let Some(used) = self.used_mut() {
            used.end_episode(state);
        }
        self.fetching.stop_forcing();
        if let Some(credential) = self.in_use.clone().filter(|_| is_exhausted) {
            let never_accepted = !self.fetching.is_proven;
            self.tell(Event::Exhausted { credential, cooldown: left, never_accepted });
        }
    }
}
