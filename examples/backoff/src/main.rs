//! A program that has its retry policies from the crate `backoff` brings one along: `.backoff(...)` takes
//! any iterator of delays. `cargo run` in this folder.
//!
//! keyswap itself uses `backon`, its successor: `backoff` is unmaintained (RUSTSEC-2025-0012).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};
use keyswap::{Credential, CredentialSet, Error, ErrorKind, Event, KeySwap, Policy, source};

/// The program's own policy: 20, 40, 80 ms. It never ends; if it did, `Policy::backoff_max` would follow.
fn policy() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(Duration::from_millis(20))
        .with_multiplier(2.0)
        .with_randomization_factor(0.0)
        .with_max_interval(Duration::from_millis(80))
        .with_max_elapsed_time(None)
        .build()
}

/// The delays of a policy, one after the other.
fn delays(mut policy: impl Backoff) -> impl Iterator<Item = Duration> {
    std::iter::from_fn(move || policy.next_backoff())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A source that fails four times.
    let asked = Arc::new(AtomicU32::new(0));
    let vault = source::from_fn(move || {
        let asked = asked.fetch_add(1, SeqCst);
        async move {
            match asked {
                0..4 => Err(Error::new(ErrorKind::Unavailable, "not up yet")),
                _ => Ok(CredentialSet::new(Credential::new("k1", "material"))),
            }
        }
    });
    // The floor between two fetches holds whatever a schedule says, so it is lowered here.
    let numbers = Policy::default().fetch_floor(Duration::from_millis(1)).fetch_floor_min(Duration::from_millis(1));
    let keys = KeySwap::follow(vault).policy(numbers).backoff(|| delays(policy())).start()?;

    let mut events = keys.events();
    let mut waits = Vec::new();
    while let Some(event) = events.next().await {
        println!("{event}");
        match event {
            Event::FetchFailed { retry_in, .. } => waits.push(retry_in.as_millis()),
            Event::Swapped { .. } => break,
            _ => {}
        }
    }
    assert_eq!(waits, [20, 40, 80, 80], "the delays are those of the policy");
    assert_eq!(keys.current()?.id(), "k1");
    Ok(())
}
