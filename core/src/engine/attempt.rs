//! What one request does next.
//!
//! # Theory of operation
//!
//! A [`AttemptMachine`] is asked once before the first send, and again after each verdict or wait. It always looks
//! at the newest snapshot, so a request whose credential was rejected while a new set arrived simply goes
//! on with what is new. The order after a rejection is: each other usable credential; what the forced fetch
//! brings; and within the rotation window, after a pause, the credential just rejected once more, because
//! replicas may disagree, and strictly in turn they would meet each other key on the wrong one.
//!
//! A herd does not probe. To send again with a credential that the API has not been seen to accept, a
//! request needs the one trial slot; the others rest until that one has learnt something. The last send is
//! kept for news: it is spent once the key is proven, or shortly before the wait ends. After a rotation one
//! acceptance may be that of one replica, so the last send waits two pauses for somebody who knows better.
//!
//! A first send that tries the candidate is free for its caller: unless it is a success, the request is
//! asked again with the credential in use. A credential that cannot be put on the request is passed over,
//! and so is one that lacks a scope that the request needs.
//!
//! A request that was signed with the wrong time is signed once more, with the same credential: what is wrong is
//! the clock.
//!
//! It never sends more than four times, never sends a rejected credential again without the pause or the
//! news that it works, and never waits past its limit or sends again past its deadline. It never decides
//! what is in use; it only reports what it saw.

use std::sync::Arc;

pub use self::times::waits_until;
use self::{
    claim::Claim,
    times::{last_call, later, limit, pause},
};
use super::{snapshot::Snapshot, verdict::Verdict};
use crate::{
    credential::Credential,
    error::{Error, ErrorKind},
    moment::millis,
    policy::Policy,
};

mod choice;
mod claim;
#[cfg(test)]
mod tests;
mod times;

/// The most sends of one request.
pub const MAX_SENDS: u32 = 4;

/// How many times the pause of a request lies at most between two trials of an unproven credential.
const LONGEST_PAUSE: u64 = 4;

/// How many times the pause of a request news is doubted on which its last send would be spent.
const DOUBT: u32 = 2;

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Send the request with this credential.
    Send(Arc<Credential>),
    /// Wait until a fetch settles or something new is published, at the latest until this time on the
    /// boot clock. The rotation is to hear of it.
    Wait(u64),
    /// Rest until something new is published, at the latest until this time on the boot clock.
    Rest(u64),
    /// The last response is the answer.
    Return,
    /// There is no response to return, or none that may be returned.
    Fail(Error),
}

/// What became of a send.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// What the response says of the credential.
    pub verdict: Verdict,
    /// The number of the send.
    pub sent: u64,
    /// Whether the request may be sent again although it was answered with no rejection: it was refused,
    /// or to do twice what it asks for is to do it once.
    pub repeatable: bool,
}

/// The short-lived state machine of one request. Times are boot-clock milliseconds.
#[derive(Debug)]
pub struct AttemptMachine {
    replayable: bool,
    /// What the credential has to be for.
    scopes: Box<[Box<str>]>,
    /// When the last send is spent at the latest, until when it may wait, and until when it may be sent
    /// again.
    last_call: u64,
    limit: u64,
    deadline: u64,
    sends: u32,
    assigned: Option<Arc<Credential>>,
    tried: Vec<Tried>,
    /// Until when it leaves alone what was rejected last.
    rests_until: u64,
    /// Why a credential could not be put on it.
    unfit: Option<Error>,
    probe: Option<Claim>,
    trial: Option<Claim>,
    state: State,
    /// What it was before the send under way.
    before: State,
    /// Whether it has waited for a credential, and for the fetch shortly before an end. It does each once.
    waited: bool,
    held_up: bool,
    /// Whether what the last rejection set in motion has come to an end.
    is_settled: bool,
    /// Whether it was signed once more because of the clock.
    has_skewed: bool,
    /// Whether it has repeated a credential after a pause.
    has_repeated: bool,
    /// What it was sent with because it was learnt to work. If that was rejected too, it is this request that
    /// the API rejects, unless its replicas disagree.
    news: Option<Arc<Credential>>,
    /// When it first saw the news on which its last send may be spent.
    news_at: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not sent yet.
    Fresh,
    /// On its way.
    Sent,
    /// Rejected.
    Rejected,
}

/// A credential that did not do: rejected on this send, or on none, because it cannot be sent.
#[derive(Debug)]
struct Tried {
    credential: Arc<Credential>,
    sent: Option<u64>,
}

impl AttemptMachine {
    /// A request that starts at `now` and may wait for credentials until `limit`.
    pub fn new(replayable: bool, now: u64, deadline: Option<u64>, policy: &Policy) -> Self {
        let deadline = deadline.unwrap_or(u64::MAX);
        let limit = limit(now, deadline, policy);
        Self {
            replayable,
            scopes: Box::default(),
            last_call: last_call(now, limit),
            limit,
            deadline,
            sends: 0,
            assigned: None,
            tried: Vec::new(),
            rests_until: 0,
            unfit: None,
            probe: None,
            trial: None,
            state: State::Fresh,
            before: State::Fresh,
            waited: false,
            held_up: false,
            is_settled: false,
            has_skewed: false,
            has_repeated: false,
            news: None,
            news_at: None,
        }
    }

    /// Only credentials that have these scopes may be sent.
    pub fn require(&mut self, scopes: &[Box<str>]) {
        self.scopes = scopes.into();
    }

    /// The time for which it waits for credentials begins now.
    pub fn starts(&mut self, now: u64, policy: &Policy) {
        self.limit = limit(now, self.deadline, policy);
        self.last_call = last_call(now, self.limit);
    }

    /// A request whose first send, with this credential, was made by somebody else.
    pub fn sent(&mut self, credential: Arc<Credential>) {
        self.sends = 1;
        self.assigned = Some(credential);
        self.state = State::Sent;
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
        if let Some(mut probe) = self.probe.take() {
            probe.again_at = now;
        }
    }

    /// Whether the send under way tries the candidate.
    pub fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether the send under way tries what others wait to learn of.
    pub fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    /// The credential of the send under way.
    pub fn assigned(&self) -> Option<&Arc<Credential>> {
        self.assigned.as_ref()
    }

    /// What to do before the first send, and after a wait. `fetch_began` is when the running fetch began,
    /// if one runs.
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
            State::Rejected => self.go_on(now, snapshot, policy),
        }
    }

    /// The fetch that it waited for has ended, or there is none to wait for.
    pub fn settled(&mut self) {
        self.is_settled = true;
    }

    /// What to do after the API answered.
    pub fn judged(
        &mut self,
        now: u64,
        snapshot: &Snapshot,
        outcome: Outcome,
        policy: &Policy,
    ) -> Next {
        let Outcome { verdict, sent, repeatable } = outcome;
        let is_skewed = matches!(verdict, Verdict::Skewed { .. });
        if is_skewed && let Some(credential) = self.sign_again(now) {
            return self.send(credential);
        }
        let probe = self.probe.take().map(|mut probe| {
            let again = match verdict {
                Verdict::Rejected => policy.probe_delays[0],
                _ => policy.probe_again,
            };
            probe.again_at = later(now, again);
        });
        if verdict != Verdict::Rejected {
            if let Some(mut trial) = self.trial.take() {
                trial.again_at = now;
            }
            let concludes = is_skewed || verdict == Verdict::Accepted;
            let is_free = probe.is_some() && !concludes && repeatable;
            return match self.ask_again(now, snapshot).filter(|_| is_free) {
                Some(in_use) => self.send(in_use),
                None => Next::Return,
            };
        }
        if !self.replayable {
            return Next::Return;
        }
        let rejected = self.assigned.take();
        self.tried.extend(rejected.map(|credential| Tried { credential, sent: Some(sent) }));
        self.rests_until = now.saturating_add(pause(now, policy));
        self.state = State::Rejected;
        self.is_settled = false;
        self.lose_patience(now, snapshot);
        self.go_on(now, snapshot, policy)
    }

    /// A key that was never accepted may simply be wrong, which is not worth the whole wait.
    fn lose_patience(&mut self, now: u64, snapshot: &Snapshot) {
        let limit = snapshot.patience.map(|patience| later(now, patience));
        if let Some(limit) = limit.filter(|limit| *limit < self.limit) {
            (self.last_call, self.limit) = (last_call(now, limit), limit);
        }
    }

    /// What to do when the credential of the send that was about to be made cannot be put on the request.
    pub fn unfit(&mut self, now: u64, snapshot: &Snapshot, why: Error, policy: &Policy) -> Next {
        self.sends -= 1;
        self.state = self.before;
        if let Some(mut probe) = self.probe.take() {
            probe.again_at = later(now, policy.probe_delays[0]);
        }
        let credential = self.assigned.take();
        self.tried.extend(credential.map(|credential| Tried { credential, sent: None }));
        self.unfit.get_or_insert(why);
        self.is_settled = false;
        self.lose_patience(now, snapshot);
        self.proceed(now, snapshot, None, policy)
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
        if snapshot.in_use.is_none() {
            // What it waited for before may have been something else.
            self.is_settled &= std::mem::replace(&mut self.waited, true);
            if self.is_settled || now >= self.limit {
                return Next::Fail(snapshot.cause.clone().unwrap_or_else(nothing_usable));
            }
            return Next::Wait(self.limit);
        }
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
        if let Some(candidate) = snapshot.candidate.as_ref().filter(|_| self.replayable)
            && self.is_untried(&candidate.credential)
            && self.may_carry(snapshot, &candidate.credential)
            && let Some(claim) = Claim::of(&candidate.slot, now, policy.probe_again, policy)
        {
            self.probe = Some(claim);
            return self.send(candidate.credential.clone());
        }
        let untried = self.untried(snapshot).map(|usable| usable.credential.clone());
        // After a repeat, what was rejected before is not the first choice any more.
        match untried.or_else(|| self.last(snapshot)) {
            Some(credential) => self.send(credential),
            None => match &self.unfit {
                _ if self.sends > 0 => Next::Return,
                // What is asked for now may bring one that can be sent.
                Some(_) if !(self.is_settled || snapshot.exhausted) && now < self.limit => {
                    Next::Wait(self.limit)
                }
                Some(why) => Next::Fail(why.clone()),
                None => self.out_of_scope(snapshot).map_or(Next::Return, Next::Fail),
            },
        }
    }

    /// What to do after a rejection.
    fn go_on(&mut self, now: u64, snapshot: &Snapshot, policy: &Policy) -> Next {
        if snapshot.exhausted || self.sends >= MAX_SENDS || now >= self.deadline {
            return self.stop(now, policy, Next::Return);
        }
        let is_last_call = now >= self.last_call;
        let untried =
            self.untried(snapshot).map(|usable| (usable.credential.clone(), usable.proof));
        if let Some((credential, proof)) = untried {
            // Of what is not proven, one request at a time learns for all.
            if proof.is_some() || is_last_call || self.may_try(now, snapshot, policy) {
                return self.send(credential);
            }
            return self.rest(now, snapshot, policy);
        }
        if let Some(next) = self.learn(now, snapshot, policy) {
            return next;
        }
        let is_rotating = now < snapshot.window_until;
        let is_pointless = self.news.is_some();
        // The last send is kept for news.
        let may_repeat = self.sends + 1 < MAX_SENDS
            && is_rotating
            && !(is_last_call || is_pointless || self.has_repeated);
        let repeated = self.rejected_last(snapshot).filter(|_| may_repeat);
        if snapshot.disagree
            && let Some(credential) = repeated
        {
            // In turn, the next replica is the one that knows it.
            self.has_repeated = true;
            return self.send(credential);
        }
        if !self.is_settled && now < self.limit {
            // A fetch may bring something, which is better than anything that was rejected.
            return self.stop(now, policy, Next::Wait(self.last_call.max(now + 1)));
        }
        let rests_until = self.rests_until.min(self.last_call);
        if is_pointless && is_rotating && now < rests_until {
            // Whether it shows that replicas disagree is told in a moment.
            return self.stop(now, policy, Next::Rest(rests_until));
        }
        if let Some(credential) = repeated {
            if now >= self.rests_until && self.may_try(now, snapshot, policy) {
                self.has_repeated = true;
                return self.send(credential);
            }
            return self.rest(now, snapshot, policy);
        }
        if (snapshot.suspect || snapshot.wavers) && now < self.limit && !is_pointless {
            if !is_last_call && snapshot.suspect {
                return self.stop(now, policy, Next::Wait(self.last_call));
            }
            if !is_last_call {
                return self.stop(now, policy, Next::Rest(self.last_call));
            }
            if let Some(credential) = self.last(snapshot).filter(|_| now >= self.rests_until) {
                return self.send(credential);
            }
        }
        let next = self.out_of_scope(snapshot).map_or(Next::Return, Next::Fail);
        self.stop(now, policy, next)
    }

    /// What to do with the news that the API takes what it had rejected for this request, if there is any.
    fn learn(&mut self, now: u64, snapshot: &Snapshot, policy: &Policy) -> Option<Next> {
        // Where replicas disagree, news that was wrong says nothing of this request.
        self.news.take_if(|_| snapshot.wavers);
        let Some(proven) = self.proven_since(snapshot) else {
            self.news_at = None;
            return None;
        };
        // One acceptance may be that of one replica. With one send left, others may say so first.
        let doubted = millis(policy.rotation_pause * DOUBT);
        let until = self.news_at.get_or_insert(now).saturating_add(doubted).min(self.last_call);
        let is_last = self.sends + 1 == MAX_SENDS && now < snapshot.window_until;
        if is_last && now < until {
            return Some(self.stop(now, policy, Next::Rest(until)));
        }
        self.news = Some(proven.clone());
        Some(self.send(proven))
    }

    /// Until the trial is open to it, it may have been learnt what was to be tried.
    fn rest(&mut self, now: u64, snapshot: &Snapshot, policy: &Policy) -> Next {
        let pause = millis(policy.rotation_pause);
        let opens = snapshot.trial.open_at().max(self.rests_until);
        // While another request tries, nobody knows when it is open again.
        let until = match opens > now.saturating_add(pause.saturating_mul(LONGEST_PAUSE)) {
            true => now.saturating_add(pause),
            false => opens,
        };
        // A slot that opens in this instant was just lost to another request.
        let until = until.min(self.last_call).max(now + 1);
        self.stop(now, policy, Next::Rest(until))
    }

    /// It does not send now: another may try what is not proven, after a pause that grows.
    fn stop(&mut self, now: u64, policy: &Policy, next: Next) -> Next {
        if let Some(trial) = self.trial.take() {
            let longest = millis(policy.rotation_pause).saturating_mul(LONGEST_PAUSE);
            trial.slot.back_off(trial.until, now, pause(now, policy), longest);
        }
        next
    }

    /// Whether this request is the one that tries what is not proven.
    fn may_try(&mut self, now: u64, snapshot: &Snapshot, policy: &Policy) -> bool {
        if self.trial.is_none() {
            self.trial = Claim::of(&snapshot.trial, now, policy.rotation_pause, policy);
        }
        self.trial.is_some()
    }

    fn send(&mut self, credential: Arc<Credential>) -> Next {
        self.sends += 1;
        if self.sends > 1 || !self.tried.is_empty() {
            // A first send carries what is in use or the candidate. Any other is seen by this alone.
            credential.accepted().resend();
        }
        self.before = std::mem::replace(&mut self.state, State::Sent);
        self.assigned = Some(credential.clone());
        Next::Send(credential)
    }
}

fn nothing_usable() -> Error {
    Error::new(ErrorKind::NotReady, "no credential is usable yet")
}
