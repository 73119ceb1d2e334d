//! The engine against a model of a provider, for as many lives as there is time for. After every step,
//! what must be true is checked by code that shares nothing with the engine.
//!
//! `KEYSWAP_SIM_STEPS` sets how many steps; `KEYSWAP_SIM_SEED` replays one life and prints what happens.
#![allow(clippy::print_stderr, clippy::expect_used, clippy::disallowed_methods)]
#![allow(clippy::neg_cmp_op_on_partial_ord, reason = "a token count that is NaN must fail, too")]
#![allow(clippy::large_enum_variant, reason = "made once a fetch")]

#[path = "simulation/life.rs"]
mod life;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/reports.rs"]
mod reports;
#[path = "simulation/world.rs"]
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use keyswap::Event;
use life::Life;

/// The steps of one life, and of all when nobody says how many.
const LIFE: u64 = 4_000;
const STEPS: u64 = 400_000;

/// Events that the engine does not tell.
const FOREIGN: &[&str] = &["push_lost", "lagged"];

/// Lives that once went wrong.
const SAVED: &str = include_str!("simulation/seeds.txt");

#[test]
fn lives_that_once_went_wrong_go_well() {
    let seeds = SAVED.lines().filter_map(|line| line.split_whitespace().next());
    for seed in seeds.filter(|seed| !seed.starts_with('#')) {
        live(seed.parse().expect("a seed"), false);
    }
}

#[test]
fn the_invariants_hold_in_random_lives() {
    if let Some(seed) = number("KEYSWAP_SIM_SEED") {
        live(seed, true);
        return;
    }
    let wanted = number("KEYSWAP_SIM_STEPS").unwrap_or(STEPS);
    let began = Instant::now();
    let (mut steps, mut decisions, mut lives, mut time) = (0, 0, 0, 0);
    let mut seen = BTreeMap::new();
    while steps + decisions < wanted {
        let life = live(lives, false);
        steps += life.steps;
        decisions += life.decisions;
        time += life.now() / 3_600_000;
        lives += 1;
        for (name, count) in life.seen {
            *seen.entry(name).or_insert(0) += count;
        }
    }
    eprintln!("{seen:?}");
    eprintln!(
        "{} steps ({steps} of rotations, {decisions} of requests) in {lives} lives of {time} hours: {:.1} s",
        steps + decisions,
        began.elapsed().as_secs_f64()
    );
    // A simulation in which little happens proves little.
    let told = Event::NAMES.iter().filter(|name| !FOREIGN.contains(name));
    for name in told.chain(&["reported"]) {
        assert!(seen.get(name).is_some_and(|count| *count > 10), "{name} hardly ever happens");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn live(seed: u64, trace: bool) -> Life {
    let mut life = Life::new(seed, trace);
    let outcome = catch_unwind(AssertUnwindSafe(|| life.run(LIFE)));
    let what = match outcome {
        Ok(Ok(())) => return life,
        Ok(Err(what)) => what,
        Err(_) => "the engine panicked".to_owned(),
    };
    panic!(
        "{what}, in the life of seed {seed} after {} ms. Replay it:\n  KEYSWAP_SIM_SEED={seed} cargo test -p keyswap --test simulation -- --nocapture random",
        life.now()
    );
}
