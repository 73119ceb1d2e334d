//! The native half of the npm package `keyswap`.
//!
//! It translates types and nothing else: every rule of rotation is in the core, and what all bindings share
//! in `keyswap-host`. What it adds is what Node
//! needs to live with a runtime of threads: nothing starts when it is loaded, nothing keeps an idle
//! process alive, and no panic and no key material leaves it. The TypeScript beside it is what programs
//! use; names and numbers here are for that alone.

#![cfg_attr(test, allow(dead_code, reason = "nothing is registered with Node there"))]

mod attempt;
mod authorizer;
mod client;
mod credential;
mod epochs;
mod errors;
mod foreign;
mod keys;
mod log;
mod runtime;
mod source;
