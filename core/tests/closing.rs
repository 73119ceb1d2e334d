//! A source that gives back what it made, when nobody follows it any more.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use keyswap::{
    Clock, Credential, CredentialSet, Error, KeySwap, Source,
    source::{self, BoxFuture, Fetched},
};

#[derive(Clone, Debug, Default)]
struct Lent(Arc<State>);

#[derive(Debug, Default)]
struct State {
    lent: AtomicU32,
    /// How long a fetch and a return take, in milliseconds.
    fetch: AtomicU32,
    close: AtomicU32,
    panics: bool,
}

async fn sleep(millis: &AtomicU32) {
    tokio::time::sleep(Duration::from_millis(millis.load(SeqCst).into())).await;
}

impl Source for Lent {
    fn fetch<'a>(&'a self, _: Option<&'a CredentialSet>) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async {
            sleep(&self.0.fetch).await;
            let number = self.0.lent.fetch_add(1, SeqCst);
            let credential = Credential::new(format!("k{number}"), format!("material {number}"));
            Ok(Fetched::Set(CredentialSet::new(credential)))
        })
    }

    fn close(&self) -> Option<BoxFuture<'static, ()>> {
        assert!(!self.0.panics, "on purpose");
        let state = self.0.clone();
        Some(Box::pin(async move {
            sleep(&state.close).await;
            state.lent.store(0, SeqCst);
        }))
    }
}

impl Lent {
    fn lent(&self) -> u32 {
        self.0.lent.load(SeqCst)
    }
}

async fn follow(source: impl Source) -> KeySwap {
    KeySwap::follow(source).clock(Clock::tokio()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_made_is_given_back_at_a_shutdown_and_at_the_last_drop() {
    let lent = Lent::default();
    lent.0.close.store(300, SeqCst);
    let keys = follow(lent.clone()).await;
    assert_eq!(lent.lent(), 1);
    keys.shutdown().await;
    assert_eq!(lent.lent(), 0);

    let keys = follow(source::first_of([Arc::new(lent.clone())])).await;
    let clone = keys.clone();
    drop(keys);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lent.lent(), 1, "a clone is left");
    drop(clone);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lent.lent(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_runs_brings_nothing_after_it() {
    let lent = Lent::default();
    let keys = follow(lent.clone()).await;
    lent.0.fetch.store(500, SeqCst);
    let refresh = tokio::spawn({
        let keys = keys.clone();
        async move { keys.refresh().await }
    });
    tokio::time::sleep(Duration::from_millis(5_200)).await;
    keys.shutdown().await;
    assert!(refresh.await.unwrap().is_err());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(lent.lent(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_or_panics_holds_up_nobody() {
    let hangs = Lent::default();
    hangs.0.close.store(3_600_000, SeqCst);
    let panics = Lent(Arc::new(State { panics: true, ..State::default() }));
    for (lent, least, most) in [(hangs, 1_000, 1_100), (panics, 0, 100)] {
        let keys = follow(lent.clone()).await;
        let began = Clock::tokio();
        let before = began.now().boot;
        keys.shutdown().await;
        let took = began.now().boot - before;
        assert!((least..=most).contains(&took), "{took} ms");
    }
}
