//! Keys from a place that is not built in: a source of one's own. `cargo run --bin custom_source`
//!
//! Where one async function says it all, `source::from_fn` will do. A `Source` can ask conditionally.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use keyswap::{
    Credential, CredentialSet, Error, ErrorKind, KeySwap, Policy, Source,
    source::{BoxFuture, Fetched},
};

/// A secret store, as a test has it: its versions are numbers, and it can be down.
#[derive(Debug, Default)]
struct Store {
    version: AtomicU64,
    is_down: AtomicBool,
}

impl Store {
    async fn login(&self) -> Result<(), Error> {
        if self.is_down.load(SeqCst) {
            // The kind says how soon to try again: this one soon, `Forbidden` slowly.
            return Err(Error::new(ErrorKind::Unavailable, "the secret store is down"));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FromStore(Arc<Store>);

impl Source for FromStore {
    fn fetch<'a>(
        &'a self,
        held: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            // One step after the other, as any async code. It may hang or panic; that is a failed fetch.
            self.0.login().await?;
            let version = self.0.version.load(SeqCst);
            if held.and_then(CredentialSet::validator) == Some(version.to_string().as_str()) {
                return Ok(Fetched::NotModified);
            }
            let key =
                |version: u64| Credential::new(format!("v{version}"), format!("s3cret-{version}"));
            let mut set = CredentialSet::new(key(version))
                .with_generation(version)
                .with_validator(&version.to_string());
            if version > 1 {
                set = set.with_previous(key(version - 1));
            }
            Ok(Fetched::Set(set))
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let store = Arc::new(Store::default());
    store.version.store(1, SeqCst);
    // By default five seconds lie between two fetches: too long for an example.
    let soon = Duration::from_millis(10);
    let policy = Policy::default().fetch_floor(soon).fetch_floor_min(soon);
    let keys = KeySwap::follow(FromStore(store.clone())).policy(policy).await?;
    assert_eq!(keys.current()?.id(), "v1");

    store.version.store(2, SeqCst);
    keys.refresh().await?;
    println!("{keys:?}");
    assert_eq!(keys.set().map(|set| set.generation()), Some(2));

    store.is_down.store(true, SeqCst);
    let error = keys.refresh().await.err();
    println!("{error:?}");
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Unavailable));
    assert!(keys.current().is_ok(), "a failure displaces nothing");
    Ok(())
}
