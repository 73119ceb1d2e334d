//! How programs use this crate, one page a task. Every example is compiled, and most are run, by the tests.
//!
//! - [`first_client`]: a rotation endpoint, a client, and what a rotation looks like from outside.
//! - [`own_http_client`]: the same decisions around the HTTP library that a program has.
//! - [`elsewhere`]: keys behind any JSON endpoint, or behind a command.
#![cfg_attr(feature = "gcp", doc = "- [`google`]: keys in Google Secret Manager.")]
#![cfg_attr(feature = "azure", doc = "- [`azure`]: keys in Azure Key Vault.")]
#![cfg_attr(
    feature = "aws",
    doc = "- [`aws`]: keys in Secrets Manager, in the Parameter Store, and behind the agent."
)]
#![cfg_attr(
    feature = "oauth2",
    doc = "- [`oauth2`]: access tokens, and the rotating secrets that they are asked for with."
)]
#![cfg_attr(
    feature = "vault",
    doc = "- [`vault`]: keys, passwords and accounts in HashiCorp Vault and OpenBao."
)]
//! - [`incident`]: a key leaked: what to do, and what programs do by themselves.
//! - [`own_source`]: keys from a place that is not built in.
//! - [`own_scheme`]: request signatures.
//! - [`testing`]: rotations in a program's own tests, without waiting for them.

#[doc = include_str!("guide/first_client.md")]
pub mod first_client {}

#[doc = include_str!("guide/own_http_client.md")]
pub mod own_http_client {}

#[cfg(feature = "command")]
#[doc = include_str!("guide/elsewhere.md")]
pub mod elsewhere {}

#[cfg(feature = "aws")]
#[doc = include_str!("guide/aws.md")]
#[doc = concat!("```no_run\n", include_str!("guide/examples/aws.rs"), "```\n")]
pub mod aws {}

#[cfg(feature = "gcp")]
#[doc = include_str!("guide/google.md")]
#[doc = concat!("```no_run\n", include_str!("guide/examples/google.rs"), "```")]
pub mod google {}

#[cfg(feature = "azure")]
#[doc = include_str!("guide/azure.md")]
#[doc = concat!("```no_run\n", include_str!("guide/examples/azure.rs"), "```")]
pub mod azure {}

#[doc = include_str!("guide/incident.md")]
pub mod incident {}

#[cfg(feature = "oauth2")]
#[doc = include_str!("guide/oauth2.md")]
#[doc = concat!("```no_run\n", include_str!("guide/examples/oauth2.rs"), "```\n")]
pub mod oauth2 {}

#[cfg(feature = "vault")]
#[doc = include_str!("guide/vault.md")]
#[doc = concat!("```no_run\n", include_str!("guide/examples/vault.rs"), "```\n")]
pub mod vault {}

#[doc = include_str!("guide/own_source.md")]
pub mod own_source {}

#[doc = include_str!("guide/own_scheme.md")]
pub mod own_scheme {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}
