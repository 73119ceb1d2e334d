//! How programs use this crate, one page a task. Every example is compiled, and most are run, by the tests.
//!
//! - [`first_client`]: a rotation endpoint, a client, and what a rotation looks like from outside.
//! - [`own_http_client`]: the same decisions around the HTTP library that a program has.
//! - [`elsewhere`]: keys behind any JSON endpoint, or behind a command.
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

#[doc = include_str!("guide/incident.md")]
pub mod incident {}

#[doc = include_str!("guide/own_source.md")]
pub mod own_source {}

#[doc = include_str!("guide/own_scheme.md")]
pub mod own_scheme {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}
