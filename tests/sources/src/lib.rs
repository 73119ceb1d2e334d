//! What the tests of stores share: servers that are started and ended, an API that knows which keys are valid, and
//! callers that must not notice that they change.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

pub mod api;
pub mod azure;
pub mod fake;
pub mod google;
pub mod load;
pub mod process;
