//! A request that was signed with the wrong time.

use super::*;

const SKEWED: Verdict = Verdict::Skewed { server_time: None };

#[test]
fn it_is_signed_once_more_with_the_same_key() {
    let state = state(&["k2", "k1"]);
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&state), "k2");
    assert_eq!(request.judged(&state, SKEWED), "k2", "at once, and no other key");
    assert_eq!(request.judged(&state, SKEWED), "return", "once");
    assert_eq!(request.machine.sends(), 2);
}

#[test]
fn after_that_a_rejection_is_one() {
    let state = state(&["k2", "k1"]);
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&state), "k2");
    assert_eq!(request.judged(&state, SKEWED), "k2");
    assert_eq!(request.rejected(&proven(&["k1", "k2"], 50)), "k1");
    assert_eq!(request.judged(&state, SKEWED), "return", "the clock was corrected once");
}

#[test]
fn what_cannot_be_sent_again_is_not() {
    let state = state(&["k2"]);
    let mut once = Request::new(false);
    assert_eq!(once.proceed(&state), "k2");
    assert_eq!(once.judged(&state, SKEWED), "return");
    let mut late = Request::until(true, Some(NOW + 10));
    assert_eq!(late.proceed(&state), "k2");
    late.now += 10;
    assert_eq!(late.judged(&state, SKEWED), "return");
}

#[test]
fn a_trial_goes_on_and_is_not_taken_for_one_that_failed() {
    let state = probing(&["k1"], "k2", NOW);
    let mut request = Request::new(true);
    assert_eq!(request.proceed(&state), "k2");
    assert_eq!(request.answered(&state, SKEWED, true), "k2");
    assert!(request.machine.is_probing());
    assert_eq!(
        request.answered(&state, SKEWED, true),
        "return",
        "no third send with no better time"
    );
}
