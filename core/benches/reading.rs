//! Reading the current credential, beside a bare `arc_swap` load: `cargo bench --bench reading`.
//!
//! A sample is a block of calls timed with the thread's own CPU clock, so that a busy machine does not
//! count. The cases take turns, and what matters is the ratio of their medians in one run.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

mod measure;

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
};

use arc_swap::ArcSwap;
use keyswap::{Credential, CredentialSet, KeySwap, source};
use measure::{median, thread_cpu_ns};

const CALLS: u32 = 200_000;
const ROUNDS: usize = 60;

/// What a bare cell would hold.
struct Bare {
    id: String,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let keys = runtime.block_on(async {
        let vault =
            source::from_fn(|| async { Ok(CredentialSet::new(Credential::new("k1", "m"))) });
        KeySwap::follow(vault).await.unwrap()
    });
    let cell = Arc::new(ArcSwap::from_pointee(Bare { id: "k1".into() }));
    let bare = || {
        let guard = cell.load();
        black_box(guard.id.len());
    };
    let ours = || {
        let current = keys.current().unwrap();
        black_box(current.id().len());
    };

    let mut one = [Vec::new(), Vec::new()];
    let mut two = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        one[0].push(timed(bare));
        one[1].push(timed(ours));
        two[0].push(timed_on_two(&bare));
        two[1].push(timed_on_two(&ours));
    }
    let [bare_one, ours_one] = one.map(median);
    let [bare_two, ours_two] = two.map(median);
    println!("reading the current credential, ns a call (medians of {ROUNDS})");
    println!("{:28}{:>10}{:>12}", "", "1 thread", "2 threads");
    println!("{:28}{bare_one:>10.2}{bare_two:>12.2}", "arc_swap load, deref, drop");
    println!("{:28}{ours_one:>10.2}{ours_two:>12.2}", "KeySwap::current, id, drop");
    measure::goal("current() to a bare load", ours_one / bare_one, 1.2);
    measure::goal("current() on two threads to one", ours_two / ours_one, 1.1);
}

fn timed(call: impl Fn()) -> f64 {
    let start = thread_cpu_ns();
    for _ in 0..CALLS {
        call();
    }
    (thread_cpu_ns() - start) as f64 / f64::from(CALLS)
}

/// The mean of two threads that call at the same time.
fn timed_on_two(call: &(impl Fn() + Sync)) -> f64 {
    let barrier = Barrier::new(2);
    let run = || {
        barrier.wait();
        timed(call)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(run);
        (run() + other.join().unwrap()) / 2.0
    })
}
