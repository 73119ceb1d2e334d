//! API keys rotate, and programs must not notice.

mod credential;
pub mod engine;
mod error;
mod event;
mod moment;
mod policy;
mod scheme;
mod secret;
pub mod source;

pub use credential::{Credential, CredentialId, CredentialSet, NamedScheme};
pub use engine::{
    snapshot::Snapshot,
    verdict::{Attention, Classifier, DefaultClassifier, Verdict},
};
pub use error::{Error, ErrorKind};
pub use event::Event;
pub use moment::Moment;
pub use policy::Policy;
pub use scheme::{Patch, Scheme, Sign, Unsigned};
pub use secret::{Material, Secret};
pub use source::Source;
