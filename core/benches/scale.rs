//! The engine's speed, and the memory of many handles: `cargo bench --bench scale`.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

mod measure;

use std::{sync::Arc, time::Duration};

use keyswap::{
    Credential, CredentialSet, KeySwap, Moment, Policy,
    engine::rotation::{Action, Evidence, Input, Rotation, default_backoff},
    source,
};
use measure::thread_cpu_ns;

const STEPS: u64 = 1_000_000;
const HANDLES: usize = 10_000;

fn main() {
    steps_a_second();
    memory();
}

/// A rotation that is fetched, probed, accepted and refreshed, over and over.
fn steps_a_second() {
    let policy = Arc::new(Policy::default());
    let backoff = default_backoff(&policy);
    let mut now = Moment::new(1_800_000_000_000, 1);
    let mut rotation = Rotation::new(now, 1, policy, backoff);
    let (mut generation, mut ticket, mut steps) = (0, None, 0);
    let start = thread_cpu_ns();
    while steps < STEPS {
        let input = match ticket.take() {
            Some(ticket) => {
                generation += 1;
                Input::Fetched(ticket, set(generation))
            }
            None if steps % 3 == 0 => Input::Accepted(Evidence {
                credential: format!("k{generation}").as_str().into(),
                sent: steps,
            }),
            None => Input::Woke,
        };
        for action in rotation.step(now, steps, input) {
            if let Action::StartFetch(started) = action {
                ticket = Some(started);
            }
        }
        now = rotation.wake_at().map_or(now, |at| now + at.remaining(now));
        steps += 1;
    }
    let seconds = (thread_cpu_ns() - start) as f64 / 1e9;
    println!(
        "engine: {:.2} million steps a second, {generation} rotations",
        steps as f64 / seconds / 1e6
    );
}

fn set(generation: u64) -> CredentialSet {
    let primary = Credential::new(format!("k{generation}"), "material");
    let set = CredentialSet::new(primary).with_generation(generation);
    match generation {
        1 => set,
        _ => set.with_previous(Credential::new(format!("k{}", generation - 1), "material")),
    }
}

fn memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let vault = || source::from_fn(|| async { Ok(set(2)) });
        let one = KeySwap::follow(vault()).await.unwrap();
        let before = measure::rss_bytes();
        let mut many = Vec::with_capacity(HANDLES);
        for _ in 0..HANDLES {
            many.push(KeySwap::follow(vault()).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        let each = (measure::rss_bytes().saturating_sub(before)) / HANDLES as u64;
        println!("memory: {before} bytes with one handle; {each} bytes for each of {HANDLES} more");
        assert_eq!(one.current().unwrap().id(), many[0].current().unwrap().id());
    });
}
