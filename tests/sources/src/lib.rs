//! What the tests of stores share: servers that are started and ended, an API that knows which keys are valid, and
//! callers that must not notice that they change.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

pub mod api;
pub mod aws;
pub mod azure;
pub mod bao;
pub mod fake;
pub mod front;
pub mod google;
pub mod keycloak;
pub mod load;
pub mod node;
pub mod postgres;
pub mod process;
