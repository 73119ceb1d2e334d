//! The engine among threads: every order in which a swap, reports, waits and fetches may fall, by
//! shuttle's scheduler. The simulation takes inputs one after another; this puts them between each other.
//!
//! The rotation, the courses and the probe slot are the real ones. The driver, the store and the client
//! are modelled step for step (`interleavings/actors.rs`), because what is to be proven is the order of
//! their steps. Between any two of them, shuttle may let any other thread run. Memory is sequentially
//! consistent here; why weaker orderings are enough is said beside them in the crate.
//!
//! In every schedule: no request ends in a rejection, because the provider always accepts a credential of
//! its newest set; one fetch is live at most; each generation is fetched once; one request at a time
//! probes; evidence that left before a swap changes nothing; every waiter is settled; and in the end the
//! newest set is published, with a credential in use that is accepted.
//!
//! A schedule that fails is printed. All its lines, with the name of its test, replay it:
//!
//! ```text
//! KEYSWAP_SCHEDULE='9103...' cargo test -p keyswap --test interleavings -- --exact a_cut
//! ```
//!
//! `KEYSWAP_SCHEDULES=n` tries n times as many; `SHUTTLE_RANDOM_SEED` tries others.
#![allow(clippy::expect_used, clippy::print_stderr)]
#![allow(clippy::large_enum_variant, reason = "made once a fetch")]

#[path = "interleavings/actors.rs"]
mod actors;
#[path = "interleavings/clock.rs"]
mod clock;
#[path = "interleavings/world.rs"]
mod world;

use shuttle::{
    Config, Runner,
    scheduler::{DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler},
};

use world::Act;

/// What the provider does while three callers make two requests each, and one more drops its request on
/// the way.
#[derive(Clone, Copy, Debug)]
struct Story {
    script: &'static [Act],
    /// Whether the first set is there before the callers are.
    is_warm: bool,
    /// Whether the provider tells of what it did.
    is_with_hints: bool,
    /// Nothing but a driver, its first fetch and one caller that waits for it.
    is_smallest: bool,
    fault: Option<Fault>,
}

/// A rule that is broken on purpose, to see that a schedule shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    SettleBeforePublish,
    NumberBeforeSnapshot,
    NumberAfterSend,
    WaiterAfterSettle,
    SlotIsAlwaysOpen,
    FetchWithoutCondition,
}

const STORY: Story =
    Story { script: &[], is_warm: true, is_with_hints: false, is_smallest: false, fault: None };
const SMALLEST: Story = Story { is_warm: false, is_smallest: true, ..STORY };

// ---- every rule whole ----

#[test]
fn the_first_set() {
    explore(Story { is_warm: false, script: &[Act::RotateWithGrace], ..STORY });
}

#[test]
fn a_cut() {
    explore(Story { script: &[Act::RotateAtOnce], ..STORY });
}

#[test]
fn two_cuts() {
    explore(Story { script: &[Act::RotateAtOnce, Act::RotateAtOnce], ..STORY });
}

#[test]
fn a_grace_that_is_cut_short() {
    let script = &[Act::RotateWithGrace, Act::Cut];
    explore(Story { script, is_with_hints: true, ..STORY });
}

#[test]
fn a_key_that_arrives_late() {
    let script = &[Act::RotateWithLag, Act::Arrive, Act::Cut];
    explore(Story { script, is_with_hints: true, ..STORY });
}

#[test]
fn a_revocation() {
    let script = &[Act::RotateWithGrace, Act::Revoke];
    explore(Story { script, is_with_hints: true, ..STORY });
}

#[test]
fn every_schedule_of_the_smallest_case() {
    let schedules = search(DfsScheduler::new(None, false), SMALLEST);
    eprintln!("{schedules} schedules: all there are");
}

// ---- one rule broken: a schedule must show it ----

#[test]
#[should_panic(expected = "a request failed")]
fn settling_before_publishing_is_seen() {
    explore(Story { is_warm: false, fault: Some(Fault::SettleBeforePublish), ..STORY });
}

#[test]
#[should_panic(expected = "fresh evidence of k2 was ignored")]
fn a_number_from_before_the_snapshot_is_seen() {
    let script = &[Act::RotateWithGrace];
    let fault = Some(Fault::NumberBeforeSnapshot);
    explore(Story { script, is_with_hints: true, fault, ..STORY });
}

#[test]
#[should_panic(expected = "stale evidence")]
fn a_number_from_after_the_send_is_seen() {
    let script = &[Act::RotateWithLag, Act::Arrive, Act::Cut];
    let fault = Some(Fault::NumberAfterSend);
    explore(Story { script, is_with_hints: true, fault, ..STORY });
}

#[test]
#[should_panic(expected = "a request failed")]
fn some_schedule_of_the_smallest_case_settles_too_early() {
    let fault = Some(Fault::SettleBeforePublish);
    search(DfsScheduler::new(None, false), Story { fault, ..SMALLEST });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_waiter_that_comes_after_the_settling_is_seen() {
    let fault = Some(Fault::WaiterAfterSettle);
    search(DfsScheduler::new(None, false), Story { fault, ..SMALLEST });
}

#[test]
#[should_panic(expected = "probe k2 at once")]
fn a_slot_that_never_excludes_is_seen() {
    let script = &[Act::RotateWithGrace];
    let fault = Some(Fault::SlotIsAlwaysOpen);
    explore(Story { script, is_with_hints: true, fault, ..STORY });
}

#[test]
#[should_panic(expected = "was fetched twice")]
fn a_fetch_without_a_condition_is_seen() {
    explore(Story {
        script: &[Act::RotateAtOnce],
        fault: Some(Fault::FetchWithoutCondition),
        ..STORY
    });
}

// ---- how ----

/// Tries a story in many schedules: at random, and by priorities that change rarely, which finds what
/// needs one thread to be slow for long.
fn explore(story: Story) {
    let schedules = 1_500 * times();
    search(RandomScheduler::new_from_seed(1, schedules), story);
    search(PctScheduler::new_from_seed(1, 3, schedules / 2), story);
}

fn search(scheduler: impl Scheduler + 'static, story: Story) -> usize {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.silence_warnings = true;
    match std::env::var("KEYSWAP_SCHEDULE") {
        Ok(schedule) => {
            let scheduler = ReplayScheduler::new_from_encoded(&schedule);
            Runner::new(scheduler, config).run(move || actors::run(story))
        }
        Err(_) => Runner::new(scheduler, config).run(move || actors::run(story)),
    }
}

fn times() -> usize {
    let times = std::env::var("KEYSWAP_SCHEDULES").ok();
    times.and_then(|times| times.parse().ok()).unwrap_or(1)
}
