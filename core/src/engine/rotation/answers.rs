//! What the source answered, and what that makes of the set that is held.

use std::{sync::Arc, time::Duration};

use super::Rotation;
use crate::{
    credential::{CredentialId, CredentialSet},
    engine::{
        holdings::{Admitted, Standing},
        member::{EpisodeState, Member},
    },
    error::{Error, ErrorKind},
    event::{Event, WentBack},
};

impl Rotation {
    /// A fetch has ended in some way. A failure is told and planned around; it displaces nothing.
    pub(super) fn conclude(
        &mut self,
        ticket: u64,
        outcome: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) {
        let Some(live) = self.fetching.conclude(self.now.boot, ticket) else { return };
        let changed = self.counts.changed;
        let outcome = outcome(self);
        if let Err(error) = &outcome {
            self.failed(error);
        }
        let is_new = self.counts.changed > changed;
        if is_new && !live.forced {
            self.brought.clear();
        }
        if !is_new {
            self.doubt(live.forced);
        }
        self.settle(outcome);
    }

    /// The source has nothing else than a key that was rejected. If nothing was ever accepted, waiting for
    /// more than one forced fetch is in vain, unless the floor allows another one soon.
    pub(super) fn doubt(&mut self, was_forced: bool) {
        let is_open = |used: &Member| used.is_in(EpisodeState::Open) && used.run.is_some();
        if !self.fetching.is_doubtful() || !self.used().is_some_and(is_open) {
            return;
        }
        if !was_forced {
            self.fetching.force(self.now.boot);
        } else if !self.fetching.could_help(self.now.boot) {
            self.end_episode();
        }
    }

    pub(super) fn fetched(&mut self, mut set: CredentialSet) -> Result<(), Error> {
        let working = self.used().filter(|used| used.is_usable(self.now) && used.run.is_none());
        let working = working.map(|working| working.credential.shared_id());
        let standing = Standing {
            is_idle: self.in_use.is_none(),
            is_lost: self.has_nothing_to_lose(),
            working: working.as_deref(),
        };
        let admitted = self.holdings.admit(self.now, &mut set, &standing)?;
        self.holdings.keep_counts(&mut set);
        let passed_over = set.passed_over.0.take();
        self.stood_in &= passed_over.is_none();
        let set = Arc::new(set);
        if admitted == Admitted::Same {
            self.holdings.confirm(self.now, &set, self.sends);
            self.renewed();
        } else {
            self.install(&set, admitted);
        }
        if let Some(error) = passed_over {
            let next = self.fetching.wake_at().saturating_sub(self.now.boot);
            self.tell(Event::FetchFailed { error, retry_in: Duration::from_millis(next) });
            self.stood_in = true;
        }
        Ok(())
    }

    /// Whether a set is held of which the API accepts nothing: each is rejected, or has ended.
    pub(super) fn is_lost(&self) -> bool {
        let is_gone = |member: &Member| !member.is_usable(self.now) || member.run.is_some();
        self.holdings.set.is_some()
            && self.holdings.members.iter().all(is_gone)
            && self.used().is_none_or(|used| used.run.is_some())
    }

    /// Whether an older answer can undo nothing.
    pub(super) fn has_nothing_to_lose(&self) -> bool {
        self.holdings.set.is_none() || self.is_lost()
    }

    /// Whether nothing is usable that should be. A set that was revoked is not looked for in haste.
    pub(super) fn is_starving(&self) -> bool {
        self.in_use.is_none() && self.cause.kind() != ErrorKind::SetRevoked
    }

    pub(super) fn not_modified(&mut self) -> Result<(), Error> {
        let what = match self.holdings.primary() {
            None => "the source says «not modified», but nothing is held",
            Some(primary) if primary.has_ended(self.now) => {
                "the source has nothing newer than a credential that has ended"
            }
            Some(_) => {
                self.renewed();
                return Ok(());
            }
        };
        Err(Error::new(ErrorKind::Malformed, what))
    }

    /// The source has nothing newer: what is held is fresh again.
    pub(super) fn renewed(&mut self) {
        self.worked();
        self.counts.not_modified += 1;
        self.tell(Event::NotModified { generation: self.holdings.generation.unwrap_or(0) });
        self.plan_next();
    }

    pub(super) fn worked(&mut self) {
        self.counts.last_success = Some(self.now.wall);
        let has_failed = self.failure.take().is_some() | std::mem::take(&mut self.stood_in);
        if has_failed {
            self.tell(Event::Recovered { credential: self.in_use.clone(), went_back: None });
        }
    }

    pub(super) fn plan_next(&mut self) {
        let now = self.now;
        let splay = self.holdings.splay().mul_f64(self.holdings.jitter);
        let left = self.holdings.left(now);
        // A wish that lies in the past is ignored.
        let asked = self.holdings.refresh_at.filter(|at| !at.reached(now));
        let asked = asked.map(|at| at.remaining(now).saturating_add(splay));
        let generation = self.holdings.generation.unwrap_or(0);
        self.fetching.worked(
            now.boot,
            generation,
            left,
            asked,
            self.holdings.jitter,
            self.rng.f64(),
        );
    }

    pub(super) fn failed(&mut self, error: &Error) {
        self.counts.failed += 1;
        self.failure = Some(error.clone());
        if error.kind() == ErrorKind::SetRevoked {
            self.revoke_all();
            self.cause = error.clone();
        } else if self.in_use.is_none() && self.cause.kind() != ErrorKind::SetRevoked {
            self.cause = error.clone();
        }
        let urgent = self.is_starving() || self.is_lost() || self.published.hard;
        let next = self.fetching.failed(self.now.boot, error, urgent, self.rng.u64(..));
        let retry_in = Duration::from_millis(next.saturating_sub(self.now.boot));
        self.tell(Event::FetchFailed { error: error.clone(), retry_in });
    }

    pub(super) fn install(&mut self, set: &Arc<CredentialSet>, admitted: Admitted) {
        let jitter = self.rng.f64();
        let held = |id: &CredentialId| self.holdings.member(id).is_some();
        self.brought = set.members().map(|new| new.shared_id()).filter(|id| !held(id)).collect();
        let change = self.holdings.install(self.now, set, self.sends, jitter, admitted);
        // Other material under the id in use is a swap.
        let is_rotation = self.in_use.is_some();
        self.in_use.take_if(|id| change.replaced.contains(id));
        self.open_window(is_rotation);
        self.fetching.has_rotated |= is_rotation;
        self.fetching.stop_forcing();
        self.worked();
        self.counts.changed += 1;
        let primary = self.holdings.members[0].credential.shared_id();
        self.tell(Event::Fetched { generation: set.generation(), primary });
        if let Admitted::Back(from) = admitted {
            let (credential, to) = (self.in_use.clone(), set.generation());
            self.tell(Event::Recovered { credential, went_back: Some(WentBack { from, to }) });
        }
        if !change.revoked.is_empty() {
            self.tell(Event::Revoked { credentials: change.revoked, set: false });
        }
        self.plan_next();
        self.choose(self.policy.keep_in_use);
        if self.in_use.is_none() {
            self.cause = self.holdings.why_nothing(self.now);
        }
    }

    pub(super) fn revoke_all(&mut self) {
        if let Some(credentials) = self.holdings.revoke() {
            (self.in_use, self.probation) = (None, None);
            self.fetching.stop_forcing();
            self.tell(Event::Revoked { credentials, set: true });
        }
    }
}
