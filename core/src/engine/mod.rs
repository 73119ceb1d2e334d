//! The rules of rotation, as pure state machines.
//!
//! # Theory of operation
//!
//! [`Rotation`](rotation::Rotation) lives as long as a handle and decides what to publish, whom to
//! promote and when to give up; a part of its own decides when to fetch.
//! [`AttemptMachine`](attempt::AttemptMachine) lives as long as one request and decides what that request
//! does next. Between them stands the
//! [`Snapshot`](snapshot::Snapshot): the rotation publishes it, requests read it.
//!
//! Neither performs anything. Time and evidence come in as values, and what to do goes out as values;
//! waiting is a number that says when to look again. So the same rules run under a real clock, under
//! a simulated one, and under another language's HTTP library.
//!
//! It is public with the feature `unstable`, for those who drive it with a runtime of their own, and may
//! change in any version.
//!
//! Nothing here reads a clock, asks the system for randomness, takes a lock, spawns or does I/O.

pub mod account;
pub mod attempt;
mod bucket;
mod fetching;
mod holdings;
mod input;
mod member;
mod probation;
mod reporting;
pub mod retry;
pub mod rotation;
pub mod snapshot;
pub mod throttle;
pub mod verdict;
