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
//! It never sends more than four times, never sends a rejected credential again without the pause, and
//! never waits past its limit or sends again past its deadline. It never decides what is in use; it only
//! reports what it saw.

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

#[cfg(test)]
mod tests;

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
    /// Until when it may wait, and until when it may be sent again.
    limit: u64,
    deadline: u64,
    sends: u32,
    assigned: Option<Arc<Credential>>,
    tried: Vec<Arc<Credential>>,
    probe: Option<Probe>,
    state: State,
    /// Whether it has waited for a credential, for the fetch shortly before an end, and for the replicas
    /// to agree. It does each once.
    waited: bool,
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
        let waits_until = deadline.map_or(u64::MAX, |deadline| waits_until(now, deadline));
        let deadline = deadline.unwrap_or(u64::MAX);
        Self {
            replayable,
            limit: now.saturating_add(millis(policy.wait)).min(waits_until),
            deadline,
            sends: 0,
            assigned: None,
            tried: Vec::new(),
            probe: None,
            state: State::Fresh,
            waited: false,
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

    /// Begins again for a reason that is not the credential, such as a 503. False when there is no send
    /// left.
    pub fn repeat(&mut self) -> bool {
        let left = self.sends < MAX_SENDS;
        if left {
            self.state = State::Fresh;
        }
        left
    }

    /// The send under way concluded nothing about the candidate, and costs it no time: whoever comes next
    /// may try it. What this request does next does not depend on the trial any more.
    pub fn hand_on(&mut self, now: u64) {
        self.free_probe(now);
    }

    /// Whether the send under way tries the candidate.
    pub fn is_probing(&self) -> bool {
        self.probe.is_some()
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
            Verdict::Rejected => later(now, policy.probe_delays[0]),
            _ => later(now, policy.probe_again),
        });
        if verdict != Verdict::Rejected || !self.replayable {
            return Next::Return;
        }
        self.tried.extend(self.assigned.take());
        self.state = State::Waiting;
        if self.is_spent(now, snapshot) {
            return Next::Return;
        }
        match self.untried(snapshot) {
            Some(credential) => self.send(credential),
            None if self.paused => self.after_rejection(now, snapshot, policy),
            // What this rejection set in motion is not to be seen yet.
            None if now < self.limit => Next::Wait(self.limit),
            None => Next::Return,
        }
    }

    fn first(
        &mut self,
        now: u64,
        snapshot: &Snapshot,
        fetch_began: Option<u64>,
        policy: &Policy,
    ) -> Next {
        if self.sends > 0 && now >= self.deadline {
            return Next::Return;
        }
        let Some(in_use) = &snapshot.in_use else {
            if std::mem::replace(&mut self.waited, true) || now >= self.limit {
                return Next::Fail(snapshot.cause.clone().unwrap_or_else(nothing_usable));
            }
            return Next::Wait(self.limit);
        };
        if snapshot.hard && !self.held_up {
            // A fetch holds requests up for a second at most in all, however long it takes.
            let until = fetch_began.map(|began| later(began, policy.hard_wait));
            if let Some(until) = until.filter(|until| now < *until) {
                self.held_up = true;
                return Next::Wait(until.min(self.limit));
            }
        }
        if !self.replayable && snapshot.suspect && now < self.limit {
            return Next::Wait(self.limit);
        }
        if let Some(candidate) = snapshot.candidate.as_ref().filter(|_| self.replayable) {
            let claimed_until = later(now, policy.probe_timeout);
            if self.is_untried(&candidate.credential) && candidate.slot.claim(now, claimed_until) {
                let slot = candidate.slot.clone();
                let again_at = later(now, policy.probe_again);
                self.probe = Some(Probe { slot, claimed_until, again_at });
                return self.send(candidate.credential.clone());
            }
        }
        // After a repeat, what was rejected before is not the first choice any more.
        self.send(self.untried(snapshot).unwrap_or_else(|| in_use.clone()))
    }

    fn after_rejection(&mut self, now: u64, snapshot: &Snapshot, policy: &Policy) -> Next {
        if self.is_spent(now, snapshot) {
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

    /// Whether a rejection is the answer, whatever else could be tried.
    fn is_spent(&self, now: u64, snapshot: &Snapshot) -> bool {
        snapshot.exhausted || self.sends >= MAX_SENDS || now >= self.deadline
    }

    fn untried(&self, snapshot: &Snapshot) -> Option<Arc<Credential>> {
        snapshot.usable.iter().find(|credential| self.is_untried(credential)).cloned()
    }

    fn is_untried(&self, credential: &Credential) -> bool {
        !self.tried.iter().any(|tried| tried.is_same_key(credential))
    }

    fn send(&mut self, credential: Arc<Credential>) -> Next {
        self.sends += 1;
        if self.sends > 1 {
            // A first send carries what is in use or the candidate. Any other is seen by this alone.
            credential.accepted().resend();
        }
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

/// Until when a request that begins now may wait, if its caller waits until `deadline`. What is in hand has
/// to reach the caller before a timer of its own strikes, so a tenth of its time is left, at most 0.1 s.
pub fn waits_until(now: u64, deadline: u64) -> u64 {
    let time = deadline.saturating_sub(now);
    deadline - (time / 10).min(100)
}

impl Drop for Course {
    fn drop(&mut self) {
        if let Some(probe) = &self.probe {
            let at = probe.again_at;
            self.free_probe(at);
        }
    }
}

fn later(at: u64, by: Duration) -> u64 {
    at.saturating_add(millis(by))
}

fn nothing_usable() -> Error {
    Error::new(ErrorKind::NotReady, "no credential is usable yet")
}
