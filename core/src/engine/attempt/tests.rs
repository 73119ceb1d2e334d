//! What one request does, send by send, against snapshots made by hand.

use super::*;
use crate::engine::snapshot::Candidate;

const NOW: u64 = 1_000_000;

fn key(id: &str) -> Arc<Credential> {
    Arc::new(Credential::new(id, format!("material of {id}")))
}

/// A state in which these are usable; the first one is in use.
fn state(usable: &[&str]) -> Snapshot {
    let usable: Vec<_> = usable.iter().map(|id| key(id)).collect();
    let nothing = Snapshot::nothing(Error::new(ErrorKind::Expired, "all have ended"));
    let in_use = usable.first().cloned();
    let cause = nothing.cause.clone().filter(|_| in_use.is_none());
    Snapshot { in_use, usable, cause, ..nothing }
}

fn probing(usable: &[&str], candidate: &str, opens: u64) -> Snapshot {
    let slot = Arc::new(ProbeSlot::open_from(opens));
    Snapshot { candidate: Some(Candidate { credential: key(candidate), slot }), ..state(usable) }
}

struct Request {
    course: Course,
    now: u64,
    policy: Policy,
}

impl Request {
    fn new(replayable: bool) -> Self {
        Self::until(replayable, None)
    }

    fn until(replayable: bool, deadline: Option<u64>) -> Self {
        let policy = Policy::default();
        Self { course: Course::new(replayable, NOW, deadline, &policy), now: NOW, policy }
    }

    fn proceed(&mut self, snapshot: &Snapshot) -> String {
        let next = self.course.proceed(self.now, snapshot, None, &self.policy);
        self.say(next)
    }

    fn judged(&mut self, snapshot: &Snapshot, verdict: Verdict) -> String {
        let next = self.course.judged(self.now, snapshot, verdict, &self.policy);
        self.say(next)
    }

    fn rejected(&mut self, snapshot: &Snapshot) -> String {
        self.judged(snapshot, Verdict::Rejected)
    }

    fn say(&self, next: Next) -> String {
        match next {
            Next::Send(credential) => credential.id().to_owned(),
            Next::Wait(until) => format!("wait {}", until - self.now),
            Next::Pause(pause) => {
                assert!((100..=300).contains(&pause.as_millis()), "{pause:?}");
                "pause".to_owned()
            }
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
    assert_eq!(request.course.sends(), 1);
}

#[test]
fn a_rejected_one_tries_the_others_then_waits_then_what_is_new() {
    let before = Snapshot { suspect: true, ..state(&["k3", "k2", "k1"]) };
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&before), "k3");
    assert_eq!(request.rejected(&before), "k2");
    assert_eq!(request.rejected(&before), "k1");
    assert_eq!(request.rejected(&before), "wait 10000");
    assert_eq!(request.proceed(&before), "wait 10000", "the last send is kept for what is new");
    assert_eq!(request.proceed(&state(&["k4", "k3"])), "k4");
    assert_eq!(request.rejected(&before), "return", "four sends");
}

#[test]
fn within_the_window_it_repeats_once_after_a_pause() {
    let disagreeing = Snapshot { window_until: NOW + 60_000, ..state(&["k1"]) };
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&disagreeing), "k1");
    assert_eq!(request.rejected(&disagreeing), "wait 10000");
    assert_eq!(request.proceed(&disagreeing), "pause");
    assert_eq!(request.proceed(&disagreeing), "k1");
    assert_eq!(request.rejected(&disagreeing), "return");
    let settled = state(&["k1"]);
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&settled), "k1");
    assert_eq!(request.rejected(&settled), "wait 10000");
    assert_eq!(request.proceed(&settled), "return", "outside the window there is no repeat");
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
    assert_eq!(
        request.rejected(&state),
        "wait 1900",
        "0.1 s before its caller's own timer strikes"
    );
    request.now += 1_900;
    assert_eq!(request.proceed(&state), "return");
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
    assert_eq!(request.proceed(&nothing), "expired");
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&nothing), "wait 10000");
    assert_eq!(request.proceed(&state(&["k1"])), "k1");
}

#[test]
fn shortly_before_the_end_it_waits_a_second_for_the_running_fetch() {
    let hard = Snapshot { hard: true, ..state(&["k1"]) };
    let began = |request: &mut Request, began| {
        let next = request.course.proceed(request.now, &hard, began, &request.policy);
        request.say(next)
    };
    assert_eq!(began(&mut Request::new(true), None), "k1", "none runs");
    assert_eq!(began(&mut Request::new(true), Some(NOW - 1_000)), "k1", "it runs for long");
    let mut request = Request::new(true);
    assert_eq!(began(&mut request, Some(NOW - 400)), "wait 600");
    assert_eq!(began(&mut request, Some(NOW)), "k1", "once");
    let mut request = Request::new(true);
    assert_eq!(began(&mut request, Some(NOW)), "wait 1000");
    assert_eq!(request.proceed(&state(&[])), "wait 10000", "it ended meanwhile");
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
    assert!(request.course.repeat());
    assert_eq!(request.proceed(&state), "k1");
    assert_eq!(request.judged(&state, Verdict::Other), "return");
    assert!(request.course.repeat());
    let probing = probing(&["k1", "k2"], "k2", 0);
    assert_eq!(request.proceed(&probing), "k1", "what was rejected is no probe either");
    assert_eq!(request.judged(&state, Verdict::Other), "return");
    assert!(!request.course.repeat(), "four sends");
}

#[test]
fn a_first_send_that_somebody_else_made_counts() {
    let state = state(&["k2", "k1"]);
    let policy = Policy::default();
    let course = Course::new(true, NOW, None, &policy).sent(key("k2"));
    let mut request = Request { course, now: NOW, policy };
    assert_eq!(request.rejected(&state), "k1");
    assert_eq!(request.course.sends(), 2);
}
