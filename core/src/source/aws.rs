//! Keys in AWS: Secrets Manager, the Parameter Store, and the local Secrets Manager Agent.
//!
//! # Theory of operation
//!
//! - What a store is asked, and who asks, are apart: [`Access`](access::Access) signs one question and understands what
//!   it was answered; [`Identity`](identity::Identity) has the log-in, which clones share. A log-in that is rejected is
//!   looked for anew once, since IAM keys rotate too.
//! - AWS writes its errors in several dialects, at 400 and at 403, as JSON and as XML. `refusal` reads the code, wherever
//!   it stands, and never the message.
//! - Stages are read apart, so what was read is only a state once nothing moved meanwhile: `versions`.

mod access;
mod agent;
mod identity;
mod outside;
mod parameter_store;
mod profile;
mod refusal;
mod replicas;
mod secrets_manager;
mod versions;

pub use self::{
    agent::SecretsAgent, parameter_store::ParameterStore, secrets_manager::SecretsManager,
};
