//! What one request does, send by send, against snapshots made by hand.

use super::*;
use crate::{
    credential::CredentialSet,
    engine::snapshot::{Candidate, ProbeSlot, Usable},
};

mod clock;
mod news;

const NOW: u64 = 1_000_000;

fn key(id: &str) -> Arc<Credential> {
    Arc::new(Credential::new(id, format!("material of {id}")))
}

/// A state in which these are usable; the first one is in use. All were accepted at some time, and none
/// is proven by evidence.
fn state(usable: &[&str]) -> Snapshot {
    let known =
        |id: &&str| Usable { credential: key(id), proof: None, is_known: true, is_steady: false };
    let usable: Vec<_> = usable.iter().map(known).collect();
    let nothing = Snapshot::nothing(Error::new(ErrorKind::Expired, "all have ended"));
    let in_use = usable.first().map(|usable| usable.credential.clone());
    let cause = nothing.cause.clone().filter(|_| in_use.is_none());
    Snapshot { in_use, usable, cause, ..nothing }
}

/// The same, but the first one was never accepted.
fn new(usable: &[&str]) -> Snapshot {
    let mut state = state(usable);
    state.usable[0].is_known = false;
    state
}

/// The same, and a send of this number proved the first one.
fn proven(usable: &[&str], sent: u64) -> Snapshot {
    let mut state = state(usable);
    state.usable[0].proof = Some(sent);
    state
}

fn probing(usable: &[&str], candidate: &str, opens: u64) -> Snapshot {
    let slot = Arc::new(ProbeSlot::open_from(opens));
    Snapshot { candidate: Some(Candidate { credential: key(candidate), slot }), ..state(usable) }
}

struct Request {
    machine: AttemptMachine,
    now: u64,
    policy: Policy,
    /// The number of its last send.
    sent: u64,
}

impl Request {
    fn new(replayable: bool) -> Self {
        Self::until(replayable, None)
    }

    fn until(replayable: bool, deadline: Option<u64>) -> Self {
        let policy = Policy::default();
        Self {
            machine: AttemptMachine::new(replayable, NOW, deadline, &policy),
            now: NOW,
            policy,
            sent: 100,
        }
    }

    fn requiring(scopes: &[&str]) -> Self {
        let mut request = Self::new(true);
        let scopes: Vec<_> = scopes.iter().map(|scope| Box::from(*scope)).collect();
        request.machine.require(&scopes);
        request
    }

    fn proceed(&mut self, snapshot: &Snapshot) -> String {
        let next = self.machine.proceed(self.now, snapshot, None, &self.policy);
        self.say(next)
    }

    fn judged(&mut self, snapshot: &Snapshot, verdict: Verdict) -> String {
        self.answered(snapshot, verdict, false)
    }

    fn answered(&mut self, snapshot: &Snapshot, verdict: Verdict, repeatable: bool) -> String {
        self.sent += 1;
        let outcome = Outcome { verdict, sent: self.sent, repeatable };
        let next = self.machine.judged(self.now, snapshot, outcome, &self.policy);
        self.say(next)
    }

    /// The fetch that it waited for has ended.
    fn settled(&mut self, snapshot: &Snapshot) -> String {
        self.machine.settled();
        self.proceed(snapshot)
    }

    fn unfit(&mut self, snapshot: &Snapshot) -> String {
        let why = Error::new(ErrorKind::SchemeFailed, "it does not fit");
        let next = self.machine.unfit(self.now, snapshot, why, &self.policy);
        self.say(next)
    }

    /// Rests as it wants to, which is as long as a pause.
    fn rest(&mut self, said: &str) {
        let wait: u64 = said.strip_prefix("rest ").expect(said).parse().expect(said);
        assert!((100..=300).contains(&wait), "a pause of {wait} ms");
        self.now += wait;
    }

    fn rejected(&mut self, snapshot: &Snapshot) -> String {
        self.judged(snapshot, Verdict::Rejected)
    }

    fn say(&self, next: Next) -> String {
        match next {
            Next::Send(credential) => credential.id().to_owned(),
            Next::Wait(until) => format!("wait {}", until - self.now),
            Next::Rest(until) => format!("rest {}", until - self.now),
            Next::Return => "return".to_owned(),
            Next::Fail(error) => error.code().to_owned(),
        }
    }
}

#[test]
fn an_accepted_request_is_sent_once() {
    let state = state(&["k2", "k1"]);
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&state), "k2");
    assert_eq!(request.judged(&state, Verdict::Accepted), "return");
    assert_eq!(request.machine.sends(), 1);
}

#[test]
fn a_rejected_one_tries_the_others_then_waits_then_what_is_new() {
    let before = Snapshot { suspect: true, ..state(&["k3", "k2", "k1"]) };
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&before), "k3");
    assert_eq!(request.rejected(&before), "k2");
    assert_eq!(request.rejected(&before), "k1");
    assert_eq!(request.rejected(&before), "wait 9000");
    assert_eq!(request.settled(&before), "wait 9000", "the last send is kept for what is new");
    assert_eq!(request.proceed(&state(&["k4", "k3"])), "k4");
    assert_eq!(request.rejected(&before), "return", "four sends");
}

#[test]
fn a_trial_is_free() {
    let state = probing(&["k1", "k2"], "k2", NOW);
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&state), "k2");
    assert!(request.machine.is_probing());
    assert_eq!(request.answered(&state, Verdict::Other, true), "k1");
    assert!(!request.machine.is_probing());
    assert_eq!(request.answered(&state, Verdict::Other, true), "return", "no trial any more");
    let mut request = Request::new(true);
    request.now += 1_000;
    assert_eq!(request.proceed(&state), "k2");
    assert_eq!(request.answered(&state, Verdict::Other, false), "return", "it may have been done");
    let mut request = Request::new(true);
    request.now += 2_000;
    assert_eq!(request.proceed(&state), "k2");
    assert_eq!(request.answered(&state, Verdict::Throttled, true), "k1");
    assert_eq!(request.rejected(&state), "k2", "it was not rejected");
}

#[test]
fn what_cannot_be_put_on_a_request_costs_no_send() {
    let state = state(&["k2", "k1"]);
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&state), "k2");
    assert_eq!(request.unfit(&state), "k1");
    assert_eq!(request.machine.sends(), 1);
    assert_eq!(request.judged(&state, Verdict::Accepted), "return");
    let mut request = Request::new(false);
    assert_eq!(request.proceed(&state), "k2");
    assert_eq!(request.unfit(&state), "k1", "nothing of its body was used");
    assert_eq!(
        request.unfit(&state),
        "wait 10000",
        "the fetch that is under way may bring another"
    );
    request.machine.settled();
    assert_eq!(request.proceed(&state), "scheme_failed");
    // After an answer of the API, that is the answer.
    let suspect = Snapshot { suspect: true, ..state };
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&suspect), "k2");
    assert_eq!(request.rejected(&suspect), "k1");
    assert_eq!(request.unfit(&suspect), "wait 9000");
    assert_eq!(request.proceed(&proven(&["k3", "k2"], 1)), "k3");
    // A trial of such a candidate costs nothing at all.
    let probing = probing(&["k1", "k2"], "k2", NOW);
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&probing), "k2");
    assert_eq!(request.unfit(&probing), "k1");
    assert!(!request.machine.is_probing());
    let mut other = Request::new(true);
    other.now += 999;
    assert_eq!(other.proceed(&probing), "k1", "and it rests as after a rejection");
}

fn scoped(id: &str, scopes: &[&str]) -> Usable {
    let credential = Credential::new(id, format!("material of {id}")).with_scopes(scopes);
    Usable { credential: Arc::new(credential), proof: Some(0), is_known: true, is_steady: false }
}

#[test]
fn only_what_has_the_scopes_is_sent() {
    let both = [scoped("k1", &["read", "write"]), scoped("k2", &["read"])];
    let slot = Arc::new(ProbeSlot::open_from(0));
    let candidate = Some(Candidate { credential: both[1].credential.clone(), slot });
    let of = |usable: &[Usable]| Snapshot {
        in_use: usable.first().map(|one| one.credential.clone()),
        usable: usable.to_vec(),
        candidate: candidate.clone(),
        ..state(&[])
    };
    let mut reading = Request::requiring(&["read"]);
    assert_eq!(reading.proceed(&of(&both)), "k2", "a probe");
    drop(reading);
    let mut writing = Request::requiring(&["write"]);
    writing.now += 1_000;
    assert_eq!(writing.proceed(&of(&both)), "k1", "no probe");
    assert_eq!(writing.rejected(&of(&both)), "wait 8000");
    assert_eq!(writing.settled(&of(&both)), "return");
    assert_eq!(writing.settled(&of(&both[1..])), "missing_scope", "not with a set that lacks it");
    let mut writing = Request::requiring(&["write"]);
    assert_eq!(writing.proceed(&of(&both[1..])), "missing_scope");
    let mut cold = Request::requiring(&["write"]);
    let revoked = Error::new(ErrorKind::SetRevoked, "revoked");
    let revoked = Snapshot { cause: Some(revoked), ..state(&[]) };
    assert_eq!(cold.proceed(&revoked), "wait 10000");
    assert_eq!(cold.settled(&revoked), "set_revoked");
    let mut cold = Request::requiring(&["write"]);
    assert_eq!(cold.proceed(&state(&[])), "wait 10000");
    assert_eq!(cold.proceed(&of(&both)), "k1");
    // The set's own scopes are those of a credential that names none.
    let set = CredentialSet::new(Credential::new("k3", "m")).with_scopes(["write"]);
    let set = Snapshot { set: Some(Arc::new(set)), ..state(&["k3"]) };
    assert_eq!(Request::requiring(&["write"]).proceed(&set), "k3");
}

#[test]
fn while_exhausted_a_request_is_sent_once() {
    let exhausted = Snapshot { exhausted: true, ..state(&["k2", "k1"]) };
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&exhausted), "k2");
    assert_eq!(request.rejected(&exhausted), "return");
}

#[test]
fn what_cannot_be_replayed_waits_for_the_episode_and_is_sent_once() {
    let suspect = Snapshot { suspect: true, ..probing(&["k2", "k1"], "k1", 0) };
    let mut request = Request::new(false);
    assert_eq!(request.proceed(&suspect), "wait 10000");
    request.now += 10_000;
    assert_eq!(request.proceed(&suspect), "k2", "and never probes");
    assert_eq!(request.rejected(&suspect), "return");
}

#[test]
fn a_deadline_bounds_waits_and_sends() {
    let state = Snapshot { suspect: true, ..state(&["k2", "k1"]) };
    let mut request = Request::until(true, Some(NOW + 3_000));
    assert_eq!(request.proceed(&state), "k2");
    request.now += 1_000;
    assert_eq!(request.rejected(&state), "k1");
    // 0.1 s before its caller's own timer strikes it has to be over.
    assert_eq!(request.rejected(&state), "wait 1610");
    request.now += 1_610;
    assert_eq!(request.settled(&state), "k2", "while there is time for an answer");
    request.now += 290;
    assert_eq!(request.rejected(&state), "return");
    // A slow API does not take the fallback from a patient caller.
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&state), "k2");
    request.now += 15_000;
    assert_eq!(request.rejected(&state), "k1");
    assert_eq!(request.rejected(&state), "return", "but there is no more waiting");
}

#[test]
fn with_nothing_usable_it_waits_once_and_fails_with_the_cause() {
    let nothing = state(&[]);
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&nothing), "wait 10000");
    assert_eq!(request.proceed(&nothing), "wait 10000", "no fetch has ended yet");
    assert_eq!(request.settled(&nothing), "expired");
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&nothing), "wait 10000");
    assert_eq!(request.proceed(&state(&["k1"])), "k1");
}

#[test]
fn shortly_before_the_end_it_waits_a_second_for_the_running_fetch() {
    let hard = Snapshot { hard: true, ..state(&["k1"]) };
    let began = |request: &mut Request, began| {
        let next = request.machine.proceed(request.now, &hard, began, &request.policy);
        request.say(next)
    };
    assert_eq!(began(&mut Request::new(true), None), "k1", "none runs");
    assert_eq!(began(&mut Request::new(true), Some(NOW - 1_000)), "k1", "it runs for long");
    let mut request = Request::new(true);
    assert_eq!(began(&mut request, Some(NOW - 400)), "wait 600");
    assert_eq!(began(&mut request, Some(NOW)), "k1", "once");
    let mut request = Request::new(true);
    assert_eq!(began(&mut request, Some(NOW)), "wait 1000");
    assert_eq!(request.settled(&state(&[])), "wait 10000", "it ended meanwhile");
}

#[test]
fn one_request_at_a_time_carries_the_candidate() {
    let state = probing(&["k1", "k2"], "k2", NOW);
    let (mut first, mut second) = (Request::new(true), Request::new(true));
    assert_eq!(first.proceed(&state), "k2");
    assert_eq!(second.proceed(&state), "k1");
    assert_eq!(first.rejected(&state), "k1", "nobody notices");
    let mut early = Request::new(true);
    early.now += 999;
    assert_eq!(early.proceed(&state), "k1");
    let mut third = Request::new(true);
    third.now += 1_000;
    assert_eq!(third.proceed(&state), "k2");
    // An answer that says nothing opens the slot again after a second, a drop too.
    assert_eq!(third.judged(&state, Verdict::Other), "return");
    let mut fourth = Request::new(true);
    fourth.now = third.now + 1_000;
    assert_eq!(fourth.proceed(&state), "k2");
    let dropped_at = fourth.now;
    drop(fourth);
    let mut fifth = Request::new(true);
    fifth.now = dropped_at + 1_000;
    assert_eq!(fifth.proceed(&state), "k2");
    // A request that never ends holds it for five seconds.
    let mut sixth = Request::new(true);
    sixth.now = fifth.now + 4_999;
    assert_eq!(sixth.proceed(&state), "k1");
    let mut seventh = Request::new(true);
    seventh.now = fifth.now + 5_000;
    assert_eq!(seventh.proceed(&state), "k2");
}

#[test]
fn a_repeat_is_counted_and_does_not_begin_with_what_was_rejected() {
    let state = state(&["k2", "k1"]);
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&state), "k2");
    assert_eq!(request.rejected(&state), "k1");
    assert_eq!(request.judged(&state, Verdict::Other), "return");
    assert!(request.machine.repeat());
    assert_eq!(request.proceed(&state), "k1");
    assert_eq!(request.judged(&state, Verdict::Other), "return");
    assert!(request.machine.repeat());
    let probing = probing(&["k1", "k2"], "k2", 0);
    assert_eq!(request.proceed(&probing), "k1", "what was rejected is no probe either");
    assert_eq!(request.judged(&state, Verdict::Other), "return");
    assert!(!request.machine.repeat(), "four sends");
}

#[test]
fn a_first_send_that_somebody_else_made_counts() {
    let state = state(&["k2", "k1"]);
    let policy = Policy::default();
    let mut machine = AttemptMachine::new(true, NOW, None, &policy);
    machine.sent(key("k2"));
    let mut request = Request { machine, now: NOW, policy, sent: 0 };
    assert_eq!(request.rejected(&state), "k1");
    assert_eq!(request.machine.sends(), 2);
}
