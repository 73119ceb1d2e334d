//! How programs use this crate, one page a task. Every example is compiled, and most are run, by the tests.
//!
//! - [`first_client`]: a rotation endpoint, a client, and what a rotation looks like from outside.
//! - [`own_http_client`]: the same decisions around the HTTP library that a program has.
//! - [`elsewhere`]: keys behind any JSON endpoint, or behind a command.
#![cfg_attr(feature = "gcp", doc = "- [`google`]: keys in Google Secret Manager.")]
#![cfg_attr(feature = "azure", doc = "- [`azure`]: keys in Azure Key Vault.")]
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

#[cfg(feature = "gcp")]
#[doc = include_str!("guide/google.md")]
#[doc = concat!("```no_run\n", include_str!("guide/examples/google.rs"), "```")]
pub mod google {}

#[cfg(feature = "azure")]
#[doc = include_str!("guide/azure.md")]
#[doc = concat!("```no_run\n", include_str!("guide/examples/azure.rs"), "```")]
pub mod azure {}

#[doc = include_str!("guide/own_source.md")]
pub mod own_source {}

#[doc = include_str!("guide/own_scheme.md")]
pub mod own_scheme {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}
