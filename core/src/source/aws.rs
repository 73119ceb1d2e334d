//! Keys in AWS: Secrets Manager, the Parameter Store, and the local Secrets Manager Agent.
//!
//! [`guide::aws`](crate::guide::aws) has an example of each, and says how to rotate there.

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
