//! API keys rotate, and programs must not notice.
//!
//! A [`KeySwap`] follows a [`Source`] and always holds a fresh [`CredentialSet`]. A [`Client`] gets every
//! request through a rotation; an [`Authorizer`] makes the same decisions for any other HTTP library.
//!
//! ```
//! use keyswap::{Credential, CredentialSet, KeySwap, source};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), keyswap::Error> {
//! // Usually `keyswap::Endpoint::new("https://...")?`; any async function will do.
//! let vault = source::from_fn(|| async {
//!     Ok(CredentialSet::new(Credential::new("k2", "material"))
//!         .with_previous(Credential::new("k1", "older material")))
//! });
//! let keys = KeySwap::follow(vault).await?;
//! let now = keys.current()?;
//! assert_eq!((now.id(), now.reveal("key")), ("k2", Some("material")));
//! # Ok(()) }
//! ```
//!
//! The [`guide`] has a page for each task. Every error is an [`Error`] whose [`kind`](Error::kind) says what
//! to do. Nothing here prints key material.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg_attr(not(feature = "unstable"), allow(unreachable_pub, reason = "the engine shows it"))]
mod backoff;
mod client;
mod clock;
mod credential;
mod driver;
#[cfg(feature = "unstable")]
pub mod engine;
#[cfg(not(feature = "unstable"))]
#[allow(dead_code, unreachable_pub, reason = "what is public there is for the feature `unstable`")]
mod engine;
mod error;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod guide;
#[cfg(feature = "host")]
pub mod host;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
pub mod integrations;
mod keyswap;
#[cfg(feature = "lent-keys")]
#[cfg_attr(
    not(feature = "oauth2"),
    allow(dead_code, reason = "not all that log in need all of it")
)]
mod lend;
#[cfg(feature = "metrics")]
mod metrics;
mod moment;
mod net;
mod policy;
mod report;
mod response_view;
mod scheme;
mod secret;
#[cfg(feature = "signing")]
pub mod signing;
pub mod source;
mod store;
mod structured_fields;

pub use client::{
    Attempt, Authorizer, AuthorizerBuilder, Client, ClientBuilder, RequestBuilder, Response, Step,
    redirect,
};
pub use clock::Clock;
pub use credential::{Credential, CredentialId, CredentialSet, NamedScheme};
pub use engine::{
    rotation::Counts,
    snapshot::Snapshot,
    verdict::{Classifier, DefaultClassifier, Failure, ResponseFilter, Verdict},
};
pub use error::{Error, ErrorKind};
pub use event::{Event, WentBack};
pub use keyswap::{Events, Follow, KeySwap, Stats};
pub use moment::Moment;
pub use policy::Policy;
pub use response_view::ResponseView;
pub use scheme::{Patch, Scheme, Sign, Unsigned};
pub use secret::{Material, Secret};
#[cfg(feature = "signing")]
pub use signing::api;
pub use source::{Endpoint, Source};
pub use store::Current;

/// The README's examples, compiled when all that they show is there.
#[cfg(all(doctest, feature = "reqwest-middleware", feature = "tower"))]
#[doc = include_str!("../../README.md")]
struct Readme;
