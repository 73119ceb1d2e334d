//! keyswap for Kotlin and Swift: the native half.
//!
//! It hands on what `keyswap-host` has, in forms that uniffi carries, and adds nothing to it. Key material crosses
//! only inside opaque objects that reveal it when asked, no panic crosses, and nothing here waits on a caller's thread
//! but what says so. Programs use the packages in `kotlin` and `swift`, which are made for their readers; what is here
//! is what those are built on, and its names begin with `Native`.
//!
//! What keyswap-host documents is not documented again: here stands what is different.
//!
//! Everything that takes long runs on this library's own threads. Dropping its future ends it, and so does
//! [`NativeJob::cancel`](job::NativeJob::cancel), for languages whose cancellation does not reach a future.

// See above.
#![allow(missing_docs)]

pub mod attempt;
pub mod authorizer;
pub mod foreign;
pub mod job;
pub mod keys;
pub mod opaque;
mod reachable;
pub mod records;
pub mod source;

uniffi::setup_scaffolding!();
