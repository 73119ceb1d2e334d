//! API keys rotate, and programs must not notice.

mod client;
mod clock;
mod credential;
mod driver;
pub mod engine;
mod error;
mod event;
mod keyswap;
mod moment;
mod policy;
mod scheme;
mod secret;
pub mod source;
mod store;

pub use client::{
    Attempt, Authorizer, AuthorizerBuilder, Client, ClientBuilder, Failure, RequestBuilder,
    Response, Step,
};
pub use clock::Clock;
pub use credential::{Credential, CredentialId, CredentialSet, NamedScheme};
pub use engine::{
    rotation::Counts,
    snapshot::Snapshot,
    verdict::{Attention, Classifier, DefaultClassifier, Verdict},
};
pub use error::{Error, ErrorKind};
pub use event::Event;
pub use keyswap::{Events, Follow, KeySwap, Stats};
pub use moment::Moment;
pub use policy::Policy;
pub use scheme::{Patch, Scheme, Sign, Unsigned};
pub use secret::{Material, Secret};
pub use source::{Endpoint, Source};
pub use store::Current;
