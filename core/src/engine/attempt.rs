//! What one request does next.
//!
//! # Theory of operation
//!
//! A [`Course`] is asked once before the first send, and again after each verdict, wait or pause. It
//! always looks at the newest snapshot, so a request whose credential was rejected while a new set
//! arrived simply goes on with what is new. The order is: the assigned credential; each other usable
//! one; what the forced fetch brings; and within the rotation window, after a pause, the credential in
//! use once more, because replicas may disagree.
//!
//! It never sends more than four times, never repeats a credential without the pause, and never waits
//! past its limit. It never decides what is in use; it only reports what it saw.

use std::{sync::Arc, time::Duration};

use super::{
    snapshot::{ProbeSlot, Snapshot},
    verdict::Verdict,
};
use crate::{
    credential::Credential,
    error::{Error, ErrorKind},
    moment::millis,
    policy::Policy,
};

/// The most sends of one request.
pub const MAX_SENDS: u32 = 4;

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Send the request with this credential.
    Send(Arc<Credential>),
    /// Wait until a fetch settles, at the latest until this time on the boot clock.
    Wait(u64),
    /// Wait for this long, whatever happens.
    Pause(Duration),
    /// The last response is the answer.
    Return,
    /// There is no response to return.
    Fail(Error),
}

/// The short-lived state machine of one request. Times are boot-clock milliseconds.
#[derive(Debug)]
pub struct Course {
    replayable: bool,
    limit: u64,
    sends: u32,
    assigned: Option<Arc<Credential>>,
    tried: Vec<Arc<Credential>>,
    probe: Option<Probe>,
    state: State,
    held_up: bool,
    paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not sent yet.
    Fresh,
    /// On its way.
    Sent,
    /// Rejected, and waiting for a fetch.
    Waiting,
    /// Rejected, and letting the replicas come to agree.
    Pausing,
}

#[derive(Debug)]
struct Probe {
    slot: Arc<ProbeSlot>,
    claimed_until: u64,
    again_at: u64,
}

impl Course {
    /// A request that starts at `now` and may wait for credentials until `limit`.
    pub fn new(replayable: bool, now: u64, deadline: Option<u64>, policy: &Policy) -> Self {
        let limit = now.saturating_add(millis(policy.wait));
        Self {
            replayable,
            limit: deadline.map_or(limit, |deadline| deadline.min(limit)),
            sends: 0,
            assigned: None,
            tried: Vec::new(),
            probe: None,
            state: State::Fresh,
            held_up: false,
            paused: false,
        }
    }

    /// A request whose first send, with this credential, was made by somebody else.
    pub fn sent(mut self, credential: Arc<Credential>) -> Self {
        self.sends = 1;
        self.assigned = Some(credential);
        self.state = State::Sent;
        self
    }

    /// How often it was sent.
    pub fn sends(&self) -> u32 {
        self.sends
    }

    /// Counts a send that repeats the last one for a reason that is not its credential. False when
    /// there is none left.
    pub fn repeat(&mut self) -> bool {
        let left = self.sends < MAX_SENDS;
        self.sends += u32::from(left);
        left
    }

    /// The credential of the send under way.
    pub fn assigned(&self) -> Option<&Arc<Credential>> {
        self.assigned.as_ref()
    }

    /// What to do before the first send, and after a wait or a pause. `fetch_began` is when the
    /// running fetch began, if one runs.
    pub fn proceed(
        &mut self,
        now: u64,
        snapshot: &Snapshot,
        fetch_began: Option<u64>,
        policy: &Policy,
    ) -> Next {
        match self.state {
            State::Fresh => self.first(now, snapshot, fetch_began, policy),
            State::Sent => Next::Return,
            State::Waiting | State::Pausing => self.after_rejection(now, snapshot, policy),
        }
    }

    /// What to do after the API answered.
    pub fn judged(
        &mut self,
        now: u64,
        snapshot: &Snapshot,
        verdict: Verdict,
        policy: &Policy,
    ) -> Next {
        self.free_probe(match verdict {
            Verdict::Rejected => now + millis(policy.probe_delays[0]),
            _ => now + millis(policy.probe_again),
        });
        if verdict != Verdict::Rejected || !self.replayable {
            return Next::Return;
        }
        self.tried.extend(self.assigned.take());
        self.state = State::Waiting;
        if snapshot.exhausted || self.sends >= MAX_SENDS || now >= self.limit {
            return Next::Return;
        }
        match self.untried(snapshot) {
            Some(credential) => self.send(credential),
            None if self.paused => self.after_rejection(now, snapshot, policy),
            None => Next::Wait(self.limit),
        }
    }

    fn first(
        &mut self,
        now: u64,
        snapshot: &Snapshot,
        fetch_began: Option<u64>,
        policy: &Policy,
    ) -> Next {
        let Some(in_use) = &snapshot.in_use else {
            if std::mem::replace(&mut self.held_up, true) || now >= self.limit {
                return Next::Fail(snapshot.cause.clone().unwrap_or_else(nothing_usable));
            }
            return Next::Wait(self.limit);
        };
        if snapshot.hard && !self.held_up {
            // A fetch holds requests up for a second at most in all, however long it takes.
            let until = fetch_began.map(|began| began + millis(policy.hard_wait));
            if let Some(until) = until.filter(|until| now < *until) {
                self.held_up = true;
                return Next::Wait(until.min(self.limit));
            }
        }
        if !self.replayable && snapshot.suspect && now < self.limit {
            return Next::Wait(self.limit);
        }
        if let Some(candidate) = snapshot.candidate.as_ref().filter(|_| self.replayable) {
            let claimed_until = now + millis(policy.probe_timeout);
            if candidate.slot.claim(now, claimed_until) {
                let slot = candidate.slot.clone();
                let again_at = now + millis(policy.probe_again);
                self.probe = Some(Probe { slot, claimed_until, again_at });
                return self.send(candidate.credential.clone());
            }
        }
        self.send(in_use.clone())
    }

    fn after_rejection(&mut self, now: u64, snapshot: &Snapshot, policy: &Policy) -> Next {
        if snapshot.exhausted || self.sends >= MAX_SENDS {
            return Next::Return;
        }
        if let Some(credential) = self.untried(snapshot) {
            return self.send(credential);
        }
        if self.state == State::Pausing {
            return match &snapshot.in_use {
                Some(in_use) => self.send(in_use.clone()),
                None => Next::Return,
            };
        }
        // While a fetch may still bring something, the last send is kept for it.
        let may_repeat = !self.paused && (self.sends + 1 < MAX_SENDS || !snapshot.suspect);
        if may_repeat && now < snapshot.window_until && now < self.limit {
            self.paused = true;
            self.state = State::Pausing;
            let share = 0.5 + f64::from(now as u32 % 101) / 100.0;
            return Next::Pause(policy.rotation_pause.mul_f64(share));
        }
        if snapshot.suspect && now < self.limit {
            return Next::Wait(self.limit);
        }
        Next::Return
    }

    fn untried(&self, snapshot: &Snapshot) -> Option<Arc<Credential>> {
        let is_new = |credential: &&Arc<Credential>| {
            !self.tried.iter().any(|tried| tried.is_same_key(credential))
        };
        snapshot.usable.iter().find(is_new).cloned()
    }

    fn send(&mut self, credential: Arc<Credential>) -> Next {
        self.sends += 1;
        self.state = State::Sent;
        self.assigned = Some(credential.clone());
        Next::Send(credential)
    }

    fn free_probe(&mut self, at: u64) {
        if let Some(probe) = self.probe.take() {
            probe.slot.release(probe.claimed_until, at);
        }
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        if let Some(probe) = &self.probe {
            let at = probe.again_at;
            self.free_probe(at);
        }
    }
}

fn nothing_usable() -> Error {
    Error::new(ErrorKind::NotReady, "no credential is usable yet")
}
