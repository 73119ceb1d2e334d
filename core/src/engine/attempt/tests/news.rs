//! What a request makes of what others learn after it was rejected.

use super::*;

#[test]
fn within_the_window_it_repeats_what_was_rejected_last_after_a_pause() {
    let disagreeing = Snapshot { window_until: NOW + 60_000, ..state(&["k2", "k1"]) };
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&disagreeing), "k2");
    assert_eq!(request.rejected(&disagreeing), "k1");
    assert_eq!(request.rejected(&disagreeing), "wait 9000");
    assert_eq!(request.proceed(&disagreeing), "wait 9000", "the fetch has not ended");
    let rest = request.settled(&disagreeing);
    request.rest(&rest);
    assert_eq!(request.proceed(&disagreeing), "k1", "k2 would meet the wrong replica again");
    let left = NOW + 9_000 - request.now;
    assert_eq!(request.rejected(&disagreeing), format!("wait {left}"));
    assert_eq!(request.settled(&disagreeing), "return");
    let settled = state(&["k1"]);
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&settled), "k1");
    assert_eq!(request.rejected(&settled), "wait 9000");
    assert_eq!(request.settled(&settled), "return", "outside the window there is no repeat");
    // The API may be about to learn a key that it never accepted.
    let new = Snapshot { window_until: NOW + 60_000, ..new(&["k2", "k1"]) };
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&new), "k2");
    assert_eq!(request.rejected(&new), "k1");
    assert_eq!(request.rejected(&new), "wait 9000");
    let rest = request.settled(&new);
    request.rest(&rest);
    assert_eq!(request.proceed(&new), "k2");
}

#[test]
fn what_is_not_proven_is_tried_by_one_request_and_the_others_learn() {
    let before = Snapshot { suspect: true, window_until: NOW + 60_000, ..state(&["k1"]) };
    let new = Snapshot { suspect: true, window_until: NOW + 60_000, ..new(&["k2"]) };
    let (mut first, mut second) = (Request::new(true), Request::new(true));
    for request in [&mut first, &mut second] {
        assert_eq!(request.proceed(&before), "k1");
        assert_eq!(request.rejected(&before), "wait 9000");
    }
    assert_eq!(first.settled(&new), "k2");
    assert_eq!(second.settled(&new), "rest 200", "one tries for both");
    assert_eq!(first.rejected(&new), "wait 9000");
    let rest = second.proceed(&new);
    second.rest(&rest);
    assert_eq!(second.proceed(&new), "k2", "its turn");
    first.now = second.now;
    assert_eq!(first.settled(&new), "rest 200");
    assert_eq!(second.judged(&new, Verdict::Accepted), "return");
    first.sent = 200;
    let learnt = Snapshot { suspect: true, ..proven(&["k2"], 150) };
    assert_eq!(first.proceed(&learnt), "k2", "the news is used at once");
    let mut third = Request::new(true);
    assert_eq!(third.proceed(&before), "k1");
    assert_eq!(third.rejected(&before), "wait 9000");
    assert_eq!(third.proceed(&learnt), "k2", "what is proven needs no slot");
}

#[test]
fn an_acceptance_before_its_own_rejection_is_no_news() {
    let before = Snapshot { suspect: true, ..state(&["k1"]) };
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&before), "k1");
    assert_eq!(request.rejected(&before), "wait 9000");
    let old = Snapshot { suspect: true, ..proven(&["k1"], 101) };
    assert_eq!(request.settled(&old), "wait 9000");
    let newer = Snapshot { suspect: true, ..proven(&["k1"], 102) };
    assert_eq!(request.proceed(&newer), "k1");
}

#[test]
fn the_last_send_is_spent_before_the_wait_ends() {
    let new = Snapshot { suspect: true, window_until: NOW + 60_000, ..new(&["k2", "k1"]) };
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&new), "k2");
    assert_eq!(request.rejected(&new), "k1");
    assert_eq!(request.rejected(&new), "wait 9000");
    let rest = request.settled(&new);
    request.rest(&rest);
    assert_eq!(request.proceed(&new), "k2");
    request.rejected(&new);
    assert_eq!(request.settled(&new), format!("wait {}", NOW + 9_000 - request.now));
    request.now = NOW + 9_000;
    assert_eq!(request.settled(&new), "k2");
    // Where replicas disagree, it is kept although no fetch can help.
    let wavering = Snapshot { wavers: true, window_until: NOW + 60_000, ..state(&["k1"]) };
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&wavering), "k1");
    request.rejected(&wavering);
    let rest = request.settled(&wavering);
    request.rest(&rest);
    assert_eq!(request.proceed(&wavering), "k1");
    request.rejected(&wavering);
    assert_eq!(request.settled(&wavering), format!("rest {}", NOW + 9_000 - request.now));
    request.now = NOW + 9_000;
    assert_eq!(request.proceed(&wavering), "k1");
}

#[test]
fn a_route_that_rejects_what_works_has_its_answer() {
    let suspect = Snapshot { suspect: true, window_until: NOW + 60_000, ..state(&["k1"]) };
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&suspect), "k1");
    assert_eq!(request.rejected(&suspect), "wait 9000");
    let works = Snapshot { window_until: NOW + 60_000, ..proven(&["k1"], 150) };
    assert_eq!(request.proceed(&works), "k1");
    request.sent = 200;
    assert_eq!(request.rejected(&works), "wait 9000");
    let works = Snapshot { suspect: true, window_until: NOW + 60_000, ..proven(&["k1"], 250) };
    let rest = request.settled(&works);
    request.rest(&rest);
    assert_eq!(request.settled(&works), "return", "it was not told that replicas disagree");
}

#[test]
fn the_last_send_is_not_spent_on_one_acceptance() {
    let rotating = |state| Snapshot { window_until: NOW + 60_000, ..state };
    let mut request = Request::new(true);
    let fresh = rotating(new(&["k2"]));
    assert_eq!(request.proceed(&fresh), "k2");
    request.rejected(&fresh);
    let works = |sent| rotating(Snapshot { wavers: true, ..proven(&["k2"], sent) });
    assert_eq!(request.proceed(&works(150)), "k2");
    request.sent = 199;
    request.rejected(&works(150));
    assert_eq!(request.proceed(&works(250)), "k2", "there is a send to spare");
    request.sent = 299;
    assert_eq!(request.rejected(&works(250)), "wait 9000");
    assert_eq!(request.proceed(&works(350)), "rest 400", "it may be that of one replica");
    request.now += 400;
    let disagree = |is_steady| {
        let mut state = Snapshot { disagree: true, ..works(350) };
        state.usable[0].is_steady = is_steady;
        state
    };
    assert_eq!(request.proceed(&disagree(false)), "wait 8600", "it was that of one replica");
    assert_eq!(request.proceed(&disagree(true)), "rest 400", "it is learnt anew");
    request.now += 400;
    assert_eq!(request.proceed(&disagree(true)), "k2");
}
