//! The requests of a life's callers, as the client makes them, and what must be true of each.

use std::sync::Arc;

use keyswap::{
    Credential, Error, ErrorKind, Snapshot, Verdict,
    engine::{
        attempt::{AttemptMachine, MAX_SENDS, Next, Outcome},
        rotation::{Evidence, Input, Unfit},
    },
};

use super::{Due, Life};
use crate::oracle::{Checked, must};

const WAIT: u64 = 10_000;
const PROBE_TIMEOUT: u64 = 5_000;
/// What a retry that was planned before the trouble, and the two answers after it, may take.
const LOCKED_OUT: u64 = 600_000;
/// The shortest pause before a rejected credential is repeated.
const PAUSE: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Free,
    Sent,
    Waiting,
    Resting,
}

pub(super) struct Request {
    pub(super) number: u32,
    pub(super) step: u32,
    pub(super) stage: Stage,
    pub(super) machine: Option<AttemptMachine>,
    pub(super) credential: Option<Arc<Credential>>,
    pub(super) sent: u64,
    pub(super) began: u64,
    pub(super) deadline: u64,
    pub(super) replayable: bool,
    /// A route that rejects every key.
    pub(super) hopeless: bool,
    /// What was rejected, on which send, and when.
    pub(super) rejected: Vec<(Arc<Credential>, u64, u64)>,
    /// The first send, if it tried the candidate and was no success.
    pub(super) trial: Option<Evidence>,
    /// Until when it waits.
    pub(super) until: u64,
    /// Whether it has begun again since the last send, or at any time.
    pub(super) begun_again: bool,
    pub(super) repeated: bool,
    /// The keys of the newest published set that were usable all along.
    pub(super) steady: Vec<usize>,
    pub(super) last: Verdict,
}

impl Life {
    pub(super) fn begin(&mut self) -> Checked {
        let wait = self.rng.u64(1..self.pace);
        self.plan(wait, Due::Begin);
        let Some(at) = self.requests.iter().position(|request| request.stage == Stage::Free) else {
            return Ok(());
        };
        let now = self.moment().boot;
        let patience = self.rng.bool().then(|| self.rng.u64(50..20_000));
        let steady = self.steady();
        let replayable = self.rng.u8(..4) > 0;
        let request = &mut self.requests[at];
        request.number += 1;
        request.began = self.now;
        request.deadline = patience.map_or(u64::MAX, |patience| now + patience);
        request.replayable = replayable;
        request.hopeless = self.rng.u8(..20) == 0;
        request.rejected.clear();
        request.trial = None;
        request.begun_again = false;
        request.repeated = false;
        request.steady = steady;
        request.last = Verdict::Other;
        let deadline = patience.map(|patience| now + patience);
        request.machine = Some(AttemptMachine::new(replayable, now, deadline, &self.policy));
        if self.rng.u8(..12) == 0 {
            let number = self.requests[at].number;
            let wait = self.rng.u64(..3_000);
            self.plan(wait, Due::Cancel(at, number));
        }
        self.decide(at, true)
    }

    pub(super) fn proceed(&mut self, at: usize) -> Checked {
        let now = self.moment().boot;
        let request = &mut self.requests[at];
        if request.stage == Stage::Waiting && now >= request.until {
            request.machine.iter_mut().for_each(AttemptMachine::settled);
        }
        self.decide(at, false)
    }

    pub(super) fn decide(&mut self, at: usize, is_fresh: bool) -> Checked {
        self.decisions += 1;
        let now = self.moment().boot;
        let snapshot = self.rotation.snapshot().clone();
        let began = self.fetch_began;
        let request = &mut self.requests[at];
        let Some(machine) = &mut request.machine else { return Ok(()) };
        let next = machine.proceed(now, &snapshot, began, &self.policy);
        self.take(at, next, &snapshot, is_fresh)
    }

    pub(super) fn take(
        &mut self,
        at: usize,
        next: Next,
        snapshot: &Snapshot,
        is_fresh: bool,
    ) -> Checked {
        self.requests[at].step += 1;
        let (step, number) = (self.requests[at].step, self.requests[at].number);
        if self.trace {
            let shown = match &next {
                Next::Send(credential) => format!("sends {}", credential.id()),
                Next::Fail(error) => format!("fails: {}", error.code()),
                other => format!("{other:?}"),
            };
            eprintln!("{:>9} request {at}.{number} {shown}", self.now());
        }
        match next {
            Next::Send(credential) if self.world.is_unfit(&credential) => {
                *self.seen.entry("unfit").or_default() += 1;
                let why = Error::new(ErrorKind::SchemeFailed, "it does not fit");
                let unfit = Unfit { credential, why: why.clone(), sent: None };
                self.send(Input::Unfit(unfit))?;
                self.decisions += 1;
                let (now, snapshot) = (self.moment().boot, self.rotation.snapshot().clone());
                let Some(machine) = &mut self.requests[at].machine else { return Ok(()) };
                let next = machine.unfit(now, &snapshot, why, &self.policy);
                return self.take(at, next, &snapshot, is_fresh);
            }
            Next::Send(credential) => {
                self.check_send(at, &credential, snapshot, is_fresh)?;
                self.sends += 1;
                self.reports.sent(&credential, self.moment().boot);
                let request = &mut self.requests[at];
                request.stage = Stage::Sent;
                request.sent = self.sends;
                request.credential = Some(credential);
                request.begun_again = false;
                let time = match self.rng.u8(..40) {
                    0 => self.rng.u64(5_000..15_000),
                    1..=4 => self.rng.u64(100..3_000),
                    _ => self.rng.u64(1..100),
                };
                self.plan(time, Due::Answer(at, step));
            }
            Next::Wait(until) => {
                must!(
                    until <= self.moment().boot + WAIT && until <= self.requests[at].deadline,
                    "a request waits for too long"
                );
                self.requests[at].stage = Stage::Waiting;
                self.requests[at].until = until;
                let wait = until.saturating_sub(self.moment().boot);
                self.plan(wait, Due::Resume(at, step));
                self.send(Input::Waited)?;
            }
            Next::Rest(until) => {
                must!(
                    until > self.moment().boot && until <= self.moment().boot + WAIT,
                    "a request rests for too long, or not at all"
                );
                self.requests[at].stage = Stage::Resting;
                let wait = until.saturating_sub(self.moment().boot);
                self.plan(wait, Due::Resume(at, step));
            }
            Next::Return | Next::Fail(_) => {
                let failed = matches!(next, Next::Fail(_));
                let outcome =
                    if failed { "request failed" } else { verdict_name(self.requests[at].last) };
                *self.seen.entry(outcome).or_default() += 1;
                self.check_end(at, failed, snapshot)?;
                self.count_vain(at, failed);
                self.free(at);
            }
        }
        Ok(())
    }

    /// The API's answer arrives. It was made at some time since the request was sent; now will do.
    pub(super) fn answer(&mut self, at: usize) -> Checked {
        let request = &self.requests[at];
        let Some(credential) = request.credential.clone() else { return Ok(()) };
        let is_accepted = match self.world.key_of(&credential) {
            Some(key) => self.world.accepts(key, self.now, &mut self.rng) && !request.hopeless,
            None => false,
        };
        let verdict = match self.rng.u8(..30) {
            0 => Verdict::Other,
            1 => Verdict::Throttled,
            _ if is_accepted => Verdict::Accepted,
            _ => Verdict::Rejected,
        };
        let (sent, replayable) = (request.sent, request.replayable);
        if self.trace {
            eprintln!("{:>9} request {at} {verdict:?} {}", self.now(), credential.id());
        }
        self.probe.take_if(|(of, _)| *of == at as u32);
        let is_probing = request.machine.as_ref().is_some_and(AttemptMachine::is_probing);
        let is_resend = request.machine.as_ref().is_some_and(|machine| machine.sends() > 1);
        let evidence = || Evidence { credential: credential.id().into(), sent };
        match verdict {
            Verdict::Rejected => self.send(Input::Rejected(evidence()))?,
            Verdict::Accepted if is_resend || self.rotation.snapshot().wants_evidence() => {
                self.send(Input::Accepted(evidence()))?;
                if let Some(trial) = self.requests[at].trial.take() {
                    self.send(Input::Doubted(trial))?;
                }
            }
            Verdict::Accepted => {}
            _ if is_probing => self.requests[at].trial = Some(evidence()),
            _ => {}
        }
        self.decisions += 1;
        let now = self.moment().boot;
        let snapshot = self.rotation.snapshot().clone();
        let request = &mut self.requests[at];
        request.last = verdict;
        if verdict == Verdict::Rejected {
            request.rejected.push((credential.clone(), sent, now));
        }
        let repeatable = self.rng.bool();
        let Some(machine) = &mut request.machine else { return Ok(()) };
        let outcome = Outcome { verdict, sent, repeatable };
        let next = machine.judged(now, &snapshot, outcome, &self.policy);
        let transient = matches!(verdict, Verdict::Other | Verdict::Throttled);
        if is_probing && replayable && repeatable && transient {
            *self.seen.entry("trial without success").or_default() += 1;
            let request = &self.requests[at];
            // A new set may tell of other times of the same key.
            let is_same = |a: &Credential, b: &Credential| {
                a.id() == b.id() && a.reveal("key") == b.reveal("key")
            };
            let is_new = |it| !request.rejected.iter().any(|(old, ..)| is_same(old, it));
            let could = snapshot.in_use().is_some_and(|in_use| {
                !self.world.is_unfit(in_use) && is_new(in_use) && *in_use != *credential
            }) && now < request.deadline
                && request.machine.as_ref().is_some_and(|it| it.sends() < MAX_SENDS);
            let asks_on = matches!(&next, Next::Send(_));
            must!(asks_on || !could, "a trial is not free for its caller");
        }
        let request = &mut self.requests[at];
        let Some(machine) = &mut request.machine else { return Ok(()) };
        if matches!(next, Next::Send(_)) {
            return self.take(at, next, &snapshot, false);
        }
        if transient && replayable && self.rng.bool() && machine.repeat() {
            (request.begun_again, request.repeated) = (true, true);
            return self.decide(at, true);
        }
        self.take(at, next, &snapshot, false)
    }

    pub(super) fn free(&mut self, at: usize) {
        self.probe.take_if(|(of, _)| *of == at as u32);
        let request = &mut self.requests[at];
        request.stage = Stage::Free;
        request.machine = None;
        request.step += 1;
        request.number += 1;
    }

    // ---- checks of requests ----

    pub(super) fn check_send(
        &mut self,
        at: usize,
        credential: &Arc<Credential>,
        snapshot: &Snapshot,
        is_fresh: bool,
    ) -> Checked {
        let now = self.moment();
        let request = &self.requests[at];
        let sends = request.machine.as_ref().map_or(0, AttemptMachine::sends);
        self.oracle.check_send(credential, sends)?;
        let is_premature = |(rejected, sent, at): &(Arc<Credential>, u64, u64)| {
            rejected == credential
                && now.boot < at + PAUSE
                && !self.oracle.was_accepted_since(credential.id(), *sent)
        };
        must!(
            request.begun_again
                || self.oracle.may_disagree()
                || !request.rejected.iter().any(is_premature),
            "invariant 8: {} is repeated without a pause, news of it, or replicas that disagree",
            credential.id()
        );
        must!(request.replayable || sends == 1, "a body that cannot be replayed is sent again");
        must!(now.boot < request.deadline || sends == 1, "a request is sent after its deadline");
        let is_candidate = snapshot.candidate() == Some(&**credential);
        if is_fresh && sends == 1 && is_candidate {
            must!(request.replayable, "a body that cannot be replayed probes");
            self.oracle.check_probe(now)?;
            must!(
                self.probe.is_none_or(|(_, until)| until <= now.boot),
                "two requests carry the candidate at once"
            );
            self.probe = Some((at as u32, now.boot + PROBE_TIMEOUT));
        }
        Ok(())
    }

    pub(super) fn check_end(&self, at: usize, failed: bool, snapshot: &Snapshot) -> Checked {
        let request = &self.requests[at];
        let in_vain = failed || request.last == Verdict::Rejected;
        let is_excused = !request.replayable
            || request.hopeless
            || snapshot.is_exhausted()
            // A send that an API's other trouble took is missing here.
            || (request.repeated && request.machine.as_ref().is_some_and(|it| it.sends() == 4))
            || self.moment().boot >= request.deadline;
        if !in_vain || is_excused {
            return Ok(());
        }
        let good = request
            .steady
            .iter()
            .find(|key| self.world.accepted_throughout(**key, request.began, self.now));
        must!(
            good.is_none(),
            "invariant 9: request {at} ended in a rejection, and {} was good all along",
            good.map_or("", |key| &self.world.keys[*key].id)
        );
        Ok(())
    }

    /// Invariant 14: while all is well, no answer that was given before keeps requests from getting through.
    pub(super) fn check_way_back(&mut self) -> Checked {
        let now = self.now;
        if !self.world.is_well(self.now) {
            self.in_vain = None;
        }
        let Some((since, count)) = self.in_vain else { return Ok(()) };
        must!(
            now < since + LOCKED_OUT || count < 30,
            "invariant 14: {count} requests in a row, since {} ms, ended in vain",
            now - since
        );
        Ok(())
    }

    pub(super) fn count_vain(&mut self, at: usize, failed: bool) {
        let (request, now) = (&self.requests[at], self.now);
        match request.last {
            Verdict::Accepted => self.in_vain = None,
            Verdict::Rejected if request.hopeless => {}
            Verdict::Rejected => self.in_vain.get_or_insert((now, 0)).1 += 1,
            _ if failed => self.in_vain.get_or_insert((now, 0)).1 += 1,
            _ => {}
        }
    }

    /// The keys that are surely usable now.
    pub(super) fn steady(&self) -> Vec<usize> {
        self.oracle.surely_usable().filter_map(|key| self.world.key_of(key)).collect()
    }

    pub(super) fn keep_steady(&mut self) {
        let steady = self.steady();
        for request in &mut self.requests {
            request.steady.retain(|key| steady.contains(key));
        }
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "request accepted",
        Verdict::Rejected => "request rejected",
        _ => "request answered otherwise",
    }
}
