//! Many clients at one endpoint, each the real rotation with a seed of its own, in virtual time. What is
//! measured is what the endpoint sees: fetch starts in each second.
//!
//! *Recovery* lasts from the end of an outage until every client has fetched successfully. Its peak second
//! must have at most three times its mean.
//!
//! `KEYSWAP_FLEET=1000000` makes the fleet that large (10,000 by default): with `--release`, and one test
//! at a time. With `KEYSWAP_PLOT` set, each test draws its curve and prints where it is.
#![allow(clippy::print_stderr, clippy::expect_used)]

#[path = "fleet/model.rs"]
mod model;
#[path = "fleet/plot.rs"]
mod plot;

use std::ops::Range;

use model::{Fleet, Outage, Wish};

/// Seconds after which every client has come up and polled, so that the fleet is in its stride.
const STRIDE: u64 = 660;
/// How long an outage lasts.
const OUTAGE: u64 = 300;

/// When an endpoint that has a wish wants to be asked again, in seconds.
const PERIOD: u64 = 300;
/// Splay of the sets, in seconds, where the endpoint has a wish or a hint.
const SPLAY: u64 = 60;

#[test]
fn polls_are_flat_and_recover_from_refusals() {
    let mut fleet = fleet(Wish::None);
    is_flat("polls", &mut fleet);
    recovers("polls, refused", fleet, Outage::Refused);
}

#[test]
fn polls_recover_from_silence() {
    recovers("polls, silent", fleet(Wish::None), Outage::Silent);
}

#[test]
fn polls_recover_from_retry_after() {
    recovers("polls, busy", fleet(Wish::None), Outage::Busy(30));
}

#[test]
fn polls_recover_from_a_retry_after_that_names_one_instant() {
    let until = Outage::BusyUntil(STRIDE + OUTAGE);
    recovers("polls, busy until an instant", fleet(Wish::None), until);
}

#[test]
fn wishes_are_flat_and_recover_from_refusals() {
    let mut fleet = fleet(Wish::After(PERIOD, SPLAY));
    is_flat("wishes", &mut fleet);
    recovers("wishes, refused", fleet, Outage::Refused);
}

#[test]
fn wishes_for_one_instant_are_spread_and_recover_from_refusals() {
    let mut fleet = fleet(Wish::AtInstants(PERIOD, SPLAY));
    let instant = STRIDE.next_multiple_of(PERIOD);
    fleet.run_until(instant + PERIOD);
    // In each period, the fleet comes within the splay and not after it.
    let all = load(&fleet, instant..instant + PERIOD);
    let spread = load(&fleet, instant..instant + SPLAY + 1);
    assert_eq!(spread.total, all.total, "somebody comes outside of the splay");
    check_flat("instants", &fleet, instant..instant + SPLAY);
    recovers("instants, refused", fleet, Outage::Refused);
}

#[test]
fn a_rotation_costs_each_client_one_fetch_and_a_hint_of_one_is_spread() {
    for (name, wish) in [("hint", Wish::None), ("hint and wish", Wish::After(PERIOD, SPLAY))] {
        let mut fleet = fleet(wish);
        fleet.rotate(false);
        fleet.run_until(STRIDE + 2 * PERIOD);
        assert!(
            fleet.changed().all(|changed| changed == 1),
            "{name}: not one each, without a hint"
        );

        let hinted = fleet.now();
        fleet.rotate(true);
        fleet.run_until(hinted + SPLAY + 10);
        assert!(fleet.changed().all(|changed| changed == 1), "{name}: not one each");
        check_flat(name, &fleet, hinted..hinted + SPLAY);
        fleet.run_until(hinted + 2 * PERIOD);
        assert!(fleet.changed().all(|changed| changed == 1), "{name}: fetched again");
        if plot::is_wanted() {
            plot::draw(name, &fleet.starts, STRIDE..hinted + 2 * PERIOD, hinted..hinted + SPLAY);
        }
    }
}

#[test]
fn a_fleet_that_comes_up_at_once_in_an_outage_recovers() {
    let fleet = Fleet::new(size(), Wish::None, 1);
    let peak = recovers("at once, refused", fleet, Outage::Refused);
    // In step, a fleet recovers within a second or two, and then three times the mean is no bound.
    assert!(
        peak as usize <= size() / 8,
        "{peak} of {} in a second: they are still in step",
        size()
    );
}

/// A fleet in its stride.
fn fleet(wish: Wish) -> Fleet {
    let mut fleet = Fleet::new(size(), wish, PERIOD);
    fleet.run_until(STRIDE);
    fleet
}

fn size() -> usize {
    let size = std::env::var("KEYSWAP_FLEET").ok();
    size.map_or(10_000, |size| size.parse().expect("a number of clients"))
}

fn is_flat(name: &str, fleet: &mut Fleet) {
    fleet.run_until(STRIDE + 2 * PERIOD);
    check_flat(name, fleet, STRIDE..STRIDE + 2 * PERIOD);
}

/// No ten seconds have more than one and a half times the mean.
fn check_flat(name: &str, fleet: &Fleet, span: Range<u64>) {
    let peak = span.clone().step_by(10).map(|at| load(fleet, at..at + 10).mean);
    let (peak, mean) = (peak.fold(0.0, f64::max), load(fleet, span.clone()).mean);
    eprintln!("{name}: mean {mean:.1}/s, peak of ten seconds {peak:.1}/s = {:.2} x", peak / mean);
    assert!(peak <= 1.5 * mean, "{name}: {peak:.1}/s in ten seconds of {mean:.1}/s");
}

/// Lets an endpoint be out of order and recover. The peak second of the recovery.
fn recovers(name: &str, mut fleet: Fleet, outage: Outage) -> u32 {
    let began = fleet.now();
    let well = began + OUTAGE;
    fleet.begin_outage(outage);
    fleet.run_until(well);
    fleet.end_outage();
    let mut until = well;
    let recovered = loop {
        until += 10;
        fleet.run_until(until);
        if let Some(at) = fleet.all_worked_at() {
            break at;
        }
        assert!(until < well + 3_600, "{name}: somebody never recovers");
    };
    if plot::is_wanted() {
        fleet.run_until(recovered + 600);
        plot::draw(name, &fleet.starts, began.saturating_sub(300)..recovered + 600, began..well);
    }
    let during = load(&fleet, began..well);
    let after = load(&fleet, well..recovered);
    eprintln!(
        "{name}: {} clients recover in {} s: mean {:.1}/s, peak {}/s = {:.2} x; during the outage mean {:.1}/s, peak {}/s",
        fleet.size(),
        recovered - well,
        after.mean,
        after.peak,
        f64::from(after.peak) / after.mean,
        during.mean,
        during.peak
    );
    assert!(
        f64::from(after.peak) <= 3.0 * after.mean,
        "{name}: a second of {} in a recovery of {:.1}/s",
        after.peak,
        after.mean
    );
    after.peak
}

struct Load {
    total: u64,
    mean: f64,
    peak: u32,
}

fn load(fleet: &Fleet, span: Range<u64>) -> Load {
    let seconds = (span.end - span.start) as f64;
    let at = |second: u64| usize::try_from(second).ok().and_then(|at| fleet.starts.get(at));
    let starts = span.map(|second| at(second).copied().unwrap_or(0));
    let (total, peak) = starts.fold((0, 0), |(total, peak): (u64, u32), starts| {
        (total + u64::from(starts), peak.max(starts))
    });
    Load { total, mean: total as f64 / seconds, peak }
}
