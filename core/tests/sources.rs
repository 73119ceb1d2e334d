//! The built-in sources against real sockets and real folders.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod sources {
    pub(crate) mod bootstrap;
    #[cfg(unix)]
    pub(crate) mod command;
    pub(crate) mod endpoint;
    #[cfg(unix)]
    pub(crate) mod faults;
    pub(crate) mod files;
    pub(crate) mod folder;
    pub(crate) mod hostile;
    pub(crate) mod json;
    pub(crate) mod server;
}

use keyswap::{
    CredentialSet, Error,
    source::{Fetched, Source},
};

/// What no error and no `Debug` may show.
const BOOTSTRAP: &str = "b00tstrap-7f3a";
const MATERIAL: &str = "m4terial-9b1c";
const QUERY: &str = "qu3ry-55d2";

const DOCUMENT: &str = r#"{"protocol": "keyswap/1", "set": "eu", "generation": 7,
    "current": {"id": "k_7", "material": {"key": "m4terial-9b1c"}}}"#;

#[track_caller]
fn fetched(outcome: Result<Fetched, Error>) -> CredentialSet {
    match outcome.unwrap() {
        Fetched::Set(set) => set,
        other => panic!("{other:?}"),
    }
}

/// The error of a fetch, after a look at whether it or the source shows a secret.
async fn failed(source: &impl Source, held: Option<&CredentialSet>) -> Error {
    let error = source.fetch(held).await.unwrap_err();
    let shown = format!("{error} {error:?} {source:?}");
    for secret in [BOOTSTRAP, MATERIAL, QUERY] {
        assert!(!shown.contains(secret), "{shown}");
    }
    error
}
